//! OKX v5, public WebSocket and market REST calls.
//!
//! Formats: the public data pages of OKX's v5 documentation. `books` chains by `prevSeqId`; its checksum has
//! been 0 on the venue for a while, and is here.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Event, Protocol, Rules, plain, put_levels};
use crate::engine::{ConnectionId, Hub, RestReply, RestRequest, Shape, Stream};
use crate::market::book::{Delta, Level, Window};
use crate::market::feed::BOOK_DEPTH;
use crate::market::{Feed, Fill, Market};
use crate::text::{put, put_i64, put_notional, put_trimmed, put_u64};

const CHANNELS: [&str; 5] = ["trades", "trades-all", "bbo-tbt", "books", "tickers"];
const TRADES: usize = 0;
const TRADES_ALL: usize = 1;
const BBO: usize = 2;
const BOOKS: usize = 3;
const TICKERS: usize = 4;
/// Ticks of 10 ms between two frames of `books` and `tickers`.
const BATCH_TICKS: u64 = 10;

struct Symbol {
    /// `BTC-USDT`
    name: String,
    window: Window,
    /// `seqId` of the last `books` frame.
    sequence: u64,
    best: (Option<Level>, Option<Level>),
    /// Trades that `tickers` last told of.
    trades_told: u64,
}

/// See the module.
pub(crate) struct Okx {
    symbols: Vec<Symbol>,
    ticks: u64,
    delta: Delta,
}

impl Okx {
    pub(crate) fn new(market: &Market) -> Self {
        let symbol = |feed: &Feed| {
            let mut window = Window::new(BOOK_DEPTH, true);
            window.advance(&feed.book, &mut Delta::default());
            let name = feed.config.instrument.to_string();
            let (sequence, best) = (feed.book.update_id, feed.book.best());
            Symbol { name, window, sequence, best, trades_told: 0 }
        };
        Self { symbols: market.feeds.iter().map(symbol).collect(), ticks: 0, delta: Delta::default() }
    }

    fn subscribe(&self, client: ConnectionId, op: &str, arg: &Value, hub: &mut Hub, market: &Market) {
        let field = |name: &str| arg.get(name).and_then(Value::as_str).unwrap_or_default();
        let (channel_name, instrument) = (field("channel"), field("instId"));
        let channel = CHANNELS.iter().position(|known| *known == channel_name);
        let symbol = self.symbols.iter().position(|known| known.name == instrument);
        let (Some(channel), Some(symbol)) = (channel, symbol) else {
            let message = format!(
                "Wrong URL or channel:{channel_name},instId:{instrument} doesn't exist. \
                 Please use the correct URL, channel and parameters referring to API document."
            );
            return error(client, "60018", &message, hub);
        };
        let stream = Stream { channel, symbol };
        let new = match op {
            "subscribe" => hub.subscribe(client, stream, false),
            _ => !hub.unsubscribe(client, stream),
        };
        hub.send(client, |out, _| {
            put(out, "{\"event\":\"");
            put(out, op);
            put(out, "\",");
            self.put_arg(out, stream);
            put(out, ",\"connId\":\"");
            put(out, &connection_name(client));
            put(out, "\"}");
            Shape::Plain
        });
        if op != "subscribe" || !new {
            return;
        }
        let (feed, symbol) = (&market.feeds[stream.symbol], &self.symbols[stream.symbol]);
        let millis = hub.clock().div_euclid(1_000_000);
        match channel {
            BBO => hub.send(client, |out, _| self.put_bbo(out, stream, feed, millis)),
            BOOKS => {
                let levels = (symbol.window.bids(), symbol.window.asks());
                hub.send(client, |out, _| {
                    self.put_books(out, stream, "snapshot", feed, levels, (symbol.sequence, -1, millis))
                });
            }
            TICKERS => hub.send(client, |out, _| self.put_ticker_frame(out, stream, feed, millis)),
            _ => {}
        }
    }

    fn put_arg(&self, out: &mut Vec<u8>, stream: Stream) {
        put(out, "\"arg\":{\"channel\":\"");
        put(out, CHANNELS[stream.channel]);
        put(out, "\",\"instId\":\"");
        put(out, &self.symbols[stream.symbol].name);
        put(out, "\"}");
    }

    fn put_trade(&self, out: &mut Vec<u8>, stream: Stream, feed: &Feed, fill: Fill, millis: i64) -> Shape {
        out.push(b'{');
        self.put_arg(out, stream);
        put(out, ",\"data\":[{\"instId\":\"");
        put(out, &self.symbols[stream.symbol].name);
        put(out, "\",\"tradeId\":\"");
        put_u64(out, fill.id);
        put(out, "\",\"px\":\"");
        put_trimmed(out, feed.price_raw(fill.price));
        put(out, "\",\"sz\":\"");
        put_trimmed(out, feed.quantity_raw(fill.quantity));
        put(out, "\",\"side\":\"");
        put(out, fill.taker_side.as_str());
        put(out, "\",\"ts\":\"");
        put_i64(out, millis);
        put(out, if stream.channel == TRADES { "\",\"count\":\"1\"}]}" } else { "\"}]}" });
        Shape::Plain
    }

    fn put_bbo(&self, out: &mut Vec<u8>, stream: Stream, feed: &Feed, millis: i64) -> Shape {
        out.push(b'{');
        self.put_arg(out, stream);
        put(out, ",\"data\":[{\"asks\":");
        put_levels(out, &feed.book.asks[..feed.book.asks.len().min(1)], |out, level| put_level(out, feed, level));
        put(out, ",\"bids\":");
        put_levels(out, &feed.book.bids[..feed.book.bids.len().min(1)], |out, level| put_level(out, feed, level));
        put(out, ",\"ts\":\"");
        put_i64(out, millis);
        put(out, "\",\"seqId\":");
        put_u64(out, feed.book.update_id);
        put(out, "}]}");
        Shape::Plain
    }

    fn put_books(
        &self,
        out: &mut Vec<u8>,
        stream: Stream,
        action: &str,
        feed: &Feed,
        (bids, asks): (&[Level], &[Level]),
        (sequence, previous, millis): (u64, i64, i64),
    ) -> Shape {
        out.push(b'{');
        self.put_arg(out, stream);
        put(out, ",\"action\":\"");
        put(out, action);
        put(out, "\",\"data\":[{\"asks\":");
        put_levels(out, asks, |out, level| put_level(out, feed, level));
        put(out, ",\"bids\":");
        put_levels(out, bids, |out, level| put_level(out, feed, level));
        put(out, ",\"ts\":\"");
        put_i64(out, millis);
        put(out, "\",\"checksum\":0,\"seqId\":");
        put_u64(out, sequence);
        put(out, ",\"prevSeqId\":");
        put_i64(out, previous);
        put(out, "}]}");
        Shape::Plain
    }

    fn put_ticker_frame(&self, out: &mut Vec<u8>, stream: Stream, feed: &Feed, millis: i64) -> Shape {
        out.push(b'{');
        self.put_arg(out, stream);
        put(out, ",\"data\":[");
        put_ticker(out, &self.symbols[stream.symbol].name, feed, millis);
        put(out, "]}");
        Shape::Plain
    }

    fn books(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        let symbol = &mut self.symbols[at];
        symbol.window.advance(&feed.book, &mut self.delta);
        if self.delta.is_empty() {
            return;
        }
        let (previous, sequence) = (symbol.sequence as i64, feed.book.update_id);
        symbol.sequence = sequence;
        let (stream, millis) = (Stream { channel: BOOKS, symbol: at }, hub.clock().div_euclid(1_000_000));
        let (this, delta) = (&*self, &self.delta);
        hub.publish(stream, sequence, |out, _| {
            this.put_books(out, stream, "update", feed, (&delta.bids, &delta.asks), (sequence, previous, millis))
        });
    }
}

fn connection_name(client: ConnectionId) -> String {
    format!("{:08x}", 0x32f4_0000 + client)
}

/// Price, quantity, a field that is always 0, and the number of orders.
fn put_level(out: &mut Vec<u8>, feed: &Feed, level: Level) {
    put(out, "[\"");
    put_trimmed(out, feed.price_raw(level.price));
    put(out, "\",\"");
    put_trimmed(out, feed.quantity_raw(level.quantity));
    put(out, "\",\"0\",\"");
    put_i64(out, if level.quantity == 0 { 0 } else { 1 + level.quantity % 19 });
    put(out, "\"]");
}

fn put_ticker(out: &mut Vec<u8>, name: &str, feed: &Feed, millis: i64) {
    let day = &feed.day;
    let none = Level { price: 0, quantity: 0 };
    let (bid, ask) = feed.book.best();
    let (bid, ask) = (bid.unwrap_or(none), ask.unwrap_or(none));
    put(out, "{\"instType\":\"SPOT\",\"instId\":\"");
    put(out, name);
    for (field, raw) in [
        ("last", feed.price_raw(day.last())),
        ("lastSz", feed.quantity_raw(feed.recent.back().map_or(0, |(_, fill)| fill.quantity))),
        ("askPx", feed.price_raw(ask.price)),
        ("askSz", feed.quantity_raw(ask.quantity)),
        ("bidPx", feed.price_raw(bid.price)),
        ("bidSz", feed.quantity_raw(bid.quantity)),
        ("open24h", feed.price_raw(day.open())),
        ("high24h", feed.price_raw(day.high())),
        ("low24h", feed.price_raw(day.low())),
        ("vol24h", feed.volume_raw()),
    ] {
        put(out, "\",\"");
        put(out, field);
        put(out, "\":\"");
        put_trimmed(out, raw);
    }
    put(out, "\",\"volCcy24h\":\"");
    put_notional(out, feed.turnover_raw(), 8);
    put(out, "\",\"ts\":\"");
    put_i64(out, millis);
    put(out, "\"}");
}

fn error(client: ConnectionId, code: &str, message: &str, hub: &mut Hub) {
    let text = format!(
        "{{\"event\":\"error\",\"code\":\"{code}\",\"msg\":{},\"connId\":\"{}\"}}",
        Value::from(message),
        connection_name(client)
    );
    hub.send(client, |out, _| plain(out, &text));
}

impl Protocol for Okx {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules { idle_max: Some(Duration::from_secs(30)), texts_per_second_max: 100, ..Rules::NONE }
    }

    fn opened(&mut self, _client: ConnectionId, _request: &RestRequest, _hub: &mut Hub, _market: &Market) {}

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market) {
        if text == b"ping" {
            return hub.send(client, |out, _| plain(out, "pong"));
        }
        let request = serde_json::from_slice::<Value>(text).unwrap_or(Value::Null);
        let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
        let args = request.get("args").and_then(Value::as_array);
        match (op, args) {
            ("subscribe" | "unsubscribe", Some(args)) => {
                for arg in args {
                    self.subscribe(client, op, arg, hub, market);
                }
            }
            _ => {
                let shown: String = String::from_utf8_lossy(text).chars().take(200).collect();
                error(client, "60012", &format!("Invalid request: {shown}"), hub);
            }
        }
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let Some(fill) = event.fill else { return };
        let (feed, millis) = (&market.feeds[event.symbol], hub.clock().div_euclid(1_000_000));
        for channel in [TRADES, TRADES_ALL] {
            let stream = Stream { channel, symbol: event.symbol };
            hub.publish(stream, fill.id, |out, _| self.put_trade(out, stream, feed, fill, millis));
        }
    }

    fn tick(&mut self, hub: &mut Hub, market: &Market) {
        self.ticks += 1;
        let millis = hub.clock().div_euclid(1_000_000);
        for (at, feed) in market.feeds.iter().enumerate() {
            let best = feed.book.best();
            if best != self.symbols[at].best {
                self.symbols[at].best = best;
                let stream = Stream { channel: BBO, symbol: at };
                hub.publish(stream, feed.book.update_id, |out, _| self.put_bbo(out, stream, feed, millis));
            }
            if !self.ticks.is_multiple_of(BATCH_TICKS) {
                continue;
            }
            self.books(at, feed, hub);
            if self.symbols[at].trades_told != feed.day.trades() {
                self.symbols[at].trades_told = feed.day.trades();
                let stream = Stream { channel: TICKERS, symbol: at };
                hub.publish(stream, feed.day.trades(), |out, _| self.put_ticker_frame(out, stream, feed, millis));
            }
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        let millis = hub.clock().div_euclid(1_000_000);
        match request.path.as_str() {
            "/api/v5/public/time" => {
                RestReply::value(200, &json!({ "code": "0", "msg": "", "data": [{ "ts": millis.to_string() }] }))
            }
            "/api/v5/market/ticker" | "/api/v5/market/tickers" => {
                let all = request.path.ends_with('s');
                let wanted = request.parameter("instId");
                let mut out = b"{\"code\":\"0\",\"msg\":\"\",\"data\":[".to_vec();
                let begin = out.len();
                for (symbol, feed) in self.symbols.iter().zip(&market.feeds) {
                    if all || wanted == Some(symbol.name.as_str()) {
                        if out.len() > begin {
                            out.push(b',');
                        }
                        put_ticker(&mut out, &symbol.name, feed, millis);
                    }
                }
                if out.len() == begin {
                    let refused = json!({ "code": "51001", "msg": "Instrument ID doesn't exist.", "data": [] });
                    return RestReply::value(200, &refused);
                }
                put(&mut out, "]}");
                RestReply::text(200, out)
            }
            _ => RestReply::value(404, &json!({ "code": "404", "msg": "Not Found", "data": [] })),
        }
    }
}
