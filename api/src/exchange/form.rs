//! What callers send, and the commands that it means.

use model::exchange::{ClientOrderId, CommandBody, NewOrder, OrderKind, OrderRef, SelfTrade, TimeInForce, Trail};
use model::{Instrument, Quantity, Side, UnixNanos};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{one_of, optional, parsed};
use crate::problem::Problem;

const SIDES: [(&str, Side); 2] = [("buy", Side::Buy), ("sell", Side::Sell)];
const KINDS: [(&str, OrderKind); 5] = [
    ("limit", OrderKind::Limit),
    ("market", OrderKind::Market),
    ("stop", OrderKind::Stop),
    ("stop_limit", OrderKind::StopLimit),
    ("trailing_stop", OrderKind::TrailingStop),
];
const SELF_TRADE: [(&str, SelfTrade); 5] = [
    ("allow", SelfTrade::Allow),
    ("cancel_newest", SelfTrade::CancelNewest),
    ("cancel_oldest", SelfTrade::CancelOldest),
    ("cancel_both", SelfTrade::CancelBoth),
    ("decrement", SelfTrade::Decrement),
];
/// Good till a date takes its date from `expires`.
const TIFS: [(&str, Option<TimeInForce>); 5] = [
    ("gtc", Some(TimeInForce::Gtc)),
    ("ioc", Some(TimeInForce::Ioc)),
    ("fok", Some(TimeInForce::Fok)),
    ("day", Some(TimeInForce::Day)),
    ("gtd", None),
];

/// An order to be placed. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder)]
pub(crate) struct OrderForm {
    /// Yours, unique per account for a day: the same again returns the first outcome. 1 to 36 of `A-Za-z0-9-_./:`.
    client_order_id: String,
    /// `BTC-USDT`.
    instrument: String,
    /// `buy` or `sell`.
    side: String,
    /// `limit`, `market`, `stop`, `stop_limit` or `trailing_stop`.
    #[serde(rename = "type")]
    kind: String,
    /// `gtc` (the default), `ioc`, `fok`, `gtd` or `day`.
    tif: Option<String>,
    /// With `gtd`: until when, RFC 3339.
    expires: Option<String>,
    /// Base units.
    quantity: Option<String>,
    /// Market orders: quote units to spend or to sell for, instead of `quantity`.
    quote_amount: Option<String>,
    /// The limit; for market orders and plain stops a protection price.
    price: Option<String>,
    /// Stops: the last trade's price that sets it off.
    trigger: Option<String>,
    /// Trailing stops: how far behind, as a price difference.
    trail_price: Option<String>,
    /// Trailing stops: how far behind, in parts of ten thousand.
    trail_bps: Option<u32>,
    /// Icebergs: what shows at a time.
    display: Option<String>,
    /// Rejected rather than taking.
    #[serde(default)]
    post_only: bool,
    /// `allow`, `cancel_newest`, `cancel_oldest`, `cancel_both` or `decrement`; otherwise as the market has it.
    self_trade: Option<String>,
    /// When you first sent it, RFC 3339. A repetition carries the first time.
    pub(crate) sent_at: Option<String>,
}

impl OrderForm {
    pub(crate) fn read(&self) -> Result<(ClientOrderId, NewOrder), Problem> {
        let wrong = |message: &str| Problem::bad_request("bad_value", message);
        let expires = self.expires.as_deref().map(|text| time("expires", text)).transpose()?;
        let tif = match (one_of("tif", self.tif.as_deref().unwrap_or("gtc"), &TIFS)?, expires) {
            (Some(tif), None) => tif,
            (None, Some(until)) => TimeInForce::Gtd(until),
            (None, None) => return Err(wrong("expires is missing: tif gtd needs an RFC 3339 time")),
            (Some(_), Some(_)) => return Err(wrong("expires goes with tif gtd only")),
        };
        if self.quantity.is_some() == self.quote_amount.is_some() {
            return Err(wrong("one of quantity and quote_amount is needed"));
        }
        let trail = match (self.trail_price.as_deref(), self.trail_bps) {
            (None, None) => None,
            (Some(text), None) => Some(Trail::Price(parsed("trail_price", text)?)),
            (None, Some(bps)) => Some(Trail::Bps(bps)),
            (Some(_), Some(_)) => return Err(wrong("only one of trail_price and trail_bps is possible")),
        };
        let order = NewOrder {
            instrument: parsed("instrument", &self.instrument)?,
            side: one_of("side", &self.side, &SIDES)?,
            kind: one_of("type", &self.kind, &KINDS)?,
            tif,
            quantity: optional("quantity", self.quantity.as_deref())?.unwrap_or(Quantity::ZERO),
            quote_amount: optional("quote_amount", self.quote_amount.as_deref())?.unwrap_or(Quantity::ZERO),
            price: optional("price", self.price.as_deref())?,
            trigger: optional("trigger", self.trigger.as_deref())?,
            trail,
            display: optional("display", self.display.as_deref())?,
            post_only: self.post_only,
            self_trade: self.self_trade.as_deref().map(|text| one_of("self_trade", text, &SELF_TRADE)).transpose()?,
        };
        Ok((parsed("client_order_id", &self.client_order_id)?, order))
    }
}

/// A change of an open order. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Amendment)]
pub(crate) struct AmendForm {
    /// The new limit.
    price: Option<String>,
    /// The new quantity in all, what was filled included.
    quantity: Option<String>,
    /// Names this change, so that it can be repeated safely.
    pub(crate) client_order_id: Option<String>,
    /// When you first sent it, RFC 3339.
    pub(crate) sent_at: Option<String>,
}

impl AmendForm {
    pub(crate) fn read(&self, order: OrderRef) -> Result<CommandBody, Problem> {
        if self.price.is_none() && self.quantity.is_none() {
            return Err(Problem::bad_request("bad_value", "nothing to change: price or quantity is needed"));
        }
        let price = optional("price", self.price.as_deref())?;
        Ok(CommandBody::Amend { order, price, quantity: optional("quantity", self.quantity.as_deref())? })
    }
}

/// Money or coins that come in or go out. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Payment)]
pub(crate) struct MoneyForm {
    /// Yours: the same again moves nothing and returns the first outcome.
    pub(crate) client_order_id: String,
    /// `USDT`.
    pub(crate) asset: String,
    /// How much.
    pub(crate) amount: String,
    /// Whose; the key's own account unless an operator says otherwise.
    pub(crate) account: Option<u32>,
    /// When you first sent it, RFC 3339.
    pub(crate) sent_at: Option<String>,
}

/// Reads an RFC 3339 time.
pub(super) fn time(field: &str, text: &str) -> Result<UnixNanos, Problem> {
    UnixNanos::parse_rfc3339(text.as_bytes())
        .map_err(|error| Problem::bad_request("bad_value", format!("{field}: {error}")))
}

/// The order that a path names: a number, or `client:` and the client order id that placed it.
pub(crate) fn order_ref(text: &str) -> Result<OrderRef, Problem> {
    if let Some(client) = text.strip_prefix("client:") {
        return Ok(OrderRef::Client(parsed("client order id", client)?));
    }
    text.parse().map(OrderRef::Id).map_err(|_| {
        let message = format!(
            "{:?} names no order: its number is needed, or client: and the client order id that placed it",
            crate::problem::shown(text)
        );
        Problem::bad_request("bad_order", message)
    })
}

/// The market that a parameter names in full.
pub(crate) fn instrument(text: Option<&str>) -> Result<Option<Instrument>, Problem> {
    optional("instrument", text)
}
