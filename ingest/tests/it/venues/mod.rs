//! Each venue's decoder against what the venue really sends, and against what it never should.

mod binance;
mod coinbase;
mod kraken;
mod rest_ticker;
