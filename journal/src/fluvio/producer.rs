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
use fluvio_spu_schema::fetch::{FetchPartition, FetchRequest, FetchableTopic};
use fluvio_spu_schema::produce::{DefaultPartitionRequest, DefaultProduceRequest, DefaultTopicRequest};
use tokio::sync::{Semaphore, mpsc};

use super::appender::Queued;
use super::cluster::{Cluster, Struggle, TRUNCATION_PATIENCE};
use super::link::Link;
use super::retry::Retry;
use super::wire::{self, Stamp};
use crate::batch::Batch;
use crate::error::LogError;
use crate::log::{Offset, Partition};

/// Bytes from which nothing more is added to a group. One request of this size takes a few milliseconds.
const GROUP_BYTES: usize = 1 << 20;
/// Records in a group, at most.
const GROUP_RECORDS: usize = Batch::RECORDS_MAX;
/// How long a batch without an answer is left to arrive before the tail is read back. Closing a connection
/// does not recall what the SPU has already taken from it.
const SETTLE: Duration = Duration::from_millis(250);
/// Bytes asked for when reading back; more when one batch does not fit.
const READ_BACK_BYTES: i32 = 4 << 20;
/// The largest batch an SPU takes, and its header.
const READ_BACK_BYTES_MAX: i32 = 34 << 20;

/// The task behind an appender.
pub(super) struct Producer {
    cluster: Arc<Cluster>,
    to: Partition,
    stamp: Stamp,
    /// The next batch is stored here or later: the end after the last acknowledged one.
    end: Offset,
    link: Option<Link>,
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
        Self { cluster, to, stamp, end, link: None, struggle }
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
            return Ok(self.cluster.bounds(&self.to, known).await?.end);
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
                    self.link = None;
                    self.cluster.forget(&self.to);
                    tracing::warn!(partition = %self.to, %error, unanswered = sending.unanswered, "batch not stored yet");
                    self.struggle.tell(&error);
                    let pause_min = if sending.unanswered { SETTLE } else { Duration::ZERO };
                    retry.after(error, pause_min).await?;
                }
            }
        }
    }

    /// One try, over the connection that there is or a new one.
    async fn attempt(&mut self, sending: &mut Sending) -> Result<Offset, LogError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => {
                metrics::counter!("millrace_log_fluvio_connections_total", "for" => "append").increment(1);
                self.cluster.open(&self.to).await?
            }
        };
        if sending.unanswered {
            let found = self.read_back(&mut link, &sending.packed).await?;
            let outcome = if found.is_some() { "arrived" } else { "missing" };
            metrics::counter!("millrace_log_fluvio_read_backs_total", "outcome" => outcome).increment(1);
            tracing::info!(partition = %self.to, ?found, "read back a batch that got no answer");
            sending.unanswered = false;
            if let Some(offset) = found {
                self.link = Some(link);
                return Ok(offset);
            }
        }
        let offset = self.produce(&mut link, sending).await?;
        self.link = Some(link);
        Ok(offset)
    }

    async fn produce(&self, link: &mut Link, sending: &mut Sending) -> Result<Offset, LogError> {
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
        let answer = link.call(request, limit).await;
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
                max: READ_BACK_BYTES_MAX as usize,
            }),
            code @ ErrorCode::PartitionFull { .. } => Err(LogError::Full(format!("{}: {code}", self.to))),
            code => Err(LogError::Broker(format!("{}: {code}", self.to))),
        }
    }

    /// Looks for a batch from the last acknowledged end on; when it is there, waits until it is committed.
    async fn read_back(&self, link: &mut Link, sent: &FluvioBatch<RawRecords>) -> Result<Option<Offset>, LogError> {
        let (mut from, mut bytes_max) = (self.end, READ_BACK_BYTES);
        let mut below = Retry::new(TRUNCATION_PATIENCE, self.cluster.abandoned.clone());
        loop {
            let fetched = match self.fetch(link, from, bytes_max).await? {
                Ok(batches) => batches,
                Err(refused) => {
                    self.behind(link, &mut below, refused).await?;
                    continue;
                }
            };
            let (batches, cut) = wire::whole(fetched);
            if batches.is_empty() && cut {
                if bytes_max >= READ_BACK_BYTES_MAX {
                    return Err(LogError::Broker(format!("{}: no whole batch at offset {from}", self.to)));
                }
                bytes_max = bytes_max.saturating_mul(3).min(READ_BACK_BYTES_MAX);
                continue;
            }
            if let Some(found) = batches.iter().find(|stored| wire::is_same(stored, sent)) {
                let (first, next) = (found.base_offset as u64, found.computed_last_offset() as u64);
                self.committed(link, next).await?;
                return Ok(Some(first));
            }
            match batches.last() {
                Some(last) => from = last.computed_last_offset() as u64,
                None => return Ok(None),
            }
        }
    }

    /// The SPU has no record at the acknowledged end: it has just started, or it lost acknowledged records.
    async fn behind(&self, link: &mut Link, below: &mut Retry, refused: ErrorCode) -> Result<(), LogError> {
        let end = self.cluster.offsets(link, &self.to).await?.end;
        let refused = LogError::Broker(format!("{}: {refused}", self.to));
        if end >= self.end {
            return Err(refused);
        }
        match below.after(refused, SETTLE).await {
            Err(LogError::Broker(_)) => Err(LogError::Truncated { partition: self.to.clone(), wanted: self.end, end }),
            other => other,
        }
    }

    /// Everything from `from` on, committed or not, that fits into `bytes_max`; nothing at the end.
    async fn fetch(
        &self,
        link: &mut Link,
        from: Offset,
        bytes_max: i32,
    ) -> Result<Result<Vec<FluvioBatch<RawRecords>>, ErrorCode>, LogError> {
        let partition = FetchPartition {
            partition_index: self.to.index,
            fetch_offset: from as i64,
            max_bytes: bytes_max,
            ..FetchPartition::default()
        };
        let topic = FetchableTopic { name: self.to.topic.to_string(), fetch_partitions: vec![partition] };
        let request = FetchRequest::<RecordSet<RawRecords>> {
            max_bytes: bytes_max,
            isolation_level: Isolation::ReadUncommitted,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let answer = link.call(request, self.cluster.config.request_limit).await;
        let answer = answer.map_err(|lost| LogError::Broker(format!("{}: {lost}", self.to)))?;
        let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let found = found.ok_or_else(|| LogError::Broker(format!("{}: empty answer to a fetch", self.to)))?;
        Ok(match found.error_code {
            ErrorCode::None => Ok(found.records.batches),
            code => Err(code),
        })
    }

    /// Waits until the records before `end` are committed.
    async fn committed(&self, link: &mut Link, end: Offset) -> Result<(), LogError> {
        let mut retry = Retry::new(self.cluster.config.request_limit, self.cluster.abandoned.clone());
        loop {
            let bounds = self.cluster.offsets(link, &self.to).await?;
            if bounds.end >= end {
                return Ok(());
            }
            let behind = LogError::Broker(format!("{}: committed up to {}, written up to {end}", self.to, bounds.end));
            retry.after(behind, Duration::ZERO).await?;
        }
    }
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
