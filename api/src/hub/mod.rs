//! Where the topics meet the subscribers: one reader per partition, any number of clients.

mod candles;
mod feed;
mod follow;
mod markets;
mod message;
mod prices;
mod subscriptions;
mod ticks;

use std::sync::{Arc, OnceLock};

use journal::Log;
use matcher::shell::Gateway;
use model::{Interval, topic};
use tokio_util::sync::CancellationToken;

use crate::catalog::{AssetIndex, Catalog};
use crate::config::ApiConfig;
use crate::refresh::Refreshes;

pub(crate) use candles::{CandleRange, CandleStore};
use feed::Source;
pub(crate) use follow::{Begin, Consumer, Readers, follow_topic};
pub(crate) use message::{Channel, Message};
pub(crate) use prices::Board;
pub(crate) use subscriptions::{Subject, Subscriptions};

use candles::{CandleEntry, Candles};
use feed::Feed;
use markets::{MarketFeed, MarketRecords};
use prices::{Prices, Quotation};
use ticks::{TickEntry, Ticks};

/// What the server knows of the topics.
pub(crate) struct Hub {
    pub(crate) catalog: Arc<Catalog>,
    /// Our own markets.
    pub(crate) markets: Catalog,
    pub(crate) board: Board,
    pub(crate) store: CandleStore,
    pub(crate) refreshes: Refreshes,
    pub(crate) readers: Arc<Readers>,
    prices: Vec<Arc<Feed<Arc<Quotation>>>>,
    candles: Vec<[Arc<Feed<CandleEntry>>; Interval::ALL.len()]>,
    ticks: Vec<Arc<Feed<TickEntry>>>,
    /// By channel, in the order of [`Channel::MARKETS`]; empty without an exchange.
    own: Vec<[Arc<MarketFeed>; 3]>,
}

impl Hub {
    /// Candles that wait for a client that lags.
    const CANDLES_QUEUED_MAX: usize = 256;

    pub(crate) fn new(catalog: Arc<Catalog>, config: &ApiConfig, exchange: Option<&Arc<OnceLock<Gateway>>>) -> Self {
        let limits = &config.limits;
        let assets = catalog.assets();
        let markets = Catalog::new(&config.markets);
        let feeds = |gateway: &Arc<OnceLock<Gateway>>| {
            let of = |market: &crate::catalog::Asset| {
                let feed = |channel| MarketFeed::new(channel, &market.symbol, market.instrument, gateway);
                Channel::MARKETS.map(|channel| Arc::new(feed(channel)))
            };
            markets.assets().iter().map(of).collect()
        };
        Self {
            own: exchange.map(feeds).unwrap_or_default(),
            markets,
            board: Board::new(&catalog, config.fresh_for),
            store: CandleStore::new(assets.len(), limits.candles_kept_max),
            refreshes: Refreshes::new(assets.len(), limits.refresh_every),
            readers: Arc::default(),
            // A price feed has one key, so nothing is ever queued in it.
            prices: assets.iter().map(|_| Arc::new(Feed::new(1))).collect(),
            candles: assets
                .iter()
                .map(|_| std::array::from_fn(|_| Arc::new(Feed::new(Self::CANDLES_QUEUED_MAX))))
                .collect(),
            ticks: assets.iter().map(|_| Arc::new(Feed::new(limits.trades_kept_max))).collect(),
            catalog,
        }
    }

    /// Starts the readers; they end at `cancel`.
    pub(crate) fn start(self: &Arc<Self>, log: &Arc<dyn Log>, cancel: &CancellationToken) {
        let (hub, readers) = (Arc::clone(self), &self.readers);
        tokio::spawn(follow::follow_topic(
            Arc::clone(log),
            topic::PRICES,
            Arc::clone(readers),
            cancel.clone(),
            move |_, partitions| Prices::new(Arc::clone(&hub), partitions),
        ));
        let hub = Arc::clone(self);
        tokio::spawn(follow::follow_topic(
            Arc::clone(log),
            topic::CANDLES,
            Arc::clone(readers),
            cancel.clone(),
            move |_, _| Candles::new(Arc::clone(&hub)),
        ));
        let hub = Arc::clone(self);
        tokio::spawn(follow::follow_topic(
            Arc::clone(log),
            topic::TICKS,
            Arc::clone(readers),
            cancel.clone(),
            move |_, _| Ticks::new(Arc::clone(&hub)),
        ));
        self.follow_markets(log, cancel);
    }

    fn follow_markets(self: &Arc<Self>, log: &Arc<dyn Log>, cancel: &CancellationToken) {
        if self.own.is_empty() {
            return;
        }
        for (place, channel) in Channel::MARKETS.into_iter().enumerate() {
            let hub = Arc::clone(self);
            // The channels are named as their topics.
            tokio::spawn(follow::follow_topic(
                Arc::clone(log),
                channel.as_str(),
                Arc::clone(&self.readers),
                cancel.clone(),
                move |_, _| MarketRecords::new(hub.own.iter().map(|feeds| Arc::clone(&feeds[place])), channel),
            ));
        }
    }

    /// The feed of a subject.
    fn source(&self, subject: Subject) -> Arc<dyn Source> {
        match subject {
            Subject::Prices(index) => Arc::clone(&self.prices[index]) as Arc<dyn Source>,
            Subject::Candles(index, interval) => Arc::clone(&self.candles[index][interval as usize]) as Arc<dyn Source>,
            Subject::Ticks(index) => Arc::clone(&self.ticks[index]) as Arc<dyn Source>,
            Subject::Market(channel, index) => {
                let place = Channel::MARKETS.iter().position(|one| *one == channel);
                Arc::clone(&self.own[index][place.expect("a market's channel")]) as Arc<dyn Source>
            }
        }
    }

    /// The symbol of an asset.
    pub(crate) fn symbol(&self, index: AssetIndex) -> &str {
        &self.catalog.asset(index).symbol
    }

    /// The symbol of what a subject is about.
    pub(crate) fn symbol_of(&self, subject: Subject) -> &str {
        let catalog = if subject.channel().is_of_markets() { &self.markets } else { &*self.catalog };
        &catalog.asset(subject.index()).symbol
    }
}

/// Counts entries that a newer one replaced before anybody or somebody got them.
fn count_conflated(channel: Channel, entries: u64) {
    if entries > 0 {
        metrics::counter!("millrace_api_conflated_total", "channel" => channel.as_str()).increment(entries);
    }
}

/// Counts entries that a client was too slow for.
fn count_missed(channel: Channel, entries: u64) {
    if entries > 0 {
        metrics::counter!("millrace_api_missed_total", "channel" => channel.as_str()).increment(entries);
    }
}
