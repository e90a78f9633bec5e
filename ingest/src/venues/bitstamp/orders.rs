//! A book of orders: the venue's own orders, one by one, proven by the chain of their events.

use std::collections::BTreeMap;

use model::{Price, Quantity, UnixNanos};
use rustc_hash::FxHashMap;

use crate::book::Top;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

/// Orders of one book, at most.
const ORDERS_MAX: usize = 1_000_000;
/// Events kept while the snapshot is on its way, at most.
const WAITING_MAX: usize = 100_000;

/// An event's own number, from its text `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub(super) type EventId = u128;

/// What happened to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderEvent {
    pub(super) id: EventId,
    pub(super) previous: EventId,
    pub(super) time: UnixNanos,
    pub(super) deleted: bool,
    pub(super) order: u64,
    pub(super) is_ask: bool,
    pub(super) price: Price,
    pub(super) quantity: Quantity,
}

/// What an event did to the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in.
    Applied,
    /// It waits for the snapshot; `true` when one has to be asked for.
    Waits(bool),
    /// It was seen before.
    Repeat,
    /// Events before it are missing.
    Gap,
}

#[derive(Debug, Clone, Copy)]
struct Resting {
    is_ask: bool,
    price: i64,
    quantity: i64,
}

/// Orders and levels of one instrument.
#[derive(Debug, Default)]
pub(super) struct OrderBook {
    orders: FxHashMap<u64, Resting>,
    /// Sum of the orders at each price.
    bids: BTreeMap<i64, i128>,
    asks: BTreeMap<i64, i128>,
    /// The newest event; none before the first one of a connection.
    last: Option<EventId>,
    /// Events since the first, until the snapshot comes.
    waiting: Vec<OrderEvent>,
    whole: bool,
    asked: bool,
}

impl OrderBook {
    pub(super) fn take(&mut self, event: &OrderEvent) -> Taken {
        match self.last {
            Some(last) if last == event.id => return Taken::Repeat,
            Some(last) if last != event.previous => {
                self.reset();
                // The stream goes on from here; the snapshot to come must be newer than this event.
                self.last = Some(event.id);
                self.waiting.push(*event);
                self.asked = true;
                return Taken::Gap;
            }
            _ => self.last = Some(event.id),
        }
        if self.whole {
            self.apply(event);
            return Taken::Applied;
        }
        if self.waiting.len() >= WAITING_MAX {
            // A snapshot that takes so long is asked for again.
            self.waiting.clear();
            self.asked = false;
        }
        self.waiting.push(*event);
        Taken::Waits(!std::mem::replace(&mut self.asked, true))
    }

    /// Takes the snapshot and what came after it. False when the snapshot is older than the first event that
    /// waits: then events between the two may be missing, and a newer one is needed.
    pub(super) fn load(&mut self, snapshot: &Snapshot) -> bool {
        if self.waiting.first().is_some_and(|first| snapshot.time < first.time) {
            return false;
        }
        self.orders.clear();
        self.bids.clear();
        self.asks.clear();
        for (order, resting) in &snapshot.orders {
            self.set(*order, Some(*resting));
        }
        // Events of the snapshot's own moment may be in it or not; applied again they change nothing.
        for event in std::mem::take(&mut self.waiting).iter().filter(|event| event.time >= snapshot.time) {
            self.apply(event);
        }
        self.whole = true;
        true
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn top(&self) -> Top {
        let best = |level: Option<(&i64, &i128)>| {
            let raw = |quantity: &i128| i64::try_from(*quantity).unwrap_or(i64::MAX).min(Quantity::MAX.raw());
            level.map_or((0, 0), |(price, quantity)| (*price, raw(quantity)))
        };
        let ((bid, bid_quantity), (ask, ask_quantity)) =
            (best(self.bids.last_key_value()), best(self.asks.first_key_value()));
        Top { bid, bid_quantity, ask, ask_quantity }
    }

    fn apply(&mut self, event: &OrderEvent) {
        let rests = !event.deleted && event.quantity.is_positive() && self.orders.len() < ORDERS_MAX;
        let resting = Resting { is_ask: event.is_ask, price: event.price.raw(), quantity: event.quantity.raw() };
        self.set(event.order, rests.then_some(resting));
    }

    fn set(&mut self, order: u64, resting: Option<Resting>) {
        let before = match resting {
            Some(resting) => self.orders.insert(order, resting),
            None => self.orders.remove(&order),
        };
        for (change, sign) in [(before, -1), (resting, 1)] {
            let Some(Resting { is_ask, price, quantity }) = change else { continue };
            let side = if is_ask { &mut self.asks } else { &mut self.bids };
            let level = side.entry(price).or_default();
            *level += sign * i128::from(quantity);
            if *level <= 0 {
                side.remove(&price);
            }
        }
    }
}

/// The REST book by orders.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    time: UnixNanos,
    orders: Vec<(u64, Resting)>,
}

/// Reads `{"microtimestamp", "bids": [[price, amount, order id], …], "asks": …}`.
pub(super) fn read_snapshot(body: &[u8]) -> Result<Snapshot, DecodeError> {
    let mut reader = Reader::new(body)?;
    let mut snapshot = Snapshot::default();
    let (mut time, mut bids, mut asks) = (None, None, None);
    reader.object(|reader, key| match key {
        b"microtimestamp" => fill(&mut time, "microtimestamp", reader.micros("microtimestamp")?),
        b"bids" => fill(&mut bids, "bids", ()).and_then(|()| read_orders(reader, false, &mut snapshot.orders)),
        b"asks" => fill(&mut asks, "asks", ()).and_then(|()| read_orders(reader, true, &mut snapshot.orders)),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    need(bids.and(asks), "bids, asks")?;
    snapshot.time = need(time, "microtimestamp")?;
    Ok(snapshot)
}

fn read_orders(reader: &mut Reader<'_>, is_ask: bool, out: &mut Vec<(u64, Resting)>) -> Result<(), DecodeError> {
    reader.array(|reader| {
        let (mut price, mut quantity, mut order) = (None, None, None);
        let mut at = 0;
        reader.array(|reader| {
            at += 1;
            match at {
                1 => fill(&mut price, "price", reader.price("price")?),
                2 => fill(&mut quantity, "amount", reader.quantity("amount")?),
                3 => fill(&mut order, "order id", reader.unsigned("order id")?),
                _ => reader.skip(),
            }
        })?;
        if out.len() >= ORDERS_MAX {
            return Err(Refusal::TooMany { what: "orders", count: out.len() + 1, max: ORDERS_MAX }.into());
        }
        let (price, quantity) = (need(price, "price")?.raw(), need(quantity, "amount")?.raw());
        out.push((need(order, "order id")?, Resting { is_ask, price, quantity }));
        Ok(())
    })
}

/// Reads an event's id: 32 hexadecimal digits and hyphens.
pub(super) fn event_id(text: &[u8], field: &'static str) -> Result<EventId, DecodeError> {
    match model::TradeId::parse(text) {
        Ok(model::TradeId::Uuid(id)) => Ok(id),
        _ => Err(Refusal::unknown_value(field, text)),
    }
}
