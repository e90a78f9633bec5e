//! Market data of the venues, as it comes.

use std::sync::Arc;

use async_trait::async_trait;
use journal::{Log, LogError, Partition, Record, Visibility};
use model::{Channel as VenueChannel, Instrument, Tick, TickBody, Venue};

use super::Hub;
use super::candles::symbols;
use super::feed::Entry;
use super::follow::{Begin, Consumer};
use super::message::{Channel, Message};
use super::prices::unreadable;
use crate::catalog::AssetIndex;
use crate::view::TickView;

/// A tick on its way to subscribers.
#[derive(Debug)]
pub(crate) struct TickEntry {
    symbol: Arc<str>,
    tick: Tick,
}

/// Ticks of which only the newest counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TickKey {
    Quote(Venue, Instrument),
    Ticker(Venue, Instrument),
    FeedState(Venue, Instrument, VenueChannel),
}

impl Entry for TickEntry {
    type Key = TickKey;

    fn key(&self) -> Option<TickKey> {
        match &self.tick.body {
            TickBody::Quote(quote) => Some(TickKey::Quote(quote.venue, quote.instrument)),
            TickBody::Ticker(ticker) => Some(TickKey::Ticker(ticker.venue, ticker.instrument)),
            TickBody::FeedState(state) => Some(TickKey::FeedState(state.venue, state.instrument, state.channel)),
            _ => None,
        }
    }

    fn message(&self) -> Message {
        Message::new(Channel::Ticks, &self.symbol, None, &TickView::from(&self.tick))
    }
}

/// Reads a partition of `ticks`.
pub(crate) struct Ticks {
    hub: Arc<Hub>,
    symbols: Arc<[Arc<str>]>,
    touched: Vec<bool>,
}

impl Ticks {
    /// Records from before the start that are looked at for the current quotes.
    const LOOK_BACK: u64 = 10_000;

    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let symbols = symbols(&hub.catalog);
        let touched = vec![false; symbols.len()];
        Self { hub, symbols, touched }
    }

    /// The asset under which the tick is shown; none for what is no market data.
    fn index_of(&self, tick: &Tick) -> Option<AssetIndex> {
        match &tick.body {
            TickBody::Trade(_) | TickBody::Quote(_) | TickBody::Ticker(_) | TickBody::FeedState(_) => {
                tick.instrument().and_then(|instrument| self.hub.catalog.index_for_ticks(&instrument))
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Consumer for Ticks {
    /// Ticks are roots: one that is lost in a crash cannot be computed again, so nobody sees it before its sync.
    const SEES: Visibility = Visibility::Durable;

    async fn begin(&mut self, log: &dyn Log, partition: &Partition) -> Result<Begin, LogError> {
        let bounds = log.bounds(partition).await?;
        Ok(Begin { from: bounds.end.saturating_sub(Self::LOOK_BACK).max(bounds.start), past_end: bounds.end })
    }

    fn take(&mut self, records: &[Record], _past: bool) {
        for record in records {
            match Tick::decode(&record.value) {
                Ok(tick) => {
                    let Some(index) = self.index_of(&tick) else { continue };
                    self.hub.ticks[index].push(TickEntry { symbol: Arc::clone(&self.symbols[index]), tick });
                    self.touched[index] = true;
                }
                Err(error) => unreadable(Channel::Ticks, record.offset, &error),
            }
        }
        for (index, touched) in self.touched.iter_mut().enumerate() {
            if std::mem::take(touched) {
                self.hub.ticks[index].wake();
            }
        }
    }
}
