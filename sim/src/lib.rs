//! Simulated venues and traders: real servers that speak the venues' formats, with faults on demand.
//!
//! [`Venues::start`] opens one port per venue on loopback, WebSocket and REST on the same one, and returns a
//! [`Handle`] with the addresses, the faults, what truly happened, and the way to stop. [`VenueCore`] is the
//! same venue without sockets: time and texts go in, frames come out.
//!
//! Beside its own interface every venue serves, on the same port:
//!
//! | call | answer |
//! |---|---|
//! | `GET /mock/ticker/BTCUSDT` (or `BTC-USDT`) | `{"symbol":"BTCUSDT","price":78850.12,"volume":18000.5,"timestamp":1787612486435}`: last price and 24 h base volume as JSON numbers in their exact digits, the venue's clock in unix milliseconds |
//! | `POST /mock/faults` `{"fault":{"kind":"silence","channel":"trade","symbol":"BTC-USDT"},"for_ms":5000}` | the faults in force; [`Fault`] lists the kinds, without `for_ms` a fault lasts until it is cleared |
//! | `GET /mock/faults`, `DELETE /mock/faults` | the faults in force; clears them |
//! | `GET /mock/journal?since=0&limit=1000` | `{"next":…,"entries":[…]}`: what truly happened, see [`Truth`] |
//!
//! A seed makes a run repeat exactly: event times count from the configured start, and every price, quantity,
//! id and time follows from the seed, the instrument and the venue's name. The wall clock only says when to
//! send.

mod config;
mod engine;
mod error;
mod faults;
mod market;
mod server;
mod text;
pub mod traders;
mod venues;

pub use config::{Config, ConfigError, Pace, VenueConfig};
pub use engine::{ConnectionId, Outgoing, RestReply, RestRequest, Truth, TruthEntry, VenueCore};
pub use error::SimError;
pub use faults::{Fault, FaultError, Malformed, ScheduledFault};
pub use market::{Character, InstrumentConfig, InstrumentConfigError, Motion, defaults};
pub use server::{Handle, Venues};
pub use venues::VenueKind;
