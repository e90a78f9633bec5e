//! What one client follows.

use std::sync::Arc;

use model::Interval;
use tokio::sync::Notify;

use super::feed::{Position, Source};
use super::message::{Channel, Message};
use super::{Hub, count_conflated, count_missed};
use crate::catalog::AssetIndex;

/// One thing that a client can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An asset's composite price.
    Prices(AssetIndex),
    /// An asset's candles of one interval.
    Candles(AssetIndex, Interval),
    /// An asset's market data.
    Ticks(AssetIndex),
    /// A channel of one of our own markets.
    Market(Channel, AssetIndex),
}

impl Subject {
    pub(crate) const fn channel(self) -> Channel {
        match self {
            Self::Prices(_) => Channel::Prices,
            Self::Candles(..) => Channel::Candles,
            Self::Ticks(_) => Channel::Ticks,
            Self::Market(channel, _) => channel,
        }
    }

    /// Its place among the priced assets, or among our own markets.
    pub(crate) const fn index(self) -> AssetIndex {
        match self {
            Self::Prices(index) | Self::Candles(index, _) | Self::Ticks(index) | Self::Market(_, index) => index,
        }
    }

    pub(crate) const fn interval(self) -> Option<Interval> {
        match self {
            Self::Candles(_, interval) => Some(interval),
            Self::Prices(_) | Self::Ticks(_) | Self::Market(..) => None,
        }
    }
}

/// The subscriptions of one client, each with its position. Nothing is queued for a client: it takes what is
/// new when it has sent what it took before.
pub(crate) struct Subscriptions {
    hub: Arc<Hub>,
    wake: Arc<Notify>,
    held: Vec<Held>,
    /// Where the next round begins, so that a busy feed does not keep the others waiting.
    next: usize,
    max: usize,
}

struct Held {
    subject: Subject,
    source: Arc<dyn Source>,
    position: Position,
}

/// More subscriptions than a client may have.
#[derive(Debug, thiserror::Error)]
#[error("{wanted} subscriptions are not allowed: at most {max} for one client; channel, asset and interval make one")]
pub(crate) struct TooMany {
    wanted: usize,
    max: usize,
}

/// What was taken from one feed.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) subject: Subject,
    /// Entries that were lost because the client was too slow.
    pub(crate) missed: u64,
}

impl Subscriptions {
    pub(crate) fn new(hub: &Arc<Hub>, max: usize) -> Self {
        Self { hub: Arc::clone(hub), wake: Arc::new(Notify::new()), held: Vec::new(), next: 0, max }
    }

    /// Follows the subjects, from their current state on; one that is followed already begins again there.
    ///
    /// # Errors
    /// When there would be more than the limit; then nothing changes.
    pub(crate) fn add(&mut self, subjects: &[Subject]) -> Result<(), TooMany> {
        let new = subjects.iter().filter(|subject| !self.held.iter().any(|held| held.subject == **subject)).count();
        let wanted = self.held.len() + new;
        if wanted > self.max {
            return Err(TooMany { wanted, max: self.max });
        }
        for subject in subjects {
            if let Some(held) = self.held.iter_mut().find(|held| held.subject == *subject) {
                held.position = Position::default();
                continue;
            }
            let source = self.hub.source(*subject);
            source.listen(&self.wake);
            self.held.push(Held { subject: *subject, source, position: Position::default() });
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Follows the subjects no longer.
    pub(crate) fn remove(&mut self, subjects: &[Subject]) {
        let wake = &self.wake;
        self.held.retain(|held| {
            let leaves = subjects.contains(&held.subject);
            if leaves {
                held.source.forget(wake);
            }
            !leaves
        });
    }

    /// Waits until something may be new. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Takes what is new in the next feed that has news; none when there is nothing.
    pub(crate) fn take(&mut self, into: &mut Vec<Message>) -> Option<Taken> {
        let count = self.held.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            let held = &mut self.held[at];
            if !held.source.is_ahead_of(&held.position) {
                continue;
            }
            let skipped = held.source.take(&mut held.position, into);
            let channel = held.subject.channel();
            count_conflated(channel, skipped.conflated);
            count_missed(channel, skipped.missed);
            self.next = (at + 1) % count;
            return Some(Taken { subject: held.subject, missed: skipped.missed });
        }
        None
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for held in &self.held {
            held.source.forget(&self.wake);
        }
    }
}
