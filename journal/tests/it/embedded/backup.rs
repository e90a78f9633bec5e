//! Copies taken while the log runs.

use std::path::Path;

use journal::embedded::{EmbeddedLog, restore_on};
use journal::{Batch, Log, LogError, Partition};

use super::disk::FaultDisk;
use super::{appender, home, open, small, spec, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_a_prefix_with_all_that_was_acknowledged() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let place = Partition::new("ticks", 0);
    let mut appender = appender(&log, &place).await;
    let mut given = Vec::new();
    let (copy, back) = (Path::new("/copy"), Path::new("/back"));
    let mut acknowledged = 0;
    for number in 0..400_u32 {
        let value = vec![number as u8; 900];
        let ack = appender.append(Batch::of(b"", &value)).await.unwrap();
        given.push(value);
        if number == 200 {
            acknowledged = ack.await.unwrap() as usize + 1;
            log.backup(copy).await.unwrap();
        }
    }
    let again = log.backup(copy).await;
    assert!(matches!(again, Err(LogError::Io { .. })), "a backup overwrote another: {again:?}");
    let incarnation = log.incarnation();
    log.close().await.unwrap();

    let refused = restore_on(&disk, copy, &home());
    assert!(matches!(refused, Err(LogError::Io { .. })), "a log was overwritten: {refused:?}");
    assert!(matches!(restore_on(&disk, Path::new("/none"), back), Err(LogError::Io { .. })));
    restore_on(&disk, copy, back).unwrap();
    let restored = EmbeddedLog::open_on(disk.clone(), back, small()).unwrap();
    assert_ne!(restored.incarnation(), incarnation, "offsets are given out again, so it is another log");
    let found = values(&restored, &place).await;
    assert!(found.len() >= acknowledged && found.len() <= 400, "{}", found.len());
    assert!(found == given[..found.len()]);
    let mut goes_on = super::appender(&restored, &place).await;
    assert_eq!(goes_on.append(Batch::of(b"", b"x")).await.unwrap().await.unwrap(), found.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused_and_leaves_no_log() {
    let disk = FaultDisk::new();
    let log = open(&disk, small()).unwrap();
    log.create_topic(&spec("ticks", 1)).await.unwrap();
    let mut appender = appender(&log, &Partition::new("ticks", 0)).await;
    for _ in 0..10 {
        appender.append(Batch::of(b"", &[1; 100])).await.unwrap().await.unwrap();
    }
    log.backup(Path::new("/copy")).await.unwrap();
    disk.edit(Path::new("/copy/0000000000000001.seg"), |bytes| bytes[4500] ^= 1);
    let refused = restore_on(&disk, Path::new("/copy"), Path::new("/back"));
    assert!(matches!(refused, Err(LogError::Damaged { .. })), "{refused:?}");
    let opened = EmbeddedLog::open_on(disk, Path::new("/back"), small());
    assert!(matches!(opened, Err(LogError::Damaged { .. })), "a failed restore passes for a log");
}
