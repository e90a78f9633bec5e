//! The records of `ticks` as JSON: in the log they are binary.

use model::{
    Channel, FeedPhase, Instrument, Origin, Price, Quantity, Side, Tick, TickBody, TickFlags, TradeId, Venue, Volume,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// One record of `ticks`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tick)]
pub(crate) struct TickView {
    #[serde(flatten)]
    body: TickBodyView,
    /// The venue's time.
    #[schema(format = DateTime, example = "2026-01-02T03:04:05.678Z")]
    ts_event: String,
    /// Our time of receipt.
    #[schema(format = DateTime, example = "2026-01-02T03:04:05.681Z")]
    ts_recv: String,
    /// What is known of its quality: `time_replaced`, `off_book`, `historic`, `polled`, `from_book`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
    /// The role that wrote it, or the record that it follows from.
    #[schema(value_type = Object)]
    origin: Origin,
}

/// What a tick says, by kind.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum TickBodyView {
    /// A trade on a venue.
    Trade {
        #[schema(value_type = String, example = "binance")]
        venue: Venue,
        #[schema(value_type = String, example = "BTC-USDT")]
        instrument: Instrument,
        /// The venue's id: a number or a UUID, as text.
        #[schema(value_type = String, example = "3912847561")]
        #[serde(serialize_with = "as_text")]
        id: TradeId,
        #[schema(value_type = String, example = "64123.4")]
        price: Price,
        #[schema(value_type = String, example = "0.01")]
        quantity: Quantity,
        /// `buy` or `sell`.
        #[schema(value_type = String, example = "buy")]
        taker_side: Side,
    },
    /// A venue's best bid and ask; zero where a side is empty.
    Quote {
        #[schema(value_type = String, example = "kraken")]
        venue: Venue,
        #[schema(value_type = String, example = "BTC-USDT")]
        instrument: Instrument,
        /// The venue's sequence, 0 where it has none.
        sequence: u64,
        #[schema(value_type = String, example = "64123.4")]
        bid: Price,
        #[schema(value_type = String, example = "0.75")]
        bid_quantity: Quantity,
        #[schema(value_type = String, example = "64123.5")]
        ask: Price,
        #[schema(value_type = String, example = "0.5")]
        ask_quantity: Quantity,
    },
    /// A venue's last price and 24 h volume.
    Ticker {
        #[schema(value_type = String, example = "coinbase")]
        venue: Venue,
        #[schema(value_type = String, example = "BTC-USDT")]
        instrument: Instrument,
        #[schema(value_type = String, example = "64123.4")]
        last: Price,
        /// Base units.
        #[schema(value_type = String, example = "10543.2")]
        volume_24h: Volume,
        /// Quote units, where the venue says.
        #[schema(value_type = Option<String>)]
        #[serde(skip_serializing_if = "Option::is_none")]
        quote_volume_24h: Option<Volume>,
    },
    /// A venue's feed came up, went silent, lost data or went away.
    FeedState {
        #[schema(value_type = String, example = "coinbase")]
        venue: Venue,
        #[schema(value_type = String, example = "BTC-USDT")]
        instrument: Instrument,
        /// `trades`, `quotes` or `ticker`.
        #[schema(value_type = String, example = "trades")]
        channel: Channel,
        /// `live`, `silent`, `gap` or `down`.
        #[schema(value_type = String, example = "live")]
        phase: FeedPhase,
        /// Records known to be missing.
        missing: u64,
    },
    /// A conversion rate; zero takes it back.
    Rate {
        #[schema(value_type = String, example = "USDT-USD")]
        instrument: Instrument,
        #[schema(value_type = String, example = "1.0002")]
        price: Price,
    },
    /// Somebody asked for a publication.
    Refresh {
        #[schema(value_type = String, example = "BTC-USDT")]
        instrument: Instrument,
        /// Repeated in the price that answers.
        id: u64,
    },
    /// Time has passed.
    Clock,
    /// The configuration in force from here on, by its hash.
    Configure {
        /// 16 hex digits.
        hash: String,
    },
    /// A writer begins.
    Claim,
}

fn as_text<S: Serializer>(id: &TradeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl From<&Tick> for TickView {
    fn from(tick: &Tick) -> Self {
        const WORDS: [(u8, &str); 5] = [
            (TickFlags::TIME_REPLACED, "time_replaced"),
            (TickFlags::OFF_BOOK, "off_book"),
            (TickFlags::HISTORIC, "historic"),
            (TickFlags::POLLED, "polled"),
            (TickFlags::FROM_BOOK, "from_book"),
        ];
        Self {
            body: TickBodyView::from(&tick.body),
            ts_event: tick.ts_event.to_string(),
            ts_recv: tick.ts_recv.to_string(),
            flags: WORDS.iter().filter(|(flag, _)| tick.flags.any(*flag)).map(|(_, word)| *word).collect(),
            origin: tick.origin,
        }
    }
}

impl From<&TickBody> for TickBodyView {
    fn from(body: &TickBody) -> Self {
        match *body {
            TickBody::Trade(trade) => Self::Trade {
                venue: trade.venue,
                instrument: trade.instrument,
                id: trade.id,
                price: trade.price,
                quantity: trade.quantity,
                taker_side: trade.taker_side,
            },
            TickBody::Quote(quote) => Self::Quote {
                venue: quote.venue,
                instrument: quote.instrument,
                sequence: quote.sequence,
                bid: quote.bid,
                bid_quantity: quote.bid_quantity,
                ask: quote.ask,
                ask_quantity: quote.ask_quantity,
            },
            TickBody::Ticker(ticker) => Self::Ticker {
                venue: ticker.venue,
                instrument: ticker.instrument,
                last: ticker.last,
                volume_24h: ticker.volume_24h,
                quote_volume_24h: ticker.quote_volume_24h,
            },
            TickBody::FeedState(state) => Self::FeedState {
                venue: state.venue,
                instrument: state.instrument,
                channel: state.channel,
                phase: state.phase,
                missing: state.missing,
            },
            TickBody::Rate(rate) => Self::Rate { instrument: rate.instrument, price: rate.price },
            TickBody::Refresh(refresh) => Self::Refresh { instrument: refresh.instrument, id: refresh.id },
            TickBody::Clock(_) => Self::Clock,
            TickBody::Configure(configure) => Self::Configure { hash: format!("{:016x}", configure.hash) },
            TickBody::Claim(_) => Self::Claim,
        }
    }
}
