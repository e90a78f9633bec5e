//! `/orders`: place, look at, change, cancel.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use model::exchange::{ClientOrderId, CommandBody, ExecutionKind, OrderRef, OrderView, Reason};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::exchange::{
    AmendForm, Ask, Body, Caller, CancelAfterForm, Done, OcoForm, OrderForm, OrderOutcome, OrderStatus, Refusals,
    Reply, instrument, order_ref, status,
};
use crate::problem::{ErrorBody, Parameters, Problem, Segment};

/// How long an order that has just ended is waited for: its last execution is on its way through the log.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

/// An order with the client order id that placed it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Order {
    /// How it stands.
    status: OrderStatus,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    order: OrderView,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    client_order_id: Option<ClientOrderId>,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
}

impl Order {
    fn open((order, client_order_id): (OrderView, Option<ClientOrderId>)) -> Self {
        Self { status: status(&order, false), order, client_order_id, reason: None }
    }
}

/// The open orders of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenOrders {
    /// Newest first.
    orders: Vec<Order>,
}

/// What goes with a cancel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelQuery {
    client_order_id: Option<String>,
}

/// What goes with a mass cancel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelAllQuery {
    client_order_id: Option<String>,
    instrument: Option<String>,
}

/// Places an order.
///
/// The answer has what became of it at once. The same `client_order_id` again returns the first outcome and places
/// nothing; so after `UNKNOWN`, or no answer at all, send the same again.
#[utoipa::path(post, path = "/orders", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    request_body = OrderForm,
    responses((status = 201, description = "The order was taken in", body = OrderOutcome), Refusals))]
pub(super) async fn place_order(caller: Caller, Body(form): Body<OrderForm>) -> Result<Reply, Problem> {
    caller.carry_out(form.ask(caller.account())?).await
}

/// Places a pair of orders of which one cancels the other.
///
/// A limit order that rests and a stop beyond it, with one hold for both. Whichever trades, even in part, is set
/// off or is cancelled ends the other. The outcome is the limit order's; the executions tell of both.
#[utoipa::path(post, path = "/orders/oco", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    request_body = OcoForm,
    responses((status = 201, description = "Both were taken in", body = OrderOutcome), Refusals))]
pub(super) async fn place_pair(caller: Caller, Body(form): Body<OcoForm>) -> Result<Reply, Problem> {
    caller.carry_out(form.ask(caller.account())?).await
}

/// The account's open orders, waiting stops included.
#[utoipa::path(get, path = "/orders", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    responses(
        (status = 200, description = "The open orders", body = OpenOrders),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
    ))]
pub(super) async fn list_orders(caller: Caller) -> Result<Json<OpenOrders>, Problem> {
    let account = caller.account();
    let open: Vec<_> = caller.desk().view(|exchange| exchange.open_orders(account).collect())?;
    Ok(Json(OpenOrders { orders: open.into_iter().map(Order::open).collect() }))
}

/// One order of the account, open or done.
///
/// Of those that are done, the newest 1,000 are kept; the topic `executions` has all of them for as long as it
/// keeps its records.
#[utoipa::path(get, path = "/orders/{id}", tag = "exchange",
    params(
        ("id" = String, Path, description = "The order's number, or `client:` and its client order id"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    responses(
        (status = 200, description = "The order", body = Order),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 404, description = "No such order of the account, or it was done long ago", body = ErrorBody),
    ))]
pub(super) async fn get_order(caller: Caller, Segment(id): Segment) -> Result<Json<Order>, Problem> {
    let (account, order) = (caller.account(), order_ref(&id)?);
    let (open, told) = caller.desk().view(|exchange| {
        let open = match order {
            OrderRef::Id(id) => exchange.order(id).filter(|(owner, _)| *owner == account).map(|(_, order)| order),
            OrderRef::Client(client) => exchange.order_by_client(account, &client),
        };
        let open = open.map(|order| (order, exchange.client_order_id(order.id)));
        (open, exchange.execution_sequence(account))
    })?;
    if let Some(open) = open {
        return Ok(Json(Order::open(open)));
    }
    if let Some(feed) = caller.desk().accounts.of(account) {
        feed.reach(told, ENDED_WITHIN).await;
        if let Some(last) = feed.finished(&order)
            && let Some(order) = last.order
        {
            let status = status(&order, last.kind == ExecutionKind::Cancelled);
            let (client_order_id, reason) = (last.client_order_id, last.reason);
            return Ok(Json(Order { status, order, client_order_id, reason }));
        }
    }
    let message = format!("account {account} has no order {id}: it was never placed, or was done long ago");
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown_order", message))
}

/// Changes an open order's price or quantity, or a waiting stop's trigger.
///
/// Of a pair, the limit order's price and the stop's trigger and price can be changed, and the quantity of both. Its
/// place in the queue stays when only the quantity shrinks.
#[utoipa::path(patch, path = "/orders/{id}", tag = "exchange",
    params(
        ("id" = String, Path, description = "The order's number, or `client:` and its client order id"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    request_body = AmendForm,
    responses((status = 200, description = "The order was changed", body = OrderOutcome), Refusals))]
pub(super) async fn amend_order(
    caller: Caller,
    Segment(id): Segment,
    Body(form): Body<AmendForm>,
) -> Result<Reply, Problem> {
    caller.carry_out(form.ask(caller.account(), order_ref(&id)?)?).await
}

/// Cancels an open order.
#[utoipa::path(delete, path = "/orders/{id}", tag = "exchange",
    params(
        ("id" = String, Path, description = "The order's number, or `client:` and its client order id"),
        ("client_order_id" = Option<String>, Query, description = "Names this cancel, so that it can be repeated"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    responses((status = 200, description = "The order is cancelled", body = OrderOutcome), Refusals))]
pub(super) async fn cancel_order(
    caller: Caller,
    Segment(id): Segment,
    Parameters(query): Parameters<CancelQuery>,
) -> Result<Reply, Problem> {
    let body = CommandBody::Cancel { order: order_ref(&id)? };
    caller.carry_out(Ask::new(caller.account(), body).named(query.client_order_id.as_deref(), None)?).await
}

/// Cancels all open orders of the account, everywhere or in one market.
#[utoipa::path(delete, path = "/orders", tag = "exchange",
    params(
        ("instrument" = Option<String>, Query, description = "Only in this market, as `BTC-USDT`"),
        ("client_order_id" = Option<String>, Query, description = "Names this cancel, so that it can be repeated"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    responses((status = 200, description = "They are cancelled", body = Done), Refusals))]
pub(super) async fn cancel_orders(
    caller: Caller,
    Parameters(query): Parameters<CancelAllQuery>,
) -> Result<Reply, Problem> {
    let body = CommandBody::CancelAll { instrument: instrument(query.instrument.as_deref())? };
    caller.carry_out(Ask::new(caller.account(), body).named(query.client_order_id.as_deref(), None)?).await
}

/// Cancels all open orders of the account after a time, unless this is called again before: a dead-man timer.
///
/// The deadline is a record in the log and is kept across restarts: one that passed while the exchange was away
/// takes effect as soon as it runs again. An account has one timer.
#[utoipa::path(post, path = "/orders/cancel-all-after", tag = "exchange",
    params(("X-Api-Key" = String, Header, description = "The account's key")),
    request_body = CancelAfterForm,
    responses((status = 200, description = "The timer is set, or stopped", body = Done), Refusals))]
pub(super) async fn cancel_orders_after(caller: Caller, Body(form): Body<CancelAfterForm>) -> Result<Reply, Problem> {
    caller.carry_out(form.ask(caller.account())?).await
}
