//! Stream frames into ticks.

use model::{Channel, Price, Side, TickBody, TickFlags, Ticker, Trade, TradeId, UnixNanos, Volume};

use crate::book::{Book, Level, Levels, Top};
use crate::connector::Plan;
use crate::decode::{Decoder, Feed, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::pace::Pace;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Counter, Seen};

#[derive(Debug)]
pub(super) struct AdvancedDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    /// `sequence_num` of the newest frame.
    sequence: Option<u64>,
    wants_best: bool,
    wants_book: bool,
    wants_trades: bool,
    wants_ticker: bool,
    trades: Vec<(u16, Trade, u64, UnixNanos, bool)>,
}

#[derive(Debug, Default)]
struct State {
    trades: Counter,
    book: Book,
    /// The snapshot came and no frame was lost since.
    whole: bool,
    /// The book broke and its repair is not told yet.
    broken: bool,
    top: Top,
    tickers: Pace,
}

/// One `l2_data` event.
#[derive(Debug)]
struct BookEvent {
    place: u16,
    is_snapshot: bool,
    levels: Levels,
    time: Option<UnixNanos>,
}

impl AdvancedDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self {
            symbols,
            instruments,
            sequence: None,
            wants_best: plan.wants_best(),
            wants_book: plan.wants_book(),
            wants_trades: plan.wants(Channel::Trades),
            wants_ticker: plan.wants(Channel::Ticker),
            trades: Vec::new(),
        }
    }

    /// Notes a frame's number. A lost frame may have been anybody's: trades have ids of their own, books do not.
    fn count(&mut self, sequence: u64, out: &mut Output) {
        let expected = self.sequence.map_or(sequence, |last| last + 1);
        if sequence > expected && self.wants_book {
            for (place, state) in (0..).zip(&mut self.instruments) {
                if state.whole {
                    Self::break_book(state, place, sequence - expected, out);
                }
            }
        }
        if sequence < expected {
            out.duplicates += 1;
        }
        self.sequence = Some(sequence.max(self.sequence.unwrap_or(0)));
    }

    fn break_book(state: &mut State, place: u16, missing: u64, out: &mut Output) {
        state.book.clear();
        state.whole = false;
        state.broken = true;
        out.gap(place, Channel::Quotes, missing);
        out.signal(Signal::Resubscribe(Feed::new(place, Channel::Quotes)));
    }

    fn trades(&mut self, events: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.trades.clear();
        let (symbols, trades) = (&mut self.symbols, &mut self.trades);
        Reader::over(events).array(|reader| {
            let (mut kind, mut list) = (None, None);
            reader.object(|reader, key| match key {
                b"type" => fill(&mut kind, "type", reader.text()?),
                b"trades" => fill(&mut list, "trades", reader.raw()?),
                _ => reader.skip(),
            })?;
            let is_snapshot = snapshot_or_update(need(kind, "type")?)?;
            Reader::over(need(list, "trades")?).array(|reader| {
                let (place, trade, id, time) = read_trade(reader, symbols)?;
                trades.push((place, trade, id, time, is_snapshot));
                Ok(())
            })
        })?;
        // The newest stands first in a frame.
        self.trades.sort_by_key(|(place, _, id, ..)| (*place, *id));
        for (place, trade, id, time, is_snapshot) in self.trades.drain(..) {
            out.saw(place, Channel::Trades);
            match self.instruments[place as usize].trades.see(id) {
                Seen::New => {}
                Seen::Gap(missing) => out.gap(place, Channel::Trades, missing),
                Seen::Repeat => {
                    out.duplicates += 1;
                    continue;
                }
            }
            let flags = if is_snapshot { TickFlags::HISTORIC } else { 0 };
            out.flagged(Some(time), flags, TickBody::Trade(trade));
        }
        Ok(FrameKind::Data)
    }

    fn books(&mut self, events: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut read = Vec::with_capacity(1);
        let symbols = &mut self.symbols;
        Reader::over(events).array(|reader| {
            read.push(read_book(reader, symbols)?);
            Ok(())
        })?;
        for event in read {
            out.saw(event.place, Channel::Quotes);
            let state = &mut self.instruments[event.place as usize];
            if event.is_snapshot {
                state.book.load(&event.levels);
                state.whole = true;
                if std::mem::take(&mut state.broken) {
                    out.signal(Signal::Recovered(Feed::new(event.place, Channel::Quotes)));
                }
            } else if state.whole {
                state.book.apply(&event.levels);
            } else {
                continue;
            }
            let top = state.book.top();
            if top.crossed() {
                Self::break_book(state, event.place, 0, out);
                continue;
            }
            self.quote(event.place, top, event.time, TickFlags::FROM_BOOK, out);
        }
        Ok(FrameKind::Data)
    }

    fn tickers(
        &mut self,
        events: &[u8],
        time: Option<UnixNanos>,
        ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<FrameKind, DecodeError> {
        let mut read = Vec::with_capacity(1);
        let symbols = &mut self.symbols;
        Reader::over(events).array(|reader| {
            let mut list = None;
            reader.object(|reader, key| match key {
                b"tickers" => fill(&mut list, "tickers", reader.raw()?),
                _ => reader.skip(),
            })?;
            Reader::over(need(list, "tickers")?).array(|reader| {
                read.push(read_ticker(reader, symbols)?);
                Ok(())
            })
        })?;
        for (place, last, volume, top) in read {
            out.saw(place, Channel::Ticker);
            if self.wants_best {
                out.saw(place, Channel::Quotes);
                if !top.crossed() {
                    self.quote(place, top, time, 0, out);
                }
            }
            if self.wants_ticker && self.instruments[place as usize].tickers.is_due(ts_recv) {
                let (venue, instrument) = (self.symbols.venue(), self.symbols.instrument(place));
                let ticker = Ticker { venue, instrument, last, volume_24h: volume, quote_volume_24h: None };
                out.tick(time, TickBody::Ticker(ticker));
            }
        }
        Ok(FrameKind::Data)
    }

    /// A sign of life each second, whoever is quiet.
    fn heartbeat(&self, out: &mut Output) -> FrameKind {
        for place in 0..self.symbols.len() as u16 {
            if self.wants_trades {
                out.saw(place, Channel::Trades);
            }
        }
        FrameKind::Heartbeat
    }

    fn quote(&mut self, place: u16, top: Top, time: Option<UnixNanos>, flags: u8, out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        if state.top != top {
            state.top = top;
            let sequence = self.sequence.unwrap_or(0);
            let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), sequence);
            out.flagged(time, flags, TickBody::Quote(quote));
        }
    }
}

fn snapshot_or_update(kind: &[u8]) -> Result<bool, DecodeError> {
    match kind {
        b"snapshot" => Ok(true),
        b"update" => Ok(false),
        other => Err(Refusal::unknown_value("type", other)),
    }
}

fn read_trade(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<(u16, Trade, u64, UnixNanos), DecodeError> {
    let (mut product, mut id, mut price, mut size, mut side, mut time) = (None, None, None, None, None, None);
    reader.object(|reader, key| match key {
        b"product_id" => fill(&mut product, "product_id", reader.text()?),
        b"trade_id" => fill(&mut id, "trade_id", reader.unsigned("trade_id")?),
        b"price" => fill(&mut price, "price", reader.price("price")?),
        b"size" => fill(&mut size, "size", reader.quantity("size")?),
        b"side" => fill(&mut side, "side", reader.text()?),
        b"time" => fill(&mut time, "time", reader.rfc3339("time")?),
        _ => reader.skip(),
    })?;
    let place = symbols.find(need(product, "product_id")?)?;
    let id = need(id, "trade_id")?;
    let trade = Trade {
        venue: symbols.venue(),
        instrument: symbols.instrument(place),
        id: TradeId::Number(id),
        price: need(price, "price")?,
        quantity: need(size, "size")?,
        // The maker's side is sent.
        taker_side: match need(side, "side")? {
            b"BUY" => Side::Sell,
            b"SELL" => Side::Buy,
            other => return Err(Refusal::unknown_value("side", other)),
        },
    };
    Ok((place, trade, id, need(time, "time")?))
}

fn read_book(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<BookEvent, DecodeError> {
    let (mut kind, mut product, mut updates) = (None, None, None);
    reader.object(|reader, key| match key {
        b"type" => fill(&mut kind, "type", reader.text()?),
        b"product_id" => fill(&mut product, "product_id", reader.text()?),
        b"updates" => fill(&mut updates, "updates", reader.raw()?),
        _ => reader.skip(),
    })?;
    let place = symbols.find(need(product, "product_id")?)?;
    let is_snapshot = snapshot_or_update(need(kind, "type")?)?;
    let (mut levels, mut newest) = (Levels::default(), None);
    Reader::over(need(updates, "updates")?).array(|reader| {
        let (mut side, mut price, mut quantity, mut time) = (None, None, None, None);
        reader.object(|reader, key| match key {
            b"side" => fill(&mut side, "side", reader.text()?),
            b"price_level" => fill(&mut price, "price_level", reader.price("price_level")?),
            b"new_quantity" => fill(&mut quantity, "new_quantity", reader.quantity_or_zero("new_quantity")?),
            b"event_time" => fill(&mut time, "event_time", reader.rfc3339("event_time")?),
            _ => reader.skip(),
        })?;
        let level = Level { price: need(price, "price_level")?.raw(), quantity: need(quantity, "new_quantity")?.raw() };
        if levels.len() >= 2 * Levels::SIDE_MAX {
            return Err(Refusal::TooMany { what: "levels", count: levels.len() + 1, max: 2 * Levels::SIDE_MAX }.into());
        }
        match need(side, "side")? {
            b"bid" => levels.bids.push(level),
            b"offer" => levels.asks.push(level),
            other => return Err(Refusal::unknown_value("side", other)),
        }
        newest = newest.max(time);
        Ok(())
    })?;
    Ok(BookEvent { place, is_snapshot, levels, time: newest })
}

fn read_ticker(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<(u16, Price, Volume, Top), DecodeError> {
    let (mut product, mut last, mut volume) = (None, None, None);
    let (mut bid, mut bid_quantity, mut ask, mut ask_quantity) = (None, None, None, None);
    reader.object(|reader, key| match key {
        b"product_id" => fill(&mut product, "product_id", reader.text()?),
        b"price" => fill(&mut last, "price", reader.price("price")?),
        b"volume_24_h" => fill(&mut volume, "volume_24_h", reader.volume("volume_24_h")?),
        b"best_bid" => fill(&mut bid, "best_bid", reader.price_or_zero("best_bid")?),
        b"best_bid_quantity" => {
            fill(&mut bid_quantity, "best_bid_quantity", reader.quantity_or_zero("best_bid_quantity")?)
        }
        b"best_ask" => fill(&mut ask, "best_ask", reader.price_or_zero("best_ask")?),
        b"best_ask_quantity" => {
            fill(&mut ask_quantity, "best_ask_quantity", reader.quantity_or_zero("best_ask_quantity")?)
        }
        _ => reader.skip(),
    })?;
    let place = symbols.find(need(product, "product_id")?)?;
    let top = Top {
        bid: bid.unwrap_or_default().raw(),
        bid_quantity: bid_quantity.unwrap_or_default().raw(),
        ask: ask.unwrap_or_default().raw(),
        ask_quantity: ask_quantity.unwrap_or_default().raw(),
    };
    Ok((place, need(last, "price")?, need(volume, "volume_24_h")?, top))
}

impl Decoder for AdvancedDecoder {
    fn decode(&mut self, frame: &[u8], ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut reader = Reader::new(frame)?;
        let (mut channel, mut time, mut sequence, mut events) = (None, None, None, None);
        let (mut kind, mut message) = (None, None);
        reader.object(|reader, key| match key {
            b"channel" => fill(&mut channel, "channel", reader.text()?),
            b"timestamp" => fill(&mut time, "timestamp", reader.rfc3339("timestamp")?),
            b"sequence_num" => fill(&mut sequence, "sequence_num", reader.unsigned("sequence_num")?),
            b"events" => fill(&mut events, "events", reader.raw()?),
            b"type" => fill(&mut kind, "type", reader.text()?),
            b"message" => fill(&mut message, "message", reader.raw()?),
            _ => reader.skip(),
        })?;
        reader.finish()?;
        if kind == Some(b"error") {
            return Err(Refusal::Venue(Refusal::shown(message.unwrap_or_default())).into());
        }
        let channel = channel.ok_or(Refusal::UnknownFrame("neither channel nor error"))?;
        let (sequence, events) = (need(sequence, "sequence_num")?, need(events, "events")?);
        self.count(sequence, out);
        match channel {
            b"heartbeats" => Ok(self.heartbeat(out)),
            b"subscriptions" => Ok(FrameKind::Control),
            b"market_trades" => self.trades(events, out),
            b"l2_data" => self.books(events, out),
            b"ticker" => self.tickers(events, time, ts_recv, out),
            other => Err(Refusal::unknown_value("channel", other)),
        }
    }

    fn snapshot(
        &mut self,
        _instrument: u16,
        _body: &[u8],
        _ts_recv: UnixNanos,
        _out: &mut Output,
    ) -> Result<(), DecodeError> {
        Err(Refusal::UnknownFrame("books of this venue come by the stream alone").into())
    }

    fn reset(&mut self) {
        self.sequence = None;
        for state in &mut self.instruments {
            state.book.clear();
            state.whole = false;
            state.broken = false;
            state.top = Top::default();
            state.tickers = Pace::default();
        }
    }
}
