//! Stream frames into ticks.

use model::{Channel, Price, Quantity, Side, TickBody, TickFlags, Ticker, Trade, TradeId, UnixNanos, Volume};

use super::book::{Lines, ProvenBook, read_lines};
use crate::book::Top;
use crate::connector::Plan;
use crate::decode::{Decoder, Feed, FrameKind, Output, Signal, Symbols};
use crate::json::{Reader, fill, need};
use crate::pace::Pace;
use crate::refusal::{DecodeError, Refusal};
use crate::trade_ids::{Counter, Seen};

#[derive(Debug)]
pub(super) struct KrakenDecoder {
    symbols: Symbols,
    instruments: Vec<State>,
    wants_best: bool,
    wants_ticker: bool,
    trades: Vec<(u16, Trade, u64, UnixNanos)>,
}

#[derive(Debug, Default)]
struct State {
    trades: Counter,
    book: ProvenBook,
    /// The book broke and its repair is not told yet.
    broken: bool,
    /// What the last quote said.
    top: Top,
    tickers: Pace,
}

/// What every message may have.
#[derive(Default)]
struct Envelope<'a> {
    channel: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    success: Option<bool>,
    error: Option<&'a [u8]>,
}

impl KrakenDecoder {
    pub(super) fn new(plan: &Plan) -> Self {
        let symbols = Symbols::new(plan.venue, &plan.instruments);
        let instruments = (0..symbols.len()).map(|_| State::default()).collect();
        Self {
            symbols,
            instruments,
            wants_best: plan.wants_best(),
            wants_ticker: plan.wants(Channel::Ticker),
            trades: Vec::new(),
        }
    }

    fn trades(&mut self, data: &[u8], is_snapshot: bool, out: &mut Output) -> Result<FrameKind, DecodeError> {
        self.trades.clear();
        let (symbols, trades) = (&mut self.symbols, &mut self.trades);
        Reader::over(data).array(|reader| {
            trades.push(read_trade(reader, symbols)?);
            Ok(())
        })?;
        if is_snapshot {
            // Oldest first, so that those missed while we were away fill the gap rather than follow it.
            self.trades.sort_by_key(|(place, _, id, _)| (*place, *id));
        }
        let flags = if is_snapshot { TickFlags::HISTORIC } else { 0 };
        for (place, trade, id, time) in self.trades.drain(..) {
            out.saw(place, Channel::Trades);
            match self.instruments[place as usize].trades.see(id) {
                Seen::New => {}
                Seen::Gap(missing) => out.gap(place, Channel::Trades, missing),
                Seen::Repeat => {
                    out.duplicates += 1;
                    continue;
                }
            }
            out.flagged(Some(time), flags, TickBody::Trade(trade));
        }
        Ok(FrameKind::Data)
    }

    fn book(&mut self, data: &[u8], is_snapshot: bool, out: &mut Output) -> Result<FrameKind, DecodeError> {
        // One element in practice; each is read whole before it is applied.
        let mut books = Vec::with_capacity(1);
        Reader::over(data).array(|reader| {
            books.push(read_book(reader, &mut self.symbols)?);
            Ok(())
        })?;
        for (place, lines, checksum, time) in books {
            out.saw(place, Channel::Quotes);
            let state = &mut self.instruments[place as usize];
            let was_whole = state.book.is_whole();
            if !state.book.apply(&lines, is_snapshot, checksum) {
                if was_whole || is_snapshot {
                    state.broken = true;
                    out.gap(place, Channel::Quotes, 0);
                    out.signal(Signal::Resubscribe(Feed::new(place, Channel::Quotes)));
                }
                continue;
            }
            if std::mem::take(&mut state.broken) {
                out.signal(Signal::Recovered(Feed::new(place, Channel::Quotes)));
            }
            let top = state.book.top();
            self.quote(place, top, time, TickFlags::FROM_BOOK, out);
        }
        Ok(FrameKind::Data)
    }

    fn quote(&mut self, place: u16, top: Top, time: Option<UnixNanos>, flags: u8, out: &mut Output) {
        let state = &mut self.instruments[place as usize];
        if state.top != top {
            state.top = top;
            // The venue numbers neither books nor tickers.
            let quote = top.quote(self.symbols.venue(), self.symbols.instrument(place), 0);
            out.flagged(time, flags, TickBody::Quote(quote));
        }
    }

    fn tickers(&mut self, data: &[u8], ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut tickers = Vec::with_capacity(1);
        Reader::over(data).array(|reader| {
            tickers.push(read_ticker(reader, &mut self.symbols)?);
            Ok(())
        })?;
        for (place, top, last, volume, time) in tickers {
            out.saw(place, Channel::Ticker);
            if self.wants_best {
                out.saw(place, Channel::Quotes);
                self.quote(place, top, time, 0, out);
            }
            if self.wants_ticker && self.instruments[place as usize].tickers.is_due(ts_recv) {
                let (venue, instrument) = (self.symbols.venue(), self.symbols.instrument(place));
                let ticker = Ticker { venue, instrument, last, volume_24h: volume, quote_volume_24h: None };
                out.tick(time, TickBody::Ticker(ticker));
            }
        }
        Ok(FrameKind::Data)
    }
}

fn read_trade(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<(u16, Trade, u64, UnixNanos), DecodeError> {
    let (mut symbol, mut side, mut price, mut quantity, mut id, mut time) = (None, None, None, None, None, None);
    reader.object(|reader, key| match key {
        b"symbol" => fill(&mut symbol, "symbol", reader.text()?),
        b"side" => fill(&mut side, "side", reader.text()?),
        b"price" => fill(&mut price, "price", reader.price("price")?),
        b"qty" => fill(&mut quantity, "qty", reader.quantity("qty")?),
        b"trade_id" => fill(&mut id, "trade_id", reader.unsigned("trade_id")?),
        b"timestamp" => fill(&mut time, "timestamp", reader.rfc3339("timestamp")?),
        _ => reader.skip(),
    })?;
    let place = symbols.find(need(symbol, "symbol")?)?;
    let id = need(id, "trade_id")?;
    let trade = Trade {
        venue: symbols.venue(),
        instrument: symbols.instrument(place),
        id: TradeId::Number(id),
        price: need(price, "price")?,
        quantity: need(quantity, "qty")?,
        taker_side: match need(side, "side")? {
            b"buy" => Side::Buy,
            b"sell" => Side::Sell,
            other => return Err(Refusal::unknown_value("side", other)),
        },
    };
    Ok((place, trade, id, need(time, "timestamp")?))
}

fn read_book(
    reader: &mut Reader<'_>,
    symbols: &mut Symbols,
) -> Result<(u16, Lines, u64, Option<UnixNanos>), DecodeError> {
    let (mut symbol, mut checksum, mut time) = (None, None, None);
    let (mut bids, mut asks) = (None, None);
    let mut lines = Lines::default();
    reader.object(|reader, key| match key {
        b"symbol" => fill(&mut symbol, "symbol", reader.text()?),
        b"bids" => fill(&mut bids, "bids", ()).and_then(|()| read_lines(reader, &mut lines.bids)),
        b"asks" => fill(&mut asks, "asks", ()).and_then(|()| read_lines(reader, &mut lines.asks)),
        b"checksum" => fill(&mut checksum, "checksum", reader.unsigned("checksum")?),
        b"timestamp" => fill(&mut time, "timestamp", reader.rfc3339("timestamp")?),
        _ => reader.skip(),
    })?;
    let place = symbols.find(need(symbol, "symbol")?)?;
    need(bids.and(asks), "bids, asks")?;
    Ok((place, lines, need(checksum, "checksum")?, time))
}

type ReadTicker = (u16, Top, Price, Volume, Option<UnixNanos>);

fn read_ticker(reader: &mut Reader<'_>, symbols: &mut Symbols) -> Result<ReadTicker, DecodeError> {
    let (mut symbol, mut last, mut volume, mut time) = (None, None, None, None);
    let (mut bid, mut bid_quantity, mut ask, mut ask_quantity) = (None, None, None, None);
    reader.object(|reader, key| match key {
        b"symbol" => fill(&mut symbol, "symbol", reader.text()?),
        b"bid" => fill(&mut bid, "bid", reader.price_or_zero("bid")?),
        b"bid_qty" => fill(&mut bid_quantity, "bid_qty", reader.quantity_or_zero("bid_qty")?),
        b"ask" => fill(&mut ask, "ask", reader.price_or_zero("ask")?),
        b"ask_qty" => fill(&mut ask_quantity, "ask_qty", reader.quantity_or_zero("ask_qty")?),
        b"last" => fill(&mut last, "last", reader.price("last")?),
        b"volume" => fill(&mut volume, "volume", reader.volume("volume")?),
        b"timestamp" => fill(&mut time, "timestamp", reader.rfc3339("timestamp")?),
        _ => reader.skip(),
    })?;
    let place = symbols.find(need(symbol, "symbol")?)?;
    let (bid, ask) = (need(bid, "bid")?, need(ask, "ask")?);
    if bid > ask && ask.is_positive() {
        return Err(Refusal::Crossed { bid, ask }.into());
    }
    let top = Top {
        bid: bid.raw(),
        bid_quantity: need(bid_quantity, "bid_qty").map(Quantity::raw)?,
        ask: ask.raw(),
        ask_quantity: need(ask_quantity, "ask_qty").map(Quantity::raw)?,
    };
    Ok((place, top, need(last, "last")?, need(volume, "volume")?, time))
}

impl Decoder for KrakenDecoder {
    fn decode(&mut self, frame: &[u8], ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let mut reader = Reader::new(frame)?;
        let mut envelope = Envelope::default();
        reader.object(|reader, key| match key {
            b"channel" => fill(&mut envelope.channel, "channel", reader.text()?),
            b"type" => fill(&mut envelope.kind, "type", reader.text()?),
            b"data" => fill(&mut envelope.data, "data", reader.raw()?),
            b"method" => fill(&mut envelope.method, "method", reader.text()?),
            b"success" => fill(&mut envelope.success, "success", reader.bool()?),
            b"error" => fill(&mut envelope.error, "error", reader.raw()?),
            _ => reader.skip(),
        })?;
        reader.finish()?;
        let Some(channel) = envelope.channel else {
            return match (envelope.method, envelope.success, envelope.error) {
                (_, Some(false), error) | (_, None, error @ Some(_)) => {
                    Err(Refusal::Venue(Refusal::shown(error.unwrap_or(b"refused without a reason"))).into())
                }
                (Some(b"pong"), ..) => Ok(FrameKind::Heartbeat),
                (Some(_), ..) => Ok(FrameKind::Control),
                _ => Err(Refusal::UnknownFrame("neither channel nor method").into()),
            };
        };
        match channel {
            b"heartbeat" => return Ok(FrameKind::Heartbeat),
            b"status" => return Ok(FrameKind::Control),
            _ => {}
        }
        let is_snapshot = match need(envelope.kind, "type")? {
            b"snapshot" => true,
            b"update" => false,
            other => return Err(Refusal::unknown_value("type", other)),
        };
        let data = need(envelope.data, "data")?;
        match channel {
            b"trade" => self.trades(data, is_snapshot, out),
            b"book" => self.book(data, is_snapshot, out),
            b"ticker" => self.tickers(data, ts_recv, out),
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
            state.book.reset();
            state.broken = false;
            state.top = Top::default();
            state.tickers = Pace::default();
        }
    }
}
