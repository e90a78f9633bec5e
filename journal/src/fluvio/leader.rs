//! What is asked of the SPU that leads a partition.
//!
//! Fluvio tells two ends: the high watermark, up to which every replica that has to has the records, and the
//! log end, up to which the leader has them. On a partition with one copy they mean the same, but the SPU
//! stores the watermark apart from the records: killed between the two writes it comes back with a watermark
//! below its log end, below acknowledged records even, and stays so until the next write (seen: for as long as
//! nothing was written). So a lone leader is taken at its log end, and only a replicated one at its watermark.

use std::time::Duration;

use fluvio::Isolation;
use fluvio::dataplane::record::{Batch as FluvioBatch, RawRecords, RecordSet};
use fluvio_spu_schema::errors::ErrorCode;
use fluvio_spu_schema::fetch::{FetchPartition, FetchRequest, FetchableTopic};
use fluvio_spu_schema::server::fetch_offset::{FetchOffsetsRequest, FetchOffsetsResponse};

use super::link::{Link, LinkLost};
use super::wire;
use crate::error::LogError;
use crate::log::{Bounds, Offset, Partition, Visibility};

/// Bytes asked for at first; more when one batch does not fit.
pub(super) const FETCH_BYTES: i32 = 4 << 20;
/// The largest batch an SPU takes, and its header.
pub(super) const FETCH_BYTES_MAX: i32 = 34 << 20;

/// After a restart the end of a replicated partition may lie below acknowledged offsets for a moment. Only when
/// it is still there after this long is the log taken for truncated.
const TRUNCATION_PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the SPU that leads a partition.
pub(super) struct Leader {
    pub(super) link: Link,
    of: Partition,
    alone: bool,
    limit: Duration,
}

impl Leader {
    pub(super) fn new(link: Link, of: Partition, alone: bool, limit: Duration) -> Self {
        Self { link, of, alone, limit }
    }

    /// What a reader asks for so that it sees what it may see.
    pub(super) fn isolation(&self, sees: Visibility) -> Isolation {
        match sees {
            Visibility::Durable if !self.alone => Isolation::ReadCommitted,
            Visibility::Durable | Visibility::Written => Isolation::ReadUncommitted,
        }
    }

    /// How long an end that lies below a known one may be a passing thing. A lone leader knows its end; a
    /// replicated one finds it again as its followers report.
    pub(super) fn patience(&self) -> Duration {
        if self.alone { Duration::ZERO } else { TRUNCATION_PATIENCE }
    }

    /// Start and end of what may be seen.
    pub(super) async fn bounds(&mut self, sees: Visibility) -> Result<Bounds, LogError> {
        let request = FetchOffsetsRequest::new(self.of.topic.to_string(), self.of.index);
        let answer = self.link.call(request, self.limit).await.map_err(|lost| self.lost(&lost))?;
        let bounds = watermark(answer).map_err(|reason| self.broker(reason))?;
        if self.isolation(sees) == Isolation::ReadCommitted {
            return Ok(bounds);
        }
        let mut end = bounds.end;
        self.walk(bounds.end, |batch| {
            end = batch.computed_last_offset() as u64;
            false
        })
        .await?;
        Ok(Bounds { start: bounds.start, end })
    }

    /// Shows every batch from `from` on, committed or not, to `found` until that says it is the one or none is
    /// left; gives back the one.
    pub(super) async fn walk(
        &mut self,
        mut from: Offset,
        mut found: impl FnMut(&FluvioBatch<RawRecords>) -> bool,
    ) -> Result<Option<FluvioBatch<RawRecords>>, LogError> {
        let mut bytes_max = FETCH_BYTES;
        loop {
            let (batches, cut) = wire::whole(self.fetch(from, bytes_max).await?);
            if batches.is_empty() && cut {
                if bytes_max >= FETCH_BYTES_MAX {
                    return Err(self.broker(format!("no whole batch at offset {from}")));
                }
                bytes_max = bytes_max.saturating_mul(3).min(FETCH_BYTES_MAX);
                continue;
            }
            let Some(next) = batches.last().map(FluvioBatch::computed_last_offset) else {
                return Ok(None);
            };
            if let Some(one) = batches.into_iter().find(|batch| found(batch)) {
                return Ok(Some(one));
            }
            from = next as u64;
        }
    }

    /// Everything from `from` on that fits into `bytes_max`; nothing at the end.
    async fn fetch(&mut self, from: Offset, bytes_max: i32) -> Result<Vec<FluvioBatch<RawRecords>>, LogError> {
        let partition = FetchPartition {
            partition_index: self.of.index,
            fetch_offset: from as i64,
            max_bytes: bytes_max,
            ..FetchPartition::default()
        };
        let topic = FetchableTopic { name: self.of.topic.to_string(), fetch_partitions: vec![partition] };
        let request = FetchRequest::<RecordSet<RawRecords>> {
            max_bytes: bytes_max,
            isolation_level: Isolation::ReadUncommitted,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let answer = self.link.call(request, self.limit).await.map_err(|lost| self.lost(&lost))?;
        let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let found = found.ok_or_else(|| self.broker("empty answer to a fetch"))?;
        match found.error_code {
            ErrorCode::None => Ok(found.records.batches),
            code => Err(self.broker(code)),
        }
    }

    fn lost(&self, lost: &LinkLost) -> LogError {
        self.broker(lost)
    }

    fn broker(&self, reason: impl std::fmt::Display) -> LogError {
        LogError::Broker(format!("{}: {reason}", self.of))
    }
}

/// Start and high watermark of the one partition asked about.
pub(super) fn watermark(answer: FetchOffsetsResponse) -> Result<Bounds, String> {
    let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let found = found.ok_or("no offsets in the answer")?;
    if found.error_code != ErrorCode::None {
        return Err(found.error_code.to_string());
    }
    let negative = |_| "negative offsets in the answer".to_owned();
    let start = u64::try_from(found.start_offset).map_err(negative)?;
    let end = u64::try_from(found.last_stable_offset).map_err(negative)?;
    // A start past the watermark is one of the log end.
    Ok(Bounds { start, end: end.max(start) })
}
