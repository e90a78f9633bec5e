//! Kraken spot: WebSocket v2, and the public REST calls of a market-data client.
//!
//! Formats: Kraken's documentation of WebSocket v2 and its guide to book checksums. Prices and quantities are
//! JSON numbers whose zeros count: the checksum runs over their text.

mod rest;

use serde_json::Value;

use super::{Event, Protocol, Rules, put_levels};
use crate::engine::{ConnectionId, Hub, RestReply, RestRequest, Shape, Stream, Truth};
use crate::market::book::{Delta, Level, Window};
use crate::market::{Feed, Fill, Market};
use crate::text::{TimeWriter, put, put_fixed, put_i64, put_trimmed, put_u64};

/// `ticker` and `book` stand for the venue's default trigger (trades) and depth (10); the others for what a
/// subscription may ask for instead.
const CHANNELS: [&str; 8] = ["trade", "ticker", "ticker-bbo", "book", "book-25", "book-100", "book-500", "book-1000"];
const TRADE: usize = 0;
const TICKER: usize = 1;
const TICKER_BBO: usize = 2;
const BOOK: usize = 3;
const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1_000];
/// Levels that the checksum covers on each side.
const CHECKSUM_LEVELS: usize = 10;
const SECOND_NANOS: u64 = 1_000_000_000;

struct Symbol {
    /// `BTC/USDT`
    name: String,
    windows: [Window; 5],
    best: (Option<Level>, Option<Level>),
}

/// See the module.
pub(crate) struct Kraken {
    symbols: Vec<Symbol>,
    delta: Delta,
    digits: Vec<u8>,
}

impl Kraken {
    pub(crate) fn new(market: &Market) -> Self {
        let symbol = |feed: &Feed| Symbol {
            name: format!("{}/{}", feed.config.instrument.base(), feed.config.instrument.quote()),
            windows: DEPTHS.map(|depth| Window::new(depth, false)),
            best: feed.book.best(),
        };
        let symbols = market.feeds.iter().map(symbol).collect();
        Self { symbols, delta: Delta::default(), digits: Vec::new() }
    }

    /// The channel that `params` ask for, and what the acknowledgement repeats of them.
    fn channel(params: &Value) -> Result<(usize, String), &'static str> {
        let snapshot = params.get("snapshot").and_then(Value::as_bool).unwrap_or(true);
        match params.get("channel").and_then(Value::as_str) {
            Some("trade") => Ok((TRADE, format!("\"channel\":\"trade\",\"snapshot\":{snapshot}"))),
            Some("ticker") => {
                let trigger = params.get("event_trigger").and_then(Value::as_str).unwrap_or("trades");
                let channel = match trigger {
                    "trades" => TICKER,
                    "bbo" => TICKER_BBO,
                    _ => return Err("Event trigger not supported"),
                };
                let told = format!("\"channel\":\"ticker\",\"event_trigger\":\"{trigger}\",\"snapshot\":{snapshot}");
                Ok((channel, told))
            }
            Some("book") => {
                let depth = params.get("depth").and_then(Value::as_u64).unwrap_or(10);
                let at = DEPTHS.iter().position(|known| *known as u64 == depth).ok_or("Book depth not supported")?;
                Ok((BOOK + at, format!("\"channel\":\"book\",\"depth\":{depth},\"snapshot\":{snapshot}")))
            }
            _ => Err("Channel not supported"),
        }
    }

    fn subscribe(&mut self, client: ConnectionId, request: &Value, hub: &mut Hub, market: &Market) {
        let method = request.get("method").and_then(Value::as_str).unwrap_or_default();
        let params = request.get("params").unwrap_or(&Value::Null);
        let req_id = request.get("req_id").and_then(Value::as_u64);
        let names = params.get("symbol").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (channel, told) = match Self::channel(params) {
            Ok(found) => found,
            Err(error) => return refuse(client, method, error, None, req_id, hub),
        };
        let wants_snapshot = params.get("snapshot").and_then(Value::as_bool).unwrap_or(true);
        for name in names.iter().filter_map(Value::as_str) {
            let Some(symbol) = self.symbols.iter().position(|known| known.name == name) else {
                let error = format!("Currency pair not supported {name}");
                refuse(client, method, &error, Some(name), req_id, hub);
                continue;
            };
            let stream = Stream { channel, symbol };
            let feed = &market.feeds[symbol];
            if method == "unsubscribe" {
                if !hub.unsubscribe(client, stream) {
                    refuse(client, method, "Subscription Not Found", Some(name), req_id, hub);
                    continue;
                }
                acknowledge(client, method, &told, name, req_id, hub);
                continue;
            }
            if channel >= BOOK && !hub.is_read(stream) {
                // Windows that nobody reads stand still.
                self.symbols[symbol].windows[channel - BOOK].advance(&feed.book, &mut self.delta);
            }
            if !hub.subscribe(client, stream, false) {
                refuse(client, method, "Already subscribed", Some(name), req_id, hub);
                continue;
            }
            acknowledge(client, method, &told, name, req_id, hub);
            if wants_snapshot {
                self.snapshot(client, stream, hub, feed);
            }
        }
    }

    fn snapshot(&mut self, client: ConnectionId, stream: Stream, hub: &mut Hub, feed: &Feed) {
        let symbol = &self.symbols[stream.symbol];
        match stream.channel {
            TRADE => {
                let times: Vec<i64> = feed.recent.iter().map(|(at, _)| hub.clock_at(*at)).collect();
                hub.send(client, |out, writer| {
                    put(out, "{\"channel\":\"trade\",\"type\":\"snapshot\",\"data\":[");
                    for (index, ((_, fill), clock)) in feed.recent.iter().zip(&times).enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        put_trade(out, writer, &symbol.name, feed, *fill, *clock);
                    }
                    put(out, "]}");
                    Shape::Plain
                });
            }
            TICKER | TICKER_BBO => {
                hub.send(client, |out, _| put_ticker(out, "snapshot", &symbol.name, feed));
            }
            _ => {
                let window = &symbol.windows[stream.channel - BOOK];
                let checksum = checksum(&mut self.digits, window, feed);
                let (clock, name) = (hub.clock(), &symbol.name);
                hub.send(client, |out, times| {
                    let levels = (window.bids(), window.asks());
                    put_book(out, times, "snapshot", name, feed, levels, (checksum, clock))
                });
            }
        }
    }

    fn book(&mut self, which: usize, at: usize, feed: &Feed, hub: &mut Hub) {
        let stream = Stream { channel: BOOK + which, symbol: at };
        if !hub.is_read(stream) {
            return;
        }
        let symbol = &mut self.symbols[at];
        symbol.windows[which].advance(&feed.book, &mut self.delta);
        if self.delta.is_empty() {
            return;
        }
        let mut checksum = checksum(&mut self.digits, &symbol.windows[which], feed);
        if hub.faults.spoils_checksum() {
            checksum ^= 0x5555_5555;
            hub.note(Truth::WrongChecksum { instrument: feed.config.instrument });
        }
        let (clock, name, delta) = (hub.clock(), &symbol.name, &self.delta);
        hub.publish(stream, feed.book.update_id, |out, times| {
            put_book(out, times, "update", name, feed, (&delta.bids, &delta.asks), (checksum, clock))
        });
    }

    fn ticker(&self, channel: usize, at: usize, feed: &Feed, hub: &mut Hub) {
        let name = &self.symbols[at].name;
        hub.publish(Stream { channel, symbol: at }, feed.book.update_id, |out, _| {
            put_ticker(out, "update", name, feed)
        });
    }
}

fn put_trade(out: &mut Vec<u8>, times: &mut TimeWriter, name: &str, feed: &Feed, fill: Fill, clock: i64) {
    put(out, "{\"symbol\":\"");
    put(out, name);
    put(out, "\",\"side\":\"");
    put(out, fill.taker_side.as_str());
    put(out, "\",\"price\":");
    put_fixed(out, feed.price_raw(fill.price), feed.price_places());
    put(out, ",\"qty\":");
    put_fixed(out, feed.quantity_raw(fill.quantity), 8);
    put(out, if fill.id.is_multiple_of(3) { ",\"ord_type\":\"market\"" } else { ",\"ord_type\":\"limit\"" });
    put(out, ",\"trade_id\":");
    put_u64(out, fill.id);
    put(out, ",\"timestamp\":\"");
    times.put(out, clock, 6);
    put(out, "\"}");
}

fn put_ticker(out: &mut Vec<u8>, kind: &str, name: &str, feed: &Feed) -> Shape {
    let day = &feed.day;
    let (bid, ask) = feed.book.best();
    let none = Level { price: 0, quantity: 0 };
    let (bid, ask) = (bid.unwrap_or(none), ask.unwrap_or(none));
    let change = day.last() - day.open();
    // In hundredths of a percent, so two decimals.
    let percent = (i128::from(change) * 10_000 / i128::from(day.open().max(1))) as i64 * 1_000_000;
    put(out, "{\"channel\":\"ticker\",\"type\":\"");
    put(out, kind);
    put(out, "\",\"data\":[{\"symbol\":\"");
    put(out, name);
    out.push(b'"');
    for (field, raw) in [
        ("bid", feed.price_raw(bid.price)),
        ("bid_qty", feed.quantity_raw(bid.quantity)),
        ("ask", feed.price_raw(ask.price)),
        ("ask_qty", feed.quantity_raw(ask.quantity)),
        ("last", feed.price_raw(day.last())),
        ("volume", feed.volume_raw()),
        ("vwap", feed.price_raw(day.vwap())),
        ("low", feed.price_raw(day.low())),
        ("high", feed.price_raw(day.high())),
        ("change", feed.price_raw(change)),
        ("change_pct", percent),
    ] {
        put(out, ",\"");
        put(out, field);
        put(out, "\":");
        put_trimmed(out, raw);
    }
    put(out, "}]}");
    Shape::Plain
}

fn put_book(
    out: &mut Vec<u8>,
    times: &mut TimeWriter,
    kind: &str,
    name: &str,
    feed: &Feed,
    (bids, asks): (&[Level], &[Level]),
    (checksum, clock): (u32, i64),
) -> Shape {
    let level = |out: &mut Vec<u8>, level: Level| {
        put(out, "{\"price\":");
        put_fixed(out, feed.price_raw(level.price), feed.price_places());
        put(out, ",\"qty\":");
        put_fixed(out, feed.quantity_raw(level.quantity), 8);
        out.push(b'}');
    };
    put(out, "{\"channel\":\"book\",\"type\":\"");
    put(out, kind);
    put(out, "\",\"data\":[{\"symbol\":\"");
    put(out, name);
    put(out, "\",\"bids\":");
    put_levels(out, bids, level);
    put(out, ",\"asks\":");
    put_levels(out, asks, level);
    put(out, ",\"checksum\":");
    put_u64(out, checksum.into());
    put(out, ",\"timestamp\":\"");
    times.put(out, clock, 6);
    put(out, "\"}]}");
    Shape::Plain
}

/// CRC-32 over the ten best asks, then the ten best bids: price and quantity texts without their point and
/// leading zeros, which is each number as a count of its smallest units.
fn checksum(digits: &mut Vec<u8>, window: &Window, feed: &Feed) -> u32 {
    digits.clear();
    let unit = 10i64.pow(8 - u32::from(feed.price_places()));
    for level in window.asks().iter().take(CHECKSUM_LEVELS).chain(window.bids().iter().take(CHECKSUM_LEVELS)) {
        put_i64(digits, feed.price_raw(level.price) / unit);
        put_i64(digits, feed.quantity_raw(level.quantity));
    }
    crc32fast::hash(digits)
}

/// `,"time_in":"…","time_out":"…"}` and with it the end of an answer.
fn put_times(out: &mut Vec<u8>, times: &mut TimeWriter, clock: i64) {
    put(out, ",\"time_in\":\"");
    times.put(out, clock, 6);
    put(out, "\",\"time_out\":\"");
    times.put(out, clock + 58_000, 6);
    put(out, "\"}");
}

fn put_req_id(out: &mut Vec<u8>, req_id: Option<u64>) {
    if let Some(req_id) = req_id {
        put(out, ",\"req_id\":");
        put_u64(out, req_id);
    }
}

fn acknowledge(client: ConnectionId, method: &str, told: &str, name: &str, req_id: Option<u64>, hub: &mut Hub) {
    let clock = hub.clock();
    hub.send(client, |out, times| {
        put(out, "{\"method\":\"");
        put(out, method);
        out.push(b'"');
        put_req_id(out, req_id);
        put(out, ",\"result\":{");
        put(out, told);
        put(out, ",\"symbol\":\"");
        put(out, name);
        put(out, "\"},\"success\":true");
        put_times(out, times, clock);
        Shape::Plain
    });
}

fn refuse(client: ConnectionId, method: &str, error: &str, symbol: Option<&str>, req_id: Option<u64>, hub: &mut Hub) {
    let clock = hub.clock();
    let quoted = |text: &str| Value::from(text).to_string();
    hub.send(client, |out, times| {
        put(out, "{\"error\":");
        put(out, &quoted(error));
        put(out, ",\"method\":");
        put(out, &quoted(method));
        put_req_id(out, req_id);
        put(out, ",\"success\":false");
        if let Some(symbol) = symbol {
            put(out, ",\"symbol\":");
            put(out, &quoted(symbol));
        }
        put_times(out, times, clock);
        Shape::Plain
    });
}

impl Protocol for Kraken {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules { texts_per_second_max: 100, ..Rules::NONE }
    }

    fn opened(&mut self, client: ConnectionId, _request: &RestRequest, hub: &mut Hub, _market: &Market) {
        hub.send(client, |out, _| {
            put(
                out,
                "{\"channel\":\"status\",\"type\":\"update\",\"data\":[{\"version\":\"2.0.10\",\"system\":\"online\",",
            );
            put(out, "\"api_version\":\"v2\",\"connection_id\":");
            put_u64(out, 806_193_442_143_000_000 + client);
            put(out, "}]}");
            Shape::Plain
        });
    }

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market) {
        let Ok(request) = serde_json::from_slice::<Value>(text) else {
            return refuse(client, "", "Malformed request", None, None, hub);
        };
        let req_id = request.get("req_id").and_then(Value::as_u64);
        match request.get("method").and_then(Value::as_str) {
            Some("ping") => {
                let clock = hub.clock();
                hub.send(client, |out, times| {
                    put(out, "{\"method\":\"pong\"");
                    put_req_id(out, req_id);
                    put_times(out, times, clock);
                    Shape::Plain
                });
            }
            Some("subscribe" | "unsubscribe") => self.subscribe(client, &request, hub, market),
            other => refuse(client, other.unwrap_or_default(), "Unsupported method", None, req_id, hub),
        }
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let feed = &market.feeds[event.symbol];
        if let Some(fill) = event.fill {
            let (name, clock) = (&self.symbols[event.symbol].name, hub.clock());
            hub.publish(Stream { channel: TRADE, symbol: event.symbol }, fill.id, |out, times| {
                put(out, "{\"channel\":\"trade\",\"type\":\"update\",\"data\":[");
                put_trade(out, times, name, feed, fill, clock);
                put(out, "]}");
                Shape::Plain
            });
            self.ticker(TICKER, event.symbol, feed, hub);
        }
        let best = feed.book.best();
        if best != self.symbols[event.symbol].best {
            self.symbols[event.symbol].best = best;
            self.ticker(TICKER_BBO, event.symbol, feed, hub);
        }
        for which in 0..DEPTHS.len() {
            self.book(which, event.symbol, feed, hub);
        }
    }

    /// A heartbeat to each connection that has subscribed and was told nothing for a second.
    fn tick(&mut self, hub: &mut Hub, _market: &Market) {
        let now = hub.now;
        let idle: Vec<ConnectionId> = hub
            .clients
            .iter()
            .filter(|(_, client)| client.subscribed && client.told_at + SECOND_NANOS <= now)
            .map(|(id, _)| *id)
            .collect();
        for client in idle {
            hub.send(client, |out, _| {
                put(out, "{\"channel\":\"heartbeat\"}");
                Shape::Plain
            });
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        rest::serve(request, hub, market)
    }
}
