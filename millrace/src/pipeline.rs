//! A pipeline at work: the stages of one file, started in the order of the flow and stopped together.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use aggregate::cache::{MemoryCache, PriceCache, RedisCache, RedisCacheConfig};
use aggregate::shell::{CLOCK_EVERY, SNAPSHOT_EVERY, Shell, ShellConfig};
use anyhow::Context as _;
use api::{ApiConfig, ApiKey, Deps, ExchangeDeps, HealthRegistry, Server, SqlDeps};
use ingest::{Ingest, IngestConfig};
use journal::Log;
use matcher::shell::Gateway;
use metrics_exporter_prometheus::PrometheusHandle;
use sink::lake::Lake;
use sink::land::{Sink, SinkConfig};
use sink::tend::TendConfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::commands::backup::SNAPSHOTS_DIR;
use crate::config::Pipeline;
use crate::control::ControlDoor;
use crate::{exchange, health, sql, topics, trader_key};

/// An account may cancel so many times faster than it may order.
const CANCELS_PER_COMMAND: u32 = 10;

/// Which stages run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stages {
    pub(crate) simulate: bool,
    pub(crate) ingest: bool,
    pub(crate) aggregate: bool,
    pub(crate) matcher: bool,
    pub(crate) sink: bool,
    pub(crate) api: bool,
}

impl Stages {
    /// All of them.
    pub(crate) const ALL: Self =
        Self { simulate: true, ingest: true, aggregate: true, matcher: true, sink: true, api: true };
}

impl Stages {
    const fn is_only_sink(self) -> bool {
        self.sink && !(self.ingest || self.aggregate || self.matcher || self.api)
    }
}

/// A pipeline at work.
pub(crate) struct Running {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) cache: Arc<dyn PriceCache>,
    /// The lake, where the pipeline has one.
    pub(crate) lake: Option<Lake>,
    /// Where each venue is simulated: name, kind, address.
    pub(crate) simulated: Vec<String>,
    /// Where the API answers.
    pub(crate) address: Option<std::net::SocketAddr>,
    /// The file with the key to trade with, where the pipeline's file has no keys.
    pub(crate) trader_key: Option<PathBuf>,
    /// The way into the exchange. The API holds its port before the exchange starts, so this is set later.
    gateway: Arc<OnceLock<Gateway>>,
    venues: Option<sim::Handle>,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Running {
    /// Starts the stages. Whatever can be refused is refused before anything runs: ports first, then the log.
    ///
    /// # Errors
    /// A port in use, a log in use or out of reach, a cache address that cannot be used.
    pub(crate) async fn start(
        pipeline: &Pipeline,
        stages: Stages,
        metrics: PrometheusHandle,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let opened = topics::open(&pipeline.log, &pipeline.data_dir).await?;
        let log = Arc::clone(&opened.log);
        let cache = open_cache(pipeline)?;
        let health = HealthRegistry::new();
        let mut running = Self {
            log: Arc::clone(&log),
            cache: Arc::clone(&cache),
            lake: None,
            simulated: Vec::new(),
            address: None,
            trader_key: None,
            gateway: Arc::default(),
            venues: None,
            tasks: JoinSet::new(),
            stop,
        };
        let server = if stages.api { Some(running.bind(pipeline, stages, metrics, &health)?) } else { None };
        if let Some(config) = pipeline.simulate.clone().filter(|_| stages.simulate) {
            let handle = sim::Venues::start(config).await?;
            running.simulated = handle
                .addresses()
                .map(|(name, kind, address)| format!("{name} ({}) on http://{address}", kind.name()))
                .collect();
            running.venues = Some(handle);
        }
        if stages.aggregate {
            running.aggregate(pipeline, &health).await?;
        }
        if stages.matcher {
            running.matcher(pipeline, &health).await?;
        }
        if stages.sink {
            running.sink(pipeline, stages, &health).await?;
        }
        if stages.ingest {
            running.ingest(pipeline, &health)?;
        }
        if let Some(embedded) = opened.embedded {
            let door = ControlDoor::open(&pipeline.data_dir, embedded)?.with_lake(running.lake.clone());
            let stop = running.stop.clone();
            running.tasks.spawn(async move {
                door.serve(stop).await;
                Ok(())
            });
        }
        if let Some(server) = server {
            let stop = running.stop.clone();
            running.tasks.spawn(async move {
                server.run(stop).await;
                Ok(())
            });
        }
        Ok(running)
    }

    fn bind(
        &mut self,
        pipeline: &Pipeline,
        stages: Stages,
        metrics: PrometheusHandle,
        health: &HealthRegistry,
    ) -> anyhow::Result<Server> {
        let mut config = ApiConfig::new(pipeline.server.listen, pipeline.instruments.clone());
        config.host_names = pipeline.server.host_names.clone();
        config.fresh_for = pipeline.cache.ttl;
        config.markets = match &pipeline.matcher {
            Some(settings) => settings.markets.iter().map(|market| market.rules.instrument).collect(),
            None => Vec::new(),
        };
        let mut deps = Deps::new(Arc::clone(&self.log), Arc::clone(&self.cache));
        deps.metrics = Some(metrics);
        deps.health = health.clone();
        // An exchange in another process has its gateway there.
        if let Some(settings) = pipeline.matcher.as_ref().filter(|_| stages.matcher) {
            let limits = &mut config.limits;
            limits.commands_per_second_max = settings.commands_per_second;
            limits.commands_burst_max = settings.commands_burst;
            limits.cancels_per_second_max = settings.commands_per_second.saturating_mul(CANCELS_PER_COMMAND);
            limits.cancels_burst_max = settings.commands_burst.saturating_mul(CANCELS_PER_COMMAND);
            let keys = self.keys(pipeline)?;
            deps.exchange = Some(ExchangeDeps { gateway: Arc::clone(&self.gateway), keys });
        }
        if let Some(settings) = &pipeline.server.sql {
            let keys = self.keys(pipeline)?;
            let host = sql::start(pipeline, settings, &self.log, &keys, &self.stop, &mut self.tasks)?;
            deps.sql = Some(SqlDeps { host, keys });
        }
        let server = Server::bind(config, deps)?;
        self.address = Some(server.local_addr());
        Ok(server)
    }

    /// The keys of the file; without any, one of this data directory's own, so that a newcomer can trade.
    fn keys(&mut self, pipeline: &Pipeline) -> anyhow::Result<Vec<ApiKey>> {
        let keys = pipeline.matcher.as_ref().map_or(&[][..], |matcher| &matcher.keys);
        if keys.is_empty() {
            let (path, key) = trader_key::open(&pipeline.data_dir)?;
            self.trader_key = Some(path);
            return Ok(vec![key]);
        }
        let keys = keys.iter().map(|key| ApiKey {
            name: key.name.clone(),
            secret: key.secret.clone(),
            account: key.account,
            operator: key.operator,
        });
        Ok(keys.collect())
    }

    async fn aggregate(&mut self, pipeline: &Pipeline, health: &HealthRegistry) -> anyhow::Result<()> {
        let config = ShellConfig {
            rules: Arc::new(pipeline.prices.clone()),
            snapshots: pipeline.data_dir.join(SNAPSHOTS_DIR),
            snapshot_every: SNAPSHOT_EVERY,
            clock_every: Some(CLOCK_EVERY),
        };
        let shell = Shell::start(Arc::clone(&self.log), config, Arc::clone(&self.cache), self.stop.clone()).await?;
        health::watch_stage(health, "aggregate", shell.statuses());
        self.tasks.spawn(async move { shell.join().await.context("the aggregation stopped") });
        Ok(())
    }

    async fn matcher(&mut self, pipeline: &Pipeline, health: &HealthRegistry) -> anyhow::Result<()> {
        let Some(settings) = pipeline.matcher.clone() else { return Ok(()) };
        let config = matcher::shell::ShellConfig {
            snapshots: pipeline.data_dir.join(SNAPSHOTS_DIR),
            snapshot_every: matcher::shell::SNAPSHOT_EVERY,
            clock_every: Some(matcher::shell::CLOCK_EVERY),
        };
        let shell = matcher::shell::Shell::start(Arc::clone(&self.log), config, self.stop.clone()).await?;
        health::watch_stage(health, "matcher", std::slice::from_ref(&shell.status()));
        self.gateway.set(shell.gateway()).expect("the exchange starts once");
        if let Some(url) = &pipeline.cache.redis {
            let mirror = exchange::mirror_books(url, pipeline.cache.ttl, shell.gateway())?;
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                stop.run_until_cancelled(mirror).await;
                Ok(())
            });
        }
        let (gateway, cache, stop) = (shell.gateway(), Arc::clone(&self.cache), self.stop.clone());
        self.tasks.spawn(async move { shell.join().await.context("the exchange stopped") });
        self.tasks.spawn(async move {
            let listing = exchange::list_markets(gateway.clone(), Arc::clone(&cache), settings.markets);
            match stop.run_until_cancelled(listing).await {
                None => return Ok(()),
                Some(listed) => listed?,
            }
            match settings.traders {
                Some(traders) => sim::traders::run(traders, gateway, cache, stop).await,
                None => stop.cancelled().await,
            }
            Ok(())
        });
        Ok(())
    }

    /// Landing. Where other stages run beside it, they go on without it: the log keeps what has not landed.
    async fn sink(&mut self, pipeline: &Pipeline, stages: Stages, health: &HealthRegistry) -> anyhow::Result<()> {
        let Some(place) = &pipeline.lake.place else { return Ok(()) };
        let lake = Lake::open(place).await.with_context(|| format!("the lake at {place} cannot be opened"))?;
        self.lake = Some(lake.clone());
        let sink = Sink::start(Arc::clone(&self.log), lake, sink_config(pipeline), self.stop.clone())?;
        health::watch_sink(health, &sink);
        if let Some(every) = pipeline.lake.compact_every {
            let config = TendConfig { every, ..TendConfig::default() };
            let (lake, stop) = (Lake::open(place).await?, self.stop.clone());
            self.tasks.spawn(async move {
                sink::tend::tend(lake, config, stop).await;
                Ok(())
            });
        }
        let (stop, alone) = (self.stop.clone(), stages.is_only_sink());
        self.tasks.spawn(async move {
            match sink.join().await {
                Err(error) if !alone => {
                    tracing::error!(%error, "landing stopped; the other stages go on");
                    stop.cancelled().await;
                    Ok(())
                }
                ended => ended.context("landing stopped"),
            }
        });
        Ok(())
    }

    fn ingest(&mut self, pipeline: &Pipeline, health: &HealthRegistry) -> anyhow::Result<()> {
        let ingest = Ingest::new(IngestConfig::new(pipeline.sources.clone()))?;
        health::watch_ingest(health, ingest.status());
        let (log, stop) = (Arc::clone(&self.log), self.stop.clone());
        self.tasks.spawn(async move { ingest.run(log, stop).await.context("ingest stopped") });
        Ok(())
    }

    /// Waits until the stop is asked for or a stage fails, then stops everything: who writes before what is
    /// written to, the log last.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            // No stage ends by itself, so the end of one is the end of all.
            self.stop.cancel();
            let ended = ended.unwrap_or_else(|error| Err(anyhow::anyhow!("a stage panicked: {error}")));
            if result.is_ok() {
                result = ended;
            }
        }
        if let Some(venues) = self.venues.take() {
            venues.stop().await;
        }
        let closed = self.log.close().await;
        result.and(closed.map_err(Into::into))
    }
}

/// How a pipeline's records land.
pub(crate) fn sink_config(pipeline: &Pipeline) -> SinkConfig {
    // No correction of a candle comes later than this after its end.
    let settles = pipeline
        .prices
        .priced()
        .iter()
        .map(|priced| priced.rules.allowed_lateness_ns.saturating_add(priced.rules.idle_after_ns));
    let settle_ns = settles.max().unwrap_or_default();
    SinkConfig { roll: pipeline.lake.roll, settle_ns, ..SinkConfig::default() }
}

/// The cache of a pipeline. A Redis server need not be there yet.
///
/// # Errors
/// When its address cannot be used.
pub(crate) fn open_cache(pipeline: &Pipeline) -> anyhow::Result<Arc<dyn PriceCache>> {
    let settings = &pipeline.cache;
    Ok(match &settings.redis {
        None => Arc::new(MemoryCache::new(settings.ttl)),
        Some(url) => Arc::new(RedisCache::start(RedisCacheConfig {
            url: url.clone(),
            ttl: settings.ttl,
            instruments: pipeline.instruments.clone(),
        })?),
    })
}
