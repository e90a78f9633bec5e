//! What the exchange publishes besides executions: trades, book, postings.

use super::order::{AccountId, Asset, OrderId};
use crate::instrument::Instrument;
use crate::number::{Price, Quantity, Volume};
use crate::record::Cause;
use crate::tick::Side;
use crate::time::UnixNanos;

/// A record as a topic carries it: the content with its cause and time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamped<T> {
    /// Format version, 1.
    pub v: u32,
    /// The content.
    #[serde(flatten)]
    pub body: T,
    /// The command that led to it.
    pub cause: Cause,
    /// The exchange's time.
    pub ts_event: UnixNanos,
}

/// One record of the topic `trades`: a match on our own book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MarketTrade {
    /// Where.
    pub instrument: Instrument,
    /// Counted from 1 in each market.
    pub trade_id: u64,
    /// The resting order's price, or the auction's.
    pub price: Price,
    /// Base units.
    pub quantity: Quantity,
    /// The side of the order that came in; in an auction that of the younger one.
    pub taker_side: Side,
    /// The order that rested; in an auction the older one.
    pub maker_order: OrderId,
    /// The order that came in; in an auction the younger one.
    pub taker_order: OrderId,
    /// Whether it is an auction's.
    pub auction: bool,
    /// Whether this record takes the trade back.
    pub busted: bool,
}

/// A level of our own book as it is now. Quantity zero: the level is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelChange {
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: Price,
    /// Base units that show there.
    pub quantity: Volume,
}

/// The head of a [`BookDelta`], with the levels kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookHead {
    /// Where.
    pub instrument: Instrument,
    /// Counts an instrument's changes from 1. A snapshot has the sequence of the change before it.
    pub sequence: u64,
    /// Whether the levels are all there are, rather than changes.
    pub snapshot: bool,
    /// Whether a snapshot has every level; otherwise the best thousand of each side.
    pub complete: bool,
    /// Wrapping sum of [`level_hash`] over every level of the book after the change.
    pub checksum: u64,
}

/// One record of the topic `book`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BookDelta {
    /// Where.
    pub instrument: Instrument,
    /// Counts an instrument's changes from 1. A snapshot has the sequence of the change before it.
    pub sequence: u64,
    /// Whether the levels are all there are, rather than changes.
    pub snapshot: bool,
    /// Whether a snapshot has every level; otherwise the best thousand of each side.
    pub complete: bool,
    /// Wrapping sum of [`level_hash`] over every level of the book after the change, as 16 hex digits.
    pub checksum: String,
    /// Price and quantity now; quantity zero where the level is gone.
    pub bids: Vec<(Price, Volume)>,
    /// Price and quantity now; quantity zero where the level is gone.
    pub asks: Vec<(Price, Volume)>,
}

/// A level's part in the book's checksum, from its side, price and quantity in units of 1e-8; zero for a level
/// without quantity.
///
/// `mix(price * 2 + (1 for asks) + mix(quantity))`, where `mix` is the finaliser of SplitMix64 (Steele, Lea and
/// Flood, 2014), everything modulo 2^64.
pub const fn level_hash(side: Side, price: u64, quantity: u64) -> u64 {
    const fn mix(value: u64) -> u64 {
        let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }
    if quantity == 0 {
        return 0;
    }
    let ask = matches!(side, Side::Sell) as u64;
    mix(price.wrapping_mul(2).wrapping_add(ask).wrapping_add(mix(quantity)))
}

/// Why a balance moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostingKind {
    /// From outside.
    Deposit,
    /// To outside.
    Withdrawal,
    /// Set aside for an order or a pending withdrawal.
    Hold,
    /// Free again.
    Release,
    /// One side of a trade, its fee included.
    Trade,
    /// The house's part of a trade.
    Fee,
    /// Between accounts.
    Transfer,
    /// A trade undone.
    Bust,
}

/// One record of the topic `ledger`: one balance moved. The postings of one `transfer` add up to zero in each
/// asset, but for deposits and withdrawals, whose other side is the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Posting {
    /// Counts movements from 1; postings that belong together share it.
    pub transfer: u64,
    /// Whose balance.
    pub account: AccountId,
    /// In what.
    pub asset: Asset,
    /// Why.
    pub kind: PostingKind,
    /// Change of available and held together.
    pub amount: Volume,
    /// Change of what is held.
    pub held_change: Volume,
    /// Available afterwards.
    pub available: Volume,
    /// Held afterwards.
    pub held: Volume,
    /// The order behind it, 0 for none.
    pub order_id: OrderId,
    /// The trade behind it, 0 for none.
    pub trade_id: u64,
}
