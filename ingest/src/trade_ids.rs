//! Which trades were seen: repeats across reconnects and inside a stream, and the gaps in a counter.

use model::TradeId;

/// What a trade's id says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not seen before.
    New,
    /// Not seen before, and so many ids between the newest so far and this one are missing; 0 when the
    /// venue's counter started over and the number is unknown.
    Gap(u64),
    /// Seen before, or too old to tell.
    Repeat,
}

/// The ids of one instrument at a venue that counts trades up by one.
///
/// It remembers which of the newest [`Counter::WINDOW`] ids were seen, so that a trade that comes late inside
/// them still counts, once. Ids below the window are taken for repeats; when [`Counter::RESTART_AFTER`] of them
/// come in a row, the venue's counter has started over (or one absurd id had moved the window away), which is
/// told as a gap.
#[derive(Debug, Clone)]
pub struct Counter {
    newest: Option<u64>,
    // Bit i of the ring is the id congruent to i.
    seen: Box<[u64; Counter::WORDS]>,
    below_in_a_row: u32,
}

impl Default for Counter {
    fn default() -> Self {
        Self { newest: None, seen: Box::new([0; Self::WORDS]), below_in_a_row: 0 }
    }
}

impl Counter {
    const WORDS: usize = 64;
    /// Ids remembered.
    pub const WINDOW: u64 = Self::WORDS as u64 * 64;
    /// Ids below the window, one after another, that mean a restart.
    pub const RESTART_AFTER: u32 = 16;

    /// Takes note of `id`.
    #[inline]
    pub fn see(&mut self, id: u64) -> Seen {
        let Some(newest) = self.newest else {
            self.restart(id);
            return Seen::New;
        };
        if id > newest {
            self.below_in_a_row = 0;
            let step = id - newest;
            self.forget(newest, step);
            self.newest = Some(id);
            self.mark(id);
            return if step == 1 { Seen::New } else { Seen::Gap(step - 1) };
        }
        if newest - id < Self::WINDOW {
            self.below_in_a_row = 0;
            if self.marked(id) {
                return Seen::Repeat;
            }
            self.mark(id);
            return Seen::New;
        }
        self.below_in_a_row += 1;
        if self.below_in_a_row < Self::RESTART_AFTER {
            return Seen::Repeat;
        }
        self.restart(id);
        Seen::Gap(0)
    }

    /// The venue says that `id` is its newest trade: how many we lack that were not told as missing yet.
    /// They may still come, and count then.
    pub fn expect(&mut self, id: u64) -> Option<u64> {
        let Some(newest) = self.newest else {
            self.restart(id);
            return None;
        };
        let missing = id.checked_sub(newest).filter(|missing| *missing > 0)?;
        self.forget(newest, missing);
        self.newest = Some(id);
        Some(missing)
    }

    /// The newest id.
    pub const fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Makes room for the ids after `newest`.
    #[inline]
    fn forget(&mut self, newest: u64, step: u64) {
        if step == 1 {
            return self.unmark(newest + 1);
        }
        if step >= Self::WINDOW {
            self.seen.fill(0);
        } else {
            for id in newest + 1..=newest + step {
                self.unmark(id);
            }
        }
    }

    #[cold]
    fn restart(&mut self, id: u64) {
        // What is older than the first id was not missed, but may still come as history.
        self.seen.fill(0);
        self.newest = Some(id);
        self.below_in_a_row = 0;
        self.mark(id);
    }

    #[inline]
    fn mark(&mut self, id: u64) {
        self.seen[(id / 64) as usize % Self::WORDS] |= 1 << (id % 64);
    }

    #[inline]
    fn unmark(&mut self, id: u64) {
        self.seen[(id / 64) as usize % Self::WORDS] &= !(1 << (id % 64));
    }

    #[inline]
    fn marked(&self, id: u64) -> bool {
        self.seen[(id / 64) as usize % Self::WORDS] >> (id % 64) & 1 == 1
    }
}

/// The ids of one instrument at a venue whose ids are no counter: the newest [`Recent::WINDOW`] are remembered.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    order: std::collections::VecDeque<TradeId>,
    known: rustc_hash::FxHashSet<TradeId>,
}

impl Recent {
    /// Ids remembered.
    pub const WINDOW: usize = 4_096;

    /// Takes note of `id`; `Gap` never comes from here.
    pub fn see(&mut self, id: TradeId) -> Seen {
        if !self.known.insert(id) {
            return Seen::Repeat;
        }
        if self.order.len() >= Self::WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_tells_repeats_gaps_and_late_ones() {
        let mut ids = Counter::default();
        assert_eq!([100, 101, 101, 100].map(|id| ids.see(id)), [Seen::New, Seen::New, Seen::Repeat, Seen::Repeat]);
        assert_eq!(ids.see(105), Seen::Gap(3));
        assert_eq!([103, 103, 104, 102].map(|id| ids.see(id)), [Seen::New, Seen::Repeat, Seen::New, Seen::New]);
        assert_eq!(ids.see(105 + Counter::WINDOW), Seen::Gap(Counter::WINDOW - 1));
        assert_eq!(ids.see(105), Seen::Repeat, "out of the window");
        assert_eq!(ids.see(106), Seen::New, "just inside it");
    }

    #[test]
    fn what_the_venue_says_is_newest_is_expected() {
        let mut ids = Counter::default();
        assert_eq!(ids.expect(9), None, "the first word is where we begin");
        assert_eq!([ids.see(10), ids.see(9)], [Seen::New, Seen::Repeat]);
        assert_eq!([ids.expect(10), ids.expect(8), ids.expect(13), ids.expect(13)], [None, None, Some(3), None]);
        assert_eq!([ids.see(12), ids.see(12), ids.see(14)], [Seen::New, Seen::Repeat, Seen::New]);
    }

    #[test]
    fn a_restarted_counter_is_followed() {
        let mut ids = Counter::default();
        ids.see(u64::MAX);
        for id in 1..u64::from(Counter::RESTART_AFTER) {
            assert_eq!(ids.see(id), Seen::Repeat);
        }
        assert_eq!(ids.see(500), Seen::Gap(0));
        assert_eq!(ids.see(501), Seen::New);
    }

    #[test]
    fn a_counter_equals_a_set_for_any_order_inside_the_window() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ids = Counter::default();
            let mut known = std::collections::BTreeSet::new();
            for step in 0..5_000u64 {
                let id = 1_000_000 + step + random.u64(0..200);
                let fresh = known.insert(id);
                assert_eq!(ids.see(id) != Seen::Repeat, fresh, "seed {seed} step {step} id {id}");
            }
        }
    }

    #[test]
    fn recent_ids_are_bounded() {
        let mut ids = Recent::default();
        for id in 0..10_000 {
            assert_eq!(ids.see(TradeId::Number(id)), Seen::New);
        }
        assert_eq!(ids.see(TradeId::Number(9_999)), Seen::Repeat);
        assert!(ids.order.len() == Recent::WINDOW && ids.known.len() == Recent::WINDOW);
        assert_eq!(ids.see(TradeId::Number(0)), Seen::New, "forgotten");
    }
}
