//! The worker process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::HostConfig;
use super::feed;
use crate::error::{ErrorKind, SqlError};
use crate::worker::{LakePlace, Setup};

/// Time for a worker to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Time in which the end of a worker is noticed.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// What is said when a worker has gone and nobody knows why.
pub(super) const ENDED: &str = "the SQL worker was ended, by another statement that did not stop or by the limit of \
                                memory: try again";

/// The program's allocator would otherwise take a gigabyte of writable memory at its start, which would count.
const ALLOCATOR: [(&str, &str); 2] = [("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MIMALLOC_PURGE_DELAY", "100")];

/// A worker at work. Dropping the last handle ends it.
#[derive(Debug)]
pub(super) struct Child {
    socket: PathBuf,
    /// Fires to end it.
    kill: CancellationToken,
    /// Fires when it has ended.
    ended: CancellationToken,
    _ends_with_us: DropGuard,
}

/// A directory of our own that only we may enter.
fn private_dir() -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("millrace-sql-").tempdir()
}

impl Child {
    /// Starts a worker and waits until it is ready.
    pub(super) async fn start(config: &HostConfig, stop: &CancellationToken) -> Result<Self, SqlError> {
        let failed = |error: std::io::Error| SqlError::internal(format!("the SQL worker cannot be started: {error}"));
        let dir = private_dir().map_err(failed)?;
        let socket = dir.path().join("sql.sock");
        let setup = Setup {
            socket: socket.clone(),
            lake: config.lake.as_ref().map(LakePlace::from),
            log: config.log.as_ref().map(|log| format!("{:032x}", log.incarnation())),
            limits: config.limits.clone(),
        };
        let mut process = Command::new(&config.program)
            .arg("sql-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C on a terminal is its parent's matter.
            .process_group(0)
            .envs(ALLOCATOR)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut line = serde_json::to_vec(&setup).map_err(SqlError::internal)?;
        line.push(b'\n');
        let mut stdin = process.stdin.take().expect("it is piped");
        stdin.write_all(&line).await.map_err(failed)?;
        let mut ready = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let said = tokio::time::timeout(READY_WITHIN, stdout.read_line(&mut ready)).await;
        if !matches!(said, Ok(Ok(_))) || ready.trim() != "ready" {
            return Err(SqlError::internal("the SQL worker did not become ready: see its messages"));
        }
        let (kill, ended) = (stop.child_token(), CancellationToken::new());
        let (stopping, gone) = (kill.clone(), ended.clone());
        tokio::spawn(async move {
            tokio::select! {
                status = process.wait() => {
                    tracing::warn!(?status, "the SQL worker ended by itself; the next statement starts another");
                }
                () = stopping.cancelled() => {
                    // It is gone when this returns, and so is all that it held.
                    let _ = process.kill().await;
                }
            }
            gone.cancel();
            drop((stdin, stdout, dir));
        });
        if let Some(log) = &config.log {
            feed::start(log, &socket, &ended);
        }
        let guard = kill.clone().drop_guard();
        Ok(Self { socket, kill, ended, _ends_with_us: guard })
    }

    /// Whether it has ended or is being ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled() || self.kill.is_cancelled()
    }

    /// Waits until its end is known, which follows a moment after its connections have broken.
    pub(super) async fn gone(&self) {
        let _ = tokio::time::timeout(GONE_WITHIN, self.ended.cancelled()).await;
    }

    /// Ends it, whatever it is doing.
    pub(super) fn kill(&self, why: &str) {
        if !self.kill.is_cancelled() {
            metrics::counter!("millrace_sql_workers_killed_total").increment(1);
            tracing::warn!(why, "the SQL worker is ended; the next statement starts another");
            self.kill.cancel();
        }
    }

    /// A new connection to it.
    pub(super) async fn connect(&self) -> Result<UnixStream, SqlError> {
        connect(&self.socket).await
    }
}

pub(super) async fn connect(socket: &Path) -> Result<UnixStream, SqlError> {
    UnixStream::connect(socket).await.map_err(|_| SqlError::new(ErrorKind::Busy, ENDED))
}
