//! The engine from outside.
#![allow(clippy::unwrap_used)]

mod abuse;
mod asof;
mod functions;
mod macros;
mod market;
mod support;
