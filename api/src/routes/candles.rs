//! `GET /candles/{asset}`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::{Interval, UnixNanos, topic};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::hub::CandleRange;
use crate::problem::{ErrorBody, Parameters, Problem, Segment, shown};
use crate::state::Shared;
use crate::view::CandleView;

/// Which candles.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CandleQuery {
    /// `1s`, `1m`, `5m`, `15m`, `1h` or `1d`; `1m` unless given.
    #[param(example = "1m")]
    interval: Option<String>,
    /// Earliest start, as RFC 3339 or unix milliseconds; the first candles from there are answered.
    #[param(example = "2026-01-02T03:00:00Z")]
    from: Option<String>,
    /// Candles start before this; without `from`, the last ones before it are answered.
    #[param(example = "1767322800000")]
    to: Option<String>,
    /// Candles in the answer: 500 unless given, at most 1000.
    #[param(value_type = Option<u32>, example = 500)]
    limit: Option<String>,
}

/// Candles, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Candles)]
pub(super) struct CandlesView<'a> {
    #[schema(example = "BTCUSDT")]
    asset: &'a str,
    #[schema(value_type = String, example = "1m")]
    interval: Interval,
    /// Start of the oldest candle that the server keeps of this interval; older ones are in the log or the lake.
    #[schema(format = DateTime, example = "2026-01-01T00:00:00Z")]
    kept_from: Option<String>,
    candles: Vec<CandleView>,
}

/// Candles of one asset and interval.
#[utoipa::path(get, path = "/candles/{asset}", tag = "candles",
    params(("asset" = String, Path, description = "`BTC-USDT`, `BTCUSDT` or `BTC`", example = "BTCUSDT"), CandleQuery),
    responses(
        (status = 200, description = "The candles", body = CandlesView),
        (status = 400, description = "A parameter is not as expected", body = ErrorBody),
        (status = 404, description = "The asset is not served", body = ErrorBody),
        (status = 503, description = "The candles of the past are still being read", body = ErrorBody),
    ))]
pub(super) async fn get_candles(
    State(state): State<Shared>,
    Segment(asset): Segment,
    Parameters(query): Parameters<CandleQuery>,
) -> Result<Response, Problem> {
    let index = state.asset(&asset)?;
    let interval = interval(query.interval.as_deref())?;
    let range = range(&query, state.config.limits.candles_answered_max)?;
    let (rows, oldest) = state.hub.store.select(index, interval, range);
    if !state.hub.readers.has_caught_up(topic::CANDLES) {
        let message = "the candles of the past are still being read from the log: try again in a moment";
        return Err(Problem::unavailable("not_ready", message));
    }
    let view = CandlesView {
        asset: state.hub.symbol(index),
        interval,
        kept_from: oldest.map(|start| start.to_string()),
        candles: rows.iter().map(|row| CandleView::new(row, interval)).collect(),
    };
    Ok(Json(view).into_response())
}

/// Reads an interval; one minute when there is none.
pub(super) fn interval(text: Option<&str>) -> Result<Interval, Problem> {
    let read = text.map_or(Ok(Interval::M1), str::parse);
    read.map_err(|error| Problem::bad_request("bad_interval", error.to_string()))
}

fn range(query: &CandleQuery, limit_max: usize) -> Result<CandleRange, Problem> {
    let from = query.from.as_deref().map(|text| time("from", text)).transpose()?;
    let to = query.to.as_deref().map(|text| time("to", text)).transpose()?;
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        let message = format!("from {from} is not before to {to}: there is nothing in between");
        return Err(Problem::bad_request("bad_range", message));
    }
    let limit = match query.limit.as_deref() {
        None => limit_max.min(500),
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if (1..=limit_max).contains(&limit) => limit,
            _ => {
                let message = format!("limit {:?} is not allowed: 1 to {limit_max}", shown(text));
                return Err(Problem::bad_request("bad_limit", message));
            }
        },
    };
    Ok(CandleRange { from, to, limit })
}

/// Reads RFC 3339 or unix milliseconds.
fn time(name: &str, text: &str) -> Result<UnixNanos, Problem> {
    let read = match text.parse::<i64>() {
        Ok(millis) => UnixNanos::from_millis(millis),
        // A plus sign of a zone that was not escaped arrives as a space.
        Err(_) => UnixNanos::parse_rfc3339(text.replace(' ', "+").as_bytes()),
    };
    read.map_err(|error| {
        let message = format!("{name} is not a time: {error}; it takes RFC 3339 or unix milliseconds");
        Problem::bad_request("bad_time", message)
    })
}
