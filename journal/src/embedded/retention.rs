//! Retention: moves the starts of partitions up and frees the segments in which nothing is kept.
//!
//! Topics share segments, so a segment goes once no topic keeps anything in it, the oldest first. Where a slow
//! topic keeps little in the oldest one, that little is written again at the end of the log ("carried"), so
//! that the slow topic does not pin what the others have long dropped. If the log is still over its bound,
//! the oldest segment goes with all it holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::disk::Disk;
use super::partition::PartitionState;
use super::queue::{CarryWork, Request, Work};
use super::reader::read_frames;
use super::room::{Freed, Spare};
use super::segment::{Held, Segment};
use super::shared::Shared;
use super::writer::now_ms;
use crate::error::LogError;
use crate::log::{Offset, Retention};

/// What the oldest segment keeps is carried when it is at most this part of it, or when the log as a whole is
/// mostly empty: so carrying costs at most as much as is freed.
const CARRY_SHARE: u64 = 8;
/// Nothing is carried in a log of fewer segments.
const CARRY_SEGMENTS_MIN: usize = 3;

/// The retention thread; ends when the other side of `stop` is dropped.
pub(super) fn run<D: Disk>(shared: &Arc<Shared<D>>, stop: &Receiver<()>) {
    while stop.recv_timeout(shared.config.retention_interval) == Err(RecvTimeoutError::Timeout) {
        if shared.check_writable().is_err() {
            continue;
        }
        if let Err(error) = sweep(shared, now_ms()) {
            tracing::warn!(%error, "retention could not run");
        }
    }
}

/// One round.
pub(super) fn sweep<D: Disk>(shared: &Arc<Shared<D>>, now_ms: u64) -> Result<(), LogError> {
    let rounds = shared.segments.all().len();
    for _ in 0..rounds {
        let starts = by_topic(shared, &shared.segments.all(), now_ms);
        move_starts(shared, &starts)?;
        free_dead(shared)?;
        if !carry_oldest(shared, now_ms)? {
            break;
        }
    }
    if let Some(starts) = by_total(shared, &shared.segments.all()) {
        move_starts(shared, &starts)?;
        free_dead(shared)?;
    }
    Ok(())
}

/// Writes the starts that move, by partition number, and waits until they are durable.
fn move_starts<D: Disk>(shared: &Shared<D>, starts: &[Offset]) -> Result<(), LogError> {
    let moves = |partition: &Arc<PartitionState>| {
        let start = *starts.get(partition.id as usize)?;
        (start > partition.start()).then(|| (Arc::clone(partition), start))
    };
    let moved: Vec<_> = shared.catalog().partitions.iter().filter_map(moves).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let (answer, answered) = oneshot::channel();
    shared.queue.push(Request { work: Work::Starts(moved), permits: 0, answer })?;
    answered.blocking_recv().map_err(|_| LogError::Closed)?.map(|_| ())
}

/// Waits until all that was done so far is durable, whatever the policy. The request through the queue makes
/// sure that the writer has left to the syncer what it has made visible.
fn settle<D: Disk>(shared: &Shared<D>) -> Result<(), LogError> {
    let (answer, answered) = oneshot::channel();
    shared.queue.push(Request { work: Work::Barrier, permits: 0, answer })?;
    answered.blocking_recv().map_err(|_| LogError::Closed)??;
    shared.syncer.force();
    shared.check_writable()
}

fn starts_now<D: Disk>(shared: &Shared<D>) -> Vec<Offset> {
    shared.catalog().partitions.iter().map(|partition| partition.start()).collect()
}

/// Where each partition would start by its topic's own bounds.
fn by_topic<D: Disk>(shared: &Shared<D>, segments: &[Arc<Segment<D::File>>], now_ms: u64) -> Vec<Offset> {
    let mut starts = starts_now(shared);
    let catalog = shared.catalog();
    for topic in catalog.topics.values() {
        for partition in &topic.partitions {
            let held = held_of(segments, partition.id);
            let start = &mut starts[partition.id as usize];
            let hold = partition.hold.load(Ordering::Acquire);
            *start = bounded(&held, *start, hold, topic.spec.retention, now_ms);
        }
    }
    starts
}

/// What the closed segments hold of a partition, oldest first.
fn held_of<F>(segments: &[Arc<Segment<F>>], partition: u32) -> Vec<Held> {
    let of_segment = |segment: &Arc<Segment<F>>| {
        let held = segment.closed.get()?;
        held.binary_search_by_key(&partition, |held| held.partition).ok().map(|at| held[at])
    };
    segments.iter().filter_map(of_segment).collect()
}

fn is_older(now_ms: u64, at_ms: u64, age: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) > age.as_millis()
}

fn bounded(held: &[Held], start: Offset, hold: Offset, retention: Retention, now_ms: u64) -> Offset {
    let kept = |held: &&Held| held.end > start;
    let mut bytes: u64 = held.iter().filter(kept).map(|held| held.bytes).sum();
    let mut start_now = start;
    for held in held.iter().filter(kept) {
        let too_many = retention.bytes.is_some_and(|most| bytes > most);
        let too_old =
            retention.age.is_some_and(|age| u128::from(now_ms.saturating_sub(held.newest_ms)) > age.as_millis());
        if (!too_many && !too_old) || held.end > hold {
            break;
        }
        bytes -= held.bytes;
        start_now = start_now.max(held.end);
    }
    start_now
}

/// Where partitions would start if the log is to be within its bound; `None` when it is.
fn by_total<D: Disk>(shared: &Shared<D>, segments: &[Arc<Segment<D::File>>]) -> Option<Vec<Offset>> {
    let most = shared.config.total_bytes?;
    let mut total: u64 = segments.iter().map(|segment| segment.capacity).sum();
    if total <= most {
        return None;
    }
    let mut starts = starts_now(shared);
    for segment in segments {
        let held = segment.closed.get().filter(|_| total > most);
        let Some(held) = held else { break };
        total -= segment.capacity;
        for held in held {
            let start = &mut starts[held.partition as usize];
            if held.end > *start {
                metrics::counter!("millrace_log_overflow_records_total").increment(held.end - *start);
                *start = held.end;
            }
        }
    }
    Some(starts)
}

/// Frees the oldest segments as long as nothing in them is kept.
fn free_dead<D: Disk>(shared: &Shared<D>) -> Result<(), LogError> {
    let mut forced = false;
    for segment in shared.segments.all() {
        let starts = starts_now(shared);
        let dead = |held: &Held| starts.get(held.partition as usize).is_some_and(|start| *start >= held.end);
        if !segment.closed.get().is_some_and(|held| held.iter().all(dead)) {
            return Ok(());
        }
        if !forced {
            // The starts, and the checkpoint of the segment that becomes the oldest, must be durable first.
            settle(shared)?;
            forced = true;
        }
        free(shared, segment)?;
    }
    Ok(())
}

/// Gives a segment's file back.
fn free<D: Disk>(shared: &Shared<D>, segment: Arc<Segment<D::File>>) -> Result<(), LogError> {
    shared.check_writable()?;
    let number = segment.number;
    for held in segment.closed.get().into_iter().flatten() {
        if let Some(partition) = shared.catalog().partitions.get(held.partition as usize) {
            partition.index().forget(number);
        }
    }
    shared.segments.remove(number);
    shared.room.free(match Arc::try_unwrap(segment) {
        Ok(segment) => Freed::Reusable(Spare { number, file: segment.file, capacity: segment.capacity }),
        Err(_) => Freed::Busy(number),
    });
    metrics::counter!("millrace_log_segments_freed_total").increment(1);
    Ok(())
}

/// Moves what the oldest segment still keeps to the end of the log, if it is little, and frees the segment.
/// Says whether it did.
fn carry_oldest<D: Disk>(shared: &Arc<Shared<D>>, now_ms: u64) -> Result<bool, LogError> {
    let segments = shared.segments.all();
    let Some(oldest) = segments.first().filter(|_| segments.len() >= CARRY_SEGMENTS_MIN) else { return Ok(false) };
    let Some(held) = oldest.closed.get() else { return Ok(false) };
    let mut starts = starts_now(shared);
    let live: Vec<_> = held.iter().filter(|held| held.end > starts[held.partition as usize]).collect();
    let little = live.iter().map(|held| held.bytes).sum::<u64>() <= oldest.capacity / CARRY_SHARE;
    if !little && !is_sparse(&segments, &starts) {
        return Ok(false);
    }
    let mut answers = Vec::new();
    for held in live {
        let (partition, age) = {
            let catalog = shared.catalog();
            let partition = Arc::clone(&catalog.partitions[held.partition as usize]);
            let topic = catalog.topics.get(&partition.name.topic);
            (partition, topic.and_then(|topic| topic.spec.retention.age))
        };
        let hold = partition.hold.load(Ordering::Acquire);
        for frame in frames_in(shared, &partition, oldest)? {
            let start = &mut starts[held.partition as usize];
            let end = frame.base + u64::from(frame.count);
            let too_old = age.is_some_and(|age| is_older(now_ms, frame.at_ms, age)) && end <= hold;
            if too_old && frame.base <= *start {
                *start = end;
                continue;
            }
            let (answer, answered) = oneshot::channel();
            shared.queue.push(Request { work: Work::Carry(frame), permits: 0, answer })?;
            answers.push(answered);
        }
    }
    for answered in answers {
        answered.blocking_recv().map_err(|_| LogError::Closed)??;
        metrics::counter!("millrace_log_carried_batches_total").increment(1);
    }
    move_starts(shared, &starts)?;
    settle(shared)?;
    let oldest = Arc::clone(oldest);
    drop(segments);
    free(shared, oldest)?;
    Ok(true)
}

/// Whether less than half of what the closed segments take is still kept.
fn is_sparse<F>(segments: &[Arc<Segment<F>>], starts: &[Offset]) -> bool {
    let closed = || segments.iter().filter_map(|segment| Some((segment.capacity, segment.closed.get()?)));
    let used: u64 = closed().map(|(capacity, _)| capacity).sum();
    let kept: u64 = closed()
        .flat_map(|(_, held)| held)
        .filter(|held| starts.get(held.partition as usize).is_some_and(|start| held.end > *start))
        .map(|held| held.bytes)
        .sum();
    kept < used / 2
}

/// The frames of a partition that only this segment holds, in the order of their offsets.
fn frames_in<D: Disk>(
    shared: &Shared<D>,
    partition: &Arc<PartitionState>,
    segment: &Segment<D::File>,
) -> Result<Vec<CarryWork>, LogError> {
    let start = partition.start();
    let stretches = partition.index().of_segment(segment.number, start);
    let mut frames = Vec::new();
    for stretch in stretches {
        frames.extend(read_frames(shared, partition, segment, &stretch)?);
    }
    // A crash may have ended an earlier carrying halfway: frames that are elsewhere already stay there.
    let index = partition.index();
    frames.retain(|frame| index.find(frame.base.max(start)).is_some_and(|found| found.segment == segment.number));
    drop(index);
    Ok(frames)
}
