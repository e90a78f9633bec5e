//! `POST /sql`: a statement in, rows out.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use queries::error::ErrorKind;
use queries::host::{Running, SqlHost, Statement};
use queries::output::{Encoder, Format};
use queries::{Caller as Reader, SqlError};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::exchange::{ApiKey, given, known};
use crate::problem::{ErrorBody, Parameters, Problem};
use crate::state::Shared;

/// The header in which the answer says how far the tables reach, when that is not up to now.
const NOTES: &str = "x-millrace-note";

/// How the answer is written.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlQuery {
    /// `ndjson`, `csv`, `arrow` or `parquet`. Without it the header `Accept` decides, and then it is `ndjson`.
    format: Option<String>,
}

/// Runs one statement that reads, over `ticks`, `prices`, `candles`, `orders`, `trades`, `executions`, `ledger`,
/// `audit`, `dead_letters` and `watermark`: what landed in the lake and what has not yet.
///
/// The body is the statement. An error after the first row ends the body early, so a client that has to know
/// whether it has all rows asks for `arrow` or `parquet`, whose end says so. A trader sees the rows of its own
/// account in `orders`, `executions`, `ledger` and `audit`.
#[utoipa::path(post, path = "/sql", tag = "sql",
    params(SqlQuery, ("X-Api-Key" = String, Header, description = "Any key of the server")),
    request_body(content = String, content_type = "text/plain", example = "SELECT symbol, count(*) FROM ticks GROUP BY 1"),
    responses(
        (status = 200, description = "The rows; decimals and times are text in ndjson and csv", content_type = "application/x-ndjson"),
        (status = 400, description = "Not a statement that can be understood", body = ErrorBody),
        (status = 401, description = "No key, or an unknown one", body = ErrorBody),
        (status = 403, description = "Not a statement that only reads", body = ErrorBody),
        (status = 422, description = "It met a limit, or its values do not fit", body = ErrorBody),
        (status = 429, description = "Too many statements at work", body = ErrorBody),
        (status = 503, description = "This server has no SQL", body = ErrorBody),
    ))]
pub(super) async fn run_sql(
    caller: SqlCaller,
    Parameters(query): Parameters<SqlQuery>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Problem> {
    let format = match query.format.as_deref() {
        Some(name) => name.parse().map_err(problem)?,
        None => accepted(&headers),
    };
    let running = caller.host.run(&Statement::new(body, caller.reader)).await.map_err(problem)?;
    answer(running, format).await
}

/// SQL behind the server.
#[derive(Debug, Clone)]
pub struct SqlDeps {
    /// What runs statements.
    pub host: SqlHost,
    /// Who may ask.
    pub keys: Vec<ApiKey>,
}

/// Who asks, and of whom.
pub(super) struct SqlCaller {
    reader: Reader,
    host: SqlHost,
}

impl FromRequestParts<Shared> for SqlCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let no_sql = || Problem::unavailable("no_sql", "this server runs without SQL: add `sql: {}` to `server:`");
        let sql = state.deps.sql.as_ref().ok_or_else(no_sql)?;
        let key = &sql.keys[known(&sql.keys, given(parts)?)?];
        Ok(Self { reader: key.reader(), host: sql.host.clone() })
    }
}

/// The format that the caller accepts.
fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/csv") {
        Format::Csv { header: true }
    } else if accept.contains("arrow") {
        Format::Arrow
    } else if accept.contains("parquet") {
        Format::Parquet
    } else {
        Format::Ndjson
    }
}

/// Streams the rows. The first batch is waited for, so that most errors still have a status of their own.
async fn answer(mut running: Running, format: Format) -> Result<Response, Problem> {
    let mut encoder = Encoder::new(format, &running.schema()).map_err(problem)?;
    let notes = running.notes().join("; ");
    let first = match running.next_batch().await.map_err(problem)? {
        Some(batch) => encoder.encode(&batch).map_err(problem)?,
        None => encoder.finish().map_err(problem)?,
    };
    let rest =
        futures_util::stream::try_unfold((running, encoder, false), |(mut running, mut encoder, ended)| async move {
            if ended {
                return Ok(None);
            }
            let (bytes, ended) = match running.next_batch().await? {
                Some(batch) => (encoder.encode(&batch)?, false),
                None => (encoder.finish()?, true),
            };
            Ok::<_, SqlError>(Some((Bytes::from(bytes), (running, encoder, ended))))
        });
    let first = futures_util::stream::once(async move { Ok(Bytes::from(first)) });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    let mut response = ([(header::CONTENT_TYPE, format.media_type())], body).into_response();
    if let Ok(notes) = HeaderValue::from_str(&notes)
        && !notes.is_empty()
    {
        response.headers_mut().insert(NOTES, notes);
    }
    Ok(response)
}

fn problem(error: SqlError) -> Problem {
    let status = match error.kind {
        ErrorKind::Syntax | ErrorKind::Meaning => StatusCode::BAD_REQUEST,
        ErrorKind::Refused => StatusCode::FORBIDDEN,
        ErrorKind::Limit | ErrorKind::Data | ErrorKind::Cancelled => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Internal => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problem = Problem::new(status, error.kind.code(), error.to_string());
    if error.kind == ErrorKind::Busy { problem.retry_after(1) } else { problem }
}
