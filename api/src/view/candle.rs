//! Open, high, low, close and volume of one interval.

use model::{Candle, Interval, Notional, Price, UnixNanos, Volume};
use serde::Serialize;
use utoipa::ToSchema;

/// A candle; a later `revision` of the same start replaces it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Candle)]
pub(crate) struct CandleView {
    /// Start of the interval.
    #[schema(format = DateTime, example = "2026-01-02T03:04:00Z")]
    start: String,
    /// End of the interval, which belongs to the next one.
    #[schema(format = DateTime, example = "2026-01-02T03:05:00Z")]
    end: String,
    /// 0 for the first final row; each correction by late trades is the next.
    revision: u32,
    #[schema(value_type = String, example = "64123.4")]
    open: Price,
    #[schema(value_type = String, example = "64130")]
    high: Price,
    #[schema(value_type = String, example = "64119.5")]
    low: Price,
    #[schema(value_type = String, example = "64122")]
    close: Price,
    /// Base units traded.
    #[schema(value_type = String, example = "12.5")]
    volume: Volume,
    /// Quote units traded.
    #[schema(value_type = String, example = "801542.5")]
    notional: Notional,
    /// Volume-weighted average price.
    #[schema(value_type = String, example = "64123.4")]
    vwap: Price,
    /// Trades counted.
    trades: u64,
}

/// What is kept of a candle: all but what its place says already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CandleRow {
    pub(crate) start: UnixNanos,
    pub(crate) revision: u32,
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    volume: Volume,
    notional: Notional,
    vwap: Price,
    trades: u64,
}

impl From<&Candle> for CandleRow {
    fn from(candle: &Candle) -> Self {
        Self {
            start: candle.start,
            revision: candle.revision,
            open: candle.open,
            high: candle.high,
            low: candle.low,
            close: candle.close,
            volume: candle.volume,
            notional: candle.notional,
            vwap: candle.vwap,
            trades: candle.trades,
        }
    }
}

impl CandleView {
    pub(crate) fn new(row: &CandleRow, interval: Interval) -> Self {
        Self {
            start: row.start.to_string(),
            end: row.start.plus(interval.nanos()).to_string(),
            revision: row.revision,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            notional: row.notional,
            vwap: row.vwap,
            trades: row.trades,
        }
    }
}
