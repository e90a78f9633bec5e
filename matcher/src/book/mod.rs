//! A price-time book, usable alone: integer ticks and lots in, reports out.
//!
//! [`Book`] matches limit and immediate-or-cancel orders by price, then by time, and knows orders by ids of the
//! caller's choice. It allocates only while it grows past its largest size so far. [`Depth`], [`Nodes`] and
//! [`SlotIndex`] are its parts; the exchange uses them with matching rules of its own.

mod depth;
mod ids;
mod index;
mod ladder;
mod limit;
mod nodes;
pub(crate) mod prefetch;
mod report;
mod runs;

pub use depth::Depth;
pub use ids::IdIndex;
pub use index::{SlotIndex, Tag};
pub use limit::{Book, NewOrder};
pub use nodes::{NONE, Node, Nodes, SLOTS_MAX};
pub use report::{Refusal, Report, Reports};

/// Lots of one order, at most.
pub const LOTS_MAX: u64 = 1_000_000_000_000;
/// Price of one order in ticks, at most.
pub const TICKS_MAX: i64 = 1_000_000_000_000_000_000;
