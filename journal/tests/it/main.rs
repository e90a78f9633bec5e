//! The tests of the log, on both back ends.
#![allow(clippy::unwrap_used)]

mod conformance;
mod embedded;
mod fluvio;
mod stage;
mod stage_harness;
mod stage_writer;
