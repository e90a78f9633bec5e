//! One table as a statement sees it: the files of one snapshot of the lake, and the rows that have not landed yet.
//!
//! Nothing is listed and nothing is asked for twice: the snapshot tells every file with its size and statistics.
//! Rows that landed and rows of the tail meet at the snapshot's next offset, so none is missing and none is there
//! twice.

mod deal;
mod files;
mod market;
mod order;
mod revisions;
mod tail;

pub(crate) use deal::ReadInPieces;
pub use files::{File, Range};
pub use market::{MarketTable, Source, sql_schema};
pub use revisions::Revisions;
pub use tail::{Tail, TailStore};
