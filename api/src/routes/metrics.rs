//! `GET /metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::problem::{ErrorBody, Problem};
use crate::state::Shared;

/// Every metric, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
    (status = 503, description = "This process keeps no metrics", body = ErrorBody),
))]
pub(super) async fn get_metrics(State(state): State<Shared>) -> Result<impl IntoResponse, Problem> {
    match &state.deps.metrics {
        Some(metrics) => Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())),
        None => Err(Problem::unavailable("no_metrics", "this process keeps no metrics")),
    }
}
