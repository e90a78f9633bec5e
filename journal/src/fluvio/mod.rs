//! The log on a Fluvio cluster.
//!
//! It speaks the protocol through the published client's own crates (`fluvio` 0.50.1 and those below it), one
//! plain connection per appender, per reader and per question. What the client's producer, consumer and admin
//! do above them, sending again behind the caller's back, skipping what a fetch cut off, leaving connections
//! open, is not wanted here; the decision record `docs/decisions/0004-fluvio.md` says what was seen.

mod appender;
mod cluster;
mod controller;
mod leader;
mod link;
mod producer;
mod reader;
mod retry;
mod tail;
mod topics;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::appender::FluvioAppender;
use self::cluster::Cluster;
use self::reader::FluvioReader;
use crate::batch::Batch;
use crate::error::LogError;
use crate::log::{Appender, Bounds, Log, LogReader, Offset, Partition, Priority, TopicSpec, Visibility};

/// How to reach a cluster and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FluvioConfig {
    /// `host:port` of the stream controller (SC).
    pub endpoint: String,
    /// Copies of the topic that holds the log's incarnation; as many as the topics' own.
    pub replication: u32,
    /// For a connection to an SPU to stand.
    pub connect_limit: Duration,
    /// For one answer of the SC or an SPU.
    pub request_limit: Duration,
    /// For a call of [`Log`] (other than appending and reading), outages included.
    pub call_limit: Duration,
    /// How long an appender or a reader goes on trying while the broker is away; then it fails.
    pub outage_limit: Duration,
    /// For accepted records to be written when the log closes.
    pub close_limit: Duration,
}

impl FluvioConfig {
    /// The usual limits: connections 5 s, answers 10 s, calls 20 s, outages 120 s, closing 10 s; one replica.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            replication: 1,
            connect_limit: Duration::from_secs(5),
            request_limit: Duration::from_secs(10),
            call_limit: Duration::from_secs(20),
            outage_limit: Duration::from_secs(120),
            close_limit: Duration::from_secs(10),
        }
    }
}

/// A log on a Fluvio cluster.
///
/// **Durability.** A record is acknowledged once the leader, and every in-sync replica where the topic has
/// several, has written it to its page cache. Fluvio does *not* sync before it acknowledges. What was
/// acknowledged survives the death of a Fluvio process, and not a power failure of every machine that holds a
/// copy: a second replica on a machine of its own is the way to be safe from that.
///
/// **Delivery.** Records of an appender are stored in order. A batch without an answer is looked for in the
/// tail of the partition and sent again only if it is not there. One case is left: a batch that an SPU had
/// taken, that is not in the tail a quarter of a second after the SPU answers again, and that it stores after
/// all, is there twice. Consumers drop it by its cause, as they must on any log.
///
/// **Reading.** No offset is skipped. A gap that stays is [`LogError::Gap`], a log that ends below a position
/// handed out before is [`LogError::Truncated`] (on a replicated partition after five seconds: a leader that has
/// just started may show an older end), and stored bytes are compared with their checksum.
///
/// **Not like the embedded log.** Retention is set when a topic is created, and differences are only logged
/// later. [`Log::trim`] frees nothing: Fluvio has no such call, so age and size free space. Nothing is kept in
/// reserve, so [`Priority`] makes no difference. Connections are plain TCP.
pub struct FluvioLog {
    cluster: Arc<Cluster>,
    tasks: TaskTracker,
    incarnation: u128,
}

impl FluvioLog {
    /// Connects, and names the log if it has no name yet.
    ///
    /// The name is the first record of the topic `incarnation`. When two processes come first at the same
    /// time, the record that got offset 0 counts for both.
    ///
    /// # Errors
    /// When the cluster cannot be reached within [`FluvioConfig::call_limit`], or that topic holds something
    /// else.
    pub async fn connect(config: FluvioConfig) -> Result<Self, LogError> {
        let spec = topics::incarnation_topic(config.replication);
        let mut log = Self { cluster: Arc::new(Cluster::new(config)), tasks: TaskTracker::new(), incarnation: 0 };
        log.cluster.create_topic(&spec).await?;
        log.incarnation = log.name().await?;
        Ok(log)
    }

    async fn name(&self) -> Result<u128, LogError> {
        let place = Partition::new(topics::INCARNATION_TOPIC, 0);
        if self.bounds(&place).await?.end == 0 {
            let name = topics::format_incarnation(topics::new_incarnation());
            let mut appender = self.appender(&place, Priority::Normal).await?;
            appender.append(Batch::of(topics::INCARNATION_KEY, name.as_bytes())).await?.await?;
        }
        let mut reader = self.reader(&place, 0, Visibility::Durable).await?;
        let mut records = Vec::new();
        reader.read(&mut records).await?;
        records.first().and_then(|record| topics::parse_incarnation(&record.value)).ok_or_else(|| LogError::Damaged {
            place: format!("{place} offset 0"),
            what: "not the name of a log".to_owned(),
        })
    }
}

impl fmt::Debug for FluvioLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FluvioLog")
            .field("endpoint", &self.cluster.config.endpoint)
            .field("incarnation", &format_args!("{:032x}", self.incarnation))
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Log for FluvioLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.cluster.create_topic(spec).await
    }

    async fn topics(&self) -> Result<Vec<(Arc<str>, u32)>, LogError> {
        let mut retry = self.cluster.call_retry();
        loop {
            self.cluster.check_open()?;
            match self.cluster.topics().await {
                Ok(topics) => {
                    let ours = topics.into_iter().filter(|topic| topic.name != topics::INCARNATION_TOPIC);
                    let mut named: Vec<_> = ours.map(|topic| (topic.name.into(), topic.spec.partitions())).collect();
                    named.sort();
                    return Ok(named);
                }
                Err(error) => retry.after(error, Duration::ZERO).await?,
            }
        }
    }

    async fn appender(&self, to: &Partition, _priority: Priority) -> Result<Box<dyn Appender>, LogError> {
        let end = self.bounds(to).await?.end;
        Ok(Box::new(FluvioAppender::start(&self.cluster, &self.tasks, to, end)))
    }

    async fn reader(&self, of: &Partition, from: Offset, sees: Visibility) -> Result<Box<dyn LogReader>, LogError> {
        let start = self.cluster.bounds(of, from, sees).await?.start;
        if from < start {
            return Err(LogError::Trimmed { partition: of.clone(), wanted: from, start });
        }
        Ok(Box::new(FluvioReader::new(self.cluster.clone(), of.clone(), from, sees)))
    }

    async fn bounds(&self, of: &Partition) -> Result<Bounds, LogError> {
        self.cluster.bounds(of, self.cluster.known_end(of), Visibility::Durable).await
    }

    async fn trim(&self, of: &Partition, _before: Offset) -> Result<(), LogError> {
        self.bounds(of).await.map(drop)
    }

    fn incarnation(&self) -> u128 {
        self.incarnation
    }

    async fn unavailable(&self) -> Option<LogError> {
        if let Err(closed) = self.cluster.check_open() {
            return Some(closed);
        }
        if let Some(trouble) = self.cluster.trouble() {
            return Some(trouble);
        }
        self.cluster.probe(&Partition::new(topics::INCARNATION_TOPIC, 0)).await.err()
    }

    async fn close(&self) -> Result<(), LogError> {
        self.cluster.closing.cancel();
        self.tasks.close();
        let limit = self.cluster.config.close_limit;
        if timeout(limit, self.tasks.wait()).await.is_err() {
            self.cluster.abandoned.cancel();
            // Whoever waits between two tries ends now; a request on its way has its own limit.
            let _ = timeout(self.cluster.config.request_limit, self.tasks.wait()).await;
        }
        match self.cluster.unwritten() {
            None => Ok(()),
            Some(LogError::Closed) => {
                Err(LogError::Broker(format!("accepted records were not written within {limit:?} of closing")))
            }
            Some(error) => Err(error),
        }
    }
}
