//! `/account`, `/portfolio`, `/deposits`, `/withdrawals`: what an account has.

use axum::Json;
use matcher::exchange::Exchange;
use model::exchange::{AccountId, Asset, CommandBody};
use model::{Instrument, Price, PriceStatus, Volume};
use serde::Serialize;
use utoipa::ToSchema;

use crate::exchange::{Ask, Body, Caller, DepositForm, Done, Refusals, Reply, TransferForm, WithdrawalForm, number};
use crate::problem::{ErrorBody, Problem, Segment};

/// What an account has of one asset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AssetBalance {
    #[schema(value_type = String, example = "USDT")]
    asset: Asset,
    /// Free.
    #[schema(value_type = String)]
    available: Volume,
    /// Set aside for open orders and pending withdrawals.
    #[schema(value_type = String)]
    held: Volume,
}

/// What an account has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Account {
    /// Its number.
    account: u32,
    /// By asset; those without anything are left out.
    balances: Vec<AssetBalance>,
}

/// What an account has traded into in one market.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MarketPosition {
    #[schema(value_type = String, example = "BTC-USDT")]
    instrument: Instrument,
    /// Base units bought less sold; negative when short.
    #[schema(value_type = String)]
    quantity: Volume,
    /// Cost of one base unit, fees included; null without a position.
    #[schema(value_type = Option<String>)]
    average_cost: Option<Price>,
    /// Profit of what was closed, in the quote asset.
    #[schema(value_type = String)]
    realised: Volume,
    /// The composite price; null while there is no fresh one.
    #[schema(value_type = Option<String>)]
    price: Option<Price>,
    /// Profit if the position were closed at `price`, in the quote asset.
    #[schema(value_type = Option<String>)]
    unrealised: Option<Volume>,
}

/// What an account has and how it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Portfolio {
    /// Its number.
    account: u32,
    /// By asset; those without anything are left out.
    balances: Vec<AssetBalance>,
    /// By market, in the order of their listing.
    positions: Vec<MarketPosition>,
}

fn balances(exchange: &Exchange, account: AccountId) -> Vec<AssetBalance> {
    let all = exchange.balances(account);
    all.map(|(asset, balance)| AssetBalance {
        asset,
        available: Volume::from_raw(balance.available),
        held: Volume::from_raw(balance.held),
    })
    .collect()
}

/// The account's balances.
#[utoipa::path(get, path = "/account", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    responses(
        (status = 200, description = "The balances", body = Account),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
    ))]
pub(super) async fn get_account(caller: Caller) -> Result<Json<Account>, Problem> {
    let account = caller.account();
    let balances = caller.desk().view(|exchange| balances(exchange, account))?;
    Ok(Json(Account { account: account.0, balances }))
}

/// The account's balances and positions, with what they would bring at the composite price.
#[utoipa::path(get, path = "/portfolio", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    responses(
        (status = 200, description = "The portfolio", body = Portfolio),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
    ))]
pub(super) async fn get_portfolio(caller: Caller) -> Result<Json<Portfolio>, Problem> {
    let account = caller.account();
    // Balances and positions of one moment.
    let (balances, held) = caller.desk().view(|exchange| {
        let positions: Vec<_> = exchange.positions(account).collect();
        (balances(exchange, account), positions)
    })?;
    let mut positions = Vec::with_capacity(held.len());
    for (instrument, position) in held {
        let price = fresh_price(&caller, &instrument).await;
        positions.push(MarketPosition {
            instrument,
            quantity: Volume::from_raw(position.quantity),
            average_cost: position.average_cost(),
            realised: Volume::from_raw(position.realised),
            price,
            unrealised: price.and_then(|price| position.unrealised(price)),
        });
    }
    Ok(Json(Portfolio { account: account.0, balances, positions }))
}

async fn fresh_price(caller: &Caller, instrument: &Instrument) -> Option<Price> {
    match caller.state().deps.cache.get(instrument).await {
        Ok(cached) => cached.filter(|cached| cached.price().status != PriceStatus::Stale).map(|one| one.price().price),
        Err(error) => {
            tracing::debug!(%error, "a portfolio goes without a price: the cache gave none");
            None
        }
    }
}

/// Books money or coins that came in. Operators only.
#[utoipa::path(post, path = "/deposits", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "An operator's key")),
    request_body = DepositForm,
    responses((status = 201, description = "It is booked", body = Done), Refusals))]
pub(super) async fn deposit(caller: Caller, Body(form): Body<DepositForm>) -> Result<Reply, Problem> {
    caller.operates("book deposits")?;
    caller.carry_out(form.ask(&caller)?).await
}

/// Takes money or coins out. Operators may for any account.
///
/// With `pending` the amount is only held, until an operator says that it went out or it is taken back; the answer
/// has its number as `transfer`.
#[utoipa::path(post, path = "/withdrawals", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    request_body = WithdrawalForm,
    responses((status = 201, description = "It is out, or held", body = Done), Refusals))]
pub(super) async fn withdraw(caller: Caller, Body(form): Body<WithdrawalForm>) -> Result<Reply, Problem> {
    caller.carry_out(form.ask(&caller)?).await
}

/// Says that a pending withdrawal went out. Operators only.
#[utoipa::path(post, path = "/withdrawals/{transfer}/post", tag = "exchange",
    params(
        ("transfer" = u64, Path, description = "Its number"),
        ("X-Api-Key" = String, Header, description = "An operator's key"),
    ),
    responses((status = 200, description = "It is out", body = Done), Refusals))]
pub(super) async fn post_withdrawal(caller: Caller, Segment(transfer): Segment) -> Result<Reply, Problem> {
    caller.operates("post withdrawals")?;
    let body = CommandBody::Settle { transfer: number("transfer", &transfer)?, post: true };
    caller.carry_out(Ask::new(AccountId::HOUSE, body)).await
}

/// Takes a pending withdrawal back: the amount is free again. Its account may, and operators.
#[utoipa::path(post, path = "/withdrawals/{transfer}/void", tag = "exchange",
    params(
        ("transfer" = u64, Path, description = "Its number"),
        ("X-Api-Key" = String, Header, description = "The account's key, or an operator's"),
    ),
    responses((status = 200, description = "It is taken back", body = Done), Refusals))]
pub(super) async fn void_withdrawal(caller: Caller, Segment(transfer): Segment) -> Result<Reply, Problem> {
    let body = CommandBody::Settle { transfer: number("transfer", &transfer)?, post: false };
    caller.carry_out(Ask::new(caller.house_or_own(), body)).await
}

/// Moves money or coins to another account.
#[utoipa::path(post, path = "/transfers", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    request_body = TransferForm,
    responses((status = 201, description = "It is moved", body = Done), Refusals))]
pub(super) async fn transfer(caller: Caller, Body(form): Body<TransferForm>) -> Result<Reply, Problem> {
    caller.carry_out(form.ask(&caller)?).await
}
