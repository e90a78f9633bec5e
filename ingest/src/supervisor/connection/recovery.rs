//! When to ask again for what did not help: snapshots of books and new subscriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Paces repeated attempts per key: the first at once, each further one after a pause that doubles, from a
/// quarter of a second to thirty. Each success takes one step back, a quiet minute all of them.
#[derive(Debug)]
pub(super) struct Attempts<K> {
    made: BTreeMap<K, (Instant, u32)>,
}

impl<K: Ord> Attempts<K> {
    const FIRST: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(30);
    const QUIET: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self { made: BTreeMap::new() }
    }

    /// How long to wait before the attempt that is needed now; counts it.
    pub(super) fn pause(&mut self, key: K, now: Instant) -> Duration {
        let (last, count) = self.made.entry(key).or_insert((now, 0));
        if now.saturating_duration_since(*last) > Self::QUIET {
            *count = 0;
        }
        let pause = match *count {
            0 => Duration::ZERO,
            failures => Self::FIRST.saturating_mul(1 << (failures - 1).min(10)).min(Self::MAX),
        };
        *count += 1;
        *last = now + pause;
        pause
    }

    /// It helped.
    pub(super) fn succeeded(&mut self, key: K) {
        if let Some((_, count)) = self.made.get_mut(&key) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_per_key_and_start_over_after_quiet() {
        let mut attempts = Attempts::new();
        let start = Instant::now();
        let pauses: Vec<_> = (0..10).map(|_| attempts.pause(1, start).as_millis()).collect();
        assert_eq!(pauses, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(attempts.pause(2, start), Duration::ZERO);
        attempts.succeeded(2);
        assert_eq!(attempts.pause(2, start), Duration::ZERO, "what helps may be done again at once");
        assert_eq!(attempts.pause(1, start + Duration::from_secs(200)), Duration::ZERO);
    }
}
