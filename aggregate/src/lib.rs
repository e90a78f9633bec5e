//! Composite prices, volume-weighted windows, candles; the price caches at the edge.

pub mod cache;
pub mod config;
pub mod core;
pub mod shell;
