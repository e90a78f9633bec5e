//! The embedded log: in this process, on this disk.
//!
//! All topics share one journal of checksummed segment files, so a crash leaves one prefix across topics. A
//! writer thread packs what appenders hand in into one write; a syncing thread makes it durable, one sync for
//! all that was written meanwhile, and acknowledges; a third keeps segment files prepared ahead of the
//! writer; a fourth looks after retention. Readers at the tail are served from memory and woken at once.

mod backup;
mod catalog;
mod config;
mod disk;
mod format;
mod identity;
mod index;
mod log;
mod pack;
mod partition;
mod queue;
mod reader;
mod recovery;
mod retention;
mod room;
mod segment;
mod shared;
mod syncer;
mod writer;

pub use backup::{restore, restore_on};
pub use config::{EmbeddedConfig, SyncPolicy};
pub use disk::{Disk, DiskFile, RealDisk};
pub use log::EmbeddedLog;
