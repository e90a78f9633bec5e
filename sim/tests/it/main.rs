//! The simulated venues over real sockets, each against a plain WebSocket client.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod binance;
mod bitstamp;
mod bybit;
mod client;
mod coinbase;
mod coinbase_advanced;
mod determinism;
mod faults;
mod kraken;
mod ladder;
mod okx;
mod server;
