//! The exchange at work: one stage over the topic `orders`, its clock, and the way in for callers.
//!
//! A caller's command is appended to `orders`, synced, applied, and answered with what it brought about. The
//! answer does not wait until the outputs are synced: they follow from the command, so after a crash they
//! come out again, the same bytes.

mod answers;
mod clock;
mod core;
mod gateway;
mod hooks;
mod unwritten;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::stage::{
    OutputTopic as StageTopic, SnapshotBy, SnapshotConfig, Stage, StageConfig, StageError, StageStatus,
    WithoutSnapshot, supervise,
};
use journal::{Log, LogError, Partition, Priority};
use model::{Cause, topic};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::answers::Waiters;
use self::core::ShellCore;
use self::hooks::ShellHooks;
use crate::exchange::OutputTopic;

pub use gateway::{Answer, Gateway, GatewayError, Lane, Receipt};

/// Time between two `Clock` records: how exactly deadlines and expiries are kept.
pub const CLOCK_EVERY: Duration = Duration::from_millis(100);
/// Time between two snapshots. A second core makes them, so they cost the stage nothing.
pub const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);
/// Snapshots kept.
const SNAPSHOTS_KEPT: usize = 3;
/// Hand-overs of outputs that may wait for their sync at a time.
const OUTSTANDING_MAX: usize = 64;

/// How the exchange runs.
#[derive(Debug, Clone)]
pub struct ShellConfig {
    /// Where its snapshots are kept.
    pub snapshots: PathBuf,
    /// Least time between two snapshots.
    pub snapshot_every: Duration,
    /// Time between two `Clock` records; none where the commands bring their own time.
    pub clock_every: Option<Duration>,
}

/// Why the exchange does not run.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A topic that it needs is not there.
    #[error("topic {0} does not exist: the program creates it before the exchange starts")]
    NoTopic(&'static str),
    /// The stage stopped.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// The running exchange.
#[derive(Debug)]
pub struct Shell {
    tasks: JoinSet<Result<(), ShellError>>,
    status: watch::Receiver<StageStatus>,
    gateway: Gateway,
    stop: CancellationToken,
}

impl Shell {
    /// Starts the stage, its clock and its gateway. The topics `orders`, `executions`, `trades`, `book`,
    /// `ledger`, `instruments` and `dead-letters` must be there, `orders` with one partition. It runs until
    /// `stop`, or until a part of it fails for good.
    ///
    /// # Errors
    /// When a topic is missing, or the snapshot directory cannot be made.
    pub async fn start(log: Arc<dyn Log>, config: ShellConfig, stop: CancellationToken) -> Result<Self, ShellError> {
        let topics = log.topics().await?;
        let partitions = |name: &'static str| {
            let found = topics.iter().find(|(topic, _)| &**topic == name);
            found.map(|(_, partitions)| *partitions).ok_or(ShellError::NoTopic(name))
        };
        partitions(topic::ORDERS)?;
        let mut outputs = Vec::new();
        for output in OutputTopic::ALL {
            outputs.push(stage_topic(output.name(), partitions(output.name())?));
        }
        outputs.push(stage_topic(topic::DEAD_LETTERS, partitions(topic::DEAD_LETTERS)?));
        let inbox = Partition::new(topic::ORDERS, 0);
        let waiters = Arc::new(Waiters::default());
        let live = Arc::new(Mutex::new(None));
        // The incarnation keys the hashes of client order ids: secret enough, and the same in every replica.
        let seed = log.incarnation() as u64 ^ (log.incarnation() >> 64) as u64;
        let stage = Stage::new(
            Arc::clone(&log),
            StageConfig {
                name: "matcher".into(),
                inbox: inbox.clone(),
                outputs,
                snapshots: SnapshotConfig {
                    directory: config.snapshots.join("matcher-0"),
                    every: config.snapshot_every,
                    keep: SNAPSHOTS_KEPT,
                    by: SnapshotBy::Replica,
                    without: WithoutSnapshot::Refuse,
                },
                outstanding_max: OUTSTANDING_MAX,
            },
            {
                let waiters = Arc::clone(&waiters);
                move || ShellCore::new(seed, inbox.index, Arc::clone(&waiters))
            },
            ShellHooks::new(Arc::clone(&live), Arc::clone(&waiters)),
        )?;
        let status = stage.status();
        let stop = stop.child_token();
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(async move { supervise(stage, stopped).await.map_err(ShellError::from) });
        let partition = Partition::new(topic::ORDERS, 0);
        if let Some(every) = config.clock_every {
            let (log, status, stopped) = (Arc::clone(&log), status.clone(), stop.clone());
            let partition = partition.clone();
            tasks.spawn(
                async move { clock::run(log, partition, every, status, stopped).await.map_err(ShellError::from) },
            );
        }
        let gateway = Gateway::start(&log, &partition, waiters, live, status.clone(), &stop, &mut tasks);
        Ok(Self { tasks, status, gateway, stop })
    }

    /// The way in.
    pub fn gateway(&self) -> Gateway {
        self.gateway.clone()
    }

    /// The condition of the stage, now and later.
    pub fn status(&self) -> watch::Receiver<StageStatus> {
        self.status.clone()
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

/// Outputs of a cancel must find room as well, so all of them may use the reserve.
fn stage_topic(name: &str, partitions: u32) -> StageTopic {
    StageTopic { topic: name.into(), partitions, priority: Priority::Reserve, cause }
}

/// Reads the cause back out of what the exchange wrote.
fn cause(value: &[u8]) -> Option<Cause> {
    #[derive(serde::Deserialize)]
    struct Caused {
        cause: Cause,
    }
    serde_json::from_slice(value).ok().map(|Caused { cause }| cause)
}
