//! Stream frames into ticks.

use model::{Channel, Price, Quantity, Side, TickBody, TickFlags, Ticker, Trade, TradeId, UnixNanos, Volume};

use crate::book::{Book, Level, Levels, Top};
use crate::connector::Plan;
use crate::decode::{Decoder, Feed, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::levels::read_pairs;
use crate::pace::Pace;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Counter, Seen};

#[derive(Debug)]
pub(super) struct CoinbaseDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    levels: Levels,
    wants_best: bool,
    wants_book: bool,
    wants_ticker: bool,
}

#[derive(Debug, Default)]
struct State {
    trades: Counter,
    book: Book,
    /// The snapshot came and nothing was lost since, as far as can be seen.
    book_whole: bool,
    broken: bool,
    /// What the last quote said, and the venue's sequence with it.
    top: Top,
    sequence: u64,
    /// The trade that the newest ticker tells of.
    ticker_trade: u64,
    tickers: Pace,
}

/// The fields of every kind of message.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    product: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
    trade_id: Option<u64>,
    last_trade_id: Option<u64>,
    sequence: Option<u64>,
    time: Option<UnixNanos>,
    price: Option<Price>,
    size: Option<Quantity>,
    bid: Option<Price>,
    ask: Option<Price>,
    bid_size: Option<Quantity>,
    ask_size: Option<Quantity>,
    volume: Option<Volume>,
    bids: Option<()>,
    asks: Option<()>,
    changes: Option<()>,
    message: Option<&'a [u8]>,
    reason: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &'a [u8], levels: &mut Levels) -> Result<(), DecodeError> {
        match key {
            b"type" => fill(&mut self.kind, "type", reader.text()?),
            b"product_id" => fill(&mut self.product, "product_id", reader.text()?),
            b"side" => fill(&mut self.side, "side", reader.text()?),
            b"trade_id" => fill(&mut self.trade_id, "trade_id", reader.unsigned("trade_id")?),
            b"last_trade_id" => fill(&mut self.last_trade_id, "last_trade_id", reader.unsigned("last_trade_id")?),
            b"sequence" => fill(&mut self.sequence, "sequence", reader.unsigned("sequence")?),
            b"time" => fill(&mut self.time, "time", reader.rfc3339("time")?),
            b"price" => fill(&mut self.price, "price", reader.price("price")?),
            b"size" => fill(&mut self.size, "size", reader.quantity("size")?),
            b"best_bid" => fill(&mut self.bid, "best_bid", reader.price_or_zero("best_bid")?),
            b"best_ask" => fill(&mut self.ask, "best_ask", reader.price_or_zero("best_ask")?),
            b"best_bid_size" => fill(&mut self.bid_size, "best_bid_size", reader.quantity_or_zero("best_bid_size")?),
            b"best_ask_size" => fill(&mut self.ask_size, "best_ask_size", reader.quantity_or_zero("best_ask_size")?),
            b"volume_24h" => fill(&mut self.volume, "volume_24h", reader.volume("volume_24h")?),
            b"bids" => fill(&mut self.bids, "bids", ()).and_then(|()| read_pairs(reader, &mut levels.bids, "bids")),
            b"asks" => fill(&mut self.asks, "asks", ()).and_then(|()| read_pairs(reader, &mut levels.asks, "asks")),
            b"changes" => fill(&mut self.changes, "changes", ()).and_then(|()| read_changes(reader, levels)),
            b"message" => fill(&mut self.message, "message", reader.raw()?),
            b"reason" => fill(&mut self.reason, "reason", reader.raw()?),
            _ => reader.skip(),
        }
    }
}

/// Reads `[["buy","price","size"],…]`.
fn read_changes(reader: &mut Reader<'_>, levels: &mut Levels) -> Result<(), DecodeError> {
    reader.array(|reader| {
        let (mut side, mut price, mut quantity) = (None, None, None);
        let mut at = 0;
        reader.array(|reader| {
            at += 1;
            match at {
                1 => fill(&mut side, "changes", reader.text()?),
                2 => fill(&mut price, "changes", reader.price("changes")?),
                3 => fill(&mut quantity, "changes", reader.decimal("changes")?),
                _ => reader.skip(),
            }
        })?;
        let level = Level { price: need(price, "changes")?.raw(), quantity: need(quantity, "changes")? };
        let side = match need(side, "changes")? {
            b"buy" => &mut levels.bids,
            b"sell" => &mut levels.asks,
            other => return Err(Refusal::unknown_value("side", other)),
        };
        if side.len() >= Levels::SIDE_MAX {
            return Err(Refusal::TooMany { what: "levels", count: side.len() + 1, max: Levels::SIDE_MAX }.into());
        }
        side.push(level);
        Ok(())
    })
}

impl CoinbaseDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self {
            symbols,
            instruments,
            levels: Levels::default(),
            wants_best: plan.wants_best(),
            wants_book: plan.wants_book(),
            wants_ticker: plan.wants(Channel::Ticker),
        }
    }

    fn one_match(&mut self, fields: &Fields<'_>, flags: u8, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.product, "product_id")?)?;
        let id = need(fields.trade_id, "trade_id")?;
        let trade = Trade {
            venue: self.symbols.venue(),
            instrument: self.symbols.instrument(place),
            id: TradeId::Number(id),
            price: need(fields.price, "price")?,
            quantity: need(fields.size, "size")?,
            // The side is the maker's.
            taker_side: match need(fields.side, "side")? {
                b"buy" => Side::Sell,
                b"sell" => Side::Buy,
                other => return Err(Refusal::unknown_value("side", other)),
            },
        };
        let time = need(fields.time, "time")?;
        out.saw(place, Channel::Trades);
        match self.instruments[place as usize].trades.see(id) {
            Seen::New => {}
            Seen::Gap(missing) => out.gap(place, Channel::Trades, missing),
            Seen::Repeat => {
                out.duplicates += 1;
                return Ok(FrameKind::Data);
            }
        }
        out.flagged(Some(time), flags, TickBody::Trade(trade));
        Ok(FrameKind::Data)
    }

    fn ticker(&mut self, fields: &Fields<'_>, ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.product, "product_id")?)?;
        let (bid, ask) = (need(fields.bid, "best_bid")?, need(fields.ask, "best_ask")?);
        let last = need(fields.price, "price")?;
        let volume = need(fields.volume, "volume_24h")?;
        if bid > ask && ask.is_positive() {
            return Err(Refusal::Crossed { bid, ask }.into());
        }
        // Older messages have no sizes: zero, which beside a price means unknown.
        let top = Top {
            bid: bid.raw(),
            bid_quantity: fields.bid_size.unwrap_or_default().raw(),
            ask: ask.raw(),
            ask_quantity: fields.ask_size.unwrap_or_default().raw(),
        };
        let (venue, instrument) = (self.symbols.venue(), self.symbols.instrument(place));
        let sequence = fields.sequence.unwrap_or(0);
        let state = &mut self.instruments[place as usize];
        state.ticker_trade = state.ticker_trade.max(fields.trade_id.unwrap_or(0));
        out.saw(place, Channel::Ticker);
        if self.wants_best {
            out.saw(place, Channel::Quotes);
            if state.advance(top, sequence) {
                out.tick(fields.time, TickBody::Quote(top.quote(venue, instrument, sequence)));
            }
        }
        if self.wants_ticker && state.tickers.is_due(ts_recv) {
            let ticker = Ticker { venue, instrument, last, volume_24h: volume, quote_volume_24h: None };
            out.tick(fields.time, TickBody::Ticker(ticker));
        }
        Ok(FrameKind::Data)
    }

    fn heartbeat(&mut self, fields: &Fields<'_>, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.product, "product_id")?)?;
        let last = need(fields.last_trade_id, "last_trade_id")?;
        let state = &mut self.instruments[place as usize];
        out.saw(place, Channel::Trades);
        if let Some(missing) = state.trades.expect(last) {
            out.gap(place, Channel::Trades, missing);
        }
        // Tickers come with trades: one that knows the last trade is up to date, however old it is.
        if state.ticker_trade >= last && state.ticker_trade > 0 {
            out.saw(place, Channel::Ticker);
            if self.wants_best {
                out.saw(place, Channel::Quotes);
            }
        }
        Ok(FrameKind::Heartbeat)
    }

    fn book(&mut self, fields: &Fields<'_>, is_snapshot: bool, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.product, "product_id")?)?;
        let state = &mut self.instruments[place as usize];
        if is_snapshot {
            need(fields.bids.and(fields.asks), "bids, asks")?;
            state.book.load(&self.levels);
            state.book_whole = true;
        } else {
            need(fields.changes, "changes")?;
            if state.book_whole {
                state.book.apply(&self.levels);
            }
        }
        out.saw(place, Channel::Quotes);
        if !state.book_whole {
            return Ok(FrameKind::Data);
        }
        let top = state.book.top();
        if top.crossed() {
            self.lost(place, out);
            return Ok(FrameKind::Data);
        }
        if std::mem::take(&mut state.broken) {
            out.signal(Signal::Recovered(Feed::new(place, Channel::Quotes)));
        }
        let sequence = state.sequence;
        if state.advance(top, sequence) {
            let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), 0);
            out.flagged(fields.time, TickFlags::FROM_BOOK, TickBody::Quote(quote));
        }
        Ok(FrameKind::Data)
    }

    /// The book of an instrument is no longer to be trusted.
    fn lost(&mut self, place: u16, out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        if std::mem::take(&mut state.book_whole) {
            state.broken = true;
            out.gap(place, Channel::Quotes, 0);
            out.signal(Signal::Resubscribe(Feed::new(place, Channel::Quotes)));
        }
    }

    /// A refused frame may have been an update of a book, and nothing later would show that it is missing: the
    /// books that it may have concerned start over.
    fn refused(&mut self, fields: &Fields<'_>, out: &mut Output) {
        let other = fields.kind.is_some_and(|kind| !matches!(kind, b"l2update" | b"snapshot"));
        if !self.wants_book || other {
            return;
        }
        match fields.product.map(|product| self.symbols.find(product)) {
            Some(Ok(place)) => self.lost(place, out),
            Some(Err(_)) => {}
            None => (0..self.instruments.len() as u16).for_each(|place| self.lost(place, out)),
        }
    }

    fn dispatch(
        &mut self,
        fields: &Fields<'_>,
        ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<FrameKind, DecodeError> {
        match need(fields.kind, "type")? {
            b"match" => self.one_match(fields, 0, out),
            b"last_match" => self.one_match(fields, TickFlags::HISTORIC, out),
            b"ticker" => self.ticker(fields, ts_recv, out),
            b"heartbeat" => self.heartbeat(fields, out),
            b"snapshot" => self.book(fields, true, out),
            b"l2update" => self.book(fields, false, out),
            b"subscriptions" | b"status" => Ok(FrameKind::Control),
            b"error" => {
                let part = |text: Option<&[u8]>| Refusal::shown(text.unwrap_or_default());
                Err(Refusal::Venue(format!("{} {}", part(fields.message), part(fields.reason))).into())
            }
            other => Err(Refusal::unknown_value("type", other)),
        }
    }
}

impl State {
    /// Takes a new best bid and ask, unless it is older than the last or says the same.
    fn advance(&mut self, top: Top, sequence: u64) -> bool {
        if sequence < self.sequence || top == self.top {
            return false;
        }
        self.top = top;
        self.sequence = sequence;
        true
    }
}

impl Decoder for CoinbaseDecoder {
    fn decode(&mut self, frame: &[u8], ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut fields = Fields::default();
        self.levels.clear();
        let levels = &mut self.levels;
        let read = Reader::new(frame).and_then(|mut reader| {
            reader.object(|reader, key| fields.read(reader, key, levels))?;
            reader.finish()
        });
        let result = read.and_then(|()| self.dispatch(&fields, ts_recv, out));
        if result.is_err() {
            self.refused(&fields, out);
        }
        result
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
        for state in &mut self.instruments {
            state.book.clear();
            state.book_whole = false;
            state.broken = false;
            state.top = Top::default();
            state.sequence = 0;
            state.ticker_trade = 0;
            state.tickers = Pace::default();
        }
    }
}
