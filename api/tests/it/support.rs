//! A running server with its log, and the records that the tests feed it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::{CachedPrice, MemoryCache, PriceCache};
use api::{ApiConfig, Deps, Server};
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Batch, Log, Partition, Priority, Retention, TopicSpec};
use metrics_exporter_prometheus::PrometheusHandle;
use model::{
    BestLevel, Candle, Cause, CompositePrice, Constituent, ConstituentState, Instrument, Interval, Notional, Origin,
    Price, PriceStatus, PublishReason, Quantity, Quote, RulesHash, Side, Tick, TickBody, TickFlags, Trade, TradeId,
    UnixNanos, Volume, Window, WindowVwap, topic,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Partitions of every topic in these tests.
pub(crate) const PARTITIONS: u32 = 2;
/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// An event time in 2026.
pub(crate) const NOW: UnixNanos = UnixNanos(1_767_322_800_000_000_000);

/// A log with its topics.
pub(crate) struct Store {
    pub(crate) log: Arc<dyn Log>,
    _dir: TempDir,
}

impl Store {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { sync: SyncPolicy::Never, ..EmbeddedConfig::default() };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(dir.path(), config).await.unwrap());
        for name in [topic::TICKS, topic::PRICES, topic::CANDLES, topic::CONTROL] {
            let retention = Retention { age: None, bytes: None };
            let spec = TopicSpec { name: name.into(), partitions: PARTITIONS, replication: 1, retention };
            log.create_topic(&spec).await.unwrap();
        }
        Self { log, _dir: dir }
    }

    /// Appends one record and waits until it is acknowledged.
    pub(crate) async fn append(&self, topic: &str, key: &str, value: &[u8]) {
        self.append_all(topic, key, &[value.to_vec()]).await;
    }

    /// Appends records of one key in one batch.
    pub(crate) async fn append_all(&self, topic: &str, key: &str, values: &[Vec<u8>]) {
        let index = topic::partition_for(key.as_bytes(), PARTITIONS);
        let mut appender = self.log.appender(&Partition::new(topic, index), Priority::Normal).await.unwrap();
        let mut batch = Batch::new();
        for value in values {
            batch.push(key.as_bytes(), value);
        }
        appender.append(batch).await.unwrap().await.unwrap();
    }

    pub(crate) async fn price(&self, price: &CompositePrice) {
        self.append(topic::PRICES, price.instrument.as_str(), &serde_json::to_vec(price).unwrap()).await;
    }

    pub(crate) async fn candle(&self, candle: &Candle) {
        self.append(topic::CANDLES, candle.instrument.as_str(), &serde_json::to_vec(candle).unwrap()).await;
    }

    pub(crate) async fn tick(&self, tick: &Tick) {
        let mut value = Vec::new();
        tick.encode(&mut value);
        let instrument = tick.instrument().unwrap();
        self.append(topic::TICKS, topic::ticks_key(&instrument), &value).await;
    }
}

/// A server that runs.
pub(crate) struct Harness {
    pub(crate) store: Arc<Store>,
    pub(crate) cache: Arc<MemoryCache>,
    pub(crate) deps: Deps,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) cancel: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// The configuration of these tests: a free port and three instruments.
pub(crate) fn config() -> ApiConfig {
    let instruments = ["BTC-USDT", "ETH-USDT", "USDT-USD"].map(|name| name.parse().unwrap()).to_vec();
    ApiConfig::new("127.0.0.1:0".parse().unwrap(), instruments)
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(Arc::new(Store::new().await), |_| {}).await
    }

    /// Starts a server on a log that may hold something.
    pub(crate) async fn with(store: Arc<Store>, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::run(store, config, None).await
    }

    /// Starts a server that shows these metrics.
    pub(crate) async fn with_metrics(store: Arc<Store>, metrics: PrometheusHandle) -> Self {
        Self::run(store, config(), Some(metrics)).await
    }

    async fn run(store: Arc<Store>, config: ApiConfig, metrics: Option<PrometheusHandle>) -> Self {
        let cache = Arc::new(MemoryCache::new(config.fresh_for));
        let mut deps = Deps::new(Arc::clone(&store.log), Arc::clone(&cache) as Arc<dyn PriceCache>);
        deps.metrics = metrics;
        let server = Server::bind(config, deps.clone()).unwrap();
        let (address, cancel) = (server.local_addr(), CancellationToken::new());
        let task = tokio::spawn(server.run(cancel.clone()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { store, cache, deps, address, client, cancel, task: Some(task) }
    }

    /// Puts a price into the topic and the cache, as the aggregation does.
    pub(crate) async fn publish(&self, price: &CompositePrice) {
        self.put(price);
        self.store.price(price).await;
    }

    /// Puts a price into the cache alone.
    pub(crate) fn put(&self, price: &CompositePrice) {
        let json = serde_json::to_vec(price).unwrap().into();
        self.cache.put(&[Arc::new(CachedPrice::new(price.clone(), json))]);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Status, headers and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        Answer::of(self.client.post(self.url(path)).send().await.unwrap()).await
    }

    /// Repeats a GET until its answer is as wanted.
    pub(crate) async fn get_until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "{path} never came to be as wanted: {} {}", answer.status, answer.text);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the server and waits until it has stopped.
    pub(crate) async fn stop(mut self) -> Arc<Store> {
        self.cancel.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("the server stops in time").unwrap();
        Arc::clone(&self.store)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// An answer that has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is an error with these, and that the sentence has these words.
    pub(crate) fn is_error(&self, status: u16, code: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        let json = self.json();
        assert_eq!(json["error"]["code"], code, "{}", self.text);
        assert_eq!(json.as_object().unwrap().len(), 1);
        let message = json["error"]["message"].as_str().unwrap();
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
    }
}

pub(crate) fn instrument(name: &str) -> Instrument {
    name.parse().unwrap()
}

pub(crate) fn decimal(text: &str) -> Price {
    text.parse().unwrap()
}

pub(crate) fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

pub(crate) fn cause(offset: u64) -> Cause {
    Cause { topic: topic::name(topic::TICKS), partition: 0, offset, index: 0 }
}

/// A price of three venues, `sequence` seconds after [`NOW`].
pub(crate) fn price(name: &str, sequence: u64, price: &str) -> CompositePrice {
    let at = NOW.plus(sequence as i64 * 1_000_000_000);
    let part = |venue: &str, weight: &str, state| Constituent {
        venue: venue.parse().unwrap(),
        instrument: (venue == "coinbase").then(|| instrument("BTC-USD")),
        price: decimal(price),
        weight: quantity(weight),
        volume: "12.5".parse().unwrap(),
        age_ns: 120_000_000,
        state,
    };
    CompositePrice {
        v: 1,
        instrument: instrument(name),
        sequence,
        price: decimal(price),
        raw: decimal(price),
        status: PriceStatus::Ok,
        confidence: Some(decimal("1.5")),
        reason: PublishReason::Deviation,
        refresh: None,
        age_ns: 5_000_000,
        bid: Some(BestLevel {
            price: decimal("64123.4"),
            quantity: quantity("0.75"),
            venue: "binance".parse().unwrap(),
        }),
        ask: None,
        mid: None,
        vwap: Window::ALL
            .map(|window| WindowVwap {
                window,
                price: (window != Window::S1).then(|| decimal("64120.01")),
                volume: Volume::from_raw(150_000_000),
            })
            .to_vec(),
        constituents: vec![
            part("binance", "0.75", ConstituentState::Used),
            part("coinbase", "0.25", ConstituentState::Clamped),
            part("kraken", "0", ConstituentState::Outlier),
        ],
        config: RulesHash(0xc0ffee),
        cause: cause(sequence),
        ts_event: at,
        ts_recv: at.plus(1_000_000),
    }
}

/// A candle of the `minute`-th interval after [`NOW`].
pub(crate) fn candle(name: &str, interval: Interval, at: i64, revision: u32, close: &str) -> Candle {
    let start = interval.start_of(NOW).plus(at * interval.nanos());
    Candle {
        v: 1,
        instrument: instrument(name),
        interval,
        start,
        revision,
        open: decimal("100"),
        high: decimal("110.5"),
        low: decimal("99.00000001"),
        close: decimal(close),
        volume: "2.5".parse().unwrap(),
        notional: Notional::of(decimal("100"), quantity("2.5")),
        vwap: decimal("100"),
        trades: 3,
        cause: cause(at as u64),
        ts_event: start,
        ts_recv: start,
    }
}

fn tick(sequence: u64, body: TickBody) -> Tick {
    let origin = Origin::Root { role: "ingest/test".parse().unwrap(), epoch: 0, sequence };
    Tick { origin, ts_event: NOW, ts_recv: NOW.plus(2_000_000), flags: TickFlags::default(), body }
}

pub(crate) fn trade(name: &str, id: u64) -> Tick {
    tick(
        id,
        TickBody::Trade(Trade {
            venue: "kraken".parse().unwrap(),
            instrument: instrument(name),
            id: TradeId::Number(id),
            price: decimal("64000.5"),
            quantity: quantity("0.01"),
            taker_side: Side::Sell,
        }),
    )
}

pub(crate) fn quote(name: &str, venue: &str, sequence: u64, bid: &str) -> Tick {
    tick(
        sequence,
        TickBody::Quote(Quote {
            venue: venue.parse().unwrap(),
            instrument: instrument(name),
            sequence,
            bid: decimal(bid),
            bid_quantity: quantity("1"),
            ask: decimal("70000"),
            ask_quantity: quantity("2"),
        }),
    )
}
