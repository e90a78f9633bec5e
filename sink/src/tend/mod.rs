//! Tending the tables: compaction, vacuum, verification.

mod compact;
mod input;
mod merge;
mod plan;
mod remote;
mod run;
mod runs;
mod vacuum;
mod verify;

pub use compact::{Compacted, compact};
pub use plan::{FILE_BYTES_MAX, Level};
pub use run::{TendConfig, tend};
pub use vacuum::{GRACE_DEFAULT, Vacuumed, vacuum};
pub use verify::{Verified, verify};
