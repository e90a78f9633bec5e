//! The composite price: what the topic `prices` carries.

use crate::instrument::Instrument;
use crate::interval::Interval;
use crate::name::Venue;
use crate::number::{Price, Quantity, Volume};
use crate::record::Cause;
use crate::time::UnixNanos;

/// How far a composite price may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PriceStatus {
    /// Three venues or more (`min_venues_ok`) agree within the band.
    Ok,
    /// Fewer venues than asked for, or too few inside the band.
    Degraded,
    /// One venue only.
    SingleSource,
    /// No venue; the last price stands, with its age.
    Stale,
}

/// Why a price was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishReason {
    /// It moved by `deviation_bps` or more.
    Deviation,
    /// Nothing was published for `heartbeat`.
    Heartbeat,
    /// The status changed.
    Status,
    /// Somebody asked.
    Refresh,
}

/// What became of a venue in a composite price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConstituentState {
    /// Counted at its own price.
    Used,
    /// Counted at the band's edge.
    Clamped,
    /// Outside the band and not counted.
    Outlier,
    /// Too old to count.
    Stale,
    /// Too little traded to count.
    Thin,
}

/// One venue's part in a composite price.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Constituent {
    /// The venue.
    pub venue: Venue,
    /// The instrument it trades, where that is not the priced one (it was converted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<Instrument>,
    /// The venue's price, converted, before any clamp.
    pub price: Price,
    /// The weight it was counted with: parts of 1, zero when not counted. Weights add up to 1 but for rounding.
    pub weight: Quantity,
    /// What the weight comes from: base units traded in the window, or 24 h volume scaled to it.
    pub volume: Volume,
    /// Nanoseconds from its newest event to the price's event time.
    pub age_ns: i64,
    /// What became of it.
    pub state: ConstituentState,
}

/// The best price of one side across venues.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BestLevel {
    /// The price.
    pub price: Price,
    /// Base units there.
    pub quantity: Quantity,
    /// Who quotes it.
    pub venue: Venue,
}

/// Volume-weighted average over one window, all venues that count pooled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowVwap {
    /// `1s`, `1m`, `5m`, `1h` or `24h`.
    pub window: String,
    /// The average; none where nothing traded.
    pub price: Option<Price>,
    /// Base units traded in the window.
    pub volume: Volume,
}

/// One published price of one instrument.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CompositePrice {
    /// Format version, 1.
    pub v: u32,
    /// What is priced.
    pub instrument: Instrument,
    /// Counts an instrument's publications from 1; without gaps.
    pub sequence: u64,
    /// The composite price, rounded half to even to the instrument's published tick.
    pub price: Price,
    /// How far to trust it.
    pub status: PriceStatus,
    /// Distance to the farther quartile of the venues' votes (price, price plus and minus its half spread),
    /// after Pyth; none for a stale price.
    pub confidence: Option<Price>,
    /// Why now.
    pub reason: PublishReason,
    /// The id of the refresh that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<u64>,
    /// Nanoseconds from the newest event behind the price to `ts_event`.
    pub age_ns: i64,
    /// Best bid across venues.
    pub bid: Option<BestLevel>,
    /// Best ask across venues.
    pub ask: Option<BestLevel>,
    /// Mean of best bid and best ask.
    pub mid: Option<Price>,
    /// Plain volume-weighted averages, one per window.
    pub vwap: Vec<WindowVwap>,
    /// Every venue that was considered, ordered by name.
    pub constituents: Vec<Constituent>,
    /// Hash of the rules in force, 16 hex digits.
    pub config: String,
    /// The record in `ticks` that led to it.
    pub cause: Cause,
    /// The core's event time: the running maximum of its stamps.
    pub ts_event: UnixNanos,
    /// When the record in `ticks` was received.
    pub ts_recv: UnixNanos,
}

impl WindowVwap {
    /// The published windows by name, with their lengths in nanoseconds.
    pub const WINDOWS: [(&'static str, i64); 5] = [
        ("1s", Interval::S1.nanos()),
        ("1m", Interval::M1.nanos()),
        ("5m", Interval::M5.nanos()),
        ("1h", Interval::H1.nanos()),
        ("24h", Interval::D1.nanos()),
    ];
}
