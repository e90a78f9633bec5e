//! Keeps a stage going.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Core, Hooks, Phase, Stage, StageError};

/// Pause before the first new attempt, doubled up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A run of this length begins the pauses anew.
const RAN_WELL: Duration = Duration::from_secs(30);

/// Runs the stage until it is told to stop. Where the reason of a failure may pass by itself, it starts again
/// from its snapshot.
///
/// # Errors
/// When it fails for a reason that stays.
pub async fn supervise<C: Core, H: Hooks<C>>(
    mut stage: Stage<C, H>,
    stop: CancellationToken,
) -> Result<(), StageError> {
    let mut pause = PAUSE_FIRST;
    loop {
        let begun = Instant::now();
        let Err(error) = stage.run(&stop).await else { return Ok(()) };
        if !error.is_transient() {
            tracing::error!(stage = %stage.name(), %error, "stage stopped");
            return Err(error);
        }
        if begun.elapsed() > RAN_WELL {
            pause = PAUSE_FIRST;
        }
        tracing::warn!(stage = %stage.name(), %error, again_in_ms = pause.as_millis(), "stage failed");
        stage.announce(Phase::Waiting);
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
