//! Segment files while the log is open.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use super::partition::lock;

const SLACK_MAX: u64 = 64 << 10;

/// A segment that holds records.
#[derive(Debug)]
pub(super) struct Segment<F> {
    /// Its number.
    pub number: u64,
    /// The file.
    pub file: F,
    /// Bytes that it can take.
    pub capacity: u64,
    /// Bytes written.
    pub used: AtomicU64,
    /// Bytes known to be durable.
    pub durable: AtomicU64,
    /// What it holds, once nothing more is written to it.
    pub closed: OnceLock<Vec<Held>>,
}

/// What a segment holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The partition's number.
    pub partition: u32,
    /// Offset after its last record here.
    pub end: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// When the newest of them was written, unix milliseconds.
    pub newest_ms: u64,
}

/// Bytes at the end of a segment that records leave to what frees room: moved starts.
pub(super) const fn slack(capacity: u64) -> u64 {
    let share = capacity / 16;
    if share < SLACK_MAX { share } else { SLACK_MAX }
}

/// Bytes of a segment that records may take, counted from its beginning.
pub(super) const fn usable(capacity: u64) -> u64 {
    capacity - slack(capacity)
}

/// Adds up what a segment holds while it is being written.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<u32, Held>);

impl Tally {
    /// Counts a frame of records.
    pub(super) fn count(&mut self, partition: u32, end: u64, bytes: u64, at_ms: u64) {
        let held = self.0.entry(partition).or_insert(Held { partition, end: 0, bytes: 0, newest_ms: 0 });
        held.end = held.end.max(end);
        held.bytes += bytes;
        held.newest_ms = held.newest_ms.max(at_ms);
    }

    /// The sums; empty afterwards.
    pub(super) fn take(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}

/// The segments that hold records, by number.
#[derive(Debug)]
pub(super) struct Segments<F>(Mutex<BTreeMap<u64, Arc<Segment<F>>>>);

impl<F> Segments<F> {
    pub(super) fn new(segments: impl IntoIterator<Item = Arc<Segment<F>>>) -> Self {
        Self(Mutex::new(segments.into_iter().map(|segment| (segment.number, segment)).collect()))
    }

    pub(super) fn insert(&self, segment: Arc<Segment<F>>) {
        lock(&self.0).insert(segment.number, segment);
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Segment<F>>> {
        lock(&self.0).get(&number).cloned()
    }

    pub(super) fn remove(&self, number: u64) -> Option<Arc<Segment<F>>> {
        lock(&self.0).remove(&number)
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Segment<F>>> {
        lock(&self.0).values().cloned().collect()
    }
}
