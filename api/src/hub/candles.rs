//! Candles: a bounded store for `GET /candles`, and their changes for subscribers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use journal::{Log, LogError, Partition, Record, Visibility};
use model::{Candle, Interval, UnixNanos};

use super::Hub;
use super::feed::Entry;
use super::follow::{Begin, Consumer};
use super::message::{Channel, Message};
use super::prices::unreadable;
use crate::catalog::{AssetIndex, Catalog};
use crate::view::{CandleRow, CandleView};

/// A candle on its way to subscribers.
#[derive(Debug)]
pub(crate) struct CandleEntry {
    symbol: Arc<str>,
    interval: Interval,
    row: CandleRow,
}

impl Entry for CandleEntry {
    type Key = ();

    fn key(&self) -> Option<()> {
        None
    }

    fn message(&self) -> Message {
        let view = CandleView::new(&self.row, self.interval);
        Message::new(Channel::Candles, &self.symbol, Some(self.interval), &view)
    }
}

/// The newest candles of each asset and interval.
#[derive(Debug)]
pub(crate) struct CandleStore {
    series: Vec<[Mutex<Series>; Interval::ALL.len()]>,
    kept_max: usize,
}

/// Candles of one asset and interval, by start.
#[derive(Debug, Default)]
struct Series {
    rows: VecDeque<CandleRow>,
}

/// Which candles are asked for: starts in `[from, to)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CandleRange {
    pub(crate) from: Option<UnixNanos>,
    pub(crate) to: Option<UnixNanos>,
    pub(crate) limit: usize,
}

impl CandleStore {
    pub(crate) fn new(assets: usize, kept_max: usize) -> Self {
        Self { series: (0..assets).map(|_| Default::default()).collect(), kept_max }
    }

    /// Keeps a candle. Whether it was news: not one that a newer revision has replaced, and not older than
    /// what is kept.
    pub(crate) fn insert(&self, index: AssetIndex, interval: Interval, row: CandleRow) -> bool {
        let mut series = self.lock(index, interval);
        let rows = &mut series.rows;
        let at = match rows.back() {
            Some(last) if last.start < row.start => rows.len(),
            Some(_) => rows.partition_point(|held| held.start < row.start),
            None => 0,
        };
        if let Some(held) = rows.get_mut(at).filter(|held| held.start == row.start) {
            let news = held.revision < row.revision;
            if news {
                *held = row;
            }
            return news;
        }
        if rows.len() == self.kept_max {
            if at == 0 {
                return false;
            }
            rows.pop_front();
            rows.insert(at - 1, row);
        } else {
            rows.insert(at, row);
        }
        true
    }

    /// Candles in the range, oldest first: the first ones when `from` is given, else the last ones. And the
    /// start of the oldest that is kept.
    pub(crate) fn select(
        &self,
        index: AssetIndex,
        interval: Interval,
        range: CandleRange,
    ) -> (Vec<CandleRow>, Option<UnixNanos>) {
        let series = self.lock(index, interval);
        let rows = &series.rows;
        let first = range.from.map_or(0, |from| rows.partition_point(|row| row.start < from));
        let end = range.to.map_or(rows.len(), |to| rows.partition_point(|row| row.start < to)).max(first);
        let (first, end) = match range.from {
            Some(_) => (first, end.min(first + range.limit)),
            None => (end.saturating_sub(range.limit).max(first), end),
        };
        (rows.range(first..end).copied().collect(), rows.front().map(|row| row.start))
    }

    fn newest(&self, index: AssetIndex, interval: Interval) -> Option<CandleRow> {
        self.lock(index, interval).rows.back().copied()
    }

    fn lock(&self, index: AssetIndex, interval: Interval) -> std::sync::MutexGuard<'_, Series> {
        self.series[index][interval as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a partition of `candles`, from its start.
pub(crate) struct Candles {
    hub: Arc<Hub>,
    symbols: Arc<[Arc<str>]>,
    touched: Vec<(AssetIndex, Interval)>,
    /// Assets and intervals seen in the past, whose newest candle subscribers are shown first.
    past: Vec<(AssetIndex, Interval)>,
}

impl Candles {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let symbols = symbols(&hub.catalog);
        Self { hub, symbols, touched: Vec::new(), past: Vec::new() }
    }

    fn push(&self, index: AssetIndex, interval: Interval, row: CandleRow) {
        let symbol = Arc::clone(&self.symbols[index]);
        self.hub.candles[index][interval as usize].push(CandleEntry { symbol, interval, row });
    }
}

#[async_trait]
impl Consumer for Candles {
    const SEES: Visibility = Visibility::Written;

    async fn begin(&mut self, log: &dyn Log, partition: &Partition) -> Result<Begin, LogError> {
        let bounds = log.bounds(partition).await?;
        Ok(Begin { from: bounds.start, past_end: bounds.end })
    }

    fn take(&mut self, records: &[Record], past: bool) {
        for record in records {
            let candle: Candle = match serde_json::from_slice(&record.value) {
                Ok(candle) => candle,
                Err(error) => {
                    unreadable(Channel::Candles, record.offset, &error);
                    continue;
                }
            };
            let Some(index) = self.hub.catalog.index_of(&candle.instrument) else { continue };
            let row = CandleRow::from(&candle);
            if !self.hub.store.insert(index, candle.interval, row) {
                continue;
            }
            let place = (index, candle.interval);
            if past {
                if !self.past.contains(&place) {
                    self.past.push(place);
                }
                continue;
            }
            self.push(index, candle.interval, row);
            if !self.touched.contains(&place) {
                self.touched.push(place);
            }
        }
        for (index, interval) in std::mem::take(&mut self.touched) {
            self.hub.candles[index][interval as usize].wake();
        }
    }

    fn caught_up(&mut self) {
        for (index, interval) in std::mem::take(&mut self.past) {
            if let Some(row) = self.hub.store.newest(index, interval) {
                self.push(index, interval, row);
                self.hub.candles[index][interval as usize].wake();
            }
        }
    }
}

/// The assets' symbols, shared by what is made for them.
pub(crate) fn symbols(catalog: &Catalog) -> Arc<[Arc<str>]> {
    catalog.assets().iter().map(|asset| Arc::from(asset.symbol.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use model::{Cause, Notional, Price, Volume};

    use super::*;

    fn row(minute: i64, revision: u32) -> CandleRow {
        let start = UnixNanos(minute * Interval::M1.nanos());
        let price = Price::from_raw(100 + i64::from(revision)).expect("a price");
        CandleRow::from(&Candle {
            v: 1,
            instrument: "BTC-USDT".parse().expect("an instrument"),
            interval: Interval::M1,
            start,
            revision,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: Volume::ZERO,
            notional: Notional::ZERO,
            vwap: price,
            trades: 1,
            cause: Cause { topic: model::topic::name("ticks"), partition: 0, offset: 0, index: 0 },
            ts_event: start,
            ts_recv: start,
        })
    }

    fn starts(store: &CandleStore, from: Option<i64>, to: Option<i64>, limit: usize) -> Vec<i64> {
        let time = |minute: i64| UnixNanos(minute * Interval::M1.nanos());
        let range = CandleRange { from: from.map(time), to: to.map(time), limit };
        let (rows, _) = store.select(0, Interval::M1, range);
        rows.iter().map(|row| row.start.0 / Interval::M1.nanos()).collect()
    }

    #[test]
    fn revisions_replace_and_the_oldest_make_room() {
        let store = CandleStore::new(1, 4);
        for minute in [1, 2, 4, 3] {
            assert!(store.insert(0, Interval::M1, row(minute, 0)));
        }
        assert!(store.insert(0, Interval::M1, row(2, 1)));
        assert!(!store.insert(0, Interval::M1, row(2, 1)), "the same revision again is no news");
        assert!(!store.insert(0, Interval::M1, row(2, 0)), "an older revision is no news");
        assert_eq!(starts(&store, None, None, 10), [1, 2, 3, 4]);
        assert!(store.insert(0, Interval::M1, row(5, 0)));
        assert!(!store.insert(0, Interval::M1, row(0, 0)), "older than what is kept");
        assert_eq!(starts(&store, None, None, 10), [2, 3, 4, 5]);
        let (rows, oldest) = store.select(0, Interval::M1, CandleRange { from: None, to: None, limit: 10 });
        assert_eq!(rows[0].revision, 1);
        assert_eq!(oldest, Some(rows[0].start));
    }

    #[test]
    fn ranges_are_half_open_and_limited_from_the_given_end() {
        let store = CandleStore::new(1, 100);
        for minute in 0..10 {
            store.insert(0, Interval::M1, row(minute, 0));
        }
        assert_eq!(starts(&store, Some(3), Some(6), 100), [3, 4, 5]);
        assert_eq!(starts(&store, Some(3), None, 2), [3, 4]);
        assert_eq!(starts(&store, None, Some(6), 2), [4, 5]);
        assert_eq!(starts(&store, None, None, 2), [8, 9]);
        assert_eq!(starts(&store, Some(20), None, 2), Vec::<i64>::new());
        assert_eq!(starts(&store, Some(5), Some(2), 2), Vec::<i64>::new());
    }
}
