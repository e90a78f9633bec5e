//! The door by which a command reaches the program that owns a data directory: a Unix socket in it.
//!
//! Only who may write the directory may open the socket, so the file system is the authentication. One JSON
//! object a line in each direction: `{"backup": "/a/folder"}` is answered by `{"done": true}` or
//! `{"error": "a sentence"}`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use journal::Log;
use journal::embedded::EmbeddedLog;
use serde::{Deserialize, Serialize};
use sink::lake::Lake;
use sink::tables::Table;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::commands::backup::{LOG_DIR, SNAPSHOTS_DIR, copy_snapshots};
use crate::commands::lake::one as verify_table;
use crate::trader_key;

const SOCKET: &str = "control.sock";
/// Bytes of a request or an answer, at most.
const LINE_BYTES_MAX: u64 = 8 << 10;
/// Time for a request to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Copy log and snapshots into a new folder, given by its absolute path.
    Backup(PathBuf),
    /// Compare a table of the lake, by its name, with the log.
    Verify(String),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(bool),
    Verified { line: String, sound: bool },
    Error(String),
}

/// The open door of a running program.
pub(crate) struct ControlDoor {
    listener: UnixListener,
    path: PathBuf,
    data_dir: PathBuf,
    log: Arc<EmbeddedLog>,
    lake: Option<Lake>,
}

impl ControlDoor {
    /// Opens the socket. Whoever calls this owns the log, so a socket that is there is a dead program's.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn open(data_dir: &Path, log: Arc<EmbeddedLog>) -> anyhow::Result<Self> {
        let path = data_dir.join(SOCKET);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot replace {}", path.display())),
        }
        let made = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let listener = made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { listener, path, data_dir: data_dir.to_owned(), log, lake: None })
    }

    /// The lake that belongs to the log.
    pub(crate) fn with_lake(self, lake: Option<Lake>) -> Self {
        Self { lake, ..self }
    }

    /// Answers one caller after another until `stop`.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = self.answer(stream).await {
                        tracing::warn!(%error, "a command was not answered");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no command can be accepted at the moment");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        // The next start replaces it as well.
        let _ = std::fs::remove_file(&self.path);
    }

    async fn answer(&self, stream: UnixStream) -> anyhow::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut reader = BufReader::new(read.take(LINE_BYTES_MAX));
        tokio::time::timeout(REQUEST_WITHIN, reader.read_line(&mut line)).await.context("no request came")??;
        let answer = match serde_json::from_str(&line) {
            Ok(Request::Backup(to)) => match self.backup(&to).await {
                Ok(()) => Answer::Done(true),
                Err(error) => Answer::Error(format!("{error:#}")),
            },
            Ok(Request::Verify(table)) => match self.verify(&table).await {
                Ok((line, sound)) => Answer::Verified { line, sound },
                Err(error) => Answer::Error(format!("{error:#}")),
            },
            Err(error) => Answer::Error(format!("not a request: {error}")),
        };
        let mut text = serde_json::to_string(&answer)?;
        text.push('\n');
        write.write_all(text.as_bytes()).await?;
        Ok(())
    }

    async fn verify(&self, table: &str) -> anyhow::Result<(String, bool)> {
        let table: Table = table.parse()?;
        let lake = self.lake.as_ref().context("this pipeline has no lake")?;
        let log = Arc::clone(&self.log) as Arc<dyn Log>;
        // A view of its own: the sink goes on landing meanwhile.
        let lake = Lake::open(lake.place()).await?;
        verify_table(&lake, &log, table, |_| {}).await
    }

    /// Copies log, snapshots and the key of the exchange below `to`.
    pub(crate) async fn backup(&self, to: &Path) -> anyhow::Result<()> {
        // Snapshots first: a snapshot must not be ahead of the log that it goes with.
        copy_snapshots(&self.data_dir.join(SNAPSHOTS_DIR), &to.join(SNAPSHOTS_DIR))?;
        self.log.backup(to.join(LOG_DIR)).await?;
        trader_key::copy(&self.data_dir, to)
    }
}

/// Asks the program that owns `data_dir`; `None` when none runs.
///
/// # Errors
/// When it refuses, or does not answer.
pub(crate) async fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Option<()>> {
    match exchange(data_dir, request).await? {
        None => Ok(None),
        Some(Answer::Error(what)) => anyhow::bail!(what),
        Some(_) => Ok(Some(())),
    }
}

/// As [`ask`], for a verification: its line and whether the table is sound.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn verified(data_dir: &Path, request: &Request) -> anyhow::Result<Option<(String, bool)>> {
    match exchange(data_dir, request).await? {
        None => Ok(None),
        Some(Answer::Verified { line, sound }) => Ok(Some((line, sound))),
        Some(Answer::Error(what)) => anyhow::bail!(what),
        Some(Answer::Done(_)) => anyhow::bail!("the running program is of another version"),
    }
}

async fn exchange(data_dir: &Path, request: &Request) -> anyhow::Result<Option<Answer>> {
    let Ok(stream) = UnixStream::connect(data_dir.join(SOCKET)).await else { return Ok(None) };
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let answer = serde_json::from_str(&line).context("the running program ended before it answered")?;
    Ok(Some(answer))
}
