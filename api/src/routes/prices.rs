//! `GET /prices` and `GET /prices/{asset}`.

use std::sync::Arc;
use std::time::Instant;

use aggregate::cache::CachedPrice;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::AssetIndex;
use crate::problem::{ErrorBody, Problem, Segment};
use crate::state::{Shared, State as ServerState};
use crate::view::PriceView;

/// The current price of every asset.
#[derive(Serialize, ToSchema)]
#[schema(as = Prices)]
#[allow(dead_code, reason = "it describes the answer, which is put together from prepared parts")]
pub(super) struct PricesView<'a> {
    /// By asset.
    prices: Vec<PriceView<'a>>,
    /// Assets that are served and have had no price yet.
    missing: Vec<&'a str>,
}

/// The current price of every asset.
#[utoipa::path(get, path = "/prices", tag = "prices", responses(
    (status = 200, description = "The prices", body = PricesView),
))]
pub(super) async fn list_prices(State(state): State<Shared>) -> Response {
    let mut cached: Vec<Option<Arc<CachedPrice>>> = vec![None; state.catalog.assets().len()];
    match state.deps.cache.list().await {
        Ok(prices) => {
            for price in prices {
                if let Some(index) = state.catalog.index_of(&price.instrument()) {
                    cached[index] = Some(price);
                }
            }
        }
        Err(error) => tracing::debug!(%error, "prices come from the topic: the cache gave none"),
    }
    let (mut body, mut missing) = (Vec::with_capacity(cached.len() * 2_048), Vec::new());
    body.extend_from_slice(br#"{"prices":["#);
    let head = body.len();
    for (index, cached) in cached.iter().enumerate() {
        match current(&state, index, cached.as_ref()) {
            Some(price) => {
                if body.len() > head {
                    body.push(b',');
                }
                body.extend_from_slice(&price);
            }
            None => missing.push(state.hub.symbol(index)),
        }
    }
    body.extend_from_slice(br#"],"missing":"#);
    serde_json::to_writer(&mut body, &missing).expect("names serialise to memory");
    body.push(b'}');
    json(body.into())
}

/// The current price of one asset.
///
/// An asset is named `BTC-USDT`, `BTCUSDT`, or `BTC` for its USDT pair; capital or small letters.
#[utoipa::path(get, path = "/prices/{asset}", tag = "prices",
    params(("asset" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT")),
    responses(
        (status = 200, description = "The price", body = PriceView),
        (status = 404, description = "The asset is not served", body = ErrorBody),
        (status = 503, description = "There has been no price yet", body = ErrorBody),
    ))]
pub(super) async fn get_price(State(state): State<Shared>, Segment(asset): Segment) -> Result<Response, Problem> {
    let index = state.asset(&asset)?;
    let cached = match state.deps.cache.get(&state.catalog.asset(index).instrument).await {
        Ok(cached) => cached,
        Err(error) => {
            tracing::debug!(%error, "a price comes from the topic: the cache gave none");
            None
        }
    };
    match current(&state, index, cached.as_ref()) {
        Some(body) => Ok(json(body)),
        None => {
            let message = format!("no price for {} yet: none was published so far", state.hub.symbol(index));
            Err(Problem::unavailable("no_price", message))
        }
    }
}

/// The prepared JSON of the newest price: the cache's, or the topic's where that is newer. Without one in the
/// cache, the topic's last, marked stale once it is older than the cache keeps prices.
fn current(state: &ServerState, index: AssetIndex, cached: Option<&Arc<CachedPrice>>) -> Option<Bytes> {
    if let Some(cached) = cached {
        return Some(state.hub.board.offer(index, cached, Some(Instant::now())).json());
    }
    let last = state.hub.board.newest(index)?;
    Some(if last.is_fresh(state.config.fresh_for) { last.json() } else { last.stale_json(last.age()) })
}

fn json(body: Bytes) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
