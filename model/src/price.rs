//! The composite price: what the topic `prices` carries.

use std::fmt;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BestLevel {
    /// The price.
    pub price: Price,
    /// Base units there.
    pub quantity: Quantity,
    /// Who quotes it.
    pub venue: Venue,
}

/// A published window of plain volume-weighted averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Window {
    /// One second.
    #[serde(rename = "1s")]
    S1,
    /// One minute.
    #[serde(rename = "1m")]
    M1,
    /// Five minutes.
    #[serde(rename = "5m")]
    M5,
    /// One hour.
    #[serde(rename = "1h")]
    H1,
    /// A day's length.
    #[serde(rename = "24h")]
    H24,
}

/// Stable hash of the rules that a price was made by; 16 hex digits in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RulesHash(pub u64);

/// Volume-weighted average over one window, all venues that count pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowVwap {
    /// How far it looks back from the price's event time.
    pub window: Window,
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
    /// The same before that rounding, at 1e-8.
    pub raw: Price,
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
    /// Hash of the rules in force.
    pub config: RulesHash,
    /// The record in `ticks` that led to it.
    pub cause: Cause,
    /// The core's event time: the running maximum of its stamps.
    pub ts_event: UnixNanos,
    /// When the record in `ticks` was received.
    pub ts_recv: UnixNanos,
}

impl Window {
    /// Every published window, shortest first.
    pub const ALL: [Self; 5] = [Self::S1, Self::M1, Self::M5, Self::H1, Self::H24];

    /// The length in nanoseconds.
    pub const fn nanos(self) -> i64 {
        match self {
            Self::S1 => Interval::S1.nanos(),
            Self::M1 => Interval::M1.nanos(),
            Self::M5 => Interval::M5.nanos(),
            Self::H1 => Interval::H1.nanos(),
            Self::H24 => Interval::D1.nanos(),
        }
    }

    /// The name in records and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::H1 => "1h",
            Self::H24 => "24h",
        }
    }
}

impl fmt::Display for RulesHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl serde::Serialize for RulesHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RulesHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(serde::de::Error::custom(format!("{text:?} is not a rules hash: 16 hex digits")));
        }
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
