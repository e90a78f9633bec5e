//! The words of the field, shared by every stage: instruments, venues, exact numbers, times, records and
//! the codecs that carry them. No I/O, no async, no clock, no float.

mod candle;
mod codec;
pub mod digits;
pub mod exchange;
mod instrument;
mod interval;
mod name;
mod number;
mod price;
mod price_json;
mod record;
mod tick;
mod time;
pub mod topic;
mod words;

pub use candle::Candle;
pub use codec::CodecError;
pub use instrument::{Instrument, InstrumentError};
pub use interval::Interval;
pub use name::{Name, NameError, Role, Venue};
pub use number::{Notional, NumberError, Price, Quantity, Volume};
pub use price::{
    BestLevel, CompositePrice, Constituent, ConstituentState, PriceStatus, PublishReason, RulesHash, Window, WindowVwap,
};
pub use record::{Cause, Origin};
pub use tick::{
    Channel, Claim, Clock, Configure, FeedPhase, FeedState, Quote, Rate, Refresh, Side, Tick, TickBody, TickFlags,
    Ticker, Trade, TradeId, TradeIdError,
};
pub use time::{TimeError, UnixNanos};
