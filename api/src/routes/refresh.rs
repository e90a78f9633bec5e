//! `POST /refresh/{asset}`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{ErrorBody, Problem, Segment};
use crate::state::Shared;

/// A refresh that is done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refreshed)]
pub(super) struct Refreshed {
    #[schema(example = "Price for BTCUSDT refreshed")]
    message: String,
}

/// Polls every venue of an asset now and publishes its price, at most once a second per asset.
///
/// The answer comes once the new price is out.
#[utoipa::path(post, path = "/refresh/{asset}", tag = "prices",
    params(("asset" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT")),
    responses(
        (status = 200, description = "The new price is out", body = Refreshed),
        (status = 404, description = "The asset is not served", body = ErrorBody),
        (status = 429, description = "Refreshed less than a second ago; `Retry-After` says when to come back", body = ErrorBody),
        (status = 503, description = "The log does not accept the request", body = ErrorBody),
        (status = 504, description = "No new price came out in time", body = ErrorBody),
    ))]
pub(super) async fn refresh_price(
    State(state): State<Shared>,
    Segment(asset): Segment,
) -> Result<Json<Refreshed>, Problem> {
    let index = state.asset(&asset)?;
    let (symbol, refreshes, limits) = (state.hub.symbol(index), &state.hub.refreshes, &state.config.limits);
    refreshes.admit(index).map_err(|wait| too_soon(symbol, limits.refresh_every, wait))?;
    let mut expected = refreshes.expect();
    let instrument = state.catalog.asset(index).instrument;
    let refresh = async {
        let written = refreshes.append(&state.deps.log, instrument, expected.id).await;
        written
            .map_err(|error| Problem::unavailable("log_unavailable", format!("{symbol} was not refreshed: {error}")))?;
        expected.answered().await;
        Ok(())
    };
    match tokio::time::timeout(limits.refresh_within, refresh).await {
        Ok(done) => done.map(|()| Json(Refreshed { message: format!("Price for {symbol} refreshed") })),
        Err(_) => {
            let seconds = limits.refresh_within.as_secs_f32();
            let message = format!(
                "no new price for {symbol} came out within {seconds} s of the request: \
                 no venue answered, or the aggregation is behind; GET /healthz says which"
            );
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "refresh_timeout", message))
        }
    }
}

fn too_soon(symbol: &str, every: Duration, wait: Duration) -> Problem {
    let message = format!(
        "{symbol} was refreshed a moment ago: at most once every {} s, again in {} ms",
        every.as_secs_f32(),
        wait.as_millis()
    );
    let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_refreshes", message).retry_after(seconds)
}
