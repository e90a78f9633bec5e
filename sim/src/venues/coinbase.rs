//! Coinbase Exchange: the channels that need no key, and the REST calls of a market-data client.
//!
//! Formats: the WebSocket feed and REST pages of Coinbase's Exchange documentation. `side` of a match is the
//! maker's.

use std::time::Duration;

use model::Side;
use serde_json::{Value, json};

use super::{Event, Protocol, Rules, plain, put_levels};
use crate::engine::{ConnectionId, Hub, RestReply, RestRequest, Shape, Stream};
use crate::market::book::{Delta, Level, Window};
use crate::market::feed::{BOOK_DEPTH, opposite};
use crate::market::random::Random;
use crate::market::{Feed, Fill, Market};
use crate::text::{TimeWriter, put, put_fixed, put_trimmed, put_u64, put_uuid};

const CHANNELS: [&str; 4] = ["matches", "ticker", "heartbeat", "level2_batch"];
const MATCHES: usize = 0;
const TICKER: usize = 1;
const HEARTBEAT: usize = 2;
const LEVEL2: usize = 3;
/// Channels that exist and want a key.
const KEYED: [&str; 4] = ["level2", "level3", "full", "user"];
/// Ticks of 10 ms between two frames of `level2_batch`, and between two heartbeats.
const LEVEL2_TICKS: u64 = 5;
const HEARTBEAT_TICKS: u64 = 100;

/// See the module.
pub(crate) struct Coinbase {
    /// `BTC-USDT`, by symbol index.
    names: Vec<String>,
    windows: Vec<Window>,
    ticks: u64,
    delta: Delta,
}

impl Coinbase {
    pub(crate) fn new(market: &Market) -> Self {
        let names = market.feeds.iter().map(|feed| feed.config.instrument.to_string()).collect();
        let window = |feed: &Feed| {
            let mut window = Window::new(BOOK_DEPTH, true);
            window.advance(&feed.book, &mut Delta::default());
            window
        };
        let windows = market.feeds.iter().map(window).collect();
        Self { names, windows, ticks: 0, delta: Delta::default() }
    }

    /// The streams that a request names: channels as texts with products beside them, or as objects with
    /// products of their own.
    fn streams(&self, request: &Value) -> Result<Vec<Stream>, String> {
        let texts = |value: Option<&Value>| -> Vec<String> {
            let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let shared = texts(request.get("product_ids"));
        let channels = request.get("channels").and_then(Value::as_array).ok_or("channels must be an array")?;
        let mut streams = Vec::new();
        for channel in channels {
            let own = texts(channel.get("product_ids"));
            let name = channel.as_str().or_else(|| channel.get("name").and_then(Value::as_str)).unwrap_or_default();
            if KEYED.contains(&name) {
                return Err(format!("{name} requires authentication"));
            }
            let Some(channel) = CHANNELS.iter().position(|known| *known == name) else {
                return Err(format!("{name} is not a valid channel"));
            };
            let products = if own.is_empty() { &shared } else { &own };
            if products.is_empty() {
                return Err(format!("product_ids is required for {name}"));
            }
            for product in products {
                let found = self.names.iter().position(|known| known == product);
                let symbol = found.ok_or_else(|| format!("{product} is not a valid product"))?;
                streams.push(Stream { channel, symbol });
            }
        }
        Ok(streams)
    }

    fn acknowledge(&self, client: ConnectionId, hub: &mut Hub) {
        let mut text = String::from("{\"type\":\"subscriptions\",\"channels\":[");
        let held = hub.subscriptions(client).to_vec();
        let mut first = true;
        for (channel, name) in CHANNELS.iter().enumerate() {
            let products: Vec<&String> = held
                .iter()
                .filter(|stream| stream.channel == channel)
                .map(|stream| &self.names[stream.symbol])
                .collect();
            if !products.is_empty() {
                let comma = if first { "" } else { "," };
                text +=
                    &format!("{comma}{{\"name\":\"{name}\",\"product_ids\":{},\"account_ids\":null}}", json!(products));
                first = false;
            }
        }
        text += "]}";
        hub.send(client, |out, _| plain(out, &text));
    }

    /// What a new subscription begins with.
    fn welcome(&self, client: ConnectionId, stream: Stream, hub: &mut Hub, market: &Market) {
        let feed = &market.feeds[stream.symbol];
        let name = &self.names[stream.symbol];
        match stream.channel {
            MATCHES => {
                if let Some((at, fill)) = feed.recent.back() {
                    let clock = hub.clock_at(*at);
                    hub.send(client, |out, times| put_match(out, times, "last_match", name, feed, *fill, clock));
                }
            }
            TICKER => {
                if let Some((at, fill)) = feed.recent.back() {
                    let clock = hub.clock_at(*at);
                    hub.send(client, |out, times| put_ticker(out, times, name, feed, *fill, clock));
                }
            }
            LEVEL2 => {
                let window = &self.windows[stream.symbol];
                hub.send(client, |out, _| {
                    put(out, "{\"type\":\"snapshot\",\"product_id\":\"");
                    put(out, name);
                    put(out, "\",\"bids\":");
                    put_levels(out, window.bids(), |out, level| put_level(out, feed, level));
                    put(out, ",\"asks\":");
                    put_levels(out, window.asks(), |out, level| put_level(out, feed, level));
                    out.push(b'}');
                    Shape::Plain
                });
            }
            _ => {}
        }
    }

    fn heartbeat(&self, at: usize, feed: &Feed, hub: &mut Hub) {
        let clock = hub.clock();
        let last_trade = feed.recent.back().map_or(0, |(_, fill)| fill.id);
        hub.publish(Stream { channel: HEARTBEAT, symbol: at }, last_trade, |out, times| {
            put(out, "{\"type\":\"heartbeat\",\"last_trade_id\":");
            put_u64(out, last_trade);
            put(out, ",\"product_id\":\"");
            put(out, &self.names[at]);
            put(out, "\",\"sequence\":");
            put_u64(out, feed.book.update_id);
            put(out, ",\"time\":\"");
            times.put(out, clock, 6);
            put(out, "\"}");
            Shape::Plain
        });
    }

    fn level2(&mut self, at: usize, feed: &Feed, hub: &mut Hub) {
        self.windows[at].advance(&feed.book, &mut self.delta);
        if self.delta.is_empty() {
            return;
        }
        let (clock, delta, name) = (hub.clock(), &self.delta, &self.names[at]);
        hub.publish(Stream { channel: LEVEL2, symbol: at }, feed.book.update_id, |out, times| {
            put(out, "{\"type\":\"l2update\",\"product_id\":\"");
            put(out, name);
            put(out, "\",\"changes\":[");
            let sides = [("buy", &delta.bids), ("sell", &delta.asks)];
            let changes = sides.iter().flat_map(|(side, levels)| levels.iter().map(move |level| (side, level)));
            for (index, (side, level)) in changes.enumerate() {
                put(out, if index > 0 { ",[\"" } else { "[\"" });
                put(out, side);
                put(out, "\",\"");
                put_fixed(out, feed.price_raw(level.price), feed.price_places());
                put(out, "\",\"");
                put_trimmed(out, feed.quantity_raw(level.quantity));
                put(out, "\"]");
            }
            put(out, "],\"time\":\"");
            times.put(out, clock, 6);
            put(out, "\"}");
            Shape::Plain
        });
    }
}

/// `/products/{id}/stats` and `/products/{id}/ticker`, which Coinbase Advanced Trade's simulation serves too.
pub(super) fn product(names: &[String], request: &RestRequest, hub: &Hub, market: &Market) -> Option<RestReply> {
    let (name, what) = request.path.strip_prefix("/products/")?.split_once('/')?;
    let feed = &market.feeds[names.iter().position(|known| known == name)?];
    let mut out = Vec::new();
    match what {
        "stats" => put_stats(&mut out, feed),
        "ticker" => put_rest_ticker(&mut out, feed, hub),
        _ => return None,
    }
    Some(RestReply::text(200, out))
}

fn put_stats(out: &mut Vec<u8>, feed: &Feed) {
    let day = &feed.day;
    for (at, (name, raw)) in [
        ("open", feed.price_raw(day.open())),
        ("high", feed.price_raw(day.high())),
        ("low", feed.price_raw(day.low())),
        ("last", feed.price_raw(day.last())),
        ("volume", feed.volume_raw()),
        ("volume_30day", feed.volume_raw().saturating_mul(30)),
    ]
    .into_iter()
    .enumerate()
    {
        put(out, if at == 0 { "{\"" } else { "\",\"" });
        put(out, name);
        put(out, "\":\"");
        put_trimmed(out, raw);
    }
    put(out, "\"}");
}

fn put_rest_ticker(out: &mut Vec<u8>, feed: &Feed, hub: &Hub) {
    let (bid, ask) = feed.book.best();
    let (at, fill) = feed
        .recent
        .back()
        .copied()
        .unwrap_or((0, Fill { id: 0, price: feed.day.last(), quantity: 0, taker_side: Side::Buy, block: false }));
    put(out, "{\"trade_id\":");
    put_u64(out, fill.id);
    for (name, raw) in [
        ("price", feed.price_raw(fill.price)),
        ("size", feed.quantity_raw(fill.quantity)),
        ("bid", feed.price_raw(bid.map_or(0, |level| level.price))),
        ("ask", feed.price_raw(ask.map_or(0, |level| level.price))),
        ("volume", feed.volume_raw()),
    ] {
        put(out, ",\"");
        put(out, name);
        put(out, "\":\"");
        put_trimmed(out, raw);
        out.push(b'"');
    }
    put(out, ",\"time\":\"");
    TimeWriter::default().put(out, hub.clock_at(at), 6);
    put(out, "\"}");
}

fn put_level(out: &mut Vec<u8>, feed: &Feed, level: Level) {
    put(out, "[\"");
    put_fixed(out, feed.price_raw(level.price), feed.price_places());
    put(out, "\",\"");
    put_trimmed(out, feed.quantity_raw(level.quantity));
    put(out, "\"]");
}

fn put_match(
    out: &mut Vec<u8>,
    times: &mut TimeWriter,
    kind: &str,
    name: &str,
    feed: &Feed,
    fill: Fill,
    clock: i64,
) -> Shape {
    put(out, "{\"type\":\"");
    put(out, kind);
    put(out, "\",\"trade_id\":");
    put_u64(out, fill.id);
    put(out, ",\"maker_order_id\":\"");
    put_uuid(out, Random::uuid("maker", fill.id));
    put(out, "\",\"taker_order_id\":\"");
    put_uuid(out, Random::uuid("taker", fill.id));
    put(out, "\",\"side\":\"");
    put(out, opposite(fill.taker_side).as_str());
    put(out, "\",\"size\":\"");
    put_trimmed(out, feed.quantity_raw(fill.quantity));
    put(out, "\",\"price\":\"");
    put_fixed(out, feed.price_raw(fill.price), feed.price_places());
    put(out, "\",\"product_id\":\"");
    put(out, name);
    put(out, "\",\"sequence\":");
    put_u64(out, feed.book.update_id);
    put(out, ",\"time\":\"");
    times.put(out, clock, 6);
    put(out, "\"}");
    Shape::Plain
}

fn put_ticker(out: &mut Vec<u8>, times: &mut TimeWriter, name: &str, feed: &Feed, fill: Fill, clock: i64) -> Shape {
    let places = feed.price_places();
    let (bid, ask) = feed.book.best();
    let none = Level { price: 0, quantity: 0 };
    let (bid, ask) = (bid.unwrap_or(none), ask.unwrap_or(none));
    put(out, "{\"type\":\"ticker\",\"sequence\":");
    put_u64(out, feed.book.update_id);
    put(out, ",\"product_id\":\"");
    put(out, name);
    for (field, raw, places) in [
        ("price", feed.price_raw(fill.price), places),
        ("open_24h", feed.price_raw(feed.day.open()), places),
        ("volume_24h", feed.volume_raw(), 8),
        ("low_24h", feed.price_raw(feed.day.low()), places),
        ("high_24h", feed.price_raw(feed.day.high()), places),
        ("volume_30d", feed.volume_raw().saturating_mul(30), 8),
        ("best_bid", feed.price_raw(bid.price), places),
        ("best_bid_size", feed.quantity_raw(bid.quantity), 8),
        ("best_ask", feed.price_raw(ask.price), places),
        ("best_ask_size", feed.quantity_raw(ask.quantity), 8),
    ] {
        put(out, "\",\"");
        put(out, field);
        put(out, "\":\"");
        put_fixed(out, raw, places);
    }
    put(out, "\",\"side\":\"");
    put(out, fill.taker_side.as_str());
    put(out, "\",\"time\":\"");
    times.put(out, clock, 6);
    put(out, "\",\"trade_id\":");
    put_u64(out, fill.id);
    put(out, ",\"last_size\":\"");
    put_trimmed(out, feed.quantity_raw(fill.quantity));
    put(out, "\"}");
    Shape::Plain
}

impl Protocol for Coinbase {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules { subscribe_within: Some(Duration::from_secs(5)), texts_per_second_max: 100, ..Rules::NONE }
    }

    fn opened(&mut self, _client: ConnectionId, _request: &RestRequest, _hub: &mut Hub, _market: &Market) {}

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market) {
        let refuse = |hub: &mut Hub, message: &str, reason: &str| {
            let text = json!({ "type": "error", "message": message, "reason": reason }).to_string();
            hub.send(client, |out, _| plain(out, &text));
        };
        let Ok(request) = serde_json::from_slice::<Value>(text) else {
            return refuse(hub, "Malformed JSON", "not a JSON object");
        };
        let kind = request.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "subscribe" | "unsubscribe") {
            return refuse(hub, "Type has to be either subscribe or unsubscribe", kind);
        }
        let streams = match self.streams(&request) {
            Ok(streams) => streams,
            Err(reason) => return refuse(hub, "Failed to subscribe", &reason),
        };
        if kind == "unsubscribe" {
            for stream in streams {
                hub.unsubscribe(client, stream);
            }
            return self.acknowledge(client, hub);
        }
        let new: Vec<Stream> = streams.into_iter().filter(|stream| hub.subscribe(client, *stream, false)).collect();
        self.acknowledge(client, hub);
        for stream in new {
            self.welcome(client, stream, hub, market);
        }
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let Some(fill) = event.fill else { return };
        let (feed, name, clock) = (&market.feeds[event.symbol], &self.names[event.symbol], hub.clock());
        hub.publish(Stream { channel: MATCHES, symbol: event.symbol }, fill.id, |out, times| {
            put_match(out, times, "match", name, feed, fill, clock)
        });
        hub.publish(Stream { channel: TICKER, symbol: event.symbol }, fill.id, |out, times| {
            put_ticker(out, times, name, feed, fill, clock)
        });
    }

    fn tick(&mut self, hub: &mut Hub, market: &Market) {
        self.ticks += 1;
        for (at, feed) in market.feeds.iter().enumerate() {
            if self.ticks.is_multiple_of(LEVEL2_TICKS) {
                self.level2(at, feed, hub);
            }
            if self.ticks.is_multiple_of(HEARTBEAT_TICKS) {
                self.heartbeat(at, feed, hub);
            }
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        if let Some(reply) = product(&self.names, request, hub, market) {
            return reply;
        }
        match request.path.as_str() {
            "/time" => {
                let mut iso = Vec::new();
                TimeWriter::default().put(&mut iso, hub.clock(), 3);
                let epoch = hub.clock().div_euclid(1_000_000_000);
                RestReply::value(200, &json!({ "iso": String::from_utf8_lossy(&iso), "epoch": epoch }))
            }
            "/products" => RestReply::value(200, &products(&self.names, market)),
            _ => RestReply::value(404, &json!({ "message": "NotFound" })),
        }
    }
}

fn products(names: &[String], market: &Market) -> Value {
    let listed = names.iter().zip(&market.feeds).map(|(name, feed)| {
        let config = &feed.config;
        json!({
            "id": name, "base_currency": config.instrument.base(), "quote_currency": config.instrument.quote(),
            "base_increment": config.lot.to_string(), "quote_increment": config.tick.to_string(), "status": "online",
        })
    });
    listed.collect()
}
