//! What happens at a time: orders that end, accounts that must give a sign of life.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The order with this id, at this slot, ends.
    Order { id: u64, slot: u32 },
    /// All orders of this account end.
    DeadMan { account: u32 },
}

/// A heap by time. Timers are not taken out when what they are for is gone; whoever pops one looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(i64, Timer)>>,
    /// Timers that are good for nothing any more, about.
    stale: usize,
}

impl Timers {
    pub(super) fn set(&mut self, at: i64, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    /// Notes that one timer has lost its use.
    pub(super) fn dropped(&mut self) {
        self.stale += 1;
    }

    /// Takes the earliest timer at or before `now`.
    #[inline]
    pub(super) fn due(&mut self, now: i64) -> Option<(i64, Timer)> {
        match self.heap.peek() {
            Some(Reverse((at, _))) if *at <= now => self.heap.pop().map(|timer| timer.0),
            _ => None,
        }
    }

    /// Throws useless timers out once they are most of them.
    #[inline]
    pub(super) fn tidy(&mut self, in_use: impl Fn(i64, Timer) -> bool) {
        if self.stale > 1_024 && self.stale * 2 > self.heap.len() {
            self.heap.retain(|timer| in_use(timer.0.0, timer.0.1));
            self.stale = 0;
        }
    }

    /// All timers that are in use, by time.
    pub(super) fn sorted(&self, in_use: impl Fn(i64, Timer) -> bool) -> Vec<(i64, Timer)> {
        let mut timers: Vec<_> =
            self.heap.iter().map(|timer| timer.0).filter(|timer| in_use(timer.0, timer.1)).collect();
        timers.sort_unstable();
        timers
    }

    pub(super) fn from_sorted(timers: Vec<(i64, Timer)>) -> Self {
        Self { heap: timers.into_iter().map(Reverse).collect(), stale: 0 }
    }
}
