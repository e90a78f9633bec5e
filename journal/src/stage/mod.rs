//! The shell of a stateful stage: a pure core fed from one inbox partition, its outputs appended with their
//! cause, its state kept as snapshots.
//!
//! ```text
//!            ┌────────────── newest usable snapshot, then the tail
//! inbox ──▶ core ──▶ outputs, by batches for each output partition ──▶ acknowledgements ──▶ snapshot
//!           (fold)   (a thread beside it writes them and keeps account)
//! ```
//! State is a fold of the inbox, so the same inbox gives the same bytes. On start the stage loads the newest
//! snapshot that it can use, reads back what it wrote after it, and emits only what is missing: an output
//! names the record that caused it and its index among that record's outputs, which order everything that
//! one stage writes to one partition. Any failed output stops the stage; [`supervise`] starts it again from
//! its snapshot when the reason passes by itself. Nothing is skipped on the way: what an appender accepted
//! before it failed is a prefix, and reading back finds its end.

mod background;
mod meters;
mod outputs;
mod pipeline;
mod recover;
mod replica;
mod run;
mod snapshot;
mod status;
mod supervise;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Cause;

use crate::batch::Record;
use crate::error::LogError;
use crate::log::{Offset, Partition, Priority};

pub use outputs::Outputs;
pub use run::Stage;
pub use snapshot::{Snapshot, SnapshotError, SnapshotStore};
pub use status::{Phase, StageStatus};
pub use supervise::supervise;

/// A pure state machine over the records of one partition: no clock, no random source, no environment.
///
/// Two cores of one logic version that are fed the same records make the same outputs, snapshots and hashes,
/// wherever a snapshot and restore comes between.
pub trait Core: Send + 'static {
    /// Version of the logic. A change that makes other outputs or another state of the same records is a new
    /// version.
    fn logic_version(&self) -> u32;

    /// Says that this core makes snapshots only: another one serves, and nobody takes what this one would give to
    /// callers or leave unwritten. Called once, before the first record.
    fn only_follow(&mut self) {}

    /// Makes a record known that is applied soon, so that the core can decode it and fetch what it needs. Every
    /// record that is made known is applied next, in this order, or none of them is. It changes no state.
    fn expect(&mut self, record: &Record) {
        let _ = record;
    }

    /// Applies one record and pushes what follows from it, or keeps it for [`Self::take_unwritten`].
    fn apply(&mut self, record: &Record, outputs: &mut Outputs);

    /// What was kept since the last call: it is written on another thread while this core goes on, for cores of which
    /// writing takes as long as applying. Asked after each record; `all` is whether the core must part with what it has,
    /// which it should otherwise do once enough has come together. What is kept and what is pushed go to different
    /// topics, since their order is not that of the records.
    fn take_unwritten(&mut self, all: bool) -> Option<Box<dyn Unwritten>> {
        let _ = all;
        None
    }

    /// Appends the whole state to `out`.
    fn snapshot(&self, out: &mut Vec<u8>);

    /// Takes over a state that a core of `logic_version`, this one or an older, wrote. After an error the
    /// core is thrown away.
    ///
    /// # Errors
    /// When the bytes are no state, or one that this version cannot take over.
    fn restore(&mut self, logic_version: u32, state: &[u8]) -> Result<(), RestoreError>;

    /// A hash of the state that differs when states differ, for comparison only. Called between two records
    /// now and then, so it should take microseconds: kept up to date, or over a chain of what was applied.
    fn state_hash(&self) -> u64;
}

/// What some records bring about and is not yet written.
pub trait Unwritten: Send {
    /// Pushes what follows from the next record, after [`Outputs::begin`]. Returns the offset after that record; none when
    /// there is no more.
    fn write_next(&mut self, outputs: &mut Outputs) -> Option<Offset>;
}

/// Why a core refused a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RestoreError(pub String);

/// What happens beside the fold: caches, waiting callers, metrics. Nothing here changes the state.
pub trait Hooks<C>: Send {
    /// The records before `next` are applied, and what follows from them is about to be handed on. Called once or more
    /// for what one read gave, and once more when the stage has caught up.
    fn applied(&mut self, core: &mut C, next: Offset, phase: Phase) {
        let _ = (core, next, phase);
    }

    /// The outputs of all records before `next` are durable.
    fn durable(&mut self, next: Offset) {
        let _ = next;
    }
}

impl<C> Hooks<C> for () {}

/// A topic that a stage writes to.
#[derive(Debug, Clone)]
pub struct OutputTopic {
    /// Its name.
    pub topic: Arc<str>,
    /// Its number of partitions; a record's key decides which, by [`model::topic::partition_for`].
    pub partitions: u32,
    /// Whether its records may use the room kept in reserve.
    pub priority: Priority,
    /// Reads the cause back out of a record's content; none for a record that carries none.
    pub cause: fn(&[u8]) -> Option<Cause>,
}

/// What to do when the inbox no longer starts at 0 and no snapshot can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutSnapshot {
    /// Stop: the state cannot be known.
    Refuse,
    /// Begin with an empty state at the oldest record kept. For state that the flow itself rebuilds.
    BeginAtStart,
}

/// Who makes the snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotBy {
    /// The core itself, between two records. For states that are encoded in a fraction of a millisecond.
    Itself,
    /// A second core in the background, which follows the inbox from snapshot to snapshot. The stage never
    /// waits for it; it costs the state's memory once more. Its hash is compared with the first one's.
    Replica,
}

/// How snapshots are kept.
#[derive(Debug, Clone)]
pub struct SnapshotConfig {
    /// Their directory, which this stage partition has for itself.
    pub directory: PathBuf,
    /// Least time between two.
    pub every: Duration,
    /// How many are kept, at least 1.
    pub keep: usize,
    /// Who makes them.
    pub by: SnapshotBy,
    /// What to do without one.
    pub without: WithoutSnapshot,
}

/// A stage partition.
#[derive(Debug, Clone)]
pub struct StageConfig {
    /// The stage's name, in metrics and messages.
    pub name: Arc<str>,
    /// What it folds.
    pub inbox: Partition,
    /// Where its outputs go; [`Outputs::push`] names them by their place here.
    pub outputs: Vec<OutputTopic>,
    /// How its state is kept.
    pub snapshots: SnapshotConfig,
    /// Hand-overs to the log whose acknowledgement may be awaited at a time, at least 1.
    pub outstanding_max: usize,
}

/// Why a stage stopped.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The inbox or an output failed.
    #[error("stage {stage}: {error}")]
    Log {
        /// The stage.
        stage: Arc<str>,
        /// What failed.
        error: LogError,
    },
    /// The snapshot directory cannot be used.
    #[error("stage {stage}: {error}")]
    Snapshot {
        /// The stage.
        stage: Arc<str>,
        /// What failed.
        error: SnapshotError,
    },
    /// The system gave no thread.
    #[error("stage {stage} cannot start a thread: {error}")]
    Thread {
        /// The stage.
        stage: Arc<str>,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The inbox was trimmed and no snapshot covers what is gone.
    #[error("stage {stage} cannot start: {inbox} starts at offset {start} and no snapshot can be used")]
    StateLost {
        /// The stage.
        stage: Arc<str>,
        /// Its inbox.
        inbox: Partition,
        /// The oldest record kept.
        start: Offset,
    },
    /// An output was caused by a record that the inbox no longer has.
    #[error("log truncated: {inbox} ends at offset {end}, but {output} holds what followed from offset {cause}")]
    InboxTruncated {
        /// The inbox.
        inbox: Partition,
        /// Its end.
        end: Offset,
        /// The partition with the output.
        output: Partition,
        /// The missing record.
        cause: Offset,
    },
    /// Old records would be replayed under new rules.
    #[error(
        "stage {stage}: the snapshot at offset {snapshot} was made by logic version {old}, this is {new}, and \
         {output} holds what followed later, from offset {cause}: stop the old version cleanly first, so that it \
         leaves a snapshot at the end"
    )]
    LogicChanged {
        /// The stage.
        stage: Arc<str>,
        /// The snapshot's offset.
        snapshot: Offset,
        /// Version that made it.
        old: u32,
        /// Version of this core.
        new: u32,
        /// The partition with the output.
        output: Partition,
        /// The record it followed from.
        cause: Offset,
    },
    /// Two cores made different states of the same records.
    #[error("stage {stage}: the states of the two replicas differ at offset {offset}: {one:016x} and {other:016x}")]
    Diverged {
        /// The stage.
        stage: Arc<str>,
        /// Records applied.
        offset: Offset,
        /// Hash of the one that serves.
        one: u64,
        /// Hash of the one that makes snapshots.
        other: u64,
    },
}

impl StageError {
    /// Whether starting again from the snapshot may help without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Log { error, .. } => error.is_transient(),
            Self::Snapshot { error: SnapshotError::Io { .. }, .. } | Self::Thread { .. } => true,
            _ => false,
        }
    }
}
