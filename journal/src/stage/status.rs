//! What a stage says of itself.

use crate::log::Offset;

/// How far a stage has come in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Loads its snapshot and reads back its outputs.
    Recovering,
    /// Applies what came before its start.
    CatchingUp,
    /// Applies what comes.
    Live,
    /// Failed; starts again when the reason may have passed.
    Waiting,
    /// Stopped for good.
    Stopped,
}

/// The condition of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageStatus {
    /// Where it is.
    pub phase: Phase,
    /// Next record to be applied.
    pub position: Offset,
    /// The inbox's end at the start: reaching it ends the catch-up.
    pub end_at_start: Offset,
    /// Outputs of all records before this are durable.
    pub durable: Offset,
    /// Oldest snapshot kept; the inbox must not be trimmed beyond it. None while there is no snapshot.
    pub oldest_snapshot: Option<Offset>,
    /// Hand-overs to the log that are not yet acknowledged.
    pub outstanding: usize,
    /// Why it failed last.
    pub failure: Option<String>,
}

impl StageStatus {
    /// Before the start.
    pub const INITIAL: Self = Self {
        phase: Phase::Recovering,
        position: 0,
        end_at_start: 0,
        durable: 0,
        oldest_snapshot: None,
        outstanding: 0,
        failure: None,
    };
}
