//! Makes written frames durable and acknowledges them. One sync covers all that was written when it began;
//! what is written meanwhile waits for the next: that is the group commit. While much is written, the next one begins
//! a millisecond after the last at the earliest.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::SyncPolicy;
use super::disk::{Disk, DiskFile};
use super::partition::{PartitionState, lock};
use super::queue::Answer;
use super::segment::Segment;
use super::shared::Shared;
use crate::error::LogError;
use crate::log::Offset;

/// A sync of more than this is one of many: what comes next is let gather. A few commands and what follows from them
/// are less, so that whoever sends one after the other waits for nothing.
const GATHER_BYTES: u64 = 8 << 10;
/// From the begin of such a sync to that of the next one. A sync costs the processor more than a kilobyte does: the
/// exchange at 75,000 commands a second had 2,500 a second, which took a fifth of what two cores can do.
const GATHER_TIME: Duration = Duration::from_millis(1);

/// An answer that waits for a sync.
#[derive(Debug)]
pub(super) struct Pending {
    /// Whose end moves, and to where.
    pub advance: Option<(Arc<PartitionState>, Offset)>,
    /// What is answered.
    pub offset: Offset,
    /// To whom.
    pub answer: Answer,
    /// Permits to give back.
    pub permits: u32,
}

/// A segment written to since its last sync.
#[derive(Debug)]
struct Dirty<F> {
    segment: Arc<Segment<F>>,
    /// Bytes written.
    to: u64,
    /// Every frame before this number is in this segment or an older one.
    before_seq: u64,
}

#[derive(Debug)]
struct State<F> {
    pending: Vec<Pending>,
    dirty: Vec<Dirty<F>>,
    /// Syncs asked for by [`Syncer::force`].
    asked: u64,
    /// Of those, how many are done.
    done: u64,
    stopping: bool,
    /// Whether the thread is gone without having answered.
    abandoned: bool,
}

/// What the writer leaves for the syncing thread.
#[derive(Debug)]
pub(super) struct Syncer<F> {
    state: Mutex<State<F>>,
    changed: Condvar,
    policy: SyncPolicy,
}

impl<F> State<F> {
    /// Takes answers in, or drops them where nobody will give them: then they say that the log is closed.
    fn take_in(&mut self, pending: &mut Vec<Pending>) {
        if self.abandoned {
            pending.clear();
        }
        self.pending.append(pending);
    }
}

impl<F: DiskFile> Syncer<F> {
    pub(super) fn new(policy: SyncPolicy) -> Self {
        let state =
            State { pending: Vec::new(), dirty: Vec::new(), asked: 0, done: 0, stopping: false, abandoned: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), policy }
    }

    /// Adds answers, and the segment as far as it is written.
    pub(super) fn add(&self, pending: &mut Vec<Pending>, segment: &Arc<Segment<F>>, to: u64, before_seq: u64) {
        let mut state = lock(&self.state);
        state.take_in(pending);
        match state.dirty.last_mut() {
            Some(last) if last.segment.number == segment.number => {
                last.to = to;
                last.before_seq = before_seq;
            }
            _ => state.dirty.push(Dirty { segment: Arc::clone(segment), to, before_seq }),
        }
        let wake = self.is_due(&state);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Adds answers that need no bytes of their own.
    pub(super) fn add_answers(&self, pending: &mut Vec<Pending>) {
        lock(&self.state).take_in(pending);
        self.changed.notify_all();
    }

    /// Waits until all that is written now is durable, whatever the policy.
    pub(super) fn force(&self) {
        let mut state = lock(&self.state);
        state.asked += 1;
        let ticket = state.asked;
        self.changed.notify_all();
        while state.done < ticket && !state.stopping {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread after a last sync.
    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }

    /// Drops what waits, and lets nobody wait from now on.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.pending.clear();
        state.stopping = true;
        state.abandoned = true;
        drop(state);
        self.changed.notify_all();
    }

    fn is_due(&self, state: &State<F>) -> bool {
        state.stopping
            || state.asked > state.done
            || match self.policy {
                SyncPolicy::EveryBatch => !state.pending.is_empty() || !state.dirty.is_empty(),
                SyncPolicy::Every(_) => false,
                // A segment that is full is synced, so that what a crash can take stays bounded.
                SyncPolicy::Never => state.dirty.len() > 1,
            }
    }

    /// The syncing thread.
    pub(super) fn run<D: Disk<File = F>>(shared: &Shared<D>) {
        let this = &shared.syncer;
        let mut pending = Vec::new();
        let mut dirty = Vec::new();
        let mut earliest = Instant::now();
        loop {
            std::thread::sleep(earliest.saturating_duration_since(Instant::now()));
            let mut state = lock(&this.state);
            let begun = Instant::now();
            while !this.is_due(&state) {
                if let SyncPolicy::Every(interval) = this.policy {
                    let left = interval.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        break;
                    }
                    state = this.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                } else {
                    state = this.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            let (stopping, asked) = (state.stopping, state.asked);
            let keep_last = this.policy == SyncPolicy::Never && !stopping && asked == state.done;
            std::mem::swap(&mut state.pending, &mut pending);
            if keep_last {
                let last = state.dirty.pop();
                dirty.append(&mut state.dirty);
                state.dirty.extend(last);
            } else {
                std::mem::swap(&mut state.dirty, &mut dirty);
            }
            drop(state);
            let bytes = |part: &Dirty<F>| part.to.saturating_sub(part.segment.durable.load(Ordering::Relaxed));
            if this.policy == SyncPolicy::EveryBatch && dirty.iter().map(bytes).sum::<u64>() > GATHER_BYTES {
                earliest = Instant::now() + GATHER_TIME;
            }
            sync_round(shared, &mut dirty, &mut pending);
            lock(&this.state).done = asked;
            this.changed.notify_all();
            if stopping {
                return;
            }
        }
    }
}

fn sync_round<D: Disk>(shared: &Shared<D>, dirty: &mut Vec<Dirty<D::File>>, pending: &mut Vec<Pending>) {
    for part in dirty.drain(..) {
        if shared.poisoned().is_some() {
            continue;
        }
        let begun = Instant::now();
        if let Err(error) = part.segment.file.sync() {
            shared.poison(format!("{}: {error}", shared.segment_path(part.segment.number).display()));
            continue;
        }
        metrics::histogram!("millrace_log_sync_seconds").record(begun.elapsed().as_secs_f64());
        part.segment.durable.fetch_max(part.to, Ordering::AcqRel);
        shared.durable_seq.fetch_max(part.before_seq, Ordering::AcqRel);
    }
    acknowledge(shared, pending);
}

/// Moves the durable ends, wakes the readers and answers; after a failure only the latter, with the reason.
pub(super) fn acknowledge<D: Disk>(shared: &Shared<D>, pending: &mut Vec<Pending>) {
    let failure = shared.poisoned();
    if failure.is_none() {
        for (partition, end) in pending.iter().filter_map(|item| item.advance.as_ref()) {
            partition.durable.fetch_max(*end, Ordering::AcqRel);
            partition.on_durable.notify_waiters();
        }
    }
    let mut permits = 0;
    for item in pending.drain(..) {
        permits += item.permits;
        let _ = item.answer.send(match &failure {
            None => Ok(item.offset),
            Some(reason) => Err(LogError::Poisoned(reason.clone())),
        });
    }
    shared.queue.release(permits);
}
