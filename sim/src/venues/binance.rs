//! Binance spot: raw and combined streams, and the REST calls that a market-data client makes.
//!
//! Formats: `web-socket-streams.md` and `rest-api.md` of Binance's own API documentation.

use std::time::Duration;

use model::Side;
use serde_json::{Value, json};

use super::{Event, Protocol, Rules, plain, put_levels};
use crate::engine::{ConnectionId, Hub, Outgoing, RestReply, RestRequest, Shape, Stream};
use crate::market::book::Level;
use crate::market::{Feed, Fill, Market};
use crate::text::{put, put_fixed, put_i64, put_notional, put_u64};

const CHANNELS: [&str; 4] = ["trade", "bookTicker", "depth@100ms", "depth"];
const TRADE: usize = 0;
const BOOK_TICKER: usize = 1;
const DEPTH_100MS: usize = 2;
const DEPTH_1S: usize = 3;
/// Ticks of 10 ms between two frames of the depth channels.
const DEPTH_TICKS: [(usize, u64); 2] = [(DEPTH_100MS, 10), (DEPTH_1S, 100)];

/// What a depth channel has yet to tell.
struct Depth {
    /// Prices changed since the last frame, with repeats.
    bids: Vec<i64>,
    asks: Vec<i64>,
    /// Update id of the last frame.
    update_id: u64,
}

struct Symbol {
    /// `BTCUSDT`
    name: String,
    /// `{"stream":"btcusdt@trade","data":` for each channel.
    envelopes: [String; 4],
    depths: [Depth; 2],
    best: (Option<Level>, Option<Level>),
}

/// See the module.
pub(crate) struct Binance {
    symbols: Vec<Symbol>,
    /// Per connection: whether frames come in an envelope.
    enveloped: std::collections::BTreeMap<ConnectionId, bool>,
    ticks: u64,
}

impl Binance {
    pub(crate) fn new(market: &Market) -> Self {
        let symbols = market
            .feeds
            .iter()
            .map(|feed| {
                let name = format!("{}{}", feed.config.instrument.base(), feed.config.instrument.quote());
                let lower = name.to_ascii_lowercase();
                let envelopes = CHANNELS.map(|channel| format!("{{\"stream\":\"{lower}@{channel}\",\"data\":"));
                let depth = || Depth { bids: Vec::new(), asks: Vec::new(), update_id: feed.book.update_id };
                Symbol { name, envelopes, depths: [depth(), depth()], best: feed.book.best() }
            })
            .collect();
        Self { symbols, enveloped: std::collections::BTreeMap::new(), ticks: 0 }
    }

    fn stream(&self, name: &str) -> Option<Stream> {
        let (symbol, channel) = name.split_once('@')?;
        let channel = CHANNELS.iter().position(|known| *known == channel)?;
        let symbol = self.symbols.iter().position(|known| known.name.to_ascii_lowercase() == symbol)?;
        Some(Stream { channel, symbol })
    }

    fn stream_name(&self, stream: Stream) -> String {
        format!("{}@{}", self.symbols[stream.symbol].name.to_ascii_lowercase(), CHANNELS[stream.channel])
    }

    /// Answers a request; streams that do not exist are accepted and stay silent, as on the venue.
    fn answer(&mut self, client: ConnectionId, request: &Value, hub: &mut Hub) -> Result<Value, (i32, String)> {
        let method = request.get("method").and_then(Value::as_str);
        let params = request.get("params").and_then(Value::as_array).map(Vec::as_slice);
        let names = || {
            let params = params.ok_or((2, "Invalid request: request params must be an array".to_owned()))?;
            let texts = params.iter().map(Value::as_str).collect::<Option<Vec<&str>>>();
            texts.ok_or((2, "Invalid request: request params must be strings".to_owned()))
        };
        match method {
            Some("SUBSCRIBE") => {
                let enveloped = self.enveloped.get(&client).copied().unwrap_or(false);
                for stream in names()?.into_iter().filter_map(|name| self.stream(name)) {
                    hub.subscribe(client, stream, enveloped);
                }
                Ok(Value::Null)
            }
            Some("UNSUBSCRIBE") => {
                for stream in names()?.into_iter().filter_map(|name| self.stream(name)) {
                    hub.unsubscribe(client, stream);
                }
                Ok(Value::Null)
            }
            Some("LIST_SUBSCRIPTIONS") => {
                Ok(hub.subscriptions(client).iter().map(|stream| self.stream_name(*stream)).collect())
            }
            Some("SET_PROPERTY") => {
                let enveloped = match params {
                    Some([Value::String(name), Value::Bool(value)]) if name == "combined" => *value,
                    _ => return Err((0, "Unknown property".to_owned())),
                };
                self.enveloped.insert(client, enveloped);
                for stream in hub.subscriptions(client).to_vec() {
                    hub.unsubscribe(client, stream);
                    hub.subscribe(client, stream, enveloped);
                }
                Ok(Value::Null)
            }
            Some("GET_PROPERTY") => Ok(self.enveloped.get(&client).copied().unwrap_or(false).into()),
            Some(other) => Err((2, format!("Invalid request: unknown variant `{other}`"))),
            None => Err((2, "Invalid request: missing field `method`".to_owned())),
        }
    }

    fn trade(&self, event: &Event, fill: Fill, feed: &Feed, hub: &mut Hub) {
        let symbol = &self.symbols[event.symbol];
        let millis = hub.clock().div_euclid(1_000_000);
        hub.publish(Stream { channel: TRADE, symbol: event.symbol }, fill.id, |out, _| {
            put(out, &symbol.envelopes[TRADE]);
            let prefix = out.len();
            put(out, "{\"e\":\"trade\",\"E\":");
            put_i64(out, millis);
            put(out, ",\"s\":\"");
            put(out, &symbol.name);
            put(out, "\",\"t\":");
            put_u64(out, fill.id);
            put(out, ",\"p\":\"");
            put_fixed(out, feed.price_raw(fill.price), 8);
            put(out, "\",\"q\":\"");
            put_fixed(out, feed.quantity_raw(fill.quantity), 8);
            put(out, "\",\"T\":");
            put_i64(out, millis);
            put(out, if fill.taker_side == Side::Sell { ",\"m\":true" } else { ",\"m\":false" });
            put(out, ",\"M\":true}}");
            Shape::Enveloped(prefix)
        });
    }

    fn book_ticker(&self, at: usize, feed: &Feed, hub: &mut Hub) {
        let symbol = &self.symbols[at];
        let (bid, ask) = feed.book.best();
        let none = Level { price: 0, quantity: 0 };
        let update_id = feed.book.update_id;
        hub.publish(Stream { channel: BOOK_TICKER, symbol: at }, update_id, |out, _| {
            put(out, &symbol.envelopes[BOOK_TICKER]);
            let prefix = out.len();
            put(out, "{\"u\":");
            put_u64(out, update_id);
            put(out, ",\"s\":\"");
            put(out, &symbol.name);
            for (price, quantity, level) in [
                ("\",\"b\":\"", "\",\"B\":\"", bid.unwrap_or(none)),
                ("\",\"a\":\"", "\",\"A\":\"", ask.unwrap_or(none)),
            ] {
                put(out, price);
                put_fixed(out, feed.price_raw(level.price), 8);
                put(out, quantity);
                put_fixed(out, feed.quantity_raw(level.quantity), 8);
            }
            put(out, "\"}}");
            Shape::Enveloped(prefix)
        });
    }

    fn depth(&mut self, which: usize, at: usize, feed: &Feed, hub: &mut Hub) {
        let channel = DEPTH_TICKS[which].0;
        let symbol = &mut self.symbols[at];
        let depth = &mut symbol.depths[which];
        let (first, last) = (depth.update_id + 1, feed.book.update_id);
        if last < first {
            return;
        }
        depth.update_id = last;
        // Every level touched in the interval is told with its present quantity, also one that came and went.
        let bids = touched(&mut depth.bids, Side::Buy, feed);
        let asks = touched(&mut depth.asks, Side::Sell, feed);
        let (symbol, millis) = (&*symbol, hub.clock().div_euclid(1_000_000));
        hub.publish(Stream { channel, symbol: at }, last, |out, _| {
            put(out, &symbol.envelopes[channel]);
            let prefix = out.len();
            put(out, "{\"e\":\"depthUpdate\",\"E\":");
            put_i64(out, millis);
            put(out, ",\"s\":\"");
            put(out, &symbol.name);
            put(out, "\",\"U\":");
            put_u64(out, first);
            put(out, ",\"u\":");
            put_u64(out, last);
            put(out, ",\"b\":");
            put_levels(out, &bids, |out, level| put_level(out, feed, level));
            put(out, ",\"a\":");
            put_levels(out, &asks, |out, level| put_level(out, feed, level));
            put(out, "}}");
            Shape::Enveloped(prefix)
        });
    }

    /// The feeds that `symbol=` or `symbols=` name; all of them without either.
    fn wanted<'a>(
        &self,
        request: &RestRequest,
        market: &'a Market,
    ) -> Result<(Vec<usize>, bool, &'a Market), RestReply> {
        let invalid = || error(400, -1121, "Invalid symbol.");
        let find = |name: &str| self.symbols.iter().position(|known| known.name == name).ok_or_else(invalid);
        if let Some(name) = request.parameter("symbol") {
            return Ok((vec![find(name)?], true, market));
        }
        if let Some(list) = request.parameter("symbols") {
            let names: Vec<String> = serde_json::from_str(list)
                .map_err(|_| error(400, -1100, "Illegal characters found in parameter 'symbols'."))?;
            let found = names.iter().map(|name| find(name)).collect::<Result<Vec<usize>, RestReply>>()?;
            return Ok((found, false, market));
        }
        Ok(((0..self.symbols.len()).collect(), false, market))
    }

    /// One object for `symbol=`, else an array.
    fn each(
        &self,
        request: &RestRequest,
        market: &Market,
        write: impl Fn(&mut Vec<u8>, &Symbol, &Feed),
    ) -> Result<RestReply, RestReply> {
        let (wanted, single, market) = self.wanted(request, market)?;
        let mut out = Vec::new();
        if !single {
            out.push(b'[');
        }
        for (at, index) in wanted.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write(&mut out, &self.symbols[*index], &market.feeds[*index]);
        }
        if !single {
            out.push(b']');
        }
        Ok(RestReply::text(200, out))
    }

    fn depth_snapshot(&self, request: &RestRequest, market: &Market) -> Result<RestReply, RestReply> {
        if request.parameter("symbol").is_none() {
            return Err(error(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."));
        }
        let limit: usize = request.parameter("limit").map_or(Ok(100), str::parse).map_err(|_| {
            error(400, -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
        })?;
        let (wanted, ..) = self.wanted(request, market)?;
        let feed = &market.feeds[wanted[0]];
        let side = |levels: &[Level]| levels[..levels.len().min(limit)].to_vec();
        let mut out = Vec::new();
        put(&mut out, "{\"lastUpdateId\":");
        put_u64(&mut out, feed.book.update_id);
        put(&mut out, ",\"bids\":");
        put_levels(&mut out, &side(&feed.book.bids), |out, level| put_level(out, feed, level));
        put(&mut out, ",\"asks\":");
        put_levels(&mut out, &side(&feed.book.asks), |out, level| put_level(out, feed, level));
        out.push(b'}');
        Ok(RestReply::text(200, out))
    }

    fn exchange_info(&self, request: &RestRequest, hub: &Hub, market: &Market) -> Result<RestReply, RestReply> {
        let (wanted, _, market) = self.wanted(request, market)?;
        let symbols: Vec<Value> = wanted
            .into_iter()
            .map(|index| {
                let feed = &market.feeds[index];
                let step = |raw: i64| {
                    let mut out = Vec::new();
                    put_fixed(&mut out, raw, 8);
                    String::from_utf8_lossy(&out).into_owned()
                };
                let (tick, lot) = (step(feed.config.tick.raw()), step(feed.config.lot.raw()));
                json!({
                    "symbol": self.symbols[index].name, "status": "TRADING",
                    "baseAsset": feed.config.instrument.base(), "baseAssetPrecision": 8,
                    "quoteAsset": feed.config.instrument.quote(), "quotePrecision": 8, "quoteAssetPrecision": 8,
                    "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "isSpotTradingAllowed": true,
                    "isMarginTradingAllowed": false, "permissions": [], "permissionSets": [["SPOT"]],
                    "filters": [
                        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
                        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000000.00000000", "stepSize": lot},
                    ],
                })
            })
            .collect();
        let now = hub.clock().div_euclid(1_000_000);
        let info = json!({
            "timezone": "UTC", "serverTime": now, "rateLimits": [], "exchangeFilters": [], "symbols": symbols,
        });
        Ok(RestReply::value(200, &info))
    }
}

/// The levels at changed prices, best first; forgets the prices.
fn touched(prices: &mut Vec<i64>, side: Side, feed: &Feed) -> Vec<Level> {
    prices.sort_unstable();
    prices.dedup();
    if side == Side::Buy {
        prices.reverse();
    }
    prices.drain(..).map(|price| Level { price, quantity: feed.book.quantity_at(side, price) }).collect()
}

fn put_level(out: &mut Vec<u8>, feed: &Feed, level: Level) {
    put(out, "[\"");
    put_fixed(out, feed.price_raw(level.price), 8);
    put(out, "\",\"");
    put_fixed(out, feed.quantity_raw(level.quantity), 8);
    put(out, "\"]");
}

fn error(status: u16, code: i32, message: &str) -> RestReply {
    RestReply::value(status, &json!({ "code": code, "msg": message }))
}

/// One entry of `/api/v3/ticker/24hr`.
fn put_day(out: &mut Vec<u8>, symbol: &Symbol, feed: &Feed, close_millis: i64) {
    let day = &feed.day;
    let change = day.last() - day.open();
    let percent = (i128::from(change) * 100_000 / i128::from(day.open().max(1))) as i64 * 100_000;
    let last_quantity = feed.recent.back().map_or(0, |(_, fill)| fill.quantity);
    let (bid, ask) = feed.book.best();
    let none = Level { price: 0, quantity: 0 };
    let (bid, ask) = (bid.unwrap_or(none), ask.unwrap_or(none));
    put(out, "{\"symbol\":\"");
    put(out, &symbol.name);
    put(out, "\",\"priceChange\":\"");
    put_fixed(out, feed.price_raw(change), 8);
    put(out, "\",\"priceChangePercent\":\"");
    put_fixed(out, percent, 3);
    for (name, raw) in [
        ("weightedAvgPrice", feed.price_raw(day.vwap())),
        ("prevClosePrice", feed.price_raw(day.open())),
        ("lastPrice", feed.price_raw(day.last())),
        ("lastQty", feed.quantity_raw(last_quantity)),
        ("bidPrice", feed.price_raw(bid.price)),
        ("bidQty", feed.quantity_raw(bid.quantity)),
        ("askPrice", feed.price_raw(ask.price)),
        ("askQty", feed.quantity_raw(ask.quantity)),
        ("openPrice", feed.price_raw(day.open())),
        ("highPrice", feed.price_raw(day.high())),
        ("lowPrice", feed.price_raw(day.low())),
        ("volume", feed.volume_raw()),
    ] {
        put(out, "\",\"");
        put(out, name);
        put(out, "\":\"");
        put_fixed(out, raw, 8);
    }
    put(out, "\",\"quoteVolume\":\"");
    put_notional(out, feed.turnover_raw(), 8);
    put(out, "\",\"openTime\":");
    put_i64(out, close_millis - 86_400_000);
    put(out, ",\"closeTime\":");
    put_i64(out, close_millis);
    let last_id = feed.recent.back().map_or(0, |(_, fill)| fill.id);
    put(out, ",\"firstId\":");
    put_u64(out, last_id.saturating_sub(day.trades()));
    put(out, ",\"lastId\":");
    put_u64(out, last_id);
    put(out, ",\"count\":");
    put_u64(out, day.trades() + 1);
    out.push(b'}');
}

impl Protocol for Binance {
    fn channels(&self) -> &'static [&'static str] {
        &CHANNELS
    }

    fn rules(&self) -> Rules {
        Rules {
            ping_every: Some(Duration::from_secs(20)),
            pong_within: Some(Duration::from_secs(60)),
            session_max: Some(Duration::from_secs(86_400)),
            texts_per_second_max: 5,
            ..Rules::NONE
        }
    }

    fn opened(&mut self, client: ConnectionId, request: &RestRequest, hub: &mut Hub, _market: &Market) {
        let combined = request.path == "/stream";
        self.enveloped.insert(client, combined);
        let names = if combined {
            request.parameter("streams").unwrap_or_default()
        } else {
            request.path.strip_prefix("/ws/").unwrap_or_default()
        };
        for stream in names.split('/').filter_map(|name| self.stream(name)) {
            hub.subscribe(client, stream, combined);
        }
    }

    fn closed(&mut self, client: ConnectionId) {
        self.enveloped.remove(&client);
    }

    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, _market: &Market) {
        let request: Value = match serde_json::from_slice(text) {
            Ok(request) => request,
            Err(reason) => {
                let message = Value::from(format!("Invalid JSON: {reason}"));
                let answer = format!("{{\"error\":{{\"code\":3,\"msg\":{message}}},\"id\":null}}");
                return hub.send(client, |out, _| plain(out, &answer));
            }
        };
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        let answer = match self.answer(client, &request, hub) {
            Ok(result) => format!("{{\"result\":{result},\"id\":{id}}}"),
            Err((code, message)) => {
                let message = Value::from(message);
                format!("{{\"error\":{{\"code\":{code},\"msg\":{message}}},\"id\":{id}}}")
            }
        };
        hub.send(client, |out, _| plain(out, &answer));
    }

    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market) {
        let feed = &market.feeds[event.symbol];
        for depth in &mut self.symbols[event.symbol].depths {
            for change in &feed.book.changes {
                match change.side {
                    Side::Buy => depth.bids.push(change.price),
                    Side::Sell => depth.asks.push(change.price),
                }
            }
        }
        if let Some(fill) = event.fill {
            self.trade(event, fill, feed, hub);
        }
        let best = feed.book.best();
        if best != self.symbols[event.symbol].best {
            self.symbols[event.symbol].best = best;
            self.book_ticker(event.symbol, feed, hub);
        }
    }

    fn tick(&mut self, hub: &mut Hub, market: &Market) {
        self.ticks += 1;
        for (which, (_, every)) in DEPTH_TICKS.iter().enumerate() {
            if self.ticks.is_multiple_of(*every) {
                for (at, feed) in market.feeds.iter().enumerate() {
                    self.depth(which, at, feed, hub);
                }
            }
        }
    }

    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
        let now = hub.clock().div_euclid(1_000_000);
        let reply = match request.path.as_str() {
            "/api/v3/ping" => Ok(RestReply::value(200, &json!({}))),
            "/api/v3/time" => Ok(RestReply::value(200, &json!({ "serverTime": now }))),
            "/api/v3/depth" => self.depth_snapshot(request, market),
            "/api/v3/exchangeInfo" => self.exchange_info(request, hub, market),
            "/api/v3/ticker/24hr" => self.each(request, market, |out, symbol, feed| put_day(out, symbol, feed, now)),
            "/api/v3/ticker/price" => self.each(request, market, |out, symbol, feed| {
                put(out, "{\"symbol\":\"");
                put(out, &symbol.name);
                put(out, "\",\"price\":\"");
                put_fixed(out, feed.price_raw(feed.day.last()), 8);
                put(out, "\"}");
            }),
            _ => Err(error(404, -1000, "No such path.")),
        };
        reply.unwrap_or_else(|refused| refused)
    }

    fn shutdown(&mut self, hub: &mut Hub) {
        let millis = hub.clock().div_euclid(1_000_000);
        let raw = format!("{{\"e\":\"serverShutdown\",\"E\":{millis}}}");
        let combined = format!("{{\"stream\":\"!serverShutdown\",\"data\":{raw}}}");
        let now = hub.now;
        for (id, client) in &mut hub.clients {
            let text = if self.enveloped.get(id) == Some(&true) { &combined } else { &raw };
            client.push(Outgoing::Text(text.clone().into()), now);
        }
    }
}
