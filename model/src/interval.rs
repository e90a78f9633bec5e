//! Candle intervals.

use std::fmt;
use std::str::FromStr;

use crate::time::UnixNanos;

/// The length of a candle. Candles are aligned to unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Interval {
    /// One second.
    #[serde(rename = "1s")]
    S1,
    /// One minute.
    #[serde(rename = "1m")]
    M1,
    /// Five minutes.
    #[serde(rename = "5m")]
    M5,
    /// Fifteen minutes.
    #[serde(rename = "15m")]
    M15,
    /// One hour.
    #[serde(rename = "1h")]
    H1,
    /// One day, UTC.
    #[serde(rename = "1d")]
    D1,
}

/// A text that names no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an interval: one of 1s, 1m, 5m, 15m, 1h, 1d")]
pub struct IntervalError(String);

impl Interval {
    /// Every interval, shortest first.
    pub const ALL: [Self; 6] = [Self::S1, Self::M1, Self::M5, Self::M15, Self::H1, Self::D1];

    /// The length in nanoseconds.
    pub const fn nanos(self) -> i64 {
        const SECOND: i64 = 1_000_000_000;
        match self {
            Self::S1 => SECOND,
            Self::M1 => 60 * SECOND,
            Self::M5 => 300 * SECOND,
            Self::M15 => 900 * SECOND,
            Self::H1 => 3_600 * SECOND,
            Self::D1 => 86_400 * SECOND,
        }
    }

    /// The start of the candle that holds `at`.
    pub const fn start_of(self, at: UnixNanos) -> UnixNanos {
        UnixNanos(at.0 - at.0.rem_euclid(self.nanos()))
    }

    /// The name in configuration, keys and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::H1 => "1h",
            Self::D1 => "1d",
        }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        Self::ALL
            .into_iter()
            .find(|interval| interval.as_str() == text)
            .ok_or_else(|| IntervalError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}
