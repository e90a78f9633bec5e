//! The parent's side: starts the worker, feeds it the tail, hands it statements, and stops it when it does not stop
//! by itself.

mod child;
mod feed;
mod running;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use journal::Log;
use sink::lake::Place;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::engine::Caller;
use crate::error::{ErrorKind, SqlError};
use crate::limits::Limits;
use crate::worker::protocol::Request;
use child::Child;

pub use running::Running;

/// Starts of a worker that one statement waits for: the second in case the first one was being stopped because of
/// another statement.
const ATTEMPTS: usize = 2;

/// What the parent needs to know.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The program; its command `sql-worker` is the worker.
    pub program: PathBuf,
    /// The lake, where there is one.
    pub lake: Option<Place>,
    /// The log whose tail is shown, where there is one.
    pub log: Option<Arc<dyn Log>>,
    /// The limits.
    pub limits: Limits,
}

/// SQL as the rest of the program sees it. Clones share one worker.
#[derive(Debug, Clone)]
pub struct SqlHost {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: HostConfig,
    child: Mutex<Option<Arc<Child>>>,
    stop: CancellationToken,
}

/// A statement on its way to the worker.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// On whose behalf.
    pub caller: Caller,
    /// Parameters as [`crate::parameters::write`] makes them.
    pub parameters: Option<Vec<u8>>,
    /// Time that it has; no more than the limit anyway.
    pub time_max: Option<Duration>,
}

impl Statement {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>, caller: Caller) -> Self {
        Self { sql: sql.into(), caller, parameters: None, time_max: None }
    }
}

impl SqlHost {
    /// A host. The worker starts with the first statement, or with [`Self::start`]; it ends when `stop` fires.
    pub fn new(config: HostConfig, stop: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { config, child: Mutex::new(None), stop }) }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    /// Starts the worker, so that the first statement need not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self) -> Result<(), SqlError> {
        self.child().await.map(drop)
    }

    /// The worker at work; a new one when there is none.
    async fn child(&self) -> Result<Arc<Child>, SqlError> {
        let mut known = self.shared.child.lock().await;
        if let Some(child) = known.as_ref().filter(|child| !child.has_ended()) {
            return Ok(Arc::clone(child));
        }
        let child = Arc::new(Child::start(&self.shared.config, &self.shared.stop).await?);
        *known = Some(Arc::clone(&child));
        Ok(child)
    }

    /// Plans a statement for its columns and parameters, and does not run it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn describe(&self, statement: &Statement) -> Result<Running, SqlError> {
        self.begin(statement, true).await
    }

    /// Runs a statement; its rows come as they are asked for.
    ///
    /// # Errors
    /// When it is refused, not understood, or ends before its first row.
    pub async fn run(&self, statement: &Statement) -> Result<Running, SqlError> {
        self.begin(statement, false).await
    }

    async fn begin(&self, statement: &Statement, describe: bool) -> Result<Running, SqlError> {
        metrics::counter!("millrace_sql_statements_total").increment(1);
        let limits = self.limits();
        let request = Request {
            sql: statement.sql.clone(),
            caller: statement.caller.clone(),
            describe,
            parameters: statement.parameters.is_some(),
            time_max: statement.time_max.map_or(limits.time_max, |time| time.min(limits.time_max)),
            rows_max: limits.rows_max,
        };
        if request.sql.len() > limits.statement_bytes_max {
            let message = format!(
                "a statement of {} bytes is not allowed: at most {}",
                request.sql.len(),
                limits.statement_bytes_max
            );
            return Err(SqlError::limit(message));
        }
        let mut attempt = 1;
        loop {
            let child = self.child().await?;
            match Running::begin(Arc::clone(&child), &request, statement.parameters.as_deref()).await {
                // Another statement may have been the reason.
                Err(error) if is_ended(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                    child.gone().await;
                }
                begun => return begun,
            }
        }
    }
}

/// Whether the worker ended, for whatever reason, before the statement gave anything.
fn is_ended(error: &SqlError) -> bool {
    error.kind == ErrorKind::Busy && error.message == child::ENDED
}
