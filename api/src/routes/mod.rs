//! Every route, one module per resource.

mod account;
mod book;
mod candles;
mod docs;
mod events;
mod health;
mod metrics;
mod operator;
mod orders;
mod page;
mod prices;
mod refresh;
mod registry;
mod sockets;
mod sql;
mod topics;
mod trader_words;
mod traders;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use utoipa::OpenApi;
use utoipa_axum::routes;

use crate::config::Limits;
use crate::problem::Problem;
use crate::state::Shared;

pub use registry::{Access, RouteEntry};
pub use sql::SqlDeps;

use registry::{Kind, Routes};

/// What the document says of itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace",
        description = "Live composite prices of many venues, and the reason behind each. Decimals are text, \
                       except a price's own number, which stands in its exact digits; times are RFC 3339 in UTC. \
                       Errors are `{\"error\": {\"code\", \"message\"}}`."
    ),
    tags(
        (name = "prices", description = "Composite prices."),
        (name = "candles", description = "Open, high, low, close and volume."),
        (name = "exchange", description = "Our own markets: orders, books, balances. Keys go in `X-Api-Key`."),
        (name = "streams", description = "Changes as they happen."),
        (name = "sql", description = "Questions over everything that landed and what has not yet."),
        (name = "topics", description = "The records behind it all."),
        (name = "operation", description = "Health, metrics and documents.")
    )
)]
struct Document;

/// The routes, before the state is known.
pub(crate) fn all(limits: &Limits) -> Routes {
    Routes::new(Document::openapi(), limits.request_timeout)
        .add(Access::Read, Kind::Answer, routes!(prices::list_prices))
        .add(Access::Read, Kind::Answer, routes!(prices::get_price))
        .add(Access::Operate, Kind::Answer, routes!(refresh::refresh_price))
        .add(Access::Read, Kind::Answer, routes!(candles::get_candles))
        .add(Access::Trade, Kind::Answer, routes!(orders::place_order, orders::list_orders, orders::cancel_orders))
        .add(Access::Trade, Kind::Answer, routes!(orders::place_pair))
        .add(Access::Trade, Kind::Answer, routes!(orders::cancel_orders_after))
        .add(Access::Trade, Kind::Answer, routes!(orders::get_order, orders::amend_order, orders::cancel_order))
        .add(Access::Trade, Kind::Answer, routes!(account::get_account))
        .add(Access::Trade, Kind::Answer, routes!(account::get_portfolio))
        .add(Access::Administer, Kind::Answer, routes!(account::deposit))
        .add(Access::Trade, Kind::Answer, routes!(account::withdraw))
        .add(Access::Administer, Kind::Answer, routes!(account::post_withdrawal))
        .add(Access::Trade, Kind::Answer, routes!(account::void_withdrawal))
        .add(Access::Trade, Kind::Answer, routes!(account::transfer))
        .add(Access::Administer, Kind::Answer, routes!(operator::set_phase))
        .add(Access::Administer, Kind::Answer, routes!(operator::kill_market))
        .add(Access::Administer, Kind::Answer, routes!(operator::bust_trade))
        .add(Access::Administer, Kind::Answer, routes!(operator::kill_account))
        .add(Access::Administer, Kind::Answer, routes!(operator::limit_account))
        .add(Access::Trade, Kind::Stream, routes!(traders::trade))
        .add(Access::Read, Kind::Answer, routes!(book::get_book))
        .add(Access::Read, Kind::Answer, routes!(book::list_markets))
        .add(Access::Read, Kind::Stream, routes!(sockets::open_socket))
        .add(Access::Read, Kind::Stream, routes!(events::price_events))
        .add(Access::Read, Kind::Stream, routes!(events::candle_events))
        .add(Access::Read, Kind::Stream, routes!(events::tick_events))
        .add(Access::Read, Kind::Stream, routes!(events::market_events))
        .add(Access::Query, Kind::Stream, routes!(sql::run_sql))
        .add(Access::Operate, Kind::Answer, routes!(topics::list_topics))
        .add(Access::Operate, Kind::Stream, routes!(topics::read_records))
        .add(Access::Open, Kind::Answer, routes!(health::get_health))
        .add(Access::Operate, Kind::Answer, routes!(metrics::get_metrics))
        .add(Access::Open, Kind::Answer, routes!(docs::get_openapi))
        .add(Access::Open, Kind::Answer, routes!(docs::get_docs))
        .add(Access::Open, Kind::Answer, routes!(docs::get_docs_file))
        .add(Access::Open, Kind::Answer, routes!(page::get_page))
        .add(Access::Open, Kind::Answer, routes!(page::get_page_file))
}

/// Every route with what it takes to call it, for tests and documents.
pub fn table() -> Vec<RouteEntry> {
    all(&Limits::default()).table
}

/// The router that serves `routes` with `state`.
pub(crate) fn router(routes: Routes, state: Shared) -> Router {
    let body_max = state.config.limits.body_bytes_max;
    Router::from(routes.router)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(body_max))
        .with_state(state)
}

async fn no_route(uri: Uri) -> Problem {
    let message = format!("nothing at {}: /openapi.json lists what there is", crate::problem::shown(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", message)
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{method} is not for {}: /openapi.json lists what is", crate::problem::shown(uri.path()));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", message)
}
