//! What is kept, what goes, and what becomes of the files.

use std::time::{Duration, Instant};

use journal::embedded::EmbeddedConfig;
use journal::{Batch, Bounds, Log, LogError, LogReader, Offset, Partition, Priority, Retention, TopicSpec, Visibility};

use super::disk::FaultDisk;
use super::{appender, open, small, spec};

fn bounded(name: &str, age: Option<Duration>, bytes: Option<u64>) -> TopicSpec {
    TopicSpec { retention: Retention { age, bytes }, ..spec(name, 1) }
}

async fn fill(log: &dyn Log, topic: &str, batches: u64) {
    let mut appender = appender(log, &Partition::new(topic, 0)).await;
    let mut acks = Vec::new();
    for _ in 0..batches {
        let mut batch = Batch::new();
        (0..10_u8).for_each(|number| batch.push(&[number], &[number; 200]));
        acks.push(appender.append(batch).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

async fn until(what: &str, log: &dyn Log, topic: &str, wanted: impl Fn(Bounds) -> bool) -> Bounds {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let bounds = log.bounds(&Partition::new(topic, 0)).await.unwrap();
        if wanted(bounds) {
            return bounds;
        }
        assert!(Instant::now() < end, "{what}: {topic} has {bounds:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A reader from the oldest record on, and the end. Retention may go on meanwhile.
async fn from_start(log: &dyn Log, place: &Partition) -> (Box<dyn LogReader>, Offset) {
    loop {
        let bounds = log.bounds(place).await.unwrap();
        match log.reader(place, bounds.start, Visibility::Durable).await {
            Ok(reader) => return (reader, bounds.end),
            Err(error) => assert!(matches!(error, LogError::Trimmed { .. }), "{error}"),
        }
    }
}

/// Everything between start and end is there. Retention may overtake the reader, which begins anew then.
async fn whole(log: &dyn Log, topic: &str) {
    let place = Partition::new(topic, 0);
    let (mut reader, end) = from_start(log, &place).await;
    let mut records = Vec::new();
    while reader.position() < end {
        match reader.read(&mut records).await {
            Ok(()) => {}
            Err(LogError::Trimmed { .. }) => reader = from_start(log, &place).await.0,
            Err(error) => panic!("{error}"),
        }
        for record in records.drain(..) {
            assert_eq!(record.value, vec![(record.offset % 10) as u8; 200]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_bytes_go_and_files_are_used_again() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&bounded("ticks", None, Some(300_000))).await.unwrap();
    for _ in 0..20 {
        fill(&log, "ticks", 100).await;
        let end = log.bounds(&Partition::new("ticks", 0)).await.unwrap().end;
        until("retention", &log, "ticks", |bounds| end - bounds.start <= 2000).await;
        whole(&log, "ticks").await;
    }
    let bounds = log.bounds(&Partition::new("ticks", 0)).await.unwrap();
    assert!(bounds.end == 20_000 && bounds.end - bounds.start >= 1000, "{bounds:?}");
    assert!(disk.bytes() < 2 << 20, "{} bytes on disk for 300 kB kept", disk.bytes());
    let log = {
        log.close().await.unwrap();
        drop(log);
        open(&disk, small()).unwrap()
    };
    let reopened = log.bounds(&Partition::new("ticks", 0)).await.unwrap();
    assert!(reopened.start >= bounds.start && reopened.end == bounds.end);
    whole(&log, "ticks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_age_goes() {
    let log = open(&FaultDisk::new(), small()).unwrap();
    log.create_topic(&bounded("ticks", Some(Duration::from_millis(300)), None)).await.unwrap();
    fill(&log, "ticks", 100).await;
    until("ageing", &log, "ticks", |bounds| bounds.start > 0).await;
    whole(&log, "ticks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_log_has_a_bound() {
    let disk = FaultDisk::new();
    let log = open(&disk, EmbeddedConfig { total_bytes: Some(512 << 10), ..small() }).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    log.create_topic(&spec("orders", 1)).await.unwrap();
    for _ in 0..10 {
        fill(&log, "ticks", 60).await;
        fill(&log, "orders", 1).await;
    }
    until("the bound", &log, "ticks", |bounds| bounds.end - bounds.start <= 3000).await;
    assert!(disk.bytes() < 2 << 20);
    whole(&log, "ticks").await;
    whole(&log, "orders").await;
    assert_eq!(log.bounds(&Partition::new("orders", 0)).await.unwrap().end, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimming_frees_files() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    fill(&log, "ticks", 1000).await;
    let full = disk.bytes();
    log.trim(&Partition::new("ticks", 0), 9_990).await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while disk.bytes() > full / 2 {
        assert!(Instant::now() < end, "{} of {full} bytes are still there", disk.bytes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    whole(&log, "ticks").await;
    assert_eq!(log.bounds(&Partition::new("ticks", 0)).await.unwrap(), Bounds { start: 9_990, end: 10_000 });
}

/// What somebody has yet to read outlasts the topic's own bounds, and goes once it is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_outlasts_age_and_bytes() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&bounded("ticks", Some(Duration::from_millis(200)), Some(100_000))).await.unwrap();
    log.create_topic(&bounded("trades", None, Some(100_000))).await.unwrap();
    let held = Partition::new("ticks", 0);
    log.hold(&held, 500).await.unwrap();
    for _ in 0..30 {
        fill(&log, "ticks", 100).await;
        fill(&log, "trades", 100).await;
    }
    until("the other topic's bound", &log, "trades", |bounds| bounds.end - bounds.start <= 1500).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(log.bounds(&held).await.unwrap().start <= 500, "{:?}", log.bounds(&held).await);
    whole(&log, "ticks").await;
    log.hold(&held, 30_000).await.unwrap();
    until("the bound after the hold", &log, "ticks", |bounds| bounds.end - bounds.start <= 1500).await;
}

/// A slow topic without bounds keeps every record and does not pin what a fast one has dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_topic_is_carried_along() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&bounded("ticks", None, Some(150_000))).await.unwrap();
    log.create_topic(&spec("orders", 1)).await.unwrap();
    log.create_topic(&bounded("candles", Some(Duration::from_millis(400)), None)).await.unwrap();
    for _ in 0..30 {
        fill(&log, "ticks", 100).await;
        fill(&log, "orders", 1).await;
        fill(&log, "candles", 1).await;
        whole(&log, "orders").await;
    }
    until("retention", &log, "ticks", |bounds| bounds.end - bounds.start <= 1500).await;
    let candles = until("ageing", &log, "candles", |bounds| bounds.start > 0).await;
    assert_eq!(candles.end, 300);
    let orders = log.bounds(&Partition::new("orders", 0)).await.unwrap();
    assert_eq!((orders.start, orders.end), (0, 300));
    let end = Instant::now() + Duration::from_secs(30);
    while disk.bytes() > 1 << 20 {
        assert!(Instant::now() < end, "{} bytes for 300 kB kept", disk.bytes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let image = disk.power_cut(&mut fastrand::Rng::with_seed(5));
    log.close().await.unwrap();
    for disk in [image, disk] {
        let log = open(&disk, small()).unwrap();
        assert_eq!(log.bounds(&Partition::new("orders", 0)).await.unwrap(), orders);
        whole(&log, "orders").await;
        whole(&log, "ticks").await;
    }
}

/// On a disk filled to the last byte, trimming still frees room, without any being added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimming_empties_a_full_disk() {
    let disk = FaultDisk::new();
    disk.faults().bytes_max.store(1 << 20, std::sync::atomic::Ordering::Relaxed);
    let log = open(&disk, EmbeddedConfig { reserve_bytes: 128 << 10, ..small() }).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let place = Partition::new("ticks", 0);
    for round in 0..3 {
        let mut appender = log.appender(&place, Priority::Reserve).await.unwrap();
        let (mut stored, mut refused) = (0, 0);
        // Room may come back for a while after a trim: full is what stays full.
        while refused < 3 {
            let failure = match appender.append(Batch::of(b"", &[7; 3000])).await {
                Ok(ack) => ack.await.err(),
                Err(refusal) => Some(refusal),
            };
            match failure {
                None => (stored, refused) = (stored + 1, 0),
                Some(LogError::Full(_) | LogError::AppenderFailed(_)) => {
                    refused += 1;
                    appender = log.appender(&place, Priority::Reserve).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Some(other) => panic!("round {round}: {other}"),
            }
            assert!(stored < 2000, "never full");
        }
        assert!(stored > 100, "round {round}: only {stored} batches until full");
        let end = log.bounds(&place).await.unwrap().end;
        log.trim(&place, end).await.unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        let mut normal = super::appender(&log, &place).await;
        while let Err(refusal) = normal.append(Batch::of(b"", b"room")).await {
            assert!(matches!(refusal, LogError::Full(_)), "round {round}: {refusal}");
            assert!(Instant::now() < until, "round {round}: no room came back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
