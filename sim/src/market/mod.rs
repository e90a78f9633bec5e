//! The hidden market behind the venues: fair prices, and what each venue makes of them.
//!
//! Everything follows from the seed, the instrument and the venue's name; time is the number of nanoseconds
//! since the start, never a clock.

pub(crate) mod book;
mod day;
mod fair;
pub(crate) mod feed;
mod instrument;
pub(crate) mod random;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub use fair::Motion;
pub use feed::Character;
pub(crate) use feed::{Feed, Fill};
pub use instrument::{InstrumentConfig, InstrumentConfigError, defaults};

/// The instruments of one venue, merged into one sequence of events.
#[derive(Debug)]
pub(crate) struct Market {
    /// By the index that streams are numbered with.
    pub(crate) feeds: Vec<Feed>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Market {
    /// A venue's market, whose trade ids begin above `trade_ids_from`.
    pub(crate) fn new(
        seed: u64,
        venue: &str,
        listed: &[InstrumentConfig],
        character: Character,
        trade_ids_from: u64,
    ) -> Self {
        let mut feeds: Vec<Feed> =
            listed.iter().map(|config| Feed::new(seed, venue, config.clone(), character, trade_ids_from)).collect();
        let due = feeds.iter_mut().enumerate().map(|(index, feed)| Reverse((feed.gap(), index))).collect();
        Self { feeds, due }
    }

    /// When the next event is due, in nanoseconds since the start.
    pub(crate) fn next_due(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse((at, _))| *at)
    }

    /// The next event when it is due at or before `until`: its time, the feed's index, and its trade.
    pub(crate) fn next(&mut self, until: u64) -> Option<(u64, usize, Option<Fill>)> {
        let mut first = self.due.peek_mut()?;
        let Reverse((at, index)) = *first;
        if at > until {
            return None;
        }
        let feed = &mut self.feeds[index];
        let fill = feed.step(at);
        *first = Reverse((at + feed.gap(), index));
        Some((at, index, fill))
    }
}
