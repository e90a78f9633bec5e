//! Arrow Flight SQL: ADBC, JDBC, polars and pandas at the speed of columns.
//!
//! The user's name and key come as basic authentication in a handshake or with each call, or the key alone as a bearer.
//! Every call proves its caller anew, so that nothing of a connection's state stands for it. Tickets hold the
//! statement's text; what a caller prepares is kept for it alone.

mod auth;
mod catalog;
mod connection;
mod prepared;
mod service;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::host::SqlHost;
use crate::login::Login;
use auth::Doorman;
use connection::accepted;
use service::Service;

/// Bytes of a message from a client: a statement, or a row of parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Calls of a connection at a time.
const STREAMS_MAX: u32 = 64;
/// A connection that does not answer is asked so often and given up so long after.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// What the server needs to know.
#[derive(Debug, Clone)]
pub struct FlightConfig {
    /// Where to listen; a loopback address, since there is no TLS.
    pub listen: SocketAddr,
    /// Who may call.
    pub logins: Vec<Login>,
    /// Open connections, at most.
    pub connections_max: usize,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum FlightError {
    /// Keys and rows would cross a network in the clear.
    #[error("{0} is reachable from outside, and the Flight SQL door has no TLS: listen on 127.0.0.1")]
    Public(SocketAddr),
    /// There is nobody who could call.
    #[error("the Flight SQL door needs at least one key: without one nobody could call")]
    NoLogins,
    /// The port cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// A server that holds its port.
#[derive(Debug)]
pub struct FlightServer {
    listener: TcpListener,
    connections_max: usize,
    service: Service,
}

impl FlightServer {
    /// Takes the port. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is public or taken, or there is no login.
    pub fn bind(config: FlightConfig, host: SqlHost) -> Result<Self, FlightError> {
        if !config.listen.ip().is_loopback() {
            return Err(FlightError::Public(config.listen));
        }
        if config.logins.is_empty() {
            return Err(FlightError::NoLogins);
        }
        let failed = |error| FlightError::Listen { address: config.listen, error };
        let listener = std::net::TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let service = Service::new(host, Doorman::new(config.logins));
        Ok(Self { listener, connections_max: config.connections_max, service })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` fires; then connections are cut.
    pub async fn run(self, stop: CancellationToken) {
        let flight = FlightServiceServer::new(self.service).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .add_service(flight)
            .serve_with_incoming(accepted(Arc::new(self.listener), self.connections_max));
        if let Some(Err(error)) = stop.run_until_cancelled(serving).await {
            tracing::error!(%error, "the Flight SQL door has closed");
        }
    }
}
