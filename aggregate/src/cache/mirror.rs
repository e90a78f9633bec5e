//! Shows the newest value of many keys in Redis, whatever becomes of Redis.
//!
//! Values wait in a map, the newest of each key, until the one writing task takes them: so a Redis that is
//! slow or away costs a bounded amount of memory, never blocks who puts, and gets the current value of every
//! key once it is back. Each write is a script that compares versions, so an older value never overwrites a
//! newer one, whoever wrote that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, ErrorKind, Pipeline, RedisError, Script, ServerErrorKind};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{CacheError, CacheHealth, Version};

/// KEYS: the value, its version. ARGV: version, value, time to live in ms, channel. Answers 0 when a newer
/// value is there, 1 when it was written and published, 2 when the same version was there already (a retry
/// whose first answer was lost), which only prolongs it.
const WRITE_NEWER: &str = "
local held = redis.call('GET', KEYS[2])
if held and held > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
if held == ARGV[1] then return 2 end
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
";

/// Keys in one pipeline, at most.
const PIPELINE_KEYS: usize = 256;
/// A Redis that takes longer than this to connect or to answer counts as away.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after the first failed attempt; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// An idle connection is tried this often, so that the health is known without traffic.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Where and how values are shown.
#[derive(Clone)]
pub struct MirrorConfig {
    /// `redis://[user:password@]host:port[/database]`.
    pub url: String,
    /// How long a value is current: it disappears when no newer one came by then.
    pub ttl: Duration,
    /// What a key begins with: `price:` gives `price:BTC-USDT`. The version of each value is beside it, under
    /// `version:` and the key.
    pub key_prefix: &'static str,
    /// What a channel begins with: `prices.` gives `prices.BTC-USDT`.
    pub channel_prefix: &'static str,
    /// Keys held, at most; values of further ones are counted and dropped.
    pub keys_max: usize,
}

/// Shows the newest value of many keys in Redis. Its task ends when it is dropped.
pub struct RedisMirror {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    config: MirrorConfig,
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    waiting: BTreeMap<Arc<str>, Waiting>,
    /// Keys that the writing task has taken and not yet written.
    in_flight: usize,
    health: Health,
}

enum Health {
    Up,
    Down { since: Instant, reason: String },
}

#[derive(Clone)]
struct Waiting {
    version: Version,
    value: Bytes,
    put_at: Instant,
}

impl RedisMirror {
    /// Starts the writing task. Redis need not be there yet.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn start(config: MirrorConfig) -> Result<Self, CacheError> {
        let connection = connect_lazily(&config.url)?;
        let health = Health::Down { since: Instant::now(), reason: "not connected yet".into() };
        let state = Mutex::new(State { waiting: BTreeMap::new(), in_flight: 0, health });
        let shared = Arc::new(Shared { config, state, wake: Notify::new() });
        let stop = CancellationToken::new();
        let writer = Writer {
            shared: Arc::clone(&shared),
            connection,
            script: Script::new(WRITE_NEWER),
            taken: BTreeMap::new(),
            retry: RETRY_FIRST,
        };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(writer.run()).await });
        Ok(Self { shared, _stop: stop.drop_guard() })
    }

    /// Puts the newest value of `name`; one that is older than the one that waits changes nothing. Never waits.
    pub fn put(&self, name: &str, version: Version, value: Bytes) {
        let waiting = Waiting { version, value, put_at: Instant::now() };
        let mut state = self.shared.lock();
        state.keep(name, waiting, self.shared.config.keys_max);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Keys whose newest value is not yet in Redis.
    pub fn waiting(&self) -> usize {
        self.shared.lock().pending()
    }

    /// Whether Redis answers.
    pub fn health(&self) -> CacheHealth {
        let state = self.shared.lock();
        match &state.health {
            Health::Up => CacheHealth::Up,
            Health::Down { since, reason } => CacheHealth::Down {
                for_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                reason: reason.clone(),
                waiting: state.pending(),
            },
        }
    }
}

impl fmt::Debug for RedisMirror {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL: it may carry a password.
        let prefix = self.shared.config.key_prefix;
        out.debug_struct("RedisMirror").field("keys", &prefix).field("health", &self.health()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }
}

impl State {
    fn keep(&mut self, name: &str, value: Waiting, keys_max: usize) {
        if let Some(held) = self.waiting.get_mut(name) {
            if held.version <= value.version {
                *held = value;
            }
            metrics::counter!("millrace_cache_conflated_total", "cache" => "redis").increment(1);
        } else if self.waiting.len() < keys_max {
            self.waiting.insert(name.into(), value);
        } else {
            metrics::counter!("millrace_cache_dropped_total", "cache" => "redis").increment(1);
        }
    }

    fn pending(&self) -> usize {
        self.waiting.len() + self.in_flight
    }
}

/// A connection that is made when it is first used, and again after it was lost.
pub(super) fn connect_lazily(url: &str) -> Result<ConnectionManager, CacheError> {
    let address = |error: RedisError| CacheError::Address(error.to_string());
    let client = Client::open(url).map_err(address)?;
    // Retries are ours: each use makes one attempt.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    ConnectionManager::new_lazy_with_config(client, config).map_err(address)
}

struct Writer {
    shared: Arc<Shared>,
    connection: ConnectionManager,
    script: Script,
    /// Taken from the map and not yet written; at most one pipeline of keys.
    taken: BTreeMap<Arc<str>, Waiting>,
    retry: Duration,
}

impl Writer {
    async fn run(mut self) {
        loop {
            self.take();
            let outcome = if self.taken.is_empty() { self.rest().await } else { self.write().await };
            match outcome {
                Ok(()) => self.succeeded(),
                Err(error) => self.failed(&error).await,
            }
        }
    }

    fn take(&mut self) {
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.waiting, &mut self.taken);
        state.in_flight = self.taken.len();
        metrics::gauge!("millrace_cache_waiting", "cache" => "redis").set(self.taken.len() as f64);
    }

    /// Nothing waits: tries whether Redis answers, now and then.
    async fn rest(&mut self) -> Result<(), RedisError> {
        let up = matches!(self.shared.lock().health, Health::Up);
        if up && tokio::time::timeout(PING_EVERY, self.shared.wake.notified()).await.is_ok() {
            return Ok(());
        }
        ::redis::cmd("PING").exec_async(&mut self.connection).await
    }

    /// Writes everything taken. What is written is forgotten at once, so after an error only the rest is left.
    async fn write(&mut self) -> Result<(), RedisError> {
        let ttl = self.shared.config.ttl;
        let before = self.taken.len();
        self.taken.retain(|_, value| value.put_at.elapsed() < ttl);
        if before > self.taken.len() {
            let expired = (before - self.taken.len()) as u64;
            metrics::counter!("millrace_cache_expired_unwritten_total", "cache" => "redis").increment(expired);
        }
        while !self.taken.is_empty() {
            let (pipeline, names) = self.pipeline();
            let answers = match self.send(&pipeline).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    self.script.load_async(&mut self.connection).await?;
                    self.send(&pipeline).await?
                }
                answers => answers?,
            };
            self.count(&answers);
            for name in &names {
                self.taken.remove(name);
            }
            self.shared.lock().in_flight = self.taken.len();
        }
        Ok(())
    }

    /// The next keys' scripts. Time spent waiting comes off a value's time to live.
    fn pipeline(&self) -> (Pipeline, Vec<Arc<str>>) {
        let config = &self.shared.config;
        let mut pipeline = Pipeline::with_capacity(self.taken.len().min(PIPELINE_KEYS));
        pipeline.ignore_errors();
        let mut names = Vec::with_capacity(self.taken.len().min(PIPELINE_KEYS));
        for (name, value) in self.taken.iter().take(PIPELINE_KEYS) {
            let left = config.ttl.saturating_sub(value.put_at.elapsed());
            let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
            let key = format!("{}{name}", config.key_prefix);
            pipeline
                .cmd("EVALSHA")
                .arg(self.script.get_hash())
                .arg(2)
                .arg(&key)
                .arg(format!("version:{key}"))
                .arg(value.version.to_string())
                .arg(&value.value[..])
                .arg(left_ms)
                .arg(format!("{}{name}", config.channel_prefix));
            names.push(Arc::clone(name));
        }
        (pipeline, names)
    }

    /// One answer per key. A key that holds another type of value is somebody else's and is left alone; any
    /// other refusal (loading, read-only, out of memory) concerns all keys and will pass.
    async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Option<i64>>, RedisError> {
        let answers: Vec<Result<i64, RedisError>> = pipeline.query_async(&mut self.connection).await?;
        let kept = answers.into_iter().map(|answer| match answer {
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            answer => answer.map(Some),
        });
        kept.collect()
    }

    fn count(&self, answers: &[Option<i64>]) {
        for answer in answers {
            let result = match answer {
                Some(0) => "older",
                Some(_) => "written",
                None => "refused",
            };
            metrics::counter!("millrace_cache_writes_total", "cache" => "redis", "result" => result).increment(1);
        }
    }

    fn succeeded(&mut self) {
        self.retry = RETRY_FIRST;
        let mut state = self.shared.lock();
        if let Health::Down { since, .. } = &state.health {
            tracing::info!(after_ms = since.elapsed().as_millis(), "redis answers");
            state.health = Health::Up;
            metrics::gauge!("millrace_cache_up", "cache" => "redis").set(1.0);
        }
    }

    /// Puts back what is not written, below what came in the meantime, and waits a little.
    async fn failed(&mut self, error: &RedisError) {
        {
            let mut state = self.shared.lock();
            let taken = std::mem::take(&mut self.taken);
            state.in_flight = 0;
            for (name, value) in taken {
                state.keep(&name, value, self.shared.config.keys_max);
            }
            state.health = match std::mem::replace(&mut state.health, Health::Up) {
                Health::Down { since, .. } => Health::Down { since, reason: error.to_string() },
                Health::Up => {
                    tracing::warn!(%error, "redis is away: the newest price of each instrument waits");
                    Health::Down { since: Instant::now(), reason: error.to_string() }
                }
            };
        }
        metrics::counter!("millrace_cache_failures_total", "cache" => "redis").increment(1);
        metrics::gauge!("millrace_cache_up", "cache" => "redis").set(0.0);
        if error.is_timeout() {
            // The connection may be dead without anybody having said so.
            if let Ok(connection) = connect_lazily(&self.shared.config.url) {
                self.connection = connection;
            }
        }
        tokio::time::sleep(self.retry).await;
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }
}
