//! Candles: what the topic `candles` carries.

use crate::instrument::Instrument;
use crate::interval::Interval;
use crate::number::{Notional, Price, Volume};
use crate::record::Cause;
use crate::time::UnixNanos;

/// Open, high, low, close and volume of one interval, from the trades of every venue that counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Candle {
    /// Format version, 1.
    pub v: u32,
    /// What was traded.
    pub instrument: Instrument,
    /// How long.
    pub interval: Interval,
    /// Start of the interval.
    pub start: UnixNanos,
    /// 0 for the first final row; each late trade inside the allowed lateness gives the next revision.
    pub revision: u32,
    /// The earliest trade's price, by event time, venue and trade id.
    pub open: Price,
    /// The highest price.
    pub high: Price,
    /// The lowest price.
    pub low: Price,
    /// The latest trade's price.
    pub close: Price,
    /// Base units traded.
    pub volume: Volume,
    /// Quote units traded: the exact sum of price times quantity.
    pub notional: Notional,
    /// Volume-weighted average price.
    pub vwap: Price,
    /// Trades counted.
    pub trades: u64,
    /// The record in `ticks` that closed or corrected it.
    pub cause: Cause,
    /// The core's event time when it was written.
    pub ts_event: UnixNanos,
    /// When that record was received.
    pub ts_recv: UnixNanos,
}
