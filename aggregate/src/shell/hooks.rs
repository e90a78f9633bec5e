//! What happens beside the fold: the cache, the metrics.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use journal::Offset;
use journal::stage::{Hooks, Phase};
use metrics::{Counter, Gauge, Histogram};
use model::UnixNanos;

use super::core::ShellCore;
use crate::cache::{CachedPrice, PriceCache};

/// Counters are passed on this often.
const COUNTERS_EVERY: Duration = Duration::from_millis(250);

/// Fills the cache and tells the metrics.
pub(super) struct ShellHooks {
    cache: Arc<dyn PriceCache>,
    /// Set once it is known which configuration the log names last.
    configured: Arc<OnceLock<Option<u64>>>,
    counters: Vec<Counter>,
    lag: Gauge,
    delay: Histogram,
    told: Instant,
    put: Vec<Arc<CachedPrice>>,
}

/// The names of the core's counters, in the order of [`values`].
const COUNTERS: [&str; 21] = [
    "records",
    "repeated",
    "trades",
    "quotes",
    "tickers",
    "late",
    "duplicates",
    "off_book",
    "historic",
    "skewed",
    "unusable",
    "crossed",
    "unknown",
    "displaced",
    "unanswered",
    "other_config",
    "clock_steps",
    "prices",
    "candles",
    "revisions",
    "undecodable",
];

fn values(core: &ShellCore) -> [u64; COUNTERS.len()] {
    let counters = core.counters();
    [
        counters.records,
        counters.repeated,
        counters.trades,
        counters.quotes,
        counters.tickers,
        counters.late,
        counters.duplicates,
        counters.off_book,
        counters.historic,
        counters.skewed,
        counters.unusable,
        counters.crossed,
        counters.unknown,
        counters.displaced,
        counters.unanswered,
        counters.other_config,
        counters.clock_steps,
        counters.prices,
        counters.candles,
        counters.revisions,
        core.undecodable(),
    ]
}

impl ShellHooks {
    pub(super) fn new(cache: Arc<dyn PriceCache>, configured: Arc<OnceLock<Option<u64>>>, partition: u32) -> Self {
        let label = partition.to_string();
        let counter =
            |name| metrics::counter!(format!("millrace_aggregate_{name}_total"), "partition" => label.clone());
        Self {
            cache,
            configured,
            counters: COUNTERS.iter().map(counter).collect(),
            lag: metrics::gauge!("millrace_aggregate_lag_seconds", "partition" => label.clone()),
            delay: metrics::histogram!("millrace_aggregate_price_delay_seconds", "partition" => label.clone()),
            told: Instant::now(),
            put: Vec::new(),
        }
    }

    /// Puts the newest price of each instrument. While the stage catches up they wait: prices of the past are
    /// no current ones.
    fn fill(&mut self, core: &mut ShellCore) {
        let fresh = core.take_fresh();
        if fresh.is_empty() {
            return;
        }
        let now = wall_clock();
        for (price, json) in fresh.into_values() {
            self.delay.record(seconds(now.since(price.ts_recv)));
            // A price that the log has already was not written again.
            let json = json.unwrap_or_else(|| {
                let mut json = Vec::new();
                price.write_json(&mut json);
                json.into()
            });
            self.put.push(Arc::new(CachedPrice::new(price, json)));
        }
        self.cache.put(&self.put);
        self.put.clear();
    }
}

impl Hooks<ShellCore> for ShellHooks {
    fn applied(&mut self, core: &mut ShellCore, _: Offset, phase: Phase) {
        if phase == Phase::Live {
            self.fill(core);
            self.configured.get_or_init(|| core.configured());
        }
        if self.told.elapsed() < COUNTERS_EVERY {
            return;
        }
        self.told = Instant::now();
        for (counter, value) in self.counters.iter().zip(values(core)) {
            counter.absolute(value);
        }
        if let Some(last) = core.last_recv() {
            self.lag.set(seconds(wall_clock().since(last)));
        }
    }
}

/// The time now, as the clocks of records have it.
pub(super) fn wall_clock() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
