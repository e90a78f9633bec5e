//! The aggregation on a synced log: how long from a tick's receipt to its price, and how fast a backlog goes.
//!
//! `cargo bench -p aggregate --bench shell -- [ticks per second] [seconds] [ticks in the backlog]`

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aggregate::cache::{CacheError, CacheHealth, CacheStats, CachedPrice, MemoryCache, PriceCache};
use aggregate::config::{Config, Rules};
use aggregate::shell::{CLOCK_EVERY, SNAPSHOT_EVERY, Shell, ShellConfig};
use anyhow::Context as _;
use async_trait::async_trait;
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::stage::Phase;
use journal::{ClaimedWriter, Log, Partition, Priority, Retention, TopicSpec, Visibility};
use model::{
    Claim, Instrument, Origin, Price, Quantity, Side, Tick, TickBody, TickFlags, Trade, TradeId, UnixNanos, topic,
};
use tokio_util::sync::CancellationToken;

const PARTITIONS: u32 = 4;
const INSTRUMENTS: [&str; 10] = [
    "BTC-USDT",
    "ETH-USDT",
    "USDT-USD",
    "XRP-USDT",
    "BNB-USDT",
    "SOL-USDT",
    "USDC-USDT",
    "DOGE-USDT",
    "ADA-USDT",
    "TRX-USDT",
];
const VENUES: [&str; 3] = ["binance", "coinbase", "kraken"];

fn now() -> UnixNanos {
    UnixNanos(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64))
}

/// Notes how old a price is when it is put.
#[derive(Debug)]
struct Timed {
    inner: MemoryCache,
    delays: Mutex<Vec<i64>>,
}

#[async_trait]
impl PriceCache for Timed {
    async fn get(&self, instrument: &Instrument) -> Result<Option<Arc<CachedPrice>>, CacheError> {
        self.inner.get(instrument).await
    }

    async fn list(&self) -> Result<Vec<Arc<CachedPrice>>, CacheError> {
        self.inner.list().await
    }

    fn put(&self, prices: &[Arc<CachedPrice>]) {
        self.inner.put(prices);
        let now = now();
        let mut delays = self.delays.lock().expect("no panic while it is held");
        delays.extend(prices.iter().map(|price| now.since(price.price().ts_recv)));
    }

    fn health(&self) -> CacheHealth {
        self.inner.health()
    }

    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }
}

/// Trades that wander, round robin over venues and instruments.
struct Ticks {
    random: fastrand::Rng,
    made: u64,
}

impl Ticks {
    fn next(&mut self) -> (u32, TickBody) {
        self.made += 1;
        let instrument: Instrument = INSTRUMENTS[self.made as usize % INSTRUMENTS.len()].parse().expect("well formed");
        let raw = 100_000_000 * 100 + self.random.i64(-5_000_000..5_000_000);
        let body = TickBody::Trade(Trade {
            venue: VENUES[self.random.usize(0..VENUES.len())].parse().expect("well formed"),
            instrument,
            id: TradeId::Number(self.made),
            price: Price::from_raw(raw).expect("in range"),
            quantity: Quantity::from_raw(self.random.i64(1..100_000_000)).expect("in range"),
            taker_side: if self.random.bool() { Side::Buy } else { Side::Sell },
        });
        (topic::partition_for(topic::ticks_key(&instrument).as_bytes(), PARTITIONS), body)
    }
}

fn tick(epoch: u64, sequence: u64, at: UnixNanos, body: TickBody) -> Tick {
    let origin = Origin::Root { role: "ingest/bench".parse().expect("short"), epoch, sequence };
    Tick { origin, ts_event: at, ts_recv: at, flags: TickFlags::default(), body }
}

async fn writers(log: &dyn Log) -> anyhow::Result<Vec<ClaimedWriter>> {
    let mut writers = Vec::new();
    for index in 0..PARTITIONS {
        let to = Partition::new(topic::TICKS, index);
        let claim = |out: &mut Vec<u8>| tick(0, 0, now(), TickBody::Claim(Claim)).encode(out);
        writers.push(ClaimedWriter::claim(log, &to, Priority::Normal, 64, b"", claim).await?);
    }
    Ok(writers)
}

fn push(writers: &mut [ClaimedWriter], ticks: &mut Ticks, at: UnixNanos) {
    let (to, body) = ticks.next();
    writers[to as usize].push(b"", |stamp, out| tick(stamp.epoch, stamp.sequence, at, body).encode(out));
}

async fn open(directory: &Path) -> anyhow::Result<Arc<dyn Log>> {
    let log = EmbeddedLog::open(directory.join("log"), EmbeddedConfig::default()).await?;
    for (name, partitions) in [(topic::TICKS, 4), (topic::PRICES, 4), (topic::CANDLES, 4), (topic::DEAD_LETTERS, 1)] {
        let retention = Retention { age: None, bytes: None };
        log.create_topic(&TopicSpec { name: name.into(), partitions, replication: 1, retention }).await?;
    }
    Ok(Arc::new(log))
}

async fn start(
    log: &Arc<dyn Log>,
    directory: &Path,
    rules: Rules,
    clock_every: Option<Duration>,
    cache: &Arc<Timed>,
) -> anyhow::Result<(Shell, CancellationToken)> {
    let instruments: Vec<Instrument> = INSTRUMENTS.iter().map(|name| name.parse().expect("well formed")).collect();
    let rules = Config::uniform(&instruments, &rules).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let config = ShellConfig {
        rules: Arc::new(rules),
        snapshots: directory.join("snapshots"),
        snapshot_every: SNAPSHOT_EVERY,
        clock_every,
    };
    let stop = CancellationToken::new();
    let cache: Arc<dyn PriceCache> = Arc::clone(cache) as _;
    Ok((Shell::start(Arc::clone(log), config, cache, stop.clone()).await?, stop))
}

fn timed() -> Arc<Timed> {
    Arc::new(Timed { inner: MemoryCache::new(Duration::from_secs(5)), delays: Mutex::default() })
}

fn print_delays(what: &str, delays: &mut [i64]) {
    delays.sort_unstable();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize] as f64 / 1e6;
    println!(
        "{what}: {} prices, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, most {:.3} ms",
        delays.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// Follows a partition of `prices` as a subscriber does, and notes how old its records are.
async fn subscribe(log: Arc<dyn Log>, index: u32, stop: CancellationToken) -> anyhow::Result<Vec<i64>> {
    let mut reader = log.reader(&Partition::new(topic::PRICES, index), 0, Visibility::Written).await?;
    let (mut records, mut delays) = (Vec::new(), Vec::new());
    while let Some(read) = stop.run_until_cancelled(reader.read(&mut records)).await {
        read?;
        let now = now();
        for record in records.drain(..) {
            // The last field; parsing all of it is the subscriber's own affair.
            let text = std::str::from_utf8(&record.value)?;
            let (_, last) = text.rsplit_once("\"ts_recv\":").context("a price has it")?;
            delays.push(now.since(UnixNanos(last.trim_end_matches('}').parse()?)));
        }
    }
    Ok(delays)
}

async fn latency(rate: u64, seconds: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let log = open(directory.path()).await?;
    let mut rules = Rules::default();
    rules.publish.min_interval_ns = 0;
    rules.publish.deviation_bps = Quantity::ZERO;
    let cache = timed();
    let (shell, stop) = start(&log, directory.path(), rules, Some(CLOCK_EVERY), &cache).await?;
    let subscribers: Vec<_> =
        (0..PARTITIONS).map(|index| tokio::spawn(subscribe(Arc::clone(&log), index, stop.clone()))).collect();
    let mut writers = writers(&*log).await?;
    let mut ticks = Ticks { random: fastrand::Rng::with_seed(1), made: 0 };
    let begun = Instant::now();
    let mut burst = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < Duration::from_secs(seconds) {
        burst.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        while ticks.made < due {
            push(&mut writers, &mut ticks, now());
        }
        for writer in &mut writers {
            writer.flush().await?;
        }
    }
    for writer in &mut writers {
        writer.settle().await?;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.cancel();
    println!("{} ticks at {rate}/s in bursts of 1 ms, every batch synced, min_interval 0", ticks.made);
    print_delays("receipt to cache", &mut cache.delays.lock().expect("no panic while it is held"));
    let mut seen = Vec::new();
    for subscriber in subscribers {
        seen.extend(subscriber.await??);
    }
    print_delays("receipt to subscriber", &mut seen);
    shell.join().await?;
    Ok(())
}

async fn backlog(count: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let log = open(directory.path()).await?;
    let mut writers = writers(&*log).await?;
    let mut ticks = Ticks { random: fastrand::Rng::with_seed(2), made: 0 };
    let from = now();
    while ticks.made < count {
        let at = from.plus(ticks.made as i64 * 50_000);
        push(&mut writers, &mut ticks, at);
        for writer in writers.iter_mut().filter(|writer| writer.pending() >= 1_000) {
            writer.flush().await?;
        }
    }
    for writer in &mut writers {
        writer.settle().await?;
    }
    let begun = Instant::now();
    let (shell, stop) = start(&log, directory.path(), Rules::default(), None, &timed()).await?;
    for (index, status) in shell.statuses().iter().enumerate() {
        let end = log.bounds(&Partition::new(topic::TICKS, index as u32)).await?.end;
        status.clone().wait_for(|status| status.phase == Phase::Live && status.durable >= end).await?;
    }
    let took = begun.elapsed();
    println!("backlog: {count} ticks in {took:?}, {:.0} ticks/s, outputs synced", count as f64 / took.as_secs_f64());
    stop.cancel();
    shell.join().await?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        latency(number(0, 20_000), number(1, 20)).await?;
        for _ in 0..3 {
            backlog(number(2, 1_000_000)).await?;
        }
        Ok(())
    })
}
