//! Trying again, with a limit.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::LogError;

/// First pause.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Capped, jittered, exponential pauses until a limit is reached or the log is closed.
#[derive(Debug)]
pub(super) struct Retry {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
    closing: CancellationToken,
}

impl Retry {
    /// Gives up `limit` after the first failure.
    pub(super) fn new(limit: Duration, closing: CancellationToken) -> Self {
        Self { limit, since: None, pause: PAUSE_MIN, closing }
    }

    /// It worked: the next failure is a first one again.
    pub(super) fn worked(&mut self) {
        self.since = None;
        self.pause = PAUSE_MIN;
    }

    /// Pauses after a failure, at least for `pause_min`.
    ///
    /// # Errors
    /// `error` when it cannot pass by itself or the limit is reached, [`LogError::Closed`] when the log closes.
    pub(super) async fn after(&mut self, error: LogError, pause_min: Duration) -> Result<(), LogError> {
        if !error.is_transient() {
            return Err(error);
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() >= self.limit {
            return Err(error);
        }
        let pause = jittered(self.pause).max(pause_min);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.closing.cancelled() => Err(LogError::Closed),
        }
    }
}

/// Between half of `pause` and all of it, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> LogError {
        LogError::Broker("away".to_owned())
    }

    #[tokio::test]
    async fn pauses_until_the_limit_and_anew_after_success() {
        let limit = Duration::from_millis(120);
        let mut retry = Retry::new(limit, CancellationToken::new());
        for _ in 0..2 {
            let started = Instant::now();
            while retry.after(away(), Duration::ZERO).await.is_ok() {}
            assert!(started.elapsed() >= limit);
            retry.worked();
        }
    }

    #[test]
    fn pauses_are_jittered_and_capped() {
        for _ in 0..1000 {
            let pause = jittered(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
    }

    #[tokio::test]
    async fn closing_and_lasting_errors_end_it_at_once() {
        let closing = CancellationToken::new();
        let mut retry = Retry::new(Duration::from_secs(20), closing.clone());
        let lasting = LogError::Poisoned("disk".to_owned());
        assert!(matches!(retry.after(lasting, Duration::ZERO).await, Err(LogError::Poisoned(_))));
        closing.cancel();
        assert!(matches!(retry.after(away(), Duration::from_secs(60)).await, Err(LogError::Closed)));
    }
}
