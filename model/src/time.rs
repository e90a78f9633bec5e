//! Points in time, as unix nanoseconds.

use std::fmt;

/// Unix time in nanoseconds, UTC. Signed, so that differences (lag, skew) keep their sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

/// Why a text or number is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not an RFC 3339 date-time.
    #[error("{0:?} is not an RFC 3339 time")]
    Syntax(String),
    /// Outside what unix nanoseconds in an `i64` hold.
    #[error("time {0} is out of range: 1678 to 2262")]
    OutOfRange(String),
}

impl UnixNanos {
    /// From unix milliseconds.
    ///
    /// # Errors
    /// When the time lies outside the years 1678 to 2262.
    pub fn from_millis(millis: i64) -> Result<Self, TimeError> {
        Self::scaled(millis, 1_000_000)
    }

    /// From unix microseconds.
    ///
    /// # Errors
    /// When the time lies outside the years 1678 to 2262.
    pub fn from_micros(micros: i64) -> Result<Self, TimeError> {
        Self::scaled(micros, 1_000)
    }

    fn scaled(value: i64, unit: i64) -> Result<Self, TimeError> {
        value.checked_mul(unit).map(Self).ok_or_else(|| TimeError::OutOfRange(value.to_string()))
    }

    /// From an RFC 3339 date-time.
    ///
    /// # Errors
    /// When the text has another form or the time lies outside the years 1678 to 2262.
    pub fn parse_rfc3339(text: &[u8]) -> Result<Self, TimeError> {
        let shown = || String::from_utf8_lossy(text).chars().take(40).collect::<String>();
        let text = std::str::from_utf8(text).map_err(|_| TimeError::Syntax(shown()))?;
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| TimeError::Syntax(shown()))?;
        i64::try_from(timestamp.as_nanosecond()).map(Self).map_err(|_| TimeError::OutOfRange(shown()))
    }

    /// Nanoseconds from `earlier` to `self`, negative when `self` is the earlier; saturating.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved by `nanos`; saturating.
    pub const fn plus(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// RFC 3339 in UTC, with as many decimals as needed.
impl fmt::Display for UnixNanos {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => fmt::Display::fmt(&timestamp, out),
            Err(_) => write!(out, "{} ns", self.0),
        }
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_agree() {
        let time = UnixNanos::parse_rfc3339(b"2021-04-17T16:43:37.089723Z").expect("a time");
        assert_eq!(time, UnixNanos::from_micros(1_618_677_817_089_723).expect("a time"));
        assert_eq!(time.to_string(), "2021-04-17T16:43:37.089723Z");
        for bad in ["", "yesterday", "2021-04-17", "2021-04-17T16:43:37", "9999-01-01T00:00:00Z"] {
            assert!(UnixNanos::parse_rfc3339(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(UnixNanos::from_millis(i64::MAX).is_err());
    }
}
