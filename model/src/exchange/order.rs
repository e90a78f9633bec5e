//! Orders and who places them.

use std::fmt;

use crate::name::Name;
use crate::number::Price;
use crate::time::UnixNanos;

/// An account, by its number. Below [`AccountId::MAX`]; 0 is the house, which collects the fees and under whose
/// number the operator's commands run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub u32);

impl AccountId {
    /// The house.
    pub const HOUSE: Self = Self(0);
    /// Account numbers are below this one, so that tables can be dense.
    pub const MAX: u32 = 1 << 22;
}

impl fmt::Display for AccountId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "account {}", self.0)
    }
}

/// An order's number, counted from 1 over all markets of a shard.
pub type OrderId = u64;

/// What a client calls a command: chosen by the client, unique per account, remembered for a day.
pub type ClientOrderId = Name<36>;

/// An asset, such as `BTC`.
pub type Asset = Name<20>;

/// What kind of order it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// At a limit price or better.
    Limit,
    /// At once, down to a protection price; by quantity or by quote amount.
    Market,
    /// Becomes a market order when the last trade reaches the trigger price.
    Stop,
    /// Becomes a limit order when the last trade reaches the trigger price.
    StopLimit,
    /// A stop whose trigger follows the last trade at a distance, and never back.
    TrailingStop,
}

/// How long an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeInForce {
    /// Until cancelled.
    Gtc,
    /// What does not trade at once is cancelled.
    Ioc,
    /// All at once, or rejected.
    Fok,
    /// Until this time.
    Gtd(UnixNanos),
    /// Until the market closes or the UTC day ends.
    Day,
}

/// What happens when an account would trade with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfTrade {
    /// It may.
    Allow,
    /// The incoming order's rest is cancelled.
    CancelNewest,
    /// The resting order is cancelled.
    CancelOldest,
    /// Both are cancelled.
    CancelBoth,
    /// Both shrink by the smaller one's quantity, without a trade.
    Decrement,
}

/// How far behind the last trade a trailing stop stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trail {
    /// By a price difference.
    Price(Price),
    /// By parts of ten thousand of the last trade's price, rounded away from it to a tick.
    Bps(u32),
}
