//! Which row of the right goes with each row of the left. Pure: it neither reads nor waits.

use std::cmp::Ordering;
use std::collections::VecDeque;

use arrow::array::Array;
use arrow::row::OwnedRow;

use super::node::Nearest;
use super::prepared::Prepared;

/// Batches of the right that may be held before what is matched is handed out.
const HELD_MAX: usize = 16;

/// A row of the right: number of its batch since the start, and row in it. `None` is no match.
pub(super) type Match = Option<(u64, u32)>;

/// What the matcher needs next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The next batch of the right, or word that there is none.
    Right,
    /// The rows matched so far have to be taken: too many batches of the right are held for them.
    Flush,
    /// The left batch is matched whole.
    Left,
}

/// Walks both sides once.
#[derive(Debug)]
pub(super) struct Matcher {
    nearest: Nearest,
    right: VecDeque<Prepared>,
    /// Number of the first batch held.
    base: u64,
    /// Set when the right has ended.
    ended: bool,
    /// The next row of the right to look at: index into `right`, run, row.
    at: (usize, usize, usize),
    /// The key that `candidate` belongs to; `Some(None)` in a join without keys.
    key: Option<Option<OwnedRow>>,
    candidate: Match,
    /// Position in the left batch: run and row.
    left_at: (usize, usize),
}

impl Matcher {
    pub(super) fn new(nearest: Nearest) -> Self {
        Self {
            nearest,
            right: VecDeque::new(),
            base: 0,
            ended: false,
            at: (0, 0, 0),
            key: None,
            candidate: None,
            left_at: (0, 0),
        }
    }

    /// Gives the next batch of the right; `None` when there is none.
    pub(super) fn give(&mut self, batch: Option<Prepared>) {
        match batch {
            Some(batch) if batch.runs() > 0 => self.right.push_back(batch),
            Some(_) => {}
            None => self.ended = true,
        }
    }

    /// Begins a left batch.
    pub(super) fn begin(&mut self) {
        self.left_at = (0, 0);
    }

    /// The batches held, with the number of the first.
    pub(super) fn held(&self) -> (u64, &VecDeque<Prepared>) {
        (self.base, &self.right)
    }

    /// Lets go of the batches that no later row can match.
    pub(super) fn release(&mut self) {
        let candidate = self.candidate.map_or(usize::MAX, |(batch, _)| (batch - self.base) as usize);
        let keep_from = self.at.0.min(candidate).min(self.right.len());
        self.right.drain(..keep_from);
        self.base += keep_from as u64;
        self.at.0 -= keep_from;
    }

    /// Goes on with the left batch: appends one match per row to `into` until something is needed.
    pub(super) fn advance(&mut self, left: &Prepared, into: &mut Vec<Match>) -> Need {
        while self.left_at.0 < left.runs() {
            let run = self.left_at.0;
            let rows = left.rows(run);
            self.left_at.1 = self.left_at.1.max(rows.start);
            if !left.can_match(run) {
                into.extend((self.left_at.1..rows.end).map(|_| None));
                self.left_at = (run + 1, rows.end);
                continue;
            }
            if !self.seek(left, run) {
                return self.starved(into);
            }
            while self.left_at.1 < rows.end {
                if !self.step(left, into, rows.end) {
                    return self.starved(into);
                }
            }
            self.left_at = (run + 1, rows.end);
        }
        Need::Left
    }

    /// More of the right is needed; when too much is held already, what is matched goes first.
    fn starved(&mut self, matched: &[Match]) -> Need {
        if self.right.len() >= HELD_MAX {
            if !matched.is_empty() {
                return Need::Flush;
            }
            self.release();
        }
        Need::Right
    }

    /// Moves the right to the first run whose key is not below the left run's. False when a batch is needed.
    fn seek(&mut self, left: &Prepared, run: usize) -> bool {
        let wanted = left.key(run);
        let same = match (&self.key, &wanted) {
            (Some(None), None) => true,
            (Some(Some(known)), Some(wanted)) => known.row() == *wanted,
            _ => false,
        };
        if !same {
            self.key = Some(wanted.as_ref().map(arrow::row::Row::owned));
            self.candidate = None;
        }
        loop {
            match self.compare(left, run) {
                Some(Some(Ordering::Less)) => self.next_run(),
                Some(_) => return true,
                None => return false,
            }
        }
    }

    /// How the right's current key compares with the left run's; `Some(None)` at the right's end, `None` when a
    /// batch is needed. Keys with nulls count as less, so that they are passed over.
    fn compare(&self, left: &Prepared, run: usize) -> Option<Option<Ordering>> {
        let (batch, right_run, _) = self.at;
        let Some(right) = self.right.get(batch) else {
            return self.ended.then_some(None);
        };
        let order = match (right.key(right_run), left.key(run)) {
            (Some(right), Some(left)) => right.cmp(&left),
            _ => Ordering::Equal,
        };
        // Nulls sort last: a run with a null may stand behind the wanted key, never equal to it.
        let order = if order == Ordering::Equal && !right.can_match(right_run) { Ordering::Less } else { order };
        Some(Some(order))
    }

    fn next_run(&mut self) {
        let (batch, run, _) = self.at;
        let right = &self.right[batch];
        self.at = if run + 1 < right.runs() { (batch, run + 1, right.rows(run + 1).start) } else { (batch + 1, 0, 0) };
    }

    /// Matches left rows of the current run against the right's current run. False when a batch is needed.
    fn step(&mut self, left: &Prepared, into: &mut Vec<Match>, end: usize) -> bool {
        let run = self.left_at.0;
        match self.compare(left, run) {
            None => return false,
            Some(Some(Ordering::Equal)) => {}
            Some(_) => {
                // The right has no further row of this key.
                let rest = if self.nearest.is_backward() { self.candidate } else { None };
                for row in self.left_at.1..end {
                    into.push(if left.times.is_null(row) { None } else { rest });
                }
                self.left_at.1 = end;
                return true;
            }
        }
        let (batch, right_run, mut at) = self.at;
        let right = &self.right[batch];
        let right_end = right.rows(right_run).end;
        let number = self.base + batch as u64;
        let (times, left_times) = (right.times.values(), left.times.values());
        let mut row = self.left_at.1;
        while row < end {
            if left.times.is_null(row) {
                into.push(None);
                row += 1;
                continue;
            }
            let time = left_times[row];
            while at < right_end && right.times.is_valid(at) && self.nearest.passes(times[at], time) {
                at += 1;
            }
            if at == right_end {
                break;
            }
            into.push(match self.nearest.is_backward() {
                true if at > right.rows(right_run).start => Some((number, at as u32 - 1)),
                true => self.candidate,
                false => right.times.is_valid(at).then_some((number, at as u32)),
            });
            row += 1;
        }
        self.left_at.1 = row;
        self.at.2 = at;
        if self.nearest.is_backward() && at > right.rows(right_run).start {
            self.candidate = Some((number, at as u32 - 1));
        }
        if at == right_end {
            self.next_run();
        }
        true
    }
}
