//! `pipeline.yaml`: read once, checked whole, told in full.

mod cache;
mod lake;
mod log;
mod matcher;
mod prices;
mod problem;
mod scalar;
mod section;
mod server;
mod simulate;
mod sources;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::Instrument;

pub(crate) use cache::CacheSettings;
pub(crate) use lake::LakeSettings;
pub(crate) use log::{BackEnd, LogSettings};
pub(crate) use matcher::{Market as MarketSettings, MatcherSettings};
pub(crate) use problem::ConfigError;
pub(crate) use scalar::duration;
pub(crate) use server::{ServerSettings, SqlSettings};

use scalar::{count, parsed, text};
use section::{Context, Section};

/// Instruments in one file, at most.
const INSTRUMENTS_MAX: usize = 1_000;

/// A pipeline that can run.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    /// Where the log, snapshots and what else must last are kept.
    pub(crate) data_dir: PathBuf,
    pub(crate) log: LogSettings,
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) sources: Vec<ingest::SourceConfig>,
    pub(crate) simulate: Option<sim::Config>,
    pub(crate) prices: aggregate::config::Config,
    pub(crate) cache: CacheSettings,
    pub(crate) lake: LakeSettings,
    pub(crate) matcher: Option<MatcherSettings>,
    pub(crate) server: ServerSettings,
}

impl Pipeline {
    /// Reads and checks a file. Relative paths in it count from its folder.
    ///
    /// # Errors
    /// When it cannot be read, or with everything that is wrong in it.
    pub(crate) fn load(file: &Path) -> anyhow::Result<Self> {
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        anyhow::ensure!(
            size <= tree::BYTES_MAX as u64,
            "{} has {size} bytes: at most {}",
            file.display(),
            tree::BYTES_MAX
        );
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        let variable = |name: &str| std::env::var(name).ok();
        Ok(Self::parse(&file.display().to_string(), &text, &folder, &variable)?)
    }

    /// Checks a file's text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(
        file: &str,
        text: &str,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut context = Context::default();
        let pipeline = tree::parse(text, variable, &mut context.problems)
            .and_then(|root| read(&mut Section::open(&root, "", &mut context), folder, &mut context));
        let mut problems = context.problems;
        problems.sort();
        problems.dedup();
        match pipeline {
            Some(pipeline) if problems.is_empty() => Ok(pipeline),
            _ => Err(ConfigError { file: file.to_owned(), problems }),
        }
    }
}

fn read(root: &mut Section<'_>, folder: &Path, context: &mut Context) -> Option<Pipeline> {
    root.required("version", "1", context, count(1..=1u32));
    let data_dir = root.optional("data_dir", context, text).unwrap_or_else(|| "./data".to_owned());
    let instruments = instruments(root, context);
    let data_dir = folder.join(data_dir);
    let mut log = log::read(root, context);
    let lake = lake::read(root, folder, &data_dir, context);
    log.landed = lake.place.is_some();
    let simulate = simulate::read(root, &instruments, context);
    let prices = prices::read(root, &instruments, context);
    let sources = sources::read(root, &instruments, prices.as_ref(), context);
    let cache = cache::read(root, context);
    let matcher = matcher::read(root, &instruments, context);
    let server = server::read(root, context);
    root.finish(context);
    Some(Pipeline { data_dir, log, instruments, sources, simulate, prices: prices?, cache, lake, matcher, server })
}

/// The instruments that are priced, in the order of the file.
fn instruments(root: &mut Section<'_>, context: &mut Context) -> Vec<Instrument> {
    let before = context.problems.len();
    let place = root.place();
    let mut list: Vec<Instrument> = root.list("instruments", context, parsed).unwrap_or_default();
    if list.is_empty() && context.problems.len() == before {
        context.complain(place, "instruments", "is missing or empty: add `instruments: [BTC-USDT]`");
    }
    let mut complain = |what: String| context.complain(place, "instruments", what);
    for at in (1..list.len()).rev() {
        if list[..at].contains(&list[at]) {
            complain(format!("{} stands twice: keep one", list[at]));
            list.remove(at);
        }
    }
    if list.len() > INSTRUMENTS_MAX {
        complain(format!("{} instruments not allowed: at most {INSTRUMENTS_MAX}", list.len()));
        list.truncate(INSTRUMENTS_MAX);
    }
    list
}
