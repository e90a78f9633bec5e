//! The engine from outside.
#![allow(clippy::unwrap_used)]

mod abuse;
mod asof;
mod functions;
mod lake;
mod macros;
mod market;
mod runs;
mod statements;
mod support;
