//! Prices in this process's memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use model::Instrument;

use super::{CacheError, CacheHealth, CacheStats, CachedPrice, PriceCache, ReadCounts, ReadResult};

/// The default cache. A read takes no lock: one look-up and one reference count.
pub struct MemoryCache {
    ttl: Duration,
    slots: ArcSwap<Slots>,
    /// Taken to add an instrument, which happens once for each.
    adding: Mutex<()>,
    reads: ReadCounts,
}

type Slots = BTreeMap<Instrument, Arc<ArcSwapOption<Entry>>>;

struct Entry {
    price: Arc<CachedPrice>,
    put_at: Instant,
}

/// What the cache holds for an instrument.
pub(super) enum Lookup {
    Fresh(Arc<CachedPrice>),
    Expired,
    Absent,
}

impl MemoryCache {
    /// Instruments held, at most; prices of further ones are counted and dropped.
    pub const INSTRUMENTS_MAX: usize = 65_536;

    /// An empty cache whose prices are current for `ttl` after they were put.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, slots: ArcSwap::default(), adding: Mutex::new(()), reads: ReadCounts::default() }
    }

    pub(super) fn look_up(&self, instrument: &Instrument) -> Lookup {
        let slots = self.slots.load();
        let Some(slot) = slots.get(instrument) else { return Lookup::Absent };
        match &*slot.load() {
            Some(entry) if entry.put_at.elapsed() <= self.ttl => Lookup::Fresh(Arc::clone(&entry.price)),
            Some(_) => Lookup::Expired,
            None => Lookup::Absent,
        }
    }

    pub(super) fn fresh(&self) -> Vec<Arc<CachedPrice>> {
        let slots = self.slots.load();
        let entries = slots.values().filter_map(|slot| slot.load_full());
        entries.filter(|entry| entry.put_at.elapsed() <= self.ttl).map(|entry| Arc::clone(&entry.price)).collect()
    }

    /// Takes the price over unless it holds a newer one or the same. Whether it did.
    pub(super) fn put_one(&self, price: &Arc<CachedPrice>, now: Instant) -> bool {
        let slots = self.slots.load();
        match slots.get(&price.instrument()) {
            Some(slot) => self.replace(slot, price, now),
            None => self.add(price.instrument()).is_some_and(|slot| self.replace(&slot, price, now)),
        }
    }

    #[cold]
    fn add(&self, instrument: Instrument) -> Option<Arc<ArcSwapOption<Entry>>> {
        let _adding = self.adding.lock().expect("nothing panics while it is held");
        let slots = self.slots.load_full();
        if let Some(slot) = slots.get(&instrument) {
            return Some(Arc::clone(slot));
        }
        if slots.len() >= Self::INSTRUMENTS_MAX {
            metrics::counter!("millrace_cache_dropped_total", "cache" => "memory").increment(1);
            return None;
        }
        let slot = Arc::new(ArcSwapOption::empty());
        let mut more = (*slots).clone();
        more.insert(instrument, Arc::clone(&slot));
        self.slots.store(Arc::new(more));
        Some(slot)
    }

    /// Puts the price into its slot unless a newer one, or the same, is there and current. Two writers may meet
    /// here.
    fn replace(&self, slot: &ArcSwapOption<Entry>, price: &Arc<CachedPrice>, now: Instant) -> bool {
        let entry = Arc::new(Entry { price: Arc::clone(price), put_at: now });
        loop {
            let held = slot.load();
            let current = held.as_ref().filter(|held| now.saturating_duration_since(held.put_at) <= self.ttl);
            if current.is_some_and(|held| held.price.version() >= price.version()) {
                return false;
            }
            let before = slot.compare_and_swap(&*held, Some(Arc::clone(&entry)));
            if before.as_ref().map(Arc::as_ptr) == held.as_ref().map(Arc::as_ptr) {
                return true;
            }
        }
    }
}

#[async_trait]
impl PriceCache for MemoryCache {
    async fn get(&self, instrument: &Instrument) -> Result<Option<Arc<CachedPrice>>, CacheError> {
        let (found, result) = match self.look_up(instrument) {
            Lookup::Fresh(price) => (Some(price), ReadResult::Hit),
            Lookup::Expired => (None, ReadResult::Expired),
            Lookup::Absent => (None, ReadResult::Miss),
        };
        self.reads.count("memory", result);
        Ok(found)
    }

    async fn list(&self) -> Result<Vec<Arc<CachedPrice>>, CacheError> {
        Ok(self.fresh())
    }

    fn put(&self, prices: &[Arc<CachedPrice>]) {
        let now = Instant::now();
        for price in prices {
            self.put_one(price, now);
        }
    }

    fn health(&self) -> CacheHealth {
        CacheHealth::Up
    }

    fn stats(&self) -> CacheStats {
        self.reads.stats()
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instruments = self.slots.load().len();
        out.debug_struct("MemoryCache").field("ttl", &self.ttl).field("instruments", &instruments).finish()
    }
}

#[cfg(test)]
mod tests {
    use model::{Cause, CompositePrice, Price, PriceStatus, PublishReason, UnixNanos};

    use super::*;

    fn price(instrument: &str, ts_event: i64, sequence: u64) -> Arc<CachedPrice> {
        let price = CompositePrice {
            v: 1,
            instrument: instrument.parse().expect("an instrument"),
            sequence,
            price: Price::from_raw(sequence as i64).expect("in range"),
            raw: Price::from_raw(sequence as i64).expect("in range"),
            status: PriceStatus::Ok,
            confidence: None,
            reason: PublishReason::Heartbeat,
            refresh: None,
            age_ns: 0,
            bid: None,
            ask: None,
            mid: None,
            vwap: Vec::new(),
            constituents: Vec::new(),
            config: model::RulesHash(0),
            cause: Cause { topic: model::topic::name("ticks"), partition: 0, offset: sequence, index: 0 },
            ts_event: UnixNanos(ts_event),
            ts_recv: UnixNanos(ts_event),
        };
        let json = serde_json::to_vec(&price).expect("prices are JSON").into();
        Arc::new(CachedPrice::new(price, json))
    }

    #[tokio::test]
    async fn the_newest_price_wins_whatever_the_order() {
        let cache = MemoryCache::new(Duration::from_secs(60));
        let (btc, eth) = ("BTC-USDT".parse().expect("an instrument"), "ETH-USDT".parse().expect("an instrument"));
        assert_eq!(cache.get(&btc).await.expect("no server"), None);
        cache.put(&[
            price("BTC-USDT", 5, 2),
            price("BTC-USDT", 5, 1),
            price("ETH-USDT", 9, 1),
            price("BTC-USDT", 4, 3),
        ]);
        let held = cache.get(&btc).await.expect("no server").expect("it was put");
        assert_eq!((held.version().ts_event.0, held.version().sequence), (4, 3));
        assert_eq!(CachedPrice::from_json(held.json().clone()).expect("our JSON"), *held);
        cache.put(&[price("ETH-USDT", 8, 1)]);
        assert_eq!(cache.get(&eth).await.expect("no server").expect("it was put").version().ts_event.0, 9);
        let names: Vec<_> = cache.list().await.expect("no server").iter().map(|price| price.instrument()).collect();
        assert_eq!(names, [btc, eth]);
        assert_eq!(cache.stats(), CacheStats { hits: 2, misses: 1, expired: 0 });
    }

    #[tokio::test]
    async fn an_old_price_is_no_price() {
        let cache = MemoryCache::new(Duration::from_millis(1));
        cache.put(&[price("BTC-USDT", 1, 9)]);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(cache.get(&"BTC-USDT".parse().expect("an instrument")).await.expect("no server"), None);
        assert!(cache.list().await.expect("no server").is_empty());
        assert_eq!(cache.stats(), CacheStats { hits: 0, misses: 0, expired: 1 });
        // A log that began anew counts from 1 again.
        assert!(cache.put_one(&price("BTC-USDT", 2, 1), Instant::now()));
    }

    #[test]
    fn writers_that_meet_leave_the_newest() {
        let cache = MemoryCache::new(Duration::from_secs(60));
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for sequence in (writer..4_000).step_by(4) {
                        cache.put(&[price("BTC-USDT", 1, sequence)]);
                    }
                });
            }
        });
        assert_eq!(cache.fresh().first().map(|price| price.version().sequence), Some(3_999));
    }
}
