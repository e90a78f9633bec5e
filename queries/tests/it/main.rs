//! The engine from outside.
#![allow(clippy::unwrap_used)]

mod abuse;
mod asof;
mod functions;
mod lake;
mod macros;
mod market;
mod statements;
mod support;
