//! The bounds that a statement keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Every bound of the engine. The defaults fit two cores and leave the pipeline its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a statement's text.
    pub statement_bytes_max: usize,
    /// Depth of nested parentheses, subqueries and expressions.
    pub depth_max: usize,
    /// Operators and keywords that make a statement's tree grow: `AND`, `OR`, `+`, `UNION`, `JOIN` and so on.
    pub terms_max: usize,
    /// Bytes that all running statements may hold together for sorting, joining and grouping.
    pub memory_bytes_max: usize,
    /// Bytes of Parquet footers and indexes that are kept.
    pub metadata_cache_bytes_max: usize,
    /// Bytes of rows that have not landed yet. Past them the tail stops and `watermark` says where.
    pub tail_bytes_max: usize,
    /// Bytes on disk for what does not fit into memory; 0 forbids it.
    pub spill_bytes_max: u64,
    /// Time of a statement, from its arrival to its last row.
    pub time_max: Duration,
    /// Rows of an answer.
    pub rows_max: u64,
    /// Statements at work at the same time.
    pub statements_max: usize,
    /// Threads' worth of parallelism inside one statement.
    pub parallelism: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement_bytes_max: 64 << 10,
            depth_max: 48,
            terms_max: 1_000,
            memory_bytes_max: 512 << 20,
            metadata_cache_bytes_max: 128 << 20,
            tail_bytes_max: 256 << 20,
            spill_bytes_max: 2 << 30,
            time_max: Duration::from_secs(10),
            rows_max: 10_000_000,
            statements_max: 4,
            parallelism: std::thread::available_parallelism().map_or(2, usize::from).min(8),
            batch_rows: 8_192,
        }
    }
}
