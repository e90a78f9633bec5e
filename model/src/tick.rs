//! The records of `ticks`, which is the aggregation's inbox: market data and all else that its state folds.

use std::fmt;

use crate::instrument::Instrument;
use crate::name::Venue;
use crate::number::{Price, Quantity, Volume};
use crate::record::Origin;
use crate::time::UnixNanos;

/// One record of the topic `ticks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Who wrote it, or what it follows from.
    pub origin: Origin,
    /// The venue's time; where the venue gives none, `ts_recv`.
    pub ts_event: UnixNanos,
    /// Our time of receipt; for replayed frames the recorder's.
    pub ts_recv: UnixNanos,
    /// What is known of the record's quality.
    pub flags: TickFlags,
    /// The content.
    pub body: TickBody,
}

/// Quality marks of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TickFlags(pub u8);

impl TickFlags {
    /// The venue gave no time, or one further than `max_clock_skew` from ours; `ts_event` is `ts_recv`.
    pub const TIME_REPLACED: u8 = 1;
    /// A block trade, liquidation or the like: kept, but outside VWAP and candles.
    pub const OFF_BOOK: u8 = 2;
    /// From before the subscription (a snapshot's last trades): kept, but outside VWAP and candles.
    pub const HISTORIC: u8 = 4;
    /// Fetched by REST rather than streamed.
    pub const POLLED: u8 = 8;
    /// A quote taken from the top of a maintained book, which has its own staleness limit.
    pub const FROM_BOOK: u8 = 16;

    /// Whether any of `marks` is set.
    pub const fn any(self, marks: u8) -> bool {
        self.0 & marks != 0
    }
}

/// The content of a tick record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TickBody {
    /// A trade on a venue.
    Trade(Trade),
    /// A venue's best bid and ask.
    Quote(Quote),
    /// A venue's 24 h figures.
    Ticker(Ticker),
    /// A feed came up, went silent, lost data or went away.
    FeedState(FeedState),
    /// A conversion rate between quote assets.
    Rate(Rate),
    /// Somebody asks for a publication now.
    Refresh(Refresh),
    /// Time has passed.
    Clock(Clock),
    /// The configuration that holds from here on.
    Configure(Configure),
    /// A writer begins; its offset is the epoch.
    Claim(Claim),
}

/// The side that took liquidity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The buyer.
    Buy,
    /// The seller.
    Sell,
}

impl Side {
    /// The other side.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// A venue's id of a trade: a counter, or a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TradeId {
    /// A decimal number; most venues count up per instrument.
    Number(u64),
    /// A UUID.
    Uuid(u128),
}

/// A text that is no trade id we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a trade id: a decimal number below 2^64 or a UUID")]
pub struct TradeIdError(String);

impl TradeId {
    /// Reads a decimal number or a hyphenated UUID.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &[u8]) -> Result<Self, TradeIdError> {
        let refuse = || TradeIdError(String::from_utf8_lossy(text).chars().take(40).collect());
        if text.len() == 36 {
            let mut value: u128 = 0;
            for (at, byte) in text.iter().enumerate() {
                let digit = match (at, byte) {
                    (8 | 13 | 18 | 23, b'-') => continue,
                    (8 | 13 | 18 | 23, _) => return Err(refuse()),
                    (_, b'0'..=b'9') => byte - b'0',
                    (_, b'a'..=b'f') => byte - b'a' + 10,
                    (_, b'A'..=b'F') => byte - b'A' + 10,
                    _ => return Err(refuse()),
                };
                value = value << 4 | u128::from(digit);
            }
            return Ok(Self::Uuid(value));
        }
        if text.is_empty() || text.len() > 20 {
            return Err(refuse());
        }
        let mut value: u64 = 0;
        for byte in text {
            if !byte.is_ascii_digit() {
                return Err(refuse());
            }
            value =
                value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0'))).ok_or_else(refuse)?;
        }
        Ok(Self::Number(value))
    }
}

impl fmt::Display for TradeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Uuid(uuid) => write!(
                out,
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                uuid >> 96,
                uuid >> 80 & 0xffff,
                uuid >> 64 & 0xffff,
                uuid >> 48 & 0xffff,
                uuid & 0xffff_ffff_ffff
            ),
        }
    }
}

impl fmt::Debug for TradeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A trade on a venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// Where.
    pub venue: Venue,
    /// What.
    pub instrument: Instrument,
    /// The venue's id, unique per venue and instrument.
    pub id: TradeId,
    /// Above zero.
    pub price: Price,
    /// Base units, above zero.
    pub quantity: Quantity,
    /// The side that took liquidity.
    pub taker_side: Side,
}

/// A venue's best bid and ask. A side without orders has price and quantity zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Where.
    pub venue: Venue,
    /// What.
    pub instrument: Instrument,
    /// The venue's own sequence, or 0 where it has none.
    pub sequence: u64,
    /// Best bid.
    pub bid: Price,
    /// Base units at the best bid.
    pub bid_quantity: Quantity,
    /// Best ask.
    pub ask: Price,
    /// Base units at the best ask.
    pub ask_quantity: Quantity,
}

/// A venue's last price and 24 h volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticker {
    /// Where.
    pub venue: Venue,
    /// What.
    pub instrument: Instrument,
    /// Last traded price, above zero.
    pub last: Price,
    /// Base units traded in 24 h.
    pub volume_24h: Volume,
    /// Quote units traded in 24 h, where the venue says.
    pub quote_volume_24h: Option<Volume>,
}

/// A venue's stream of one kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Trades.
    Trades,
    /// Best bid and ask, from a quote channel or from a book.
    Quotes,
    /// 24 h figures.
    Ticker,
}

/// The condition of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedPhase {
    /// Data flows.
    Live,
    /// Connected, but silent past its watchdog.
    Silent,
    /// Data was lost: what came before and what comes after are not one stream.
    Gap,
    /// Not connected.
    Down,
}

/// A change in a feed's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedState {
    /// Where.
    pub venue: Venue,
    /// What.
    pub instrument: Instrument,
    /// Which stream.
    pub channel: Channel,
    /// The condition from here on (`Gap` is a moment; the feed goes on).
    pub phase: FeedPhase,
    /// Records known to be missing, 0 where the number is unknown.
    pub missing: u64,
}

/// A conversion rate: one unit of the instrument's base is worth `price` of its quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// `USDT-USD` and the like.
    pub instrument: Instrument,
    /// Above zero; zero takes the rate back (its index went stale).
    pub price: Price,
}

/// Asks for a publication of one instrument now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// What.
    pub instrument: Instrument,
    /// Repeated in the price that answers.
    pub id: u64,
}

/// Time has passed: `ts_recv` of the record is the new time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock;

/// The configuration in force from here on, by its hash; the text is in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configure {
    /// Stable hash of the part of the configuration that the core obeys.
    pub hash: u64,
}

/// A writer role begins a new epoch: this record's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim;

impl Tick {
    /// The instrument that it is about; none for clocks, configurations and claims.
    pub fn instrument(&self) -> Option<Instrument> {
        match &self.body {
            TickBody::Trade(trade) => Some(trade.instrument),
            TickBody::Quote(quote) => Some(quote.instrument),
            TickBody::Ticker(ticker) => Some(ticker.instrument),
            TickBody::FeedState(state) => Some(state.instrument),
            TickBody::Rate(rate) => Some(rate.instrument),
            TickBody::Refresh(refresh) => Some(refresh.instrument),
            TickBody::Clock(_) | TickBody::Configure(_) | TickBody::Claim(_) => None,
        }
    }

    /// The venue it came from, where it came from one.
    pub fn venue(&self) -> Option<Venue> {
        match &self.body {
            TickBody::Trade(trade) => Some(trade.venue),
            TickBody::Quote(quote) => Some(quote.venue),
            TickBody::Ticker(ticker) => Some(ticker.venue),
            TickBody::FeedState(state) => Some(state.venue),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trade_ids_are_numbers_or_uuids() {
        let uuid = "20f43950-d8dd-5b31-9112-a178eb6023af";
        assert_eq!(TradeId::parse(uuid.as_bytes()).expect("a uuid").to_string(), uuid);
        assert_eq!(TradeId::parse(b"18446744073709551615"), Ok(TradeId::Number(u64::MAX)));
        for bad in ["", "-1", "18446744073709551616", "1.5", "20f43950_d8dd-5b31-9112-a178eb6023af"] {
            assert!(TradeId::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
