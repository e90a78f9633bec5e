//! A server on a free port, with a log and a cache that are fed as the aggregation feeds them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aggregate::cache::{CacheStats, CachedPrice, MemoryCache, PriceCache};
use api::{ApiConfig, Deps, Server};
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Appender, Batch, Log, Partition, Priority, Retention, TopicSpec};
use model::{
    BestLevel, Cause, CompositePrice, Constituent, ConstituentState, Instrument, Price, PriceStatus, PublishReason,
    Quantity, RulesHash, UnixNanos, Volume, Window, WindowVwap, topic,
};
use tokio_util::sync::CancellationToken;

const BASES: [&str; 9] = ["BTC", "ETH", "XRP", "BNB", "SOL", "USDC", "DOGE", "ADA", "TRX"];

/// A server that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    cache: Arc<MemoryCache>,
    cancel: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    fed: tokio::task::JoinHandle<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Running {
    /// Starts a server and publishes every instrument's price once per `every`.
    pub(crate) async fn start(every: Duration) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = EmbeddedConfig { sync: SyncPolicy::EveryBatch, ..EmbeddedConfig::default() };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(dir.path(), config).await?);
        for name in [topic::TICKS, topic::PRICES, topic::CANDLES, topic::CONTROL] {
            let retention = Retention { age: None, bytes: Some(64 << 20) };
            let spec = TopicSpec { name: name.into(), partitions: 1, replication: 1, retention };
            log.create_topic(&spec).await?;
        }
        let mut instruments: Vec<Instrument> =
            BASES.iter().map(|base| format!("{base}-USDT").parse()).collect::<Result<_, _>>()?;
        instruments.push("USDT-USD".parse()?);
        let cache = Arc::new(MemoryCache::new(Duration::from_secs(5)));
        let mut config = ApiConfig::new("127.0.0.1:0".parse()?, instruments.clone());
        config.limits.ping_every = Duration::from_secs(60);
        let server = Server::bind(config, Deps::new(Arc::clone(&log), Arc::clone(&cache) as Arc<dyn PriceCache>))?;
        let (address, cancel) = (server.local_addr(), CancellationToken::new());
        let served = tokio::spawn(server.run(cancel.clone()));
        let appender = log.appender(&Partition::new(topic::PRICES, 0), Priority::Normal).await?;
        let feed = Feed { appender, cache: Arc::clone(&cache), instruments, sequence: 0 };
        let fed = tokio::spawn(feed.run(every, cancel.clone()));
        tokio::time::sleep(every * 3).await;
        Ok(Self { address, cache, cancel, served, fed, _dir: dir })
    }

    pub(crate) fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.served.await.unwrap();
        self.fed.await.unwrap().unwrap();
    }
}

struct Feed {
    appender: Box<dyn Appender>,
    cache: Arc<MemoryCache>,
    instruments: Vec<Instrument>,
    sequence: u64,
}

impl Feed {
    async fn run(mut self, every: Duration, cancel: CancellationToken) -> anyhow::Result<()> {
        let mut ticker = tokio::time::interval(every);
        while cancel.run_until_cancelled(ticker.tick()).await.is_some() {
            self.sequence += 1;
            let (mut batch, mut prices) = (Batch::new(), Vec::new());
            for instrument in &self.instruments {
                let price = price(*instrument, self.sequence)?;
                let json = serde_json::to_vec(&price)?;
                batch.push(instrument.as_str().as_bytes(), &json);
                prices.push(Arc::new(CachedPrice::new(price, json.into())));
            }
            self.cache.put(&prices);
            drop(self.appender.append(batch).await?);
        }
        Ok(())
    }
}

/// Now, as unix nanoseconds.
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap())
}

fn price(instrument: Instrument, sequence: u64) -> anyhow::Result<CompositePrice> {
    let at = now();
    let value: Price = format!("64123.{:02}", sequence % 100).parse()?;
    let level = |venue: &str| -> anyhow::Result<Option<BestLevel>> {
        Ok(Some(BestLevel { price: value, quantity: "0.75".parse()?, venue: venue.parse()? }))
    };
    let part = |venue: &str, weight: &str| -> anyhow::Result<Constituent> {
        Ok(Constituent {
            venue: venue.parse()?,
            instrument: None,
            price: value,
            weight: weight.parse::<Quantity>()?,
            volume: "12.5".parse()?,
            age_ns: 120_000_000,
            state: ConstituentState::Used,
        })
    };
    let window = |window| WindowVwap { window, price: Some(value), volume: Volume::from_raw(1_250_000_000) };
    Ok(CompositePrice {
        v: 1,
        instrument,
        sequence,
        price: value,
        raw: value,
        status: PriceStatus::Ok,
        confidence: Some("1.5".parse()?),
        reason: PublishReason::Deviation,
        refresh: None,
        age_ns: 5_000_000,
        bid: level("binance")?,
        ask: level("kraken")?,
        mid: Some(value),
        vwap: Window::ALL.map(window).to_vec(),
        constituents: vec![part("binance", "0.5")?, part("coinbase", "0.3")?, part("kraken", "0.2")?],
        config: RulesHash(7),
        cause: Cause { topic: topic::name(topic::TICKS), partition: 0, offset: sequence, index: 0 },
        ts_event: at,
        ts_recv: at,
    })
}
