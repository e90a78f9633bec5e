//! Why a frame cannot be used: the reasons that dead letters carry.

use std::fmt;

use model::NumberError;

/// Why a frame was refused. Small enough to pass through hot code: one pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Refusal>);

/// The reason itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A byte sequence that is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Position in the frame.
        at: usize,
    },
    /// The text ends too early.
    #[error("truncated at byte {at}")]
    Truncated {
        /// Position in the frame.
        at: usize,
    },
    /// Not the JSON that is expected here.
    #[error("{found:?} at byte {at}: {expected} expected")]
    Unexpected {
        /// Position in the frame.
        at: usize,
        /// What is there.
        found: char,
        /// What should be.
        expected: &'static str,
    },
    /// Nested too deeply.
    #[error("nested deeper than {max} at byte {at}")]
    TooDeep {
        /// Position in the frame.
        at: usize,
        /// The limit.
        max: u8,
    },
    /// An escape in a string that is used.
    #[error("escape at byte {at} in a string that is used")]
    Escape {
        /// Position in the frame.
        at: usize,
    },
    /// A field is there twice.
    #[error("field {field} is there twice")]
    Duplicate {
        /// The field.
        field: &'static str,
    },
    /// A field is not there.
    #[error("field {field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// No exact number of ours.
    #[error("{field}: {source}")]
    Number {
        /// The field.
        field: &'static str,
        /// Why not.
        source: NumberError,
    },
    /// No whole number.
    #[error("{field} {shown:?} is not a whole number below 2^64")]
    Integer {
        /// The field.
        field: &'static str,
        /// Its text.
        shown: String,
    },
    /// Zero where something must be above it.
    #[error("{field} 0 not allowed: must be above zero")]
    NotPositive {
        /// The field.
        field: &'static str,
    },
    /// Below zero.
    #[error("{field} is negative")]
    Negative {
        /// The field.
        field: &'static str,
    },
    /// No time that we can hold.
    #[error("{field} {shown:?} is not a time between 1678 and 2262")]
    Time {
        /// The field.
        field: &'static str,
        /// Its text.
        shown: String,
    },
    /// A symbol that is not configured.
    #[error("unknown symbol {symbol:?}")]
    UnknownSymbol {
        /// The venue's symbol.
        symbol: String,
    },
    /// A value outside those that the venue documents.
    #[error("{field} {shown:?} is not known")]
    UnknownValue {
        /// The field.
        field: &'static str,
        /// Its text.
        shown: String,
    },
    /// No frame that this decoder knows.
    #[error("unknown frame: {0}")]
    UnknownFrame(&'static str),
    /// The venue says that something went wrong.
    #[error("venue error: {0}")]
    Venue(String),
    /// A best bid above the best ask.
    #[error("bid {bid} above ask {ask}")]
    Crossed {
        /// Best bid.
        bid: model::Price,
        /// Best ask.
        ask: model::Price,
    },
    /// More elements than a frame may carry.
    #[error("{count} {what} in a frame, at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many, where counting stopped.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Larger than a frame may be.
    #[error("frame of {bytes} bytes, at most {max}")]
    TooLarge {
        /// Its size, as far as it is known.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A binary frame from a venue that sends text.
    #[error("binary frame of {0} bytes")]
    Binary(usize),
    /// A violation of the WebSocket protocol.
    #[error("websocket: {0}")]
    Protocol(String),
    /// A request in the topic `control` that is none.
    #[error("not a control request: {0}")]
    Request(String),
    /// A REST answer that is no success.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// HTTP status code.
        status: u16,
    },
}

impl Refusal {
    /// The start of a text, for a message.
    pub fn shown(text: &[u8]) -> String {
        String::from_utf8_lossy(text).chars().take(60).collect()
    }

    /// A symbol that is not configured.
    #[cold]
    pub fn unknown_symbol(symbol: &[u8]) -> DecodeError {
        Self::UnknownSymbol { symbol: Self::shown(symbol) }.into()
    }

    /// A value outside those documented.
    #[cold]
    pub fn unknown_value(field: &'static str, text: &[u8]) -> DecodeError {
        Self::UnknownValue { field, shown: Self::shown(text) }.into()
    }

    #[cold]
    pub(crate) fn time(field: &'static str, shown: &dyn fmt::Display) -> DecodeError {
        Self::Time { field, shown: Self::shown(shown.to_string().as_bytes()) }.into()
    }
}

impl DecodeError {
    /// The reason.
    pub fn refusal(&self) -> &Refusal {
        &self.0
    }
}

impl From<Refusal> for DecodeError {
    #[cold]
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl std::error::Error for DecodeError {}
