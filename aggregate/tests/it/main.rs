//! The crate as its users see it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod cache_redis;
mod core_capture;
mod core_cases;
mod core_exact;
mod core_hostile;
mod core_naive;
mod core_outputs;
mod core_replay;
mod core_support;
mod redis_server;
mod shell;
