//! Coinbase Advanced Trade: market data channels and the public product calls.
//!
//! Formats: the WebSocket pages of Coinbase's Advanced Trade documentation. `sequence_num` counts every frame
//! of a connection, acknowledgements and heartbeats included; `side` of a trade is the maker's.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Side;
use serde_json::{Value, json};

use super::{Event, Protocol, Rules, coinbase};
use crate::engine::{ConnectionId, Hub, RestReply, RestRequest, Shape, Stream};
use crate::market::book::{Delta, Level, Window};
use crate::market::feed::{BOOK_DEPTH, opposite};
use crate::market::{Feed, Fill, Market};
use crate::text::{TimeWriter, put, put_fixed, put_trimmed, put_u64};

/// By the names that subscriptions use; `level2` arrives as `l2_data`.
const CHANNELS: [&str; 3] = ["market_trades", "ticker", "level2"];
const TRADES: usize = 0;
const TICKER: usize = 1;
const LEVEL2: usize = 2;
const HEARTBEATS: &str = "heartbeats";
/// Ticks of 10 ms between two frames of `market_trades` and of `level2`, and between two heartbeats.
const TRADES_TICKS: u64 = 25;
const LEVEL2_TICKS: u64 = 5;
const HEARTBEAT_TICKS: u64 = 100;

struct Symbol {
    window: Window,
    /// Trades since the last `market_trades` frame.
    trades: Vec<(u64, Fill)>,
}

/// See the module.
pub(crate) struct Advanced {
    /// `BTC-USDT`, by symbol index.
    names: Vec<String>,
    symbols: Vec<Symbol>,
    heartbeats: BTreeSet<ConnectionId>,
    heartbeat_counter: u64,
    ticks: u64,
    delta: Delta,
}

impl Advanced {
    pub(crate) fn new(market: &Market) -> Self {
        let symbol = |feed: &Feed| {
            let mut window = Window::new(BOOK_DEPTH, true);
            window.advance(&feed.book, &mut Delta::default());
            Symbol { window, trades: Vec::new() }
        };
        Self {
            names: market.feeds.iter().map(|feed| feed.config.instrument.to_string()).collect(),
            symbols: market.feeds.iter().map(symbol).collect(),
            heartbeats: BTreeSet::new(),
            heartbeat_counter: 0,
            ticks: 0,
            delta: Delta::default(),
        }
    }

    fn request(&mut self, client: ConnectionId, request: &Value, hub: &mut Hub, market: &Market) -> Result<(), String> {
        let kind = request.get("type").and_then(Value::as_str).unwrap_or_default();
        let name = request.get("channel").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "subscribe" | "unsubscribe") {
            return Err("type must be subscribe or unsubscribe".to_owned());
        }
        if name == HEARTBEATS {
            if kind == "subscribe" {
                self.heartbeats.insert(client)
            } else {
                self.heartbeats.remove(&client)
            };
            hub.mark_subscribed(client);
            self.acknowledge(client, hub);
            return Ok(());
        }
        let channel = CHANNELS.iter().position(|known| *known == name).ok_or("channel not supported")?;
        let products = request.get("product_ids").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut streams = Vec::new();
        for product in products.iter().filter_map(Value::as_str) {
            let found = self.names.iter().position(|known| known == product);
            streams.push(Stream { channel, symbol: found.ok_or_else(|| format!("{product} is not a valid product"))? });
        }
        for stream in streams {
            if kind == "unsubscribe" {
                hub.unsubscribe(client, stream);
            } else if hub.subscribe(client, stream, false) {
                self.snapshot(client, stream, hub, &market.feeds[stream.symbol]);
            }
        }
        self.acknowledge(client, hub);
        Ok(())
    }

    /// Tells the connection's subscriptions; on the venue this comes after the first data.
    fn acknowledge(&self, client: ConnectionId, hub: &mut Hub) {
        let held = hub.subscriptions(client).to_vec();
        let mut told = serde_json::Map::new();
        for (channel, name) in CHANNELS.iter().enumerate() {
            let names: Vec<&String> = held
                .iter()
                .filter(|stream| stream.channel == channel)
                .map(|stream| &self.names[stream.symbol])
                .collect();
            if !names.is_empty() {
                told.insert((*name).to_owned(), json!(names));
            }
        }
        if self.heartbeats.contains(&client) {
            told.insert(HEARTBEATS.to_owned(), json!([HEARTBEATS]));
        }
        let (clock, told) = (hub.clock(), Value::from(told).to_string());
        hub.send(client, |out, times| {
            let at = put_head(out, times, "subscriptions", clock);
            put(out, "{\"subscriptions\":");
            put(out, &told);
            put(out, "}]}");
            at
        });
    }

    fn snapshot(&self, client: ConnectionId, stream: Stream, hub: &mut Hub, feed: &Feed) {
        let (clock, name) = (hub.clock(), &self.names[stream.symbol]);
        match stream.channel {
            TRADES => {
                // Those not yet told in an update would come twice; the newest stands first.
                let untold = self.symbols[stream.symbol].trades.len();
                let trades: Vec<(i64, Fill)> =
                    feed.recent.iter().rev().skip(untold).map(|(at, fill)| (hub.clock_at(*at), *fill)).collect();
                hub.send(client, |out, times| put_trades(out, times, "snapshot", name, feed, &trades, clock));
            }
            TICKER => hub.send(client, |out, times| put_ticker(out, times, "snapshot", name, feed, clock)),
            _ => {
                let window = &self.symbols[stream.symbol].window;
                let levels = (window.bids(), window.asks());
                hub.send(client, |out, times| put_level2(out, times, "snapshot", name, feed, levels, clock));
            }
        }
    }

    fn trades(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        let waiting = std::mem::take(&mut self.symbols[at].trades);
        let Some((_, last)) = waiting.last() else { return };
        let reference = last.id;
        let trades: Vec<(i64, Fill)> = waiting.iter().rev().map(|(at, fill)| (hub.clock_at(*at), *fill)).collect();
        let (clock, name) = (hub.clock(), &self.names[at]);
        hub.publish(Stream { channel: TRADES, symbol: at }, reference, |out, times| {
            put_trades(out, times, "update", name, feed, &trades, clock)
        });
    }

    fn level2(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        self.symbols[at].window.advance(&feed.book, &mut self.delta);
        if self.delta.is_empty() {
            return;
        }
        let (clock, name, delta) = (hub.clock(), &self.names[at], &self.delta);
        hub.publish(Stream { channel: LEVEL2, symbol: at }, feed.book.update_id, |out, times| {
            put_level2(out, times, "update", name, feed, (&delta.bids, &delta.asks), clock)
        });
    }

    fn heartbeat(&mut self, hub: &mut Hub) {
        self.heartbeat_counter += 1;
        let (clock, counter) = (hub.clock(), self.heartbeat_counter);
        for client in &self.heartbeats {
            hub.send(*client, |out, times| {
                let at = put_head(out, times, HEARTBEATS, clock);
                put(out, "{\"current_time\":\"");
                times.put(out, clock, 9);
                put(out, "\",\"heartbeat_counter\":");
                put_u64(out, counter);
                put(out, "}]}");
                at
            });
        }
    }
}

/// Everything up to the first event; the place of the sequence number.
fn put_head(out: &mut Vec<u8>, times: &mut TimeWriter, channel: &str, clock: i64) -> Shape {
    put(out, "{\"channel\":\"");
    put(out, channel);
    put(out, "\",\"timestamp\":\"");
    times.put(out, clock, 9);
    put(out, "\",\"sequence_num\":");
    let at = out.len();
    put(out, ",\"events\":[");
    Shape::Numbered(at)
}

fn put_trades(
    out: &mut Vec<u8>,
    times: &mut TimeWriter,
    kind: &str,
    name: &str,
    feed: &Feed,
    trades: &[(i64, Fill)],
    clock: i64,
) -> Shape {
    let shape = put_head(out, times, "market_trades", clock);
    put(out, "{\"type\":\"");
    put(out, kind);
    put(out, "\",\"trades\":[");
    for (index, (at, fill)) in trades.iter().enumerate() {
        put(out, if index > 0 { ",{\"trade_id\":\"" } else { "{\"trade_id\":\"" });
        put_u64(out, fill.id);
        put(out, "\",\"product_id\":\"");
        put(out, name);
        put(out, "\",\"price\":\"");
        put_trimmed(out, feed.price_raw(fill.price));
        put(out, "\",\"size\":\"");
        put_trimmed(out, feed.quantity_raw(fill.quantity));
        let maker = opposite(fill.taker_side);
        put(
            out,
            if maker == Side::Buy { "\",\"side\":\"BUY\",\"time\":\"" } else { "\",\"side\":\"SELL\",\"time\":\"" },
        );
        times.put(out, *at, 6);
        put(out, "\"}");
    }
    put(out, "]}]}");
    shape
}

fn put_ticker(out: &mut Vec<u8>, times: &mut TimeWriter, kind: &str, name: &str, feed: &Feed, clock: i64) -> Shape {
    let day = &feed.day;
    let none = Level { price: 0, quantity: 0 };
    let (bid, ask) = feed.book.best();
    let (bid, ask) = (bid.unwrap_or(none), ask.unwrap_or(none));
    let percent = i128::from(day.last() - day.open()) * 10_000 / i128::from(day.open().max(1));
    let shape = put_head(out, times, "ticker", clock);
    put(out, "{\"type\":\"");
    put(out, kind);
    put(out, "\",\"tickers\":[{\"type\":\"ticker\",\"product_id\":\"");
    put(out, name);
    for (field, raw) in [
        ("price", feed.price_raw(day.last())),
        ("volume_24_h", feed.volume_raw()),
        ("low_24_h", feed.price_raw(day.low())),
        ("high_24_h", feed.price_raw(day.high())),
        ("price_percent_chg_24_h", percent as i64 * 1_000_000),
        ("best_bid", feed.price_raw(bid.price)),
        ("best_bid_quantity", feed.quantity_raw(bid.quantity)),
        ("best_ask", feed.price_raw(ask.price)),
        ("best_ask_quantity", feed.quantity_raw(ask.quantity)),
    ] {
        put(out, "\",\"");
        put(out, field);
        put(out, "\":\"");
        put_trimmed(out, raw);
    }
    put(out, "\"}]}]}");
    shape
}

fn put_level2(
    out: &mut Vec<u8>,
    times: &mut TimeWriter,
    kind: &str,
    name: &str,
    feed: &Feed,
    (bids, asks): (&[Level], &[Level]),
    clock: i64,
) -> Shape {
    let shape = put_head(out, times, "l2_data", clock);
    put(out, "{\"type\":\"");
    put(out, kind);
    put(out, "\",\"product_id\":\"");
    put(out, name);
    put(out, "\",\"updates\":[");
    let updates = bids.iter().map(|level| ("bid", level)).chain(asks.iter().map(|level| ("offer", level)));
    for (index, (side, level)) in updates.enumerate() {
        put(out, if index > 0 { ",{\"side\":\"" } else { "{\"side\":\"" });
        put(out, side);
        put(out, "\",\"event_time\":\"");
        times.put(out, clock, 6);
        put(out, "\",\"price_level\":\"");
        put_trimmed(out, feed.price_raw(level.price));
        put(out, "\",\"new_quantity\":\"");
        put_trimmed(out, feed.quantity_raw(level.quantity));
        put(out, "\"}");
    }
    put(out, "]}]}");
    shape
}

/// `/api/v3/brokerage/market/products/{id}`.
fn put_product(out: &mut Vec<u8>, name: &str, feed: &Feed) {
    let (bid, ask) = feed.book.best();
    put(out, "{\"product_id\":\"");
    put(out, name);
    for (field, raw, places) in [
        ("price", feed.price_raw(feed.day.last()), feed.price_places()),
        ("volume_24h", feed.volume_raw(), 8),
        ("best_bid", feed.price_raw(bid.map_or(0, |level| level.price)), feed.price_places()),
        ("best_ask", feed.price_raw(ask.map_or(0, |level| level.price)), feed.price_places()),
        ("base_increment", feed.config.lot.raw(), 8),
        ("quote_increment", feed.config.tick.raw(), 8),
    ] {
        put(out, "\",\"");
        put(out, field);
        put(out, "\":\"");
        put_fixed(out, raw, places);
    }
    put(out, "\",\"base_currency_id\":\"");
    put(out, feed.config.instrument.base());
    put(out, "\",\"quote_currency_id\":\"");
    put(out, feed.config.instrument.quote());
    put(out, "\",\"status\":\"online\"}");
}

impl Protocol for Advanced {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules {
            subscribe_within: Some(Duration::from_secs(5)),
            idle_max: Some(Duration::from_secs(90)),
            texts_per_second_max: 100,
            ..Rules::NONE
        }
    }

    fn opened(&mut self, _client: ConnectionId, _request: &RestRequest, _hub: &mut Hub, _market: &Market) {}

    fn closed(&mut self, client: ConnectionId) {
        self.heartbeats.remove(&client);
    }

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market) {
        let outcome = match serde_json::from_slice::<Value>(text) {
            Ok(request) => self.request(client, &request, hub, market),
            Err(_) => Err("failed to parse the message".to_owned()),
        };
        if let Err(message) = outcome {
            let text = json!({ "type": "error", "message": message }).to_string();
            hub.send(client, |out, _| super::plain(out, &text));
        }
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let Some(fill) = event.fill else { return };
        self.symbols[event.symbol].trades.push((event.at, fill));
        let (feed, name, clock) = (&market.feeds[event.symbol], &self.names[event.symbol], hub.clock());
        hub.publish(Stream { channel: TICKER, symbol: event.symbol }, fill.id, |out, times| {
            put_ticker(out, times, "update", name, feed, clock)
        });
    }

    fn tick(&mut self, hub: &mut Hub, market: &Market) {
        self.ticks += 1;
        for (at, feed) in market.feeds.iter().enumerate() {
            if self.ticks.is_multiple_of(TRADES_TICKS) {
                self.trades(at, feed, hub);
            }
            if self.ticks.is_multiple_of(LEVEL2_TICKS) {
                self.level2(at, feed, hub);
            }
        }
        if self.ticks.is_multiple_of(HEARTBEAT_TICKS) {
            self.heartbeat(hub);
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        if let Some(reply) = coinbase::product(&self.names, request, hub, market) {
            return reply;
        }
        let name = request.path.strip_prefix("/api/v3/brokerage/market/products/");
        let found = name.and_then(|name| self.names.iter().position(|known| known == name));
        let Some(at) = found else {
            return RestReply::value(404, &json!({ "error": "NOT_FOUND", "message": "product not found" }));
        };
        let mut out = Vec::new();
        put_product(&mut out, &self.names[at], &market.feeds[at]);
        RestReply::text(200, out)
    }
}
