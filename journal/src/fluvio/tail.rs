//! Follows one partition without missing an offset.
//!
//! An SPU streams what follows the offset that the consumer confirmed last, cut off at a number of bytes,
//! wherever in a batch that falls. The published client takes the cut batch for whole and confirms the end of
//! the log, so the rest never comes. Here a cut batch is put aside, what came whole is confirmed, and the SPU
//! sends the cut one again. Every offset is checked all the same: at one that does not follow, the stream is
//! opened anew at the first missing record, and a gap that stays is an error.

use std::sync::Arc;
use std::time::Duration;

use fluvio::Isolation;
use fluvio::dataplane::record::{RawRecords, RecordSet};
use fluvio_spu_schema::errors::ErrorCode;
use fluvio_spu_schema::server::fetch_offset::{FetchOffsetsRequest, FetchOffsetsResponse};
use fluvio_spu_schema::server::stream_fetch::{DefaultStreamFetchRequest, DefaultStreamFetchResponse};
use fluvio_spu_schema::server::update_offset::{OffsetUpdate, UpdateOffsetsRequest};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cluster::{Cluster, Struggle};
use super::leader::{self, FETCH_BYTES, FETCH_BYTES_MAX};
use super::link::{Frame, Link, LinkLost, Pending};
use super::reader::Chunk;
use super::retry::Retry;
use super::wire;
use crate::batch::Record;
use crate::error::LogError;
use crate::log::{Offset, Partition, Visibility};

/// Bytes of keys and values handed over at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Silence after which the SPU is asked for the end of the log, to tell a quiet partition from a dead stream.
const SILENCE: Duration = Duration::from_secs(2);
/// Answers that show an end past ours while nothing comes, before the stream is opened anew.
const STALLED_PROBES: u32 = 2;
/// Times that the stream is opened anew at one missing offset.
const GAP_ATTEMPTS: u32 = 4;

/// The task behind a reader.
pub(super) struct Tail {
    cluster: Arc<Cluster>,
    of: Partition,
    sees: Visibility,
    /// Offset of the next record to hand over.
    position: Offset,
    fetch_bytes: i32,
    chunks: mpsc::Sender<Chunk>,
    struggle: Struggle,
}

/// Why a stream ended.
enum End {
    /// Nobody reads any more.
    Unwanted,
    /// It can be opened anew, after a pause.
    Lost(LogError),
    /// It is opened anew at once: a batch did not fit.
    TooSmall,
    /// An offset did not follow.
    Gap { to: Offset },
    /// The log ends before the position; that may pass within `patience`.
    Behind { end: Offset, patience: Duration },
    /// It cannot go on.
    Fatal(LogError),
}

impl From<LinkLost> for End {
    fn from(lost: LinkLost) -> Self {
        Self::Lost(LogError::Broker(lost.to_string()))
    }
}

impl From<LogError> for End {
    fn from(error: LogError) -> Self {
        if error.is_transient() { Self::Lost(error) } else { Self::Fatal(error) }
    }
}

/// An open stream.
struct Stream {
    link: Link,
    isolation: Isolation,
    request: Pending,
    /// Name of the stream at the SPU, known from its first answer on.
    session: Option<u32>,
    /// The question for the end of the log, while it is open.
    probe: Option<Pending>,
    stalled_probes: u32,
}

impl Tail {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        of: Partition,
        position: Offset,
        sees: Visibility,
        chunks: mpsc::Sender<Chunk>,
    ) -> Self {
        let struggle = Struggle::new(cluster.clone());
        Self { cluster, of, sees, position, fetch_bytes: FETCH_BYTES, chunks, struggle }
    }

    /// Hands over records until nobody wants them, the log closes or an error is final.
    pub(super) async fn run(mut self) {
        let closing = self.cluster.closing.clone();
        let followed = tokio::select! {
            followed = self.follow() => followed,
            () = closing.cancelled() => Err(LogError::Closed),
        };
        if let Err(error) = followed {
            let _ = self.chunks.send(Err(error)).await;
        }
    }

    async fn follow(&mut self) -> Result<(), LogError> {
        let mut away = Retry::new(self.cluster.config.outage_limit, self.cluster.closing.clone());
        let mut below: Option<Retry> = None;
        let mut gaps = 0;
        loop {
            let before = self.position;
            let end = self.stream().await;
            if self.position > before {
                away.worked();
                below = None;
                gaps = 0;
            }
            match end {
                End::Unwanted => return Ok(()),
                End::Fatal(error) => return Err(error),
                End::TooSmall => self.grow()?,
                End::Lost(error) => {
                    self.reopen("lost", &error);
                    away.after(error, Duration::ZERO).await?;
                }
                End::Behind { end, patience } => {
                    let wanted = self.position;
                    let error = LogError::Broker(format!("{} ends at {end}, position is {wanted}", self.of));
                    self.reopen("behind", &error);
                    let below = below.get_or_insert_with(|| Retry::new(patience, self.cluster.closing.clone()));
                    match below.after(error, Duration::from_millis(100)).await {
                        Err(LogError::Broker(_)) => {
                            return Err(LogError::Truncated { partition: self.of.clone(), wanted, end });
                        }
                        other => other?,
                    }
                }
                End::Gap { to } => {
                    gaps += 1;
                    let gap = LogError::Gap { partition: self.of.clone(), from: self.position, to };
                    self.reopen("gap", &gap);
                    if gaps > GAP_ATTEMPTS {
                        return Err(gap);
                    }
                    let again = LogError::Broker(gap.to_string());
                    away.after(again, Duration::ZERO).await?;
                }
            }
        }
    }

    fn reopen(&mut self, why: &'static str, error: &LogError) {
        metrics::counter!("millrace_log_fluvio_reopened_total", "why" => why).increment(1);
        if self.struggle.tell(error) {
            tracing::warn!(partition = %self.of, position = self.position, why, %error, "stream opened anew");
        } else {
            tracing::debug!(partition = %self.of, position = self.position, why, %error, "stream opened anew");
        }
    }

    /// Asks for more at a time: a batch is larger than one answer.
    fn grow(&mut self) -> Result<(), LogError> {
        if self.fetch_bytes >= FETCH_BYTES_MAX {
            return Err(LogError::Damaged {
                place: format!("{} offset {}", self.of, self.position),
                what: format!("no whole batch within {FETCH_BYTES_MAX} bytes"),
            });
        }
        self.fetch_bytes = self.fetch_bytes.saturating_mul(3).min(FETCH_BYTES_MAX);
        Ok(())
    }

    /// Opens a stream at the position and follows it to its end.
    async fn stream(&mut self) -> End {
        match self.open().await {
            Ok(stream) => match self.receive(stream).await {
                Ok(never) => match never {},
                Err(end) => end,
            },
            Err(end) => end,
        }
    }

    async fn open(&mut self) -> Result<Stream, End> {
        metrics::counter!("millrace_log_fluvio_connections_total", "for" => "read").increment(1);
        let mut leader = self.cluster.open(&self.of).await?;
        let bounds = leader.bounds(self.sees).await.inspect_err(|_| self.cluster.forget(&self.of))?;
        if self.position < bounds.start {
            return Err(self.trimmed(bounds.start));
        }
        if self.position > bounds.end {
            return Err(End::Behind { end: bounds.end, patience: leader.patience() });
        }
        let isolation = leader.isolation(self.sees);
        let mut link = leader.link;
        let mut request = DefaultStreamFetchRequest::default();
        request.topic = self.of.topic.to_string();
        request.partition = self.of.index;
        request.fetch_offset = self.position as i64;
        request.max_bytes = self.fetch_bytes;
        request.isolation = isolation;
        let request = link.send(request, self.cluster.config.request_limit).await?;
        Ok(Stream { link, isolation, request, session: None, probe: None, stalled_probes: 0 })
    }

    async fn receive(&mut self, mut stream: Stream) -> Result<std::convert::Infallible, End> {
        loop {
            // An answer may take a while on a slow line: once asked, the SPU has the usual time.
            let limit = if stream.probe.is_some() { self.cluster.config.request_limit } else { SILENCE };
            match timeout(limit, stream.link.frame()).await {
                Ok(frame) => self.frame(&mut stream, frame?).await?,
                Err(_) if stream.probe.is_some() => {
                    return Err(LinkLost::new(format!("{}: the SPU is silent", self.of)).into());
                }
                Err(_) => {
                    let probe = FetchOffsetsRequest::new(self.of.topic.to_string(), self.of.index);
                    stream.probe = Some(stream.link.send(probe, self.cluster.config.request_limit).await?);
                }
            }
        }
    }

    async fn frame(&mut self, stream: &mut Stream, frame: Frame) -> Result<(), End> {
        if frame.id == stream.request.id {
            stream.stalled_probes = 0;
            let response = frame.decode::<DefaultStreamFetchRequest>(stream.request)?;
            return self.records(stream, response).await;
        }
        if let Some(probe) = stream.probe.take_if(|probe| probe.id == frame.id) {
            return self.probed(stream, frame.decode::<FetchOffsetsRequest>(probe)?);
        }
        // The answer to a confirmation: that the stream goes on is the better one.
        Ok(())
    }

    /// The partition is silent: is there nothing, or does it not come?
    fn probed(&mut self, stream: &mut Stream, answer: FetchOffsetsResponse) -> Result<(), End> {
        let end = leader::watermark(answer).map_err(|reason| LinkLost::new(format!("{}: {reason}", self.of)))?.end;
        if end < self.position && stream.isolation == Isolation::ReadCommitted {
            return Err(LinkLost::new(format!("{}: the log ends at {end} for the moment", self.of)).into());
        }
        if end <= self.position {
            stream.stalled_probes = 0;
            self.struggle.over();
            return Ok(());
        }
        stream.stalled_probes += 1;
        if stream.stalled_probes < STALLED_PROBES {
            return Ok(());
        }
        Err(LinkLost::new(format!("{}: stream stands at {}, the log ends at {end}", self.of, self.position)).into())
    }

    /// Takes what came whole, confirms it and hands it over.
    async fn records(&mut self, stream: &mut Stream, response: DefaultStreamFetchResponse) -> Result<(), End> {
        let session = *stream.session.get_or_insert(response.stream_id);
        let error = response.partition.error_code.clone();
        let received = self.unpack(response.partition.records)?;
        let progressed = received.next > self.position;
        if progressed {
            let update = OffsetUpdate { offset: received.next as i64, session_id: session };
            let confirm = UpdateOffsetsRequest { offsets: vec![update] };
            stream.link.send(confirm, self.cluster.config.request_limit).await?;
            self.struggle.over();
        }
        self.hand_over(received.records).await?;
        if let Some(to) = received.gap {
            return Err(End::Gap { to });
        }
        match error {
            ErrorCode::None if progressed || !received.cut => Ok(()),
            ErrorCode::None => Err(End::TooSmall),
            ErrorCode::OffsetEvicted { next_available, .. } => {
                Err(self.trimmed(u64::try_from(next_available).unwrap_or(self.position)))
            }
            ErrorCode::TopicDeleted => Err(LogError::UnknownPartition(self.of.clone()).into()),
            code => {
                self.cluster.forget(&self.of);
                Err(End::Lost(LogError::Broker(format!("{}: {code}", self.of))))
            }
        }
    }

    fn unpack(&self, records: RecordSet<RawRecords>) -> Result<Received, End> {
        let (batches, cut) = wire::whole(records.batches);
        if cut {
            metrics::counter!("millrace_log_fluvio_cut_batches_total").increment(1);
        }
        let mut received = Received { records: Vec::new(), next: self.position, cut, gap: None };
        for batch in batches {
            let (base, next) = (batch.base_offset.max(0) as u64, batch.computed_last_offset().max(0) as u64);
            if next <= received.next {
                continue;
            }
            if base > received.next {
                received.gap = Some(base);
                break;
            }
            wire::unpack(&batch, received.next, &mut received.records).map_err(|damage| LogError::Damaged {
                place: format!("{} offset {base}", self.of),
                what: damage.to_string(),
            })?;
            received.next = next;
        }
        Ok(received)
    }

    /// Passes records on in chunks, waiting for the reader.
    async fn hand_over(&mut self, records: Vec<Record>) -> Result<(), End> {
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let mut bytes = 0;
            let mut chunk = Vec::new();
            while let Some(record) = records.next_if(|_| bytes < CHUNK_BYTES) {
                bytes += record.key.len() + record.value.len();
                chunk.push(record);
            }
            let next = self.position + chunk.len() as u64;
            self.chunks.send(Ok(chunk)).await.map_err(|_| End::Unwanted)?;
            self.position = next;
            if self.sees == Visibility::Durable {
                self.cluster.know(&self.of, next);
            }
        }
        Ok(())
    }

    fn trimmed(&self, start: Offset) -> End {
        End::Fatal(LogError::Trimmed { partition: self.of.clone(), wanted: self.position, start })
    }
}

/// What one answer contained, from the position on.
struct Received {
    records: Vec<Record>,
    /// Offset after the last of them.
    next: Offset,
    cut: bool,
    /// Where it went on instead.
    gap: Option<Offset>,
}
