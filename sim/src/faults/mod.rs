//! Faults on demand: what a venue can be told to do wrong, from the configuration or while it runs.

mod malformed;
mod state;

use std::time::Duration;

use model::Instrument;
use serde::{Deserialize, Serialize};

pub(crate) use malformed::spoil;
pub(crate) use state::{ChannelSet, Due, FaultState, Verdict};

/// Something a venue does wrong. `channel` and `symbol`, where a fault has them, narrow it: a channel by the
/// venue's own name for it, with or without what the venue appends (`depth` is also `depth@100ms`, `book` also
/// `book-25`, `orderbook` also `orderbook.50`), a symbol as `BTC-USDT`; absent means all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Cuts every connection now, and again each `every_ms` while the fault lasts.
    Disconnect {
        /// Milliseconds between cuts; absent cuts once.
        #[serde(default)]
        every_ms: Option<u64>,
        /// With a WebSocket close frame rather than a dropped socket.
        #[serde(default)]
        clean: bool,
    },
    /// Tells the clients that the server is about to stop, in the venue's words where it has any (Binance
    /// `serverShutdown`, Bitstamp `bts:request_reconnect`), and cuts them 10 s later.
    Shutdown,
    /// Stays connected and sends nothing; without channel and symbol not even heartbeats and answers.
    Silence {
        /// Only this channel.
        #[serde(default)]
        channel: Option<String>,
        /// Only this instrument.
        #[serde(default)]
        symbol: Option<Instrument>,
    },
    /// Leaves out data frames; their sequence numbers are used up.
    Drop {
        /// In percent of the frames, 1 to 100.
        percent: u32,
        /// Only this channel.
        #[serde(default)]
        channel: Option<String>,
        /// Only this instrument.
        #[serde(default)]
        symbol: Option<Instrument>,
    },
    /// Sends data frames twice.
    Duplicate {
        /// In percent of the frames, 1 to 100.
        percent: u32,
    },
    /// Shuffles each run of data frames on a connection.
    Reorder {
        /// Length of a run, 2 to 1000.
        within: u32,
    },
    /// Sends, before data frames, a spoilt copy of them.
    Malformed {
        /// In percent of the frames, 1 to 100.
        percent: u32,
        /// How they are spoilt; absent draws one each time.
        #[serde(default)]
        form: Option<Malformed>,
        /// Sends the spoilt copy instead of the frame.
        #[serde(default)]
        replace: bool,
    },
    /// Sends one text frame of this size to every connection.
    Oversize {
        /// Bytes, at most 128 MiB.
        bytes: u64,
    },
    /// The venue's clock is wrong: every time it writes is moved.
    ClockSkew {
        /// Milliseconds; negative is late.
        ms: i64,
    },
    /// The venue's prices are wrong.
    Outlier {
        /// Basis points added to the fair price: 2000 is 20 % too high.
        bps: i32,
    },
    /// REST calls fail.
    RestError {
        /// HTTP status answered.
        status: u16,
        /// In percent of the calls, 1 to 100.
        percent: u32,
    },
    /// REST calls are answered late.
    RestDelay {
        /// Milliseconds.
        ms: u64,
    },
    /// New connections are closed at once, REST included, except to the paths under `/mock/`.
    Refuse,
    /// Frames leave at no more than this rate per connection, so that queues fill and clients are cut.
    SlowSender {
        /// Bytes per second, at least 1.
        bytes_per_second: u64,
    },
    /// What clients send is not read.
    SlowReader,
    /// Book checksums are wrong (Kraken).
    WrongChecksum {
        /// In percent of the book frames, 1 to 100.
        percent: u32,
    },
}

/// How a frame is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// Cut in the middle.
    Truncated,
    /// Nothing in it.
    Empty,
    /// An HTML page.
    NotJson,
    /// A text frame with bytes that are not UTF-8.
    BadUtf8,
    /// The same bytes in a binary frame.
    Binary,
    /// Arrays in arrays, 20,000 deep.
    Deep,
    /// The first price is `NaN`.
    NotANumber,
    /// The first price is negative.
    Negative,
    /// The first price is zero.
    Zero,
    /// The first price is `1e999`.
    Exponent,
    /// The first price has 31 digits.
    Huge,
    /// The first price is `null`.
    Null,
    /// The first price is an object.
    WrongType,
    /// The first time in milliseconds, microseconds or nanoseconds is 0.
    Epoch,
    /// The first time in milliseconds, microseconds or nanoseconds lies in 2100.
    Future,
}

impl Malformed {
    /// Every form.
    pub const ALL: [Self; 15] = [
        Self::Truncated,
        Self::Empty,
        Self::NotJson,
        Self::BadUtf8,
        Self::Binary,
        Self::Deep,
        Self::NotANumber,
        Self::Negative,
        Self::Zero,
        Self::Exponent,
        Self::Huge,
        Self::Null,
        Self::WrongType,
        Self::Epoch,
        Self::Future,
    ];
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledFault {
    /// From when on, since the start.
    pub at: Duration,
    /// For how long; `None` is until it is cleared. Faults of one moment (a single cut, an oversize frame)
    /// pass by themselves.
    pub lasts: Option<Duration>,
    /// What.
    pub fault: Fault,
}

/// Why a fault was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A figure is outside its range.
    #[error("{field} {value} not allowed: {allowed}")]
    Range {
        /// Which figure.
        field: &'static str,
        /// What it is.
        value: i64,
        /// The range.
        allowed: &'static str,
    },
    /// The venue has no such channel.
    #[error("channel {channel:?} not known to {venue}: one of {known}")]
    Channel {
        /// What was asked for.
        channel: String,
        /// The venue.
        venue: String,
        /// Its channels.
        known: String,
    },
    /// The venue does not list the instrument.
    #[error("symbol {symbol} not listed on {venue}")]
    Symbol {
        /// What was asked for.
        symbol: Instrument,
        /// The venue.
        venue: String,
    },
}

impl Fault {
    /// Checks the figures; names are checked where the venue is known.
    ///
    /// # Errors
    /// When a figure is outside its range.
    pub fn check(&self) -> Result<(), FaultError> {
        let range = |ok: bool, field, value: i64, allowed| {
            if ok { Ok(()) } else { Err(FaultError::Range { field, value, allowed }) }
        };
        match *self {
            Self::Drop { percent, .. }
            | Self::Duplicate { percent }
            | Self::Malformed { percent, .. }
            | Self::WrongChecksum { percent } => {
                range((1..=100).contains(&percent), "percent", percent.into(), "1 to 100")
            }
            Self::RestError { status, percent } => {
                range((1..=100).contains(&percent), "percent", percent.into(), "1 to 100")?;
                range((400..=599).contains(&status), "status", status.into(), "400 to 599")
            }
            Self::Reorder { within } => range((2..=1_000).contains(&within), "within", within.into(), "2 to 1000"),
            Self::Oversize { bytes } => {
                range((1..=128 << 20).contains(&bytes), "bytes", bytes as i64, "1 to 134217728")
            }
            Self::ClockSkew { ms } => {
                range(ms.unsigned_abs() <= 3_155_760_000_000, "ms", ms, "at most 100 years either way")
            }
            Self::Outlier { bps } => range((-9_000..=90_000).contains(&bps), "bps", bps.into(), "-9000 to 90000"),
            Self::RestDelay { ms } => range(ms <= 600_000, "ms", ms as i64, "at most 600000"),
            Self::SlowSender { bytes_per_second } => {
                range(bytes_per_second > 0, "bytes_per_second", bytes_per_second as i64, "at least 1")
            }
            Self::Disconnect { every_ms: Some(every), .. } => {
                range(every >= 10, "every_ms", every as i64, "at least 10")
            }
            Self::Disconnect { every_ms: None, .. }
            | Self::Shutdown
            | Self::Silence { .. }
            | Self::Refuse
            | Self::SlowReader => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_documented() {
        let text = r#"{"kind":"silence","channel":"trade","symbol":"BTC-USDT"}"#;
        let fault: Fault = serde_json::from_str(text).expect("a fault");
        let symbol = "BTC-USDT".parse().expect("an instrument");
        assert_eq!(fault, Fault::Silence { channel: Some("trade".into()), symbol: Some(symbol) });
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"drop","percent":5,"chanel":"trade"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"explode"}"#).is_err());
        assert_eq!(
            Fault::Duplicate { percent: 101 }.check().expect_err("out of range").to_string(),
            "percent 101 not allowed: 1 to 100"
        );
    }
}
