//! What the stream controller (SC) knows: topics, and which SPU leads a partition.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fluvio::metadata::objects::Metadata;
use fluvio::metadata::partition::PartitionSpec;
use fluvio::metadata::spu::SpuSpec;
use fluvio::metadata::topic::TopicSpec as FluvioTopic;
use fluvio::{FluvioAdmin, FluvioClusterConfig};
use fluvio_spu_schema::errors::ErrorCode;
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::FluvioConfig;
use super::link::Link;
use super::retry::Retry;
use crate::error::LogError;
use crate::log::{Bounds, Offset, Partition};

/// After an SPU restart the high watermark may lie below acknowledged offsets for a moment. Only when it is
/// still there after this long is the log taken for truncated.
pub(super) const TRUNCATION_PATIENCE: Duration = Duration::from_secs(5);

/// One cluster, shared by everything that a log handed out.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) config: FluvioConfig,
    /// Cancelled when the log closes: nothing new is accepted.
    pub(super) closing: CancellationToken,
    /// Cancelled when the time for closing is over: nothing more is sent.
    pub(super) abandoned: CancellationToken,
    leaders: Mutex<HashMap<Partition, String>>,
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

    /// A conversation with the SC. It is opened for each purpose: purposes are rare, and the published client
    /// does not notice when a kept one has died.
    pub(super) async fn admin(&self) -> Result<FluvioAdmin, LogError> {
        let config = FluvioClusterConfig::new(&self.config.endpoint);
        self.ask(FluvioAdmin::connect_with_config(&config)).await
    }

    /// Waits for an answer of the SC, within [`FluvioConfig::request_limit`].
    pub(super) async fn ask<T, E: fmt::Display>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, LogError> {
        let (endpoint, limit) = (&self.config.endpoint, self.config.request_limit);
        timeout(limit, answer)
            .await
            .map_err(|_| LogError::Broker(format!("controller {endpoint} does not answer within {limit:?}")))?
            .map_err(|error| LogError::Broker(format!("controller {endpoint}: {error:#}")))
    }

    /// The topics, those of Fluvio itself left out.
    pub(super) async fn topics(&self) -> Result<Vec<Metadata<FluvioTopic>>, LogError> {
        let admin = self.admin().await?;
        let mut topics = self.ask(admin.all::<FluvioTopic>()).await?;
        topics.retain(|topic| !topic.spec.is_system());
        Ok(topics)
    }

    /// Connects to the SPU that leads the partition.
    pub(super) async fn open(&self, partition: &Partition) -> Result<Link, LogError> {
        let address = self.leader(partition).await?;
        Link::open(&address, self.config.connect_limit).await.map_err(|lost| {
            self.forget(partition);
            LogError::Broker(format!("{partition}: {lost}"))
        })
    }

    /// The address is wrong, or may be: asks the SC anew next time.
    pub(super) fn forget(&self, partition: &Partition) {
        lock(&self.leaders).remove(partition);
    }

    async fn leader(&self, partition: &Partition) -> Result<String, LogError> {
        if let Some(address) = lock(&self.leaders).get(partition) {
            return Ok(address.clone());
        }
        let admin = self.admin().await?;
        let partitions = self.ask(admin.all::<PartitionSpec>()).await?;
        let name = format!("{}-{}", partition.topic, partition.index);
        let Some(found) = partitions.into_iter().find(|known| known.name == name) else {
            return Err(self.missing(&admin, partition).await);
        };
        let spus = self.ask(admin.all::<SpuSpec>()).await?;
        let leader = found.spec.leader;
        let spu = spus.into_iter().find(|spu| spu.spec.id == leader);
        let spu = spu.ok_or_else(|| LogError::Broker(format!("{partition}: SPU {leader} is not registered")))?;
        let address = spu.spec.public_endpoint.addr();
        lock(&self.leaders).insert(partition.clone(), address.clone());
        Ok(address)
    }

    /// A partition that the SC does not list: unknown for good, or of a topic that is being set up.
    async fn missing(&self, admin: &FluvioAdmin, partition: &Partition) -> LogError {
        match self.ask(admin.all::<FluvioTopic>()).await {
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

    /// Start and committed end as the leader sees them now.
    pub(super) async fn offsets(&self, link: &mut Link, of: &Partition) -> Result<Bounds, LogError> {
        let request = FetchOffsetsRequest::new(of.topic.to_string(), of.index);
        let answer = link.call(request, self.config.request_limit).await;
        let answer = answer.map_err(|lost| LogError::Broker(format!("{of}: {lost}")))?;
        let found =
            answer.topics.into_iter().flat_map(|topic| topic.partitions).find(|p| p.partition_index == of.index);
        let found = found.ok_or_else(|| LogError::Broker(format!("{of}: no offsets in the answer")))?;
        if found.error_code != ErrorCode::None {
            self.forget(of);
            return Err(LogError::Broker(format!("{of}: {}", found.error_code)));
        }
        let (start, end) = (u64::try_from(found.start_offset), u64::try_from(found.last_stable_offset));
        match (start, end) {
            (Ok(start), Ok(end)) => Ok(Bounds { start: start.min(end), end }),
            _ => Err(LogError::Broker(format!("{of}: negative offsets in the answer"))),
        }
    }

    /// Start and committed end, over a connection of its own.
    pub(super) async fn bounds_once(&self, of: &Partition) -> Result<Bounds, LogError> {
        let mut link = self.open(of).await?;
        self.offsets(&mut link, of).await
    }

    /// Start and committed end, with patience: for a broker that is away, and for a high watermark that lies
    /// below `known`.
    pub(super) async fn bounds(&self, of: &Partition, known: Offset) -> Result<Bounds, LogError> {
        let mut retry = self.call_retry();
        let mut below = Retry::new(TRUNCATION_PATIENCE, self.closing.clone());
        loop {
            self.check_open()?;
            match self.bounds_once(of).await {
                Ok(bounds) if bounds.end >= known => return Ok(bounds),
                Ok(bounds) => {
                    let end = bounds.end;
                    let behind = LogError::Broker(format!("{of} ends at {end}, known up to {known}"));
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

    /// It cannot go on because of this.
    pub(super) fn tell(&mut self, error: &LogError) {
        lock(&self.cluster.troubles).insert(self.id, error.clone());
        self.told = true;
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
