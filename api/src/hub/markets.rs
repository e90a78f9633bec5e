//! Our own markets: trades, changes of the book, phases.
//!
//! A subscriber gets the current state first: the book as the exchange has it at that moment, the last trades,
//! the market as it is. Then each change. One that is too slow for the book gets the whole book again.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use journal::{Log, LogError, Offset, Partition, Record, Visibility};
use matcher::exchange::{Exchange, MarketView};
use matcher::shell::Gateway;
use model::Instrument;
use model::exchange::{InstrumentEvent, InstrumentEventKind, write_instrument_event};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::feed::{Position, Skipped, Source};
use super::follow::{Begin, Consumer};
use super::message::{Channel, Message};
use super::prices::unreadable;
use crate::tape::{Taken, Tape};

/// Levels of each side in a snapshot of a book, at most.
const SNAPSHOT_LEVELS: usize = 1_000;
/// Trades that a subscriber gets first.
const TRADES_FIRST: usize = 50;
/// Records that a subscriber takes at once.
const AT_ONCE: usize = 256;

/// One channel of one market.
pub(crate) struct MarketFeed {
    channel: Channel,
    symbol: Arc<str>,
    instrument: Instrument,
    exchange: Arc<OnceLock<Gateway>>,
    /// By the book's sequence; for the other channels by a count of their own.
    tape: Tape<Message>,
}

impl MarketFeed {
    pub(crate) fn new(
        channel: Channel,
        symbol: &str,
        instrument: Instrument,
        exchange: &Arc<OnceLock<Gateway>>,
    ) -> Self {
        let tape = Tape::default();
        if channel != Channel::Book {
            tape.begin(0);
        }
        Self { channel, symbol: symbol.into(), instrument, exchange: Arc::clone(exchange), tape }
    }

    fn view<R>(&self, read: impl FnOnce(&Exchange) -> Option<R>) -> Option<R> {
        self.exchange.get()?.view(read)?
    }

    fn message(&self, json: &[u8]) -> Option<Message> {
        let data = serde_json::from_slice::<&RawValue>(json).ok()?;
        Some(Message::new(self.channel, &self.symbol, None, &data))
    }

    /// Adds the current state, and gives the position that follows it; none before the market is listed.
    fn current(&self, into: &mut Vec<Message>) -> Option<u64> {
        match self.channel {
            Channel::Book => {
                let (sequence, json) = self.view(|exchange| {
                    let mut json = Vec::new();
                    Some((exchange.write_book(&self.instrument, SNAPSHOT_LEVELS, &mut json)?, json))
                })?;
                into.extend(self.message(&json));
                Some(sequence + 1)
            }
            Channel::Trades => {
                let mut position = self.tape.back(TRADES_FIRST);
                self.tape.take(&mut position, TRADES_FIRST, into);
                Some(position)
            }
            _ => {
                let next = self.tape.to();
                match self.tape.newest() {
                    Some(newest) => into.push(newest),
                    None => {
                        let json = self.view(|exchange| event(exchange, &self.instrument))?;
                        into.extend(self.message(&json));
                    }
                }
                Some(next)
            }
        }
    }

    /// Adds a record; the exchange's own snapshots of the book are left out, since each follower has its own.
    fn push(&self, record: &Record) {
        #[derive(Deserialize)]
        struct Head {
            sequence: u64,
            snapshot: bool,
        }
        let position = if self.channel == Channel::Book {
            match serde_json::from_slice::<Head>(&record.value) {
                Ok(Head { snapshot: true, .. }) => return,
                Ok(Head { sequence, .. }) => sequence,
                Err(error) => return unreadable(self.channel, record.offset, &error),
            }
        } else {
            self.tape.to()
        };
        let Some(message) = self.message(&record.value) else {
            return unreadable(self.channel, record.offset, &"it is no JSON");
        };
        if self.tape.from().is_none() || position != self.tape.to() {
            self.tape.begin(position);
        }
        self.tape.push(position, message);
    }
}

/// The market as it is, as the topic would have it.
fn event(exchange: &Exchange, instrument: &Instrument) -> Option<Vec<u8>> {
    let MarketView { rules, phase, killed, last, .. } = exchange.market(instrument)?;
    let event = InstrumentEvent {
        instrument: *instrument,
        kind: InstrumentEventKind::Phase,
        phase,
        killed,
        last,
        indicative: None,
        rules,
    };
    let mut json = Vec::new();
    write_instrument_event(&event, &exchange.cause(), exchange.clock(), &mut json);
    Some(json)
}

impl Source for MarketFeed {
    fn is_ahead_of(&self, position: &Position) -> bool {
        if position.started {
            return self.tape.to() > position.version;
        }
        self.view(|exchange| exchange.market(&self.instrument)).is_some()
    }

    fn take(&self, position: &mut Position, into: &mut Vec<Message>) -> Skipped {
        let before = position.version;
        if position.started {
            match self.tape.take(&mut position.version, AT_ONCE, into) {
                Taken::Outside(Some(from)) if self.channel == Channel::Trades => {
                    // Every trade counts, so those that are lost are told.
                    position.version = from;
                    return Skipped { conflated: 0, missed: from - before };
                }
                Taken::Outside(_) => {}
                Taken::Some | Taken::Nothing => return Skipped::default(),
            }
        }
        let Some(next) = self.current(into) else { return Skipped::default() };
        let conflated = if position.started { next.saturating_sub(before) } else { 0 };
        *position = Position { version: next, queued: 0, started: true };
        Skipped { conflated, missed: 0 }
    }

    fn listen(&self, listener: &Arc<Notify>) {
        self.tape.listen(listener);
    }

    fn forget(&self, listener: &Arc<Notify>) {
        self.tape.forget(listener);
    }
}

/// Reads a partition of one of the topics.
pub(super) struct MarketRecords {
    feeds: FxHashMap<Instrument, Arc<MarketFeed>>,
    look_back: u64,
}

impl MarketRecords {
    pub(super) fn new(feeds: impl Iterator<Item = Arc<MarketFeed>>, channel: Channel) -> Self {
        let look_back = match channel {
            Channel::Trades => 2_000,
            Channel::Instruments => 10_000,
            // The exchange has the book.
            _ => 0,
        };
        Self { feeds: feeds.map(|feed| (feed.instrument, feed)).collect(), look_back }
    }
}

#[async_trait]
impl Consumer for MarketRecords {
    /// What follows from commands comes out again after a crash, the same bytes.
    const SEES: Visibility = Visibility::Written;

    async fn begin(&mut self, log: &dyn Log, partition: &Partition) -> Result<Begin, LogError> {
        let bounds = log.bounds(partition).await?;
        let from: Offset = bounds.end.saturating_sub(self.look_back).max(bounds.start);
        Ok(Begin { from, past_end: bounds.end })
    }

    fn take(&mut self, records: &[Record], _past: bool) {
        let mut touched: Vec<&Arc<MarketFeed>> = Vec::new();
        for record in records {
            let Ok(instrument) = Instrument::new(&record.key) else { continue };
            let Some(feed) = self.feeds.get(&instrument) else { continue };
            feed.push(record);
            if !touched.iter().any(|known| Arc::ptr_eq(known, feed)) {
                touched.push(feed);
            }
        }
        touched.iter().for_each(|feed| feed.tape.wake());
    }
}
