//! Finds out where a stage left off: the newest usable snapshot and what it wrote after that.

use std::sync::Arc;

use model::Cause;

use super::meters::Meters;
use super::outputs::LastCause;
use super::pipeline::OutletPartition;
use super::{Core, Snapshot, SnapshotError, SnapshotStore, StageConfig, StageError, WithoutSnapshot};
use crate::batch::{Batch, Record};
use crate::error::LogError;
use crate::log::{Appender, Bounds, Log, Offset, Partition, Visibility};

/// A stage as it is before the first record.
pub(super) struct Recovered<C> {
    pub(super) core: C,
    /// What the core was restored from; none when it is new.
    pub(super) snapshot: Option<Snapshot>,
    /// First record to be applied.
    pub(super) position: Offset,
    /// End of the inbox.
    pub(super) end: Offset,
    /// The output partitions, with their positions as of the snapshot.
    pub(super) partitions: Vec<Vec<OutletPartition>>,
    /// Cause of the last record that each of them holds of this stage after that.
    pub(super) last: Vec<Vec<Option<LastCause>>>,
}

pub(super) struct Recovery<'a, C> {
    pub(super) log: &'a dyn Log,
    pub(super) config: &'a StageConfig,
    pub(super) store: &'a SnapshotStore,
    pub(super) make: &'a (dyn Fn() -> C + Send + Sync),
    pub(super) meters: &'a Meters,
}

/// What is known of an output partition.
struct Known {
    name: Partition,
    bounds: Bounds,
    /// Where the outputs begin that follow from what is not in the snapshot.
    position: Offset,
}

type Appenders = Vec<Vec<Box<dyn Appender>>>;

impl<C: Core> Recovery<'_, C> {
    pub(super) async fn run(&self) -> Result<Recovered<C>, StageError> {
        let inbox = self.log.bounds(&self.config.inbox).await.map_err(|error| self.log_error(error))?;
        let (mut known, appenders) = self.open().await.map_err(|error| self.log_error(error))?;
        let (core, snapshot) = self.newest_usable(inbox, &known).await?;
        let position = match &snapshot {
            Some(snapshot) => snapshot.offset,
            None => self.without_snapshot(inbox)?,
        };
        if let Some(snapshot) = &snapshot {
            for known in known.iter_mut().flatten() {
                known.position = stored_position(snapshot, &known.name).unwrap_or(known.position);
            }
        }
        let last = self.read_back(&known).await?;
        self.check(inbox, snapshot.as_ref(), core.logic_version(), &known, &last)?;
        let partition = |(Known { name, position, .. }, appender)| OutletPartition { name, appender, position };
        let topic =
            |(known, appenders): (Vec<Known>, Vec<_>)| known.into_iter().zip(appenders).map(partition).collect();
        let partitions = known.into_iter().zip(appenders).map(topic).collect();
        Ok(Recovered { core, snapshot, position, end: inbox.end, partitions, last })
    }

    fn log_error(&self, error: LogError) -> StageError {
        StageError::Log { stage: Arc::clone(&self.config.name), error }
    }

    /// Opens the output partitions. The empty batch is acknowledged after everything that an earlier run of
    /// this stage handed over, so that reading back misses nothing.
    async fn open(&self) -> Result<(Vec<Vec<Known>>, Appenders), LogError> {
        let (mut known, mut appenders) = (Vec::new(), Appenders::new());
        for output in &self.config.outputs {
            let (mut known_here, mut appenders_here) = (Vec::new(), Vec::new());
            for index in 0..output.partitions {
                let name = Partition { topic: Arc::clone(&output.topic), index };
                let mut appender = self.log.appender(&name, output.priority).await?;
                let fenced_end = appender.append(Batch::new()).await?.await?;
                let bounds = self.log.bounds(&name).await?;
                let bounds = Bounds { start: bounds.start, end: bounds.end.max(fenced_end) };
                known_here.push(Known { name, bounds, position: bounds.start });
                appenders_here.push(appender);
            }
            known.push(known_here);
            appenders.push(appenders_here);
        }
        Ok((known, appenders))
    }

    /// Tries the snapshots, the newest first.
    async fn newest_usable(&self, inbox: Bounds, known: &[Vec<Known>]) -> Result<(C, Option<Snapshot>), StageError> {
        let stage = &self.config.name;
        let snapshot_error = |error| StageError::Snapshot { stage: Arc::clone(stage), error };
        for offset in self.store.offsets().map_err(snapshot_error)? {
            let path = self.store.path(offset);
            let store = self.store.clone();
            let read = tokio::task::spawn_blocking(move || store.read(offset)).await.expect("reading does not panic");
            let usable = read.map_err(Unusable::from).and_then(|snapshot| {
                self.fits(&snapshot, inbox, known)?;
                let mut core = (self.make)();
                self.restore(&mut core, &snapshot)?;
                Ok((core, snapshot))
            });
            match usable {
                Ok((core, snapshot)) => return Ok((core, Some(snapshot))),
                Err(Unusable { why, for_ever }) => {
                    tracing::warn!(%stage, snapshot = %path.display(), %why, "snapshot skipped");
                    self.meters.snapshots_skipped.increment(1);
                    if for_ever {
                        self.store.set_aside(offset).map_err(snapshot_error)?;
                    }
                }
            }
        }
        Ok(((self.make)(), None))
    }

    /// Whether a snapshot belongs to the logs as they are.
    fn fits(&self, snapshot: &Snapshot, inbox: Bounds, known: &[Vec<Known>]) -> Result<(), Unusable> {
        if snapshot.incarnation != self.log.incarnation() {
            return Err(Unusable::here("it belongs to another log".into()));
        }
        if snapshot.inbox != self.config.inbox {
            return Err(Unusable::here(format!("it belongs to {}", snapshot.inbox)));
        }
        if snapshot.offset > inbox.end {
            return Err(Unusable::for_ever(format!("it is ahead of the log, which ends at offset {}", inbox.end)));
        }
        if snapshot.offset < inbox.start {
            return Err(Unusable::here(format!("the log was trimmed to offset {}", inbox.start)));
        }
        for Known { name, bounds, .. } in known.iter().flatten() {
            let ahead = stored_position(snapshot, name).filter(|position| *position > bounds.end);
            if let Some(position) = ahead {
                let why = format!("it knows offset {position} of {name}, which ends at offset {}", bounds.end);
                return Err(Unusable::for_ever(why));
            }
        }
        Ok(())
    }

    fn restore(&self, core: &mut C, snapshot: &Snapshot) -> Result<(), Unusable> {
        let version = core.logic_version();
        if snapshot.logic_version > version {
            let why = format!("logic version {} is newer than this program's {version}", snapshot.logic_version);
            return Err(Unusable::here(why));
        }
        core.restore(snapshot.logic_version, &snapshot.state).map_err(|error| Unusable::here(error.0))?;
        let hash = core.state_hash();
        // An older logic may have hashed in another way.
        if snapshot.logic_version == version && hash != snapshot.state_hash {
            let why = format!("its state hashes to {hash:016x}, not to {:016x}", snapshot.state_hash);
            return Err(Unusable::here(why));
        }
        Ok(())
    }

    fn without_snapshot(&self, inbox: Bounds) -> Result<Offset, StageError> {
        let stage = &self.config.name;
        if inbox.start > 0 {
            if self.config.snapshots.without == WithoutSnapshot::Refuse {
                let inbox_name = self.config.inbox.clone();
                return Err(StageError::StateLost { stage: Arc::clone(stage), inbox: inbox_name, start: inbox.start });
            }
            tracing::warn!(%stage, start = inbox.start, "no snapshot: begins with an empty state at the oldest record");
        }
        Ok(inbox.start)
    }

    async fn read_back(&self, known: &[Vec<Known>]) -> Result<Vec<Vec<Option<LastCause>>>, StageError> {
        let mut all = Vec::with_capacity(known.len());
        for (output, partitions) in self.config.outputs.iter().zip(known) {
            let mut last = Vec::with_capacity(partitions.len());
            for known in partitions {
                let read = self.last_cause(known, output.cause).await;
                last.push(read.map_err(|error| self.log_error(error))?);
            }
            all.push(last);
        }
        Ok(all)
    }

    /// The last cause of ours in a partition, from its position to its end.
    async fn last_cause(
        &self,
        Known { name, bounds, position }: &Known,
        cause: fn(&[u8]) -> Option<Cause>,
    ) -> Result<Option<LastCause>, LogError> {
        let inbox = &self.config.inbox;
        let mut last = None;
        let mut from = (*position).max(bounds.start);
        let mut records: Vec<Record> = Vec::new();
        'again: while from < bounds.end {
            let mut reader = match self.log.reader(name, from, Visibility::Durable).await {
                // Retention went on in the meantime.
                Err(LogError::Trimmed { start, .. }) if start > from => {
                    from = start;
                    continue 'again;
                }
                reader => reader?,
            };
            while from < bounds.end {
                records.clear();
                match reader.read(&mut records).await {
                    Err(LogError::Trimmed { start, .. }) if start > from => {
                        from = start;
                        continue 'again;
                    }
                    read => read?,
                }
                from = reader.position();
                let ours = records
                    .iter()
                    .filter_map(|record| cause(&record.value))
                    .filter(|cause| cause.partition == inbox.index && cause.topic.as_bytes() == inbox.topic.as_bytes());
                last = ours.map(|cause| Some((cause.offset, cause.index))).fold(last, Option::max);
            }
        }
        Ok(last)
    }

    /// Refuses what must not go on.
    fn check(
        &self,
        inbox: Bounds,
        snapshot: Option<&Snapshot>,
        logic_version: u32,
        known: &[Vec<Known>],
        last: &[Vec<Option<LastCause>>],
    ) -> Result<(), StageError> {
        let names = known.iter().flatten().map(|known| &known.name);
        for (output, last) in names.zip(last.iter().flatten()) {
            let Some((cause, _)) = *last else { continue };
            if cause >= inbox.end {
                let (inbox_name, output) = (self.config.inbox.clone(), output.clone());
                return Err(StageError::InboxTruncated { inbox: inbox_name, end: inbox.end, output, cause });
            }
            if let Some(snapshot) = snapshot
                && snapshot.logic_version != logic_version
                && cause >= snapshot.offset
            {
                return Err(StageError::LogicChanged {
                    stage: Arc::clone(&self.config.name),
                    snapshot: snapshot.offset,
                    old: snapshot.logic_version,
                    new: logic_version,
                    output: output.clone(),
                    cause,
                });
            }
        }
        Ok(())
    }
}

fn stored_position(snapshot: &Snapshot, partition: &Partition) -> Option<Offset> {
    snapshot.positions.iter().find(|(name, _)| name == partition).map(|(_, position)| *position)
}

/// Why a snapshot is passed over.
struct Unusable {
    why: String,
    /// It must not become usable when the log has grown past it.
    for_ever: bool,
}

impl Unusable {
    const fn here(why: String) -> Self {
        Self { why, for_ever: false }
    }

    const fn for_ever(why: String) -> Self {
        Self { why, for_ever: true }
    }
}

impl From<SnapshotError> for Unusable {
    fn from(error: SnapshotError) -> Self {
        Self::here(error.to_string())
    }
}
