//! Hands outputs to the log and keeps account of what is durable.

use std::collections::VecDeque;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::outputs::Drained;
use crate::error::LogError;
use crate::log::{Ack, Appender, Offset, Partition};

/// The output partitions of a stage with what is on its way to them.
pub(super) struct Outlet {
    partitions: Vec<Vec<OutletPartition>>,
    outstanding: VecDeque<Entry>,
    outstanding_max: usize,
    /// Bytes on their way.
    size: usize,
    /// Outputs of all records before this are durable.
    durable: Offset,
    mark: Option<Mark>,
    failed: bool,
}

/// Asks for the positions at the moment when everything that follows from records before `offset` is durable
/// and nothing that follows from later ones is counted yet.
struct Mark {
    offset: Offset,
    reply: oneshot::Sender<Marked>,
}

/// The offset that positions were asked for, and they.
pub(super) type Marked = (Offset, Positions);

/// Output partitions and where the next record of each goes.
pub(super) type Positions = Vec<(Partition, Offset)>;

pub(super) struct OutletPartition {
    pub(super) name: Partition,
    pub(super) appender: Box<dyn Appender>,
    /// Where the next record goes, as far as is known to be durable.
    pub(super) position: Offset,
}

/// Outputs that were handed over together.
struct Entry {
    /// They follow from records before this; and so does everything handed over earlier.
    next: Offset,
    size: usize,
    waiting: Vec<Waiting>,
}

struct Waiting {
    topic: usize,
    partition: usize,
    len: u64,
    ack: Ack,
}

/// Bytes on their way, at most, before more is handed over (a single record's outputs may go beyond).
const SIZE_MAX: usize = 16 << 20;

impl Outlet {
    /// Nothing on its way; outputs of all records before `durable` are there.
    pub(super) fn new(partitions: Vec<Vec<OutletPartition>>, outstanding_max: usize, durable: Offset) -> Self {
        Self {
            partitions,
            outstanding: VecDeque::new(),
            outstanding_max: outstanding_max.max(1),
            size: 0,
            durable,
            mark: None,
            failed: false,
        }
    }

    /// Outputs of all records before this are durable.
    pub(super) const fn durable(&self) -> Offset {
        self.durable
    }

    /// The output partitions and where the next record of each goes, as far as is known to be durable.
    pub(super) fn positions(&self) -> Positions {
        let partitions = self.partitions.iter().flatten();
        partitions.map(|partition| (partition.name.clone(), partition.position)).collect()
    }

    /// Asks for the positions as of `offset`, the end of what was handed over last.
    pub(super) fn mark(&mut self, offset: Offset, reply: oneshot::Sender<Marked>) {
        self.mark = Some(Mark { offset, reply });
        self.answer_mark();
    }

    fn answer_mark(&mut self) {
        if let Some(Mark { offset, reply }) = self.mark.take_if(|mark| mark.offset <= self.durable) {
            // The stage may have ended.
            let _ = reply.send((offset, self.positions()));
        }
    }

    /// Hand-overs that are not yet acknowledged.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether more may be handed over without waiting here.
    pub(super) fn has_room(&self) -> bool {
        self.outstanding.len() < self.outstanding_max && self.size < SIZE_MAX
    }

    /// Hands batches over; everything that follows from records before `next` is with them or was handed over before.
    /// Waits for room.
    pub(super) async fn hand_over(&mut self, batches: Vec<Drained>, next: Offset) -> Result<(), LogError> {
        let size = batches.iter().map(|(_, _, batch)| batch.size()).sum();
        if size > 0 {
            while !self.has_room() {
                self.oldest().await?;
            }
        }
        let mut entry = Entry { next, size, waiting: Vec::new() };
        let mut refused = None;
        for (topic, partition, batch) in batches {
            let len = batch.len() as u64;
            match self.partitions[topic][partition].appender.append(batch).await {
                Ok(ack) => entry.waiting.push(Waiting { topic, partition, len, ack }),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        if !entry.waiting.is_empty() {
            self.size += size;
            self.outstanding.push_back(entry);
        } else if refused.is_some() {
            // Nothing of it is on its way.
        } else if let Some(newest) = self.outstanding.back_mut() {
            newest.next = next;
        } else {
            self.durable = next;
        }
        self.failed |= refused.is_some();
        refused.map_or(Ok(()), Err)
    }

    /// Takes the acknowledgements that are there, without waiting.
    pub(super) fn collect(&mut self) -> Result<(), LogError> {
        while !self.outstanding.is_empty() {
            match self.oldest().now_or_never() {
                Some(result) => result?,
                None => break,
            }
        }
        Ok(())
    }

    /// Waits until the oldest outputs are durable. Cancel safe. Only while some are outstanding.
    pub(super) async fn oldest(&mut self) -> Result<(), LogError> {
        let entry = self.outstanding.front_mut().expect("callers look first");
        while let Some(waiting) = entry.waiting.last_mut() {
            let result = (&mut waiting.ack).await;
            let Waiting { topic, partition, len, .. } = entry.waiting.pop().expect("it was the last");
            let first = result.inspect_err(|_| self.failed = true)?;
            let position = &mut self.partitions[topic][partition].position;
            *position = (*position).max(first + len);
        }
        self.durable = entry.next;
        self.size -= entry.size;
        self.outstanding.pop_front();
        self.answer_mark();
        Ok(())
    }

    /// Waits for everything that is outstanding, whatever becomes of it, so that nothing of ours reaches the
    /// log later. Returns the reason of the first failure met here.
    pub(super) async fn drain(&mut self) -> Result<(), LogError> {
        let mut first: Option<LogError> = None;
        while !self.outstanding.is_empty() && !self.failed {
            first = self.oldest().await.err();
        }
        for waiting in self.outstanding.drain(..).flat_map(|entry| entry.waiting) {
            // What failed because something else did is not the reason.
            if let Err(error) = waiting.ack.await
                && first.as_ref().is_none_or(|first| matches!(first, LogError::AppenderFailed(_)))
            {
                first = Some(error);
            }
        }
        first.map_or(Ok(()), Err)
    }
}
