//! The server: connections in, answers out, and a clean stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Audit, Call};
use crate::config::ApiConfig;
use crate::error::ApiError;
use crate::origin;
use crate::problem::Problem;
use crate::routes;
use crate::stall::StallGuard;
use crate::state::{Deps, Shared, State};

/// Bytes that the system keeps for a client that does not read; past them its connection counts as stalled.
const SEND_BUFFER_BYTES: u32 = 256 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Connections that are told at a time that all connections are in use.
const REFUSALS_MAX: usize = 64;
/// What a client gets that comes when all connections are in use.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
connection: close\r\ncontent-length: 92\r\n\r\n\
{\"error\":{\"code\":\"too_many_connections\",\"message\":\"all connections are in use: try later\"}}\n";

/// A server that holds its port and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: ApiConfig,
    deps: Deps,
}

/// Takes the port and serves until `cancel` fires.
///
/// # Errors
/// As [`Server::bind`].
pub async fn serve(config: ApiConfig, deps: Deps, cancel: CancellationToken) -> Result<(), ApiError> {
    Server::bind(config, deps)?.run(cancel).await;
    Ok(())
}

impl Server {
    /// Takes the port, so that a port in use is known before anything else starts. Call it within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// When the address is public, taken or refused, or there is no instrument to serve.
    pub fn bind(config: ApiConfig, deps: Deps) -> Result<Self, ApiError> {
        if !config.listen.ip().is_loopback() {
            return Err(ApiError::PublicListen(config.listen));
        }
        if config.instruments.is_empty() {
            return Err(ApiError::NoInstruments);
        }
        let listener = listen(config.listen).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ApiError::PortTaken(config.listen),
            _ => ApiError::Listen { address: config.listen, reason: error.to_string() },
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| ApiError::Listen { address: config.listen, reason: error.to_string() })?;
        Ok(Self { listener, address, config, deps })
    }

    /// Where it listens; with port 0 in the configuration, the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `cancel` fires; then streams are closed and requests get the configured time to finish.
    pub async fn run(self, cancel: CancellationToken) {
        let routes = routes::all(&self.config.limits);
        let openapi = Bytes::from(routes.openapi());
        let stop = cancel.child_token();
        let (audit, calls) = Audit::new();
        let state: Shared = Arc::new(State::new(self.config, self.deps, audit, stop.clone(), openapi));
        let all_answered = CancellationToken::new();
        let audited = tokio::spawn(audit::write(calls, Arc::clone(&state.deps.log), all_answered.clone()));
        state.register_health();
        state.hub.start(&state.deps.log, &stop);
        if let Ok(desk) = state.desk() {
            desk.accounts.follow(&state.deps.log, &state.hub.readers, &stop);
        }
        let router = routes::router(routes, Arc::clone(&state));
        tracing::info!(address = %self.address, "serving");
        accept(&self.listener, &state, &router).await;
        drop(self.listener);
        state.tasks.close();
        if tokio::time::timeout(state.config.limits.stop_within, state.tasks.wait()).await.is_err() {
            tracing::warn!(connections = state.tasks.len(), "connections cut off: they took too long to finish");
        }
        all_answered.cancel();
        if tokio::time::timeout(state.config.limits.stop_within, audited).await.is_err() {
            tracing::error!("records of the last calls are lost: the log took too long");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for connections of the previous run to be forgotten.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the server stops.
async fn accept(listener: &TcpListener, state: &Shared, router: &Router) {
    let places = Arc::new(Semaphore::new(state.config.limits.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        let accepted = tokio::select! {
            () = state.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    state.tasks.spawn(connection(stream, place, Arc::clone(state), router.clone()));
                }
                Err(_) => {
                    metrics::counter!("millrace_api_connections_refused_total").increment(1);
                    // So many are told; when there are more, they are closed without a word.
                    if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                        state.tasks.spawn(refuse(stream, place));
                    }
                }
            },
            Err(error) => {
                // Out of file descriptors, mostly: let some connections end.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Tells a client that all connections are in use. It is told after its request, or it would not understand.
async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let talk = async {
        let mut request = [0; 4_096];
        // The beginning is enough. A client that has gone needs no answer.
        if stream.read(&mut request).await? == 0 {
            return Ok(());
        }
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        // What it still sends is read, or the system would take the answer back.
        while stream.read(&mut request).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever takes longer, or is gone, is not told.
    let _ = tokio::time::timeout(Duration::from_secs(1), talk).await;
}

/// Serves one connection until it ends.
async fn connection(stream: TcpStream, place: OwnedSemaphorePermit, state: Shared, router: Router) {
    // Small answers leave at once; without it they would wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let limits = &state.config.limits;
    let io = TokioIo::new(StallGuard::new(stream, limits.stall_timeout, place));
    let service = service_fn(|request| answer(&state, &router, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max.max(8 << 10))
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = state.cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn answer(state: &Shared, router: &Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let refused = origin::check(request.method(), request.headers(), &state.config.host_names)
        .and_then(|()| check_length(request.headers(), state.config.limits.body_bytes_max));
    match refused {
        Err(problem) => Ok(problem.into_response()),
        Ok(()) => {
            let call = audit::may_change(request.method()).then(|| Call::of(state, &request));
            let response = TowerToHyperService::new(router.clone()).call(request).await?;
            if let Some(call) = call {
                call.answered(&response).await;
            }
            Ok(response)
        }
    }
}

/// Refuses a body that says it is too long before any of it is read. One that does not say is cut off where it
/// is read.
fn check_length(headers: &HeaderMap, max: usize) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > max as u64 => {
            let message = format!("a body of {length} bytes is not allowed: at most {max}");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        _ => Ok(()),
    }
}
