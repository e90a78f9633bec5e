//! The core's time, and what happens when the clock that it follows was wrong.
//!
//! Time is the running maximum of event times, so a clock that is set back would stop it: nothing would be in
//! time until the clock is where it was. Our own clock can be set back, and one record from the year 2100 would
//! be worse. So when nothing was received near the core's time for long enough, the core believes what it
//! receives: it goes back, and forgets what it knows of times that have not come yet.

use super::bytes::{Malformed, Reader, put_i64, put_u64};

const SECOND_NS: i64 = 1_000_000_000;
/// Times of receipt this far behind the core's time come from another clock than the one it followed.
const STEP_NS: i64 = 10 * SECOND_NS;
/// This many of them, over this long, are enough.
const MANY: (u64, i64) = (128, 2 * SECOND_NS);
/// Or fewer, over longer.
const FEW: (u64, i64) = (8, 30 * SECOND_NS);

/// Running maximum of event times.
#[derive(Debug, Default)]
pub(super) struct Time {
    now: i64,
    /// Records in a row that were received far behind `now`.
    behind: u64,
    /// The first of them, and the newest, by time of receipt; the newest by event time.
    first: i64,
    newest: i64,
    newest_event: i64,
}

impl Time {
    pub(super) const fn now(&self) -> i64 {
        self.now
    }

    /// Moves on to `at`, the event time of a record received at `received`. True when the clock was set back:
    /// then the time is an earlier one than before.
    pub(super) fn follow(&mut self, at: i64, received: i64) -> bool {
        self.now = self.now.max(at);
        if self.now - received <= STEP_NS {
            self.behind = 0;
            return false;
        }
        if self.behind == 0 {
            (self.first, self.newest, self.newest_event) = (received, received, at);
        }
        self.behind += 1;
        self.newest = self.newest.max(received);
        self.newest_event = self.newest_event.max(at);
        let span = self.newest - self.first;
        let enough = |(count, span_ns): (u64, i64)| self.behind >= count && span >= span_ns;
        if !enough(MANY) && !enough(FEW) {
            return false;
        }
        self.behind = 0;
        self.now = self.newest_event;
        true
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_i64(out, self.now);
        put_u64(out, self.behind);
        if self.behind > 0 {
            [self.first, self.newest, self.newest_event].iter().for_each(|time| put_i64(out, *time));
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (now, behind) = (from.i64()?, from.u64()?);
        let mut time = Self { now, behind, ..Self::default() };
        if behind > 0 {
            (time.first, time.newest, time.newest_event) = (from.i64()?, from.i64()?, from.i64()?);
        }
        let times = [time.now, time.first, time.newest, time.newest_event];
        if !times.iter().all(|time| super::TIMES.contains(time)) {
            return Err(Malformed("a time that cannot be used"));
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_believed_after_a_while() {
        let mut time = Time::default();
        time.follow(3_600 * SECOND_NS, 3_600 * SECOND_NS);
        let stepped: Vec<bool> = (0..300).map(|i| time.follow(i * SECOND_NS / 50, i * SECOND_NS / 50)).collect();
        assert_eq!(stepped.iter().position(|stepped| *stepped), Some(127), "128 records, 2.5 s");
        assert_eq!(time.now(), 299 * SECOND_NS / 50);
        assert_eq!(stepped.iter().filter(|stepped| **stepped).count(), 1);
    }

    #[test]
    fn stragglers_among_current_records_change_nothing() {
        let mut time = Time::default();
        for i in 0..10_000 {
            let at = (100 + i) * SECOND_NS;
            time.follow(at, at);
            for _ in 0..100 {
                assert!(!time.follow(at - 60 * SECOND_NS, at - 60 * SECOND_NS));
            }
        }
        assert_eq!(time.now(), 10_099 * SECOND_NS);
    }
}
