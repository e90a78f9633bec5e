//! The newest price of every instrument, for those who ask rather than subscribe.
//!
//! A cache is filled by the aggregation's shell and read by the API. It is no record of anything: whatever it
//! loses is published again within a heartbeat. [`MemoryCache`] serves one process; [`RedisCache`] also shows
//! the prices to everyone who speaks Redis.

mod memory;
mod mirror;
mod redis;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{CompositePrice, Instrument, UnixNanos};

pub use memory::MemoryCache;
pub use mirror::{MirrorConfig, RedisMirror};
pub use redis::{RedisCache, RedisCacheConfig};

/// How long a price counts as current, unless configured otherwise.
pub const TTL_DEFAULT: Duration = Duration::from_secs(5);

/// A price as a cache keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedPrice {
    price: CompositePrice,
    json: Bytes,
}

impl CachedPrice {
    /// Keeps a price together with the JSON that the topic `prices` carries of it.
    pub const fn new(price: CompositePrice, json: Bytes) -> Self {
        Self { price, json }
    }

    /// Reads the JSON of a price.
    ///
    /// # Errors
    /// [`CacheError::Decode`] when it is none.
    pub fn from_json(json: Bytes) -> Result<Self, CacheError> {
        let price = serde_json::from_slice(&json).map_err(|error| CacheError::Decode(error.to_string()))?;
        Ok(Self { price, json })
    }

    /// What is priced.
    pub const fn instrument(&self) -> Instrument {
        self.price.instrument
    }

    /// The price.
    pub const fn price(&self) -> &CompositePrice {
        &self.price
    }

    /// Its JSON, byte for byte what the topic carries.
    pub const fn json(&self) -> &Bytes {
        &self.json
    }

    /// Orders the prices of an instrument.
    pub const fn version(&self) -> Version {
        Version { sequence: self.price.sequence, ts_event: self.price.ts_event }
    }
}

/// Orders the values of one key: a cache never replaces a newer one by an older one. The sequence decides, not
/// the time, which goes back when a clock is set back. A log that begins anew counts from 1 again: its values
/// follow once the old ones have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Counts the key's values.
    pub sequence: u64,
    /// The core's event time, for values of different logs that have the same sequence.
    pub ts_event: UnixNanos,
}

/// Text that is ordered like the version: 40 decimal digits. Times before 1970 count as 1970.
impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:020}{:020}", self.sequence, self.ts_event.0.max(0))
    }
}

/// Why a cache gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// The server is away or slow.
    #[error("cache unavailable: {0}")]
    Unavailable(String),
    /// What it holds is no price of ours.
    #[error("cached value is not a price: {0}")]
    Decode(String),
    /// The address cannot be used.
    #[error("cache address not allowed: {0}")]
    Address(String),
}

/// Whether a cache does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheHealth {
    /// It does.
    Up,
    /// Its server is away; prices wait, the newest of each instrument.
    Down {
        /// For how long, in milliseconds.
        for_ms: u64,
        /// What the last attempt met.
        reason: String,
        /// Instruments that wait.
        waiting: usize,
    },
}

/// Reads since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Answered.
    pub hits: u64,
    /// Not answered: never there.
    pub misses: u64,
    /// Not answered: too old.
    pub expired: u64,
}

/// The newest price of every instrument.
#[async_trait]
pub trait PriceCache: Send + Sync + fmt::Debug + 'static {
    /// The price of an instrument; none when there is none or it is older than the time to live.
    ///
    /// # Errors
    /// When the server behind it does not answer.
    async fn get(&self, instrument: &Instrument) -> Result<Option<Arc<CachedPrice>>, CacheError>;

    /// The current price of every instrument that has one, by name. Not counted as reads.
    ///
    /// # Errors
    /// When the server behind it does not answer.
    async fn list(&self) -> Result<Vec<Arc<CachedPrice>>, CacheError>;

    /// Takes over prices, oldest first; one that is not newer than the one held changes nothing. Never waits:
    /// a server that is away gets the newest of each instrument once it is back.
    fn put(&self, prices: &[Arc<CachedPrice>]);

    /// Whether it works.
    fn health(&self) -> CacheHealth;

    /// Reads since the start; the same figures as the metric `millrace_cache_reads_total`.
    fn stats(&self) -> CacheStats;
}

/// What became of a read.
#[derive(Debug, Clone, Copy)]
enum ReadResult {
    Hit,
    Miss,
    Expired,
}

/// Counts reads, for [`PriceCache::stats`] and for the metrics.
#[derive(Default)]
struct ReadCounts([AtomicU64; 3]);

impl ReadCounts {
    fn count(&self, cache: &'static str, result: ReadResult) {
        let (at, name) = match result {
            ReadResult::Hit => (0, "hit"),
            ReadResult::Miss => (1, "miss"),
            ReadResult::Expired => (2, "expired"),
        };
        self.0[at].fetch_add(1, Ordering::Relaxed);
        metrics::counter!("millrace_cache_reads_total", "cache" => cache, "result" => name).increment(1);
    }

    fn stats(&self) -> CacheStats {
        let [hits, misses, expired] = [0, 1, 2].map(|at| self.0[at].load(Ordering::Relaxed));
        CacheStats { hits, misses, expired }
    }
}

impl fmt::Debug for ReadCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.stats(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_texts_have_one_order() {
        let version = |sequence, ts_event| Version { sequence, ts_event: UnixNanos(ts_event) };
        let rising = [version(0, 9), version(2, 1), version(10, 1), version(11, 0), version(u64::MAX, i64::MAX)];
        for pair in rising.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string(), "{pair:?}");
            assert_eq!(pair[0].to_string().len(), 40);
        }
    }
}
