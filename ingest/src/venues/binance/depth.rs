//! One instrument's book from `depthUpdate` events: splice onto the REST snapshot, then an unbroken chain.
//!
//! Each event covers update ids `first..=last`. Events up to the snapshot's id are dropped, the first one kept
//! must cover the id after it, and each later one must begin right after its predecessor. While the snapshot is
//! awaited, events are kept in order of their ids, so that even disordered ones splice.

use crate::book::{Book, Levels, Top};

/// What an event or a snapshot led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The book advanced and is whole.
    Advanced,
    /// An event from before the book: nothing to do.
    Old,
    /// The book waits for its snapshot; `ask` says that it must be asked for now.
    Waiting {
        /// Ask for it.
        ask: bool,
    },
    /// Events are missing: so many update ids, 0 where unknown. The book waits for a new snapshot.
    Broken {
        /// Missing update ids.
        missing: u64,
    },
    /// The snapshot made the book whole.
    Spliced,
}

/// An event kept while the snapshot is awaited.
#[derive(Debug)]
struct Kept {
    first: u64,
    last: u64,
    levels: Levels,
}

/// The book of one instrument.
#[derive(Debug, Default)]
pub(super) struct Depth {
    book: Book,
    /// Id of the newest update in the book; `None` while it waits.
    last: Option<u64>,
    /// By first id, while it waits.
    kept: Vec<Kept>,
    kept_levels: usize,
    asked: bool,
    /// The book was whole once and broke.
    broken: bool,
}

impl Depth {
    /// Events kept while waiting, at most: over three minutes of them.
    const KEPT_MAX: usize = 2_048;
    /// Levels in them, at most.
    const KEPT_LEVELS_MAX: usize = 262_144;

    /// Takes one event.
    #[inline]
    pub(super) fn event(&mut self, first: u64, last: u64, levels: &Levels) -> Step {
        let Some(newest) = self.last else { return self.keep(first, last, levels) };
        if first == newest.wrapping_add(1) && first <= last {
            self.book.apply(levels);
            self.last = Some(last);
            if self.book.top().crossed() {
                return self.break_up(0);
            }
            return Step::Advanced;
        }
        if last <= newest {
            return Step::Old;
        }
        let missing = first.saturating_sub(newest).saturating_sub(1);
        self.break_up(missing);
        self.keep(first, last, levels);
        self.asked = true;
        Step::Broken { missing }
    }

    /// Takes the REST snapshot that holds all updates up to `id`. `Spliced`, or `Waiting` when it does not meet
    /// the events kept.
    pub(super) fn snapshot(&mut self, id: u64, levels: &Levels) -> Step {
        if self.last.is_some() {
            return Step::Old;
        }
        self.asked = false;
        let mut newest = id;
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|event| event.last > id);
        let covers = |newest: u64, event: &Kept| event.first == newest.wrapping_add(1);
        let mut events = kept.iter();
        if let Some(event) = events.next() {
            if event.first > id.saturating_add(1) {
                return self.wait_on(kept);
            }
            newest = event.last;
            for event in events {
                if event.last <= newest {
                    continue;
                }
                if !covers(newest, event) {
                    return self.wait_on(kept);
                }
                newest = event.last;
            }
        }
        self.book.load(levels);
        for event in &kept {
            self.book.apply(&event.levels);
        }
        self.kept_levels = 0;
        if self.book.top().crossed() {
            self.book.clear();
            self.asked = true;
            return Step::Waiting { ask: true };
        }
        self.last = Some(newest);
        self.broken = false;
        Step::Spliced
    }

    /// Forgets the book and waits for a snapshot.
    pub(super) fn reset(&mut self) {
        self.break_up(0);
        self.broken = false;
    }

    pub(super) fn top(&self) -> Top {
        self.book.top()
    }

    /// Id of the newest update in the book.
    pub(super) fn newest(&self) -> Option<u64> {
        self.last
    }

    /// Newest update id among the events that wait for a snapshot.
    pub(super) fn newest_kept(&self) -> Option<u64> {
        self.kept.iter().map(|event| event.last).max()
    }

    /// Whether it broke and is not whole again.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    #[cold]
    fn break_up(&mut self, missing: u64) -> Step {
        self.book.clear();
        self.last = None;
        self.kept.clear();
        self.kept_levels = 0;
        self.asked = false;
        self.broken = true;
        Step::Broken { missing }
    }

    #[cold]
    fn keep(&mut self, first: u64, last: u64, levels: &Levels) -> Step {
        if self.kept.len() >= Self::KEPT_MAX || self.kept_levels + levels.len() > Self::KEPT_LEVELS_MAX {
            // The snapshot is long overdue; a later one meets later events.
            self.kept.clear();
            self.kept_levels = 0;
            self.asked = false;
        }
        let at = self.kept.partition_point(|event| event.first < first);
        if self.kept.get(at).is_none_or(|event| event.first != first) {
            self.kept_levels += levels.len();
            self.kept.insert(at, Kept { first, last, levels: levels.clone() });
        }
        let ask = !self.asked;
        self.asked = true;
        Step::Waiting { ask }
    }

    fn wait_on(&mut self, kept: Vec<Kept>) -> Step {
        self.kept_levels = kept.iter().map(|event| event.levels.len()).sum();
        self.kept = kept;
        self.asked = true;
        Step::Waiting { ask: true }
    }
}
