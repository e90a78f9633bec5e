//! Stream frames into ticks.

use model::{Channel, Price, Quantity, Side, TickBody, TickFlags, Trade, TradeId, UnixNanos};

use super::orders::{OrderBook, OrderEvent, Taken, event_id, read_snapshot};
use crate::book::{Book, Levels, Top};
use crate::connector::Plan;
use crate::decode::{Decoder, Feed, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::levels::read_pairs;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Recent, Seen};

#[derive(Debug)]
pub(super) struct BitstampDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    levels: Levels,
}

#[derive(Debug, Default)]
struct State {
    trades: Recent,
    orders: OrderBook,
    /// The book of orders broke and its repair is not told yet.
    broken: bool,
    /// What the last quote said.
    top: Top,
    /// Time of the newest whole book.
    book_time: UnixNanos,
}

/// What every message may have.
#[derive(Default)]
struct Envelope<'a> {
    event: Option<&'a [u8]>,
    channel: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    event_id: Option<&'a [u8]>,
    previous: Option<&'a [u8]>,
}

impl BitstampDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self { symbols, instruments, levels: Levels::default() }
    }

    fn trade(&mut self, place: u16, data: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        let (mut id, mut price, mut quantity, mut side, mut time) = (None, None, None, None, None);
        Reader::over(data).object(|reader, key| match key {
            b"id" => fill(&mut id, "id", reader.unsigned("id")?),
            // The numbers beside these texts went through a float.
            b"price_str" => fill(&mut price, "price_str", reader.price("price_str")?),
            b"amount_str" => fill(&mut quantity, "amount_str", reader.quantity("amount_str")?),
            b"type" => fill(&mut side, "type", reader.unsigned("type")?),
            b"microtimestamp" => fill(&mut time, "microtimestamp", reader.micros("microtimestamp")?),
            _ => reader.skip(),
        })?;
        let trade = Trade {
            venue: self.symbols.venue(),
            instrument: self.symbols.instrument(place),
            id: TradeId::Number(need(id, "id")?),
            price: need(price, "price_str")?,
            quantity: need(quantity, "amount_str")?,
            taker_side: match need(side, "type")? {
                0 => Side::Buy,
                1 => Side::Sell,
                other => return Err(Refusal::unknown_value("type", other.to_string().as_bytes())),
            },
        };
        let time = need(time, "microtimestamp")?;
        out.saw(place, Channel::Trades);
        // Ids count over all instruments, so that gaps say nothing.
        match self.instruments[place as usize].trades.see(trade.id) {
            Seen::Repeat => out.duplicates += 1,
            Seen::New | Seen::Gap(_) => out.tick(Some(time), TickBody::Trade(trade)),
        }
        Ok(FrameKind::Data)
    }

    /// The best hundred levels of each side, whole.
    fn whole_book(&mut self, place: u16, data: &[u8], out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.levels.clear();
        let (mut bids, mut asks, mut time) = (None, None, None);
        let levels = &mut self.levels;
        Reader::over(data).object(|reader, key| match key {
            b"bids" => fill(&mut bids, "bids", ()).and_then(|()| read_pairs(reader, &mut levels.bids, "bids")),
            b"asks" => fill(&mut asks, "asks", ()).and_then(|()| read_pairs(reader, &mut levels.asks, "asks")),
            b"microtimestamp" => fill(&mut time, "microtimestamp", reader.micros("microtimestamp")?),
            _ => reader.skip(),
        })?;
        need(bids.and(asks), "bids, asks")?;
        let time = need(time, "microtimestamp")?;
        let mut book = Book::default();
        book.load(&self.levels);
        let top = book.top();
        if top.crossed() {
            let (bid, ask) = (Price::from_raw(top.bid), Price::from_raw(top.ask));
            return Err(Refusal::Crossed { bid: bid.unwrap_or_default(), ask: ask.unwrap_or_default() }.into());
        }
        out.saw(place, Channel::Quotes);
        let state = &mut self.instruments[place as usize];
        // Each one replaces the last, so an older one is of no use.
        if time >= state.book_time {
            state.book_time = time;
            self.quote(place, top, time, 0, out);
        }
        Ok(FrameKind::Data)
    }

    fn order(
        &mut self,
        place: u16,
        envelope: &Envelope<'_>,
        deleted: bool,
        out: &mut Output,
    ) -> Result<FrameKind, DecodeError> {
        let event = read_event(envelope, deleted)?;
        out.saw(place, Channel::Quotes);
        let state = &mut self.instruments[place as usize];
        match state.orders.take(&event) {
            Taken::Applied => {
                let top = state.orders.top();
                if top.crossed() {
                    // Orders that match are taken out one event later; only a whole book of others is wrong.
                    return Ok(FrameKind::Data);
                }
                self.quote(place, top, event.time, TickFlags::FROM_BOOK, out);
            }
            Taken::Waits(true) => out.signal(Signal::NeedSnapshot(place)),
            Taken::Waits(false) => {}
            Taken::Repeat => out.duplicates += 1,
            Taken::Gap => {
                state.broken = true;
                out.gap(place, Channel::Quotes, 0);
                out.signal(Signal::NeedSnapshot(place));
            }
        }
        Ok(FrameKind::Data)
    }

    fn quote(&mut self, place: u16, top: Top, time: UnixNanos, flags: u8, out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        if state.top != top {
            state.top = top;
            // The venue numbers no books; time, in microseconds, orders them.
            let sequence = u64::try_from(time.0 / 1_000).unwrap_or(0);
            let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), sequence);
            out.flagged(Some(time), flags, TickBody::Quote(quote));
        }
    }
}

fn read_event(envelope: &Envelope<'_>, deleted: bool) -> Result<OrderEvent, DecodeError> {
    let (mut order, mut side, mut price, mut quantity, mut time) = (None, None, None, None, None);
    Reader::over(need(envelope.data, "data")?).object(|reader, key| match key {
        b"id_str" => fill(&mut order, "id_str", reader.unsigned("id_str")?),
        b"order_type" => fill(&mut side, "order_type", reader.unsigned("order_type")?),
        b"price_str" => fill(&mut price, "price_str", reader.price_or_zero("price_str")?),
        b"amount_str" => fill(&mut quantity, "amount_str", reader.quantity_or_zero("amount_str")?),
        b"microtimestamp" => fill(&mut time, "microtimestamp", reader.micros("microtimestamp")?),
        _ => reader.skip(),
    })?;
    let (price, quantity): (Price, Quantity) = (need(price, "price_str")?, need(quantity, "amount_str")?);
    Ok(OrderEvent {
        id: event_id(need(envelope.event_id, "event_id")?, "event_id")?,
        previous: event_id(need(envelope.previous, "pre_event_id")?, "pre_event_id")?,
        time: need(time, "microtimestamp")?,
        // A market order has no price and never rests.
        deleted: deleted || !price.is_positive(),
        order: need(order, "id_str")?,
        is_ask: match need(side, "order_type")? {
            0 => false,
            1 => true,
            other => return Err(Refusal::unknown_value("order_type", other.to_string().as_bytes())),
        },
        price,
        quantity,
    })
}

impl Decoder for BitstampDecoder {
    fn decode(&mut self, frame: &[u8], _ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut reader = Reader::new(frame)?;
        let mut envelope = Envelope::default();
        reader.object(|reader, key| match key {
            b"event" => fill(&mut envelope.event, "event", reader.text()?),
            b"channel" => fill(&mut envelope.channel, "channel", reader.text()?),
            b"data" => fill(&mut envelope.data, "data", reader.raw()?),
            b"event_id" => fill(&mut envelope.event_id, "event_id", reader.text()?),
            b"pre_event_id" => fill(&mut envelope.previous, "pre_event_id", reader.text()?),
            _ => reader.skip(),
        })?;
        reader.finish()?;
        let event = need(envelope.event, "event")?;
        match event {
            b"bts:heartbeat" => return Ok(FrameKind::Heartbeat),
            b"bts:request_reconnect" => {
                out.signal(Signal::Reconnect("the venue asked for it"));
                return Ok(FrameKind::Control);
            }
            b"bts:error" => return Err(Refusal::Venue(Refusal::shown(envelope.data.unwrap_or_default())).into()),
            _ => {}
        }
        let channel = need(envelope.channel, "channel")?;
        let cut = channel.iter().rposition(|byte| *byte == b'_');
        let cut = cut.ok_or_else(|| Refusal::unknown_value("channel", channel))?;
        let place = self.symbols.find(&channel[cut + 1..])?;
        let name = &channel[..cut];
        if event == b"bts:subscription_succeeded" {
            let feed = if name == b"live_trades" { Channel::Trades } else { Channel::Quotes };
            out.signal(Signal::Subscribed(Feed::new(place, feed)));
            return Ok(FrameKind::Control);
        }
        if event == b"bts:unsubscription_succeeded" {
            return Ok(FrameKind::Control);
        }
        match (name, event) {
            (b"live_trades", b"trade") => self.trade(place, need(envelope.data, "data")?, out),
            (b"order_book", b"data") => self.whole_book(place, need(envelope.data, "data")?, out),
            (b"live_orders", b"order_created" | b"order_changed") => self.order(place, &envelope, false, out),
            (b"live_orders", b"order_deleted") => self.order(place, &envelope, true, out),
            // Differences without a sequence: not asked for, since a loss in them cannot be seen.
            _ => Err(Refusal::unknown_value("channel", channel)),
        }
    }

    fn snapshot(
        &mut self,
        instrument: u16,
        body: &[u8],
        _ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        let snapshot = read_snapshot(body)?;
        let state = &mut self.instruments[instrument as usize];
        if state.orders.is_whole() {
            return Ok(());
        }
        if !state.orders.load(&snapshot) {
            // The venue's REST book lags by about a second; a later one is new enough.
            out.signal(Signal::NeedSnapshot(instrument));
            return Ok(());
        }
        if std::mem::take(&mut state.broken) {
            out.signal(Signal::Recovered(Feed::new(instrument, Channel::Quotes)));
        }
        Ok(())
    }

    fn reset(&mut self) {
        for state in &mut self.instruments {
            state.orders.reset();
            state.broken = false;
            state.top = Top::default();
            state.book_time = UnixNanos::default();
        }
    }
}
