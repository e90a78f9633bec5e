//! SQL of a running pipeline: the worker process and the doors beside the API.

use std::sync::Arc;

use anyhow::Context as _;
use api::ApiKey;
use journal::Log;
use queries::flight::FlightServer;
use queries::host::{HostConfig, SqlHost};
use queries::postgres::PostgresServer;
use queries::{DoorConfig, Login};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Pipeline, SqlSettings};

/// Connections of a door, at most.
const CONNECTIONS_MAX: usize = 64;

/// A key of the exchange as a login.
fn login(key: &ApiKey) -> Login {
    Login { user: key.name.clone(), secret: key.secret.clone(), caller: key.reader() }
}

/// Starts the worker in the background, and the doors that the file asks for.
///
/// # Errors
/// A port in use, or a door that nobody could enter.
pub(crate) fn start(
    pipeline: &Pipeline,
    settings: &SqlSettings,
    log: &Arc<dyn Log>,
    keys: &[ApiKey],
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<SqlHost> {
    let config = HostConfig {
        program: std::env::current_exe().context("the program cannot find itself, to start the SQL worker")?,
        lake: pipeline.lake.place.clone(),
        log: Some(Arc::clone(log)),
        limits: settings.limits.clone(),
    };
    let host = SqlHost::new(config, stop.clone());
    let logins: Vec<Login> = keys.iter().map(login).collect();
    let door = |listen| DoorConfig { listen, logins: logins.clone(), connections_max: CONNECTIONS_MAX };
    if let Some(listen) = settings.postgres {
        let server = PostgresServer::bind(door(listen), host.clone())?;
        tracing::info!(address = %listen, "serving the Postgres protocol");
        let stop = stop.clone();
        tasks.spawn(async move {
            server.run(stop).await;
            Ok(())
        });
    }
    if let Some(listen) = settings.flight {
        let server = FlightServer::bind(door(listen), host.clone())?;
        tracing::info!(address = %listen, "serving Arrow Flight SQL");
        let stop = stop.clone();
        tasks.spawn(async move {
            server.run(stop).await;
            Ok(())
        });
    }
    let (starting, stopping) = (host.clone(), stop.clone());
    tokio::spawn(async move {
        if let Some(Err(error)) = stopping.run_until_cancelled(starting.start()).await {
            tracing::warn!(%error, "the SQL worker did not start; the next statement tries again");
        }
    });
    Ok(host)
}
