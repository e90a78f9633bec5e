//! Figures of the embedded log. Arguments after `--`: `quick` for short runs, `dir=PATH` for another disk,
//! `kept=MIB` for what a partition keeps, `only=in|out|single|mixed`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Batch, Log, Partition, Priority, Retention, TopicSpec, Visibility};

const RECORD: usize = 150;
const PER_BATCH: u64 = 100;
const PRODUCERS: u32 = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "quick");
    let dir = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("dir="))
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench-log")), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runs = if quick { 1 } else { 3 };
    let records = if quick { 500_000 } else { 2_000_000 };
    let seconds = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("seconds=")?.parse().ok())
        .unwrap_or(if quick { 4 } else { 20 });
    let only = |name: &str| {
        let named: Vec<_> = arguments.iter().filter(|argument| argument.starts_with("only=")).collect();
        named.is_empty() || named.iter().any(|argument| argument.ends_with(name))
    };
    if only("in") {
        for (label, sync) in [("synced", SyncPolicy::EveryBatch), ("sync off", SyncPolicy::Never)] {
            let rates = (0..runs).map(|_| runtime.block_on(throughput(&dir, sync, records)));
            println!("records in, {label}: {:.0} /s acknowledged", median(rates.collect()));
        }
    }
    if only("out") {
        let (tail, disk): (Vec<_>, Vec<_>) = (0..runs).map(|_| runtime.block_on(out(&dir, records))).unzip();
        println!("records out, from files: {:.0} /s", median(disk));
        println!("records out, at the tail (in and out together): {:.0} /s", median(tail));
    }
    if only("single") || only("mixed") {
        disk_alone(&dir, if quick { 500 } else { 3_000 });
    }
    if only("single") {
        runtime.block_on(single(&dir, if quick { 500 } else { 5_000 }));
    }
    if only("mixed") {
        let durations: &'static Durations = Box::leak(Box::default());
        metrics::set_global_recorder(durations).map_err(|_| ()).unwrap();
        runtime.block_on(mixed(&dir, seconds));
        durations.report();
    }
    let _ = std::fs::remove_dir_all(&dir);
}

/// Keeps the durations that the log reports.
#[derive(Default)]
struct Durations(Mutex<BTreeMap<String, Arc<Samples>>>);

#[derive(Default)]
struct Samples(Mutex<Vec<Duration>>);

impl metrics::HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(Duration::from_secs_f64(value));
    }
}

impl Durations {
    fn report(&self) {
        for (name, samples) in &*self.0.lock().unwrap() {
            let times = std::mem::take(&mut *samples.0.lock().unwrap());
            if !times.is_empty() {
                line(&format!("  {}", name.trim_start_matches("millrace_log_")), times);
            }
        }
    }
}

impl metrics::Recorder for &'static Durations {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::noop()
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        let mut all = self.0.lock().unwrap();
        metrics::Histogram::from_arc(Arc::clone(all.entry(key.name().to_owned()).or_default()))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn line(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{name}: p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms ({} samples)",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        times.len()
    );
}

/// Processor seconds of this process, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// What the disk gives without the log: one 4 kB write and fdatasync on a file written before.
fn disk_alone(dir: &PathBuf, count: usize) {
    use std::os::unix::fs::FileExt;
    std::fs::create_dir_all(dir).unwrap();
    let file = std::fs::File::create(dir.join("alone")).unwrap();
    file.write_all_at(&vec![0; count * 4096], 0).unwrap();
    file.sync_all().unwrap();
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let started = Instant::now();
        file.write_all_at(&[7; 4096], number as u64 * 4096).unwrap();
        file.sync_data().unwrap();
        times.push(started.elapsed());
        std::thread::sleep(Duration::from_micros(500));
    }
    line("the disk alone, one write and fdatasync", times);
}

async fn open(dir: &PathBuf, sync: SyncPolicy, topics: &[&str]) -> Arc<EmbeddedLog> {
    let _ = std::fs::remove_dir_all(dir);
    let log = EmbeddedLog::open(dir, EmbeddedConfig { sync, ..EmbeddedConfig::default() }).await.unwrap();
    for topic in topics {
        let kept = std::env::args().find_map(|argument| argument.strip_prefix("kept=")?.parse::<u64>().ok());
        let bytes = Some(kept.unwrap_or(256) << 20);
        let retention = Retention { age: Some(Duration::from_secs(3600)), bytes };
        let spec = TopicSpec { name: (*topic).into(), partitions: PRODUCERS, replication: 1, retention };
        log.create_topic(&spec).await.unwrap();
    }
    Arc::new(log)
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    (0..PER_BATCH).for_each(|number| batch.push_with(b"", |out| out.resize(out.len() + RECORD, number as u8)));
    batch
}

async fn produce(log: &Arc<EmbeddedLog>, index: u32, records: u64) {
    let mut appender = log.appender(&Partition::new("ticks", index), Priority::Normal).await.unwrap();
    let mut acks = std::collections::VecDeque::new();
    for _ in 0..records / PER_BATCH {
        acks.push_back(appender.append(batch()).await.unwrap());
        if acks.len() >= 256 {
            acks.pop_front().unwrap().await.unwrap();
        }
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

async fn produce_all(log: &Arc<EmbeddedLog>, records: u64) {
    let tasks: Vec<_> = (0..PRODUCERS)
        .map(|index| {
            let log = Arc::clone(log);
            tokio::spawn(async move { produce(&log, index, records / u64::from(PRODUCERS)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn consume(log: &Arc<EmbeddedLog>, index: u32, records: u64) {
    let mut reader = log.reader(&Partition::new("ticks", index), 0, Visibility::Durable).await.unwrap();
    let mut into = Vec::new();
    let mut bytes = 0;
    while reader.position() < records {
        reader.read(&mut into).await.unwrap();
        bytes += into.drain(..).map(|record| record.value.len()).sum::<usize>();
    }
    assert_eq!(bytes as u64, records * RECORD as u64);
}

async fn throughput(dir: &PathBuf, sync: SyncPolicy, records: u64) -> f64 {
    let log = open(dir, sync, &["ticks"]).await;
    let started = Instant::now();
    produce_all(&log, records).await;
    let rate = records as f64 / started.elapsed().as_secs_f64();
    log.close().await.unwrap();
    rate
}

/// Returns the rate at the tail, while records go in, and the rate from files.
async fn out(dir: &PathBuf, records: u64) -> (f64, f64) {
    let log = open(dir, SyncPolicy::Never, &["ticks"]).await;
    let each = records / u64::from(PRODUCERS);
    let started = Instant::now();
    let tailers: Vec<_> = (0..PRODUCERS)
        .map(|index| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { consume(&log, index, each).await })
        })
        .collect();
    produce_all(&log, records).await;
    for tailer in tailers {
        tailer.await.unwrap();
    }
    let tail = records as f64 / started.elapsed().as_secs_f64();
    log.close().await.unwrap();
    drop(log);
    // Opened again, nothing is in memory.
    let started = Instant::now();
    let log = Arc::new(EmbeddedLog::open(dir, EmbeddedConfig::default()).await.unwrap());
    let mib = (records * (RECORD as u64 + 8)) as f64 / f64::from(1 << 20);
    println!("opening, every checksum compared: {:.0} MiB/s", mib / started.elapsed().as_secs_f64());
    let started = Instant::now();
    for index in 0..PRODUCERS {
        consume(&log, index, each).await;
    }
    let disk = records as f64 / started.elapsed().as_secs_f64();
    log.close().await.unwrap();
    (tail, disk)
}

async fn single(dir: &PathBuf, count: usize) {
    let log = open(dir, SyncPolicy::EveryBatch, &["ticks"]).await;
    let mut appender = log.appender(&Partition::new("ticks", 0), Priority::Normal).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let batch = Batch::of(b"BTC-USDT", &[7; RECORD]);
        let started = Instant::now();
        appender.append(batch).await.unwrap().await.unwrap();
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    line("one synced append", times);
    log.close().await.unwrap();
}

/// 20,000 ticks and 20,000 prices of 700 bytes a second: each tick wakes a stage that appends a price.
async fn mixed(dir: &PathBuf, seconds: u64) {
    let log = open(dir, SyncPolicy::EveryBatch, &["ticks", "prices"]).await;
    let cpu = cpu_seconds();
    let (of_stage, at) = (Arc::clone(&log), Partition::new("ticks", 0));
    let stage = tokio::spawn(async move {
        let mut reader = of_stage.reader(&at, 0, Visibility::Durable).await.unwrap();
        let mut appender = of_stage.appender(&Partition::new("prices", 0), Priority::Normal).await.unwrap();
        let mut into = Vec::new();
        let mut acks = tokio::task::JoinSet::new();
        while reader.position() < seconds * 20_000 {
            reader.read(&mut into).await.unwrap();
            let mut batch = Batch::new();
            let started: Vec<u64> =
                into.drain(..).map(|tick| u64::from_le_bytes(tick.value[..8].try_into().unwrap())).collect();
            for nanos in &started {
                batch.push_with(b"BTC-USDT", |out| {
                    out.extend_from_slice(&nanos.to_le_bytes());
                    out.resize(out.len() + 692, b'p');
                });
            }
            let ack = appender.append(batch).await.unwrap();
            acks.spawn(ack);
            while acks.try_join_next().is_some() {}
        }
        acks.join_all().await;
    });
    let (of_seer, clock) = (Arc::clone(&log), Instant::now());
    let seer = tokio::spawn(async move {
        let place = Partition::new("prices", 0);
        let mut reader = of_seer.reader(&place, 0, Visibility::Written).await.unwrap();
        let (mut into, mut times) = (Vec::new(), Vec::new());
        while reader.position() < seconds * 20_000 {
            reader.read(&mut into).await.unwrap();
            let now = clock.elapsed();
            for price in into.drain(..) {
                let sent = u64::from_le_bytes(price.value[..8].try_into().unwrap());
                times.push(now.saturating_sub(Duration::from_nanos(sent)));
            }
        }
        times
    });
    let mut appender = log.appender(&Partition::new("ticks", 0), Priority::Normal).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    let mut times = Vec::new();
    let mut sent = 0;
    let mut ticker = tokio::time::interval(Duration::from_millis(1));
    while sent < seconds * 20_000 {
        ticker.tick().await;
        let due = (clock.elapsed().as_nanos() as u64 / 50_000).min(seconds * 20_000);
        while sent < due {
            let mut batch = Batch::new();
            let mut stamps = Vec::new();
            while sent < due && batch.len() < 10 {
                let at = sent * 50_000;
                batch.push_with(b"BTC", |out| {
                    out.extend_from_slice(&at.to_le_bytes());
                    out.resize(out.len() + 292, b't');
                });
                stamps.push(at);
                sent += 1;
            }
            let ack = appender.append(batch).await.unwrap();
            waiting.spawn(async move {
                ack.await.unwrap();
                (stamps, clock.elapsed())
            });
        }
        while let Some(done) = waiting.try_join_next() {
            let (stamps, at) = done.unwrap();
            times.extend(stamps.iter().map(|sent| at.saturating_sub(Duration::from_nanos(*sent))));
        }
    }
    for (stamps, at) in waiting.join_all().await {
        times.extend(stamps.iter().map(|sent| at.saturating_sub(Duration::from_nanos(*sent))));
    }
    stage.await.unwrap();
    let seen = seer.await.unwrap();
    let wall = clock.elapsed().as_secs_f64();
    let mib = (seconds * 20_000 * (300 + 700)) as f64 / f64::from(1 << 20) / wall;
    println!("mixed, {mib:.1} MiB/s, {:.2} processors busy", (cpu_seconds() - cpu) / wall);
    line("  tick due -> tick acknowledged", times);
    line("  tick due -> price written and seen", seen);
    log.close().await.unwrap();
}
