//! What only operators do: phases, kill switches, limits of accounts, trades undone.

use model::Instrument;
use model::exchange::{AccountId, CommandBody, KillScope, Phase};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::exchange::{Ask, Body, Caller, Done, Refusals, Reply, market_named, number};
use crate::problem::{Problem, Segment};

/// A phase of a market.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPhase)]
pub(super) struct PhaseForm {
    /// `pre_open`, `auction`, `open`, `halted` or `closed`. An auction ends, and trades at one price, by `open` or
    /// `closed`.
    #[schema(value_type = String, example = "halted")]
    phase: Phase,
}

/// A kill switch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KillSwitch)]
pub(super) struct SwitchForm {
    /// Thrown: open orders are cancelled and new ones refused.
    on: bool,
}

/// Limits of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountLimits)]
pub(super) struct LimitsForm {
    /// Open orders, at most; null for the exchange's default.
    open_orders_max: Option<u32>,
}

/// A trade to be undone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Bust)]
pub(super) struct BustForm {
    /// Its number in the market.
    trade: u64,
}

/// Opens, halts or closes a market, or calls an auction.
#[utoipa::path(put, path = "/markets/{symbol}/phase", tag = "operation",
    params(
        ("symbol" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT"),
        ("X-Api-Key" = String, Header, description = "An operator's key"),
    ),
    request_body = PhaseForm,
    responses((status = 200, description = "The market is in that phase", body = Done), Refusals))]
pub(super) async fn set_phase(
    caller: Caller,
    Segment(symbol): Segment,
    Body(form): Body<PhaseForm>,
) -> Result<Reply, Problem> {
    caller.operates("change a market's phase")?;
    let instrument = market(&caller, &symbol)?;
    operate(&caller, CommandBody::SetPhase { instrument, phase: form.phase }).await
}

/// Throws or releases a market's kill switch.
#[utoipa::path(put, path = "/markets/{symbol}/kill", tag = "operation",
    params(
        ("symbol" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT"),
        ("X-Api-Key" = String, Header, description = "An operator's key"),
    ),
    request_body = SwitchForm,
    responses((status = 200, description = "It is thrown, or released", body = Done), Refusals))]
pub(super) async fn kill_market(
    caller: Caller,
    Segment(symbol): Segment,
    Body(form): Body<SwitchForm>,
) -> Result<Reply, Problem> {
    caller.operates("throw kill switches")?;
    let instrument = market(&caller, &symbol)?;
    operate(&caller, CommandBody::Kill { scope: KillScope::Market(instrument), on: form.on }).await
}

/// Undoes a trade: both sides get back what it moved, fees included.
#[utoipa::path(post, path = "/markets/{symbol}/bust", tag = "operation",
    params(
        ("symbol" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT"),
        ("X-Api-Key" = String, Header, description = "An operator's key"),
    ),
    request_body = BustForm,
    responses((status = 200, description = "The trade is undone", body = Done), Refusals))]
pub(super) async fn bust_trade(
    caller: Caller,
    Segment(symbol): Segment,
    Body(form): Body<BustForm>,
) -> Result<Reply, Problem> {
    caller.operates("bust trades")?;
    let instrument = market(&caller, &symbol)?;
    operate(&caller, CommandBody::Bust { instrument, trade: form.trade }).await
}

/// Throws or releases an account's kill switch.
#[utoipa::path(put, path = "/accounts/{account}/kill", tag = "operation",
    params(
        ("account" = u32, Path, description = "Its number"),
        ("X-Api-Key" = String, Header, description = "An operator's key"),
    ),
    request_body = SwitchForm,
    responses((status = 200, description = "It is thrown, or released", body = Done), Refusals))]
pub(super) async fn kill_account(
    caller: Caller,
    Segment(account): Segment,
    Body(form): Body<SwitchForm>,
) -> Result<Reply, Problem> {
    caller.operates("throw kill switches")?;
    let scope = KillScope::Account(account_named(&account)?);
    operate(&caller, CommandBody::Kill { scope, on: form.on }).await
}

/// Sets an account's limits.
#[utoipa::path(put, path = "/accounts/{account}/limits", tag = "operation",
    params(
        ("account" = u32, Path, description = "Its number"),
        ("X-Api-Key" = String, Header, description = "An operator's key"),
    ),
    request_body = LimitsForm,
    responses((status = 200, description = "They are set", body = Done), Refusals))]
pub(super) async fn limit_account(
    caller: Caller,
    Segment(account): Segment,
    Body(form): Body<LimitsForm>,
) -> Result<Reply, Problem> {
    caller.operates("set limits")?;
    let body = CommandBody::SetAccount { account: account_named(&account)?, open_orders_max: form.open_orders_max };
    operate(&caller, body).await
}

/// Operators act in the house's name; who it was stands in the program's log.
async fn operate(caller: &Caller, body: CommandBody) -> Result<Reply, Problem> {
    tracing::info!(by = caller.name(), command = ?body, "an operator's command");
    caller.carry_out(Ask::new(AccountId::HOUSE, body)).await
}

fn market(caller: &Caller, symbol: &str) -> Result<Instrument, Problem> {
    caller.desk().view(|exchange| market_named(exchange, symbol))?
}

fn account_named(text: &str) -> Result<AccountId, Problem> {
    let number = number("account", text)?;
    let account = u32::try_from(number).ok().filter(|account| *account < AccountId::MAX).map(AccountId);
    account.ok_or_else(|| {
        Problem::bad_request("bad_value", format!("account {number} not allowed: below {}", AccountId::MAX))
    })
}
