//! Bybit v5 spot, public WebSocket and market REST calls.
//!
//! Formats: Bybit's v5 documentation. `orderbook.50` counts `u` up by one per message; `orderbook.1` sends
//! snapshots only, and the same one again after 3 s without a change.

use std::time::Duration;

use model::{Side, TradeId};
use serde_json::{Value, json};

use super::{Event, Protocol, Rules, plain, put_levels};
use crate::engine::{ConnectionId, Hub, RestReply, RestRequest, Shape, Stream};
use crate::market::book::{Delta, Level, Window};
use crate::market::random::Random;
use crate::market::{Feed, Fill, Market};
use crate::text::{put, put_i64, put_notional, put_trimmed, put_u64, put_uuid};

const CHANNELS: [&str; 4] = ["publicTrade", "orderbook.1", "orderbook.50", "tickers"];
const TRADE: usize = 0;
const BOOK_1: usize = 1;
const BOOK_50: usize = 2;
const TICKERS: usize = 3;
/// Ticks of 10 ms between two frames of `orderbook.50` and `tickers`, and before an unchanged `orderbook.1`
/// is repeated.
const BOOK_50_TICKS: u64 = 2;
const TICKERS_TICKS: u64 = 5;
const REPEAT_TICKS: u64 = 300;

/// A book channel of a symbol.
struct BookChannel {
    window: Window,
    /// `u` of the last message.
    messages: u64,
    told_at_tick: u64,
}

struct Symbol {
    /// `BTCUSDT`
    name: String,
    books: [BookChannel; 2],
    trades_told: u64,
    last_price: i64,
}

/// See the module.
pub(crate) struct Bybit {
    symbols: Vec<Symbol>,
    ticks: u64,
    delta: Delta,
}

impl Bybit {
    pub(crate) fn new(market: &Market) -> Self {
        let symbol = |feed: &Feed| {
            let book = |depth| {
                let mut window = Window::new(depth, true);
                window.advance(&feed.book, &mut Delta::default());
                // A number in the venue's range that differs from symbol to symbol; 1 would mean a restart.
                BookChannel { window, messages: 1_000_000 + feed.book.update_id % 1_000_000, told_at_tick: 0 }
            };
            let name = format!("{}{}", feed.config.instrument.base(), feed.config.instrument.quote());
            Symbol { name, books: [book(1), book(50)], trades_told: 0, last_price: feed.day.last() }
        };
        Self { symbols: market.feeds.iter().map(symbol).collect(), ticks: 0, delta: Delta::default() }
    }

    fn stream(&self, topic: &str) -> Option<Stream> {
        let (channel, symbol) = topic.rsplit_once('.')?;
        let channel = CHANNELS.iter().position(|known| *known == channel)?;
        let symbol = self.symbols.iter().position(|known| known.name == symbol)?;
        Some(Stream { channel, symbol })
    }

    fn put_topic(&self, out: &mut Vec<u8>, stream: Stream, millis: i64) {
        put(out, "{\"topic\":\"");
        put(out, CHANNELS[stream.channel]);
        out.push(b'.');
        put(out, &self.symbols[stream.symbol].name);
        put(out, "\",\"ts\":");
        put_i64(out, millis);
    }

    fn put_book(
        &self,
        out: &mut Vec<u8>,
        stream: Stream,
        kind: &str,
        feed: &Feed,
        (bids, asks): (&[Level], &[Level]),
        millis: i64,
    ) -> Shape {
        let symbol = &self.symbols[stream.symbol];
        self.put_topic(out, stream, millis);
        put(out, ",\"type\":\"");
        put(out, kind);
        put(out, "\",\"data\":{\"s\":\"");
        put(out, &symbol.name);
        put(out, "\",\"b\":");
        put_levels(out, bids, |out, level| put_level(out, feed, level));
        put(out, ",\"a\":");
        put_levels(out, asks, |out, level| put_level(out, feed, level));
        put(out, ",\"u\":");
        put_u64(out, symbol.books[stream.channel - BOOK_1].messages);
        put(out, ",\"seq\":");
        put_u64(out, feed.book.update_id);
        put(out, "},\"cts\":");
        put_i64(out, millis);
        out.push(b'}');
        Shape::Plain
    }

    /// The snapshot that the windows hold.
    fn put_snapshot(&self, out: &mut Vec<u8>, stream: Stream, feed: &Feed, millis: i64) -> Shape {
        let window = &self.symbols[stream.symbol].books[stream.channel - BOOK_1].window;
        self.put_book(out, stream, "snapshot", feed, (window.bids(), window.asks()), millis)
    }

    fn put_ticker_frame(&self, out: &mut Vec<u8>, stream: Stream, feed: &Feed, millis: i64) -> Shape {
        self.put_topic(out, stream, millis);
        put(out, ",\"type\":\"snapshot\",\"cs\":");
        put_u64(out, feed.book.update_id);
        put(out, ",\"data\":");
        put_ticker(out, &self.symbols[stream.symbol].name, feed, false);
        out.push(b'}');
        Shape::Plain
    }

    fn put_trade(&self, out: &mut Vec<u8>, event: &Event, fill: Fill, feed: &Feed, millis: i64) -> Shape {
        let symbol = &self.symbols[event.symbol];
        self.put_topic(out, Stream { channel: TRADE, symbol: event.symbol }, millis);
        // This venue's order of the first fields differs between channels.
        put(out, ",\"type\":\"snapshot\",\"data\":[{\"T\":");
        put_i64(out, millis);
        put(out, ",\"s\":\"");
        put(out, &symbol.name);
        put(out, if fill.taker_side == Side::Buy { "\",\"S\":\"Buy\",\"v\":\"" } else { "\",\"S\":\"Sell\",\"v\":\"" });
        put_trimmed(out, feed.quantity_raw(fill.quantity));
        put(out, "\",\"p\":\"");
        put_trimmed(out, feed.price_raw(fill.price));
        put(out, "\",\"L\":\"");
        put(
            out,
            match fill.price.cmp(&symbol.last_price) {
                std::cmp::Ordering::Less => "MinusTick",
                std::cmp::Ordering::Equal => "ZeroPlusTick",
                std::cmp::Ordering::Greater => "PlusTick",
            },
        );
        put(out, "\",\"i\":\"");
        put_uuid(out, trade_uuid(&symbol.name, fill.id));
        put(
            out,
            if fill.block { "\",\"BT\":true,\"RPI\":false,\"seq\":" } else { "\",\"BT\":false,\"RPI\":false,\"seq\":" },
        );
        put_u64(out, feed.book.update_id);
        put(out, "}]}");
        Shape::Plain
    }

    fn best(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        let book = &mut self.symbols[at].books[0];
        book.window.advance(&feed.book, &mut self.delta);
        let unchanged = self.delta.is_empty();
        if unchanged && self.ticks - book.told_at_tick < REPEAT_TICKS {
            return;
        }
        book.messages += u64::from(!unchanged);
        book.told_at_tick = self.ticks;
        let (reference, millis) = (book.messages, hub.clock().div_euclid(1_000_000));
        let stream = Stream { channel: BOOK_1, symbol: at };
        hub.publish(stream, reference, |out, _| self.put_snapshot(out, stream, feed, millis));
    }

    fn deltas(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        let book = &mut self.symbols[at].books[1];
        book.window.advance(&feed.book, &mut self.delta);
        if self.delta.is_empty() {
            return;
        }
        book.messages += 1;
        let (reference, millis) = (book.messages, hub.clock().div_euclid(1_000_000));
        let stream = Stream { channel: BOOK_50, symbol: at };
        let delta = &self.delta;
        hub.publish(stream, reference, |out, _| {
            self.put_book(out, stream, "delta", feed, (&delta.bids, &delta.asks), millis)
        });
    }

    fn subscribe(&mut self, client: ConnectionId, request: &Value, hub: &mut Hub, market: &Market) {
        let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
        let args = request.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let topics: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
        if topics.len() > 10 {
            return answer(client, request, false, "error:args size >10", hub);
        }
        if let Some(unknown) = topics.iter().find(|topic| self.stream(topic).is_none()) {
            return answer(client, request, false, &format!("error:handler not found,topic:{unknown}"), hub);
        }
        let streams: Vec<Stream> = topics.iter().filter_map(|topic| self.stream(topic)).collect();
        let mut new = Vec::new();
        for stream in streams {
            if op == "unsubscribe" {
                hub.unsubscribe(client, stream);
            } else if hub.subscribe(client, stream, false) {
                new.push(stream);
            }
        }
        answer(client, request, true, op, hub);
        let millis = hub.clock().div_euclid(1_000_000);
        for stream in new {
            let feed = &market.feeds[stream.symbol];
            match stream.channel {
                BOOK_1 | BOOK_50 => hub.send(client, |out, _| self.put_snapshot(out, stream, feed, millis)),
                TICKERS => hub.send(client, |out, _| self.put_ticker_frame(out, stream, feed, millis)),
                _ => {}
            }
        }
    }
}

fn trade_uuid(symbol: &str, id: u64) -> u128 {
    Random::uuid(symbol, id)
}

fn put_level(out: &mut Vec<u8>, feed: &Feed, level: Level) {
    put(out, "[\"");
    put_trimmed(out, feed.price_raw(level.price));
    put(out, "\",\"");
    put_trimmed(out, feed.quantity_raw(level.quantity));
    put(out, "\"]");
}

/// The figures of a symbol; the REST form has the best quotes, the streamed one has not.
fn put_ticker(out: &mut Vec<u8>, name: &str, feed: &Feed, with_quotes: bool) {
    let day = &feed.day;
    let percent = i128::from(day.last() - day.open()) * 10_000 / i128::from(day.open().max(1));
    put(out, "{\"symbol\":\"");
    put(out, name);
    if with_quotes {
        let none = Level { price: 0, quantity: 0 };
        let (bid, ask) = feed.book.best();
        let (bid, ask) = (bid.unwrap_or(none), ask.unwrap_or(none));
        for (field, raw) in [
            ("bid1Price", feed.price_raw(bid.price)),
            ("bid1Size", feed.quantity_raw(bid.quantity)),
            ("ask1Price", feed.price_raw(ask.price)),
            ("ask1Size", feed.quantity_raw(ask.quantity)),
        ] {
            put_field(out, field, raw);
        }
    }
    for (field, raw) in [
        ("lastPrice", feed.price_raw(day.last())),
        ("highPrice24h", feed.price_raw(day.high())),
        ("lowPrice24h", feed.price_raw(day.low())),
        ("prevPrice24h", feed.price_raw(day.open())),
        ("volume24h", feed.volume_raw()),
        // A share of 1 with four decimals.
        ("price24hPcnt", percent as i64 * 10_000),
    ] {
        put_field(out, field, raw);
    }
    put(out, "\",\"turnover24h\":\"");
    put_notional(out, feed.turnover_raw(), 8);
    put(out, "\"}");
}

fn put_field(out: &mut Vec<u8>, name: &str, raw: i64) {
    put(out, "\",\"");
    put(out, name);
    put(out, "\":\"");
    put_trimmed(out, raw);
}

fn answer(client: ConnectionId, request: &Value, success: bool, message: &str, hub: &mut Hub) {
    let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
    let req_id = request.get("req_id").map(|id| format!("\"req_id\":{id},")).unwrap_or_default();
    let text = format!(
        "{{\"success\":{success},\"ret_msg\":{},\"conn_id\":\"d9avrao7pl3bpiuoku0g-{client:05}\",{req_id}\"op\":{}}}",
        Value::from(message),
        Value::from(op)
    );
    hub.send(client, |out, _| plain(out, &text));
}

impl Protocol for Bybit {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules { unheard_max: Some(Duration::from_secs(600)), texts_per_second_max: 100, ..Rules::NONE }
    }

    fn opened(&mut self, _client: ConnectionId, _request: &RestRequest, _hub: &mut Hub, _market: &Market) {}

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market) {
        let request = serde_json::from_slice::<Value>(text).unwrap_or(Value::Null);
        match request.get("op").and_then(Value::as_str) {
            Some("ping") => answer(client, &request, true, "pong", hub),
            Some("subscribe" | "unsubscribe") => self.subscribe(client, &request, hub, market),
            _ => answer(client, &request, false, "error:request not supported", hub),
        }
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let Some(fill) = event.fill else { return };
        let (feed, millis) = (&market.feeds[event.symbol], hub.clock().div_euclid(1_000_000));
        hub.publish(Stream { channel: TRADE, symbol: event.symbol }, fill.id, |out, _| {
            self.put_trade(out, event, fill, feed, millis)
        });
        self.symbols[event.symbol].last_price = fill.price;
    }

    fn tick(&mut self, hub: &mut Hub, market: &Market) {
        self.ticks += 1;
        let millis = hub.clock().div_euclid(1_000_000);
        for (at, feed) in market.feeds.iter().enumerate() {
            self.best(at, feed, hub);
            if self.ticks.is_multiple_of(BOOK_50_TICKS) {
                self.deltas(at, feed, hub);
            }
            if self.ticks.is_multiple_of(TICKERS_TICKS) && self.symbols[at].trades_told != feed.day.trades() {
                self.symbols[at].trades_told = feed.day.trades();
                let stream = Stream { channel: TICKERS, symbol: at };
                hub.publish(stream, feed.day.trades(), |out, _| self.put_ticker_frame(out, stream, feed, millis));
            }
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        let millis = hub.clock().div_euclid(1_000_000);
        let refused = |code: i32, message: &str| json!({ "retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": millis });
        match request.path.as_str() {
            "/v5/market/time" => {
                let second = (millis / 1_000).to_string();
                let result = json!({ "timeSecond": second, "timeNano": hub.clock().to_string() });
                let body = json!({ "retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": millis });
                RestReply::value(200, &body)
            }
            "/v5/market/tickers" if request.parameter("category") != Some("spot") => {
                RestReply::value(200, &refused(10001, "params error: category invalid"))
            }
            "/v5/market/tickers" => {
                let wanted = request.parameter("symbol");
                let mut out = b"{\"retCode\":0,\"retMsg\":\"OK\",\"result\":{\"category\":\"spot\",\"list\":[".to_vec();
                let begin = out.len();
                for (symbol, feed) in self.symbols.iter().zip(&market.feeds) {
                    if wanted.is_none_or(|wanted| wanted == symbol.name) {
                        if out.len() > begin {
                            out.push(b',');
                        }
                        put_ticker(&mut out, &symbol.name, feed, true);
                    }
                }
                if out.len() == begin {
                    return RestReply::value(200, &refused(10001, "Not supported symbols"));
                }
                put(&mut out, "]},\"retExtInfo\":{},\"time\":");
                put_i64(&mut out, millis);
                out.push(b'}');
                RestReply::text(200, out)
            }
            _ => RestReply::value(404, &refused(404, "Not Found")),
        }
    }

    fn marks_blocks(&self) -> bool {
        true
    }

    fn trade_id(&self, symbol: usize, fill: &Fill) -> TradeId {
        TradeId::Uuid(trade_uuid(&self.symbols[symbol].name, fill.id))
    }
}
