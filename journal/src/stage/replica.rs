//! A second core that follows the inbox in the background and makes the snapshots, so that the first one
//! never waits for them.

use std::sync::Arc;

use super::outputs::Outputs;
use super::pipeline::Positions;
use super::run::EXPECTED;
use super::{Core, Snapshot, SnapshotStore, StageConfig, StageError};
use crate::batch::Record;
use crate::error::LogError;
use crate::log::{Log, Offset, Visibility};

/// A core at some position at or behind the first one's.
pub(super) struct Replica<C> {
    core: C,
    position: Offset,
    outputs: Outputs,
    /// Bytes of the last snapshot's state.
    state_len: usize,
}

/// A place at which a snapshot may be taken, since everything that follows from earlier records is durable.
pub(super) struct Mark {
    pub(super) offset: Offset,
    /// The first core's hash there.
    pub(super) state_hash: u64,
    pub(super) positions: Positions,
}

impl<C: Core> Replica<C> {
    pub(super) fn new(core: C, position: Offset, config: &StageConfig) -> Self {
        Self { core, position, outputs: Outputs::discarding(&config.inbox, &config.outputs), state_len: 0 }
    }

    /// Follows the inbox to the mark, compares the states and writes the snapshot. Returns its size; an error
    /// of the disk only costs this snapshot. Blocks on the disk now and then.
    pub(super) async fn snapshot(
        &mut self,
        log: &dyn Log,
        config: &StageConfig,
        store: &SnapshotStore,
        mark: Mark,
    ) -> Result<u64, StageError> {
        let stage = || Arc::clone(&config.name);
        self.follow(log, config, mark.offset).await.map_err(|error| StageError::Log { stage: stage(), error })?;
        let other = self.core.state_hash();
        if other != mark.state_hash {
            return Err(StageError::Diverged { stage: stage(), offset: mark.offset, one: mark.state_hash, other });
        }
        // Growing would copy hundreds of megabytes, and take their memory twice.
        let mut state = Vec::with_capacity(self.state_len + self.state_len / 16);
        self.core.snapshot(&mut state);
        self.state_len = state.len();
        let snapshot = Snapshot {
            logic_version: self.core.logic_version(),
            incarnation: log.incarnation(),
            inbox: config.inbox.clone(),
            offset: mark.offset,
            positions: mark.positions,
            state_hash: mark.state_hash,
            state,
        };
        store.write(&snapshot).map_err(|error| StageError::Snapshot { stage: stage(), error })
    }

    async fn follow(&mut self, log: &dyn Log, config: &StageConfig, to: Offset) -> Result<(), LogError> {
        if self.position >= to {
            return Ok(());
        }
        let mut reader = log.reader(&config.inbox, self.position, Visibility::Durable).await?;
        let mut records: Vec<Record> = Vec::new();
        while self.position < to {
            records.clear();
            reader.read(&mut records).await?;
            let wanted = records.iter().take_while(|record| record.offset < to).count();
            let mut expected = 0;
            for (at, record) in records[..wanted].iter().enumerate() {
                while expected < wanted.min(at + EXPECTED) {
                    self.core.expect(&records[expected]);
                    expected += 1;
                }
                self.outputs.begin(record.offset);
                self.core.apply(record, &mut self.outputs);
                self.position = record.offset + 1;
            }
            drop(self.core.take_unwritten(true));
        }
        Ok(())
    }
}
