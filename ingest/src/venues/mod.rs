//! The venues, one module each.
//!
//! # How to write one
//!
//! A venue is two types in one file:
//!
//! 1. A unit struct with [`Connector`](crate::connector::Connector): addresses, budgets, watchdog times, the
//!    texts that subscribe and unsubscribe, and the REST requests. No state. Messages name at most
//!    `rules().subscriptions_per_message` subscriptions each; the supervisor paces them by `rules().messages`.
//! 2. A [`Decoder`](crate::decode::Decoder), made by `Connector::decoder` from the connection's
//!    [`Plan`](crate::connector::Plan), which owns all state per instrument, in a `Vec` indexed by the place in
//!    the plan. [`Symbols`](crate::decode::Symbols) maps the venue's symbol to the place.
//!
//! Rules for `decode`:
//!
//! * Read the frame with [`json::Reader`](crate::json::Reader): `object` and `array` walk, `price`,
//!   `quantity`, `unsigned`, `millis`, `rfc3339` and their like take a value from a number or a string, `skip`
//!   passes over what is not used, `raw` keeps a value for a second look when its meaning depends on a field
//!   that comes later: **never rely on the order of fields**. Slots are `Option`s filled by
//!   [`json::fill`](crate::json::fill), which refuses doubled keys, and taken by
//!   [`json::need`](crate::json::need). End with `finish`.
//! * Read everything before changing state, so that a refused frame changes nothing. Where a refusal means
//!   that an update is lost and the venue has no sequence to show it, tell the gap and ask for a snapshot.
//! * Say `out.saw(instrument, channel)` for each feed that showed life, also by a heartbeat or an unchanged
//!   book.
//! * Trades: pass the id through [`trade_ids`](crate::trade_ids) (`Counter` where ids count up by one,
//!   `Recent` elsewhere); a repeat is counted in `out.duplicates` and gives no tick; a gap gives
//!   `out.gap(.., missing)` before the trade. Mark `HISTORIC` what is from before the subscription and
//!   `OFF_BOOK` block trades. `taker_side` is the side that took liquidity.
//! * Books: keep a [`Book`](crate::book::Book), check the venue's chain or checksum, and give a `Quote` when
//!   the top changes. On a broken chain: `out.gap`, then `Signal::NeedSnapshot` (REST) or
//!   `Signal::Resubscribe` (the stream brings a snapshot), no quotes until it is whole, then
//!   `Signal::Recovered`. A crossed top (`Top::crossed`) is treated as a broken chain.
//! * Quotes without a time of the venue's have `ts_event: None`.
//! * An error that the venue reports is [`Refusal::Venue`](crate::refusal::Refusal::Venue); a frame of no known
//!   shape is `Refusal::UnknownFrame`.
//!
//! Then add the venue to [`ALL`], and a module `tests/it/venues/<venue>.rs` with its captured frames and its
//! table of bad inputs (`support::bad_inputs` feeds the ones that every decoder must refuse).

pub mod binance;
pub mod bitstamp;
pub mod bybit;
pub mod coinbase;
pub mod coinbase_advanced;
pub mod kraken;
pub mod okx;
pub mod rest_ticker;

use crate::connector::Connector;

/// The venue with this name in `pipeline.yaml`.
pub fn by_name(name: &str) -> Option<&'static dyn Connector> {
    ALL.iter().copied().find(|venue| venue.name() == name)
}

/// Every venue.
pub const ALL: &[&dyn Connector] = &[
    &binance::Binance,
    &bitstamp::Bitstamp,
    &bybit::Bybit,
    &coinbase::Coinbase,
    &coinbase_advanced::CoinbaseAdvanced,
    &kraken::Kraken,
    &okx::Okx,
    &rest_ticker::RestTicker,
];
