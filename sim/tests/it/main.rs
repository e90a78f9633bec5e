//! The simulated venues over real sockets, each against a plain WebSocket client.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod binance;
mod client;
