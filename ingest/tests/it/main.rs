//! Integration tests of `ingest`, one binary.

#![allow(clippy::unwrap_used)]

mod disorder;
mod every_fault;
mod replay;
mod sockets;
mod stage;
mod stalled_log;
mod support;
mod venues;
