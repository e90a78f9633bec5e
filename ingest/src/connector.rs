//! What the shared supervisor knows of a venue: addresses, messages, budgets and REST requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{Channel, Instrument, UnixNanos, Venue};

use crate::decode::{Decoder, Feed, Listed, Output};
use crate::refusal::DecodeError;

/// Where a source's quotes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuotesFrom {
    /// The venue's best-bid-and-ask channel, where it has one; else the book.
    #[default]
    BestBidAsk,
    /// The book, built here from level updates: a quote each time its top changes.
    Book,
    /// Both; the newer by the venue's sequence wins.
    Both,
}

/// What one connection is for. Connectors and decoders get it; feeds name instruments by their place here.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The source's name.
    pub venue: Venue,
    /// The instruments, in a fixed order.
    pub instruments: Arc<[Listed]>,
    /// The channels wanted.
    pub channels: Vec<Channel>,
    /// Which quotes.
    pub quotes_from: QuotesFrom,
}

impl Plan {
    /// Whether a channel is wanted.
    pub fn wants(&self, channel: Channel) -> bool {
        self.channels.contains(&channel)
    }

    /// Whether quotes are wanted from the venue's own channel.
    pub fn wants_best(&self) -> bool {
        self.wants(Channel::Quotes) && self.quotes_from != QuotesFrom::Book
    }

    /// Whether quotes are wanted from the book.
    pub fn wants_book(&self) -> bool {
        self.wants(Channel::Quotes) && self.quotes_from != QuotesFrom::BestBidAsk
    }

    /// The instrument and symbol of a feed.
    pub fn listed(&self, instrument: u16) -> &Listed {
        &self.instruments[instrument as usize]
    }

    /// Every feed wanted.
    pub fn feeds(&self) -> impl Iterator<Item = Feed> {
        (0..self.instruments.len() as u16)
            .flat_map(|instrument| self.channels.iter().map(move |channel| Feed { instrument, channel: *channel }))
    }
}

/// So many in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// How a connection is kept alive from our side. Protocol pings of the venue are always answered.
#[derive(Debug, Clone, Copy)]
pub enum Ping {
    /// A text message each `every`; the venue answers with one.
    Text {
        /// How often.
        every: Duration,
        /// Makes the message from a running number.
        message: fn(u64) -> String,
    },
    /// A protocol ping each `every`.
    Frame {
        /// How often.
        every: Duration,
    },
}

/// A venue's rules for connections, and how long its silence is believed.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// New connections allowed.
    pub connects: Budget,
    /// Messages from us allowed on a connection.
    pub messages: Budget,
    /// Instruments that one connection carries, at most.
    pub instruments_max: usize,
    /// Subscriptions named in one message, at most.
    pub subscriptions_per_message: usize,
    /// Keeps the connection alive.
    pub ping: Option<Ping>,
    /// No frame at all for so long: the connection is dead.
    pub connection_idle_max: Duration,
    /// A trade feed silent for so long is at fault; `None` where the venue shows no sign of life without
    /// trades.
    pub trades_idle_max: Option<Duration>,
    /// The same for quotes.
    pub quotes_idle_max: Option<Duration>,
    /// The same for the ticker, streamed or polled.
    pub ticker_idle_max: Option<Duration>,
    /// The venue cuts connections at an age somewhat above this; ours are renewed at it.
    pub connection_age_max: Duration,
    /// REST requests allowed.
    pub requests: Budget,
}

impl Rules {
    /// How long a channel may be silent.
    pub const fn idle_max(&self, channel: Channel) -> Option<Duration> {
        match channel {
            Channel::Trades => self.trades_idle_max,
            Channel::Quotes => self.quotes_idle_max,
            Channel::Ticker => self.ticker_idle_max,
        }
    }
}

/// The addresses of a venue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// WebSocket address, `ws://` or `wss://`; empty for a venue that is only polled.
    pub websocket: String,
    /// REST address without the path, `http://` or `https://`.
    pub rest: String,
}

/// A GET request and what its answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestRequest {
    /// The whole address.
    pub url: String,
    /// The instruments it asks about, by their places in the plan.
    pub instruments: Vec<u16>,
}

/// One venue: its facts and the texts it understands. Stateless; one static value per venue.
///
/// See [`crate::venues`] for how to write one.
pub trait Connector: Send + Sync + fmt::Debug {
    /// The name in `pipeline.yaml` (`type: binance`).
    fn name(&self) -> &'static str;

    /// The venue's public addresses.
    fn endpoints(&self) -> Endpoints;

    /// The venue's rules.
    fn rules(&self) -> Rules;

    /// The symbol of an instrument as the venue's stream messages spell it.
    fn symbol(&self, instrument: &Instrument) -> String;

    /// The channels that the venue can serve, streamed or polled.
    fn channels(&self) -> &'static [Channel] {
        &[Channel::Trades, Channel::Quotes, Channel::Ticker]
    }

    /// The best source of quotes here, where nobody configured one.
    fn quotes_from(&self) -> QuotesFrom {
        QuotesFrom::BestBidAsk
    }

    /// Whether the REST address is a template with `{symbol}` in it.
    fn wants_symbol_in_rest(&self) -> bool {
        false
    }

    /// The address to connect to for this plan.
    fn websocket_url(&self, endpoints: &Endpoints, plan: &Plan) -> String {
        let _ = plan;
        endpoints.websocket.clone()
    }

    /// Appends the messages that subscribe these feeds. A feed without a stream (a ticker that is polled)
    /// gives none.
    fn subscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>);

    /// Appends the messages that unsubscribe these feeds.
    fn unsubscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>);

    /// Whether the venue streams this channel (and its silence means something) rather than being polled.
    fn streams(&self, plan: &Plan, channel: Channel) -> bool;

    /// A decoder for connections of this plan.
    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder>;

    /// The request for the snapshot that a book waits for; `None` where the stream itself brings it.
    fn snapshot_request(&self, endpoints: &Endpoints, plan: &Plan, instrument: u16) -> Option<RestRequest>;

    /// The requests for last price and 24 h volume of these instruments.
    fn ticker_requests(&self, endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest>;

    /// Decodes the answer to one of [`Self::ticker_requests`] into `Ticker` ticks, marked `POLLED`. The
    /// instruments named in the answer must be among the request's.
    ///
    /// # Errors
    /// When the body cannot be used; it then goes to the dead letters, whole.
    fn decode_ticker(
        &self,
        plan: &Plan,
        request: &RestRequest,
        body: &[u8],
        ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<(), DecodeError>;
}
