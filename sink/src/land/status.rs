//! What landing says of itself.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::tables::Table;

/// How a table's landing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Looks where it left off.
    Starting,
    /// Reads and lands.
    Landing,
    /// Tries again and again: why.
    Waiting(String),
    /// Ended: why, where it was not asked to.
    Stopped(Option<String>),
}

/// The condition of a table's landing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStatus {
    /// The table.
    pub table: Table,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// Version of the newest commit.
    pub version: Option<u64>,
    /// Offset up to which each source partition has landed.
    pub landed: BTreeMap<u32, u64>,
    /// Offset up to which each source partition was read: what lies between is in open files, or is a candle that
    /// may still be corrected.
    pub read: BTreeMap<u32, u64>,
    /// Rows landed since the start.
    pub rows: u64,
    /// Records that could not become rows and went to `dead-letters`, since the start.
    pub refused: u64,
    /// Records that were trimmed from the log before they landed, since the start.
    pub lost: u64,
}

impl TableStatus {
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table,
            phase: Phase::Starting,
            since: Instant::now(),
            version: None,
            landed: BTreeMap::new(),
            read: BTreeMap::new(),
            rows: 0,
            refused: 0,
            lost: 0,
        }
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        let same = std::mem::discriminant(&self.phase) == std::mem::discriminant(&phase);
        if !same {
            self.since = Instant::now();
        }
        self.phase = phase;
    }
}
