//! The real server over real sockets, on the real embedded log and the in-memory cache.
#![allow(clippy::unwrap_used)]

mod audit;
mod candles;
mod documents;
mod events;
mod exchange;
mod floor;
mod full;
mod health;
mod limits;
mod operators;
mod prices;
mod refresh;
mod schema;
mod slow;
mod sockets;
mod support;
mod topics;
mod traders;
