//! The newest records about one account or market, in memory, each with its position.
//!
//! A tape has one writer and any number of followers, each with a position of its own. Nothing is queued for a
//! follower: what it has not taken stays on the tape until newer records push it off. A follower that finds its
//! position pushed off is told, and knows that it missed something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::hub::Message;
use crate::listeners::{Listeners, lock};

/// Records that a tape keeps unless it is told otherwise.
pub(crate) const ENTRIES_MAX: usize = 4_096;
/// Bytes of text kept, at most, over all records of a tape.
const BYTES_MAX: usize = 2 << 20;

/// What a tape holds.
pub(crate) trait Text: Clone {
    /// Its length.
    fn bytes(&self) -> usize;
}

impl Text for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Text for Message {
    fn bytes(&self) -> usize {
        self.event_len()
    }
}

/// The newest records about one thing.
#[derive(Debug)]
pub(crate) struct Tape<T> {
    entries_max: usize,
    state: Mutex<State<T>>,
    listeners: Listeners,
}

impl<T> Default for Tape<T> {
    fn default() -> Self {
        Self::keeping(ENTRIES_MAX)
    }
}

impl<T> Tape<T> {
    /// A tape that keeps so many records.
    pub(crate) fn keeping(entries_max: usize) -> Self {
        Self { entries_max, state: Mutex::new(State::from(None)), listeners: Listeners::default() }
    }
}

#[derive(Debug)]
struct State<T> {
    entries: VecDeque<(u64, T)>,
    bytes: usize,
    /// Everything from this position on is here; none before the writer has begun.
    from: Option<u64>,
    /// One past the newest record's position.
    to: u64,
}

impl<T> State<T> {
    const fn from(from: Option<u64>) -> Self {
        let to = match from {
            Some(from) => from,
            None => 0,
        };
        Self { entries: VecDeque::new(), bytes: 0, from, to }
    }
}

/// What a follower finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// What follows its position was added; perhaps there is more.
    Some,
    /// There is nothing new.
    Nothing,
    /// What follows its position is no longer here, or not yet: this is where the tape begins, if it does.
    Outside(Option<u64>),
}

impl<T: Text> Tape<T> {
    /// The writer begins, or goes on after a gap: the tape is complete from `from` on.
    pub(crate) fn begin(&self, from: u64) {
        *lock(&self.state) = State::from(Some(from));
        self.wake();
    }

    /// Adds the record at `position`, which is past all before. Followers learn of it at the next [`Self::wake`].
    pub(crate) fn push(&self, position: u64, text: T) {
        let mut state = lock(&self.state);
        state.bytes += text.bytes();
        state.entries.push_back((position, text));
        state.to = position + 1;
        while state.entries.len() > self.entries_max || state.bytes > BYTES_MAX && state.entries.len() > 1 {
            let Some((position, text)) = state.entries.pop_front() else { break };
            state.bytes -= text.bytes();
            state.from = Some(position + 1);
        }
    }

    /// Tells the followers that there is news.
    pub(crate) fn wake(&self) {
        self.listeners.wake();
    }

    /// Where it is complete from; none before the writer has begun.
    pub(crate) fn from(&self) -> Option<u64> {
        lock(&self.state).from
    }

    /// One past the newest record's position.
    pub(crate) fn to(&self) -> u64 {
        lock(&self.state).to
    }

    /// Adds at most `max` records from `position` on to `into`, and moves the position past them.
    pub(crate) fn take(&self, position: &mut u64, max: usize, into: &mut Vec<T>) -> Taken {
        self.take_with(position, max, |_, text| into.push(text.clone()))
    }

    /// As [`Self::take`], with each record and its position given to `take`; keep it short.
    pub(crate) fn take_with(&self, position: &mut u64, max: usize, mut take: impl FnMut(u64, &T)) -> Taken {
        let state = lock(&self.state);
        if state.from.is_none_or(|from| *position < from) {
            return Taken::Outside(state.from);
        }
        let at = state.entries.partition_point(|(held, _)| held < position);
        let mut taken = Taken::Nothing;
        for (held, text) in state.entries.range(at..).take(max) {
            take(*held, text);
            *position = held + 1;
            taken = Taken::Some;
        }
        taken
    }

    /// The newest record.
    pub(crate) fn newest(&self) -> Option<T> {
        lock(&self.state).entries.back().map(|(_, text)| text.clone())
    }

    /// The position of the record `count` before the end, or of the oldest.
    pub(crate) fn back(&self, count: usize) -> u64 {
        let state = lock(&self.state);
        let at = state.entries.len().saturating_sub(count);
        state.entries.get(at).map_or(state.to, |(position, _)| *position)
    }

    /// Wakes `listener` at each change.
    pub(crate) fn listen(&self, listener: &Arc<Notify>) {
        self.listeners.add(listener);
    }

    /// Takes [`Self::listen`] back.
    pub(crate) fn forget(&self, listener: &Arc<Notify>) {
        self.listeners.remove(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(tape: &Tape<Bytes>, position: &mut u64, max: usize) -> (Taken, Vec<String>) {
        let mut into = Vec::new();
        let taken = tape.take(position, max, &mut into);
        (taken, into.iter().map(|text: &Bytes| String::from_utf8_lossy(text).into_owned()).collect())
    }

    #[test]
    fn a_follower_gets_each_record_once_from_its_position_on() {
        let tape: Tape<Bytes> = Tape::default();
        let mut position = 3;
        assert_eq!(take(&tape, &mut position, 9).0, Taken::Outside(None));
        tape.begin(2);
        for at in [2, 5, 6, 9] {
            tape.push(at, format!("{at}").into());
        }
        assert_eq!(take(&tape, &mut position, 2), (Taken::Some, vec!["5".into(), "6".into()]));
        assert_eq!(take(&tape, &mut position, 2), (Taken::Some, vec!["9".into()]));
        assert_eq!(take(&tape, &mut position, 2), (Taken::Nothing, vec![]));
        assert_eq!((position, tape.to(), tape.back(2), tape.back(99)), (10, 10, 6, 2));
        assert_eq!(take(&tape, &mut 1, 2).0, Taken::Outside(Some(2)));
    }

    #[test]
    fn what_is_pushed_off_is_told() {
        let tape: Tape<Bytes> = Tape::default();
        tape.begin(0);
        let mut position = 0;
        for at in 0..=ENTRIES_MAX as u64 {
            tape.push(at, "x".into());
        }
        assert_eq!(take(&tape, &mut position, 1).0, Taken::Outside(Some(1)));
        position = 1;
        assert_eq!(take(&tape, &mut position, usize::MAX).1.len(), ENTRIES_MAX);
        tape.push(ENTRIES_MAX as u64 + 1, "y".repeat(BYTES_MAX).into());
        assert_eq!(tape.from(), Some(ENTRIES_MAX as u64 + 1), "long texts push more off");
        assert_eq!(take(&tape, &mut position, 9).1.len(), 1, "one that is too long stays alone");
    }
}
