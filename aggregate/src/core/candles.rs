//! Candles of one instrument, closed by the watermark.
//!
//! A trade goes into its one-second candle only. When the watermark passes the end of a candle, it is final and
//! is added to the next longer one. A trade that comes later finds final candles: each of them is corrected at
//! once, up to the first that is still open.

use std::collections::VecDeque;

use model::{Interval, TradeId, UnixNanos, Venue};

use super::bytes::{
    Malformed, Reader, put_count, put_i64, put_i128, put_option, put_text, put_trade_id, put_u32, put_u64,
};
use super::sums::Sums;

/// What orders trades for open and close: event time, venue, id.
type Place = (i64, Venue, TradeId);

/// A trade as candles count it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CandleTrade {
    pub(super) at: i64,
    pub(super) venue: Venue,
    pub(super) id: TradeId,
    pub(super) price: i64,
    pub(super) quantity: i64,
}

/// One candle, open or final.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) start: i64,
    first: Place,
    last: Place,
    pub(super) open: i64,
    pub(super) high: i64,
    pub(super) low: i64,
    pub(super) close: i64,
    pub(super) sums: Sums,
    /// None while open.
    pub(super) revision: Option<u32>,
}

impl Cell {
    fn of(start: i64, trade: &CandleTrade) -> Self {
        let place = (trade.at, trade.venue, trade.id);
        let price = trade.price;
        let sums = Sums::of(price, trade.quantity);
        Self {
            start,
            first: place,
            last: place,
            open: price,
            high: price,
            low: price,
            close: price,
            sums,
            revision: None,
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last > self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.sums.add(other.sums);
    }
}

/// Receives candles that became final or were corrected.
pub(super) trait CandleSink {
    fn candle(&mut self, interval: Interval, cell: &Cell);
}

/// The candles of one instrument that are open or may still be corrected.
#[derive(Debug)]
pub(super) struct Candles {
    levels: [VecDeque<Cell>; 6],
    /// No open candle ends before this time.
    next_close: i64,
    /// No final candle can be dropped before the floor reaches this time.
    next_drop: i64,
}

impl Candles {
    pub(super) const fn new() -> Self {
        Self { levels: [const { VecDeque::new() }; 6], next_close: i64::MAX, next_drop: i64::MAX }
    }

    /// Counts a trade, given the watermark before it.
    pub(super) fn add(&mut self, trade: &CandleTrade, watermark: i64, sink: &mut impl CandleSink) {
        // The usual case: another trade in the newest second.
        if let Some(cell) = self.levels[0].back_mut() {
            let since = trade.at.saturating_sub(cell.start);
            if cell.revision.is_none() && (0..Interval::S1.nanos()).contains(&since) {
                cell.merge(&Cell::of(cell.start, trade));
                return;
            }
        }
        let single = |interval: Interval| Cell::of(interval.start_of(UnixNanos(trade.at)).0, trade);
        for level in 0..Interval::ALL.len() {
            let interval = Interval::ALL[level];
            let cell = self.merge(level, &single(interval));
            let closed = cell.start.saturating_add(interval.nanos()) <= watermark;
            match &mut cell.revision {
                Some(revision) => *revision = revision.saturating_add(1),
                None if closed => cell.revision = Some(0),
                None => {
                    let end = cell.start.saturating_add(interval.nanos());
                    self.next_close = self.next_close.min(end);
                    return;
                }
            }
            let cell = *cell;
            self.next_drop = self.next_drop.min(cell.start.saturating_add(interval.nanos()));
            sink.candle(interval, &cell);
        }
    }

    /// Adds `part` to the candle of `level` that it belongs to.
    fn merge(&mut self, level: usize, part: &Cell) -> &mut Cell {
        let cells = &mut self.levels[level];
        let place = cells.partition_point(|cell| cell.start < part.start);
        if cells.get(place).is_some_and(|cell| cell.start == part.start) {
            cells[place].merge(part);
        } else {
            cells.insert(place, *part);
        }
        &mut cells[place]
    }

    /// Closes what ends at or before the watermark and forgets what no trade at or after `floor` can change.
    pub(super) fn advance(&mut self, watermark: i64, floor: i64, sink: &mut impl CandleSink) {
        if watermark >= self.next_close {
            self.close(watermark, sink);
        }
        if floor >= self.next_drop {
            self.drop_settled(floor);
        }
    }

    fn close(&mut self, watermark: i64, sink: &mut impl CandleSink) {
        self.next_close = i64::MAX;
        for level in 0..Interval::ALL.len() {
            let interval = Interval::ALL[level];
            for at in 0..self.levels[level].len() {
                let cell = &mut self.levels[level][at];
                let end = cell.start.saturating_add(interval.nanos());
                if cell.revision.is_some() {
                    continue;
                }
                if end > watermark {
                    self.next_close = self.next_close.min(end);
                    continue;
                }
                cell.revision = Some(0);
                let cell = *cell;
                self.next_drop = self.next_drop.min(end);
                sink.candle(interval, &cell);
                if let Some(longer) = Interval::ALL.get(level + 1) {
                    let start = longer.start_of(UnixNanos(cell.start)).0;
                    self.merge(level + 1, &Cell { start, revision: None, ..cell });
                }
            }
        }
    }

    fn drop_settled(&mut self, floor: i64) {
        self.next_drop = i64::MAX;
        for (cells, interval) in self.levels.iter_mut().zip(Interval::ALL) {
            while let Some(cell) = cells.front() {
                let end = cell.start.saturating_add(interval.nanos());
                if cell.revision.is_none() || end > floor {
                    break;
                }
                cells.pop_front();
            }
            for cell in cells.iter().filter(|cell| cell.revision.is_some()) {
                self.next_drop = self.next_drop.min(cell.start.saturating_add(interval.nanos()));
            }
        }
    }

    /// Goes back to `now`: candles that start after it are written as they stand, and forgotten.
    pub(super) fn rewind(&mut self, now: i64, sink: &mut impl CandleSink) {
        for (cells, interval) in self.levels.iter_mut().zip(Interval::ALL) {
            let kept = cells.partition_point(|cell| cell.start <= now);
            for mut cell in cells.drain(kept..).filter(|cell| cell.revision.is_none()) {
                cell.revision = Some(0);
                sink.candle(interval, &cell);
            }
        }
        (self.next_close, self.next_drop) = (i64::MIN, i64::MIN);
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        for cells in &self.levels {
            put_count(out, cells.len());
            for cell in cells {
                put_i64(out, cell.start);
                for (at, venue, id) in [&cell.first, &cell.last] {
                    put_i64(out, *at);
                    put_text(out, venue.as_bytes());
                    put_trade_id(out, *id);
                }
                for raw in [cell.open, cell.high, cell.low, cell.close] {
                    put_i64(out, raw);
                }
                put_i128(out, cell.sums.notional);
                put_i128(out, cell.sums.volume);
                put_u64(out, cell.sums.trades);
                put_option(out, cell.revision.as_ref(), |out, revision| put_u32(out, *revision));
            }
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut candles = Self::new();
        for level in 0..Interval::ALL.len() {
            for _ in 0..from.count(100)? {
                let start = from.i64()?;
                let place = |from: &mut Reader<'_>| Ok((from.i64()?, from.name()?, from.trade_id()?));
                let (first, last) = (place(from)?, place(from)?);
                let mut price = || from.price().map(model::Price::raw);
                let (open, high, low, close) = (price()?, price()?, price()?, price()?);
                let sums = Sums { notional: from.i128()?, volume: from.i128()?, trades: from.u64()? };
                let revision = from.option(Reader::u32)?;
                let times = [start, first.0, last.0];
                if !times.iter().all(|time| super::TIMES.contains(time)) {
                    return Err(Malformed("a candle's time"));
                }
                if sums.volume <= 0 || candles.levels[level].back().is_some_and(|cell| cell.start >= start) {
                    return Err(Malformed("a candle out of order or empty"));
                }
                candles.levels[level].push_back(Cell { start, first, last, open, high, low, close, sums, revision });
            }
        }
        // Both are recomputed at the next step.
        (candles.next_close, candles.next_drop) = (i64::MIN, i64::MIN);
        Ok(candles)
    }
}
