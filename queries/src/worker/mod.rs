//! The child process in which SQL runs, so that a statement can be stopped whatever it does.
//!
//! The process that owns the log starts it as `millrace sql-worker` and talks to it over a Unix socket, one
//! connection a statement and one a table's tail. The worker reads the lake by itself. It runs at a lower priority
//! and within a limit of memory that the system enforces, and ends when its parent does.

pub mod protocol;
mod restrain;
mod serve;

pub use restrain::give_way;
pub use serve::{LakePlace, Setup, run};
