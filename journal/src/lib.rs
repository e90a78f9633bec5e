//! Topics, partitions and offsets.
//!
//! Every stage reads and writes through the [`Log`] trait and does not know which back end is behind it: the
//! embedded one, in this process and on this disk, or a Fluvio cluster. Both pass the one conformance suite.

mod batch;
pub mod embedded;
mod error;
pub mod fluvio;
mod log;
pub mod stage;
pub mod writer;

pub use batch::{Batch, Record, RecordRef};
pub use error::LogError;
pub use log::{Ack, Appender, Bounds, Log, LogReader, Offset, Partition, Priority, Retention, TopicSpec, Visibility};
pub use writer::ClaimedWriter;
