//! `/orders`: place, look at, change, cancel.

use axum::Json;
use axum::http::StatusCode;
use model::exchange::{ClientOrderId, CommandBody, OrderRef, OrderView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::exchange::{AmendForm, Body, Caller, Done, OrderForm, OrderOutcome, instrument, order_ref};
use crate::problem::{ErrorBody, Parameters, Problem, Segment};

/// An open order with the client order id that placed it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenOrder {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    order: OrderView,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    client_order_id: Option<ClientOrderId>,
}

/// The open orders of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenOrders {
    /// Newest first.
    orders: Vec<OpenOrder>,
}

/// What goes with a cancel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelQuery {
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
    responses(
        (status = 201, description = "The order was taken in", body = OrderOutcome),
        (status = 400, description = "The body is no order", body = ErrorBody),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 422, description = "Rejected: the reason is the code", body = ErrorBody),
        (status = 429, description = "Too many commands; `Retry-After` says when to come back", body = ErrorBody),
        (status = 503, description = "The exchange takes no commands: nothing was done", body = ErrorBody),
        (status = 504, description = "`UNKNOWN`: send the same again", body = ErrorBody),
    ))]
pub(super) async fn place_order(
    caller: Caller,
    Body(form): Body<OrderForm>,
) -> Result<(StatusCode, Json<OrderOutcome>), Problem> {
    let (id, order) = form.read()?;
    let sent_at = form.sent_at.as_deref();
    let answer = caller.carry_out(caller.account(), Some(id.as_str()), sent_at, CommandBody::Place(order)).await?;
    Ok((StatusCode::CREATED, Json(OrderOutcome::of(answer))))
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
    let orders = open.into_iter().map(|(order, client_order_id)| OpenOrder { order, client_order_id }).collect();
    Ok(Json(OpenOrders { orders }))
}

/// One open order of the account.
#[utoipa::path(get, path = "/orders/{id}", tag = "exchange",
    params(
        ("id" = String, Path, description = "The order's number, or `client:` and its client order id"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    responses(
        (status = 200, description = "The order", body = OpenOrder),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 404, description = "No open order of the account", body = ErrorBody),
    ))]
pub(super) async fn get_order(caller: Caller, Segment(id): Segment) -> Result<Json<OpenOrder>, Problem> {
    let (account, order) = (caller.account(), order_ref(&id)?);
    let found = caller.desk().view(|exchange| {
        let id = match order {
            OrderRef::Id(id) => id,
            OrderRef::Client(client) => exchange.order_by_client(account, &client)?.id,
        };
        let (_, order) = exchange.order(id).filter(|(owner, _)| *owner == account)?;
        let client_order_id = exchange.open_orders(account).find(|(open, _)| open.id == id).and_then(|(_, id)| id);
        Some(OpenOrder { order, client_order_id })
    })?;
    found.map(Json).ok_or_else(|| {
        let message = format!("account {account} has no open order {}: filled, cancelled or never placed", id);
        Problem::new(StatusCode::NOT_FOUND, "unknown_order", message)
    })
}

/// Changes an open order's price or quantity.
///
/// Its place in the queue stays when only the quantity shrinks.
#[utoipa::path(patch, path = "/orders/{id}", tag = "exchange",
    params(
        ("id" = String, Path, description = "The order's number, or `client:` and its client order id"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    request_body = AmendForm,
    responses(
        (status = 200, description = "The order was changed", body = OrderOutcome),
        (status = 400, description = "The body is no change", body = ErrorBody),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 403, description = "Another account's order", body = ErrorBody),
        (status = 404, description = "No such open order", body = ErrorBody),
        (status = 422, description = "Rejected: the reason is the code", body = ErrorBody),
        (status = 429, description = "Too many commands; `Retry-After` says when to come back", body = ErrorBody),
        (status = 503, description = "The exchange takes no commands: nothing was done", body = ErrorBody),
        (status = 504, description = "`UNKNOWN`: send the same again", body = ErrorBody),
    ))]
pub(super) async fn amend_order(
    caller: Caller,
    Segment(id): Segment,
    Body(form): Body<AmendForm>,
) -> Result<Json<OrderOutcome>, Problem> {
    let body = form.read(order_ref(&id)?)?;
    let (request, sent_at) = (form.client_order_id.as_deref(), form.sent_at.as_deref());
    let answer = caller.carry_out(caller.account(), request, sent_at, body).await?;
    Ok(Json(OrderOutcome::of(answer)))
}

/// Cancels an open order.
#[utoipa::path(delete, path = "/orders/{id}", tag = "exchange",
    params(
        ("id" = String, Path, description = "The order's number, or `client:` and its client order id"),
        ("client_order_id" = Option<String>, Query, description = "Names this cancel, so that it can be repeated"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    responses(
        (status = 200, description = "The order is cancelled", body = OrderOutcome),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 403, description = "Another account's order", body = ErrorBody),
        (status = 404, description = "No such open order", body = ErrorBody),
        (status = 503, description = "The exchange takes no commands: nothing was done", body = ErrorBody),
        (status = 504, description = "`UNKNOWN`: send the same again", body = ErrorBody),
    ))]
pub(super) async fn cancel_order(
    caller: Caller,
    Segment(id): Segment,
    Parameters(query): Parameters<CancelQuery>,
) -> Result<Json<OrderOutcome>, Problem> {
    if query.instrument.is_some() {
        return Err(Problem::bad_request("bad_query", "instrument goes with DELETE /orders only"));
    }
    let body = CommandBody::Cancel { order: order_ref(&id)? };
    let answer = caller.carry_out(caller.account(), query.client_order_id.as_deref(), None, body).await?;
    Ok(Json(OrderOutcome::of(answer)))
}

/// Cancels all open orders of the account, everywhere or in one market.
#[utoipa::path(delete, path = "/orders", tag = "exchange",
    params(
        ("instrument" = Option<String>, Query, description = "Only in this market, as `BTC-USDT`"),
        ("client_order_id" = Option<String>, Query, description = "Names this cancel, so that it can be repeated"),
        ("X-Api-Key" = String, Header, description = "The account's key"),
    ),
    responses(
        (status = 200, description = "They are cancelled", body = Done),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 422, description = "Rejected: the reason is the code", body = ErrorBody),
        (status = 503, description = "The exchange takes no commands: nothing was done", body = ErrorBody),
        (status = 504, description = "`UNKNOWN`: send the same again", body = ErrorBody),
    ))]
pub(super) async fn cancel_orders(
    caller: Caller,
    Parameters(query): Parameters<CancelQuery>,
) -> Result<Json<Done>, Problem> {
    let body = CommandBody::CancelAll { instrument: instrument(query.instrument.as_deref())? };
    let answer = caller.carry_out(caller.account(), query.client_order_id.as_deref(), None, body).await?;
    Ok(Json(Done::of(answer, true)))
}
