//! From decoded ticks to the log: one outlet per source.
//!
//! Connections push ticks and never wait; a task writes them in batches, a bounded number of which wait for
//! their acknowledgement. When the log falls behind, quotes are conflated: the newest of an instrument replaces
//! one that still waits. Trades are never dropped: when there is no room, [`Outlet::push`] refuses, and the
//! caller cuts its feed and tells the gap.

mod pending;
mod writers;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use journal::{Log, LogError};
use model::{Channel, FeedPhase, FeedState, Instrument, Origin, Role, Tick, TickBody, TickFlags, Venue};
use tokio::sync::{Notify, oneshot};

use self::pending::{Entry, Pending};
pub(crate) use self::writers::TickWriters;
use crate::budget::Backoff;
use crate::clock;

/// The log has no room for more: the rest was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Takes ticks of one source.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    role: Role,
    pending: Mutex<Pending>,
    /// There is something to write, or nothing more will come.
    wake: Notify,
    /// Room was made.
    room: Notify,
    depth: metrics::Gauge,
    conflated: metrics::Counter,
}

/// What the writing task must know of its source.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    /// The source.
    pub venue: Option<Venue>,
    /// Its instruments: the partitions to claim.
    pub instruments: Vec<Instrument>,
    /// Its channels, for the gap that a failed write leaves.
    pub channels: Vec<Channel>,
    /// Partitions of `ticks`.
    pub partitions: u32,
    /// Batches that may wait for their acknowledgement.
    pub outstanding_max: usize,
}

impl Outlet {
    /// An outlet of this role with room for `max` ticks.
    pub(crate) fn new(role: Role, max: usize) -> Self {
        let name = role.to_string();
        let shared = Shared {
            role,
            pending: Mutex::new(Pending::new(max)),
            wake: Notify::new(),
            room: Notify::new(),
            depth: metrics::gauge!("millrace_ingest_queue_depth", "role" => name.clone()),
            conflated: metrics::counter!("millrace_ingest_conflated_total", "role" => name),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The origin that ticks carry until they are written.
    pub(crate) fn origin(&self) -> Origin {
        Origin::Root { role: self.shared.role, epoch: 0, sequence: 0 }
    }

    /// Takes the ticks in order. Feed states always find room.
    ///
    /// # Errors
    /// [`Full`] at the first tick without room; those before it are taken.
    pub(crate) fn push(&self, ticks: impl IntoIterator<Item = Tick>) -> Result<(), Full> {
        let mut pending = self.lock();
        let before = pending.conflated;
        let result = ticks.into_iter().try_for_each(|tick| pending.push(tick));
        let conflated = pending.conflated - before;
        drop(pending);
        if conflated > 0 {
            self.shared.conflated.increment(conflated);
        }
        self.shared.wake.notify_one();
        result
    }

    /// Resolves once everything pushed so far is durable; to an error when the writing task ended before.
    pub(crate) fn barrier(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.lock().barrier(sender);
        self.shared.wake.notify_one();
        receiver
    }

    /// Waits until at least half of the room is free.
    pub(crate) async fn room(&self) {
        loop {
            let notified = self.shared.room.notified();
            if self.lock().is_half_free() {
                return;
            }
            notified.await;
        }
    }

    /// Nothing more will come: the writing task ends when all is written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.shared.wake.notify_one();
    }

    /// Writes until [`Self::close`], or until the log fails for good. After a failure that may pass it claims
    /// its role anew and tells a gap for every feed, since what was on its way may be lost.
    pub(crate) async fn write(&self, log: Arc<dyn Log>, writes: Writes) -> Result<(), LogError> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut claimed_before = false;
        loop {
            let error = match self.write_epoch(&*log, &writes, claimed_before, &mut backoff).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            claimed_before = true;
            if !error.is_transient() {
                return Err(error);
            }
            tracing::warn!(role = %self.shared.role, %error, "writing ticks failed, claiming anew");
            tokio::time::sleep(backoff.next()).await;
            // A closing stage does not wait for a log that stays away.
            if self.lock().closed && backoff_is_long(&backoff) {
                return Err(error);
            }
        }
    }

    async fn write_epoch(
        &self,
        log: &dyn Log,
        writes: &Writes,
        tell_gap: bool,
        backoff: &mut Backoff,
    ) -> Result<(), LogError> {
        let mut writers = TickWriters::new(self.shared.role, writes.partitions, writes.outstanding_max);
        writers.claim(log, &writes.instruments, clock::now()).await?;
        if tell_gap {
            // Feed states always find room.
            let _ = self.push(self.gaps(writes));
        }
        let mut taken: Vec<Entry> = Vec::new();
        loop {
            let closed = self.take(&mut taken).await;
            let mut barriers = Vec::new();
            for entry in taken.drain(..) {
                match entry {
                    Entry::Tick(tick) => writers.push(&tick),
                    Entry::Barrier(done) => barriers.push(done),
                    Entry::Gone => {}
                }
                if writers.is_full() {
                    writers.flush().await?;
                }
            }
            writers.flush().await?;
            backoff.reset();
            if !barriers.is_empty() || closed {
                writers.settle().await?;
            }
            for done in barriers {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            if closed {
                return Ok(());
            }
        }
    }

    /// Takes what waits, a bounded number at a time, or waits; true when nothing more will come.
    async fn take(&self, into: &mut Vec<Entry>) -> bool {
        loop {
            let notified = self.shared.wake.notified();
            {
                let mut pending = self.lock();
                pending.take(into, 4_096);
                self.shared.depth.set(pending.live() as f64);
                if pending.is_half_free() {
                    self.shared.room.notify_waiters();
                }
                if !into.is_empty() || pending.closed {
                    return pending.closed && pending.live() == 0;
                }
            }
            notified.await;
        }
    }

    fn gaps(&self, writes: &Writes) -> Vec<Tick> {
        let (Some(venue), now) = (writes.venue, clock::now()) else { return Vec::new() };
        let mut ticks = Vec::new();
        for instrument in &writes.instruments {
            for channel in &writes.channels {
                let state =
                    FeedState { venue, instrument: *instrument, channel: *channel, phase: FeedPhase::Gap, missing: 0 };
                let body = TickBody::FeedState(state);
                ticks.push(Tick { origin: self.origin(), ts_event: now, ts_recv: now, flags: TickFlags(0), body });
            }
        }
        ticks
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // A panic under this lock leaves a queue that is whole: every step of `Pending` is.
        self.shared.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn backoff_is_long(backoff: &Backoff) -> bool {
    backoff.failures() > 3
}
