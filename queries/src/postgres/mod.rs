//! The Postgres protocol: psql, psycopg, Grafana, Metabase.
//!
//! The password is a key of the server, proven by SCRAM-SHA-256; the user is the key's name. Nothing is answered
//! before that: whatever goes wrong earlier ends the connection, and a statement finds no caller in a session that
//! has not proven one, whatever state the protocol thinks it is in.

mod auth;
mod bounded;
mod commands;
mod numeric;
mod parameters;
mod rows;
mod session;
mod statement;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pgwire::api::ConnectionManager;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::host::SqlHost;
use crate::login::Login;
use auth::Keys;
use session::Session;

/// Pause after a connection that could not be accepted.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What the server needs to know.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Where to listen; a loopback address, since there is no TLS.
    pub listen: SocketAddr,
    /// Who may log in.
    pub logins: Vec<Login>,
    /// Open connections, at most.
    pub connections_max: usize,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Passwords and rows would cross a network in the clear.
    #[error("{0} is reachable from outside, and the Postgres door has no TLS: listen on 127.0.0.1")]
    Public(SocketAddr),
    /// There is nobody who could log in.
    #[error("the Postgres door needs at least one key: without one nobody could log in")]
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
pub struct PostgresServer {
    listener: TcpListener,
    logins: Arc<Vec<Login>>,
    keys: Arc<Keys>,
    connections_max: usize,
    host: SqlHost,
}

impl PostgresServer {
    /// Takes the port. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is public or taken, or there is no login.
    pub fn bind(config: PostgresConfig, host: SqlHost) -> Result<Self, PostgresError> {
        if !config.listen.ip().is_loopback() {
            return Err(PostgresError::Public(config.listen));
        }
        if config.logins.is_empty() {
            return Err(PostgresError::NoLogins);
        }
        let failed = |error| PostgresError::Listen { address: config.listen, error };
        let listener = std::net::TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let keys = Arc::new(Keys::new(&config.logins));
        Ok(Self { listener, logins: Arc::new(config.logins), keys, connections_max: config.connections_max, host })
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
        let places = Arc::new(Semaphore::new(self.connections_max));
        let manager = Arc::new(ConnectionManager::default());
        let tasks = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        metrics::counter!("millrace_sql_postgres_refused_total").increment(1);
                        continue;
                    };
                    let (logins, keys) = (Arc::clone(&self.logins), Arc::clone(&self.keys));
                    let session = Session::new(self.host.clone(), logins, keys, Arc::clone(&manager));
                    let stop = stop.clone();
                    tasks.spawn(async move {
                        let _place = place;
                        stop.run_until_cancelled(wire::serve(stream, session)).await
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}
