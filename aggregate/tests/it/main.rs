//! The crate as its users see it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod cache_redis;
mod redis_server;
