//! Ticks that wait for the log.

use std::collections::VecDeque;

use model::{Instrument, Tick, TickBody};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::Full;

#[derive(Debug)]
pub(super) enum Entry {
    Tick(Tick),
    /// A quote that a newer one replaced.
    Gone,
    /// To be told when all before it is durable.
    Barrier(oneshot::Sender<()>),
}

/// A queue in order of arrival, bounded, in which a newer quote replaces a waiting one under pressure.
#[derive(Debug)]
pub(super) struct Pending {
    entries: VecDeque<Entry>,
    /// Number of the first entry, counted since the start.
    first: u64,
    /// Entries that are not gone.
    live: usize,
    /// Number of each instrument's newest quote.
    quotes: FxHashMap<Instrument, u64>,
    max: usize,
    /// Quotes replaced so far.
    pub(super) conflated: u64,
    /// Nothing more will come.
    pub(super) closed: bool,
}

impl Pending {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            live: 0,
            quotes: FxHashMap::default(),
            max,
            conflated: 0,
            closed: false,
        }
    }

    /// Adds a tick. A quote replaces the instrument's waiting one from a quarter of the room on, and always
    /// finds room; so do feed states, which tell of the very trouble.
    pub(super) fn push(&mut self, tick: Tick) -> Result<(), Full> {
        match tick.body {
            TickBody::Quote(quote) => {
                let number = self.first + self.entries.len() as u64;
                let earlier = self.quotes.insert(quote.instrument, number);
                if self.live >= self.max / 4
                    && let Some(earlier) = earlier.and_then(|earlier| earlier.checked_sub(self.first))
                    && let Some(entry) = self.entries.get_mut(earlier as usize)
                {
                    *entry = Entry::Gone;
                    self.live -= 1;
                    self.conflated += 1;
                }
            }
            TickBody::FeedState(_) => {}
            _ if self.live >= self.max => return Err(Full),
            _ => {}
        }
        self.entries.push_back(Entry::Tick(tick));
        self.live += 1;
        if self.entries.len() > 2 * self.max + 64 && self.entries.len() > 2 * self.live {
            self.compact();
        }
        Ok(())
    }

    pub(super) fn barrier(&mut self, done: oneshot::Sender<()>) {
        self.entries.push_back(Entry::Barrier(done));
        self.live += 1;
    }

    /// Moves up to `count` entries out.
    pub(super) fn take(&mut self, into: &mut Vec<Entry>, count: usize) {
        let count = count.min(self.entries.len());
        self.first += count as u64;
        for entry in self.entries.drain(..count) {
            if !matches!(entry, Entry::Gone) {
                self.live -= 1;
                into.push(entry);
            }
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn is_half_free(&self) -> bool {
        self.live <= self.max / 2
    }

    /// Drops the places of replaced quotes.
    #[cold]
    fn compact(&mut self) {
        self.entries.retain(|entry| !matches!(entry, Entry::Gone));
        self.quotes.clear();
        for (number, entry) in (self.first..).zip(&self.entries) {
            if let Entry::Tick(Tick { body: TickBody::Quote(quote), .. }) = entry {
                self.quotes.insert(quote.instrument, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{
        Channel, FeedPhase, FeedState, Origin, Price, Quantity, Quote, Side, TickFlags, Trade, TradeId, UnixNanos,
    };

    use super::*;

    fn tick(body: TickBody) -> Tick {
        let origin = Origin::Root { role: "ingest/x".parse().expect("a role"), epoch: 0, sequence: 0 };
        Tick { origin, ts_event: UnixNanos(1), ts_recv: UnixNanos(1), flags: TickFlags(0), body }
    }

    fn quote(instrument: &str, sequence: u64) -> Tick {
        let (price, quantity) = (Price::ONE, Quantity::ONE);
        tick(TickBody::Quote(Quote {
            venue: "x".parse().expect("a venue"),
            instrument: instrument.parse().expect("an instrument"),
            sequence,
            bid: price,
            bid_quantity: quantity,
            ask: price,
            ask_quantity: quantity,
        }))
    }

    fn trade(id: u64) -> Tick {
        tick(TickBody::Trade(Trade {
            venue: "x".parse().expect("a venue"),
            instrument: "BTC-USDT".parse().expect("an instrument"),
            id: TradeId::Number(id),
            price: Price::ONE,
            quantity: Quantity::ONE,
            taker_side: Side::Buy,
        }))
    }

    fn drain(pending: &mut Pending) -> (Vec<u64>, Vec<u64>) {
        let mut entries = Vec::new();
        pending.take(&mut entries, usize::MAX);
        let (mut trades, mut quotes) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Tick(Tick { body: TickBody::Trade(trade), .. }) => match trade.id {
                    TradeId::Number(id) => trades.push(id),
                    TradeId::Uuid(_) => unreachable!(),
                },
                Entry::Tick(Tick { body: TickBody::Quote(quote), .. }) => quotes.push(quote.sequence),
                _ => {}
            }
        }
        (trades, quotes)
    }

    #[test]
    fn without_pressure_everything_passes() {
        let mut pending = Pending::new(100);
        for id in 0..10 {
            pending.push(trade(id)).expect("room");
            pending.push(quote("BTC-USDT", id)).expect("room");
        }
        assert_eq!(drain(&mut pending), ((0..10).collect(), (0..10).collect()));
        assert_eq!((pending.conflated, pending.live()), (0, 0));
    }

    #[test]
    fn under_pressure_the_newest_quotes_and_every_trade_stay() {
        let mut pending = Pending::new(100);
        for id in 0..100 {
            pending.push(trade(id)).expect("room");
        }
        assert_eq!(pending.push(trade(100)), Err(Full));
        for sequence in 0..10_000 {
            pending.push(quote("BTC-USDT", sequence)).expect("quotes replace each other");
            pending.push(quote("ETH-USDT", sequence)).expect("quotes replace each other");
        }
        assert!(pending.entries.len() < 400, "{} places kept", pending.entries.len());
        assert_eq!(pending.conflated, 19_998);
        let state = FeedState {
            venue: "x".parse().expect("a venue"),
            instrument: "BTC-USDT".parse().expect("an instrument"),
            channel: Channel::Trades,
            phase: FeedPhase::Gap,
            missing: 1,
        };
        pending.push(tick(TickBody::FeedState(state))).expect("trouble can always be told");
        assert_eq!(drain(&mut pending), ((0..100).collect(), vec![9_999, 9_999]));
    }
}
