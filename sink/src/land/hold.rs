//! Holds candles back until no correction can follow.
//!
//! The topic carries every revision of a candle. A correction comes at most `allowed_lateness` behind the
//! watermark, and the watermark is at most the idle bound behind the core's time, which every candle carries. So
//! once the same core has written a candle at a time that lies beyond a candle's end by both, that candle stays
//! as it is. Records are released in the order of their offsets; superseded ones are dropped.

use std::collections::{BTreeMap, VecDeque};

use journal::Record;
use model::{Candle, Instrument, Interval, UnixNanos};

/// What is read of a candle to decide.
struct Held {
    record: Record,
    /// Core (the partition of `ticks`), instrument, interval, start; none for what is no candle, which is let
    /// through to be refused.
    key: Option<Key>,
    revision: u32,
    end: i64,
}

type Key = (u32, Instrument, Interval, UnixNanos);

/// The candles of one partition that may still be corrected.
pub(crate) struct Hold {
    /// Nanoseconds between a candle's end and the core's time from which on it stays.
    settle_ns: i64,
    held: VecDeque<Held>,
    /// Newest revision held, by candle.
    newest: BTreeMap<Key, u32>,
    /// Newest time of each core.
    times: BTreeMap<u32, i64>,
    superseded: u64,
}

impl Hold {
    pub(crate) fn new(settle_ns: i64) -> Self {
        Self { settle_ns, held: VecDeque::new(), newest: BTreeMap::new(), times: BTreeMap::new(), superseded: 0 }
    }

    /// Takes a record.
    pub(crate) fn push(&mut self, record: Record) {
        let Ok(candle) = serde_json::from_slice::<Candle>(&record.value) else {
            self.held.push_back(Held { record, key: None, revision: 0, end: i64::MIN });
            return;
        };
        let key = (candle.cause.partition, candle.instrument, candle.interval, candle.start);
        let time = self.times.entry(candle.cause.partition).or_insert(i64::MIN);
        *time = (*time).max(candle.ts_event.0);
        let newest = self.newest.entry(key).or_insert(candle.revision);
        *newest = (*newest).max(candle.revision);
        let end = candle.start.0.saturating_add(candle.interval.nanos());
        self.held.push_back(Held { record, key: Some(key), revision: candle.revision, end });
    }

    /// Releases the records that stay as they are, oldest first, up to the first that may not.
    pub(crate) fn release(&mut self, into: &mut Vec<Record>) {
        while let Some(first) = self.held.front() {
            if let Some(key) = first.key {
                let superseded = self.newest.get(&key).is_some_and(|newest| *newest > first.revision);
                let time = self.times.get(&key.0).copied().unwrap_or(i64::MIN);
                let settled = first.end.saturating_add(self.settle_ns) <= time;
                if !superseded && !settled {
                    return;
                }
                if superseded {
                    self.superseded += 1;
                    self.held.pop_front();
                    continue;
                }
                self.newest.remove(&key);
            }
            into.extend(self.held.pop_front().map(|held| held.record));
        }
    }

    /// Offset of the oldest record that is held.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.held.front().map(|held| held.record.offset)
    }

    /// Records dropped because a later revision replaces them.
    pub(crate) const fn superseded(&self) -> u64 {
        self.superseded
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{Cause, Notional, Price, Volume, topic};

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn candle(offset: u64, start: i64, revision: u32, at: i64) -> Record {
        let candle = Candle {
            v: 1,
            instrument: "BTC-USDT".parse().expect("an instrument"),
            interval: Interval::S1,
            start: UnixNanos(start * SECOND),
            revision,
            open: Price::ONE,
            high: Price::ONE,
            low: Price::ONE,
            close: Price::ONE,
            volume: Volume::ZERO,
            notional: Notional::ZERO,
            vwap: Price::ONE,
            trades: 1,
            cause: Cause { topic: topic::name(topic::TICKS), partition: 0, offset, index: 0 },
            ts_event: UnixNanos(at * SECOND),
            ts_recv: UnixNanos(at * SECOND),
        };
        let value = serde_json::to_vec(&candle).expect("JSON").into();
        Record { offset, key: Bytes::new(), value }
    }

    fn released(hold: &mut Hold) -> Vec<u64> {
        let mut into = Vec::new();
        hold.release(&mut into);
        into.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn a_candle_lands_once_and_in_its_last_revision() {
        let mut hold = Hold::new(5 * SECOND);
        hold.push(candle(0, 10, 0, 12));
        hold.push(candle(1, 11, 0, 13));
        assert_eq!((released(&mut hold), hold.oldest()), (vec![], Some(0)));
        hold.push(candle(2, 10, 1, 13));
        assert_eq!((released(&mut hold), hold.oldest()), (vec![], Some(1)), "the first revision is dropped");
        hold.push(candle(3, 15, 0, 17));
        assert_eq!(released(&mut hold), [1, 2], "ends 12 and 11 lie 5 s behind 17");
        assert_eq!((hold.oldest(), hold.superseded()), (Some(3), 1));
        hold.push(Record { offset: 4, key: Bytes::new(), value: Bytes::from_static(b"no candle") });
        hold.push(candle(5, 30, 0, 40));
        assert_eq!(released(&mut hold), [3, 4, 5]);
        assert_eq!(hold.oldest(), None);
    }
}
