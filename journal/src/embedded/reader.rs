//! Readers: from memory at the tail, from the segment files behind it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::disk::{Disk, read_full};
use super::format::{FRAME_HEADER, Frame, payload_crc, seed};
use super::index::Stretch;
use super::pack::{Stored, unpacked};
use super::partition::{PartitionState, Recent, unpack};
use super::queue::CarryWork;
use super::segment::Segment;
use super::shared::Shared;
use crate::batch::Record;
use crate::error::LogError;
use crate::log::{LogReader, Offset, Visibility};

/// Bytes given at once from memory, about.
const READ_BYTES: usize = 512 << 10;
/// Bytes given at once from the disk, about: what is packed there may be many times as large.
const GIVEN_BYTES: usize = 4 << 20;
/// How often a read is tried again when the records moved to another segment meanwhile.
const MOVES_MAX: u32 = 8;

/// Reads one partition.
pub(super) struct Reader<D: Disk> {
    shared: Arc<Shared<D>>,
    partition: Arc<PartitionState>,
    sees: Visibility,
    position: Offset,
    recent: Vec<Recent>,
}

impl<D: Disk> Reader<D> {
    /// A reader at `from`.
    pub(super) fn new(
        shared: Arc<Shared<D>>,
        partition: Arc<PartitionState>,
        from: Offset,
        sees: Visibility,
    ) -> Result<Self, LogError> {
        let end = partition.end(sees);
        if from > end {
            return Err(LogError::Truncated { partition: partition.name.clone(), wanted: from, end });
        }
        check_start(&partition, from)?;
        Ok(Self { shared, partition, sees, position: from, recent: Vec::new() })
    }

    /// Gives what is in memory; `false` when the position is no longer there.
    fn read_recent(&mut self, end: Offset, into: &mut Vec<Record>) -> bool {
        self.recent.clear();
        if !self.partition.recall(self.position, end, READ_BYTES, &mut self.recent) {
            return false;
        }
        for batch in self.recent.drain(..) {
            let batch_end = (batch.base + u64::from(batch.count)).min(end);
            let sound = unpack(batch.base, batch.count, &batch.payload, self.position, batch_end, into);
            debug_assert!(sound, "payloads are built by Batch");
            self.position = batch_end;
        }
        true
    }
}

fn check_start(partition: &PartitionState, wanted: Offset) -> Result<(), LogError> {
    let start = partition.start();
    if wanted < start {
        return Err(LogError::Trimmed { partition: partition.name.clone(), wanted, start });
    }
    Ok(())
}

#[async_trait]
impl<D: Disk> LogReader for Reader<D> {
    async fn read(&mut self, into: &mut Vec<Record>) -> Result<(), LogError> {
        loop {
            self.shared.check_open()?;
            check_start(&self.partition, self.position)?;
            let end = self.partition.end(self.sees);
            if self.position < end {
                if self.read_recent(end, into) {
                    return Ok(());
                }
                let (shared, partition, from) = (Arc::clone(&self.shared), Arc::clone(&self.partition), self.position);
                let records = tokio::task::spawn_blocking(move || read_disk(&shared, &partition, from, end))
                    .await
                    .map_err(|_| LogError::Closed)??;
                self.position += records.len() as u64;
                into.extend(records);
                return Ok(());
            }
            let woken = self.partition.signal(self.sees).notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.partition.end(self.sees) <= self.position && self.shared.check_open().is_ok() {
                woken.await;
            }
        }
    }

    fn position(&self) -> Offset {
        self.position
    }
}

/// Reads records from `from` on, up to `end`, out of one stretch of a segment.
pub(super) fn read_disk<D: Disk>(
    shared: &Shared<D>,
    partition: &PartitionState,
    from: Offset,
    end: Offset,
) -> Result<Vec<Record>, LogError> {
    for _ in 0..MOVES_MAX {
        check_start(partition, from)?;
        let stretch = partition.index().find(from);
        let Some(stretch) = stretch else { continue };
        let Some(segment) = shared.segments.get(stretch.segment) else { continue };
        let bytes = read_stretch(shared, &segment, &stretch)?;
        let mut records = Vec::new();
        let seed = seed(shared.seal, segment.number);
        let damage = parse(seed, partition.id, &bytes, from, end.min(stretch.end), &mut records);
        if !records.is_empty() {
            return Ok(records);
        }
        let (at, what) = damage.unwrap_or((bytes.len(), "records are missing"));
        return Err(LogError::Damaged {
            place: format!(
                "{} byte {}",
                shared.segment_path(segment.number).display(),
                u64::from(stretch.from) + at as u64
            ),
            what: format!("{what}, wanted offset {from} of {}", partition.name),
        });
    }
    check_start(partition, from)?;
    Err(LogError::Gap { partition: partition.name.clone(), from, to: end })
}

/// The whole frames of a partition in a stretch, checked; without those that are trimmed away.
pub(super) fn read_frames<D: Disk>(
    shared: &Shared<D>,
    partition: &Arc<PartitionState>,
    segment: &Segment<D::File>,
    stretch: &Stretch,
) -> Result<Vec<CarryWork>, LogError> {
    let bytes = read_stretch(shared, segment, stretch)?;
    let seed = seed(shared.seal, segment.number);
    let (mut at, mut next) = (0, stretch.base);
    let mut frames = Vec::new();
    while at < bytes.len() && next < stretch.end {
        let damaged = || LogError::Damaged {
            place: format!(
                "{} byte {}",
                shared.segment_path(segment.number).display(),
                u64::from(stretch.from) + at as u64
            ),
            what: format!("wanted offset {next} of {}", partition.name),
        };
        let frame = Frame::decode(seed, &bytes[at..]).ok_or_else(damaged)?;
        if frame.holds(partition.id, next) {
            let (_, payload) = Frame::decode_whole(seed, &bytes[at..]).ok_or_else(damaged)?;
            next = frame.end();
            if next > partition.start() {
                frames.push(CarryWork {
                    partition: Arc::clone(partition),
                    base: frame.base,
                    count: frame.count,
                    at_ms: frame.at_ms,
                    stored: Stored {
                        bytes: bytes.slice_ref(payload),
                        unpacked_len: frame.unpacked_len,
                        crc: frame.payload_crc,
                    },
                });
            }
        }
        at += frame.len();
    }
    Ok(frames)
}

fn read_stretch<D: Disk>(shared: &Shared<D>, segment: &Segment<D::File>, stretch: &Stretch) -> Result<Bytes, LogError> {
    let mut bytes = vec![0; (stretch.to - stretch.from) as usize];
    let count = read_full(&segment.file, &mut bytes, u64::from(stretch.from)).map_err(|error| LogError::Io {
        what: format!("reading {}", shared.segment_path(segment.number).display()),
        reason: error.to_string(),
    })?;
    bytes.truncate(count);
    Ok(bytes.into())
}

/// Takes the partition's records `from..end` out of a stretch. Returns where and how it is damaged, if it is.
fn parse(
    seed: u32,
    partition: u32,
    bytes: &Bytes,
    from: Offset,
    end: Offset,
    into: &mut Vec<Record>,
) -> Option<(usize, &'static str)> {
    let (mut at, mut next, mut given) = (0, from, 0);
    while at < bytes.len() && next < end && given < GIVEN_BYTES {
        let Some(frame) = Frame::decode(seed, &bytes[at..]) else {
            return Some((at, "no valid frame"));
        };
        if frame.holds(partition, next) {
            let payload_at = at + FRAME_HEADER;
            let payload_end = payload_at + frame.payload_len as usize;
            if payload_end > bytes.len() {
                return Some((at, "frame is cut"));
            }
            let payload = bytes.slice(payload_at..payload_end);
            let last = frame.end().min(end);
            if payload_crc(&payload) != frame.payload_crc {
                return Some((at, "checksum of the records does not match"));
            }
            let Some(payload) = unpacked(payload, frame.unpacked_len) else {
                return Some((at, "records cannot be unpacked"));
            };
            given += payload.len();
            if !unpack(frame.base, frame.count, &payload, next, last, into) {
                return Some((at, "table of the records makes no sense"));
            }
            next = last;
        }
        at += frame.len();
    }
    None
}
