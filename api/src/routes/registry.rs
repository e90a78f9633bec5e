//! How routes are registered: each with what it takes to call it, all of them in one table.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use metrics::Counter;
use utoipa::openapi::{OpenApi, PathItem};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};

use crate::audit;
use crate::problem::Problem;
use crate::state::Shared;

/// What it takes to call a route. Routes of the exchange ask for a key; until the others do, whoever reaches the
/// loopback address may do all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing: health, documents, the page.
    Open,
    /// The right to read market data.
    Read,
    /// The key of an account on the exchange.
    Trade,
    /// Any key of the server's, for statements.
    Query,
    /// The right to operate the pipeline or look inside.
    Operate,
    /// An operator's key on the exchange.
    Administer,
}

/// Whether a route's answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It ends, within the request timeout.
    Answer,
    /// It goes on until the client leaves.
    Stream,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// Method in capital letters.
    pub method: &'static str,
    /// Path, with parameters in braces.
    pub path: String,
    /// What it takes to call it.
    pub access: Access,
}

/// Routes with their documentation.
pub(crate) struct Routes {
    pub(super) router: OpenApiRouter<Shared>,
    pub(super) table: Vec<RouteEntry>,
    timeout: Duration,
}

/// What happens around every request of one route.
struct Guard {
    route: Arc<str>,
    timeout: Option<Duration>,
    /// By first digit of the status.
    answers: [Counter; 5],
}

impl Routes {
    pub(super) fn new(document: OpenApi, timeout: Duration) -> Self {
        Self { router: OpenApiRouter::with_openapi(document), table: Vec::new(), timeout }
    }

    /// Adds a handler. This is the one place where routes come to be, so what guards them is put on here.
    pub(super) fn add(mut self, access: Access, kind: Kind, handler: UtoipaMethodRouter<Shared>) -> Self {
        let mut label = String::new();
        for (path, item) in &handler.1.paths {
            label.clone_from(path);
            self.table.extend(methods(item).map(|method| RouteEntry { method, path: path.clone(), access }));
        }
        let timeout = (kind == Kind::Answer).then_some(self.timeout);
        let answers = ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|class| metrics::counter!("millrace_api_answers_total", "route" => label.clone(), "status" => class));
        let guard = Arc::new(Guard { route: label.into(), timeout, answers });
        let guarded = handler.layer(from_fn(move |request, next| {
            let guard = Arc::clone(&guard);
            async move { guard.pass(request, next).await }
        }));
        self.router = self.router.routes(guarded);
        self
    }

    /// The OpenAPI document as JSON.
    pub(crate) fn openapi(&self) -> String {
        serde_json::to_string(self.router.get_openapi()).expect("the document serialises to memory")
    }
}

impl Guard {
    async fn pass(&self, request: Request, next: Next) -> Response {
        let changes = audit::may_change(request.method());
        let mut response = match self.timeout {
            None => next.run(request).await,
            Some(timeout) => match tokio::time::timeout(timeout, next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    let message = format!("no answer within {} s", timeout.as_secs_f32());
                    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message).into_response()
                }
            },
        };
        let class = usize::from(response.status().as_u16() / 100);
        self.answers[class.clamp(1, 5) - 1].increment(1);
        if changes {
            response.extensions_mut().insert(audit::Route(Arc::clone(&self.route)));
        }
        response
    }
}

fn methods(item: &PathItem) -> impl Iterator<Item = &'static str> {
    let present = [
        ("GET", item.get.is_some()),
        ("PUT", item.put.is_some()),
        ("POST", item.post.is_some()),
        ("DELETE", item.delete.is_some()),
        ("PATCH", item.patch.is_some()),
        ("HEAD", item.head.is_some()),
        ("OPTIONS", item.options.is_some()),
        ("TRACE", item.trace.is_some()),
    ];
    present.into_iter().filter(|(_, present)| *present).map(|(method, _)| method)
}
