//! What the stream controller (SC) knows: topics, and which SPU leads a partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fluvio::metadata::objects::Metadata;
use fluvio::metadata::partition::PartitionSpec;
use fluvio::metadata::spu::SpuSpec;
use fluvio::metadata::topic::TopicSpec as FluvioTopic;
use tokio_util::sync::CancellationToken;

use super::FluvioConfig;
use super::controller::Controller;
use super::leader::Leader;
use super::link::Link;
use super::retry::Retry;
use crate::error::LogError;
use crate::log::{Bounds, Offset, Partition, Visibility};

/// Who leads a partition.
#[derive(Debug, Clone)]
struct Lead {
    /// `host:port` of the SPU.
    address: String,
    /// No other SPU has a copy.
    alone: bool,
}

/// One cluster, shared by everything that a log handed out.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) config: FluvioConfig,
    /// Cancelled when the log closes: nothing new is accepted.
    pub(super) closing: CancellationToken,
    /// Cancelled when the time for closing is over: nothing more is sent.
    pub(super) abandoned: CancellationToken,
    leaders: Mutex<HashMap<Partition, Lead>>,
    ends: Mutex<HashMap<Partition, Offset>>,
    troubles: Mutex<BTreeMap<u64, LogError>>,
    next_trouble: AtomicU64,
    unwritten: Mutex<Option<LogError>>,
}

impl Cluster {
    pub(super) fn new(config: FluvioConfig) -> Self {
        Self {
            config,
            closing: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            leaders: Mutex::default(),
            ends: Mutex::default(),
            troubles: Mutex::default(),
            next_trouble: AtomicU64::new(0),
            unwritten: Mutex::default(),
        }
    }

    /// Fails once the log is closed.
    pub(super) fn check_open(&self) -> Result<(), LogError> {
        if self.closing.is_cancelled() { Err(LogError::Closed) } else { Ok(()) }
    }

    /// Tries a call of the log's user again until [`FluvioConfig::call_limit`].
    pub(super) fn call_retry(&self) -> Retry {
        Retry::new(self.config.call_limit, self.closing.clone())
    }

    /// Connects to the SC.
    pub(super) async fn controller(&self) -> Result<Controller, LogError> {
        let endpoint = &self.config.endpoint;
        match Link::open(endpoint, self.config.connect_limit).await {
            Ok(link) => Ok(Controller::new(link, endpoint.clone(), self.config.request_limit)),
            Err(lost) => Err(LogError::Broker(format!("controller {lost}"))),
        }
    }

    /// The topics, those of Fluvio itself left out.
    pub(super) async fn topics(&self) -> Result<Vec<Metadata<FluvioTopic>>, LogError> {
        let mut topics = self.controller().await?.list::<FluvioTopic>().await?;
        topics.retain(|topic| !topic.spec.is_system());
        Ok(topics)
    }

    /// Connects to the SPU that leads the partition.
    pub(super) async fn open(&self, partition: &Partition) -> Result<Leader, LogError> {
        let lead = self.lead(partition).await?;
        match Link::open(&lead.address, self.config.connect_limit).await {
            Ok(link) => Ok(Leader::new(link, partition.clone(), lead.alone, self.config.request_limit)),
            Err(lost) => {
                self.forget(partition);
                Err(LogError::Broker(format!("{partition}: {lost}")))
            }
        }
    }

    /// The address is wrong, or may be: asks the SC anew next time.
    pub(super) fn forget(&self, partition: &Partition) {
        lock(&self.leaders).remove(partition);
    }

    async fn lead(&self, partition: &Partition) -> Result<Lead, LogError> {
        if let Some(lead) = lock(&self.leaders).get(partition) {
            return Ok(lead.clone());
        }
        let mut controller = self.controller().await?;
        let partitions = controller.list::<PartitionSpec>().await?;
        let name = format!("{}-{}", partition.topic, partition.index);
        let Some(found) = partitions.into_iter().find(|known| known.name == name) else {
            return Err(missing(&mut controller, partition).await);
        };
        let spus = controller.list::<SpuSpec>().await?;
        let leader = found.spec.leader;
        let spu = spus.into_iter().find(|spu| spu.spec.id == leader);
        let spu = spu.ok_or_else(|| LogError::Broker(format!("{partition}: SPU {leader} is not registered")))?;
        let lead = Lead { address: spu.spec.public_endpoint.addr(), alone: found.spec.replicas.len() <= 1 };
        lock(&self.leaders).insert(partition.clone(), lead.clone());
        Ok(lead)
    }

    /// Start and end, over a connection of its own, and how long an end below a known one may pass.
    async fn bounds_once(&self, of: &Partition, sees: Visibility) -> Result<(Bounds, Duration), LogError> {
        let mut leader = self.open(of).await?;
        let bounds = leader.bounds(sees).await.inspect_err(|_| self.forget(of))?;
        Ok((bounds, leader.patience()))
    }

    /// Fails unless the partition can be used now.
    pub(super) async fn probe(&self, partition: &Partition) -> Result<(), LogError> {
        self.bounds_once(partition, Visibility::Durable).await.map(drop)
    }

    /// Start and end, with patience: for a broker that is away, and for an end that lies below `known`.
    pub(super) async fn bounds(&self, of: &Partition, known: Offset, sees: Visibility) -> Result<Bounds, LogError> {
        let mut retry = self.call_retry();
        let mut below = None;
        loop {
            self.check_open()?;
            match self.bounds_once(of, sees).await {
                Ok((bounds, _)) if bounds.end >= known => return Ok(bounds),
                Ok((bounds, patience)) => {
                    let end = bounds.end;
                    let behind = LogError::Broker(format!("{of} ends at {end}, known up to {known}"));
                    let below = below.get_or_insert_with(|| Retry::new(patience, self.closing.clone()));
                    match below.after(behind, Duration::from_millis(100)).await {
                        Ok(()) => {}
                        Err(LogError::Closed) => return Err(LogError::Closed),
                        Err(_) => return Err(LogError::Truncated { partition: of.clone(), wanted: known, end }),
                    }
                }
                Err(error) => retry.after(error, Duration::ZERO).await?,
            }
        }
    }

    /// Notes that records before `end` were acknowledged to or read by this process.
    pub(super) fn know(&self, partition: &Partition, end: Offset) {
        let mut ends = lock(&self.ends);
        match ends.get_mut(partition) {
            Some(known) => *known = end.max(*known),
            None => {
                ends.insert(partition.clone(), end);
            }
        }
    }

    /// The end that this process knows of.
    pub(super) fn known_end(&self, partition: &Partition) -> Offset {
        lock(&self.ends).get(partition).copied().unwrap_or(0)
    }

    /// Notes that accepted records could not be written; [`Self::unwritten`] tells when that was while closing.
    pub(super) fn note_unwritten(&self, error: &LogError) {
        if self.closing.is_cancelled() {
            lock(&self.unwritten).get_or_insert_with(|| error.clone());
        }
    }

    /// Why accepted records were not written while the log was closing.
    pub(super) fn unwritten(&self) -> Option<LogError> {
        lock(&self.unwritten).clone()
    }

    /// What keeps an appender or reader from going on at the moment.
    pub(super) fn trouble(&self) -> Option<LogError> {
        lock(&self.troubles).values().next().cloned()
    }
}

/// A partition that the SC does not list: unknown for good, or of a topic that is being set up.
async fn missing(controller: &mut Controller, partition: &Partition) -> LogError {
    match controller.list::<FluvioTopic>().await {
        Ok(topics) => {
            let topic = topics.into_iter().find(|topic| *topic.name == *partition.topic);
            if topic.is_some_and(|topic| partition.index < topic.spec.partitions()) {
                LogError::Broker(format!("{partition} is not assigned to an SPU yet"))
            } else {
                LogError::UnknownPartition(partition.clone())
            }
        }
        Err(error) => error,
    }
}

/// Tells the cluster's health checks what one appender or reader struggles with.
#[derive(Debug)]
pub(super) struct Struggle {
    cluster: Arc<Cluster>,
    id: u64,
    told: bool,
}

impl Struggle {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let id = cluster.next_trouble.fetch_add(1, Ordering::Relaxed);
        Self { cluster, id, told: false }
    }

    /// It cannot go on because of this. Returns whether that is news.
    pub(super) fn tell(&mut self, error: &LogError) -> bool {
        lock(&self.cluster.troubles).insert(self.id, error.clone());
        !std::mem::replace(&mut self.told, true)
    }

    /// It goes on.
    pub(super) fn over(&mut self) {
        if std::mem::take(&mut self.told) {
            lock(&self.cluster.troubles).remove(&self.id);
        }
    }
}

impl Drop for Struggle {
    fn drop(&mut self) {
        self.over();
    }
}

/// These maps are whole after every statement, so a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
