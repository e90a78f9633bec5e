//! The bounded queue between appenders and the writer thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::format::frame_len;
use super::pack::Stored;
use super::partition::{PartitionState, lock};
use crate::error::LogError;
use crate::log::{Offset, TopicSpec};

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<Offset, LogError>>;

/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1024;

/// What the writer thread is asked to do.
#[derive(Debug)]
pub(super) struct Request {
    /// What to write.
    pub work: Work,
    /// Permits to give back when it is answered.
    pub permits: u32,
    /// Answered once it is durable.
    pub answer: Answer,
}

/// What to write.
#[derive(Debug)]
pub(super) enum Work {
    /// A batch of records.
    Batch(AppendWork),
    /// A topic to be created, or its retention to be changed.
    Topic(TopicSpec),
    /// Partitions whose start moves up.
    Starts(Vec<(Arc<PartitionState>, Offset)>),
    /// Old records to be written again.
    Carry(CarryWork),
    /// Nothing: answered after all that came before.
    Barrier,
}

/// A batch of records.
#[derive(Debug)]
pub(super) struct AppendWork {
    /// Where to.
    pub partition: Arc<PartitionState>,
    /// Set once a batch of this appender has failed.
    pub failed: Arc<AtomicBool>,
    /// Records.
    pub count: u32,
    /// Records and their table.
    pub payload: Bytes,
    /// The same for the disk.
    pub stored: Stored,
    /// Bytes of memory that the payload takes.
    pub memory: usize,
}

/// A frame that moves.
#[derive(Debug)]
pub(super) struct CarryWork {
    /// Whose.
    pub partition: Arc<PartitionState>,
    /// Offset of its first record.
    pub base: u64,
    /// Records.
    pub count: u32,
    /// When it was written first.
    pub at_ms: u64,
    /// Records and their table, as they are on the disk.
    pub stored: Stored,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: Vec<Request>,
    closed: bool,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    permits: Semaphore,
    permits_max: u32,
    /// Bytes of frames accepted and not yet written.
    pub unwritten: AtomicU64,
}

impl Queue {
    /// A queue for about that many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let permits = (bytes / PERMIT_BYTES).clamp(1, u32::MAX as usize >> 4);
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            permits: Semaphore::new(permits),
            permits_max: permits as u32,
            unwritten: AtomicU64::new(0),
        }
    }

    /// Waits for room for a payload; returns the permits taken, which the request hands on.
    pub(super) async fn admit(&self, payload: usize) -> Result<u32, LogError> {
        let wanted = frame_len(payload).div_ceil(PERMIT_BYTES).min(self.permits_max as usize) as u32;
        let permit = self.permits.acquire_many(wanted).await.map_err(|_| LogError::Closed)?;
        permit.forget();
        Ok(wanted)
    }

    /// Gives permits back.
    pub(super) fn release(&self, permits: u32) {
        self.permits.add_permits(permits as usize);
    }

    /// Hands a request to the writer.
    pub(super) fn push(&self, request: Request) -> Result<(), LogError> {
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            drop(waiting);
            self.release(request.permits);
            return Err(LogError::Closed);
        }
        waiting.requests.push(request);
        let first = waiting.requests.len() == 1;
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and swaps them into the empty `into`. `false` when the queue is closed and empty.
    pub(super) fn take(&self, into: &mut Vec<Request>) -> bool {
        let mut waiting = lock(&self.waiting);
        loop {
            if !waiting.requests.is_empty() {
                std::mem::swap(&mut waiting.requests, into);
                return true;
            }
            if waiting.closed {
                return false;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Accepts nothing more.
    pub(super) fn close(&self) {
        lock(&self.waiting).closed = true;
        self.permits.close();
        self.arrived.notify_all();
    }

    /// Drops what waits; its answers say that the log is closed.
    pub(super) fn abandon(&self) {
        lock(&self.waiting).requests.clear();
    }

    /// Counts bytes in; the writer counts them out.
    pub(super) fn count_in(&self, payload: usize) {
        self.unwritten.fetch_add(frame_len(payload) as u64, Ordering::Relaxed);
    }
}
