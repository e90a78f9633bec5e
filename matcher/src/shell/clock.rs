//! Tells the exchange that time has passed, so that deadlines come true when nobody trades.

use std::sync::Arc;
use std::time::Duration;

use journal::stage::{Phase, StageStatus};
use journal::{ClaimedWriter, Log, LogError, Partition, Priority};
use model::exchange::{AccountId, Command, CommandBody};
use model::{Origin, Role};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::writer::wall_clock;

/// Batches that may wait for their sync; each holds one record.
const OUTSTANDING_MAX: usize = 4;
/// Pause before claiming anew after the log was away.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes until it is told to stop. Where the log is away for a while, it claims anew.
pub(super) async fn run(
    log: Arc<dyn Log>,
    partition: Partition,
    every: Duration,
    mut stage: watch::Receiver<StageStatus>,
    stop: CancellationToken,
) -> Result<(), LogError> {
    // Before that the records would only lengthen the tail.
    let live = stage.wait_for(|status| status.phase == Phase::Live);
    if !matches!(stop.run_until_cancelled(live).await, Some(Ok(_))) {
        return Ok(());
    }
    loop {
        match stop.run_until_cancelled(write(&*log, &partition, every)).await {
            None => return Ok(()),
            Some(Err(error)) if !error.is_transient() => return Err(error),
            Some(Err(error)) => tracing::warn!(%partition, %error, "the exchange's clock stands still"),
            Some(Ok(never)) => match never {},
        }
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return Ok(());
        }
    }
}

async fn write(log: &dyn Log, partition: &Partition, every: Duration) -> Result<std::convert::Infallible, LogError> {
    let role: Role = "matcher/clock".parse().expect("it is short");
    let command = |epoch, sequence, body| {
        let now = wall_clock();
        let origin = Origin::Root { role, epoch, sequence };
        Command { origin, ts: now, account: AccountId::HOUSE, request: None, sent_at: now, body }
    };
    let claim = |out: &mut Vec<u8>| command(0, 0, CommandBody::Claim).encode(out);
    let mut writer = ClaimedWriter::claim(log, partition, Priority::Reserve, OUTSTANDING_MAX, b"", claim).await?;
    let mut times = tokio::time::interval(every);
    times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        writer.push(b"", |stamp, out| command(stamp.epoch, stamp.sequence, CommandBody::Clock).encode(out));
        writer.flush().await?;
    }
}
