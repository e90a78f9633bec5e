//! Stream frames into ticks.

use model::{Channel, Price, Quantity, Quote, Side, TickBody, TickFlags, Trade, TradeId, UnixNanos};

use super::depth::{Depth, Step};
use crate::book::{Levels, Top};
use crate::connector::Plan;
use crate::decode::{Decoder, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::levels::read_pairs;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Counter, Seen};

#[derive(Debug)]
pub(super) struct BinanceDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    levels: Levels,
}

#[derive(Debug, Default)]
struct State {
    trades: Counter,
    depth: Depth,
    /// What the last quote said, and its update id.
    top: Top,
    top_id: u64,
}

/// The fields of every kind of event; which are there tells the kind.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    event_time: Option<UnixNanos>,
    trade_time: Option<UnixNanos>,
    id: Option<u64>,
    price: Option<Price>,
    quantity: Option<Quantity>,
    buyer_is_maker: Option<bool>,
    first: Option<u64>,
    last: Option<u64>,
    bid: Option<Price>,
    ask: Option<Price>,
    bid_quantity: Option<Quantity>,
    ask_quantity: Option<Quantity>,
    bids: Option<()>,
    asks: Option<()>,
    /// A REST snapshot in the stream, as captures have it.
    snapshot: Option<u64>,
    /// Answers to requests.
    answer: Option<u64>,
    error: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(&mut self, reader: &mut Reader<'a>, key: &'a [u8], levels: &mut Levels) -> Result<(), DecodeError> {
        match key {
            [b'e'] => fill(&mut self.kind, "e", reader.text()?),
            [b's'] => fill(&mut self.symbol, "s", reader.text()?),
            [b'E'] => fill(&mut self.event_time, "E", reader.millis("E")?),
            [b'T'] => fill(&mut self.trade_time, "T", reader.millis("T")?),
            [b't'] => fill(&mut self.id, "t", reader.unsigned("t")?),
            [b'p'] => fill(&mut self.price, "p", reader.price("p")?),
            [b'q'] => fill(&mut self.quantity, "q", reader.quantity("q")?),
            [b'm'] => fill(&mut self.buyer_is_maker, "m", reader.bool()?),
            [b'U'] => fill(&mut self.first, "U", reader.unsigned("U")?),
            [b'u'] => fill(&mut self.last, "u", reader.unsigned("u")?),
            [b'B'] => fill(&mut self.bid_quantity, "B", reader.quantity_or_zero("B")?),
            [b'A'] => fill(&mut self.ask_quantity, "A", reader.quantity_or_zero("A")?),
            // A price in a book ticker, levels in a depth event, an order id in an older trade.
            [b'b'] => match reader.peek()? {
                b'[' => fill(&mut self.bids, "b", ()).and_then(|()| read_pairs(reader, &mut levels.bids, "b")),
                b'"' => fill(&mut self.bid, "b", reader.price_or_zero("b")?),
                _ => reader.skip(),
            },
            [b'a'] => match reader.peek()? {
                b'[' => fill(&mut self.asks, "a", ()).and_then(|()| read_pairs(reader, &mut levels.asks, "a")),
                b'"' => fill(&mut self.ask, "a", reader.price_or_zero("a")?),
                _ => reader.skip(),
            },
            b"bids" => fill(&mut self.bids, "bids", ()).and_then(|()| read_pairs(reader, &mut levels.bids, "bids")),
            b"asks" => fill(&mut self.asks, "asks", ()).and_then(|()| read_pairs(reader, &mut levels.asks, "asks")),
            b"lastUpdateId" => fill(&mut self.snapshot, "lastUpdateId", reader.unsigned("lastUpdateId")?),
            b"id" => {
                let id = if reader.null()? { 0 } else { reader.unsigned("id")? };
                fill(&mut self.answer, "id", id)
            }
            b"error" | b"msg" => fill(&mut self.error, "error", reader.raw()?),
            _ => reader.skip(),
        }
    }
}

impl BinanceDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self { symbols, instruments, levels: Levels::default() }
    }

    #[inline]
    fn trade(&mut self, fields: &Fields<'_>, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.symbol, "s")?)?;
        let id = need(fields.id, "t")?;
        let trade = Trade {
            venue: self.symbols.venue(),
            instrument: self.symbols.instrument(place),
            id: TradeId::Number(id),
            price: need(fields.price, "p")?,
            quantity: need(fields.quantity, "q")?,
            // The buyer rested in the book, so the seller took.
            taker_side: if need(fields.buyer_is_maker, "m")? { Side::Sell } else { Side::Buy },
        };
        let time = need(fields.trade_time, "T")?;
        out.saw(place, Channel::Trades);
        match self.instruments[place as usize].trades.see(id) {
            Seen::New => {}
            Seen::Gap(missing) => out.gap(place, Channel::Trades, missing),
            Seen::Repeat => {
                out.duplicates += 1;
                return Ok(FrameKind::Data);
            }
        }
        out.tick(Some(time), TickBody::Trade(trade));
        Ok(FrameKind::Data)
    }

    #[inline]
    fn book_ticker(&mut self, fields: &Fields<'_>, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.symbol, "s")?)?;
        let (bid, ask) = (need(fields.bid, "b")?, need(fields.ask, "a")?);
        let quote = Quote {
            venue: self.symbols.venue(),
            instrument: self.symbols.instrument(place),
            sequence: need(fields.last, "u")?,
            bid,
            bid_quantity: need(fields.bid_quantity, "B")?,
            ask,
            ask_quantity: need(fields.ask_quantity, "A")?,
        };
        if bid > ask && ask.is_positive() {
            return Err(Refusal::Crossed { bid, ask }.into());
        }
        out.saw(place, Channel::Quotes);
        let top = Top {
            bid: bid.raw(),
            bid_quantity: quote.bid_quantity.raw(),
            ask: ask.raw(),
            ask_quantity: quote.ask_quantity.raw(),
        };
        if self.instruments[place as usize].advance(top, quote.sequence) {
            out.tick(None, TickBody::Quote(quote));
        }
        Ok(FrameKind::Data)
    }

    #[inline]
    fn depth(&mut self, fields: &Fields<'_>, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let place = self.symbols.find(need(fields.symbol, "s")?)?;
        let (first, last) = (need(fields.first, "U")?, need(fields.last, "u")?);
        need(fields.bids.and(fields.asks), "b, a")?;
        if first > last {
            return Err(Refusal::unknown_value("U", first.to_string().as_bytes()));
        }
        let time = need(fields.event_time, "E")?;
        let state = &mut self.instruments[place as usize];
        out.saw(place, Channel::Quotes);
        match state.depth.event(first, last, &self.levels) {
            Step::Advanced => {
                let top = state.depth.top();
                if state.advance(top, last) {
                    let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), last);
                    out.flagged(Some(time), TickFlags::FROM_BOOK, TickBody::Quote(quote));
                }
            }
            Step::Old => out.duplicates += 1,
            Step::Waiting { ask } => {
                if ask {
                    out.signal(Signal::NeedSnapshot(place));
                }
            }
            Step::Broken { missing } => {
                out.gap(place, Channel::Quotes, missing);
                out.signal(Signal::NeedSnapshot(place));
            }
            Step::Spliced => {}
        }
        Ok(FrameKind::Data)
    }

    fn splice(&mut self, place: u16, id: u64, out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        let was_broken = state.depth.is_broken();
        match state.depth.snapshot(id, &self.levels) {
            Step::Spliced => {
                if was_broken {
                    out.signal(Signal::Recovered(crate::decode::Feed::new(place, Channel::Quotes)));
                }
                let (top, id) = (state.depth.top(), state.depth.newest().unwrap_or(id));
                if state.advance(top, id) {
                    // The snapshot carries no time.
                    let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), id);
                    out.flagged(None, TickFlags::FROM_BOOK, TickBody::Quote(quote));
                }
            }
            Step::Waiting { .. } => out.signal(Signal::NeedSnapshot(place)),
            Step::Advanced | Step::Old | Step::Broken { .. } => {}
        }
    }

    /// A snapshot in a captured stream does not say whose it is: it belongs to the waiting book whose updates
    /// are nearest to it.
    fn snapshot_in_stream(&mut self, id: u64, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let distance = |state: &State| Some(state.depth.newest_kept()?.abs_diff(id));
        let waiting = (0..).zip(&self.instruments).filter_map(|(place, state)| Some((distance(state)?, place)));
        match waiting.min() {
            Some((distance, place)) if distance <= Self::SNAPSHOT_DISTANCE_MAX => {
                self.splice(place, id, out);
                Ok(FrameKind::Data)
            }
            _ => Err(Refusal::UnknownFrame("a snapshot that no book waits for").into()),
        }
    }

    /// Update ids between a snapshot and the newest event of its book, at most: minutes of the busiest one.
    const SNAPSHOT_DISTANCE_MAX: u64 = 1_000_000;
}

impl State {
    /// Takes a new best bid and ask, unless it is older than the last or says the same.
    #[inline]
    fn advance(&mut self, top: Top, id: u64) -> bool {
        if id < self.top_id || top == self.top {
            return false;
        }
        self.top = top;
        self.top_id = id;
        true
    }
}

impl Decoder for BinanceDecoder {
    fn decode(&mut self, frame: &[u8], _ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut reader = Reader::new(frame)?;
        let mut fields = Fields::default();
        let mut wrapped = None;
        self.levels.clear();
        let levels = &mut self.levels;
        reader.object(|reader, key| {
            if key == b"data" {
                fill(&mut wrapped, "data", ())?;
                reader.object(|reader, key| fields.read(reader, key, levels))
            } else {
                fields.read(reader, key, levels)
            }
        })?;
        reader.finish()?;
        match fields.kind {
            Some(b"trade") => self.trade(&fields, out),
            Some(b"depthUpdate") => self.depth(&fields, out),
            Some(b"bookTicker") | None if fields.bid.is_some() => self.book_ticker(&fields, out),
            Some(b"serverShutdown") => {
                out.signal(Signal::Reconnect("the venue announced a shutdown"));
                Ok(FrameKind::Control)
            }
            Some(kind) => Err(Refusal::unknown_value("e", kind)),
            None => {
                if let Some(message) = fields.error {
                    return Err(Refusal::Venue(Refusal::shown(message)).into());
                }
                if let Some(id) = fields.snapshot {
                    need(fields.bids.and(fields.asks), "bids, asks")?;
                    return self.snapshot_in_stream(id, out);
                }
                match fields.answer {
                    Some(_) => Ok(FrameKind::Control),
                    None => Err(Refusal::UnknownFrame("no event, book ticker, snapshot or answer").into()),
                }
            }
        }
    }

    fn snapshot(
        &mut self,
        instrument: u16,
        body: &[u8],
        _ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(body)?;
        let mut fields = Fields::default();
        self.levels.clear();
        let levels = &mut self.levels;
        reader.object(|reader, key| fields.read(reader, key, levels))?;
        reader.finish()?;
        let id = need(fields.snapshot, "lastUpdateId")?;
        need(fields.bids.and(fields.asks), "bids, asks")?;
        self.splice(instrument, id, out);
        Ok(())
    }

    fn reset(&mut self) {
        for state in &mut self.instruments {
            state.depth.reset();
            state.top = Top::default();
            state.top_id = 0;
        }
    }
}
