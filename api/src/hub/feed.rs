//! The changes of one thing, shared by all who follow it.
//!
//! A feed keeps the newest entry of each conflated key and a bounded queue of those that are delivered one by
//! one. Every follower has a position of its own and takes what is newer when it is ready for more, so a slow
//! follower costs nobody anything: it finds fewer, newer entries, and the number that it did not get.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::message::Message;
use crate::listeners::{Listeners, lock};

/// Something that changes and is shown.
pub(crate) trait Entry: Send + 'static {
    /// What tells conflated entries apart.
    type Key: PartialEq + Send;

    /// The key whose older entry it replaces; none when each entry is to be delivered.
    fn key(&self) -> Option<Self::Key>;

    /// Its serialised form. Called once, and only when somebody takes it.
    fn message(&self) -> Message;
}

/// A feed of entries.
#[derive(Debug)]
pub(crate) struct Feed<E: Entry> {
    /// Number of entries ever pushed; a copy of the one inside, to be looked at without the lock.
    version: AtomicU64,
    state: Mutex<State<E>>,
    listeners: Listeners,
    queue_max: usize,
}

#[derive(Debug)]
struct State<E> {
    version: u64,
    latest: Vec<Held<E>>,
    queue: VecDeque<Held<E>>,
    queued_total: u64,
}

#[derive(Debug)]
struct Held<E> {
    version: u64,
    entry: E,
    message: OnceCell<Message>,
}

/// How far a follower has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    pub(super) version: u64,
    pub(super) queued: u64,
    pub(super) started: bool,
}

/// What a follower did not get since it last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Replaced by newer ones of the same key.
    pub(crate) conflated: u64,
    /// Lost, because the follower was further behind than the queue is long.
    pub(crate) missed: u64,
}

/// A feed as its followers see it.
pub(crate) trait Source: Send + Sync {
    /// Whether there is something past the position.
    fn is_ahead_of(&self, position: &Position) -> bool;

    /// Appends what is past the position, oldest first, and moves it. The first time that is the current
    /// state: the newest of each key, and the last entry of the queue.
    fn take(&self, position: &mut Position, into: &mut Vec<Message>) -> Skipped;

    /// Wakes `listener` at each change.
    fn listen(&self, listener: &Arc<Notify>);

    /// Takes [`Self::listen`] back.
    fn forget(&self, listener: &Arc<Notify>);
}

impl<E: Entry> Feed<E> {
    /// Keys whose newest entry is kept; entries of further keys are dropped and counted.
    const LATEST_MAX: usize = 256;

    /// An empty feed that queues at most `queue_max` entries.
    pub(crate) fn new(queue_max: usize) -> Self {
        let state = State { version: 0, latest: Vec::new(), queue: VecDeque::new(), queued_total: 0 };
        Self { version: AtomicU64::new(0), state: Mutex::new(state), listeners: Listeners::default(), queue_max }
    }

    /// Adds an entry. Followers learn of it at the next [`Self::wake`].
    pub(crate) fn push(&self, entry: E) {
        let mut state = lock(&self.state);
        let version = state.version + 1;
        let key = entry.key();
        let held = Held { version, entry, message: OnceCell::new() };
        if key.is_some() {
            if let Some(slot) = state.latest.iter_mut().find(|slot| slot.entry.key() == key) {
                *slot = held;
            } else if state.latest.len() < Self::LATEST_MAX {
                state.latest.push(held);
            } else {
                metrics::counter!("millrace_api_feed_dropped_total").increment(1);
                return;
            }
        } else {
            if state.queue.len() == self.queue_max {
                state.queue.pop_front();
            }
            state.queue.push_back(held);
            state.queued_total += 1;
        }
        state.version = version;
        self.version.store(version, Ordering::Release);
    }

    /// Tells the followers that there is news.
    pub(crate) fn wake(&self) {
        self.listeners.wake();
    }
}

impl<E> State<E> {
    fn newer(&self, version: u64) -> impl Iterator<Item = &Held<E>> {
        let from = self.queue.partition_point(|held| held.version <= version);
        self.latest.iter().filter(move |held| held.version > version).chain(self.queue.range(from..))
    }

    fn current(&self) -> impl Iterator<Item = &Held<E>> {
        self.latest.iter().chain(self.queue.back())
    }
}

impl<E: Entry> Source for Feed<E> {
    fn is_ahead_of(&self, position: &Position) -> bool {
        !position.started || self.version.load(Ordering::Acquire) > position.version
    }

    fn take(&self, position: &mut Position, into: &mut Vec<Message>) -> Skipped {
        let state = lock(&self.state);
        let now = Position { version: state.version, queued: state.queued_total, started: true };
        let before = std::mem::replace(position, now);
        let mut found: Vec<&Held<E>> =
            if before.started { state.newer(before.version).collect() } else { state.current().collect() };
        found.sort_unstable_by_key(|held| held.version);
        into.extend(found.iter().map(|held| held.message.get_or_init(|| held.entry.message()).clone()));
        if !before.started {
            return Skipped::default();
        }
        let queued_new = now.queued - before.queued;
        let missed = queued_new.saturating_sub(state.queue.len() as u64);
        let conflated = now.version - before.version - found.len() as u64 - missed;
        Skipped { conflated, missed }
    }

    fn listen(&self, listener: &Arc<Notify>) {
        self.listeners.add(listener);
    }

    fn forget(&self, listener: &Arc<Notify>) {
        self.listeners.remove(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::message::Channel;

    struct Number {
        key: Option<u8>,
        value: u32,
    }

    impl Entry for Number {
        type Key = u8;

        fn key(&self) -> Option<u8> {
            self.key
        }

        fn message(&self) -> Message {
            Message::new(Channel::Ticks, "X", None, &self.value)
        }
    }

    fn take(feed: &Feed<Number>, position: &mut Position) -> (Vec<String>, Skipped) {
        let mut messages = Vec::new();
        let skipped = feed.take(position, &mut messages);
        let texts = messages.iter().map(|message| String::from_utf8_lossy(&message.data()).into_owned());
        (texts.collect(), skipped)
    }

    #[test]
    fn the_current_state_comes_first_and_then_each_change() {
        let feed = Feed::new(3);
        for (key, value) in [(Some(1), 10), (Some(2), 20), (None, 1), (None, 2), (Some(1), 11)] {
            feed.push(Number { key, value });
        }
        let mut position = Position::default();
        assert!(feed.is_ahead_of(&position));
        assert_eq!(take(&feed, &mut position).0, ["20", "2", "11"]);
        assert!(!feed.is_ahead_of(&position));
        assert!(take(&feed, &mut position).0.is_empty());
        feed.push(Number { key: None, value: 3 });
        feed.push(Number { key: Some(2), value: 21 });
        assert!(feed.is_ahead_of(&position));
        assert_eq!(take(&feed, &mut position), (vec!["3".into(), "21".into()], Skipped::default()));
    }

    #[test]
    fn what_a_slow_follower_does_not_get_is_counted() {
        let feed = Feed::new(3);
        let mut position = Position::default();
        take(&feed, &mut position);
        for value in 0..5 {
            feed.push(Number { key: Some(1), value });
            feed.push(Number { key: None, value: 100 + value });
        }
        let (texts, skipped) = take(&feed, &mut position);
        assert_eq!(texts, ["102", "103", "4", "104"]);
        assert_eq!(skipped, Skipped { conflated: 4, missed: 2 });
    }

    #[test]
    fn a_follower_that_keeps_up_gets_everything_whatever_the_order() {
        // Every sequence of pushes with takes in between gives, over all takes, each queued value once.
        for seed in 0..200u64 {
            let feed = Feed::new(1_000);
            let mut position = Position::default();
            take(&feed, &mut position);
            let (mut sent, mut got, mut skipped_conflated, mut latest) = (Vec::new(), Vec::new(), 0, 0);
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for value in 0..300u32 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                match state % 4 {
                    0 | 1 => {
                        feed.push(Number { key: None, value });
                        sent.push(value.to_string());
                    }
                    2 => {
                        feed.push(Number { key: Some(0), value: 1_000_000 + value });
                        latest += 1;
                    }
                    _ => {
                        let (texts, skipped) = take(&feed, &mut position);
                        assert_eq!(skipped.missed, 0, "seed {seed}");
                        skipped_conflated += skipped.conflated;
                        got.extend(texts);
                    }
                }
            }
            let (texts, skipped) = take(&feed, &mut position);
            got.extend(texts);
            let (conflated, queued): (Vec<String>, Vec<String>) = got.into_iter().partition(|text| text.len() == 7);
            assert_eq!(queued, sent, "seed {seed}");
            assert_eq!(conflated.len() as u64 + skipped_conflated + skipped.conflated, latest, "seed {seed}");
        }
    }
}
