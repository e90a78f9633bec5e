//! `GET /healthz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::health::{Condition, HealthReport};
use crate::state::Shared;

/// Whether every part works: log, feeds, aggregation, cache, streams.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses(
    (status = 200, description = "Works, perhaps with less than it should have", body = HealthReport),
    (status = 503, description = "A part does not work", body = HealthReport),
))]
pub(super) async fn get_health(State(state): State<Shared>) -> (StatusCode, Json<HealthReport>) {
    let report = state.deps.health.report().await;
    let status = match report.status {
        Condition::Ok | Condition::Degraded => StatusCode::OK,
        Condition::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report))
}
