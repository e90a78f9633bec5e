//! Rows as bytes: NDJSON, CSV, Arrow IPC, Parquet, a table for people.

mod encode;
mod pieces;
mod text;

pub use encode::{Encoder, Format};
pub use pieces::{pieces, without_strangers};
pub use text::table;
