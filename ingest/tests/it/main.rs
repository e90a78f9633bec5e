//! Integration tests of `ingest`, one binary.

#![allow(clippy::unwrap_used)]

mod disorder;
mod replay;
mod sockets;
mod stalled_log;
mod support;
mod venues;
