//! The log on a real Fluvio cluster: the one that `FLUVIO_SC=host:port` names.
//!
//! `FLUVIO_SOAK_S` sets how many seconds the load runs (5 by default). Kill and restart the cluster's
//! processes meanwhile: what is checked is the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fluvio::metadata::topic::TopicSpec as FluvioTopic;
use fluvio::{FluvioAdmin, FluvioClusterConfig};
use journal::fluvio::{FluvioConfig, FluvioLog};
use journal::{
    Ack, Appender, Batch, Log, LogError, LogReader, Offset, Partition, Priority, Record, Retention, TopicSpec,
    Visibility,
};

use crate::conformance;

/// The cluster to test on; says once, past the capture of test output, when there is none.
fn endpoint() -> Option<String> {
    static SAID: Once = Once::new();
    let endpoint = std::env::var("FLUVIO_SC").ok();
    if endpoint.is_none() {
        SAID.call_once(|| {
            let _ = writeln!(std::io::stderr(), "the tests of the Fluvio log did not run: FLUVIO_SC is not set");
        });
    }
    endpoint
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Adds up counters, so that a test can tell what happened underneath.
struct Counts(Mutex<BTreeMap<String, Arc<metrics::atomics::AtomicU64>>>);

impl Counts {
    fn install() -> &'static Self {
        static COUNTS: OnceLock<&'static Counts> = OnceLock::new();
        COUNTS.get_or_init(|| {
            let counts: &'static Counts = Box::leak(Box::new(Counts(Mutex::default())));
            let _ = metrics::set_global_recorder(counts);
            // What the log says about outages, when `RUST_LOG` asks for it.
            let filter = tracing_subscriber::EnvFilter::from_default_env();
            let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
            counts
        })
    }

    fn text(&self) -> String {
        let counts = self.0.lock().unwrap();
        let load = |count: &metrics::atomics::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        counts.iter().map(|(name, count)| format!("{name} {}", load(count))).collect::<Vec<_>>().join(", ")
    }
}

impl metrics::Recorder for &'static Counts {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
        let name = format!("{}{{{}}}", key.name().trim_start_matches("millrace_log_fluvio_"), labels.join(","));
        metrics::Counter::from_arc(self.0.lock().unwrap().entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

/// A topic of this run alone, deleted at the end.
struct Scratch {
    endpoint: String,
    name: String,
}

impl Scratch {
    async fn create(endpoint: &str, log: &dyn Log, partitions: u32) -> Result<Self> {
        let name = format!("it-{:016x}", fastrand::u64(..));
        log.create_topic(&spec(&name, partitions)).await?;
        Ok(Self { endpoint: endpoint.to_owned(), name })
    }

    fn partition(&self, index: u32) -> Partition {
        Partition::new(&self.name, index)
    }

    async fn delete(self) -> Result<()> {
        let admin = FluvioAdmin::connect_with_config(&FluvioClusterConfig::new(&self.endpoint)).await?;
        admin.delete::<FluvioTopic>(self.name).await
    }
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    let retention = Retention { age: Some(Duration::from_secs(3600)), bytes: Some(2 << 30) };
    TopicSpec { name: name.into(), partitions, replication: 1, retention }
}

async fn read_to(reader: &mut dyn LogReader, end: Offset) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while reader.position() < end {
        let from = reader.position();
        let before = records.len();
        reader.read(&mut records).await?;
        ensure!(records.len() > before, "a read gave nothing");
        for (offset, record) in (from..).zip(&records[before..]) {
            ensure!(record.offset == offset, "offset {} came where {offset} was due", record.offset);
        }
    }
    Ok(records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_records_keep_their_promises() -> Result<()> {
    let Some(endpoint) = endpoint() else { return Ok(()) };
    let log = FluvioLog::connect(FluvioConfig::new(&endpoint)).await?;
    let again = FluvioLog::connect(FluvioConfig::new(&endpoint)).await?;
    assert_eq!(log.incarnation(), again.incarnation());
    assert_ne!(log.incarnation(), 0);
    assert!(log.unavailable().await.is_none());

    let topic = Scratch::create(&endpoint, &log, 2).await?;
    log.create_topic(&spec(&topic.name, 2)).await?;
    let other = log.create_topic(&spec(&topic.name, 3)).await;
    assert!(matches!(other, Err(LogError::PartitionCount { existing: 2, wanted: 3, .. })), "{other:?}");
    assert!(log.topics().await?.contains(&(topic.name.as_str().into(), 2)));
    assert!(!log.topics().await?.iter().any(|(name, _)| &**name == "incarnation" || &**name == "consumer-offset"));
    for unknown in [topic.partition(2), Partition::new("no-such-topic", 0)] {
        let refused = log.bounds(&unknown).await;
        assert!(matches!(refused, Err(LogError::UnknownPartition(_))), "{refused:?}");
    }

    let place = topic.partition(1);
    let mut appender = log.appender(&place, Priority::Normal).await?;
    assert_eq!(appender.append(Batch::new()).await?.await?, 0);
    let mut expected = Vec::new();
    let mut acks = Vec::new();
    for batch_len in [1, 2, 500, 1] {
        let mut batch = Batch::new();
        for _ in 0..batch_len {
            let number = expected.len();
            let key = if number % 3 == 0 { String::new() } else { format!("key-{number}") };
            let value = "v".repeat(number % 200);
            batch.push(key.as_bytes(), value.as_bytes());
            expected.push((key, value));
        }
        let first = (expected.len() - batch_len) as u64;
        acks.push((first, appender.append(batch).await?));
    }
    for (first, ack) in acks {
        assert_eq!(ack.await?, first);
    }
    let end = expected.len() as u64;
    assert_eq!(appender.append(Batch::new()).await?.await?, end);
    let bounds = log.bounds(&place).await?;
    assert_eq!((bounds.start, bounds.end), (0, end));
    assert_eq!(log.bounds(&topic.partition(0)).await?.end, 0);
    for (from, sees) in [(0, Visibility::Durable), (1, Visibility::Written), (end - 1, Visibility::Durable)] {
        let mut reader = again.reader(&place, from, sees).await?;
        let records = read_to(&mut *reader, end).await?;
        for (record, (key, value)) in records.iter().zip(&expected[from as usize..]) {
            assert_eq!((&record.key[..], &record.value[..]), (key.as_bytes(), value.as_bytes()));
        }
        assert_eq!(records.len() as u64, end - from);
    }
    let past = log.reader(&place, end + 1, Visibility::Durable).await.map(|_| ());
    assert!(
        matches!(past, Err(LogError::Truncated { wanted, end: at, .. }) if wanted == end + 1 && at == end),
        "{past:?}"
    );

    // A reader at the end waits, and wakes when something comes.
    let mut reader = log.reader(&place, end, Visibility::Durable).await?;
    let mut tail = Vec::new();
    let waited = tokio::time::timeout(Duration::from_millis(300), reader.read(&mut tail)).await;
    assert!(waited.is_err() && tail.is_empty());
    appender.append(Batch::of(b"k", b"woken")).await?.await?;
    reader.read(&mut tail).await?;
    assert_eq!((tail.len(), &tail[0].value[..], tail[0].offset), (1, &b"woken"[..], end));

    // The largest batches go through, larger ones are refused and change nothing.
    let largest = vec![7; Batch::BYTES_MAX];
    assert_eq!(appender.append(Batch::of(b"", &largest)).await?.await?, end + 1);
    let mut many = Batch::new();
    (0..Batch::RECORDS_MAX).for_each(|_| many.push(b"", b"x"));
    assert_eq!(appender.append(many.clone()).await?.await?, end + 2);
    many.push(b"", b"x");
    assert!(matches!(appender.append(many).await, Err(LogError::BatchTooLarge { what: "records", .. })));
    let refused = appender.append(Batch::of(b"k", &largest)).await;
    assert!(matches!(refused, Err(LogError::BatchTooLarge { what: "bytes", .. })));
    let all = end + 2 + Batch::RECORDS_MAX as u64;
    let records = read_to(&mut *reader, all).await?;
    assert!(records[0].value == largest && records[1..].iter().all(|record| &record.value[..] == b"x"));

    // What was accepted before the close is written.
    let last = appender.append(Batch::of(b"", b"last")).await?;
    log.close().await?;
    assert_eq!(last.await?, all);
    assert!(matches!(appender.append(Batch::of(b"", b"late")).await, Err(LogError::Closed)));
    assert!(matches!(reader.read(&mut Vec::new()).await, Err(LogError::Closed)));
    assert!(matches!(log.bounds(&place).await, Err(LogError::Closed)));
    assert_eq!(again.bounds(&place).await?.end, all + 1);
    again.close().await?;
    topic.delete().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_read_without_a_gap_whatever_the_size_of_its_batches() -> Result<()> {
    let Some(endpoint) = endpoint() else { return Ok(()) };
    let counts = Counts::install();
    let log = FluvioLog::connect(FluvioConfig::new(&endpoint)).await?;
    for (batch_bytes, batches) in [(16_000, 2_000), (1_000_000, 80)] {
        let topic = Scratch::create(&endpoint, &log, 1).await?;
        let place = topic.partition(0);
        let mut appender = log.appender(&place, Priority::Normal).await?;
        let mut count = 0_u64;
        let started = Instant::now();
        for _ in 0..batches {
            let mut batch = Batch::new();
            while batch.size() < batch_bytes {
                batch.push_with(b"BTC", |out| {
                    out.extend_from_slice(&count.to_le_bytes());
                    out.resize(out.len() + 139, b'.');
                });
                count += 1;
            }
            // Alone on its way, so that it is stored as it is.
            appender.append(batch).await?.await?;
        }
        let written = started.elapsed().as_secs_f64();
        let before = counts.text();
        let started = Instant::now();
        let mut reader = log.reader(&place, 0, Visibility::Durable).await?;
        let records = read_to(&mut *reader, count).await?;
        let seconds = started.elapsed().as_secs_f64();
        for (number, record) in records.iter().enumerate() {
            ensure!(record.value[..8] == (number as u64).to_le_bytes(), "another record at offset {number}");
        }
        say(&format!(
            "backlog of {batches} batches of {batch_bytes} bytes: {count} records in at {:.0}/s, one batch at a time, \
             and out at {:.0}/s, each once and in order",
            count as f64 / written,
            count as f64 / seconds
        ));
        say(&format!("  before: {before}\n  after:  {}", counts.text()));
        topic.delete().await?;
    }
    log.close().await?;
    Ok(())
}

/// What one appender of the load did.
#[derive(Default)]
struct Load {
    acknowledged: u64,
    latencies_us: Vec<u64>,
}

/// Bytes of a record's content.
const LOAD_RECORD_BYTES: usize = 150;
const LOAD_BATCH: u64 = 100;

/// Appends numbered records until the time is over, with 64 batches on their way.
async fn load(mut appender: Box<dyn Appender>, id: u64, until: Instant) -> Result<Load> {
    let (sender, mut on_their_way) = tokio::sync::mpsc::channel::<(Instant, Ack)>(64);
    let acknowledging = tokio::spawn(async move {
        let (mut load, mut last_offset) = (Load::default(), None);
        while let Some((accepted, ack)) = on_their_way.recv().await {
            let offset = ack.await.with_context(|| format!("appender {id} after {} records", load.acknowledged))?;
            ensure!(last_offset < Some(offset), "appender {id}: offset {offset} after {last_offset:?}");
            last_offset = Some(offset);
            load.acknowledged += LOAD_BATCH;
            load.latencies_us.push(accepted.elapsed().as_micros() as u64);
        }
        Ok(load)
    });
    let mut number = 0_u64;
    while Instant::now() < until {
        let mut batch = Batch::new();
        for _ in 0..LOAD_BATCH {
            batch.push_with(b"", |out| {
                out.extend_from_slice(&id.to_le_bytes());
                out.extend_from_slice(&number.to_le_bytes());
                out.resize(out.len() + LOAD_RECORD_BYTES - 16, b'.');
            });
            number += 1;
        }
        let accepted = Instant::now();
        let ack = appender.append(batch).await?;
        if sender.send((accepted, ack)).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(sender);
    acknowledging.await?
}

/// Reads a partition from its start and checks that each appender's records come once and in order.
async fn audit(mut reader: Box<dyn LogReader>, seen: Arc<Mutex<BTreeMap<u64, u64>>>) -> Result<()> {
    let (mut records, mut offset) = (Vec::new(), 0);
    loop {
        records.clear();
        reader.read(&mut records).await?;
        let mut seen = seen.lock().unwrap();
        for record in &records {
            ensure!(record.offset == offset, "offset {} came where {offset} was due", record.offset);
            offset += 1;
            let id = u64::from_le_bytes(record.value[..8].try_into()?);
            let number = u64::from_le_bytes(record.value[8..16].try_into()?);
            let due = seen.entry(id).or_default();
            ensure!(number == *due, "appender {id}: record {number} at offset {}, {due} was due", record.offset);
            *due += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_record_is_read_once_and_in_order() -> Result<()> {
    let Some(endpoint) = endpoint() else { return Ok(()) };
    let counts = Counts::install();
    let seconds = std::env::var("FLUVIO_SOAK_S").map_or(Ok(5), |text| text.parse())?;
    let log = FluvioLog::connect(FluvioConfig::new(&endpoint)).await?;
    let topic = Scratch::create(&endpoint, &log, 2).await?;
    let seen: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let mut audits = tokio::task::JoinSet::new();
    for index in 0..2 {
        let reader = log.reader(&topic.partition(index), 0, Visibility::Durable).await?;
        audits.spawn(audit(reader, seen.clone()));
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut loads = Vec::new();
    // Alone in its partition, and two that share one.
    for (id, index) in [(0, 0), (1, 1), (2, 1)] {
        let appender = log.appender(&topic.partition(index), Priority::Normal).await?;
        loads.push(tokio::spawn(load(appender, id, until)));
    }
    let (mut acknowledged, mut latencies) = (BTreeMap::new(), Vec::new());
    for (id, running) in (0_u64..).zip(loads) {
        let done = running.await??;
        acknowledged.insert(id, done.acknowledged);
        latencies.extend(done.latencies_us);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while *seen.lock().unwrap() != acknowledged {
        if let Some(failed) = audits.try_join_next() {
            failed??;
        }
        ensure!(Instant::now() < deadline, "read {:?} of {acknowledged:?}", seen.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[(latencies.len() - 1) * p / 100] as f64 / 1000.0;
    say(&format!(
        "load: {} records acknowledged by 3 appenders, each read once and in order; \
         append to acknowledgement p50 {:.2} ms, p99 {:.2} ms, longest {:.0} ms; {}",
        acknowledged.values().sum::<u64>(),
        percentile(50),
        percentile(99),
        percentile(100),
        counts.text()
    ));
    log.close().await?;
    topic.delete().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() -> Result<()> {
    let Some(endpoint) = endpoint() else { return Ok(()) };
    let prefix = format!("it{:07x}", fastrand::u32(..) >> 4);
    let of = endpoint.clone();
    let suite = conformance::Suite {
        open: &move || {
            let endpoint = of.clone();
            Box::pin(async move {
                let log = FluvioLog::connect(FluvioConfig::new(endpoint)).await.expect("the cluster is there");
                Arc::new(log) as Arc<dyn Log>
            })
        },
        prefix: prefix.clone(),
        trims_exactly: false,
        exclusive: false,
    };
    conformance::run(&suite).await;
    let log = FluvioLog::connect(FluvioConfig::new(&endpoint)).await?;
    let admin = FluvioAdmin::connect_with_config(&FluvioClusterConfig::new(&endpoint)).await?;
    for (name, _) in log.topics().await? {
        if name.starts_with(&prefix) {
            admin.delete::<FluvioTopic>(name.to_string()).await?;
        }
    }
    log.close().await?;
    Ok(())
}
