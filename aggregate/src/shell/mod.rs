//! The aggregation at work: one stage for each partition of `ticks`, with its clock, the topics it writes and
//! the cache it fills.
//!
//! Prices go to the cache as soon as they are computed: whoever reads them may see one before its record is
//! synced, and after a crash the same tick gives the same price again. Conversion rates go back into the
//! partitions of `ticks` that need them, as records derived from the tick that moved the rate, so that a
//! restart neither loses nor doubles one.

mod causes;
mod clock;
mod core;
mod hooks;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use journal::stage::{
    OutputTopic, SnapshotBy, SnapshotConfig, Stage, StageConfig, StageError, StageStatus, WithoutSnapshot, supervise,
};
use journal::{Log, LogError, Partition, Priority};
use model::topic;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::clock::Clock;
use self::core::{Routes, ShellCore};
use self::hooks::ShellHooks;
use crate::cache::PriceCache;
use crate::config::Config;

/// Time between two `Clock` records in each partition.
pub const CLOCK_EVERY: Duration = Duration::from_millis(100);
/// Time between two snapshots. A second core makes them, so they cost the stage nothing.
pub const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);
/// Snapshots kept of each partition.
const SNAPSHOTS_KEPT: usize = 3;
/// Hand-overs of outputs that may wait for their sync at a time.
const OUTSTANDING_MAX: usize = 64;

/// How the aggregation runs.
#[derive(Debug, Clone)]
pub struct ShellConfig {
    /// What is priced, and how.
    pub rules: Arc<Config>,
    /// Where snapshots are kept: a directory for each partition is made in here.
    pub snapshots: PathBuf,
    /// Least time between two snapshots.
    pub snapshot_every: Duration,
    /// Time between two `Clock` records; none where the ticks bring their own time, as in a replay.
    pub clock_every: Option<Duration>,
}

/// Why the aggregation does not run.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A topic that it needs is not there.
    #[error("topic {0} does not exist: the program creates it before the aggregation starts")]
    NoTopic(&'static str),
    /// A stage stopped.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// The running aggregation.
#[derive(Debug)]
pub struct Shell {
    tasks: JoinSet<Result<(), ShellError>>,
    statuses: Vec<watch::Receiver<StageStatus>>,
    stop: CancellationToken,
}

impl Shell {
    /// Starts a stage for every partition of `ticks`. The topics `ticks`, `prices`, `candles` and
    /// `dead-letters` must be there. It runs until `stop`, or until a part of it fails for good.
    ///
    /// # Errors
    /// When a topic is missing, or a snapshot directory cannot be made.
    pub async fn start(
        log: Arc<dyn Log>,
        config: ShellConfig,
        cache: Arc<dyn PriceCache>,
        stop: CancellationToken,
    ) -> Result<Self, ShellError> {
        let topics = log.topics().await?;
        let partitions = |name: &'static str| {
            let found = topics.iter().find(|(topic, _)| &**topic == name);
            found.map(|(_, partitions)| *partitions).ok_or(ShellError::NoTopic(name))
        };
        let ticks = partitions(topic::TICKS)?;
        let outputs = outputs(
            [partitions(topic::PRICES)?, partitions(topic::CANDLES)?, partitions(topic::DEAD_LETTERS)?],
            (!config.rules.rates().is_empty()).then_some(ticks),
        );
        let routes = Arc::new(Routes::new(&config.rules, ticks));
        // One part's end is the end of all; the caller's other parts go on.
        let stop = stop.child_token();
        let mut tasks = JoinSet::new();
        let mut statuses = Vec::new();
        for index in 0..ticks {
            let inbox = Partition::new(topic::TICKS, index);
            let configured = Arc::new(OnceLock::new());
            let stage = Stage::new(
                Arc::clone(&log),
                stage_config(&config, &inbox, &outputs),
                {
                    let (rules, routes) = (Arc::clone(&config.rules), Arc::clone(&routes));
                    move || ShellCore::new(Arc::clone(&rules), Arc::clone(&routes), index)
                },
                ShellHooks::new(Arc::clone(&cache), Arc::clone(&configured), index),
            )?;
            let status = stage.status();
            let stopped = stop.clone();
            tasks.spawn(async move { supervise(stage, stopped).await.map_err(ShellError::from) });
            if let Some(every) = config.clock_every {
                let (hash, stage) = (config.rules.hash(), status.clone());
                let clock = Clock { log: Arc::clone(&log), partition: inbox, every, configured, hash, stage };
                let stopped = stop.clone();
                tasks.spawn(async move { clock.run(stopped).await.map_err(ShellError::from) });
            }
            statuses.push(status);
        }
        Ok(Self { tasks, statuses, stop })
    }

    /// The condition of each partition's stage, now and later.
    pub fn statuses(&self) -> &[watch::Receiver<StageStatus>] {
        &self.statuses
    }

    /// Waits until everything has stopped; a part that fails stops the others.
    ///
    /// # Errors
    /// The first failure.
    pub async fn join(mut self) -> Result<(), ShellError> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            self.stop.cancel();
            let ended = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            result = result.and(ended);
        }
        result
    }
}

fn outputs([prices, candles, dead_letters]: [u32; 3], rates: Option<u32>) -> Vec<OutputTopic> {
    let output = |topic: &str, partitions, cause| OutputTopic {
        topic: topic.into(),
        partitions,
        priority: Priority::Normal,
        cause,
    };
    let mut outputs = vec![
        output(topic::PRICES, prices, causes::of_json),
        output(topic::CANDLES, candles, causes::of_json),
        output(topic::DEAD_LETTERS, dead_letters, causes::of_json),
    ];
    outputs.extend(rates.map(|ticks| output(topic::TICKS, ticks, causes::of_tick)));
    outputs
}

fn stage_config(config: &ShellConfig, inbox: &Partition, outputs: &[OutputTopic]) -> StageConfig {
    StageConfig {
        name: "aggregate".into(),
        inbox: inbox.clone(),
        outputs: outputs.to_vec(),
        snapshots: SnapshotConfig {
            directory: config.snapshots.join(format!("aggregate-{}", inbox.index)),
            every: config.snapshot_every,
            keep: SNAPSHOTS_KEPT,
            by: SnapshotBy::Replica,
            // Windows and books fill again from the flow.
            without: WithoutSnapshot::BeginAtStart,
        },
        outstanding_max: OUTSTANDING_MAX,
    }
}
