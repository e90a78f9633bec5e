//! What can go wrong with a log.

use crate::log::{Offset, Partition};

/// A refused or failed operation on a log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// No such topic or partition.
    #[error("{0} does not exist")]
    UnknownPartition(Partition),
    /// The topic is there with another number of partitions, which is fixed at creation.
    #[error("topic {topic} has {existing} partitions, {wanted} are configured: the number is fixed at creation")]
    PartitionCount {
        /// The topic.
        topic: String,
        /// Partitions that it has.
        existing: u32,
        /// Partitions asked for.
        wanted: u32,
    },
    /// The topic breaks a limit.
    #[error("topic {topic:?} not allowed: {what}")]
    TopicNotAllowed {
        /// Its name.
        topic: String,
        /// The limit and the value.
        what: String,
    },
    /// The position is older than the oldest record kept.
    #[error("{partition} starts at offset {start}: offset {wanted} is no longer kept")]
    Trimmed {
        /// Where.
        partition: Partition,
        /// Position asked for.
        wanted: Offset,
        /// Oldest record kept.
        start: Offset,
    },
    /// The log ends before a position that was handed out earlier: it lost acknowledged records.
    #[error("log truncated: {partition} ends at offset {end}, position {wanted} was handed out before")]
    Truncated {
        /// Where.
        partition: Partition,
        /// Position asked for.
        wanted: Offset,
        /// Offset of the next record to be written.
        end: Offset,
    },
    /// Records between two offsets do not arrive, however often they are asked for.
    #[error("{partition} skips offsets {from} to {to}")]
    Gap {
        /// Where.
        partition: Partition,
        /// First missing offset.
        from: Offset,
        /// Offset that came instead.
        to: Offset,
    },
    /// The batch breaks a limit.
    #[error("batch for {partition} not allowed: {what} {value}, at most {max}")]
    BatchTooLarge {
        /// Where.
        partition: Partition,
        /// `records` or `bytes`.
        what: &'static str,
        /// What the batch has.
        value: usize,
        /// What is allowed.
        max: usize,
    },
    /// An earlier batch of the same appender failed; what was appended after it is refused.
    #[error("an earlier batch for {0} failed, so this one was not written")]
    AppenderFailed(Partition),
    /// A sync failed: what the disk holds is unknown, and the log accepts nothing more until it is reopened.
    #[error("log refuses writes after a failed sync: {0}")]
    Poisoned(String),
    /// No room.
    #[error("disk full: {0}")]
    Full(String),
    /// Stored bytes are damaged and valid ones follow, so cutting there would lose them. Nothing was changed.
    #[error("log damaged at {place}: {what}")]
    Damaged {
        /// File and byte position.
        place: String,
        /// What was found.
        what: String,
    },
    /// Another process owns the data directory.
    #[error("data directory {0} is in use by another process")]
    InUse(String),
    /// The operating system refused.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The system's reason.
        reason: String,
    },
    /// The broker cannot be reached or refused.
    #[error("broker: {0}")]
    Broker(String),
    /// The log was closed.
    #[error("log is closed")]
    Closed,
}

impl LogError {
    /// Whether the same call may succeed later without anybody doing anything: the broker is away, or the
    /// disk is full until retention frees it.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Broker(_) | Self::Full(_))
    }
}
