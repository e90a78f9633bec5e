//! `GET /openapi.json`, and `/docs`, where it can be tried.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_swagger_ui::Config;

use crate::problem::{ErrorBody, Problem, Segment, shown};
use crate::state::Shared;

/// The page is made by others and styles itself inline; it loads nothing from elsewhere.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
);

static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.json").try_it_out_enabled(true).validator_url("none")));

/// This interface as an OpenAPI document, generated from the code.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses(
    (status = 200, description = "The document", body = Object),
))]
pub(super) async fn get_openapi(State(state): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.openapi.clone())
}

/// A page to read and try this interface.
#[utoipa::path(get, path = "/docs", tag = "operation", responses(
    (status = 308, description = "The page is at `/docs/index.html`"),
))]
pub(super) async fn get_docs() -> Redirect {
    Redirect::permanent("/docs/index.html")
}

/// The parts of the page.
#[utoipa::path(get, path = "/docs/{file}", tag = "operation",
    params(("file" = String, Path, description = "Name of the part", example = "index.html")),
    responses(
        (status = 200, description = "The part", body = String, content_type = "text/html"),
        (status = 404, description = "No such part", body = ErrorBody),
    ))]
pub(super) async fn get_docs_file(Segment(file): Segment) -> Result<Response, Problem> {
    match utoipa_swagger_ui::serve(&file, Arc::clone(&CONFIG)) {
        Ok(Some(part)) => {
            let mut response = part.bytes.into_owned().into_response();
            let content_type = HeaderValue::from_str(&part.content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, content_type);
            headers.insert(POLICY.0, POLICY.1);
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Ok(response)
        }
        Ok(None) => {
            let message = format!("the page has no part {:?}", shown(&file));
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_file", message))
        }
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "page_broken", error.to_string())),
    }
}
