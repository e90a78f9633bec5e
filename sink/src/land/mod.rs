//! Landing: topics into the lake, exactly once.
//!
//! One lander a table reads all partitions of its topic, encodes as it reads, and from time to time uploads what
//! is open and commits it together with the offsets reached. Landers run on a thread of their own, so that no
//! stage that somebody waits for shares their time.

mod files;
mod hold;
mod join;
mod lander;
mod letters;
mod rules;
mod source;
mod status;

use std::sync::Arc;
use std::time::Duration;

use journal::{Log, LogError};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use files::Files;
pub use join::join;
pub use rules::Roll;
pub use status::{Phase, TableStatus};

use crate::lake::{Lake, LakeError};
use crate::probe::probe;
use crate::tables::Table;
use lander::Lander;

/// How often the store is asked for a sign of life.
const PULSE_EVERY: Duration = Duration::from_secs(2);
/// A store that gives none within this time is away.
const PULSE_WITHIN: Duration = Duration::from_secs(2);

/// How long a stop waits, where nothing else is said.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How to land.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// When files roll.
    pub roll: Roll,
    /// The tables to land.
    pub tables: Vec<Table>,
    /// Nanoseconds between a candle's end and the time from which on no correction can follow: the allowed
    /// lateness and the time after which a venue counts as idle.
    pub settle_ns: i64,
    /// A stop waits this long for what is open to land; what does not is read again after the next start.
    pub stop_within: Duration,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            roll: Roll::default(),
            tables: Table::all().to_vec(),
            settle_ns: 60_000_000_000,
            stop_within: STOP_WITHIN,
        }
    }
}

/// Why landing stopped.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The lake refused.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another writer lands the same log.
    #[error(
        "another sink lands {topic}/{partition} into table {table}: it is at offset {found}, not at {expected}; \
         this one stops"
    )]
    Fenced {
        /// The table.
        table: Table,
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// Where this sink left it.
        expected: u64,
        /// Where it is.
        found: u64,
    },
    /// The log lost records that have landed: it was restored from a backup, say.
    #[error("log truncated: {topic}/{partition} ends at offset {end}, {landed} have landed")]
    Truncated {
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// Where it ends.
        end: u64,
        /// What has landed.
        landed: u64,
    },
    /// The table holds the rows of another log.
    #[error(
        "table {table} holds rows of another log ({found:032x}), not of this one: `millrace join` lets this log \
         continue it, or name another lake"
    )]
    OtherLog {
        /// The table.
        table: Table,
        /// The other log's incarnation.
        found: u128,
    },
    /// Two of those who raced for one name won: the store cannot keep writers apart.
    #[error("{place} let {winners} of {racers} writers create the same object: it cannot keep two sinks apart")]
    UnsafeStore {
        /// The store.
        place: String,
        /// Those who won.
        winners: usize,
        /// Those who tried.
        racers: usize,
    },
    /// A lander panicked.
    #[error("a lander panicked: {0}")]
    Panicked(String),
}

/// Landing at work.
#[derive(Debug)]
pub struct Sink {
    ended: oneshot::Receiver<Result<(), SinkError>>,
    statuses: Vec<watch::Receiver<TableStatus>>,
    store: watch::Receiver<Option<String>>,
}

impl Sink {
    /// Starts landing on a thread of its own, until `stop`. A store that is away is waited for.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(log: Arc<dyn Log>, lake: Lake, config: SinkConfig, stop: CancellationToken) -> std::io::Result<Self> {
        let (done, ended) = oneshot::channel();
        let (store_sender, store) = watch::channel(None);
        let (senders, statuses): (Vec<_>, Vec<_>) =
            config.tables.iter().map(|table| watch::channel(TableStatus::new(*table))).unzip();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            let result = runtime.block_on(run(log, lake, config, senders, store_sender, stop));
            // Nobody may be waiting any more.
            let _ = done.send(result);
        })?;
        Ok(Self { ended, statuses, store })
    }

    /// How each table stands.
    pub fn statuses(&self) -> &[watch::Receiver<TableStatus>] {
        &self.statuses
    }

    /// Why the store is away; none while it answers.
    pub fn store(&self) -> watch::Receiver<Option<String>> {
        self.store.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What ended it, other than the stop.
    pub async fn join(self) -> Result<(), SinkError> {
        self.ended.await.unwrap_or_else(|_| Err(SinkError::Panicked("the sink's thread is gone".to_owned())))
    }
}

async fn run(
    log: Arc<dyn Log>,
    lake: Lake,
    config: SinkConfig,
    statuses: Vec<watch::Sender<TableStatus>>,
    store: watch::Sender<Option<String>>,
    stop: CancellationToken,
) -> Result<(), SinkError> {
    let pulse = tokio::spawn(pulse(lake.clone(), store, stop.clone()));
    match stop.run_until_cancelled(safe_store(&lake, &statuses)).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            let why = error.to_string();
            statuses.iter().for_each(|one| one.send_modify(|status| status.enter(Phase::Stopped(Some(why.clone())))));
            return Err(error);
        }
        None => return Ok(()),
    }
    let mut landers = JoinSet::new();
    for (table, status) in config.tables.iter().zip(statuses) {
        let lander = Lander::new(*table, Arc::clone(&log), lake.clone(), config.clone(), status, stop.clone());
        landers.spawn(lander.run());
    }
    let mut result = Ok(());
    while let Some(ended) = landers.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(SinkError::Panicked(error.to_string())));
        if let Err(error) = &ended {
            tracing::error!(%error, "a table no longer lands");
        }
        if result.is_ok() {
            result = ended;
        }
    }
    pulse.abort();
    result
}

/// Makes sure that the store keeps writers apart, as soon as it answers.
async fn safe_store(lake: &Lake, statuses: &[watch::Sender<TableStatus>]) -> Result<(), SinkError> {
    let mut backoff = rules::Backoff::new();
    loop {
        match probe(lake).await {
            Ok(_) => return Ok(()),
            Err(SinkError::Lake(error)) if error.is_transient() => {
                tracing::warn!(%error, "landing waits for the store");
                let why = error.to_string();
                let wait = |status: &mut TableStatus| status.enter(Phase::Waiting(why.clone()));
                statuses.iter().for_each(|one| one.send_modify(wait));
                tokio::time::sleep(backoff.pause()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Looks at the store now and then, so that its absence is known before the next commit is due.
async fn pulse(lake: Lake, store: watch::Sender<Option<String>>, stop: CancellationToken) {
    let gauge = metrics::gauge!("millrace_sink_store_up");
    while !stop.is_cancelled() {
        let looked = tokio::time::timeout(PULSE_WITHIN, lake.look()).await;
        let failure = match looked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("{} gives no answer within {} s", lake.place(), PULSE_WITHIN.as_secs())),
        };
        gauge.set(if failure.is_none() { 1.0 } else { 0.0 });
        store.send_if_modified(|known| {
            let changed = *known != failure;
            *known = failure;
            changed
        });
        let _ = stop.run_until_cancelled(tokio::time::sleep(PULSE_EVERY)).await;
    }
}
