//! The venues' protocols: subscriptions in, frames out, each in its own words.

mod binance;
mod bitstamp;
mod bybit;
mod coinbase;
mod coinbase_advanced;
mod kraken;
mod okx;

use std::time::Duration;

use model::TradeId;
use serde::{Deserialize, Serialize};

use crate::engine::{ConnectionId, Hub, RestReply, RestRequest, Shape};
use crate::market::{Character, Fill, Market};

/// Whose formats a simulated venue speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VenueKind {
    /// Binance spot.
    Binance,
    /// Coinbase Exchange.
    Coinbase,
    /// Kraken spot, WebSocket v2.
    Kraken,
    /// OKX v5.
    Okx,
    /// Bybit v5 spot.
    Bybit,
    /// Bitstamp v2.
    Bitstamp,
    /// Coinbase Advanced Trade.
    CoinbaseAdvanced,
}

impl VenueKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Binance, Self::Coinbase, Self::Kraken, Self::Okx, Self::Bybit, Self::Bitstamp, Self::CoinbaseAdvanced];

    /// Its name, as configurations write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
            Self::Okx => "okx",
            Self::Bybit => "bybit",
            Self::Bitstamp => "bitstamp",
            Self::CoinbaseAdvanced => "coinbase_advanced",
        }
    }

    /// How it differs from the fair price, unless configured.
    pub const fn character(self) -> Character {
        let (volume_share_pct, half_spread_bps_100, bias_bps_100, lag_ms) = match self {
            Self::Binance => (60, 2, 0, 0),
            Self::Coinbase => (25, 6, 30, 30),
            Self::Kraken => (15, 10, -40, 60),
            Self::Okx => (30, 3, 10, 20),
            Self::Bybit => (30, 4, -10, 20),
            Self::Bitstamp => (5, 15, 50, 90),
            Self::CoinbaseAdvanced => (25, 6, 30, 30),
        };
        Character { volume_share_pct, half_spread_bps_100, bias_bps_100, lag_ms }
    }

    /// The path on which its WebSocket server is reached.
    pub const fn websocket_path(self) -> &'static str {
        match self {
            Self::Binance => "/stream",
            Self::Coinbase | Self::Bitstamp | Self::CoinbaseAdvanced => "/",
            Self::Kraken => "/v2",
            Self::Okx => "/ws/v5/public",
            Self::Bybit => "/v5/public/spot",
        }
    }

    /// Whether WebSocket clients are served on this path.
    pub(crate) fn accepts(self, path: &str) -> bool {
        match self {
            Self::Binance => path == "/ws" || path.starts_with("/ws/") || path == "/stream",
            _ => path == self.websocket_path(),
        }
    }

    pub(crate) fn protocol(self, market: &Market) -> Box<dyn Protocol> {
        match self {
            Self::Binance => Box::new(binance::Binance::new(market)),
            Self::Coinbase => Box::new(coinbase::Coinbase::new(market)),
            Self::Kraken => Box::new(kraken::Kraken::new(market)),
            Self::Okx => Box::new(okx::Okx::new(market)),
            Self::Bybit => Box::new(bybit::Bybit::new(market)),
            Self::Bitstamp => Box::new(bitstamp::Bitstamp::new(market)),
            Self::CoinbaseAdvanced => Box::new(coinbase_advanced::Advanced::new(market)),
        }
    }
}

/// Something that happened on a venue's market; the book already shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Nanoseconds since the start.
    pub(crate) at: u64,
    /// Index of the feed.
    pub(crate) symbol: usize,
    /// The trade, if it is one.
    pub(crate) fill: Option<Fill>,
}

/// What a venue expects of its clients. `None` is no such rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Between server pings.
    pub(crate) ping_every: Option<Duration>,
    /// From the last pong to the cut.
    pub(crate) pong_within: Option<Duration>,
    /// Longest connection.
    pub(crate) session_max: Option<Duration>,
    /// From the connection to the first subscription.
    pub(crate) subscribe_within: Option<Duration>,
    /// Longest time with nothing in either direction.
    pub(crate) idle_max: Option<Duration>,
    /// Longest time without a text from the client.
    pub(crate) unheard_max: Option<Duration>,
    /// Texts from a client per second.
    pub(crate) texts_per_second_max: u32,
}

impl Rules {
    /// No rule but a generous message limit.
    pub(crate) const NONE: Self = Self {
        ping_every: None,
        pong_within: None,
        session_max: None,
        subscribe_within: None,
        idle_max: None,
        unheard_max: None,
        texts_per_second_max: 1_000,
    };
}

/// One venue's words. Pure: all it knows of time is the hub's clock.
pub(crate) trait Protocol: Send {
    /// The venue's names for the streams it has, by channel index.
    fn channels(&self) -> &'static [&'static str];

    /// What it expects of clients.
    fn rules(&self) -> Rules;

    /// A client has connected.
    fn opened(&mut self, client: ConnectionId, request: &RestRequest, hub: &mut Hub, market: &Market);

    /// A client is gone.
    fn closed(&mut self, _client: ConnectionId) {}

    /// A client has sent a text.
    fn text(&mut self, client: ConnectionId, text: &[u8], hub: &mut Hub, market: &Market);

    /// The market has moved.
    fn event(&mut self, event: &Event, hub: &mut Hub, market: &Market);

    /// Ten milliseconds have passed: batched channels, heartbeats.
    fn tick(&mut self, hub: &mut Hub, market: &Market);

    /// A REST call.
    fn rest(&mut self, request: &RestRequest, hub: &Hub, market: &Market) -> RestReply;

    /// The server is about to stop; says so where the venue has words for it.
    fn shutdown(&mut self, _hub: &mut Hub) {}

    /// Whether frames tell block trades, which are no part of the book's prices, from others.
    fn marks_blocks(&self) -> bool {
        false
    }

    /// The trade id that frames carry.
    fn trade_id(&self, _symbol: usize, fill: &Fill) -> TradeId {
        TradeId::Number(fill.id)
    }
}

/// A text as a whole frame.
pub(crate) fn plain(out: &mut Vec<u8>, text: &str) -> Shape {
    out.extend_from_slice(text.as_bytes());
    Shape::Plain
}

/// Levels written as `["price","quantity"]` pairs by `write`, in brackets.
pub(crate) fn put_levels(
    out: &mut Vec<u8>,
    levels: &[crate::market::book::Level],
    mut write: impl FnMut(&mut Vec<u8>, crate::market::book::Level),
) {
    out.push(b'[');
    for (at, level) in levels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, *level);
    }
    out.push(b']');
}
