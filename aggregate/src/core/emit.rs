//! Writes the outputs of one input, each with its place among those of its topic.

use model::{
    Candle, Cause, CompositePrice, Instrument, Interval, Name, Notional, Origin, Price, PriceStatus, Rate, Tick,
    TickBody, TickFlags, UnixNanos, Volume,
};

use super::candles::{CandleSink, Cell};
use super::index::Index;
use super::{Output, Stamp};

/// The outputs of one input.
#[derive(Debug)]
pub(super) struct Emit<'a> {
    out: &'a mut Vec<Output>,
    stamp: Stamp,
    topic: Name<23>,
    ts_recv: UnixNanos,
    pub(super) prices: u32,
    pub(super) candles: u32,
    pub(super) rates: u32,
    pub(super) revisions: u64,
}

impl<'a> Emit<'a> {
    pub(super) const fn new(stamp: Stamp, topic: Name<23>, tick: &Tick, out: &'a mut Vec<Output>) -> Self {
        Self { out, stamp, topic, ts_recv: tick.ts_recv, prices: 0, candles: 0, rates: 0, revisions: 0 }
    }

    pub(super) const fn ts_recv(&self) -> UnixNanos {
        self.ts_recv
    }

    const fn cause(&self, index: u32) -> Cause {
        Cause { topic: self.topic, partition: self.stamp.partition, offset: self.stamp.offset, index }
    }

    /// The cause of the next price.
    pub(super) const fn price_cause(&self) -> Cause {
        self.cause(self.prices)
    }

    pub(super) fn price(&mut self, price: CompositePrice) {
        self.out.push(Output::Price(price));
        self.prices += 1;
    }

    /// The rate that a price of a stable coin is: unrounded, zero when it went stale.
    pub(super) fn rate(&mut self, price: &CompositePrice) {
        let value = if price.status == PriceStatus::Stale { Price::ZERO } else { price.raw };
        self.out.push(Output::Rate(Tick {
            origin: Origin::Derived(self.cause(self.rates)),
            ts_event: price.ts_event,
            ts_recv: self.ts_recv,
            flags: TickFlags::default(),
            body: TickBody::Rate(Rate { instrument: price.instrument, price: value }),
        }));
        self.rates += 1;
    }

    /// Takes the candles of one instrument. Those of an instrument that is only converted are not written.
    pub(super) fn candle_sink<'b>(&'b mut self, index: &'b Index, now: i64, of: &Instrument) -> Sink<'a, 'b> {
        let wanted = if index.instrument() == *of { index.priced.rules.candles.as_slice() } else { &[] };
        Sink { emit: self, wanted, instrument: *of, now }
    }
}

/// See [`Emit::candle_sink`].
#[derive(Debug)]
pub(super) struct Sink<'a, 'b> {
    emit: &'b mut Emit<'a>,
    wanted: &'b [Interval],
    instrument: Instrument,
    now: i64,
}

impl CandleSink for Sink<'_, '_> {
    fn candle(&mut self, interval: Interval, cell: &Cell) {
        if !self.wanted.contains(&interval) {
            return;
        }
        let price = |raw| Price::from_raw(raw).unwrap_or_default();
        let (volume, notional) = (Volume::from_raw(cell.sums.volume), Notional::from_raw(cell.sums.notional));
        let revision = cell.revision.unwrap_or_default();
        let emit = &mut *self.emit;
        let candle = Candle {
            v: 1,
            instrument: self.instrument,
            interval,
            start: UnixNanos(cell.start),
            revision,
            open: price(cell.open),
            high: price(cell.high),
            low: price(cell.low),
            close: price(cell.close),
            volume,
            notional,
            vwap: notional.over(volume).unwrap_or(price(cell.close)),
            trades: cell.sums.trades,
            cause: emit.cause(emit.candles),
            ts_event: UnixNanos(self.now),
            ts_recv: emit.ts_recv,
        };
        emit.out.push(Output::Candle(candle));
        emit.candles += 1;
        emit.revisions += u64::from(revision > 0);
    }
}
