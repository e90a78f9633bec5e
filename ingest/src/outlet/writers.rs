//! One claimed writer per partition.

use std::collections::{BTreeMap, BTreeSet};

use journal::{ClaimedWriter, Log, LogError, Partition, Priority};
use model::topic::{TICKS, partition_for, ticks_key};
use model::{Claim, Instrument, Origin, Role, Tick, TickBody, TickFlags, UnixNanos};
use rustc_hash::FxHashMap;

/// Writes ticks of one role to the partitions of their instruments.
pub(crate) struct TickWriters {
    role: Role,
    partitions: u32,
    outstanding_max: usize,
    writers: BTreeMap<u32, ClaimedWriter>,
    /// Remembered, since a hash of the name is not free. Bounded by the instruments there are.
    homes: FxHashMap<Instrument, u32>,
}

impl TickWriters {
    /// Over a topic of so many partitions.
    pub(crate) fn new(role: Role, partitions: u32, outstanding_max: usize) -> Self {
        Self { role, partitions, outstanding_max, writers: BTreeMap::new(), homes: FxHashMap::default() }
    }

    /// Claims the role in every partition that these instruments live in.
    pub(crate) async fn claim(
        &mut self,
        log: &dyn Log,
        instruments: &[Instrument],
        now: UnixNanos,
    ) -> Result<(), LogError> {
        let homes: BTreeSet<u32> = instruments.iter().map(|instrument| home(instrument, self.partitions)).collect();
        for home in homes {
            let origin = Origin::Root { role: self.role, epoch: 0, sequence: 0 };
            let body = TickBody::Claim(Claim);
            let claim = Tick { origin, ts_event: now, ts_recv: now, flags: TickFlags(0), body };
            let writer = ClaimedWriter::claim(
                log,
                &Partition::new(TICKS, home),
                Priority::Normal,
                self.outstanding_max,
                self.role.as_bytes(),
                |out| claim.encode(out),
            )
            .await?;
            self.writers.insert(home, writer);
        }
        Ok(())
    }

    /// Adds a tick to its partition's batch. One about an asset that was not claimed has no home: only a
    /// refresh of an instrument that no source has can be that, and nobody waits for it.
    pub(crate) fn push(&mut self, tick: &Tick) {
        let Some(instrument) = tick.instrument() else { return };
        let partitions = self.partitions;
        let home = *self.homes.entry(instrument).or_insert_with(|| home(&instrument, partitions));
        let Some(writer) = self.writers.get_mut(&home) else {
            return tracing::warn!(%instrument, "no source has this asset");
        };
        let role = self.role;
        writer.push(ticks_key(&instrument).as_bytes(), |stamp, out| {
            let origin = Origin::Root { role, epoch: stamp.epoch, sequence: stamp.sequence };
            Tick { origin, ..*tick }.encode(out);
        });
    }

    /// Whether a batch is large enough to be handed over before more is pushed.
    pub(crate) fn is_full(&self) -> bool {
        self.writers.values().any(ClaimedWriter::is_full)
    }

    /// Hands the batches over; waits while too many are on their way.
    pub(crate) async fn flush(&mut self) -> Result<(), LogError> {
        for writer in self.writers.values_mut() {
            writer.flush().await?;
        }
        Ok(())
    }

    /// Waits until everything pushed is durable.
    pub(crate) async fn settle(&mut self) -> Result<(), LogError> {
        for writer in self.writers.values_mut() {
            writer.settle().await?;
        }
        Ok(())
    }
}

/// The partition that ticks about an instrument live in.
fn home(instrument: &Instrument, partitions: u32) -> u32 {
    partition_for(ticks_key(instrument).as_bytes(), partitions)
}
