//! The lake: topics become Parquet objects, committed to Delta tables together with the offsets they reach.
//!
//! ```text
//! topic ──▶ rows ──▶ one Parquet file per event date ──▶ upload ──▶ one conditional PUT to the table's log
//! ```
//! Nothing is part of a table until the commit that names it, and that commit carries the next offset of every
//! source partition. So a crash, a lost response or a second writer can neither double nor lose a row.
//! What to do is decided in pure modules ([`land`]'s rules, [`lake`]'s resolution); I/O is at their edge.

mod delta;
pub mod encode;
pub mod lake;
pub mod land;
pub mod probe;
mod store;
pub mod tables;
pub mod tend;
