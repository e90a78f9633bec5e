//! The writer thread: packs what waits into one write, publishes it to readers and leaves it to the syncer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::catalog::encode_spec;
use super::config::SyncPolicy;
use super::disk::{Disk, write_all};
use super::format::{FRAME_HEADER, Frame, Kind, SEGMENT_HEADER, SegmentHeader, frame_len, seed};
use super::index::Place;
use super::pack::Stored;
use super::partition::{PartitionState, Recent};
use super::queue::{Answer, AppendWork, CarryWork, Request, Work};
use super::segment::{Segment, Tally, slack, usable};
use super::shared::Shared;
use super::syncer::{Pending, acknowledge};
use crate::error::LogError;
use crate::log::{Offset, TopicSpec};

/// Bytes written at once, about.
const GROUP_BYTES: usize = 4 << 20;

/// Where the writer goes on.
#[derive(Debug)]
pub(super) struct Position<F> {
    /// The segment; `None` in a log without any.
    pub segment: Option<Arc<Segment<F>>>,
    /// Byte position in it.
    pub at: u64,
    /// Number of the next frame.
    pub seq: u64,
    /// What the segment holds so far.
    pub tally: Tally,
}

/// The writer thread's own.
pub(super) struct Writer<D: Disk> {
    shared: Arc<Shared<D>>,
    position: Position<D::File>,
    seed: u32,
    buffer: Vec<u8>,
    staged: Vec<Staged>,
    pending: Vec<Pending>,
    remembered: VecDeque<(Arc<PartitionState>, usize)>,
    remembered_bytes: usize,
}

/// A frame in the buffer, and what becomes true once it is written.
struct Staged {
    effect: Effect,
    place: (u64, usize),
    offset: Offset,
    answer: Answer,
    permits: u32,
}

/// Effect, place in the segment and what is answered.
type Done = (Effect, (u64, usize), Offset);

enum Effect {
    None,
    Records { partition: Arc<PartitionState>, base: u64, count: u32, at_ms: u64, payload: Bytes, memory: usize },
    Starts(Vec<(Arc<PartitionState>, Offset)>),
    Carried { partition: Arc<PartitionState>, base: u64, end: u64, at_ms: u64 },
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(shared: Arc<Shared<D>>, position: Position<D::File>) -> Self {
        let seed = position.segment.as_ref().map_or(0, |segment| seed(shared.seal, segment.number));
        Self {
            shared,
            position,
            seed,
            buffer: Vec::new(),
            staged: Vec::new(),
            pending: Vec::new(),
            remembered: VecDeque::new(),
            remembered_bytes: 0,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut requests = Vec::new();
        while self.shared.queue.take(&mut requests) {
            let now_ms = now_ms();
            for request in requests.drain(..) {
                self.stage(request, now_ms);
                if self.buffer.len() >= GROUP_BYTES {
                    self.flush();
                }
            }
            self.flush();
        }
        self.seal();
    }

    fn stage(&mut self, request: Request, now_ms: u64) {
        let Request { work, permits, answer } = request;
        if let Work::Batch(append) = &work {
            let bytes = frame_len(append.stored.bytes.len()) as u64;
            self.shared.queue.unwritten.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let Some(reason) = self.shared.poisoned() {
            return self.refuse(answer, permits, LogError::Poisoned(reason));
        }
        let staged = match work {
            Work::Batch(append) => self.stage_batch(append, now_ms),
            Work::Topic(spec) => self.stage_topic(&spec, now_ms),
            Work::Starts(starts) => self.stage_starts(starts, now_ms),
            Work::Carry(carry) => self.stage_carry(&carry),
            Work::Barrier => Ok((Effect::None, (0, 0), 0)),
        };
        match staged {
            Ok((effect, place, offset)) => self.staged.push(Staged { effect, place, offset, answer, permits }),
            Err(error) => self.refuse(answer, permits, error),
        }
    }

    fn refuse(&self, answer: Answer, permits: u32, error: LogError) {
        let _ = answer.send(Err(error));
        self.shared.queue.release(permits);
    }

    fn stage_batch(&mut self, work: AppendWork, now_ms: u64) -> Result<Done, LogError> {
        let AppendWork { partition, failed, count, payload, stored, memory } = work;
        if failed.load(Ordering::Relaxed) {
            return Err(LogError::AppenderFailed(partition.name.clone()));
        }
        let base = partition.next.load(Ordering::Relaxed);
        if count == 0 {
            return Ok((Effect::None, (0, 0), base));
        }
        let head = Head { kind: Kind::Records, partition: partition.id, base, count, at_ms: now_ms };
        let place = self.frame(head, &stored).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        partition.next.store(base + u64::from(count), Ordering::Relaxed);
        Ok((Effect::Records { partition, base, count, at_ms: now_ms, payload, memory }, place, base))
    }

    fn stage_topic(&mut self, spec: &TopicSpec, now_ms: u64) -> Result<Done, LogError> {
        let shared = Arc::clone(&self.shared);
        if shared.catalog().lacks(spec)? {
            let mut payload = Vec::new();
            encode_spec(spec, &mut payload);
            self.control(Kind::Topic, &payload, now_ms)?;
            shared.catalog_mut().apply(spec);
        }
        Ok((Effect::None, (0, 0), 0))
    }

    fn stage_starts(&mut self, starts: Vec<(Arc<PartitionState>, Offset)>, now_ms: u64) -> Result<Done, LogError> {
        let mut payload = Vec::new();
        for (partition, start) in &starts {
            payload.extend_from_slice(&partition.id.to_le_bytes());
            payload.extend_from_slice(&start.to_le_bytes());
        }
        self.control(Kind::Starts, &payload, now_ms)?;
        Ok((Effect::Starts(starts), (0, 0), 0))
    }

    fn stage_carry(&mut self, carry: &CarryWork) -> Result<Done, LogError> {
        let CarryWork { partition, base, count, at_ms, stored } = carry;
        let head = Head { kind: Kind::Carried, partition: partition.id, base: *base, count: *count, at_ms: *at_ms };
        let place = self.frame(head, stored)?;
        let end = base + u64::from(*count);
        let effect = Effect::Carried { partition: Arc::clone(partition), base: *base, end, at_ms: *at_ms };
        Ok((effect, place, *base))
    }

    fn control(&mut self, kind: Kind, payload: &[u8], at_ms: u64) -> Result<(), LogError> {
        let head = Head { kind, partition: 0, base: 0, count: 0, at_ms };
        self.frame(head, &Stored::plain(Bytes::copy_from_slice(payload))).map(|_| ())
    }

    /// Puts a frame into the buffer, in the next segment where this one has no room. Returns its place.
    fn frame(&mut self, head: Head, stored: &Stored) -> Result<(u64, usize), LogError> {
        let len = frame_len(stored.bytes.len());
        // What frees room must still fit when records no longer do.
        let keeps_slack = matches!(head.kind, Kind::Records | Kind::Carried);
        let fits = |segment: &Arc<Segment<D::File>>| {
            let limit = segment.capacity - if keeps_slack { slack(segment.capacity) } else { 0 };
            self.position.at + (self.buffer.len() + len) as u64 <= limit
        };
        if !self.position.segment.as_ref().is_some_and(fits) {
            self.roll(len, head.at_ms)?;
        }
        let at = self.position.at + self.buffer.len() as u64;
        self.encode(head, stored);
        Ok((at, len))
    }

    fn encode(&mut self, head: Head, stored: &Stored) {
        let frame = Frame {
            kind: head.kind,
            seq: self.position.seq,
            durable: self.shared.durable_seq.load(Ordering::Acquire),
            base: head.base,
            at_ms: head.at_ms,
            payload_len: stored.bytes.len() as u32,
            payload_crc: stored.crc,
            unpacked_len: stored.unpacked_len,
            partition: head.partition,
            count: head.count,
        };
        frame.encode(self.seed, &stored.bytes, &mut self.buffer);
        self.position.seq += 1;
    }

    /// Goes on in the next segment: its header and a checkpoint, so that older segments are not needed to
    /// know what there is.
    fn roll(&mut self, need: usize, now_ms: u64) -> Result<(), LogError> {
        self.flush();
        if let Some(reason) = self.shared.poisoned() {
            return Err(LogError::Poisoned(reason));
        }
        let mut checkpoint = Vec::new();
        self.shared.catalog().encode(&mut checkpoint);
        let whole = SEGMENT_HEADER + frame_len(checkpoint.len()) + need;
        let whole = whole as u64 + slack(whole as u64);
        let spare = self.shared.room.take(whole)?;
        if let Some(full) = self.position.segment.take() {
            let _ = full.closed.set(self.position.tally.take());
        }
        let segment = Arc::new(Segment {
            number: spare.number,
            file: spare.file,
            capacity: spare.capacity,
            used: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            closed: std::sync::OnceLock::new(),
        });
        self.shared.segments.insert(Arc::clone(&segment));
        self.seed = seed(self.shared.seal, segment.number);
        self.position.at = 0;
        let header = SegmentHeader { seal: self.shared.seal, segment: segment.number, first_seq: self.position.seq };
        header.encode(&mut self.buffer);
        self.position.segment = Some(segment);
        let head = Head { kind: Kind::Checkpoint, partition: 0, base: 0, count: 0, at_ms: now_ms };
        self.encode(head, &Stored::plain(checkpoint.into()));
        Ok(())
    }

    /// Writes the buffer, publishes what was staged and leaves the answers to the syncer.
    fn flush(&mut self) {
        if self.staged.is_empty() && self.buffer.is_empty() {
            return;
        }
        if !self.buffer.is_empty() {
            let segment = self.position.segment.as_ref().expect("the buffer belongs to a segment");
            let begun = Instant::now();
            if let Err(error) = write_all(&segment.file, &self.buffer, self.position.at) {
                let path = self.shared.segment_path(segment.number);
                self.shared.poison(format!("{}: {error}", path.display()));
                self.buffer.clear();
                for staged in std::mem::take(&mut self.staged) {
                    let reason = self.shared.poisoned().unwrap_or_default();
                    self.refuse(staged.answer, staged.permits, LogError::Poisoned(reason));
                }
                return;
            }
            metrics::histogram!("millrace_log_write_seconds").record(begun.elapsed().as_secs_f64());
            let bytes = self.buffer.len() as u64;
            self.position.at += bytes;
            segment.used.store(self.position.at, Ordering::Release);
            let left = usable(segment.capacity).saturating_sub(self.position.at);
            self.shared.room.current_left.store(left, Ordering::Relaxed);
            metrics::counter!("millrace_log_written_bytes_total").increment(bytes);
            self.shared.room.written.fetch_add(bytes, Ordering::Relaxed);
        }
        self.publish();
        self.hand_over();
        self.buffer.clear();
        self.evict();
    }

    /// Makes what was staged visible to readers of written records.
    fn publish(&mut self) {
        let number = self.position.segment.as_ref().map_or(0, |segment| segment.number);
        for staged in self.staged.drain(..) {
            let (at, len) = staged.place;
            let place = Place { segment: number, at: at as u32, len: len as u32 };
            let mut advance = None;
            match staged.effect {
                Effect::None => {}
                Effect::Records { partition, base, count, at_ms, payload, memory } => {
                    let end = base + u64::from(count);
                    partition.index().push(base, end, place);
                    self.position.tally.count(partition.id, end, len as u64, at_ms);
                    partition.remember(Recent { base, count, payload });
                    self.remembered_bytes += memory;
                    self.remembered.push_back((Arc::clone(&partition), memory));
                    partition.written.store(end, Ordering::Release);
                    partition.on_written.notify_waiters();
                    advance = Some((partition, end));
                }
                Effect::Starts(starts) => {
                    for (partition, start) in starts {
                        partition.start.fetch_max(start, Ordering::AcqRel);
                        partition.index().trim(start);
                    }
                }
                Effect::Carried { partition, base, end, at_ms } => {
                    partition.index().relocate(base, end, place);
                    self.position.tally.count(partition.id, end, len as u64, at_ms);
                }
            }
            self.pending.push(Pending {
                advance,
                offset: staged.offset,
                answer: staged.answer,
                permits: staged.permits,
            });
        }
    }

    fn hand_over(&mut self) {
        if self.shared.config.sync != SyncPolicy::EveryBatch {
            acknowledge(&self.shared, &mut self.pending);
        }
        match &self.position.segment {
            Some(segment) if !self.buffer.is_empty() => {
                self.shared.syncer.add(&mut self.pending, segment, self.position.at, self.position.seq);
            }
            _ => self.shared.syncer.add_answers(&mut self.pending),
        }
    }

    fn evict(&mut self) {
        while self.remembered_bytes > self.shared.config.cache_bytes
            && let Some((partition, bytes)) = self.remembered.pop_front()
        {
            partition.forget_oldest();
            self.remembered_bytes -= bytes;
        }
    }

    /// Ends a log that is closed in good order: whatever is damaged before this frame was acknowledged.
    fn seal(&mut self) {
        if self.shared.poisoned().is_some() {
            return;
        }
        let Some(segment) = &self.position.segment else { return };
        // The seal says that everything before it is durable, so that has to be true first.
        self.shared.syncer.force();
        if self.shared.poisoned().is_none() && self.position.at + FRAME_HEADER as u64 <= segment.capacity {
            let head = Head { kind: Kind::Seal, partition: 0, base: 0, count: 0, at_ms: now_ms() };
            self.encode(head, &Stored::plain(Bytes::new()));
            self.flush();
        }
    }
}

/// What the writer says of a frame; the rest follows from where it is written.
struct Head {
    kind: Kind,
    partition: u32,
    base: u64,
    count: u32,
    at_ms: u64,
}

/// Unix milliseconds now.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
