//! Market data of the venues, from their sockets to the topic `ticks`.
//!
//! Each venue is a [`connector::Connector`] (facts and texts) with a pure [`decode::Decoder`] (frames to
//! ticks); one shared supervisor runs them all ([`Ingest`]), and [`replay`] reads captured frames through the
//! same decoders.

pub mod book;
mod budget;
mod clock;
pub mod config;
pub mod connector;
mod dead_letters;
pub mod decode;
mod error;
mod intake;
pub mod json;
pub mod levels;
mod outlet;
mod pace;
pub mod refusal;
pub mod replay;
pub mod stamp;
mod status;
mod supervisor;
mod telemetry;
pub mod trade_ids;
pub mod venues;

pub use config::{ConfigErrors, IngestConfig, SourceConfig, UnknownKind};
pub use connector::QuotesFrom;
pub use error::IngestError;
pub use status::{FeedReport, SourceReport, Status};
pub use supervisor::{Ingest, run};
