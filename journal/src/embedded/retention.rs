//! Retention: moves the starts of partitions up and frees the segments in which nothing is kept.
//!
//! Topics share segments, so a segment goes once no topic keeps anything in it. Starts move by whole segments
//! (except by `trim`), the oldest first.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use tokio::sync::oneshot;

use super::disk::Disk;
use super::partition::PartitionState;
use super::queue::{Request, Work};
use super::room::{Freed, Spare};
use super::segment::{Held, Segment};
use super::shared::Shared;
use super::writer::now_ms;
use crate::error::LogError;
use crate::log::{Offset, Retention};

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
    let segments = shared.segments.all();
    let mut starts = by_topic(shared, &segments, now_ms);
    by_total(shared, &segments, &mut starts);
    let moved: Vec<_> = shared
        .catalog()
        .partitions
        .iter()
        .filter_map(|partition| {
            let start = *starts.get(partition.id as usize)?;
            (start > partition.start()).then(|| (Arc::clone(partition), start))
        })
        .collect();
    if !moved.is_empty() {
        move_starts(shared, moved)?;
    }
    free_dead(shared, segments)
}

/// Writes new starts and waits until they are durable.
fn move_starts<D: Disk>(shared: &Shared<D>, starts: Vec<(Arc<PartitionState>, Offset)>) -> Result<(), LogError> {
    let (answer, answered) = oneshot::channel();
    shared.queue.push(Request { work: Work::Starts(starts), permits: 0, answer })?;
    answered.blocking_recv().map_err(|_| LogError::Closed)?.map(|_| ())
}

/// Where each partition would start by its topic's own bounds.
fn by_topic<D: Disk>(shared: &Shared<D>, segments: &[Arc<Segment<D::File>>], now_ms: u64) -> Vec<Offset> {
    let catalog = shared.catalog();
    let mut starts: Vec<_> = catalog.partitions.iter().map(|partition| partition.start()).collect();
    for topic in catalog.topics.values() {
        for partition in &topic.partitions {
            let held = held_of(segments, partition.id);
            let start = &mut starts[partition.id as usize];
            *start = bounded(&held, *start, topic.spec.retention, now_ms);
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

fn bounded(held: &[Held], start: Offset, retention: Retention, now_ms: u64) -> Offset {
    let kept = |held: &&Held| held.end > start;
    let mut bytes: u64 = held.iter().filter(kept).map(|held| held.bytes).sum();
    let mut start_now = start;
    for held in held.iter().filter(kept) {
        let too_many = retention.bytes.is_some_and(|most| bytes > most);
        let too_old =
            retention.age.is_some_and(|age| u128::from(now_ms.saturating_sub(held.newest_ms)) > age.as_millis());
        if !too_many && !too_old {
            break;
        }
        bytes -= held.bytes;
        start_now = start_now.max(held.end);
    }
    start_now
}

/// Moves starts further where the whole log is over its bound: the oldest segments lose what they hold.
fn by_total<D: Disk>(shared: &Shared<D>, segments: &[Arc<Segment<D::File>>], starts: &mut [Offset]) {
    let Some(most) = shared.config.total_bytes else { return };
    let mut total: u64 = segments.iter().map(|segment| segment.capacity).sum();
    for segment in segments {
        let Some(held) = segment.closed.get() else { return };
        if total <= most {
            return;
        }
        total -= segment.capacity;
        for held in held {
            let start = &mut starts[held.partition as usize];
            if held.end > *start {
                metrics::counter!("millrace_log_overflow_records_total").increment(held.end - *start);
                *start = held.end;
            }
        }
    }
}

/// Frees the oldest segments as long as nothing in them is kept.
fn free_dead<D: Disk>(shared: &Shared<D>, segments: Vec<Arc<Segment<D::File>>>) -> Result<(), LogError> {
    let mut forced = false;
    for segment in segments {
        let catalog = shared.catalog();
        let dead = |held: &Held| {
            catalog.partitions.get(held.partition as usize).is_some_and(|partition| partition.start() >= held.end)
        };
        let Some(held) = segment.closed.get().filter(|held| held.iter().all(dead)) else { return Ok(()) };
        let partitions: Vec<_> =
            held.iter().map(|held| Arc::clone(&catalog.partitions[held.partition as usize])).collect();
        drop(catalog);
        if !forced {
            // The starts, and the checkpoint of the segment that becomes the oldest, must be durable first.
            shared.syncer.force();
            forced = true;
        }
        shared.check_writable()?;
        for partition in partitions {
            partition.index().forget(segment.number);
        }
        let number = segment.number;
        shared.segments.remove(number);
        shared.room.free(match Arc::try_unwrap(segment) {
            Ok(segment) => Freed::Reusable(Spare { number, file: segment.file, capacity: segment.capacity }),
            Err(_) => Freed::Busy(number),
        });
        metrics::counter!("millrace_log_segments_freed_total").increment(1);
    }
    Ok(())
}
