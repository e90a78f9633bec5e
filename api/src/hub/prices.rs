//! Composite prices: the newest of each asset, for subscribers and for `GET /prices`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aggregate::cache::{CachedPrice, Version};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use journal::{Log, LogError, Offset, Partition, Record, Visibility};
use model::Instrument;
use model::topic::partition_for;
use serde::Deserialize;

use super::Hub;
use super::feed::Entry;
use super::follow::{Begin, Consumer};
use super::message::{Channel, Message};
use crate::catalog::{AssetIndex, Catalog};
use crate::clock::unix_now;
use crate::view::{PriceView, Staleness, exact_number};

/// A published price with what is sent of it.
#[derive(Debug)]
pub(crate) struct Quotation {
    symbol: Arc<str>,
    price: Arc<CachedPrice>,
    /// When this server got it as news; none for one found in the log's past.
    received: Option<Instant>,
    message: OnceLock<Message>,
}

impl Quotation {
    pub(crate) fn new(symbol: &Arc<str>, price: Arc<CachedPrice>, received: Option<Instant>) -> Self {
        Self { symbol: Arc::clone(symbol), price, received, message: OnceLock::new() }
    }

    pub(crate) fn version(&self) -> Version {
        self.price.version()
    }

    /// The JSON as it was published, rendered at the first call.
    pub(crate) fn json(&self) -> Bytes {
        self.rendered().data()
    }

    fn rendered(&self) -> &Message {
        self.message.get_or_init(|| self.render(Staleness::Fresh))
    }

    /// Nanoseconds since it was published; for one that is older than this server's watch, since the tick
    /// behind it was received.
    pub(crate) fn age(&self) -> i64 {
        match self.received {
            Some(received) => i64::try_from(received.elapsed().as_nanos()).unwrap_or(i64::MAX),
            None => unix_now().since(self.price.price().ts_recv),
        }
    }

    /// Whether it was published within `fresh_for`.
    pub(crate) fn is_fresh(&self, fresh_for: Duration) -> bool {
        self.age() <= i64::try_from(fresh_for.as_nanos()).unwrap_or(i64::MAX)
    }

    /// The JSON of a price that nothing has followed for `age_ns`.
    pub(crate) fn stale_json(&self, age_ns: i64) -> Bytes {
        self.render(Staleness::Aged(age_ns)).data()
    }

    fn render(&self, staleness: Staleness) -> Message {
        let price = self.price.price();
        let number = exact_number(price.price);
        let view = PriceView::new(&self.symbol, price, &number, staleness);
        Message::new(Channel::Prices, &self.symbol, None, &view)
    }
}

impl Entry for Arc<Quotation> {
    type Key = ();

    fn key(&self) -> Option<()> {
        Some(())
    }

    fn message(&self) -> Message {
        self.rendered().clone()
    }
}

/// The newest price of each asset, read without a lock.
#[derive(Debug)]
pub(crate) struct Board {
    slots: Vec<ArcSwapOption<Quotation>>,
    symbols: Vec<Arc<str>>,
    fresh_for: Duration,
}

impl Board {
    pub(crate) fn new(catalog: &Catalog, fresh_for: Duration) -> Self {
        Self {
            fresh_for,
            slots: catalog.assets().iter().map(|_| ArcSwapOption::empty()).collect(),
            symbols: catalog.assets().iter().map(|asset| asset.symbol.as_str().into()).collect(),
        }
    }

    /// The newest price known.
    pub(crate) fn newest(&self, index: AssetIndex) -> Option<Arc<Quotation>> {
        self.slots[index].load_full()
    }

    /// The newer of what is known and `price`, which it becomes. What has expired gives way to any other price:
    /// a log that begins anew counts from 1 again.
    pub(crate) fn offer(
        &self,
        index: AssetIndex,
        price: &Arc<CachedPrice>,
        received: Option<Instant>,
    ) -> Arc<Quotation> {
        let mut offered = None;
        loop {
            let held = self.slots[index].load();
            let stands = |held: &&Arc<Quotation>| held.version() >= price.version() && held.is_fresh(self.fresh_for);
            if let Some(held) = held.as_ref().filter(stands) {
                return Arc::clone(held);
            }
            let offered = offered
                .get_or_insert_with(|| Arc::new(Quotation::new(&self.symbols[index], Arc::clone(price), received)));
            let before = self.slots[index].compare_and_swap(&*held, Some(Arc::clone(offered)));
            if before.as_ref().map(Arc::as_ptr) == held.as_ref().map(Arc::as_ptr) {
                return Arc::clone(offered);
            }
        }
    }
}

/// Reads a partition of `prices`.
pub(crate) struct Prices {
    hub: Arc<Hub>,
    partitions: u32,
    touched: Vec<AssetIndex>,
    /// Nanoseconds from the receipt of the tick behind the newest price to its way out, signed.
    lag: metrics::Gauge,
}

/// The one field that a refresh waits for.
#[derive(Deserialize)]
struct RefreshOnly {
    #[serde(default)]
    refresh: Option<u64>,
}

impl Prices {
    /// Records in the first look back for the newest price of each asset; each further look takes eight times
    /// as many.
    const LOOK_BACK: u64 = 4_096;

    pub(crate) fn new(hub: Arc<Hub>, partitions: u32) -> Self {
        Self { hub, partitions, touched: Vec::new(), lag: metrics::gauge!("millrace_api_price_lag_ns") }
    }

    /// The asset that a record is about, by its key.
    fn index_of(&self, record: &Record) -> Option<AssetIndex> {
        Instrument::new(&record.key).ok().and_then(|instrument| self.hub.catalog.index_of(&instrument))
    }

    fn publish(&self, index: AssetIndex, record: &Record, received: Option<Instant>) {
        match CachedPrice::from_json(record.value.clone()) {
            Ok(price) => {
                let price = Arc::new(price);
                if received.is_some() {
                    self.lag.set(unix_now().since(price.price().ts_recv) as f64);
                }
                let newest = self.hub.board.offer(index, &price, received);
                // Only news goes out: a record that is read twice, or is older than the cache's, does not.
                if Arc::ptr_eq(&newest.price, &price) || newest.version() == price.version() {
                    self.hub.prices[index].push(newest);
                }
            }
            Err(error) => unreadable(Channel::Prices, record.offset, &error),
        }
    }

    fn answer_refreshes(&self, records: &[Record]) {
        if self.hub.refreshes.is_empty() {
            return;
        }
        for record in records {
            if let Ok(RefreshOnly { refresh: Some(id) }) = serde_json::from_slice(&record.value) {
                self.hub.refreshes.answered(id);
            }
        }
    }

    /// Reads `[from, to)` and keeps each asset's newest record, where none is known yet.
    async fn look(
        &self,
        log: &dyn Log,
        partition: &Partition,
        (from, to): (Offset, Offset),
        found: &mut [Option<Record>],
    ) -> Result<(), LogError> {
        let mut newest: Vec<Option<Record>> = vec![None; found.len()];
        let mut reader = log.reader(partition, from, Visibility::Durable).await?;
        let mut records = Vec::new();
        while reader.position() < to {
            records.clear();
            reader.read(&mut records).await?;
            for record in records.drain(..).filter(|record| record.offset < to) {
                if let Some(index) = self.index_of(&record) {
                    newest[index] = Some(record);
                }
            }
        }
        for (found, newest) in found.iter_mut().zip(newest) {
            if found.is_none() {
                *found = newest;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Consumer for Prices {
    const SEES: Visibility = Visibility::Written;

    /// Looks back until the newest price of each asset of this partition is found.
    async fn begin(&mut self, log: &dyn Log, partition: &Partition) -> Result<Begin, LogError> {
        let bounds = log.bounds(partition).await?;
        let assets = self.hub.catalog.assets();
        let mut found: Vec<Option<Record>> = vec![None; assets.len()];
        let (mut to, mut window) = (bounds.end, Self::LOOK_BACK);
        while to > bounds.start {
            let from = to.saturating_sub(window).max(bounds.start);
            self.look(log, partition, (from, to), &mut found).await?;
            let complete = assets.iter().zip(&found).all(|(asset, found)| {
                let key = asset.instrument.as_str().as_bytes();
                found.is_some() || partition_for(key, self.partitions) != partition.index
            });
            if complete {
                break;
            }
            (to, window) = (from, window.saturating_mul(8));
        }
        for (index, record) in found.iter().enumerate() {
            if let Some(record) = record {
                self.publish(index, record, None);
                // Who has subscribed already waits for it.
                self.hub.prices[index].wake();
            }
        }
        Ok(Begin { from: bounds.end, past_end: bounds.end })
    }

    fn take(&mut self, records: &[Record], _past: bool) {
        let received = Some(Instant::now());
        let mut touched = std::mem::take(&mut self.touched);
        let mut conflated = 0;
        // From the newest on: only the first record found of an asset is parsed and shown.
        for record in records.iter().rev() {
            let Some(index) = self.index_of(record) else { continue };
            if touched.contains(&index) {
                conflated += 1;
                continue;
            }
            touched.push(index);
            self.publish(index, record, received);
        }
        super::count_conflated(Channel::Prices, conflated);
        self.answer_refreshes(records);
        for index in touched.drain(..) {
            self.hub.prices[index].wake();
        }
        self.touched = touched;
    }
}

static UNREADABLE: AtomicU64 = AtomicU64::new(0);

/// Counts a record that does not say what its topic carries, and names the first ones in the program's log.
pub(crate) fn unreadable(channel: Channel, offset: Offset, error: &dyn std::fmt::Display) {
    metrics::counter!("millrace_api_unreadable_total", "topic" => channel.as_str()).increment(1);
    if UNREADABLE.fetch_add(1, Ordering::Relaxed) < 100 {
        tracing::warn!(%error, offset, "a record of {channel} cannot be read");
    }
}
