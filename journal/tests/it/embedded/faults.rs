//! Refused syncs and writes, a full disk, a slow one, short writes.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use journal::embedded::EmbeddedConfig;
use journal::{Batch, Log, LogError, Partition, Priority, Visibility};

use super::disk::FaultDisk;
use super::{appender, batch, open, read_to, reader, small, spec, values};
use crate::conformance::soon;

fn place() -> Partition {
    Partition::new("ticks", 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_a_failed_sync() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 2)).await.unwrap();
    let mut first = appender(&log, &place()).await;
    let mut other = appender(&log, &Partition::new("ticks", 1)).await;
    first.append(batch(0..10, 50)).await.unwrap().await.unwrap();
    let mut written = log.reader(&place(), 10, Visibility::Written).await.unwrap();
    disk.faults().sync_us.store(5_000, Relaxed);
    disk.faults().sync_fails.store(true, Relaxed);
    let mut acks = Vec::new();
    for number in 10..20 {
        acks.push(first.append(batch(number..number + 1, 50)).await);
        acks.push(other.append(batch(number..number + 1, 50)).await);
    }
    let poisoned = |error: &LogError| matches!(error, LogError::Poisoned(_));
    for ack in acks {
        match ack {
            Ok(ack) => assert!(soon("an answer", ack).await.is_err_and(|error| poisoned(&error))),
            Err(error) => assert!(poisoned(&error), "{error}"),
        }
    }
    // The disk works again; the log does not know what it holds, and stays shut.
    disk.faults().sync_fails.store(false, Relaxed);
    assert!(first.append(batch(20..21, 50)).await.is_err_and(|error| poisoned(&error)));
    assert!(log.create_topic(&spec("more", 1)).await.is_err_and(|error| poisoned(&error)));
    assert!(log.trim(&place(), 5).await.is_err_and(|error| poisoned(&error)));
    assert!(log.unavailable().await.is_some_and(|error| poisoned(&error)));
    assert_eq!(log.bounds(&place()).await.unwrap().end, 10, "what was not synced is not durable");
    let records = read_to(&mut *reader(&log, &place(), 0).await, 10).await;
    assert_eq!(records.len(), 10, "readers still read");
    let mut seen = Vec::new();
    soon("a written record", written.read(&mut seen)).await.unwrap();
    assert_eq!(seen[0].offset, 10);
    assert!(log.close().await.is_err_and(|error| poisoned(&error)));
    let log = open(&disk.power_cut(&mut fastrand::Rng::with_seed(1)), small()).unwrap();
    let end = log.bounds(&place()).await.unwrap().end;
    assert!((10..=20).contains(&end), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_leaves_nobody_waiting() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let mut appender = appender(&log, &place()).await;
    appender.append(batch(0..3, 50)).await.unwrap().await.unwrap();
    disk.faults().sync_panics.store(true, Relaxed);
    let ack = appender.append(batch(3..4, 50)).await.unwrap();
    soon("an answer", ack).await.unwrap_err();
    // Whoever comes before the panic is noticed is accepted, and answered.
    let accepted = soon("an answer", appender.append(batch(3..4, 50))).await;
    assert!(match accepted {
        Ok(ack) => soon("an answer", ack).await.is_err(),
        Err(_) => true,
    });
    let noticed = async {
        while log.unavailable().await.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the panic is noticed", noticed).await;
    assert_eq!(values(&log, &place()).await.len(), 3, "readers still read");
    assert!(soon("closing", log.close()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_shuts_the_log_too() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let mut appender = appender(&log, &place()).await;
    appender.append(batch(0..3, 50)).await.unwrap().await.unwrap();
    disk.faults().write_fails.store(true, Relaxed);
    let ack = appender.append(batch(3..4, 50)).await.unwrap();
    assert!(matches!(soon("an answer", ack).await, Err(LogError::Poisoned(_))));
    disk.faults().write_fails.store(false, Relaxed);
    assert!(matches!(appender.append(batch(3..4, 50)).await, Err(LogError::Poisoned(_))));
    assert_eq!(values(&log, &place()).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_can_be_repeated() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    appender(&log, &place()).await.append(batch(0..3, 50)).await.unwrap().await.unwrap();
    log.close().await.unwrap();
    drop(log);
    // Opened again, nothing is in memory.
    let log = open(&disk, small()).unwrap();
    let mut reader = reader(&log, &place(), 0).await;
    disk.faults().read_fails.store(true, Relaxed);
    let mut records = Vec::new();
    assert!(matches!(reader.read(&mut records).await, Err(LogError::Io { .. })));
    assert!(records.is_empty() && reader.position() == 0);
    disk.faults().read_fails.store(false, Relaxed);
    reader.read(&mut records).await.unwrap();
    assert_eq!(records.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_may_be_short() {
    let disk = FaultDisk::new();
    disk.faults().write_max.store(7_000, Relaxed);
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let mut appender = appender(&log, &place()).await;
    for number in 0..40 {
        appender.append(batch(number * 50..(number + 1) * 50, 500)).await.unwrap();
    }
    appender.append(Batch::new()).await.unwrap().await.unwrap();
    drop(log);
    let log = open(&disk, small()).unwrap();
    assert_eq!(values(&log, &place()).await.len(), 2000);
}

/// A full disk: refused at the call while cancels still pass; nothing accepted is lost; goes on by itself once
/// there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers() {
    let disk = FaultDisk::new();
    disk.faults().bytes_max.store(1 << 20, Relaxed);
    let log = open(&disk, EmbeddedConfig { reserve_bytes: 256 << 10, ..small() }).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let mut normal = appender(&log, &place()).await;
    let mut urgent = log.appender(&place(), Priority::Reserve).await.unwrap();
    let mut count = 0;
    let refusal = loop {
        match normal.append(Batch::of(b"", &[1; 2000])).await {
            Ok(ack) => {
                soon("an acknowledgement", ack).await.expect("what was accepted is stored");
                count += 1;
            }
            Err(refusal) => break refusal,
        }
        assert!(count < 1000, "the disk never filled up");
    };
    assert!(matches!(&refusal, LogError::Full(_)) && refusal.is_transient(), "{refusal}");
    assert!(matches!(log.unavailable().await, Some(LogError::Full(_))));
    for _ in 0..20 {
        soon("a cancel", urgent.append(Batch::of(b"", b"cancel")).await.unwrap()).await.unwrap();
        count += 1;
    }
    assert!(matches!(normal.append(Batch::of(b"", &[1; 2000])).await, Err(LogError::Full(_))));
    assert_eq!(values(&log, &place()).await.len(), count, "reads are served");
    // Down to the last byte of the reserve.
    let last = loop {
        match urgent.append(Batch::of(b"", &[2; 2000])).await {
            Ok(ack) => match soon("an answer", ack).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
        assert!(count < 2000);
    };
    assert!(matches!(last, LogError::Full(_)), "{last}");
    // Room returns.
    disk.faults().bytes_max.store(4 << 20, Relaxed);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match normal.append(Batch::of(b"", b"again")).await {
            Ok(ack) => break assert_eq!(ack.await.unwrap(), count as u64),
            Err(error) => assert!(matches!(error, LogError::Full(_)), "{error}"),
        }
        assert!(Instant::now() < until, "still full");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(log.unavailable().await.is_none());
    log.close().await.unwrap();
    let log = open(&disk.power_cut(&mut fastrand::Rng::with_seed(3)), small()).unwrap();
    assert_eq!(values(&log, &place()).await.len(), count + 1);
}

/// While a sync takes long, what comes meanwhile shares the next one, and those who may see it do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_makes_larger_groups() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let mut appender = appender(&log, &place()).await;
    let mut written = log.reader(&place(), 0, Visibility::Written).await.unwrap();
    let mut durable = reader(&log, &place(), 0).await;
    disk.faults().sync_holds.store(true, Relaxed);
    let before = disk.faults().syncs.load(Relaxed);
    let mut acks = Vec::new();
    for number in 0..100 {
        acks.push(appender.append(batch(number..number + 1, 50)).await.unwrap());
    }
    let mut records = Vec::new();
    while records.len() < 100 {
        soon("a written record", written.read(&mut records)).await.unwrap();
    }
    assert!(durable.read(&mut Vec::new()).now_or_never().is_none(), "seen as durable before the sync");
    disk.faults().sync_holds.store(false, Relaxed);
    let last = acks.pop().unwrap();
    assert_eq!(soon("an acknowledgement", last).await.unwrap(), 99);
    let syncs = disk.faults().syncs.load(Relaxed) - before;
    assert!(syncs <= 6, "{syncs} syncs for 100 batches");
    assert_eq!(read_to(&mut *durable, 100).await.len(), 100);
}
