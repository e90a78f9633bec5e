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

use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::door::{Door, DoorConfig, DoorError, Names};
use crate::host::SqlHost;
use auth::Doorman;
use connection::accepted;
use service::Service;

/// Bytes of a message from a client: a statement, or a row of parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Calls of a connection at a time.
const STREAMS_MAX: u32 = 64;
/// A connection that does not answer is asked so often and given up so long after.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

const NAMES: Names = Names { door: "Flight SQL", enter: "call", refused: "millrace_sql_flight_refused_total" };

/// A server that holds its port.
#[derive(Debug)]
pub struct FlightServer {
    door: Door,
    service: Service,
}

impl FlightServer {
    /// Takes the port. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is public or taken, or there is no login.
    pub fn bind(config: DoorConfig, host: SqlHost) -> Result<Self, DoorError> {
        let door = Door::bind(NAMES, &config)?;
        Ok(Self { door, service: Service::new(host, Doorman::new(config.logins)) })
    }

    /// Serves until `stop` fires; then connections are cut.
    pub async fn run(self, stop: CancellationToken) {
        let flight = FlightServiceServer::new(self.service).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let serving = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .add_service(flight)
            .serve_with_incoming(accepted(self.door));
        if let Some(Err(error)) = stop.run_until_cancelled(serving).await {
            tracing::error!(%error, "the Flight SQL door has closed");
        }
    }
}
