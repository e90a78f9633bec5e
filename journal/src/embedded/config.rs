//! Settings of the embedded log.

use std::time::Duration;

use super::format;

/// When written records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before they are acknowledged: group commit. The only setting that keeps rule 7 of the design.
    EveryBatch,
    /// At this interval; acknowledged once written. A crash of the machine loses up to that much.
    Every(Duration),
    /// When the operating system sees fit; acknowledged once written.
    Never,
}

/// Settings of the embedded log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// When records are made durable.
    pub sync: SyncPolicy,
    /// Whether batches are packed on the disk, where that makes them smaller.
    pub pack: bool,
    /// Bytes accepted and not yet acknowledged, at most; appenders wait beyond that.
    pub queue_bytes: usize,
    /// Bytes of recent records kept in memory for readers at the tail, over all partitions.
    pub cache_bytes: usize,
    /// Written-ahead room that appenders of normal priority leave alone when the disk is full. At least
    /// `queue_bytes`: that much may be accepted before the disk is known to be full.
    pub reserve_bytes: u64,
    /// Smallest segment file.
    pub segment_bytes_min: u64,
    /// Largest segment file; segments grow with the rate of writing.
    pub segment_bytes_max: u64,
    /// Bytes written ahead of the writer at most, however high the rate; a segment file is always.
    pub ahead_bytes_max: u64,
    /// Bytes of segments that hold records, at most, whatever the topics' own bounds say. The oldest records
    /// of every topic go first.
    pub total_bytes: Option<u64>,
    /// How often retention is looked after.
    pub retention_interval: Duration,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::EveryBatch,
            pack: true,
            queue_bytes: 16 << 20,
            cache_bytes: 32 << 20,
            reserve_bytes: 24 << 20,
            segment_bytes_min: 8 << 20,
            segment_bytes_max: 64 << 20,
            ahead_bytes_max: 512 << 20,
            total_bytes: Some(16 << 30),
            retention_interval: Duration::from_secs(1),
        }
    }
}

impl EmbeddedConfig {
    /// The settings brought into the ranges that work: segments of 64 KiB to 1 GiB, a queue that takes the
    /// largest batch.
    pub(super) fn bounded(mut self) -> Self {
        self.segment_bytes_min = self.segment_bytes_min.clamp(64 << 10, format::SEGMENT_BYTES_MAX);
        self.segment_bytes_max = self.segment_bytes_max.clamp(self.segment_bytes_min, format::SEGMENT_BYTES_MAX);
        self.queue_bytes = self.queue_bytes.clamp(format::FRAME_BYTES_MAX, 1 << 30);
        self
    }
}
