//! What a venue really did, for tests to compare with what a client made of it.

use std::collections::VecDeque;

use model::{Instrument, Price, Quantity, Side, TradeId, UnixNanos};
use serde::Serialize;

use crate::faults::{Fault, Malformed};

/// Something that happened on a venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Truth {
    /// A trade was made, whether or not anybody was told.
    Trade {
        /// What was traded.
        instrument: Instrument,
        /// The id that the venue's frames carry.
        #[serde(serialize_with = "as_text")]
        id: TradeId,
        /// Its price.
        price: Price,
        /// Its quantity.
        quantity: Quantity,
        /// Who took liquidity.
        taker_side: Side,
        /// A block trade, which is no part of the book's prices.
        block: bool,
    },
    /// A data frame was left out: silence or loss.
    Lost {
        /// The venue's name for the channel.
        channel: &'static str,
        /// What the frame was about.
        instrument: Instrument,
        /// Trade id for trades, else the last sequence number in the frame.
        reference: u64,
    },
    /// A data frame was sent twice.
    Doubled {
        /// The venue's name for the channel.
        channel: &'static str,
        /// What the frame was about.
        instrument: Instrument,
        /// As in [`Truth::Lost`].
        reference: u64,
    },
    /// A spoilt copy of a data frame was sent.
    Spoilt {
        /// The venue's name for the channel.
        channel: &'static str,
        /// What the frame was about.
        instrument: Instrument,
        /// As in [`Truth::Lost`].
        reference: u64,
        /// How.
        form: Malformed,
        /// Whether the frame itself was left out.
        replaced: bool,
    },
    /// A book frame went out with a wrong checksum.
    WrongChecksum {
        /// What the frame was about.
        instrument: Instrument,
    },
    /// A fault began.
    Fault {
        /// Which.
        fault: Fault,
    },
    /// A connection was opened.
    Opened {
        /// Its number.
        connection: u64,
    },
    /// The venue ended a connection.
    Cut {
        /// Its number.
        connection: u64,
        /// Why.
        reason: &'static str,
    },
}

fn as_text<S: serde::Serializer>(id: &TradeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A [`Truth`] with its place and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TruthEntry {
    /// Rises by one.
    pub sequence: u64,
    /// The true time, in unix nanoseconds: clock skew does not touch it.
    pub at: UnixNanos,
    /// What happened.
    #[serde(flatten)]
    pub what: Truth,
}

/// The newest entries, a bounded number of them.
#[derive(Debug)]
pub(crate) struct TruthRing {
    entries: VecDeque<TruthEntry>,
    entries_max: usize,
    next: u64,
}

impl TruthRing {
    /// Keeps the last `entries_max`, at least 1.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::new(), entries_max: entries_max.max(1), next: 0 }
    }

    /// Numbers and keeps what happened.
    pub(crate) fn extend(&mut self, happened: impl Iterator<Item = (UnixNanos, Truth)>) {
        for (at, what) in happened {
            if self.entries.len() == self.entries_max {
                self.entries.pop_front();
            }
            self.entries.push_back(TruthEntry { sequence: self.next, at, what });
            self.next += 1;
        }
    }

    /// At most `limit` entries from `since` on, and the sequence that the next call continues with.
    pub(crate) fn since(&self, since: u64, limit: usize) -> (Vec<TruthEntry>, u64) {
        let oldest = self.next - self.entries.len() as u64;
        let skip = since.saturating_sub(oldest).min(self.entries.len() as u64) as usize;
        let entries: Vec<TruthEntry> = self.entries.iter().skip(skip).take(limit).cloned().collect();
        let next = entries.last().map_or(since.max(oldest).min(self.next), |last| last.sequence + 1);
        (entries, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest() {
        let mut ring = TruthRing::new(3);
        ring.extend((0..5).map(|connection| (UnixNanos(0), Truth::Opened { connection })));
        let (entries, next) = ring.since(0, 10);
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(next, 5);
        assert_eq!(ring.since(3, 1).1, 4);
        assert_eq!(ring.since(99, 1), (vec![], 5));
        let text = serde_json::to_string(&entries[0]).expect("serializable");
        assert_eq!(text, r#"{"sequence":2,"at":0,"kind":"opened","connection":2}"#);
    }
}
