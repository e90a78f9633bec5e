//! Integration tests of `ingest`, one binary.

#![allow(clippy::unwrap_used)]

mod support;
mod venues;
