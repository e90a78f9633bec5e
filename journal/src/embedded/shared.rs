//! What the handles and threads of one open log share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::catalog::Catalog;
use super::config::EmbeddedConfig;
use super::disk::Disk;
use super::format;
use super::queue::Queue;
use super::room::Room;
use super::segment::Segments;
use super::syncer::Syncer;
use crate::error::LogError;

/// One open log.
#[derive(Debug)]
pub(super) struct Shared<D: Disk> {
    /// The file system.
    pub disk: D,
    /// The directory.
    pub dir: PathBuf,
    /// Settings.
    pub config: EmbeddedConfig,
    /// Identifies this log.
    pub incarnation: u128,
    /// Seeds the checksums.
    pub seal: u128,
    /// Topics and partitions.
    pub catalog: RwLock<Catalog>,
    /// From appenders to the writer.
    pub queue: Queue,
    /// Segments that hold records.
    pub segments: Segments<D::File>,
    /// Segments that will.
    pub room: Arc<Room<D>>,
    /// What waits for a sync.
    pub syncer: Syncer<D::File>,
    /// Every frame before this number is synced.
    pub durable_seq: AtomicU64,
    /// Why nothing more is accepted.
    pub poison: OnceLock<String>,
    /// Whether the log was closed.
    pub closed: AtomicBool,
}

impl<D: Disk> Shared<D> {
    pub(super) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Why nothing more is accepted, once a write or sync has failed.
    pub(super) fn poisoned(&self) -> Option<String> {
        self.poison.get().cloned()
    }

    /// Accepts nothing from now on.
    pub(super) fn poison(&self, reason: String) {
        tracing::error!(%reason, "the log accepts nothing more");
        let _ = self.poison.set(reason);
    }

    /// Refuses when the log is closed or poisoned.
    pub(super) fn check_writable(&self) -> Result<(), LogError> {
        if let Some(reason) = self.poison.get() {
            return Err(LogError::Poisoned(reason.clone()));
        }
        self.check_open()
    }

    /// Refuses when the log is closed.
    pub(super) fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }

    /// Path of a segment file.
    pub(super) fn segment_path(&self, number: u64) -> PathBuf {
        self.dir.join(format::segment_name(number))
    }

    /// Marks the log closed and wakes every reader.
    pub(super) fn mark_closed(&self) {
        self.closed.store(true, Ordering::Release);
        for partition in &self.catalog().partitions {
            partition.on_written.notify_waiters();
            partition.on_durable.notify_waiters();
        }
    }
}
