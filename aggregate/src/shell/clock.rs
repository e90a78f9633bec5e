//! Tells a partition that time has passed, and which configuration is in force.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use journal::stage::{Phase, StageStatus};
use journal::{ClaimedWriter, Log, LogError, Partition, Priority};
use model::{Claim, Configure, Origin, Role, Tick, TickBody, TickFlags};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hooks::wall_clock;

/// Batches that may wait for their sync; each holds one record.
const OUTSTANDING_MAX: usize = 4;
/// Pause before claiming anew after the log was away.
const PAUSE: Duration = Duration::from_millis(500);

/// The writer `aggregate/clock` of one partition of `ticks`.
pub(super) struct Clock {
    pub(super) log: Arc<dyn Log>,
    pub(super) partition: Partition,
    pub(super) every: Duration,
    /// The configuration that the log names last, once the stage has come that far.
    pub(super) configured: Arc<OnceLock<Option<u64>>>,
    /// The configuration in force.
    pub(super) hash: u64,
    pub(super) stage: watch::Receiver<StageStatus>,
}

impl Clock {
    /// Writes until it is told to stop. Where the log is away for a while, it claims anew.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), LogError> {
        // Before that the records would only lengthen the tail.
        let live = self.stage.wait_for(|status| status.phase == Phase::Live);
        if !matches!(stop.run_until_cancelled(live).await, Some(Ok(_))) {
            return Ok(());
        }
        loop {
            match stop.run_until_cancelled(self.write()).await {
                None => return Ok(()),
                Some(Err(error)) if !error.is_transient() => return Err(error),
                Some(Err(error)) => tracing::warn!(partition = %self.partition, %error, "the clock stands still"),
                Some(Ok(never)) => match never {},
            }
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn write(&self) -> Result<std::convert::Infallible, LogError> {
        let role: Role = "aggregate/clock".parse().expect("it is short");
        let tick = |epoch, sequence, body| {
            let (now, origin) = (wall_clock(), Origin::Root { role, epoch, sequence });
            Tick { origin, ts_event: now, ts_recv: now, flags: TickFlags::default(), body }
        };
        let claim = |out: &mut Vec<u8>| tick(0, 0, TickBody::Claim(Claim)).encode(out);
        let mut writer =
            ClaimedWriter::claim(&*self.log, &self.partition, Priority::Normal, OUTSTANDING_MAX, b"", claim).await?;
        let push = |writer: &mut ClaimedWriter, body| {
            writer.push(b"", |stamp, out| tick(stamp.epoch, stamp.sequence, body).encode(out));
        };
        let mut configured = None;
        let mut times = tokio::time::interval(self.every);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            configured = configured.or_else(|| self.configured.get().copied().flatten());
            if self.configured.get().is_some() && configured != Some(self.hash) {
                push(&mut writer, TickBody::Configure(Configure { hash: self.hash }));
                configured = Some(self.hash);
            }
            push(&mut writer, TickBody::Clock(model::Clock));
            writer.flush().await?;
        }
    }
}
