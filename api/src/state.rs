//! What the handlers share.

use std::sync::Arc;

use aggregate::cache::{CacheHealth, PriceCache};
use bytes::Bytes;
use journal::Log;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::catalog::{AssetIndex, Catalog};
use crate::config::ApiConfig;
use crate::exchange::{Desk, ExchangeDeps};
use crate::health::{HealthRegistry, PartHealth};
use crate::hub::Hub;
use crate::problem::{Problem, shown};
use crate::routes::SqlDeps;
use axum::http::StatusCode;

/// What the server works with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the topics are.
    pub log: Arc<dyn Log>,
    /// Where the newest prices are.
    pub cache: Arc<dyn PriceCache>,
    /// What `/metrics` shows; without it the route answers 503.
    pub metrics: Option<PrometheusHandle>,
    /// Where parts say how they are. The server adds `log`, `cache` and `streams`.
    pub health: HealthRegistry,
    /// The exchange; without it its routes answer 503.
    pub exchange: Option<ExchangeDeps>,
    /// SQL; without it its route answers 503.
    pub sql: Option<SqlDeps>,
}

impl Deps {
    /// A log and a cache; no metrics, no exchange, and no parts beside the server's own.
    pub fn new(log: Arc<dyn Log>, cache: Arc<dyn PriceCache>) -> Self {
        Self { log, cache, metrics: None, health: HealthRegistry::new(), exchange: None, sql: None }
    }
}

/// Shared by all handlers.
pub(crate) struct State {
    pub(crate) config: ApiConfig,
    pub(crate) deps: Deps,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) audit: Audit,
    /// Fires when the server stops: streams end.
    pub(crate) cancel: CancellationToken,
    /// The tasks that a stop waits for.
    pub(crate) tasks: TaskTracker,
    /// The OpenAPI document, set once the routes are known.
    pub(crate) openapi: Bytes,
    streams: Arc<Semaphore>,
    tails: Arc<Semaphore>,
    desk: Option<Desk>,
}

/// The state as handlers take it.
pub(crate) type Shared = Arc<State>;

/// A place among the open streams; dropped with the stream.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    kind: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl State {
    pub(crate) fn new(config: ApiConfig, deps: Deps, audit: Audit, cancel: CancellationToken, openapi: Bytes) -> Self {
        let catalog = Arc::new(Catalog::new(&config.instruments));
        let gateway = deps.exchange.as_ref().map(|exchange| &exchange.gateway);
        let hub = Arc::new(Hub::new(Arc::clone(&catalog), &config, gateway));
        Self {
            streams: Arc::new(Semaphore::new(config.limits.streams_max)),
            tails: Arc::new(Semaphore::new(config.limits.tails_max)),
            desk: deps.exchange.as_ref().map(|exchange| Desk::new(exchange, &config.limits)),
            catalog,
            hub,
            audit,
            config,
            deps,
            cancel,
            tasks: TaskTracker::new(),
            openapi,
        }
    }

    /// The exchange.
    pub(crate) fn desk(&self) -> Result<&Desk, Problem> {
        self.desk.as_ref().ok_or_else(|| {
            Problem::unavailable("no_exchange", "this server runs without an exchange: pipeline.yaml has no matcher")
        })
    }

    /// The asset that a caller names.
    pub(crate) fn asset(&self, name: &str) -> Result<AssetIndex, Problem> {
        self.catalog.find(name).ok_or_else(|| {
            let message = format!("asset {:?} is not served: there are {}", shown(name), self.catalog.symbols());
            Problem::new(StatusCode::NOT_FOUND, "unknown_asset", message)
        })
    }

    /// The market of our own exchange that a caller names.
    pub(crate) fn market(&self, name: &str) -> Result<AssetIndex, Problem> {
        self.desk()?;
        self.hub.markets.find(name).ok_or_else(|| {
            let listed = self.hub.markets.symbols();
            let message = format!("market {:?} is not one of ours: there are {listed}", shown(name));
            Problem::new(StatusCode::NOT_FOUND, "unknown_market", message)
        })
    }

    /// The markets in a comma-separated list; all of them when there is none.
    pub(crate) fn markets(&self, names: Option<&str>) -> Result<Vec<AssetIndex>, Problem> {
        self.desk()?;
        match names.map(str::trim) {
            None | Some("" | "*") => Ok((0..self.hub.markets.assets().len()).collect()),
            Some(names) => names.split(',').map(|name| self.market(name.trim())).collect(),
        }
    }

    /// The assets in a comma-separated list; all of them when there is none.
    pub(crate) fn assets(&self, names: Option<&str>) -> Result<Vec<AssetIndex>, Problem> {
        match names.map(str::trim) {
            None | Some("" | "*") => Ok((0..self.catalog.assets().len()).collect()),
            Some(names) => names.split(',').map(|name| self.asset(name.trim())).collect(),
        }
    }

    /// A place for one more WebSocket or event stream.
    pub(crate) fn stream_place(&self, kind: &'static str) -> Result<StreamPlace, Problem> {
        place(&self.streams, kind, "streams", self.config.limits.streams_max)
    }

    /// A place for one more reader of raw records.
    pub(crate) fn tail_place(&self) -> Result<StreamPlace, Problem> {
        place(&self.tails, "tail", "readers of records", self.config.limits.tails_max)
    }

    /// Adds the parts that the server itself knows about.
    pub(crate) fn register_health(&self) {
        let log = Arc::clone(&self.deps.log);
        self.deps.health.register_async("log", move || {
            let log = Arc::clone(&log);
            async move {
                match log.unavailable().await {
                    Some(error) => PartHealth::down(error.to_string()),
                    None => PartHealth::ok("accepts records"),
                }
            }
        });
        let cache = Arc::clone(&self.deps.cache);
        self.deps.health.register("cache", move || match cache.health() {
            CacheHealth::Up => PartHealth::ok(hit_rate(&*cache)),
            CacheHealth::Down { for_ms, reason, waiting } => {
                PartHealth::down(format!("down for {for_ms} ms, {waiting} prices wait: {reason}"))
            }
        });
        let (readers, places, max) =
            (Arc::clone(&self.hub.readers), Arc::clone(&self.streams), self.config.limits.streams_max);
        self.deps.health.register("streams", move || match readers.failure() {
            Some((what, error)) => PartHealth::down(format!("reading {what}: {error}")),
            None => PartHealth::ok(format!("{} of {max} streams are open", max - places.available_permits())),
        });
    }
}

fn place(places: &Arc<Semaphore>, kind: &'static str, what: &'static str, max: usize) -> Result<StreamPlace, Problem> {
    match Arc::clone(places).try_acquire_owned() {
        Ok(permit) => {
            metrics::gauge!("millrace_api_streams", "kind" => kind).increment(1.0);
            Ok(StreamPlace { kind, _permit: permit })
        }
        Err(_) => Err(Problem::unavailable("too_many_streams", format!("all {max} {what} are in use: try later"))),
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        metrics::gauge!("millrace_api_streams", "kind" => self.kind).decrement(1.0);
    }
}

fn hit_rate(cache: &dyn PriceCache) -> String {
    let stats = cache.stats();
    let reads = stats.hits + stats.misses + stats.expired;
    match (stats.hits * 1_000).checked_div(reads) {
        Some(permille) => format!("{}.{} % of {reads} reads were hits", permille / 10, permille % 10),
        None => "no reads yet".to_owned(),
    }
}
