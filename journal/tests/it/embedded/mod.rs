//! The embedded log.

mod backup;
mod damage;
mod disk;
mod faults;
mod model;
mod retention;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Batch, Log, LogError, Partition, Retention, TopicSpec};

use crate::conformance::{self, Suite, appender, batch, read_to, reader};
use disk::FaultDisk;

/// Where the log is on a disk in memory.
fn home() -> PathBuf {
    PathBuf::from("/log")
}

/// Small files, so that there are many. Not packed, so that sizes on disk are those of the records.
fn small() -> EmbeddedConfig {
    EmbeddedConfig {
        pack: false,
        reserve_bytes: 0,
        segment_bytes_min: 64 << 10,
        segment_bytes_max: 64 << 10,
        // A disk in memory is written at rates for which half a gigabyte would be prepared.
        ahead_bytes_max: 128 << 10,
        total_bytes: None,
        cache_bytes: 64 << 10,
        retention_interval: Duration::from_millis(5),
        ..EmbeddedConfig::default()
    }
}

fn open(disk: &FaultDisk, config: EmbeddedConfig) -> Result<EmbeddedLog<FaultDisk>, LogError> {
    EmbeddedLog::open_on(disk.clone(), &home(), config)
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, replication: 1, retention: Retention { age: None, bytes: None } }
}

/// The values of every record in a partition.
async fn values(log: &dyn Log, place: &Partition) -> Vec<Vec<u8>> {
    let bounds = log.bounds(place).await.unwrap();
    let records = read_to(&mut *reader(log, place, bounds.start).await, bounds.end).await;
    records.iter().map(|record| record.value.to_vec()).collect()
}

async fn conforms(dir: &Path, config: EmbeddedConfig) {
    let dir = dir.to_owned();
    let open = move || {
        let (dir, config) = (dir.clone(), config.clone());
        async move { Arc::new(EmbeddedLog::open(dir, config).await.unwrap()) as Arc<dyn Log> }.boxed()
    };
    conformance::run(&Suite { open: &open, prefix: "it".into(), trims_exactly: true, exclusive: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_when_synced() {
    let dir = tempfile::tempdir().unwrap();
    conforms(dir.path(), EmbeddedConfig { reserve_bytes: 0, ..EmbeddedConfig::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_small_files_little_memory_and_loose_sync() {
    for sync in [SyncPolicy::Never, SyncPolicy::Every(Duration::from_millis(2))] {
        let dir = tempfile::tempdir().unwrap();
        conforms(dir.path(), EmbeddedConfig { sync, pack: true, cache_bytes: 0, ..small() }).await;
    }
}

#[tokio::test]
async fn conforms_on_a_single_thread() {
    let dir = tempfile::tempdir().unwrap();
    conforms(dir.path(), small()).await;
}

#[tokio::test]
async fn one_owner_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = EmbeddedLog::open(dir.path(), small()).await.unwrap();
    let second = EmbeddedLog::open(dir.path(), small()).await;
    assert!(matches!(&second, Err(LogError::InUse(place)) if *place == dir.path().display().to_string()), "{second:?}");
    first.create_topic(&spec("still-works", 1)).await.unwrap();
    first.close().await.unwrap();
    let second = EmbeddedLog::open(dir.path(), small()).await.expect("closing frees the directory");
    drop(second);
    EmbeddedLog::open(dir.path(), small()).await.expect("so does dropping");
}

#[tokio::test]
async fn names_and_numbers_out_of_range_are_refused() {
    let log = open(&FaultDisk::new(), small()).unwrap();
    for (name, partitions) in
        [("", 1), ("Ticks", 1), ("a/b", 1), ("twenty-four-characters-x", 1), ("none", 0), ("too-many", 5000)]
    {
        let refused = log.create_topic(&spec(name, partitions)).await;
        assert!(matches!(&refused, Err(LogError::TopicNotAllowed { topic, .. }) if topic == name), "{refused:?}");
    }
    log.create_topic(&spec("twenty-three-characters", 4096)).await.unwrap();
    assert!(log.create_topic(&spec("one-more", 1)).await.is_err());
}

#[tokio::test]
async fn an_idle_log_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).await.unwrap();
    log.create_topic(&spec("ticks", 4)).await.unwrap();
    let mut appender = appender(&log, &Partition::new("ticks", 0)).await;
    appender.append(batch(0..10, 100)).await.unwrap().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    log.close().await.unwrap();
    let bytes: u64 = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 64 << 20, "{bytes} bytes");
}

#[tokio::test]
async fn an_empty_batch_waits_for_those_before_it() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let place = Partition::new("ticks", 0);
    let mut appender = appender(&log, &place).await;
    disk.faults().sync_us.store(20_000, std::sync::atomic::Ordering::Relaxed);
    let first = appender.append(batch(0..3, 10)).await.unwrap();
    let empty = appender.append(Batch::new()).await.unwrap();
    assert_eq!(empty.await.unwrap(), 3);
    assert_eq!(log.bounds(&place).await.unwrap().end, 3);
    assert_eq!(first.now_or_never().expect("acknowledged before the empty one").unwrap(), 0);
}
