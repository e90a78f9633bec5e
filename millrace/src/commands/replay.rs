//! `millrace replay`: recorded frames through log, aggregation, cache and lake.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::{MemoryCache, PriceCache};
use aggregate::shell::{SNAPSHOT_EVERY, Shell, ShellConfig};
use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use ingest::replay::{Progress, ReplayConfig, Speed};
use journal::{Log, Partition};
use model::topic;
use sink::lake::{Lake, Place};
use sink::land::{Phase, Sink, SinkConfig};
use tokio_util::sync::CancellationToken;

use crate::cli::ReplayArgs;
use crate::config::{BackEnd, LogSettings, Pipeline};
use crate::pipeline::sink_config;
use crate::terminal::say;
use crate::{telemetry, topics};

/// What a replay that has read its captures gets to land what is open: it has no next start.
const LAND_WITHIN: Duration = Duration::from_secs(600);

/// Replays, waits until the last tick is folded and what can land has, and says what came out.
///
/// A replay has a data directory of its own: recorded ticks must not mix with live ones. So it never writes
/// to the pipeline's log, cluster, Redis or lake; where the pipeline has a lake, the replay has one in its directory.
///
/// # Errors
/// When a capture cannot be read, the directory is in use, or a stage fails.
pub(crate) async fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(&args.file.file)?;
    telemetry::start_logs(true);
    let source = pipeline.sources.iter().find(|source| source.venue.as_str() == args.source).with_context(|| {
        let names: Vec<&str> = pipeline.sources.iter().map(|source| source.venue.as_str()).collect();
        format!("no source {:?} in {}: one of {}", args.source, args.file.file.display(), names.join(", "))
    })?;
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => fresh_dir(&pipeline.data_dir)?,
    };
    ensure!(
        std::path::absolute(&data_dir)? != std::path::absolute(&pipeline.data_dir)?,
        "{} is the pipeline's own data directory: a replay needs another",
        data_dir.display()
    );
    let settings = LogSettings {
        back_end: match pipeline.log.back_end.clone() {
            embedded @ BackEnd::Embedded { .. } => embedded,
            BackEnd::Fluvio { .. } => LogSettings::default().back_end,
        },
        ..pipeline.log.clone()
    };
    let log = topics::open(&settings, &data_dir).await?.log;
    let cache: Arc<dyn PriceCache> = Arc::new(MemoryCache::new(pipeline.cache.ttl));
    let stop = CancellationToken::new();
    let shell = Shell::start(
        Arc::clone(&log),
        ShellConfig {
            rules: Arc::new(pipeline.prices.clone()),
            snapshots: data_dir.join("snapshots"),
            snapshot_every: SNAPSHOT_EVERY,
            clock_every: None,
        },
        Arc::clone(&cache),
        stop.clone(),
    )
    .await?;
    let landing = match &pipeline.lake.place {
        Some(_) => {
            let lake = Lake::open(&Place::Directory(data_dir.join("lake"))).await?;
            let config = SinkConfig { stop_within: LAND_WITHIN, ..sink_config(&pipeline) };
            Some(Sink::start(Arc::clone(&log), lake, config, stop.clone())?)
        }
        None => None,
    };
    let config = ReplayConfig {
        source: source.clone(),
        files: args.frames.clone(),
        speed: speed(&args.speed)?,
        max_clock_skew: Duration::from_secs(5),
    };
    let begun = Instant::now();
    let result = tokio::select! {
        replayed = replay(config, &log, &shell) => replayed,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; what was replayed is in {}", data_dir.display())),
    };
    let took = begun.elapsed();
    let landed = tokio::select! {
        landed = finish(landing, result.is_ok(), &*log, &stop) => landed,
        _ = tokio::signal::ctrl_c() => {
            Err(anyhow::anyhow!("interrupted; what has not landed is in {}", data_dir.display()))
        }
    };
    stop.cancel();
    let report = match &result {
        Ok(progress) => Some(report(&*log, progress, took, &data_dir).await?),
        Err(error) => {
            say!("error: {error:#}");
            None
        }
    };
    shell.join().await?;
    log.close().await?;
    let (Some(report), landed) = (report, landed?) else { bail!("the replay did not reach its end") };
    print!("{report}");
    if let Some(rows) = landed {
        println!("landed {rows} rows in {}", data_dir.join("lake").display());
    }
    Ok(())
}

/// Lets the sink land what it can, where the captures were read to their end, and ends it. Its rows; none without a
/// lake.
async fn finish(
    landing: Option<Sink>,
    whole: bool,
    log: &dyn Log,
    stop: &CancellationToken,
) -> anyhow::Result<Option<u64>> {
    let Some(sink) = landing else { return Ok(None) };
    let read = if whole { read_to_the_end(&sink, log).await } else { Ok(()) };
    stop.cancel();
    let statuses = sink.statuses().to_vec();
    sink.join().await.context("landing stopped")?;
    read?;
    Ok(Some(statuses.iter().map(|status| status.borrow().rows).sum()))
}

/// Waits until the sink has read every record that is there.
async fn read_to_the_end(sink: &Sink, log: &dyn Log) -> anyhow::Result<()> {
    let topics = log.topics().await?;
    for status in sink.statuses() {
        let mut status = status.clone();
        let topic = status.borrow().table.topic();
        let partitions = topics.iter().find(|(name, _)| &**name == topic).map_or(0, |(_, partitions)| *partitions);
        for index in 0..partitions {
            let end = log.bounds(&Partition::new(topic, index)).await?.end;
            let there = |read: Option<&u64>| read.is_some_and(|read| *read >= end);
            status.wait_for(|now| there(now.read.get(&index)) || matches!(now.phase, Phase::Stopped(_))).await?;
        }
    }
    Ok(())
}

/// Reads the captures with a progress bar, then waits until the aggregation has folded everything.
async fn replay(config: ReplayConfig, log: &Arc<dyn Log>, shell: &Shell) -> anyhow::Result<Progress> {
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {percent:>3}% {msg} [{elapsed} / {eta} left]")
            .expect("a fixed template"),
    );
    let cancel = CancellationToken::new();
    let shown = bar.clone();
    let progress = ingest::replay::run(
        config,
        Arc::clone(log),
        move |progress| {
            shown.set_length(progress.bytes_total);
            shown.set_position(progress.bytes);
            shown.set_message(format!("{} frames, {} ticks, {}", progress.frames, progress.ticks, progress.at));
        },
        cancel,
    )
    .await?;
    for (index, status) in shell.statuses().iter().enumerate() {
        let end = log.bounds(&Partition::new(topic::TICKS, index as u32)).await?.end;
        let mut status = status.clone();
        let folded = status.wait_for(|status| status.durable >= end || status.failure.is_some()).await?.clone();
        if let Some(failure) = folded.failure {
            bail!("the aggregation failed: {failure}");
        }
    }
    bar.finish();
    Ok(progress)
}

async fn report(log: &dyn Log, progress: &Progress, took: Duration, data_dir: &Path) -> anyhow::Result<String> {
    let mut counts = Vec::new();
    for (name, partitions) in log.topics().await? {
        let mut records = 0;
        for index in 0..partitions {
            records += log.bounds(&Partition::new(&name, index)).await?.end;
        }
        counts.push(format!("{records} {name}"));
    }
    let per_second = progress.ticks as u128 * 1_000 / took.as_millis().max(1);
    Ok(format!(
        "replayed {} frames in {:.2} s: {} ticks ({per_second} a second), {} refused, {} gaps\n\
         in {}: {}\n",
        progress.frames,
        took.as_secs_f64(),
        progress.ticks,
        progress.refused,
        progress.gaps,
        data_dir.display(),
        counts.join(", "),
    ))
}

/// `max`, or a factor of the recorded time.
fn speed(text: &str) -> anyhow::Result<Speed> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && (0.001..=100_000.0).contains(&factor) => Ok(Speed::Times(factor)),
        _ => bail!("speed {text:?} not allowed: max, or a factor of 0.001 to 100000"),
    }
}

/// A folder beside the pipeline's data directory that is not there yet.
fn fresh_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let name = data_dir.file_name().map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned());
    (1..10_000)
        .map(|number| data_dir.with_file_name(format!("{name}-replay-{number}")))
        .find(|dir| !dir.exists())
        .with_context(|| format!("no free name for a replay beside {}", data_dir.display()))
}
