//! Bitstamp, WebSocket v2 and public REST calls.
//!
//! Formats: Bitstamp's WebSocket v2 and HTTP API documentation. Books have neither sequence nor checksum;
//! `live_orders` chains its events by `event_id` and `pre_event_id`.

use std::time::Duration;

use model::Side;
use serde_json::{Value, json};

use super::{Event, Protocol, Rules, plain, put_levels};
use crate::engine::{ConnectionId, Hub, Outgoing, RestReply, RestRequest, Shape, Stream};
use crate::market::book::{Change, Delta, Level, Window};
use crate::market::feed::BOOK_DEPTH;
use crate::market::{Feed, Fill, Market};
use crate::text::{put, put_fixed, put_i64, put_trimmed, put_u64};

const CHANNELS: [&str; 4] = ["live_trades", "order_book", "diff_order_book", "live_orders"];
const TRADES: usize = 0;
const ORDER_BOOK: usize = 1;
const DIFF: usize = 2;
const ORDERS: usize = 3;
/// Ticks of 10 ms between two frames of `order_book` and of `diff_order_book`.
const ORDER_BOOK_TICKS: u64 = 20;
const DIFF_TICKS: u64 = 30;

struct Symbol {
    /// `btcusdt`
    name: String,
    window: Window,
    /// Update id that `order_book` last showed.
    shown: u64,
    /// Time in microseconds and number of the last `live_orders` event, which make its id.
    event: (i64, u64),
}

/// See the module.
pub(crate) struct Bitstamp {
    symbols: Vec<Symbol>,
    ticks: u64,
    delta: Delta,
}

impl Bitstamp {
    pub(crate) fn new(market: &Market) -> Self {
        let symbol = |feed: &Feed| {
            let mut window = Window::new(BOOK_DEPTH, true);
            window.advance(&feed.book, &mut Delta::default());
            let instrument = feed.config.instrument;
            let name = format!("{}{}", instrument.base(), instrument.quote()).to_ascii_lowercase();
            Symbol { name, window, shown: 0, event: (0, 0) }
        };
        Self { symbols: market.feeds.iter().map(symbol).collect(), ticks: 0, delta: Delta::default() }
    }

    fn stream(&self, name: &str) -> Option<Stream> {
        let (channel, symbol) = name.rsplit_once('_')?;
        let channel = CHANNELS.iter().position(|known| *known == channel)?;
        let symbol = self.symbols.iter().position(|known| known.name == symbol)?;
        Some(Stream { channel, symbol })
    }

    /// `},"channel":"live_trades_btcusdt","event":"trade"` and the end of the frame but its brace.
    fn put_end(&self, out: &mut Vec<u8>, stream: Stream, event: &str) {
        put(out, "},\"channel\":\"");
        put(out, CHANNELS[stream.channel]);
        out.push(b'_');
        put(out, &self.symbols[stream.symbol].name);
        put(out, "\",\"event\":\"");
        put(out, event);
        out.push(b'"');
    }

    fn put_trade(&self, out: &mut Vec<u8>, stream: Stream, feed: &Feed, fill: Fill, micros: i64) -> Shape {
        let (price, quantity) = (feed.price_raw(fill.price), feed.quantity_raw(fill.quantity));
        put(out, "{\"data\":{\"id\":");
        put_u64(out, fill.id);
        put(out, ",\"timestamp\":\"");
        put_i64(out, micros.div_euclid(1_000_000));
        put(out, "\",\"amount\":");
        put_trimmed(out, quantity);
        put(out, ",\"amount_str\":\"");
        put_fixed(out, quantity, 8);
        put(out, "\",\"price\":");
        put_trimmed(out, price);
        put(out, ",\"price_str\":\"");
        put_fixed(out, price, feed.price_places());
        put(out, if fill.taker_side == Side::Buy { "\",\"type\":0" } else { "\",\"type\":1" });
        put(out, ",\"microtimestamp\":\"");
        put_i64(out, micros);
        let first_order = 2_043_024_000_000_000 + fill.id * 2;
        put(out, "\",\"buy_order_id\":");
        put_u64(out, first_order);
        put(out, ",\"sell_order_id\":");
        put_u64(out, first_order + 1);
        self.put_end(out, stream, "trade");
        out.push(b'}');
        Shape::Plain
    }

    fn put_book(
        &self,
        out: &mut Vec<u8>,
        stream: Stream,
        feed: &Feed,
        (bids, asks): (&[Level], &[Level]),
        micros: i64,
    ) -> Shape {
        put(out, "{\"data\":{");
        put_book_body(out, feed, (bids, asks), micros);
        self.put_end(out, stream, "data");
        out.push(b'}');
        Shape::Plain
    }

    /// One event of `live_orders`: each level is one order, whose id its price makes.
    fn order(&mut self, at: usize, feed: &Feed, change: Change, hub: &mut Hub) {
        let micros = hub.clock().div_euclid(1_000);
        let symbol = &mut self.symbols[at];
        let before = symbol.event;
        symbol.event = (micros, symbol.event.1 + 1);
        let after = symbol.event;
        let kind = match (change.before, change.after) {
            (0, _) => "order_created",
            (_, 0) => "order_deleted",
            _ => "order_changed",
        };
        let stream = Stream { channel: ORDERS, symbol: at };
        let this = &*self;
        hub.publish(stream, after.1, |out, _| {
            let id = 2_040_000_000_000_000 + change.price as u64 * 2 + u64::from(change.side == Side::Sell);
            let left = feed.quantity_raw(if change.after == 0 { change.before } else { change.after });
            let price = feed.price_raw(change.price);
            put(out, "{\"data\":{\"id\":");
            put_u64(out, id);
            put(out, ",\"id_str\":\"");
            put_u64(out, id);
            put(out, if change.side == Side::Buy { "\",\"order_type\":0" } else { "\",\"order_type\":1" });
            put(out, ",\"order_subtype\":0,\"datetime\":\"");
            put_i64(out, micros.div_euclid(1_000_000));
            put(out, "\",\"microtimestamp\":\"");
            put_i64(out, micros);
            put(out, "\",\"amount\":");
            put_trimmed(out, left);
            put(out, ",\"amount_str\":\"");
            put_fixed(out, left, 8);
            put(out, "\",\"amount_traded\":\"0\",\"amount_at_create\":\"");
            put_fixed(out, left, 8);
            put(out, "\",\"price\":");
            put_trimmed(out, price);
            put(out, ",\"price_str\":\"");
            put_fixed(out, price, feed.price_places());
            put(out, "\",\"is_liquidation\":false");
            this.put_end(out, stream, kind);
            put(out, ",\"event_id\":\"");
            put(out, &event_id(after));
            put(out, "\",\"pre_event_id\":\"");
            put(out, &event_id(before));
            put(out, "\",\"order_source\":\"orderbook\"}");
            Shape::Plain
        });
    }

    fn books(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        let micros = hub.clock().div_euclid(1_000);
        if self.ticks.is_multiple_of(ORDER_BOOK_TICKS) && self.symbols[at].shown != feed.book.update_id {
            self.symbols[at].shown = feed.book.update_id;
            let stream = Stream { channel: ORDER_BOOK, symbol: at };
            let levels = (feed.book.bids.as_slice(), feed.book.asks.as_slice());
            hub.publish(stream, feed.book.update_id, |out, _| self.put_book(out, stream, feed, levels, micros));
        }
        if self.ticks.is_multiple_of(DIFF_TICKS) {
            self.symbols[at].window.advance(&feed.book, &mut self.delta);
            if !self.delta.is_empty() {
                let stream = Stream { channel: DIFF, symbol: at };
                let levels = (self.delta.bids.as_slice(), self.delta.asks.as_slice());
                hub.publish(stream, feed.book.update_id, |out, _| self.put_book(out, stream, feed, levels, micros));
            }
        }
    }

    fn subscribe(&mut self, client: ConnectionId, event: &str, name: &str, hub: &mut Hub, market: &Market) {
        let Some(stream) = self.stream(name) else {
            return error(client, "Bad subscription string.", hub);
        };
        let ends = event == "bts:unsubscribe";
        let new = if ends { !hub.unsubscribe(client, stream) } else { hub.subscribe(client, stream, false) };
        let told = if ends { "bts:unsubscription_succeeded" } else { "bts:subscription_succeeded" };
        let text = format!("{{\"event\":\"{told}\",\"channel\":\"{name}\",\"data\":{{}}}}");
        hub.send(client, |out, _| plain(out, &text));
        if !ends && new && stream.channel == ORDER_BOOK {
            let feed = &market.feeds[stream.symbol];
            let micros = hub.clock().div_euclid(1_000);
            let levels = (feed.book.bids.as_slice(), feed.book.asks.as_slice());
            hub.send(client, |out, _| self.put_book(out, stream, feed, levels, micros));
        }
    }

    fn feed<'a>(&self, request: &RestRequest, before: &str, market: &'a Market) -> Option<&'a Feed> {
        let name = request.path.strip_prefix(before)?.trim_matches('/');
        let at = self.symbols.iter().position(|known| known.name == name)?;
        market.feeds.get(at)
    }
}

fn put_book_body(out: &mut Vec<u8>, feed: &Feed, (bids, asks): (&[Level], &[Level]), micros: i64) {
    put(out, "\"timestamp\":\"");
    put_i64(out, micros.div_euclid(1_000_000));
    put(out, "\",\"microtimestamp\":\"");
    put_i64(out, micros);
    put(out, "\",\"bids\":");
    put_levels(out, bids, |out, level| put_level(out, feed, level));
    put(out, ",\"asks\":");
    put_levels(out, asks, |out, level| put_level(out, feed, level));
}

fn put_level(out: &mut Vec<u8>, feed: &Feed, level: Level) {
    put(out, "[\"");
    put_fixed(out, feed.price_raw(level.price), feed.price_places());
    put(out, "\",\"");
    put_fixed(out, feed.quantity_raw(level.quantity), 8);
    put(out, "\"]");
}

/// `000659d4-cba3-ac00-0000-000101000020`: the time in microseconds, then a number.
fn event_id((micros, number): (i64, u64)) -> String {
    let micros = micros as u64;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        micros >> 32,
        micros >> 16 & 0xffff,
        micros & 0xffff,
        number >> 32 & 0xffff,
        number & 0xffff_ffff
    )
}

fn error(client: ConnectionId, message: &str, hub: &mut Hub) {
    let text =
        format!("{{\"event\":\"bts:error\",\"channel\":\"\",\"data\":{{\"code\":null,\"message\":\"{message}\"}}}}");
    hub.send(client, |out, _| plain(out, &text));
}

fn put_ticker(out: &mut Vec<u8>, feed: &Feed, second: i64) {
    let (day, places) = (&feed.day, feed.price_places());
    let (bid, ask) = feed.book.best();
    // In hundredths of a percent, so two decimals.
    let percent = i128::from(day.last() - day.open()) * 10_000 / i128::from(day.open().max(1));
    put(out, "{\"timestamp\":\"");
    put_i64(out, second);
    for (name, raw, places) in [
        ("open", feed.price_raw(day.open()), places),
        ("high", feed.price_raw(day.high()), places),
        ("low", feed.price_raw(day.low()), places),
        ("last", feed.price_raw(day.last()), places),
        ("volume", feed.volume_raw(), 8),
        ("vwap", feed.price_raw(day.vwap()), places),
        ("bid", feed.price_raw(bid.map_or(0, |level| level.price)), places),
        ("ask", feed.price_raw(ask.map_or(0, |level| level.price)), places),
        ("open_24", feed.price_raw(day.open()), places),
        ("percent_change_24", percent as i64 * 1_000_000, 2),
    ] {
        put(out, "\",\"");
        put(out, name);
        put(out, "\":\"");
        put_fixed(out, raw, places);
    }
    put(out, "\"}");
}

impl Protocol for Bitstamp {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules { session_max: Some(Duration::from_secs(90 * 86_400)), texts_per_second_max: 100, ..Rules::NONE }
    }

    fn opened(&mut self, _client: ConnectionId, _request: &RestRequest, _hub: &mut Hub, _market: &Market) {}

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market) {
        let request = serde_json::from_slice::<Value>(text).unwrap_or(Value::Null);
        let event = request.get("event").and_then(Value::as_str).unwrap_or_default();
        let channel = request.pointer("/data/channel").and_then(Value::as_str);
        match (event, channel) {
            ("bts:heartbeat", _) => hub.send(client, |out, _| {
                plain(out, "{\"event\":\"bts:heartbeat\",\"channel\":\"\",\"data\":{\"status\":\"success\"}}")
            }),
            ("bts:subscribe" | "bts:unsubscribe", Some(name)) => self.subscribe(client, event, name, hub, market),
            _ => error(client, "Incorrect JSON format.", hub),
        }
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let feed = &market.feeds[event.symbol];
        if let Some(fill) = event.fill {
            let (stream, micros) = (Stream { channel: TRADES, symbol: event.symbol }, hub.clock().div_euclid(1_000));
            hub.publish(stream, fill.id, |out, _| self.put_trade(out, stream, feed, fill, micros));
        }
        for change in &feed.book.changes {
            self.order(event.symbol, feed, *change, hub);
        }
    }

    fn tick(&mut self, hub: &mut Hub, market: &Market) {
        self.ticks += 1;
        for (at, feed) in market.feeds.iter().enumerate() {
            self.books(at, feed, hub);
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        let micros = hub.clock().div_euclid(1_000);
        let mut out = Vec::new();
        if let Some(feed) = self.feed(request, "/api/v2/ticker/", market) {
            put_ticker(&mut out, feed, micros.div_euclid(1_000_000));
        } else if let Some(feed) = self.feed(request, "/api/v2/order_book/", market) {
            out.push(b'{');
            put_book_body(&mut out, feed, (&feed.book.bids, &feed.book.asks), micros);
            out.push(b'}');
        } else {
            return RestReply::value(404, &json!({ "code": "404.001", "message": "Not Found" }));
        }
        RestReply::text(200, out)
    }

    fn shutdown(&mut self, hub: &mut Hub) {
        let text = "{\"event\":\"bts:request_reconnect\",\"channel\":\"\",\"data\":\"\"}";
        hub.broadcast(&Outgoing::Text(text.into()));
    }
}
