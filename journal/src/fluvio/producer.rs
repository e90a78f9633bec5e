//! Writes one appender's batches, one at a time.
//!
//! What is accepted while a batch is on its way goes out together as the next one. When the answer to a batch
//! does not come, nobody knows whether it was stored: the connection is dropped, and on a new one the tail of
//! the partition is read back first. Every batch is stamped, so it is known again whatever it contains. Only
//! when it is not there is it sent again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fluvio::Isolation;
use fluvio::dataplane::record::{Batch as FluvioBatch, RawRecords, RecordSet};
use fluvio_spu_schema::errors::ErrorCode;
use fluvio_spu_schema::produce::{DefaultPartitionRequest, DefaultProduceRequest, DefaultTopicRequest};
use tokio::sync::{Semaphore, mpsc};

use super::appender::Queued;
use super::cluster::{Cluster, Struggle};
use super::leader::{FETCH_BYTES_MAX, Leader};
use super::retry::Retry;
use super::wire::{self, Stamp};
use crate::batch::Batch;
use crate::error::LogError;
use crate::log::{Offset, Partition, Visibility};

/// Bytes from which nothing more is added to a group. One request of this size takes a few milliseconds.
const GROUP_BYTES: usize = 1 << 20;
/// Records in a group, at most.
const GROUP_RECORDS: usize = Batch::RECORDS_MAX;
/// How long a batch without an answer is left to arrive, once the SPU answers again, before the tail is read
/// back. Closing a connection does not recall what the SPU has already taken from it.
const SETTLE: Duration = Duration::from_millis(250);
/// The task behind an appender.
pub(super) struct Producer {
    cluster: Arc<Cluster>,
    to: Partition,
    stamp: Stamp,
    /// The next batch is stored here or later: the end after the last acknowledged one.
    end: Offset,
    leader: Option<Leader>,
    struggle: Struggle,
}

/// A group on its way and what is known of it.
struct Sending {
    packed: FluvioBatch<RawRecords>,
    /// Sent, and no answer came.
    unanswered: bool,
}

impl Producer {
    pub(super) fn new(cluster: Arc<Cluster>, to: Partition, end: Offset) -> Self {
        let stamp = Stamp { producer: fastrand::i64(1..), sequence: 0 };
        let struggle = Struggle::new(cluster.clone());
        Self { cluster, to, stamp, end, leader: None, struggle }
    }

    /// Writes what is accepted until the appender is dropped, the log closes or a batch fails.
    pub(super) async fn run(mut self, mut accepted: mpsc::UnboundedReceiver<Queued>, room: Arc<Semaphore>) {
        let closing = self.cluster.closing.clone();
        let mut draining = false;
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(queued) => queued,
                None => tokio::select! {
                    biased;
                    queued = accepted.recv() => match queued {
                        Some(queued) => queued,
                        None => return,
                    },
                    () = closing.cancelled(), if !draining => {
                        draining = true;
                        accepted.close();
                        continue;
                    }
                },
            };
            let mut group = vec![first];
            held = gather(&mut group, &mut accepted);
            if let Err(error) = self.write(group).await {
                tracing::error!(partition = %self.to, %error, "appender failed");
                room.close();
                accepted.close();
                self.cluster.note_unwritten(&error);
                let refuse = |queued: Queued| queued.ack.send(Err(LogError::AppenderFailed(self.to.clone())));
                held.into_iter().for_each(|queued| drop(refuse(queued)));
                while let Some(queued) = accepted.recv().await {
                    drop(refuse(queued));
                }
                return;
            }
        }
    }

    /// Writes a group and tells everybody in it what became of it.
    async fn write(&mut self, group: Vec<Queued>) -> Result<(), LogError> {
        match self.store(&group).await {
            Ok(mut offset) => {
                for queued in group {
                    let next = offset + queued.batch.len() as u64;
                    let _ = queued.ack.send(Ok(offset));
                    offset = next;
                }
                Ok(())
            }
            Err(error) => {
                for queued in group {
                    let _ = queued.ack.send(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Stores a group, whatever that takes within the outage limit, and gives its first offset.
    async fn store(&mut self, group: &[Queued]) -> Result<Offset, LogError> {
        let records: usize = group.iter().map(|queued| queued.batch.len()).sum();
        if records == 0 {
            let known = self.end.max(self.cluster.known_end(&self.to));
            return Ok(self.cluster.bounds(&self.to, known, Visibility::Durable).await?.end);
        }
        self.stamp.sequence = self.stamp.sequence.wrapping_add(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let packed = wire::pack(group.iter().map(|queued| &queued.batch), self.stamp, now.as_millis() as i64);
        let mut sending = Sending { packed, unanswered: false };
        let mut retry = Retry::new(self.cluster.config.outage_limit, self.cluster.abandoned.clone());
        loop {
            match self.attempt(&mut sending).await {
                Ok(offset) => {
                    self.struggle.over();
                    self.end = offset + records as u64;
                    self.cluster.know(&self.to, self.end);
                    return Ok(offset);
                }
                Err(error) => {
                    self.leader = None;
                    self.cluster.forget(&self.to);
                    if self.struggle.tell(&error) {
                        tracing::warn!(partition = %self.to, %error, "batch not stored yet");
                    } else {
                        tracing::debug!(partition = %self.to, %error, "batch not stored yet");
                    }
                    retry.after(error, Duration::ZERO).await?;
                }
            }
        }
    }

    /// One try, over the connection that there is or a new one.
    async fn attempt(&mut self, sending: &mut Sending) -> Result<Offset, LogError> {
        let mut leader = match self.leader.take() {
            Some(leader) => leader,
            None => {
                metrics::counter!("millrace_log_fluvio_connections_total", "for" => "append").increment(1);
                self.cluster.open(&self.to).await?
            }
        };
        if sending.unanswered {
            leader.bounds(Visibility::Durable).await?;
            tokio::time::sleep(SETTLE).await;
            let found = self.read_back(&mut leader, &sending.packed).await?;
            let outcome = if found.is_some() { "arrived" } else { "missing" };
            metrics::counter!("millrace_log_fluvio_read_backs_total", "outcome" => outcome).increment(1);
            tracing::info!(partition = %self.to, ?found, "read back a batch that got no answer");
            sending.unanswered = false;
            if let Some(offset) = found {
                self.leader = Some(leader);
                return Ok(offset);
            }
        }
        let offset = self.produce(&mut leader, sending).await?;
        self.leader = Some(leader);
        Ok(offset)
    }

    async fn produce(&self, leader: &mut Leader, sending: &mut Sending) -> Result<Offset, LogError> {
        let limit = self.cluster.config.request_limit;
        let records = RecordSet { batches: vec![sending.packed.clone()] };
        let partition = DefaultPartitionRequest { partition_index: self.to.index, records };
        let topic = DefaultTopicRequest {
            name: self.to.topic.to_string(),
            partitions: vec![partition],
            ..DefaultTopicRequest::default()
        };
        let request = DefaultProduceRequest {
            // Acknowledged once every replica that has to has it.
            isolation: Isolation::ReadCommitted,
            timeout: limit / 2,
            topics: vec![topic],
            ..DefaultProduceRequest::default()
        };
        sending.unanswered = true;
        let answer = leader.link.call(request, limit).await;
        let answer = answer.map_err(|lost| LogError::Broker(format!("{}: {lost}", self.to)))?;
        let stored = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let stored = stored.ok_or_else(|| LogError::Broker(format!("{}: empty answer to a batch", self.to)))?;
        match stored.error_code {
            ErrorCode::None => u64::try_from(stored.base_offset)
                .map_err(|_| LogError::Broker(format!("{}: stored at offset {}", self.to, stored.base_offset))),
            // Refused before anything was written: there is nothing to read back.
            code @ (ErrorCode::NotLeaderForPartition | ErrorCode::PartitionNotLeader | ErrorCode::TopicNotFound) => {
                sending.unanswered = false;
                Err(LogError::Broker(format!("{}: {code}", self.to)))
            }
            ErrorCode::MessageTooLarge => Err(LogError::BatchTooLarge {
                partition: self.to.clone(),
                what: "bytes",
                value: sending.packed.records().0.len(),
                max: FETCH_BYTES_MAX as usize,
            }),
            code @ ErrorCode::PartitionFull { .. } => Err(LogError::Full(format!("{}: {code}", self.to))),
            code => Err(LogError::Broker(format!("{}: {code}", self.to))),
        }
    }

    /// Looks for a batch from the last acknowledged end on; when it is there, waits until it is committed.
    async fn read_back(&self, leader: &mut Leader, sent: &FluvioBatch<RawRecords>) -> Result<Option<Offset>, LogError> {
        self.reached(leader, self.end, leader.patience()).await.map_err(|error| match error {
            Reached::No(end) => LogError::Truncated { partition: self.to.clone(), wanted: self.end, end },
            Reached::Failed(error) => error,
        })?;
        let Some(found) = leader.walk(self.end, |stored| wire::is_same(stored, sent)).await? else {
            return Ok(None);
        };
        let next = found.computed_last_offset() as u64;
        self.reached(leader, next, self.cluster.config.request_limit).await.map_err(|error| match error {
            Reached::No(end) => LogError::Broker(format!("{}: written up to {next}, committed up to {end}", self.to)),
            Reached::Failed(error) => error,
        })?;
        Ok(Some(found.base_offset as u64))
    }

    /// Waits until the partition ends at `end` or later.
    async fn reached(&self, leader: &mut Leader, end: Offset, patience: Duration) -> Result<(), Reached> {
        let mut retry = Retry::new(patience, self.cluster.abandoned.clone());
        loop {
            let now = leader.bounds(Visibility::Durable).await.map_err(Reached::Failed)?.end;
            if now >= end {
                return Ok(());
            }
            match retry.after(LogError::Broker(String::new()), Duration::ZERO).await {
                Ok(()) => {}
                Err(LogError::Closed) => return Err(Reached::Failed(LogError::Closed)),
                Err(_) => return Err(Reached::No(now)),
            }
        }
    }
}

/// Why an end was not reached.
enum Reached {
    /// The partition still ends here.
    No(Offset),
    Failed(LogError),
}

/// Adds what else is accepted, up to the size of a group; gives back what no longer fits. Batches stay whole.
fn gather(group: &mut Vec<Queued>, accepted: &mut mpsc::UnboundedReceiver<Queued>) -> Option<Queued> {
    let (mut bytes, mut records) = (group[0].batch.size(), group[0].batch.len());
    while bytes < GROUP_BYTES && records < GROUP_RECORDS {
        let next = accepted.try_recv().ok()?;
        let (with, count) = (bytes + next.batch.size(), records + next.batch.len());
        if with > GROUP_BYTES || count > GROUP_RECORDS {
            return Some(next);
        }
        (bytes, records) = (with, count);
        group.push(next);
    }
    None
}
