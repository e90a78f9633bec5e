//! A full disk: orders are refused with a reason, cancels and reads go on, and with room everything does.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use journal::embedded::{Disk, DiskFile, EmbeddedConfig, EmbeddedLog, RealDisk, SyncPolicy};
use reqwest::Method;
use serde_json::json;

use crate::floor::{ALICE, BOB, Floor, limit};
use crate::support::PATIENCE;

/// The real file system, with so many bytes to give.
#[derive(Debug, Clone)]
struct SmallDisk {
    left: Arc<AtomicI64>,
}

#[derive(Debug)]
struct SmallFile {
    file: File,
    size: AtomicU64,
    left: Arc<AtomicI64>,
}

impl SmallDisk {
    fn file(&self, file: File) -> io::Result<SmallFile> {
        let size = AtomicU64::new(DiskFile::size(&file)?);
        Ok(SmallFile { file, size, left: Arc::clone(&self.left) })
    }
}

impl Disk for SmallDisk {
    type File = SmallFile;
    type Lock = <RealDisk as Disk>::Lock;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<SmallFile> {
        self.file(RealDisk.create(path)?)
    }

    fn open(&self, path: &Path) -> io::Result<SmallFile> {
        self.file(RealDisk.open(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let size = std::fs::metadata(path)?.len();
        RealDisk.remove(path)?;
        self.left.fetch_add(size as i64, Ordering::Relaxed);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>> {
        RealDisk.lock(path)
    }
}

impl DiskFile for SmallFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        DiskFile::read_at(&self.file, into, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let end = at + bytes.len() as u64;
        let grows = end.saturating_sub(self.size.load(Ordering::Relaxed)) as i64;
        if grows > 0 {
            if self.left.fetch_sub(grows, Ordering::Relaxed) < grows {
                self.left.fetch_add(grows, Ordering::Relaxed);
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.size.store(end, Ordering::Relaxed);
        }
        DiskFile::write_at(&self.file, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        DiskFile::sync(&self.file)
    }

    fn size(&self) -> io::Result<u64> {
        DiskFile::size(&self.file)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let freed = self.size.load(Ordering::Relaxed).saturating_sub(len);
        DiskFile::truncate(&self.file, len)?;
        self.size.fetch_sub(freed, Ordering::Relaxed);
        self.left.fetch_add(freed as i64, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_go_through_when_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk { left: Arc::new(AtomicI64::new(1 << 20)) };
    let config = EmbeddedConfig {
        sync: SyncPolicy::EveryBatch,
        pack: false,
        reserve_bytes: 256 << 10,
        segment_bytes_min: 128 << 10,
        segment_bytes_max: 128 << 10,
        total_bytes: None,
        ..EmbeddedConfig::default()
    };
    let log = EmbeddedLog::open_on(disk.clone(), &dir.path().join("log"), config).unwrap();
    let floor = Floor::on(dir, Arc::new(log), |limits| {
        (limits.commands_per_second_max, limits.commands_burst_max) = (100_000, 100_000);
    })
    .await;
    floor.fund().await;
    let mut placed = 0;
    let refused = loop {
        let order = limit(&format!("a{placed}"), "buy", "0.06", "95");
        let answer = floor.post(ALICE, "/orders", order).await;
        if answer.status != 201 {
            break answer;
        }
        placed += 1;
        assert!(placed < 900, "the disk never filled up");
    };
    // What was on its way when the disk filled up may or may not be in; then it is known before.
    assert!([503, 504].contains(&refused.status), "{}", refused.text);
    let again = floor.post(BOB, "/orders", limit("b1", "sell", "1", "105")).await;
    again.is_error(503, "refused", &["nothing was done", "reserved"]);
    assert_eq!(again.header("retry-after"), "1");
    let open = floor.get(ALICE, "/orders").await["orders"].as_array().unwrap().clone();
    assert!(open.len() >= placed, "{} of {placed}", open.len());
    for order in &open[..20] {
        let path = format!("/orders/{}", order["order_id"]);
        let cancelled = floor.call(ALICE, Method::DELETE, &path, None).await;
        assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    }
    let timer = floor.post(ALICE, "/orders/cancel-all-after", json!({"timeout_ms": 0})).await;
    assert_eq!(timer.status, 200, "the dead-man timer is a cancel too: {}", timer.text);
    let again = floor.post(ALICE, "/orders", limit("late", "buy", "1", "95")).await;
    again.is_error(503, "refused", &["nothing was done"]);
    assert_eq!(floor.get(ALICE, "/orders").await["orders"].as_array().unwrap().len(), open.len() - 20);

    disk.left.fetch_add(16 << 20, Ordering::Relaxed);
    let begun = std::time::Instant::now();
    while floor.post(ALICE, "/orders", limit("late", "buy", "1", "95")).await.status != 201 {
        assert!(begun.elapsed() < PATIENCE, "it never went on");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    floor.close().await;
}
