//! The Delta Lake transaction log: what a table consists of, as open readers understand it.
//!
//! Written after the Delta transaction log protocol (delta-io/delta, `PROTOCOL.md`): reader version 1, writer
//! version 2, no table feature. A version is one file `_delta_log/<20 digits>.json`, made by one conditional PUT.
//! `docs/decisions/0010-delta-log.md` says why this is ours.

mod action;
mod checkpoint;
mod expire;
mod log;
mod schema;
mod state;
mod stats;

pub(crate) use action::{Action, Add, CommitInfo, Format, MetaData, Protocol, Remove, Txn};
pub(crate) use expire::{Entry, OUR_LOG_KEPT, expired, log_kept, removals_kept};
pub(crate) use log::{Committed, DeltaLog};
pub(crate) use schema::schema_string;
pub use state::DataFile;
pub(crate) use state::{State, TAG_LEVEL, TAG_LOG, Unusable, date_text};
pub(crate) use stats::stats_json;
pub use stats::{ColumnStats, Stat};
