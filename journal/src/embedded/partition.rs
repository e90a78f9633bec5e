//! What is known of a partition in memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::format::TABLE_ENTRY;
use super::index::Index;
use crate::batch::Record;
use crate::log::{Partition, Visibility};

/// One partition. The writer advances `next` and `written`, the syncer `durable`, retention `start`.
#[derive(Debug)]
pub(super) struct PartitionState {
    /// Its number in the log.
    pub id: u32,
    /// Its name.
    pub name: Partition,
    /// Oldest offset kept.
    pub start: AtomicU64,
    /// Age and bytes free nothing at or after this offset.
    pub hold: AtomicU64,
    /// Offset that the next batch gets; the writer's own.
    pub next: AtomicU64,
    /// Offset after the newest record written.
    pub written: AtomicU64,
    /// Offset after the newest record acknowledged.
    pub durable: AtomicU64,
    /// Wakes readers of what is written.
    pub on_written: Notify,
    /// Wakes readers of what is durable.
    pub on_durable: Notify,
    recent: Mutex<VecDeque<Recent>>,
    index: Mutex<Index>,
}

/// A batch kept in memory for readers at the tail.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    /// Offset of its first record.
    pub base: u64,
    /// Records.
    pub count: u32,
    /// The frame's payload.
    pub payload: Bytes,
}

/// Locks where no panic can leave a half-done state behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartitionState {
    pub(super) fn new(id: u32, name: Partition, start: u64, end: u64) -> Self {
        Self {
            id,
            name,
            start: AtomicU64::new(start),
            hold: AtomicU64::new(u64::MAX),
            next: AtomicU64::new(end),
            written: AtomicU64::new(end),
            durable: AtomicU64::new(end),
            on_written: Notify::new(),
            on_durable: Notify::new(),
            recent: Mutex::default(),
            index: Mutex::default(),
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Offset after the last record that such a reader may see.
    pub(super) fn end(&self, sees: Visibility) -> u64 {
        match sees {
            Visibility::Durable => self.durable(),
            Visibility::Written => self.written.load(Ordering::Acquire),
        }
    }

    /// What wakes such a reader.
    pub(super) fn signal(&self, sees: Visibility) -> &Notify {
        match sees {
            Visibility::Durable => &self.on_durable,
            Visibility::Written => &self.on_written,
        }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Keeps a batch in memory; batches come in order.
    pub(super) fn remember(&self, batch: Recent) {
        lock(&self.recent).push_back(batch);
    }

    /// Drops the oldest batch in memory.
    pub(super) fn forget_oldest(&self) {
        lock(&self.recent).pop_front();
    }

    /// Copies the handles of batches from the one that holds `from` on, up to `end` and about `bytes_max`.
    /// `false` when `from` is no longer in memory.
    pub(super) fn recall(&self, from: u64, end: u64, bytes_max: usize, into: &mut Vec<Recent>) -> bool {
        let recent = lock(&self.recent);
        if recent.front().is_none_or(|front| from < front.base) {
            return false;
        }
        let first = recent.partition_point(|batch| batch.base + u64::from(batch.count) <= from);
        let mut bytes = 0;
        for batch in recent.range(first..) {
            if batch.base >= end || (bytes > 0 && bytes + batch.payload.len() > bytes_max) {
                break;
            }
            bytes += batch.payload.len();
            into.push(batch.clone());
        }
        true
    }
}

/// Appends the records of a payload from offset `from` up to `end` to `into`; `false` when its table makes
/// no sense, which a payload that passed its checksum never shows.
pub(super) fn unpack(base: u64, count: u32, payload: &Bytes, from: u64, end: u64, into: &mut Vec<Record>) -> bool {
    let Some(table_at) = payload.len().checked_sub(count as usize * TABLE_ENTRY) else {
        return false;
    };
    let table = payload.get(table_at..).unwrap_or_default();
    let mut start = 0;
    for (offset, entry) in (base..end).zip(table.as_chunks::<TABLE_ENTRY>().0) {
        let (key_len, value_len) = entry.split_at(4);
        let key_end = u32::from_le_bytes(*key_len.first_chunk().expect("four bytes")) as usize;
        let value_end = u32::from_le_bytes(*value_len.first_chunk().expect("four bytes")) as usize;
        if key_end < start || value_end < key_end || value_end > table_at {
            return false;
        }
        if offset >= from {
            let key = if key_end == start { Bytes::new() } else { payload.slice(start..key_end) };
            let value = if value_end == key_end { Bytes::new() } else { payload.slice(key_end..value_end) };
            into.push(Record { offset, key, value });
        }
        start = value_end;
    }
    true
}
