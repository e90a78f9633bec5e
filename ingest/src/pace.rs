//! Tickers that a venue streams with every trade, thinned out.

use model::UnixNanos;

/// Lets one through each second of receipt; a clock that steps back starts over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    last: Option<UnixNanos>,
}

impl Pace {
    const EVERY_NS: i64 = 1_000_000_000;

    /// Whether one may pass now; then it has.
    pub(crate) fn is_due(&mut self, now: UnixNanos) -> bool {
        let due = self.last.is_none_or(|last| !(0..Self::EVERY_NS).contains(&now.since(last)));
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_passes() {
        let mut pace = Pace::default();
        let passed: Vec<i64> = [0, 1, 999_999_999, 1_000_000_000, 1_500_000_000, 2_100_000_000, 5]
            .into_iter()
            .filter(|at| pace.is_due(UnixNanos(*at)))
            .collect();
        assert_eq!(passed, [0, 1_000_000_000, 2_100_000_000, 5]);
    }
}
