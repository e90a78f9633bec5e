//! What to do: when files roll, and what a failed commit means. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lake::Position;

/// When open files are finished and committed: whichever bound comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// Rows in all open files of a table.
    pub rows: u64,
    /// About how many bytes they have, encoded.
    pub bytes: u64,
    /// Time since the first of their records was read.
    pub age: Duration,
}

impl Default for Roll {
    fn default() -> Self {
        Self { rows: 1_000_000, bytes: 32 << 20, age: Duration::from_secs(30) }
    }
}

/// Event dates that may be open at a time: input with a date of its own in every record must not open files
/// without end.
const DATES_MAX: usize = 8;

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Open {
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes, encoded.
    pub(crate) bytes: u64,
    /// Event dates.
    pub(crate) dates: usize,
    /// Time since the first record; none where nothing was read.
    pub(crate) age: Option<Duration>,
}

impl Roll {
    /// Whether the open files are to be committed now.
    pub(crate) fn is_due(&self, open: &Open) -> bool {
        let old = open.age.is_some_and(|age| age >= self.age);
        old || open.rows >= self.rows || open.bytes >= self.bytes || open.dates > DATES_MAX
    }
}

/// A position is another than we left: somebody else writes this log's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Source partition.
    pub(crate) partition: u32,
    /// Where we left it.
    pub(crate) expected: u64,
    /// Where it is now.
    pub(crate) found: u64,
}

/// The first of our partitions that is not where we left it.
pub(crate) fn moved(left_at: &BTreeMap<u32, u64>, now: &BTreeMap<u32, Position>) -> Option<Moved> {
    left_at.iter().find_map(|(partition, expected)| {
        let found = now.get(partition).map_or(0, |position| position.next);
        (found != *expected).then_some(Moved { partition: *partition, expected: *expected, found })
    })
}

/// What a commit that did not clearly succeed comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did succeed; the answer was lost.
    Ours,
    /// Somebody committed something that leaves our positions as they were, a compaction for instance: try again
    /// at this version.
    Again(u64),
    /// Our positions have moved without us, whether or not the commit is in: what followed it is another's.
    Fenced(Moved),
}

/// Judges a commit by the table as it is now: its version, whether it has our commit, and how far our partitions
/// have landed in it, against where we left them and where the commit puts them.
pub(crate) fn resolve(
    version: u64,
    has_our_commit: bool,
    left_at: &BTreeMap<u32, u64>,
    reached: &BTreeMap<u32, u64>,
    now: &BTreeMap<u32, Position>,
) -> Verdict {
    if !has_our_commit {
        return moved(left_at, now).map_or(Verdict::Again(version + 1), Verdict::Fenced);
    }
    // A rival that began right after our commit may have gone on from there before we looked.
    let mut landed = left_at.clone();
    landed.extend(reached);
    moved(&landed, now).map_or(Verdict::Ours, Verdict::Fenced)
}

/// How a partition of the log stands to what has landed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Read on from here.
    At(u64),
    /// Records between were trimmed before they landed: read on after them.
    Lost {
        /// First missing record.
        from: u64,
        /// First record that is still there.
        to: u64,
    },
    /// The log ends before what has landed: it is not the log that it was.
    Truncated {
        /// Where it ends.
        end: u64,
        /// What has landed.
        landed: u64,
    },
}

/// Where to read on; `landed` is none where nothing of the partition has landed yet.
pub(crate) fn start(landed: Option<u64>, start: u64, end: u64) -> Start {
    match landed {
        Some(landed) if landed > end => Start::Truncated { end, landed },
        Some(landed) if landed < start => Start::Lost { from: landed, to: start },
        Some(landed) => Start::At(landed),
        None => Start::At(start),
    }
}

/// Pauses between attempts: doubled each time, up to a bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(5);

    pub(crate) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Self::MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landed(next: u64) -> BTreeMap<u32, Position> {
        BTreeMap::from([(0, Position { next, ..Position::default() })])
    }

    #[test]
    fn whichever_bound_comes_first_rolls() {
        let roll = Roll { rows: 10, bytes: 1_000, age: Duration::from_secs(30) };
        let open = Open { rows: 9, bytes: 999, dates: 1, age: Some(Duration::from_secs(29)) };
        assert!(!roll.is_due(&open) && !roll.is_due(&Open::default()));
        assert!(roll.is_due(&Open { rows: 10, ..open }));
        assert!(roll.is_due(&Open { bytes: 1_000, ..open }));
        assert!(roll.is_due(&Open { age: Some(Duration::from_secs(30)), ..open }));
        assert!(roll.is_due(&Open { dates: 9, ..open }));
    }

    #[test]
    fn a_lost_answer_an_interleaved_commit_and_a_rival_are_told_apart() {
        let (left, reached) = (BTreeMap::from([(0, 100), (1, 0)]), BTreeMap::from([(0, 150)]));
        let judge = |ours, now: &BTreeMap<u32, Position>| resolve(7, ours, &left, &reached, now);
        let fenced = |partition, expected, found| Verdict::Fenced(Moved { partition, expected, found });
        assert_eq!(judge(true, &landed(150)), Verdict::Ours);
        assert_eq!(judge(false, &landed(100)), Verdict::Again(8));
        assert_eq!(judge(false, &landed(150)), fenced(0, 100, 150));
        assert_eq!(judge(false, &BTreeMap::new()), fenced(0, 100, 0), "a restored older table");
        assert_eq!(judge(true, &landed(190)), fenced(0, 150, 190), "ours is in, and a rival's after it");
        let mut both = landed(100);
        both.insert(1, Position { next: 5, ..Position::default() });
        assert_eq!(judge(false, &both), fenced(1, 0, 5));
        both.insert(0, Position { next: 150, ..Position::default() });
        assert_eq!(judge(true, &both), fenced(1, 0, 5), "a rival's in another partition");
    }

    #[test]
    fn a_start_sees_loss_and_truncation() {
        assert_eq!(start(None, 40, 90), Start::At(40));
        assert_eq!(start(Some(60), 40, 90), Start::At(60));
        assert_eq!(start(Some(90), 90, 90), Start::At(90));
        assert_eq!(start(Some(10), 40, 90), Start::Lost { from: 10, to: 40 });
        assert_eq!(start(Some(91), 40, 90), Start::Truncated { end: 90, landed: 91 });
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        let pauses: Vec<u128> = (0..10).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!((pauses[0], pauses[1], pauses[9]), (50, 100, 5_000));
    }
}
