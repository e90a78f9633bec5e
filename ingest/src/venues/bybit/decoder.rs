//! Stream frames into ticks.

use model::{Channel, Side, TickBody, TickFlags, Trade, TradeId, UnixNanos};

use crate::book::{Book, Levels, Top};
use crate::connector::Plan;
use crate::decode::{Decoder, Feed, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::levels::read_pairs;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Recent, Seen};

/// Trades of one message, at most, as the venue promises.
const TRADES_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct BybitDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    trades: Vec<(Trade, u8, UnixNanos)>,
    levels: Levels,
}

#[derive(Debug, Default)]
struct State {
    trades: Recent,
    book: Book,
    /// `u` of the newest update; none while the book waits for its snapshot.
    update: Option<u64>,
    /// The book broke and its repair is not told yet.
    broken: bool,
    /// What the last quote said.
    top: Top,
    best_update: u64,
}

/// What every message may have.
#[derive(Default)]
struct Envelope<'a> {
    topic: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    time: Option<UnixNanos>,
    matched: Option<UnixNanos>,
    operation: Option<&'a [u8]>,
    success: Option<bool>,
    message: Option<&'a [u8]>,
}

impl BybitDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self { symbols, instruments, trades: Vec::new(), levels: Levels::default() }
    }

    fn trades(&mut self, place: u16, data: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.trades.clear();
        let (symbols, trades) = (&mut self.symbols, &mut self.trades);
        Reader::over(data).array(|reader| {
            if trades.len() >= TRADES_MAX {
                return Err(Refusal::TooMany { what: "trades", count: trades.len() + 1, max: TRADES_MAX }.into());
            }
            trades.push(read_trade(reader, symbols, place)?);
            Ok(())
        })?;
        out.saw(place, Channel::Trades);
        for (trade, flags, time) in self.trades.drain(..) {
            match self.instruments[place as usize].trades.see(trade.id) {
                Seen::Repeat => out.duplicates += 1,
                Seen::New | Seen::Gap(_) => out.flagged(Some(time), flags, TickBody::Trade(trade)),
            }
        }
        Ok(FrameKind::Data)
    }

    /// Reads levels and `u` of the frame's book.
    fn read_levels(&mut self, place: u16, data: &[u8]) -> Result<u64, DecodeError> {
        self.levels.clear();
        let (mut symbol, mut bids, mut asks, mut update) = (None, None, None, None);
        let levels = &mut self.levels;
        Reader::over(data).object(|reader, key| match key {
            b"s" => fill(&mut symbol, "s", reader.text()?),
            b"b" => fill(&mut bids, "b", ()).and_then(|()| read_pairs(reader, &mut levels.bids, "b")),
            b"a" => fill(&mut asks, "a", ()).and_then(|()| read_pairs(reader, &mut levels.asks, "a")),
            b"u" => fill(&mut update, "u", reader.unsigned("u")?),
            _ => reader.skip(),
        })?;
        if self.symbols.find(need(symbol, "s")?)? != place {
            return Err(Refusal::UnknownFrame("a book of another instrument than its topic's").into());
        }
        need(bids.and(asks), "b, a")?;
        need(update, "u")
    }

    fn best(&mut self, place: u16, data: &[u8], time: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let update = self.read_levels(place, data)?;
        out.saw(place, Channel::Quotes);
        let state = &mut self.instruments[place as usize];
        // `u` of 1 is a restart of the service; anything else that is not newer repeats what was said.
        if update != 1 && update <= state.best_update {
            return Ok(FrameKind::Data);
        }
        state.best_update = update;
        let mut book = Book::default();
        book.load(&self.levels);
        self.quote(place, book.top(), update, (time, 0), out);
        Ok(FrameKind::Data)
    }

    fn book(
        &mut self,
        place: u16,
        kind: &[u8],
        data: &[u8],
        time: UnixNanos,
        out: &mut Output,
    ) -> Result<FrameKind, DecodeError> {
        let is_snapshot = match kind {
            b"snapshot" => true,
            b"delta" => false,
            other => return Err(Refusal::unknown_value("type", other)),
        };
        let update = self.read_levels(place, data)?;
        out.saw(place, Channel::Quotes);
        let state = &mut self.instruments[place as usize];
        if is_snapshot {
            state.book.load(&self.levels);
            if std::mem::take(&mut state.broken) {
                out.signal(Signal::Recovered(Feed::new(place, Channel::Quotes)));
            }
        } else {
            let Some(last) = state.update else { return Ok(FrameKind::Data) };
            if update <= last {
                out.duplicates += 1;
                return Ok(FrameKind::Data);
            }
            if update != last + 1 {
                Self::break_book(state, place, update - last - 1, out);
                return Ok(FrameKind::Data);
            }
            state.book.apply(&self.levels);
        }
        state.update = Some(update);
        let top = state.book.top();
        if top.crossed() {
            Self::break_book(state, place, 0, out);
            return Ok(FrameKind::Data);
        }
        self.quote(place, top, update, (time, TickFlags::FROM_BOOK), out);
        Ok(FrameKind::Data)
    }

    fn break_book(state: &mut State, place: u16, missing: u64, out: &mut Output) {
        state.book.clear();
        state.update = None;
        state.broken = true;
        out.gap(place, Channel::Quotes, missing);
        out.signal(Signal::Resubscribe(Feed::new(place, Channel::Quotes)));
    }

    fn quote(&mut self, place: u16, top: Top, sequence: u64, (time, flags): (UnixNanos, u8), out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        if state.top != top {
            state.top = top;
            let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), sequence);
            out.flagged(Some(time), flags, TickBody::Quote(quote));
        }
    }
}

fn read_trade(
    reader: &mut Reader<'_>,
    symbols: &mut Symbols,
    place: u16,
) -> Result<(Trade, u8, UnixNanos), DecodeError> {
    let (mut symbol, mut id, mut price, mut quantity, mut side, mut time) = (None, None, None, None, None, None);
    let (mut block, mut retail) = (None, None);
    reader.object(|reader, key| match key {
        b"T" => fill(&mut time, "T", reader.millis("T")?),
        b"s" => fill(&mut symbol, "s", reader.text()?),
        b"S" => fill(&mut side, "S", reader.text()?),
        b"v" => fill(&mut quantity, "v", reader.quantity("v")?),
        b"p" => fill(&mut price, "p", reader.price("p")?),
        b"i" => fill(&mut id, "i", reader.text()?),
        b"BT" => fill(&mut block, "BT", reader.bool()?),
        b"RPI" => fill(&mut retail, "RPI", reader.bool()?),
        _ => reader.skip(),
    })?;
    if symbols.find(need(symbol, "s")?)? != place {
        return Err(Refusal::UnknownFrame("a trade of another instrument than its topic's").into());
    }
    let id = need(id, "i")?;
    let trade = Trade {
        venue: symbols.venue(),
        instrument: symbols.instrument(place),
        id: TradeId::parse(id).map_err(|_| Refusal::unknown_value("i", id))?,
        price: need(price, "p")?,
        quantity: need(quantity, "v")?,
        taker_side: match need(side, "S")? {
            b"Buy" => Side::Buy,
            b"Sell" => Side::Sell,
            other => return Err(Refusal::unknown_value("S", other)),
        },
    };
    // Block trades and retail price improvement are made beside the book.
    let off_book = block == Some(true) || retail == Some(true);
    Ok((trade, if off_book { TickFlags::OFF_BOOK } else { 0 }, need(time, "T")?))
}

impl Decoder for BybitDecoder {
    fn decode(&mut self, frame: &[u8], _ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut reader = Reader::new(frame)?;
        let mut envelope = Envelope::default();
        reader.object(|reader, key| match key {
            b"topic" => fill(&mut envelope.topic, "topic", reader.text()?),
            b"type" => fill(&mut envelope.kind, "type", reader.text()?),
            b"data" => fill(&mut envelope.data, "data", reader.raw()?),
            b"ts" => fill(&mut envelope.time, "ts", reader.millis("ts")?),
            b"cts" => fill(&mut envelope.matched, "cts", reader.millis("cts")?),
            b"op" => fill(&mut envelope.operation, "op", reader.text()?),
            b"success" => fill(&mut envelope.success, "success", reader.bool()?),
            b"ret_msg" => fill(&mut envelope.message, "ret_msg", reader.text()?),
            _ => reader.skip(),
        })?;
        reader.finish()?;
        let Some(topic) = envelope.topic else {
            return match (envelope.operation, envelope.success) {
                (_, Some(false)) => Err(Refusal::Venue(Refusal::shown(envelope.message.unwrap_or_default())).into()),
                (Some(b"ping" | b"pong"), _) => Ok(FrameKind::Heartbeat),
                (Some(_), _) => Ok(FrameKind::Control),
                (None, _) => Err(Refusal::UnknownFrame("neither topic nor op").into()),
            };
        };
        let dot = topic.iter().rposition(|byte| *byte == b'.').ok_or_else(|| Refusal::unknown_value("topic", topic))?;
        let place = self.symbols.find(&topic[dot + 1..])?;
        let data = need(envelope.data, "data")?;
        // When the book changed, where that is said; else when the message was made.
        let time = need(envelope.matched.or(envelope.time), "ts")?;
        match &topic[..dot] {
            b"publicTrade" => self.trades(place, data, out),
            b"orderbook.1" => self.best(place, data, time, out),
            b"orderbook.50" => self.book(place, need(envelope.kind, "type")?, data, time, out),
            _ => Err(Refusal::unknown_value("topic", topic)),
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
        for state in &mut self.instruments {
            state.book.clear();
            state.update = None;
            state.broken = false;
            state.top = Top::default();
            state.best_update = 0;
        }
    }
}
