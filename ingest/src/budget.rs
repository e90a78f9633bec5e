//! Budgets and pauses: how often we may do something, and how long we wait before we try again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::connector::Budget;

/// At most `count` events in any span of `per`.
#[derive(Debug)]
pub(crate) struct Allowance {
    budget: Budget,
    taken: VecDeque<Instant>,
}

impl Allowance {
    pub(crate) fn new(budget: Budget) -> Self {
        let budget = Budget { count: budget.count.max(1), per: budget.per };
        Self { budget, taken: VecDeque::new() }
    }

    /// Takes one, or says when one will be free.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while let Some(oldest) = self.taken.front()
            && *oldest + self.budget.per <= now
        {
            self.taken.pop_front();
        }
        match self.taken.front() {
            Some(oldest) if self.taken.len() >= self.budget.count as usize => Err(*oldest + self.budget.per),
            _ => {
                self.taken.push_back(now);
                Ok(())
            }
        }
    }
}

/// Pauses that double up to a limit, each shortened at random by up to a half, so that many clients of one
/// venue do not come back together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        full / 2 + full.mul_f64(fastrand::f64() / 2.0)
    }

    /// Pauses since it last worked.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked: the next pause is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_holds_more_than_the_budget() {
        let per = Duration::from_secs(1);
        let mut allowance = Allowance::new(Budget { count: 4, per });
        let start = Instant::now();
        let mut times: Vec<Instant> = Vec::new();
        let mut now = start;
        while times.len() < 40 {
            match allowance.take(now) {
                Ok(()) => times.push(now),
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
            now += Duration::from_millis(70);
        }
        for window in times.windows(5) {
            assert!(window[4] - window[0] >= per);
        }
    }

    #[test]
    fn pauses_grow_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for expected in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let pause = backoff.next().as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause} of {expected}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
