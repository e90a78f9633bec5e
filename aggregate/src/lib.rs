//! Composite prices, volume-weighted windows, candles; the price caches at the edge.

pub mod cache;
