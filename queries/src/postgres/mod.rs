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

use std::sync::Arc;

use pgwire::api::ConnectionManager;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::{Door, DoorConfig, DoorError, Names};
use crate::host::SqlHost;
use crate::login::Login;
use auth::Keys;
use session::Session;

const NAMES: Names = Names { door: "Postgres", enter: "log in", refused: "millrace_sql_postgres_refused_total" };

/// A server that holds its port.
#[derive(Debug)]
pub struct PostgresServer {
    door: Door,
    logins: Arc<Vec<Login>>,
    keys: Arc<Keys>,
    host: SqlHost,
}

impl PostgresServer {
    /// Takes the port. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is public or taken, or there is no login.
    pub fn bind(config: DoorConfig, host: SqlHost) -> Result<Self, DoorError> {
        let door = Door::bind(NAMES, &config)?;
        let keys = Arc::new(Keys::new(&config.logins));
        Ok(Self { door, logins: Arc::new(config.logins), keys, host })
    }

    /// Serves until `stop` fires; then connections are cut.
    pub async fn run(self, stop: CancellationToken) {
        let manager = Arc::new(ConnectionManager::default());
        let tasks = TaskTracker::new();
        while let Some((stream, place)) = stop.run_until_cancelled(self.door.accept()).await {
            let (logins, keys) = (Arc::clone(&self.logins), Arc::clone(&self.keys));
            let session = Session::new(self.host.clone(), logins, keys, Arc::clone(&manager));
            let stop = stop.clone();
            tasks.spawn(async move {
                let _place = place;
                stop.run_until_cancelled(wire::serve(stream, session)).await
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}
