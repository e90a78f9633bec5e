//! Each venue's decoder against what the venue really sends, and against what it never should.

mod binance;
mod bitstamp;
mod bybit;
mod coinbase;
mod coinbase_advanced;
mod kraken;
mod okx;
mod rest_ticker;
