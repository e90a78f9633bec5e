//! What a person sees: where everything is, then a live line per instrument.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aggregate::cache::PriceCache;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::{CompositePrice, Instrument};
use tokio_util::sync::CancellationToken;

use crate::config::{BackEnd, Pipeline};
use crate::pipeline::Running;

/// Writes a line to standard error. Whoever read it may be gone: that is no reason to stop, nor to be unable to.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::terminal::write_line(format_args!($($part)*))
    };
}
pub(crate) use say;

/// What [`say`] does.
pub(crate) fn write_line(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How often the lines are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// Says what is where.
pub(crate) fn greet(pipeline: &Pipeline, file: &Path, running: &Running) {
    say!("millrace {} runs {}", env!("CARGO_PKG_VERSION"), file.display());
    for venue in &running.simulated {
        say!("  simulated venue  {venue}");
    }
    let log = match &pipeline.log.back_end {
        BackEnd::Embedded { .. } => format!("embedded, {}", pipeline.data_dir.join("log").display()),
        BackEnd::Fluvio { endpoint } => format!("Fluvio, {endpoint}"),
    };
    say!("  log              {log}");
    // A Redis address may hold a password.
    say!("  cache            {}", if pipeline.cache.redis.is_some() { "Redis" } else { "memory" });
    if let Some(place) = &pipeline.lake.place {
        say!("  lake             {place}");
    }
    if let Some(address) = running.address {
        say!("  live page        http://{address}/");
        say!("  prices           http://{address}/prices   and /prices/BTCUSDT");
        say!("  API              http://{address}/docs     health and metrics: /healthz, /metrics");
    }
    if let Some(sql) = &pipeline.server.sql {
        let door =
            |name: &str, at: Option<std::net::SocketAddr>| at.map(|at| format!("   {name} {at}")).unwrap_or_default();
        let (postgres, flight) = (door("Postgres", sql.postgres), door("Flight SQL", sql.flight));
        eprintln!("  SQL              millrace sql   POST /sql{postgres}{flight}");
    }
    if let Some(path) = &running.trader_key {
        say!("  trade with       X-Api-Key from {} (account 1)", path.display());
    }
    say!("Ctrl-C stops it.");
}

/// Shows the newest price of each instrument: lines that change on a terminal; else each instrument's first
/// price, and then nothing more, since a log file is no place for a ticker.
pub(crate) async fn follow(
    instruments: Vec<Instrument>,
    cache: Arc<dyn PriceCache>,
    live: bool,
    stop: CancellationToken,
) {
    let lines = live.then(|| Lines::new(&instruments));
    let mut waiting: BTreeSet<Instrument> = instruments.iter().copied().collect();
    let mut draw = tokio::time::interval(DRAW_EVERY);
    while stop.run_until_cancelled(draw.tick()).await.is_some() {
        let Ok(prices) = cache.list().await else { continue };
        match &lines {
            Some(lines) => prices.iter().for_each(|cached| lines.show(cached.price())),
            None => {
                for cached in prices {
                    if waiting.remove(&cached.instrument()) {
                        say!("first price: {}", line(cached.price()));
                    }
                }
                if waiting.is_empty() {
                    return;
                }
            }
        }
    }
    if let Some(lines) = lines {
        lines.end();
    }
}

struct Lines {
    bars: Vec<(Instrument, ProgressBar)>,
}

impl Lines {
    fn new(instruments: &[Instrument]) -> Self {
        let together = MultiProgress::new();
        let style = ProgressStyle::with_template("{msg}").expect("a fixed template");
        let bars = instruments
            .iter()
            .map(|instrument| {
                let bar = together.add(ProgressBar::no_length().with_style(style.clone()));
                bar.set_message(format!("{instrument:<11} waits for its first price"));
                (*instrument, bar)
            })
            .collect();
        Self { bars }
    }

    fn show(&self, price: &CompositePrice) {
        if let Some((_, bar)) = self.bars.iter().find(|(instrument, _)| *instrument == price.instrument) {
            bar.set_message(line(price));
        }
    }

    fn end(&self) {
        for (_, bar) in &self.bars {
            bar.abandon();
        }
    }
}

/// One price in one line.
fn line(price: &CompositePrice) -> String {
    let status = price.status.as_str();
    let side = |level: &Option<model::BestLevel>| level.as_ref().map_or("-".into(), |level| level.price.to_string());
    let venues: Vec<String> = price
        .constituents
        .iter()
        .filter(|one| one.weight.is_positive())
        .map(|one| format!("{} {}%", one.venue, one.weight.raw() / 1_000_000))
        .collect();
    format!(
        "{:<11} {:>16} {:<13} bid {:>16} ask {:>16}  {}",
        price.instrument,
        price.price.to_string(),
        status,
        side(&price.bid),
        side(&price.ask),
        venues.join(", "),
    )
}
