//! Stream frames into ticks.

use model::{Channel, Side, TickBody, TickFlags, Trade, TradeId, UnixNanos};

use crate::book::{Book, Levels, Top};
use crate::connector::Plan;
use crate::decode::{Decoder, Feed, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::levels::read_pairs;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Recent, Seen};

#[derive(Debug)]
pub(super) struct OkxDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    trades: Vec<(Trade, UnixNanos)>,
    updates: Vec<Update>,
}

#[derive(Debug, Default)]
struct State {
    trades: Recent,
    book: Book,
    /// `seqId` of the newest update; none while the book waits for its snapshot.
    sequence: Option<i64>,
    /// The book broke and its repair is not told yet.
    broken: bool,
    /// What the last quote said.
    top: Top,
    /// `seqId` of the newest best bid and ask.
    best_sequence: i64,
}

/// A book's snapshot or update, or a best bid and ask.
#[derive(Debug, Default)]
struct Update {
    levels: Levels,
    time: UnixNanos,
    sequence: i64,
    previous: i64,
}

/// What every message may have.
#[derive(Default)]
struct Envelope<'a> {
    event: Option<&'a [u8]>,
    code: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    channel: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    action: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

impl OkxDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self { symbols, instruments, trades: Vec::new(), updates: Vec::new() }
    }

    fn event(&mut self, event: &[u8], envelope: &Envelope<'_>, out: &mut Output) -> Result<FrameKind, DecodeError> {
        match event {
            b"subscribe" => {
                if let (Some(channel), Some(symbol)) = (envelope.channel, envelope.symbol) {
                    let place = self.symbols.find(symbol)?;
                    let channel = if channel == b"trades" { Channel::Trades } else { Channel::Quotes };
                    out.signal(Signal::Subscribed(Feed::new(place, channel)));
                }
                Ok(FrameKind::Control)
            }
            b"error" => {
                let shown = |text: Option<&[u8]>| Refusal::shown(text.unwrap_or_default());
                Err(Refusal::Venue(format!("{} {}", shown(envelope.code), shown(envelope.message))).into())
            }
            // The service is about to be upgraded and cuts this connection.
            b"notice" => {
                out.signal(Signal::Reconnect("the venue announced an upgrade"));
                Ok(FrameKind::Control)
            }
            _ => Ok(FrameKind::Control),
        }
    }

    fn trades(&mut self, place: u16, data: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.trades.clear();
        let (symbols, trades) = (&mut self.symbols, &mut self.trades);
        Reader::over(data).array(|reader| {
            trades.push(read_trade(reader, symbols, place)?);
            Ok(())
        })?;
        out.saw(place, Channel::Trades);
        for (trade, time) in self.trades.drain(..) {
            match self.instruments[place as usize].trades.see(trade.id) {
                Seen::Repeat => out.duplicates += 1,
                Seen::New | Seen::Gap(_) => out.tick(Some(time), TickBody::Trade(trade)),
            }
        }
        Ok(FrameKind::Data)
    }

    fn best(&mut self, place: u16, data: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.read_updates(data)?;
        out.saw(place, Channel::Quotes);
        let mut updates = std::mem::take(&mut self.updates);
        for update in updates.drain(..) {
            let mut book = Book::default();
            book.load(&update.levels);
            let state = &mut self.instruments[place as usize];
            // An older state of another server must not follow a newer one.
            if update.sequence < state.best_sequence && state.best_sequence - update.sequence < 1_000_000 {
                continue;
            }
            state.best_sequence = update.sequence;
            self.quote(place, book.top(), &update, 0, out);
        }
        self.updates = updates;
        Ok(FrameKind::Data)
    }

    fn book(&mut self, place: u16, is_snapshot: bool, data: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.read_updates(data)?;
        out.saw(place, Channel::Quotes);
        let mut updates = std::mem::take(&mut self.updates);
        for update in updates.drain(..) {
            let state = &mut self.instruments[place as usize];
            if is_snapshot {
                state.book.load(&update.levels);
                state.sequence = Some(update.sequence);
                if std::mem::take(&mut state.broken) {
                    out.signal(Signal::Recovered(Feed::new(place, Channel::Quotes)));
                }
            } else {
                let Some(sequence) = state.sequence else { continue };
                if update.sequence == sequence && update.previous != sequence {
                    out.duplicates += 1;
                    continue;
                }
                if update.previous != sequence {
                    Self::break_book(state, place, out);
                    continue;
                }
                state.book.apply(&update.levels);
                state.sequence = Some(update.sequence);
            }
            let top = state.book.top();
            if top.crossed() {
                Self::break_book(state, place, out);
                continue;
            }
            self.quote(place, top, &update, TickFlags::FROM_BOOK, out);
        }
        self.updates = updates;
        Ok(FrameKind::Data)
    }

    fn break_book(state: &mut State, place: u16, out: &mut Output) {
        state.book.clear();
        state.sequence = None;
        state.broken = true;
        // Ids step irregularly, so how much is missing is not known.
        out.gap(place, Channel::Quotes, 0);
        out.signal(Signal::Resubscribe(Feed::new(place, Channel::Quotes)));
    }

    fn quote(&mut self, place: u16, top: Top, update: &Update, flags: u8, out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        if state.top != top {
            state.top = top;
            let sequence = u64::try_from(update.sequence).unwrap_or(0);
            let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), sequence);
            out.flagged(Some(update.time), flags, TickBody::Quote(quote));
        }
    }

    fn read_updates(&mut self, data: &[u8]) -> Result<(), DecodeError> {
        self.updates.clear();
        let updates = &mut self.updates;
        Reader::over(data).array(|reader| {
            updates.push(read_update(reader)?);
            Ok(())
        })
    }
}

fn read_trade(reader: &mut Reader<'_>, symbols: &mut Symbols, place: u16) -> Result<(Trade, UnixNanos), DecodeError> {
    let (mut symbol, mut id, mut price, mut quantity, mut side, mut time) = (None, None, None, None, None, None);
    reader.object(|reader, key| match key {
        b"instId" => fill(&mut symbol, "instId", reader.text()?),
        b"tradeId" => fill(&mut id, "tradeId", reader.unsigned("tradeId")?),
        b"px" => fill(&mut price, "px", reader.price("px")?),
        b"sz" => fill(&mut quantity, "sz", reader.quantity("sz")?),
        b"side" => fill(&mut side, "side", reader.text()?),
        b"ts" => fill(&mut time, "ts", reader.millis("ts")?),
        _ => reader.skip(),
    })?;
    if symbols.find(need(symbol, "instId")?)? != place {
        return Err(Refusal::UnknownFrame("a trade of another instrument than its channel's").into());
    }
    let trade = Trade {
        venue: symbols.venue(),
        instrument: symbols.instrument(place),
        id: TradeId::Number(need(id, "tradeId")?),
        price: need(price, "px")?,
        quantity: need(quantity, "sz")?,
        taker_side: match need(side, "side")? {
            b"buy" => Side::Buy,
            b"sell" => Side::Sell,
            other => return Err(Refusal::unknown_value("side", other)),
        },
    };
    Ok((trade, need(time, "ts")?))
}

fn read_update(reader: &mut Reader<'_>) -> Result<Update, DecodeError> {
    let mut update = Update::default();
    let (mut bids, mut asks, mut time, mut sequence, mut previous) = (None, None, None, None, None);
    let levels = &mut update.levels;
    reader.object(|reader, key| match key {
        b"bids" => fill(&mut bids, "bids", ()).and_then(|()| read_pairs(reader, &mut levels.bids, "bids")),
        b"asks" => fill(&mut asks, "asks", ()).and_then(|()| read_pairs(reader, &mut levels.asks, "asks")),
        b"ts" => fill(&mut time, "ts", reader.millis("ts")?),
        b"seqId" => fill(&mut sequence, "seqId", signed(reader, "seqId")?),
        b"prevSeqId" => fill(&mut previous, "prevSeqId", signed(reader, "prevSeqId")?),
        _ => reader.skip(),
    })?;
    need(bids.and(asks), "bids, asks")?;
    update.time = need(time, "ts")?;
    update.sequence = need(sequence, "seqId")?;
    update.previous = previous.unwrap_or(-1);
    Ok(update)
}

/// A whole number that may be -1.
fn signed(reader: &mut Reader<'_>, field: &'static str) -> Result<i64, DecodeError> {
    let text = reader.number_text()?;
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Refusal::unknown_value(field, text))
}

impl Decoder for OkxDecoder {
    fn decode(&mut self, frame: &[u8], _ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        if frame == b"pong" {
            return Ok(FrameKind::Heartbeat);
        }
        let mut reader = Reader::new(frame)?;
        let mut envelope = Envelope::default();
        reader.object(|reader, key| match key {
            b"event" => fill(&mut envelope.event, "event", reader.text()?),
            b"code" => fill(&mut envelope.code, "code", reader.text()?),
            b"msg" => fill(&mut envelope.message, "msg", reader.text()?),
            b"action" => fill(&mut envelope.action, "action", reader.text()?),
            b"data" => fill(&mut envelope.data, "data", reader.raw()?),
            b"arg" => reader.object(|reader, key| match key {
                b"channel" => fill(&mut envelope.channel, "channel", reader.text()?),
                b"instId" => fill(&mut envelope.symbol, "instId", reader.text()?),
                _ => reader.skip(),
            }),
            _ => reader.skip(),
        })?;
        reader.finish()?;
        if let Some(event) = envelope.event {
            return self.event(event, &envelope, out);
        }
        let channel = envelope.channel.ok_or(Refusal::UnknownFrame("neither event nor channel"))?;
        let place = self.symbols.find(need(envelope.symbol, "instId")?)?;
        let data = need(envelope.data, "data")?;
        match channel {
            b"trades" => self.trades(place, data, out),
            b"bbo-tbt" => self.best(place, data, out),
            b"books" => match need(envelope.action, "action")? {
                b"snapshot" => self.book(place, true, data, out),
                b"update" => self.book(place, false, data, out),
                other => Err(Refusal::unknown_value("action", other)),
            },
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
        for state in &mut self.instruments {
            state.book.clear();
            state.sequence = None;
            state.broken = false;
            state.top = Top::default();
            state.best_sequence = 0;
        }
    }
}
