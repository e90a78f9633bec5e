//! The composite price of one asset.

use model::{
    CompositePrice, Constituent, ConstituentState, Price, PriceStatus, PublishReason, Quantity, RulesHash, Venue,
    Volume, Window,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A composite price with the reason behind it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceView<'a> {
    /// What is priced: base and quote asset in one word.
    #[schema(example = "BTCUSDT")]
    asset: &'a str,
    /// The same as `BASE-QUOTE`.
    #[schema(example = "BTC-USDT")]
    instrument: &'a str,
    /// The price, in its exact digits.
    #[schema(value_type = f64, example = 64123.45)]
    price: &'a RawValue,
    /// The price before it was rounded to the published precision.
    #[schema(value_type = String, example = "64123.45003125")]
    raw: Price,
    /// Event time of the price.
    #[schema(format = DateTime, example = "2026-01-02T03:04:05.678Z")]
    last_updated: String,
    /// How far to trust it. `STALE`: no venue counts, or the price is older than the cache keeps.
    #[schema(value_type = String, pattern = "^(OK|DEGRADED|SINGLE_SOURCE|STALE)$")]
    status: PriceStatus,
    /// Nanoseconds from the newest event behind the price to its publication, or to now when it is stale.
    age_ns: i64,
    /// Distance to the farther quartile of the venues' votes; none for a stale price.
    #[schema(value_type = Option<String>, example = "1.5")]
    confidence: Option<Price>,
    /// Best bid across venues.
    bid: Option<LevelView>,
    /// Best ask across venues.
    ask: Option<LevelView>,
    /// Mean of best bid and best ask.
    #[schema(value_type = Option<String>, example = "64123.4")]
    mid: Option<Price>,
    /// Volume-weighted average prices, one per window.
    vwap: Vec<VwapView>,
    /// Every venue that was considered, by name.
    constituents: Vec<ConstituentView<'a>>,
    /// Counts the publications of the asset.
    sequence: u64,
    /// Why it was published.
    #[schema(value_type = String, pattern = "^(deviation|heartbeat|status|refresh)$")]
    reason: PublishReason,
    /// Hash of the rules in force.
    #[schema(value_type = String, example = "00c0ffee00c0ffee")]
    config: RulesHash,
}

/// The best price of one side.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Level)]
pub(crate) struct LevelView {
    #[schema(value_type = String, example = "64123.4")]
    price: Price,
    /// Base units there.
    #[schema(value_type = String, example = "0.75")]
    quantity: Quantity,
    /// Who quotes it.
    #[schema(value_type = String, example = "binance")]
    venue: Venue,
}

/// Volume-weighted average over one window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Vwap)]
pub(crate) struct VwapView {
    /// `1s`, `1m`, `5m`, `1h` or `24h`.
    #[schema(value_type = String, example = "1m")]
    window: Window,
    /// The average; none where nothing traded.
    #[schema(value_type = Option<String>, example = "64120.01")]
    price: Option<Price>,
    /// Base units traded in the window.
    #[schema(value_type = String, example = "12.5")]
    volume: Volume,
}

/// One venue's part in the price.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Constituent)]
pub(crate) struct ConstituentView<'a> {
    #[schema(value_type = String, example = "kraken")]
    venue: Venue,
    /// The instrument it trades, where that was converted into the priced one.
    #[serde(skip_serializing_if = "Option::is_none")]
    instrument: Option<&'a str>,
    /// The venue's price, converted, before any clamp.
    #[schema(value_type = String, example = "64123.45")]
    price: Price,
    /// The weight it was counted with, in parts of 1.
    #[schema(value_type = String, example = "0.25")]
    weight: Quantity,
    /// Base units that the weight comes from.
    #[schema(value_type = String, example = "3.2")]
    volume: Volume,
    /// Nanoseconds from its newest event to the price.
    age_ns: i64,
    /// What became of it.
    #[schema(value_type = String, pattern = "^(USED|CLAMPED|OUTLIER|STALE|THIN)$")]
    state: ConstituentState,
}

/// Whether a price is shown as it was published, or as one that has aged since.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Staleness {
    /// As published.
    Fresh,
    /// Published this many nanoseconds ago, and nothing since.
    Aged(i64),
}

/// The digits of a price as a JSON number.
pub(crate) fn exact_number(price: Price) -> Box<RawValue> {
    RawValue::from_string(price.to_string()).expect("decimal text is a JSON number")
}

impl<'a> PriceView<'a> {
    pub(crate) fn new(symbol: &'a str, price: &'a CompositePrice, number: &'a RawValue, staleness: Staleness) -> Self {
        let (status, age_ns, confidence) = match staleness {
            Staleness::Fresh => (price.status, price.age_ns, price.confidence),
            Staleness::Aged(nanos) => (PriceStatus::Stale, price.age_ns.saturating_add(nanos.max(0)), None),
        };
        let level = |level: &Option<model::BestLevel>| {
            level.as_ref().map(|level| LevelView { price: level.price, quantity: level.quantity, venue: level.venue })
        };
        let windows = price.vwap.iter();
        Self {
            asset: symbol,
            instrument: price.instrument.as_str(),
            price: number,
            raw: price.raw,
            last_updated: price.ts_event.to_string(),
            status,
            age_ns,
            confidence,
            bid: level(&price.bid),
            ask: level(&price.ask),
            mid: price.mid,
            vwap: windows
                .map(|vwap| VwapView { window: vwap.window, price: vwap.price, volume: vwap.volume })
                .collect(),
            constituents: price.constituents.iter().map(ConstituentView::new).collect(),
            sequence: price.sequence,
            reason: price.reason,
            config: price.config,
        }
    }
}

impl<'a> ConstituentView<'a> {
    fn new(part: &'a Constituent) -> Self {
        Self {
            venue: part.venue,
            instrument: part.instrument.as_ref().map(model::Instrument::as_str),
            price: part.price,
            weight: part.weight,
            volume: part.volume,
            age_ns: part.age_ns,
            state: part.state,
        }
    }
}
