//! Rows as bytes: NDJSON, CSV, Arrow IPC, Parquet, a table for people.

mod encode;
mod text;

pub use encode::{Encoder, Format};
pub use text::table;
