//! The stage's loop: read, apply, hand over, keep account.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::background::Background;
use super::meters::Meters;
use super::outputs::Outputs;
use super::pipeline::{Marked, Outlet, Positions};
use super::recover::{Recovered, Recovery};
use super::replica::{Mark, Replica};
use super::writer::{Handed, OutputWriter, Progress};
use super::{
    Core, Hooks, Phase, Snapshot, SnapshotBy, SnapshotError, SnapshotStore, StageConfig, StageError, StageStatus,
    Unwritten,
};
use crate::batch::Record;
use crate::error::LogError;
use crate::log::{Log, LogReader, Offset, Visibility};

/// How often a long catch-up says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Records that a core knows before it applies them, the one that is applied included.
pub(super) const EXPECTED: usize = 16;

/// One stage partition.
pub struct Stage<C, H> {
    log: Arc<dyn Log>,
    config: Arc<StageConfig>,
    store: SnapshotStore,
    make: Arc<dyn Fn() -> C + Send + Sync>,
    hooks: H,
    status: watch::Sender<StageStatus>,
    meters: Meters,
}

impl<C: Core, H: Hooks<C>> Stage<C, H> {
    /// A stage of the core that `make` gives in its initial state.
    ///
    /// # Errors
    /// When the snapshot directory cannot be made.
    pub fn new(
        log: Arc<dyn Log>,
        config: StageConfig,
        make: impl Fn() -> C + Send + Sync + 'static,
        hooks: H,
    ) -> Result<Self, StageError> {
        let store = SnapshotStore::open(&config.snapshots.directory, config.snapshots.keep)
            .map_err(|error| StageError::Snapshot { stage: Arc::clone(&config.name), error })?;
        let (status, meters) = (watch::Sender::new(StageStatus::INITIAL), Meters::new(&config));
        Ok(Self { log, config: Arc::new(config), store, make: Arc::new(make), hooks, status, meters })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Its condition, now and later.
    pub fn status(&self) -> watch::Receiver<StageStatus> {
        self.status.subscribe()
    }

    pub(super) fn announce(&self, phase: Phase) {
        self.status.send_modify(|status| status.phase = phase);
    }

    /// Starts from the newest snapshot and the tail, and runs until it is told to stop; then it leaves a
    /// snapshot of its last state. It may be called again after an error.
    ///
    /// # Errors
    /// When the inbox cannot be read, an output cannot be written, or the state cannot be known.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), StageError> {
        self.announce(Phase::Recovering);
        let result = match stop.run_until_cancelled(self.recover()).await {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(mut running)) => running.run(stop).await,
        };
        self.status.send_modify(|status| {
            status.phase = Phase::Stopped;
            status.failure = result.as_ref().err().map(ToString::to_string);
        });
        result
    }

    async fn recover(&mut self) -> Result<Running<'_, C, H>, StageError> {
        let begun = Instant::now();
        let recovery = Recovery {
            log: &*self.log,
            config: &self.config,
            store: &self.store,
            make: &*self.make,
            meters: &self.meters,
        };
        let Recovered { core, snapshot, position, end, partitions, last } = recovery.run().await?;
        let log_error = |error| StageError::Log { stage: Arc::clone(&self.config.name), error };
        let reader = self.log.reader(&self.config.inbox, position, Visibility::Durable).await.map_err(log_error)?;
        let thread_error = |error| StageError::Thread { stage: Arc::clone(&self.config.name), error };
        let background = Background::start().map_err(thread_error)?;
        let outlet = Outlet::new(partitions, self.config.outstanding_max, position);
        let positions = outlet.positions();
        let outputs = Outputs::new(&self.config.inbox, last);
        let (log, emitted) = (Arc::clone(&self.log), self.meters.outputs.clone());
        let writer = OutputWriter::start(log, &self.config.name, outlet, outputs.clone(), emitted);
        let mut running = Running {
            outputs,
            reader,
            writer: writer.map_err(thread_error)?,
            positions,
            position,
            handed: position,
            end,
            phase: Phase::CatchingUp,
            told_durable: position,
            told_progress: begun,
            snapshots: Snapshots {
                replica: None,
                due: begun + self.config.snapshots.every,
                newest: snapshot.as_ref().map(|snapshot| snapshot.offset),
                pending: None,
                writing: None,
                background,
            },
            core,
            log: &self.log,
            config: &self.config,
            store: &self.store,
            hooks: &mut self.hooks,
            status: &self.status,
            meters: &self.meters,
        };
        running.prepare_snapshots(snapshot, &*self.make).await?;
        let from = running.snapshots.newest;
        tracing::info!(stage = %self.config.name, inbox = %self.config.inbox, snapshot = from, position, end,
            took_ms = begun.elapsed().as_millis(), "stage starts");
        Ok(running)
    }
}

async fn write_in_background(store: &SnapshotStore, snapshot: Snapshot) -> Result<u64, SnapshotError> {
    let store = store.clone();
    let writing = tokio::task::spawn_blocking(move || store.write(&snapshot));
    writing.await.expect("writing does not panic")
}

/// Waits for the snapshot that is being written; cancel safe.
async fn finished<C>(writing: &mut Option<oneshot::Receiver<Written<C>>>) -> Written<C> {
    let task = writing.as_mut().expect("callers look first");
    let written = task.await.expect("snapshots are written without panic");
    *writing = None;
    written
}

/// Waits until a snapshot that was decided upon may be stored; cancel safe.
async fn storable(pending: &mut Option<Pending>) -> Option<(Marked, Pending)> {
    let marked = (&mut pending.as_mut().expect("callers look first").marked).await;
    Some((marked.ok()?, pending.take()?))
}

/// A stage between two records.
struct Running<'a, C, H> {
    core: C,
    outputs: Outputs,
    reader: Box<dyn LogReader>,
    writer: OutputWriter,
    /// Where the next outputs go: as of the start, and once all are durable as of the end.
    positions: Positions,
    /// Next record to be applied.
    position: Offset,
    /// What follows from records before this was handed over.
    handed: Offset,
    end: Offset,
    phase: Phase,
    told_durable: Offset,
    told_progress: Instant,
    snapshots: Snapshots<C>,
    log: &'a Arc<dyn Log>,
    config: &'a Arc<StageConfig>,
    store: &'a SnapshotStore,
    hooks: &'a mut H,
    status: &'a watch::Sender<StageStatus>,
    meters: &'a Meters,
}

struct Snapshots<C> {
    /// Makes the snapshots, where the core does not itself; away while it does.
    replica: Option<Box<Replica<C>>>,
    /// When the next one may be taken.
    due: Instant,
    newest: Option<Offset>,
    /// Decided upon, and waiting for the outputs before it to be durable.
    pending: Option<Pending>,
    writing: Option<oneshot::Receiver<Written<C>>>,
    background: Background,
}

struct Pending {
    /// Comes once what follows from earlier records is durable.
    marked: oneshot::Receiver<Marked>,
    state_hash: u64,
    /// The state, where the core made the snapshot itself.
    state: Option<Vec<u8>>,
}

struct Written<C> {
    replica: Option<Box<Replica<C>>>,
    offset: Offset,
    begun: Instant,
    result: Result<u64, StageError>,
}

impl<C: Core, H: Hooks<C>> Running<'_, C, H> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), StageError> {
        let result = self.fold(stop).await;
        // Whatever happened: nothing of this run may reach the log once the next one has read back.
        let (positions, finished_outputs) = self.writer.finish().await;
        self.positions = positions;
        let result = result.and(finished_outputs.map_err(|error| self.log_error(error)));
        if self.snapshots.writing.is_some() {
            let written = finished(&mut self.snapshots.writing).await;
            self.written(written).ok();
        }
        result?;
        self.tell_durable();
        self.last_snapshot().await;
        Ok(())
    }

    /// Ends when it is told to, or when outputs cannot be written, for which their writer has the reason.
    async fn fold(&mut self, stop: &CancellationToken) -> Result<(), StageError> {
        let (mut records, mut progress) = (Vec::new(), self.writer.watch());
        self.arrived();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                written = finished(&mut self.snapshots.writing), if self.snapshots.writing.is_some() => {
                    self.written(written)?;
                }
                storable = storable(&mut self.snapshots.pending), if self.snapshots.pending.is_some() => {
                    let Some((marked, pending)) = storable else { return Ok(()) };
                    self.store(marked, pending);
                }
                progressed = progress.changed() => {
                    if progressed.is_err() {
                        return Ok(());
                    }
                    self.tell_durable();
                }
                result = async {
                    self.writer.room().await;
                    self.reader.read(&mut records).await
                } => {
                    result.map_err(|error| self.log_error(error))?;
                    if !self.apply(&records).await? {
                        return Ok(());
                    }
                    records.clear();
                }
            }
        }
    }

    fn log_error(&self, error: LogError) -> StageError {
        StageError::Log { stage: Arc::clone(&self.config.name), error }
    }

    /// Whether outputs can still be written.
    async fn apply(&mut self, records: &[Record]) -> Result<bool, StageError> {
        let mut expected = 0;
        for (at, record) in records.iter().enumerate() {
            while expected < records.len().min(at + EXPECTED) {
                self.core.expect(&records[expected]);
                expected += 1;
            }
            if record.offset != self.position {
                let partition = self.config.inbox.clone();
                let gap = LogError::Gap { partition, from: self.position, to: record.offset };
                return Err(self.log_error(gap));
            }
            self.outputs.begin(record.offset);
            self.core.apply(record, &mut self.outputs);
            self.position += 1;
            let full = self.outputs.is_full();
            let unwritten = self.core.take_unwritten(full);
            if (full || unwritten.is_some()) && !self.hand_over(unwritten).await {
                return Ok(false);
            }
        }
        if self.handed < self.position {
            let unwritten = self.core.take_unwritten(true);
            if !self.hand_over(unwritten).await {
                return Ok(false);
            }
        }
        self.meters.records.increment(records.len() as u64);
        self.meters.outputs.increment(self.outputs.take_emitted());
        self.meters.position.set(self.position as f64);
        self.meters.outstanding.set(self.writer.progress().outstanding as f64);
        self.arrived();
        self.consider_snapshot().await;
        Ok(true)
    }

    /// Whether outputs can still be written.
    async fn hand_over(&mut self, unwritten: Option<Box<dyn Unwritten>>) -> bool {
        self.hooks.applied(&mut self.core, self.position, self.phase);
        let from = std::mem::replace(&mut self.handed, self.position);
        let written = self.outputs.drain().collect();
        self.writer.hand_over(Handed { from, next: self.position, written, unwritten }).await
    }

    /// Says where the stage is.
    fn arrived(&mut self) {
        if self.phase == Phase::CatchingUp {
            if self.position >= self.end {
                self.phase = Phase::Live;
                tracing::info!(stage = %self.config.name, position = self.position, "stage is live");
                self.hooks.applied(&mut self.core, self.position, self.phase);
            } else if self.told_progress.elapsed() > PROGRESS_EVERY {
                self.told_progress = Instant::now();
                tracing::info!(stage = %self.config.name, position = self.position, end = self.end, "catching up");
            }
        }
        let (phase, position, end_at_start) = (self.phase, self.position, self.end);
        let Progress { durable, outstanding } = self.writer.progress();
        self.status.send_modify(|status| {
            let (oldest_snapshot, failure) = (status.oldest_snapshot, status.failure.take());
            *status = StageStatus { phase, position, end_at_start, durable, oldest_snapshot, outstanding, failure };
        });
    }

    fn tell_durable(&mut self) {
        let Progress { durable, outstanding } = self.writer.progress();
        if durable > self.told_durable {
            self.told_durable = durable;
            self.hooks.durable(durable);
            self.status.send_modify(|status| {
                status.durable = durable;
                status.outstanding = outstanding;
            });
        }
    }

    /// Makes sure that there is a snapshot of this logic before the first output, and readies the replica.
    async fn prepare_snapshots(
        &mut self,
        from: Option<Snapshot>,
        make: &(dyn Fn() -> C + Send + Sync),
    ) -> Result<(), StageError> {
        let error = |error| StageError::Snapshot { stage: Arc::clone(&self.config.name), error };
        let version = self.core.logic_version();
        if from.as_ref().is_none_or(|from| from.logic_version != version) {
            let snapshot = self.snapshot_now();
            self.snapshots.newest = Some(snapshot.offset);
            write_in_background(self.store, snapshot).await.map_err(error)?;
        }
        if self.config.snapshots.by == SnapshotBy::Replica {
            let mut replica = make();
            replica.only_follow();
            if let Some(from) = &from {
                let path = self.store.path(from.offset);
                let refused = |reason| SnapshotError::Refused { path, reason };
                replica.restore(from.logic_version, &from.state).map_err(refused).map_err(error)?;
            }
            self.snapshots.replica = Some(Box::new(Replica::new(replica, self.position, self.config)));
        }
        self.tell_oldest_snapshot();
        Ok(())
    }

    /// The state as it is, which must be one whose outputs are durable.
    fn snapshot_now(&self) -> Snapshot {
        let mut state = Vec::new();
        self.core.snapshot(&mut state);
        self.snapshot_of(self.position, self.positions.clone(), self.core.state_hash(), state)
    }

    fn snapshot_of(&self, offset: Offset, positions: Positions, state_hash: u64, state: Vec<u8>) -> Snapshot {
        Snapshot {
            logic_version: self.core.logic_version(),
            incarnation: self.log.incarnation(),
            inbox: self.config.inbox.clone(),
            offset,
            positions,
            state_hash,
            state,
        }
    }

    /// Decides on a snapshot of the state as it is now, when one is due.
    async fn consider_snapshot(&mut self) {
        let snapshots = &mut self.snapshots;
        let busy = snapshots.pending.is_some() || snapshots.writing.is_some();
        if busy || snapshots.newest == Some(self.position) || Instant::now() < snapshots.due {
            return;
        }
        let state = (self.config.snapshots.by == SnapshotBy::Itself).then(|| {
            let mut state = Vec::new();
            self.core.snapshot(&mut state);
            state
        });
        let marked = self.writer.mark(self.position).await;
        snapshots.pending = Some(Pending { marked, state_hash: self.core.state_hash(), state });
    }

    /// Has a snapshot written, now that everything that follows from earlier records is durable.
    fn store(&mut self, (offset, positions): Marked, Pending { state_hash, state, .. }: Pending) {
        let begun = Instant::now();
        let (store, config, log) = (self.store.clone(), Arc::clone(self.config), Arc::clone(self.log));
        self.snapshots.writing = Some(if let Some(state) = state {
            let snapshot = self.snapshot_of(offset, positions, state_hash, state);
            self.snapshots.background.run(move || {
                let error = |error| StageError::Snapshot { stage: Arc::clone(&config.name), error };
                Written { replica: None, offset, begun, result: store.write(&snapshot).map_err(error) }
            })
        } else {
            let mut replica = self.snapshots.replica.take().expect("it is away only while `writing` is set");
            let mark = Mark { offset, state_hash, positions };
            let runtime = tokio::runtime::Handle::current();
            self.snapshots.background.run(move || {
                let result = runtime.block_on(replica.snapshot(&*log, &config, &store, mark));
                Written { replica: Some(replica), offset, begun, result }
            })
        });
    }

    /// A snapshot that cannot be written costs nothing but a longer tail; a replica that differs is the end.
    fn written(&mut self, Written { replica, offset, begun, result }: Written<C>) -> Result<(), StageError> {
        let stage = &self.config.name;
        self.snapshots.replica = replica;
        self.snapshots.due = Instant::now() + self.config.snapshots.every;
        match result {
            Ok(size) => {
                self.snapshots.newest = Some(offset);
                self.meters.snapshots.increment(1);
                self.meters.snapshot_bytes.set(size as f64);
                self.meters.snapshot_seconds.set(begun.elapsed().as_secs_f64());
                tracing::debug!(%stage, offset, size, took_ms = begun.elapsed().as_millis(), "snapshot written");
                self.tell_oldest_snapshot();
                Ok(())
            }
            Err(StageError::Snapshot { error, .. }) => {
                self.meters.snapshot_failures.increment(1);
                tracing::warn!(%stage, offset, %error, "snapshot not written");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn tell_oldest_snapshot(&self) {
        if let Ok(offsets) = self.store.offsets() {
            self.status.send_modify(|status| status.oldest_snapshot = offsets.last().copied());
        }
    }

    /// The state at the end, so that the next start has no tail to apply.
    async fn last_snapshot(&mut self) {
        if self.snapshots.newest == Some(self.position) {
            return;
        }
        let snapshot = self.snapshot_now();
        if let Err(error) = write_in_background(self.store, snapshot).await {
            tracing::warn!(stage = %self.config.name, position = self.position, %error, "last snapshot not written");
        }
        self.tell_oldest_snapshot();
    }
}
