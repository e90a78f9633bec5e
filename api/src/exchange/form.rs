//! What callers send, and the commands that it means.

use model::exchange::{AccountId, Asset, CommandBody, NewOrder, OrderKind, OrderRef, SelfTrade, TimeInForce, Trail};
use model::{Instrument, Quantity, Side, UnixNanos};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{one_of, optional, parsed};
use super::{Ask, Caller};
use crate::clock::unix_now;
use crate::problem::Problem;

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
    /// The command that it means.
    ///
    /// # Errors
    /// The first field that is not as expected.
    pub(crate) fn ask(&self, account: AccountId) -> Result<Ask, Problem> {
        let body = CommandBody::Place(self.order()?);
        Ask::new(account, body).named(Some(&self.client_order_id), self.sent_at.as_deref())
    }

    fn order(&self) -> Result<NewOrder, Problem> {
        let wrong = |message: &str| Problem::bad_request("bad_value", message);
        let tif = tif(self.tif.as_deref(), self.expires.as_deref())?;
        if self.quantity.is_some() == self.quote_amount.is_some() {
            return Err(wrong("one of quantity and quote_amount is needed"));
        }
        let trail = match (self.trail_price.as_deref(), self.trail_bps) {
            (None, None) => None,
            (Some(text), None) => Some(Trail::Price(parsed("trail_price", text)?)),
            (None, Some(bps)) => Some(Trail::Bps(bps)),
            (Some(_), Some(_)) => return Err(wrong("only one of trail_price and trail_bps is possible")),
        };
        Ok(NewOrder {
            instrument: parsed("instrument", &self.instrument)?,
            side: one_of("side", &self.side, Side::WORDS)?,
            kind: one_of("type", &self.kind, OrderKind::WORDS)?,
            tif,
            quantity: optional("quantity", self.quantity.as_deref())?.unwrap_or(Quantity::ZERO),
            quote_amount: optional("quote_amount", self.quote_amount.as_deref())?.unwrap_or(Quantity::ZERO),
            price: optional("price", self.price.as_deref())?,
            trigger: optional("trigger", self.trigger.as_deref())?,
            trail,
            display: optional("display", self.display.as_deref())?,
            post_only: self.post_only,
            self_trade: self_trade(self.self_trade.as_deref())?,
        })
    }
}

fn self_trade(text: Option<&str>) -> Result<Option<SelfTrade>, Problem> {
    text.map(|text| one_of("self_trade", text, SelfTrade::WORDS)).transpose()
}

fn tif(text: Option<&str>, expires: Option<&str>) -> Result<TimeInForce, Problem> {
    let wrong = |message: &str| Problem::bad_request("bad_value", message);
    let expires = expires.map(|text| time("expires", text)).transpose()?;
    match (one_of("tif", text.unwrap_or("gtc"), &TIFS)?, expires) {
        (Some(tif), None) => Ok(tif),
        (None, Some(until)) => Ok(TimeInForce::Gtd(until)),
        (None, None) => Err(wrong("expires is missing: tif gtd needs an RFC 3339 time")),
        (Some(_), Some(_)) => Err(wrong("expires goes with tif gtd only")),
    }
}

/// A pair of orders of which one cancels the other: a limit order that rests, and a stop beyond it. Decimals are
/// text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPair)]
pub(crate) struct OcoForm {
    /// Yours, of the pair; it names the limit order.
    client_order_id: String,
    /// `BTC-USDT`.
    instrument: String,
    /// `buy` or `sell`, of both.
    side: String,
    /// Base units, of each; what one trades ends the other.
    quantity: String,
    /// The limit order's price.
    price: String,
    /// The last trade's price that sets the stop off: beyond the market, on the other side of the limit.
    trigger: String,
    /// The stop's limit; without one it becomes a market order.
    stop_price: Option<String>,
    /// `gtc` (the default), `gtd` or `day`, of both.
    tif: Option<String>,
    /// With `gtd`: until when, RFC 3339.
    expires: Option<String>,
    /// As for an order.
    self_trade: Option<String>,
    /// When you first sent it, RFC 3339.
    sent_at: Option<String>,
}

impl OcoForm {
    /// The command that it means.
    ///
    /// # Errors
    /// The first field that is not as expected.
    pub(crate) fn ask(&self, account: AccountId) -> Result<Ask, Problem> {
        let (instrument, side) = (parsed("instrument", &self.instrument)?, one_of("side", &self.side, Side::WORDS)?);
        let mut limit =
            NewOrder::limit(instrument, side, parsed("quantity", &self.quantity)?, parsed("price", &self.price)?);
        limit.tif = tif(self.tif.as_deref(), self.expires.as_deref())?;
        limit.self_trade = self_trade(self.self_trade.as_deref())?;
        let price = optional("stop_price", self.stop_price.as_deref())?;
        let kind = if price.is_some() { OrderKind::StopLimit } else { OrderKind::Stop };
        let stop = NewOrder { kind, price, trigger: Some(parsed("trigger", &self.trigger)?), ..limit };
        let body = CommandBody::PlaceOco(Box::new((limit, stop)));
        Ask::new(account, body).named(Some(&self.client_order_id), self.sent_at.as_deref())
    }
}

/// A dead-man timer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadMan)]
pub(crate) struct CancelAfterForm {
    /// All open orders are cancelled after so many milliseconds, 1,000 to 86,400,000, unless this comes again
    /// before; 0 stops the timer.
    timeout_ms: u32,
}

impl CancelAfterForm {
    /// Milliseconds of a day.
    const TIMEOUT_MS_MAX: u32 = 86_400_000;

    /// The command that it means.
    ///
    /// # Errors
    /// When the time is out of range.
    pub(crate) fn ask(&self, account: AccountId) -> Result<Ask, Problem> {
        let deadline = match self.timeout_ms {
            0 => None,
            ms @ 1_000..=Self::TIMEOUT_MS_MAX => Some(UnixNanos(unix_now().0 + i64::from(ms) * 1_000_000)),
            ms => {
                let message = format!("timeout_ms {ms} not allowed: 0, or 1000 to {}", Self::TIMEOUT_MS_MAX);
                return Err(Problem::bad_request("bad_value", message));
            }
        };
        Ok(Ask::new(account, CommandBody::CancelAllAfter { deadline }))
    }
}

/// A change of an open order. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Amendment)]
pub(crate) struct AmendForm {
    /// The new limit.
    pub(crate) price: Option<String>,
    /// The new quantity in all, what was filled included; of a pair both's.
    pub(crate) quantity: Option<String>,
    /// A waiting stop's new trigger.
    pub(crate) trigger: Option<String>,
    /// Names this change, so that it can be repeated safely.
    pub(crate) client_order_id: Option<String>,
    /// When you first sent it, RFC 3339.
    pub(crate) sent_at: Option<String>,
}

impl AmendForm {
    /// The command that it means.
    ///
    /// # Errors
    /// The first field that is not as expected.
    pub(crate) fn ask(&self, account: AccountId, order: OrderRef) -> Result<Ask, Problem> {
        if self.price.is_none() && self.quantity.is_none() && self.trigger.is_none() {
            let message = "nothing to change: price, quantity or trigger is needed";
            return Err(Problem::bad_request("bad_value", message));
        }
        let body = CommandBody::Amend {
            order,
            price: optional("price", self.price.as_deref())?,
            quantity: optional("quantity", self.quantity.as_deref())?,
            trigger: optional("trigger", self.trigger.as_deref())?,
        };
        Ask::new(account, body).named(self.client_order_id.as_deref(), self.sent_at.as_deref())
    }
}

/// Money or coins that come in. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Deposit)]
pub(crate) struct DepositForm {
    /// Yours: the same again moves nothing and returns the first outcome.
    client_order_id: String,
    /// `USDT`.
    asset: String,
    /// How much.
    amount: String,
    /// Whose; the key's own account unless given.
    account: Option<u32>,
    /// When you first sent it, RFC 3339.
    sent_at: Option<String>,
}

/// Money or coins that go out. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Withdrawal)]
pub(crate) struct WithdrawalForm {
    /// Yours: the same again moves nothing and returns the first outcome.
    client_order_id: String,
    /// `USDT`.
    asset: String,
    /// How much.
    amount: String,
    /// Hold the amount until it is posted or voided.
    #[serde(default)]
    pending: bool,
    /// Whose; the key's own account unless an operator says otherwise.
    account: Option<u32>,
    /// When you first sent it, RFC 3339.
    sent_at: Option<String>,
}

/// Money or coins for another account. Decimals are text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Transfer)]
pub(crate) struct TransferForm {
    /// Yours: the same again moves nothing and returns the first outcome.
    client_order_id: String,
    /// The account that gets it.
    to: u32,
    /// `USDT`.
    asset: String,
    /// How much.
    amount: String,
    /// Whose; the key's own account unless an operator says otherwise.
    account: Option<u32>,
    /// When you first sent it, RFC 3339.
    sent_at: Option<String>,
}

impl DepositForm {
    /// The command that it means.
    ///
    /// # Errors
    /// The first field that is not as expected, or an account that is not the caller's.
    pub(crate) fn ask(&self, caller: &Caller) -> Result<Ask, Problem> {
        let (asset, amount) = money(&self.asset, &self.amount)?;
        let ask = Ask::new(caller.account_of(self.account)?, CommandBody::Deposit { asset, amount });
        ask.named(Some(&self.client_order_id), self.sent_at.as_deref())
    }
}

impl WithdrawalForm {
    /// The command that it means.
    ///
    /// # Errors
    /// The first field that is not as expected, or an account that is not the caller's.
    pub(crate) fn ask(&self, caller: &Caller) -> Result<Ask, Problem> {
        let (asset, amount) = money(&self.asset, &self.amount)?;
        let body = CommandBody::Withdraw { asset, amount, pending: self.pending };
        let ask = Ask::new(caller.account_of(self.account)?, body);
        ask.named(Some(&self.client_order_id), self.sent_at.as_deref())
    }
}

impl TransferForm {
    /// The command that it means.
    ///
    /// # Errors
    /// The first field that is not as expected, or an account that is not the caller's.
    pub(crate) fn ask(&self, caller: &Caller) -> Result<Ask, Problem> {
        let (asset, amount) = money(&self.asset, &self.amount)?;
        let body = CommandBody::Transfer { to: AccountId(self.to), asset, amount };
        let ask = Ask::new(caller.account_of(self.account)?, body);
        ask.named(Some(&self.client_order_id), self.sent_at.as_deref())
    }
}

fn money(asset: &str, amount: &str) -> Result<(Asset, Quantity), Problem> {
    Ok((parsed("asset", asset)?, parsed("amount", amount)?))
}

/// The number that a path names.
pub(crate) fn number(field: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let message = format!("{field}: {:?} is no number", crate::problem::shown(text));
        Problem::bad_request("bad_value", message)
    })
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
