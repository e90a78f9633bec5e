//! Double-entry accounts: balances, holds, transfers in two phases, fees, positions. Pure and exact.
//!
//! Amounts are in units of 1e-8 in an `i128`. Balances and holds are never negative, and for each asset
//! balances plus holds equal deposits minus withdrawals; both are asserted after every operation, in release
//! builds too.

mod balance;
mod chunks;
mod entry;
mod fee;
mod muldiv;
mod position;
pub mod snapshot;
mod table;

pub use balance::{AssetId, AssetTotals, Balance, Ledger, Pending, Reference, Settlement, Short};
pub use chunks::Chunks;
pub use entry::Entry;
pub use fee::FeeMeter;
pub use muldiv::mul_div;
pub use position::{Position, Positions};
pub use table::Paged;
