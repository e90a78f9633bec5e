//! Prices in Redis, for this process and for everyone else.
//!
//! `price:BTC-USDT` holds the JSON of the newest price and disappears when no newer one came within the time
//! to live; every new price is also published on the channel `prices.BTC-USDT`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::aio::ConnectionManager;
use async_trait::async_trait;
use bytes::Bytes;
use model::Instrument;

use super::memory::Lookup;
use super::mirror::connect_lazily;
use super::{
    CacheError, CacheHealth, CacheStats, CachedPrice, MemoryCache, MirrorConfig, PriceCache, ReadCounts, ReadResult,
    RedisMirror,
};

const KEY_PREFIX: &str = "price:";
const CHANNEL_PREFIX: &str = "prices.";

/// Where the prices are kept.
#[derive(Clone)]
pub struct RedisCacheConfig {
    /// `redis://[user:password@]host:port[/database]`.
    pub url: String,
    /// How long a price is current.
    pub ttl: Duration,
    /// What [`PriceCache::list`] asks for.
    pub instruments: Vec<Instrument>,
}

/// A cache in Redis. What this process put itself is answered from its own memory while it is current, so
/// reads go on without Redis; the rest is asked of Redis, so that a process which only reads can share it.
#[derive(Debug)]
pub struct RedisCache {
    own: MemoryCache,
    mirror: RedisMirror,
    connection: ConnectionManager,
    instruments: Vec<Instrument>,
    reads: ReadCounts,
}

impl RedisCache {
    /// Starts the cache; Redis need not be there yet. Its task ends when it is dropped.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn start(config: RedisCacheConfig) -> Result<Self, CacheError> {
        let mirror = RedisMirror::start(MirrorConfig {
            url: config.url.clone(),
            ttl: config.ttl,
            key_prefix: KEY_PREFIX,
            channel_prefix: CHANNEL_PREFIX,
            keys_max: MemoryCache::INSTRUMENTS_MAX,
        })?;
        let connection = connect_lazily(&config.url)?;
        let mut instruments = config.instruments;
        instruments.sort_unstable();
        instruments.dedup();
        Ok(Self { own: MemoryCache::new(config.ttl), mirror, connection, instruments, reads: ReadCounts::default() })
    }

    /// Instruments whose newest price is not yet in Redis.
    pub fn waiting(&self) -> usize {
        self.mirror.waiting()
    }

    /// Asks Redis; at once an error when it is known to be away.
    async fn ask(&self, instruments: &[Instrument]) -> Result<Vec<Option<Arc<CachedPrice>>>, CacheError> {
        if let CacheHealth::Down { reason, .. } = self.mirror.health() {
            return Err(CacheError::Unavailable(reason));
        }
        let keys: Vec<String> = instruments.iter().map(|instrument| format!("{KEY_PREFIX}{instrument}")).collect();
        let mut connection = self.connection.clone();
        let found: Vec<Option<Vec<u8>>> = ::redis::cmd("MGET")
            .arg(&keys)
            .query_async(&mut connection)
            .await
            .map_err(|error| CacheError::Unavailable(error.to_string()))?;
        let read = |json| CachedPrice::from_json(Bytes::from(json)).map(Arc::new);
        found.into_iter().map(|json| json.map(read).transpose()).collect()
    }
}

#[async_trait]
impl PriceCache for RedisCache {
    async fn get(&self, instrument: &Instrument) -> Result<Option<Arc<CachedPrice>>, CacheError> {
        let own = self.own.look_up(instrument);
        if let Lookup::Fresh(price) = own {
            self.reads.count("redis", ReadResult::Hit);
            return Ok(Some(price));
        }
        let found = self.ask(std::slice::from_ref(instrument)).await;
        let result = match (&found, own) {
            (Ok(found), _) if found.iter().flatten().next().is_some() => ReadResult::Hit,
            (_, Lookup::Expired) => ReadResult::Expired,
            _ => ReadResult::Miss,
        };
        self.reads.count("redis", result);
        Ok(found?.into_iter().flatten().next())
    }

    async fn list(&self) -> Result<Vec<Arc<CachedPrice>>, CacheError> {
        let mut prices = self.own.fresh();
        let own: Vec<Instrument> = prices.iter().map(|price| price.instrument()).collect();
        let others = self.instruments.iter().filter(|instrument| own.binary_search(instrument).is_err());
        let others: Vec<Instrument> = others.copied().collect();
        if !others.is_empty() {
            match self.ask(&others).await {
                Ok(found) => prices.extend(found.into_iter().flatten()),
                Err(error) if prices.is_empty() => return Err(error),
                // Better the ones we have than none.
                Err(error) => tracing::debug!(%error, "prices of other processes are missing"),
            }
            prices.sort_unstable_by_key(|price| price.instrument());
        }
        Ok(prices)
    }

    fn put(&self, prices: &[Arc<CachedPrice>]) {
        let now = Instant::now();
        for price in prices {
            if self.own.put_one(price, now) {
                self.mirror.put(price.instrument().as_str(), price.version(), price.json().clone());
            }
        }
    }

    fn health(&self) -> CacheHealth {
        self.mirror.health()
    }

    fn stats(&self) -> CacheStats {
        self.reads.stats()
    }
}
