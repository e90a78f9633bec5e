//! `/`: live prices to look at.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::{ErrorBody, Problem, Segment, shown};

/// Everything comes from this server, and nothing of it is inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const FILES: [(&str, &str, &str); 3] = [
    ("page.css", "text/css; charset=utf-8", include_str!("../page/page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../page/page.js")),
    ("icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

/// A page that shows the prices as they change.
#[utoipa::path(get, path = "/", tag = "operation", responses(
    (status = 200, description = "The page", body = String, content_type = "text/html"),
))]
pub(super) async fn get_page() -> Response {
    file("text/html; charset=utf-8", include_str!("../page/index.html"))
}

/// The parts of the page.
#[utoipa::path(get, path = "/page/{file}", tag = "operation",
    params(("file" = String, Path, description = "Name of the part", example = "page.css")),
    responses(
        (status = 200, description = "The part", body = String, content_type = "text/css"),
        (status = 404, description = "No such part", body = ErrorBody),
    ))]
pub(super) async fn get_page_file(Segment(name): Segment) -> Result<Response, Problem> {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, content_type, content)) => Ok(file(content_type, content)),
        None => {
            let message = format!("the page has no part {:?}", shown(&name));
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_file", message))
        }
    }
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
