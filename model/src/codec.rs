//! The binary form of `ticks` records, little-endian.
//!
//! ```text
//! version u8 | kind u8 | flags u8 | origin u8 (0 root, 1 derived) | ts_event i64 | ts_recv i64
//! root:    epoch u64 | sequence u64 | role str8
//! derived: offset u64 | partition u32 | index u32 | topic str8
//! body, by kind
//! ```
//! `str8` is a length byte and that many bytes. Within a version fields are only ever added at the end of a
//! body, and readers ignore what follows the fields they know; anything else is a new version. Fixtures of
//! every released version are read under test.

use crate::instrument::Instrument;
use crate::name::Name;
use crate::number::{Price, Quantity, Volume};
use crate::record::{Cause, Origin};
use crate::tick::{
    Channel, Claim, Clock, Configure, FeedPhase, FeedState, Quote, Rate, Refresh, Side, Tick, TickBody, TickFlags,
    Ticker, Trade, TradeId,
};
use crate::time::UnixNanos;

/// The version written.
const VERSION: u8 = 1;

/// Why bytes are not a record that we can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Ends before its fields do.
    #[error("record of {len} bytes ends inside {field}")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Length of the record.
        len: usize,
    },
    /// Written by a newer program, in a form that this one does not know.
    #[error("record version {0} is newer than this program knows: at most 1")]
    NewerVersion(u8),
    /// A kind of record that this program does not know.
    #[error("record kind {0} is not known")]
    UnknownKind(u8),
    /// A field holds what it may not.
    #[error("{field} is invalid: {value}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
}

mod kind {
    pub(super) const TRADE: u8 = 1;
    pub(super) const QUOTE: u8 = 2;
    pub(super) const TICKER: u8 = 3;
    pub(super) const FEED_STATE: u8 = 4;
    pub(super) const RATE: u8 = 5;
    pub(super) const REFRESH: u8 = 6;
    pub(super) const CLOCK: u8 = 7;
    pub(super) const CONFIGURE: u8 = 8;
    pub(super) const CLAIM: u8 = 9;
}

impl Tick {
    /// Appends the binary form to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self.body {
            TickBody::Trade(_) => kind::TRADE,
            TickBody::Quote(_) => kind::QUOTE,
            TickBody::Ticker(_) => kind::TICKER,
            TickBody::FeedState(_) => kind::FEED_STATE,
            TickBody::Rate(_) => kind::RATE,
            TickBody::Refresh(_) => kind::REFRESH,
            TickBody::Clock(_) => kind::CLOCK,
            TickBody::Configure(_) => kind::CONFIGURE,
            TickBody::Claim(_) => kind::CLAIM,
        };
        let origin = match self.origin {
            Origin::Root { .. } => 0,
            Origin::Derived(_) => 1,
        };
        out.extend_from_slice(&[VERSION, kind, self.flags.0, origin]);
        out.extend_from_slice(&self.ts_event.0.to_le_bytes());
        out.extend_from_slice(&self.ts_recv.0.to_le_bytes());
        match &self.origin {
            Origin::Root { role, epoch, sequence } => {
                out.extend_from_slice(&epoch.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                put_text(out, role.as_bytes());
            }
            Origin::Derived(cause) => {
                out.extend_from_slice(&cause.offset.to_le_bytes());
                out.extend_from_slice(&cause.partition.to_le_bytes());
                out.extend_from_slice(&cause.index.to_le_bytes());
                put_text(out, cause.topic.as_bytes());
            }
        }
        self.body.encode(out);
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are cut, of a newer version or unknown kind, or hold what a field may not.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        if version > VERSION {
            return Err(CodecError::NewerVersion(version));
        }
        if version == 0 {
            return Err(CodecError::Invalid { field: "version", value: "0".into() });
        }
        let kind = reader.u8("kind")?;
        let flags = TickFlags(reader.u8("flags")?);
        let origin_kind = reader.u8("origin")?;
        let ts_event = UnixNanos(reader.i64("ts_event")?);
        let ts_recv = UnixNanos(reader.i64("ts_recv")?);
        let origin = match origin_kind {
            0 => Origin::Root {
                epoch: reader.u64("epoch")?,
                sequence: reader.u64("sequence")?,
                role: reader.name("role")?,
            },
            1 => Origin::Derived(Cause {
                offset: reader.u64("offset")?,
                partition: reader.u32("partition")?,
                index: reader.u32("index")?,
                topic: reader.name("topic")?,
            }),
            other => return Err(invalid("origin", &other)),
        };
        let body = TickBody::decode(kind, &mut reader)?;
        Ok(Self { origin, ts_event, ts_recv, flags, body })
    }
}

impl TickBody {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Trade(trade) => {
                out.extend_from_slice(&trade.price.raw().to_le_bytes());
                out.extend_from_slice(&trade.quantity.raw().to_le_bytes());
                out.push(match trade.taker_side {
                    Side::Buy => 0,
                    Side::Sell => 1,
                });
                match trade.id {
                    TradeId::Number(number) => {
                        out.push(0);
                        out.extend_from_slice(&number.to_le_bytes());
                    }
                    TradeId::Uuid(uuid) => {
                        out.push(1);
                        out.extend_from_slice(&uuid.to_le_bytes());
                    }
                }
                put_text(out, trade.venue.as_bytes());
                put_text(out, trade.instrument.as_str().as_bytes());
            }
            Self::Quote(quote) => {
                out.extend_from_slice(&quote.sequence.to_le_bytes());
                for raw in [quote.bid.raw(), quote.bid_quantity.raw(), quote.ask.raw(), quote.ask_quantity.raw()] {
                    out.extend_from_slice(&raw.to_le_bytes());
                }
                put_text(out, quote.venue.as_bytes());
                put_text(out, quote.instrument.as_str().as_bytes());
            }
            Self::Ticker(ticker) => {
                out.extend_from_slice(&ticker.last.raw().to_le_bytes());
                out.extend_from_slice(&ticker.volume_24h.raw().to_le_bytes());
                out.push(u8::from(ticker.quote_volume_24h.is_some()));
                out.extend_from_slice(&ticker.quote_volume_24h.unwrap_or_default().raw().to_le_bytes());
                put_text(out, ticker.venue.as_bytes());
                put_text(out, ticker.instrument.as_str().as_bytes());
            }
            Self::FeedState(state) => {
                out.push(match state.channel {
                    Channel::Trades => 0,
                    Channel::Quotes => 1,
                    Channel::Ticker => 2,
                });
                out.push(match state.phase {
                    FeedPhase::Live => 0,
                    FeedPhase::Silent => 1,
                    FeedPhase::Gap => 2,
                    FeedPhase::Down => 3,
                });
                out.extend_from_slice(&state.missing.to_le_bytes());
                put_text(out, state.venue.as_bytes());
                put_text(out, state.instrument.as_str().as_bytes());
            }
            Self::Rate(rate) => {
                out.extend_from_slice(&rate.price.raw().to_le_bytes());
                put_text(out, rate.instrument.as_str().as_bytes());
            }
            Self::Refresh(refresh) => {
                out.extend_from_slice(&refresh.id.to_le_bytes());
                put_text(out, refresh.instrument.as_str().as_bytes());
            }
            Self::Configure(configure) => out.extend_from_slice(&configure.hash.to_le_bytes()),
            Self::Clock(Clock) | Self::Claim(Claim) => {}
        }
    }

    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match kind {
            kind::TRADE => {
                let price = reader.price("price")?;
                let quantity = reader.quantity("quantity")?;
                let taker_side = match reader.u8("taker_side")? {
                    0 => Side::Buy,
                    1 => Side::Sell,
                    other => return Err(invalid("taker_side", &other)),
                };
                let id = match reader.u8("trade id")? {
                    0 => TradeId::Number(reader.u64("trade id")?),
                    1 => TradeId::Uuid(u128::from_le_bytes(reader.array("trade id")?)),
                    other => return Err(invalid("trade id", &other)),
                };
                let venue = reader.name("venue")?;
                Self::Trade(Trade { venue, instrument: reader.instrument()?, id, price, quantity, taker_side })
            }
            kind::QUOTE => {
                let sequence = reader.u64("sequence")?;
                let (bid, bid_quantity) = (reader.price("bid")?, reader.quantity("bid_quantity")?);
                let (ask, ask_quantity) = (reader.price("ask")?, reader.quantity("ask_quantity")?);
                let venue = reader.name("venue")?;
                let instrument = reader.instrument()?;
                Self::Quote(Quote { venue, instrument, sequence, bid, bid_quantity, ask, ask_quantity })
            }
            kind::TICKER => {
                let last = reader.price("last")?;
                let volume_24h = reader.volume("volume_24h")?;
                let quoted = reader.u8("quote_volume_24h")?;
                let quote_volume = reader.volume("quote_volume_24h")?;
                let venue = reader.name("venue")?;
                let instrument = reader.instrument()?;
                let quote_volume_24h = (quoted != 0).then_some(quote_volume);
                Self::Ticker(Ticker { venue, instrument, last, volume_24h, quote_volume_24h })
            }
            kind::FEED_STATE => {
                let channel = match reader.u8("channel")? {
                    0 => Channel::Trades,
                    1 => Channel::Quotes,
                    2 => Channel::Ticker,
                    other => return Err(invalid("channel", &other)),
                };
                let phase = match reader.u8("phase")? {
                    0 => FeedPhase::Live,
                    1 => FeedPhase::Silent,
                    2 => FeedPhase::Gap,
                    3 => FeedPhase::Down,
                    other => return Err(invalid("phase", &other)),
                };
                let missing = reader.u64("missing")?;
                let venue = reader.name("venue")?;
                Self::FeedState(FeedState { venue, instrument: reader.instrument()?, channel, phase, missing })
            }
            kind::RATE => {
                let price = reader.price("price")?;
                Self::Rate(Rate { instrument: reader.instrument()?, price })
            }
            kind::REFRESH => {
                let id = reader.u64("id")?;
                Self::Refresh(Refresh { instrument: reader.instrument()?, id })
            }
            kind::CLOCK => Self::Clock(Clock),
            kind::CONFIGURE => Self::Configure(Configure { hash: reader.u64("hash")? }),
            kind::CLAIM => Self::Claim(Claim),
            other => return Err(CodecError::UnknownKind(other)),
        })
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(u8::try_from(text.len()).expect("names are shorter than 256 bytes"));
    out.extend_from_slice(text);
}

pub(crate) fn invalid(field: &'static str, value: &dyn std::fmt::Display) -> CodecError {
    CodecError::Invalid { field, value: value.to_string() }
}

/// Reads the fields of a record one after the other.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    pub(crate) fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CodecError::Truncated { field, len: self.len })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CodecError::Truncated { field, len: self.len })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, CodecError> {
        self.array(field).map(i64::from_le_bytes)
    }

    pub(crate) fn price(&mut self, field: &'static str) -> Result<Price, CodecError> {
        let raw = self.i64(field)?;
        Price::from_raw(raw).ok_or_else(|| invalid(field, &raw))
    }

    pub(crate) fn quantity(&mut self, field: &'static str) -> Result<Quantity, CodecError> {
        let raw = self.i64(field)?;
        Quantity::from_raw(raw).ok_or_else(|| invalid(field, &raw))
    }

    pub(crate) fn volume(&mut self, field: &'static str) -> Result<Volume, CodecError> {
        self.array(field).map(i128::from_le_bytes).map(Volume::from_raw)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let len = self.u8(field)?;
        self.bytes(len as usize, field)
    }

    pub(crate) fn name<const N: usize>(&mut self, field: &'static str) -> Result<Name<N>, CodecError> {
        Name::new(self.text(field)?).map_err(|error| invalid(field, &error))
    }

    pub(crate) fn instrument(&mut self) -> Result<Instrument, CodecError> {
        Instrument::new(self.text("instrument")?).map_err(|error| invalid("instrument", &error))
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
