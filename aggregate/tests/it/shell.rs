//! The aggregation on a real log: whatever happens to it, the topics hold what one cold fold of the inbox
//! gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aggregate::cache::{MemoryCache, PriceCache};
use aggregate::config::{Config, Rules};
use aggregate::core::{Aggregator, Output, Stamp};
use aggregate::shell::{Shell, ShellConfig};
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::stage::Phase;
use journal::{Bounds, ClaimedWriter, Log, Partition, Priority, Retention, TopicSpec, Visibility};
use model::{Claim, Instrument, Origin, Tick, TickBody, TickFlags, UnixNanos, topic};
use tokio_util::sync::CancellationToken;

use crate::core_support::{Chaos, START, instrument, random_config, trade};

const TICKS: u32 = 2;
/// The outputs of all stages meet in these.
const OUTPUTS: [(&str, u32); 3] = [(topic::PRICES, 3), (topic::CANDLES, 2), (topic::DEAD_LETTERS, 1)];

async fn open(directory: &Path) -> Arc<dyn Log> {
    let config = EmbeddedConfig {
        segment_bytes_min: 256 << 10,
        segment_bytes_max: 4 << 20,
        reserve_bytes: 1 << 20,
        ..EmbeddedConfig::default()
    };
    let log = EmbeddedLog::open(directory.join("log"), config).await.unwrap();
    for (name, partitions) in OUTPUTS.into_iter().chain([(topic::TICKS, TICKS)]) {
        let retention = Retention { age: None, bytes: None };
        log.create_topic(&TopicSpec { name: name.into(), partitions, replication: 1, retention }).await.unwrap();
    }
    Arc::new(log)
}

fn shell_config(rules: &Arc<Config>, directory: &Path) -> ShellConfig {
    ShellConfig {
        rules: Arc::clone(rules),
        snapshots: directory.join("snapshots"),
        snapshot_every: Duration::from_millis(20),
        clock_every: None,
    }
}

fn root(epoch: u64, sequence: u64) -> Origin {
    Origin::Root { role: "ingest/test".parse().unwrap(), epoch, sequence }
}

/// Writes ticks to the partitions they belong to.
struct Feed(Vec<ClaimedWriter>);

impl Feed {
    async fn start(log: &dyn Log) -> Self {
        let at = UnixNanos(START);
        let claim = Tick {
            origin: root(0, 0),
            ts_event: at,
            ts_recv: at,
            flags: TickFlags::default(),
            body: TickBody::Claim(Claim),
        };
        let mut writers = Vec::new();
        for index in 0..TICKS {
            let to = Partition::new(topic::TICKS, index);
            let encode = |out: &mut Vec<u8>| claim.encode(out);
            writers.push(ClaimedWriter::claim(log, &to, Priority::Normal, 8, b"", encode).await.unwrap());
        }
        Self(writers)
    }

    async fn push(&mut self, tick: Tick, fallback: u32) {
        let key = tick.instrument();
        let at = key.map_or(fallback, |of| topic::partition_for(topic::ticks_key(&of).as_bytes(), TICKS));
        let writer = &mut self.0[at as usize];
        writer.push(b"", |stamp, out| Tick { origin: root(stamp.epoch, stamp.sequence), ..tick }.encode(out));
        if writer.pending() >= 7 {
            writer.flush().await.unwrap();
        }
    }

    async fn settle(&mut self) {
        for writer in &mut self.0 {
            writer.settle().await.unwrap();
        }
    }
}

async fn read_all(log: &dyn Log, partition: &Partition) -> Vec<Vec<u8>> {
    let Bounds { start, end } = log.bounds(partition).await.unwrap();
    let mut reader = log.reader(partition, start, Visibility::Durable).await.unwrap();
    let mut records = Vec::new();
    while reader.position() < end {
        reader.read(&mut records).await.unwrap();
    }
    records.into_iter().map(|record| record.value.to_vec()).collect()
}

/// Waits until nothing is left to do. (Rates that it writes are inputs again.)
async fn idle(log: &dyn Log, shell: &Shell) {
    let mut before = Vec::new();
    for _ in 0..6_000 {
        let (mut done, mut ends) = (true, Vec::new());
        for (index, status) in shell.statuses().iter().enumerate() {
            let end = log.bounds(&Partition::new(topic::TICKS, index as u32)).await.unwrap().end;
            let status = status.borrow();
            assert_ne!(status.phase, Phase::Stopped, "{:?}", status.failure);
            done &= status.phase == Phase::Live && status.position == end && status.durable == end;
            ends.push(end);
        }
        // Twice the same: one may have written to another between two looks.
        if done && ends == before {
            return;
        }
        before = ends;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not come to rest: {:?}", shell.statuses().iter().map(|s| s.borrow().clone()).collect::<Vec<_>>());
}

/// Records in order, by source and destination partition.
type BySource = BTreeMap<(u32, u32), Vec<Vec<u8>>>;

/// What one cold fold of every inbox gives.
#[derive(Default)]
struct Everything {
    prices: BySource,
    candles: BySource,
    rates: BySource,
    newest: BTreeMap<Instrument, Vec<u8>>,
}

async fn cold_fold(log: &dyn Log, rules: &Arc<Config>) -> Everything {
    let mut all = Everything::default();
    for source in 0..TICKS {
        let mut core = Aggregator::new(Arc::clone(rules));
        let mut out = Vec::new();
        for (offset, value) in read_all(log, &Partition::new(topic::TICKS, source)).await.iter().enumerate() {
            let Ok(tick) = Tick::decode(value) else { continue };
            core.apply(Stamp { partition: source, offset: offset as u64 }, &tick, &mut out);
            for output in out.drain(..) {
                let mut bytes = Vec::new();
                match output {
                    Output::Price(price) => {
                        price.write_json(&mut bytes);
                        let to = topic::partition_for(price.instrument.as_str().as_bytes(), OUTPUTS[0].1);
                        all.newest.insert(price.instrument, bytes.clone());
                        all.prices.entry((source, to)).or_default().push(bytes);
                    }
                    Output::Candle(candle) => {
                        let key = format!("{}/{}", candle.instrument, candle.interval);
                        let to = topic::partition_for(key.as_bytes(), OUTPUTS[1].1);
                        serde_json::to_writer(&mut bytes, &candle).unwrap();
                        all.candles.entry((source, to)).or_default().push(bytes);
                    }
                    Output::Rate(tick) => {
                        tick.encode(&mut bytes);
                        let TickBody::Rate(rate) = tick.body else { panic!("{tick:?}") };
                        let mut to: Vec<u32> = rules
                            .consumers_of(rate.instrument)
                            .map(|one| topic::partition_for(one.base().as_bytes(), TICKS))
                            .collect();
                        to.dedup();
                        for to in to {
                            all.rates.entry((source, to)).or_default().push(bytes.clone());
                        }
                    }
                }
            }
        }
    }
    all
}

/// The same, as the topics have it.
async fn stored(log: &dyn Log, cache: &dyn PriceCache) -> Everything {
    #[derive(serde::Deserialize)]
    struct Caused {
        cause: model::Cause,
    }
    let mut all = Everything::default();
    for (at, (name, partitions)) in OUTPUTS.into_iter().take(2).enumerate() {
        for to in 0..partitions {
            for value in read_all(log, &Partition::new(name, to)).await {
                let Caused { cause } = serde_json::from_slice(&value).unwrap();
                let into = if at == 0 { &mut all.prices } else { &mut all.candles };
                into.entry((cause.partition, to)).or_default().push(value);
            }
        }
    }
    for to in 0..TICKS {
        for value in read_all(log, &Partition::new(topic::TICKS, to)).await {
            if let Ok(Tick { origin: Origin::Derived(cause), .. }) = Tick::decode(&value) {
                all.rates.entry((cause.partition, to)).or_default().push(value);
            }
        }
    }
    for price in cache.list().await.unwrap() {
        all.newest.insert(price.instrument(), price.json().to_vec());
    }
    all
}

/// Names the first difference.
fn assert_same(stored: &BySource, cold: &BySource, what: &str) {
    assert_eq!(stored.keys().collect::<Vec<_>>(), cold.keys().collect::<Vec<_>>(), "{what}: partitions");
    for (from_to, cold) in cold {
        let stored = &stored[from_to];
        let differs = stored.iter().zip(cold).position(|(stored, cold)| stored != cold);
        let at = differs.unwrap_or(stored.len().min(cold.len()));
        let shown = |values: &[Vec<u8>]| values.get(at).map(|value| String::from_utf8_lossy(value).into_owned());
        assert!(
            stored == cold,
            "{what} {from_to:?} differ at {at}, {} are stored of {}:\n{:?}\n{:?}",
            stored.len(),
            cold.len(),
            shown(stored),
            shown(cold)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_the_topics_hold_one_cold_fold() {
    for seed in 0..16 {
        let mut random = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let rules = random_config(&mut random);
        let mut log = open(directory.path()).await;
        let mut chaos = Chaos::new(seed, &rules);
        let mut kills = 0;
        for round in 0..12 {
            let cache: Arc<dyn PriceCache> = Arc::new(MemoryCache::new(Duration::from_secs(3_600)));
            let (config, stop) = (shell_config(&rules, directory.path()), CancellationToken::new());
            let shell = Shell::start(Arc::clone(&log), config, Arc::clone(&cache), stop.clone()).await.unwrap();
            let mut feed = Feed::start(&*log).await;
            for _ in 0..random.u32(1..600) {
                let tick = chaos.tick();
                if !matches!(tick.body, TickBody::Claim(_)) {
                    feed.push(tick, random.u32(0..TICKS)).await;
                }
            }
            feed.settle().await;
            drop(feed);
            if round == 11 {
                idle(&*log, &shell).await;
                let (cold, stored) = (cold_fold(&*log, &rules).await, stored(&*log, &*cache).await);
                let what = format!("seed {seed}, {kills} kills");
                assert_same(&stored.prices, &cold.prices, &format!("{what}: prices"));
                assert_same(&stored.candles, &cold.candles, &format!("{what}: candles"));
                assert_same(&stored.rates, &cold.rates, &format!("{what}: rates"));
                assert!(!cold.newest.is_empty(), "seed {seed}: no price");
                for (of, json) in &stored.newest {
                    assert_eq!(cold.newest.get(of), Some(json), "seed {seed}: {of} in the cache");
                }
            }
            if random.bool() {
                stop.cancel();
                shell.join().await.unwrap();
            } else {
                kills += 1;
                drop(shell);
                // A process that ends writes nothing more; tasks that are aborted may, until they are gone.
                while Arc::strong_count(&log) > 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            if random.u8(0..3) == 0 {
                drop(log);
                log = open(directory.path()).await;
            }
        }
    }
}

/// Trades of two venues at a time, for prices that are easy to foresee.
async fn feed_trades(feed: &mut Feed, count: u64, first_id: u64) {
    for id in first_id..first_id + count {
        for venue in ["alpha", "bravo", "charlie"] {
            for of in ["BTC-USDT", "ETH-USDT"] {
                let at = UnixNanos(START + id as i64 * 50_000_000);
                let body = trade(venue, of, id, ("100.5", "2"));
                let origin = root(0, 0);
                feed.push(Tick { origin, ts_event: at, ts_recv: at, flags: TickFlags::default(), body }, 0).await;
            }
        }
    }
    feed.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_tick_is_a_dead_letter_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let instruments = [instrument("BTC-USDT"), instrument("ETH-USDT")];
    let rules = Arc::new(Config::uniform(&instruments, &Rules::default()).unwrap());
    let log = open(directory.path()).await;
    let cache: Arc<dyn PriceCache> = Arc::new(MemoryCache::new(Duration::from_secs(3_600)));
    let stop = CancellationToken::new();
    let config = shell_config(&rules, directory.path());
    let shell = Shell::start(Arc::clone(&log), config, Arc::clone(&cache), stop.clone()).await.unwrap();
    let to = Partition::new(topic::TICKS, topic::partition_for(b"BTC", TICKS));
    let mut appender = log.appender(&to, Priority::Normal).await.unwrap();
    let mut bad = Vec::new();
    for value in [&b""[..], b"\x01", b"\xff\xff\xff\xff", &[1; 9], &[0; 100_000]] {
        bad.push(appender.append(journal::Batch::of(b"", value)).await.unwrap().await.unwrap());
    }
    let mut feed = Feed::start(&*log).await;
    feed_trades(&mut feed, 100, 1).await;
    idle(&*log, &shell).await;
    let letters = read_all(&*log, &Partition::new(topic::DEAD_LETTERS, 0)).await;
    let letters: Vec<serde_json::Value> =
        letters.iter().map(|letter| serde_json::from_slice(letter).unwrap()).collect();
    let told: Vec<u64> = letters.iter().map(|letter| letter["offset"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(told, bad);
    assert!(letters.iter().all(|letter| letter["source"] == to.to_string() && letter["reason"].is_string()));
    let price = cache.get(&instruments[0]).await.unwrap().expect("trades go on");
    assert_eq!(price.price().price.to_string(), "100.5");
    stop.cancel();
    shell.join().await.unwrap();
}

/// Claims, configurations and clocks in a partition of `ticks`.
async fn clock_records(log: &dyn Log, index: u32) -> (usize, Vec<u64>, usize) {
    let (mut claims, mut hashes, mut clocks) = (0, Vec::new(), 0);
    for value in read_all(log, &Partition::new(topic::TICKS, index)).await {
        match Tick::decode(&value).unwrap().body {
            TickBody::Claim(_) => claims += 1,
            TickBody::Configure(configure) => hashes.push(configure.hash),
            TickBody::Clock(_) => clocks += 1,
            _ => {}
        }
    }
    (claims, hashes, clocks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_ticks_and_names_a_configuration_once() {
    let directory = tempfile::tempdir().unwrap();
    let instruments = [instrument("BTC-USDT")];
    let first = Arc::new(Config::uniform(&instruments, &Rules::default()).unwrap());
    let other = Rules { min_trades: 2, ..Rules::default() };
    let second = Arc::new(Config::uniform(&instruments, &other).unwrap());
    assert_ne!(first.hash(), second.hash());
    let log = open(directory.path()).await;
    let cache: Arc<dyn PriceCache> = Arc::new(MemoryCache::new(Duration::from_secs(3_600)));
    let expected = [&[first.hash()][..], &[first.hash()], &[first.hash(), second.hash()]];
    for (run, rules) in [&first, &first, &second].into_iter().enumerate() {
        let stop = CancellationToken::new();
        let config =
            ShellConfig { clock_every: Some(Duration::from_millis(5)), ..shell_config(rules, directory.path()) };
        let shell = Shell::start(Arc::clone(&log), config, Arc::clone(&cache), stop.clone()).await.unwrap();
        for index in 0..TICKS {
            let before = clock_records(&*log, index).await.2;
            while clock_records(&*log, index).await.2 < before + 10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let (claims, hashes, _) = clock_records(&*log, index).await;
            assert_eq!((claims, &hashes[..]), (run + 1, expected[run]), "run {run}, partition {index}");
        }
        stop.cancel();
        shell.join().await.unwrap();
    }
}
