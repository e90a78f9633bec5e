//! One venue without sockets or clocks: what arrives and how much time has passed goes in, frames come out.
//!
//! The servers wrap it; tests and whole-pipeline simulations may drive it by hand.

mod client;
mod core;
mod hub;
mod mock;
mod rest;
mod truth;

pub use client::Outgoing;
pub use core::VenueCore;
pub(crate) use hub::{Hub, Shape, Stream};
pub use rest::{RestReply, RestRequest};
pub(crate) use truth::TruthRing;
pub use truth::{Truth, TruthEntry};

/// A connection's number, never used twice.
pub type ConnectionId = u64;
