//! The port of a venue: REST calls and the WebSocket handshake.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::run::{Input, Shared};
use super::socket;
use crate::engine::{RestReply, RestRequest, TruthEntry};

/// Largest request body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Journal entries in one answer, at most.
const JOURNAL_ENTRIES_MAX: usize = 10_000;

/// What a request handler needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) inbox: mpsc::Sender<Input>,
    pub(super) shared: Arc<Shared>,
    pub(super) accepts: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Serves the port until the door's `stop`.
pub(super) async fn serve(listener: TcpListener, door: Door) {
    let stop = door.stop.clone();
    let gate = Gate { listener, shared: door.shared.clone() };
    let router = Router::new().fallback(handle).with_state(door);
    if let Err(error) = axum::serve(gate, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "a simulated venue's server failed");
    }
}

/// A listener that closes new connections at once while the venue refuses them.
struct Gate {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl axum::serve::Listener for Gate {
    type Io = TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    if !self.shared.gates.refuse.load(Ordering::Relaxed) || asks_for_mock(&stream).await {
                        return (stream, address);
                    }
                }
                // Out of file descriptors and the like: others must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Whether the first bytes ask for `/mock/...`, the way to end the refusal. Waits for them only briefly.
async fn asks_for_mock(stream: &TcpStream) -> bool {
    let mut start = [0; 16];
    let peeked = tokio::time::timeout(Duration::from_millis(50), stream.peek(&mut start)).await;
    let Ok(Ok(length)) = peeked else { return false };
    start[..length].split(|byte| *byte == b' ').nth(1).is_some_and(|path| path.starts_with(b"/mock/"))
}

async fn handle(State(door): State<Door>, request: Request) -> Response {
    let asks_upgrade =
        request.headers().get(UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let refused = door.shared.gates.refuse.load(Ordering::Relaxed) && !request.uri().path().starts_with("/mock/");
    if refused {
        return answer(RestReply::value(503, &json!({ "error": "refused" })));
    }
    if asks_upgrade { upgrade(door, request).await } else { rest(door, request).await }
}

async fn upgrade(door: Door, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if !(door.accepts)(&path) {
        return answer(RestReply::value(404, &json!({ "error": "no WebSocket here" })));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let key = accept_key(request.headers());
    let (Some(key), Some(upgrade)) = (key, request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>()) else {
        return answer(RestReply::value(400, &json!({ "error": "not a WebSocket handshake" })));
    };
    // The venue knows the connection before the client knows that it is open: what the client does next, and
    // the time that passes then, come after it.
    let (reply, opened) = oneshot::channel();
    let sent = door.inbox.send(Input::Open { path, query, reply }).await;
    let (Ok(()), Ok(connection)) = (sent, opened.await) else {
        return answer(RestReply::value(503, &json!({ "error": "stopping" })));
    };
    let tasks = door.tasks.clone();
    tasks.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => socket::serve(upgraded, connection, door.inbox, door.shared, door.stop).await,
            Err(_) => drop(door.inbox.send(Input::Closed { id: connection.id }).await),
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, key)
        .body(Body::empty())
        .expect("the headers are valid")
}

fn accept_key(headers: &HeaderMap) -> Option<String> {
    headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()))
}

async fn rest(door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return answer(RestReply::value(413, &json!({ "error": "request body too large" })));
    };
    let query = parts.uri.query().unwrap_or_default();
    let request = RestRequest::new(parts.method.as_str(), parts.uri.path(), query, body.to_vec());
    if request.path == "/mock/journal" {
        return answer(journal(&door.shared, &request));
    }
    let (reply, replied) = oneshot::channel();
    let sent = door.inbox.send(Input::Rest { request, reply }).await;
    let reply = match (sent, replied.await) {
        (Ok(()), Ok(reply)) => reply,
        _ => RestReply::value(503, &json!({ "error": "stopping" })),
    };
    if reply.delay_ms > 0 {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(reply.delay_ms)) => {}
            () = door.stop.cancelled() => {}
        }
    }
    answer(reply)
}

/// `GET /mock/journal?since=&limit=` → `{"next":..,"entries":[..]}`.
fn journal(shared: &Shared, request: &RestRequest) -> RestReply {
    let number = |name, default: u64| request.parameter(name).map_or(Ok(default), str::parse);
    let (Ok(since), Ok(limit)) = (number("since", 0), number("limit", 1_000)) else {
        return RestReply::value(400, &json!({ "error": "since and limit are whole numbers" }));
    };
    let (entries, next): (Vec<TruthEntry>, u64) = {
        let ring = shared.truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ring.since(since, (limit as usize).min(JOURNAL_ENTRIES_MAX))
    };
    RestReply::value(200, &json!({ "next": next, "entries": entries }))
}

fn answer(reply: RestReply) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(reply.body))
        .expect("the headers are valid")
}
