//! `millrace sql-worker`: the child process in which SQL runs. Not for people.

use std::io::{BufRead, Read};

use anyhow::Context as _;
use queries::worker::Setup;

/// Bytes of the setup's line, at most.
const SETUP_BYTES_MAX: u64 = 64 << 10;

/// Reads the setup from standard input and serves until that ends.
///
/// # Errors
/// When the setup is none, or the worker cannot begin.
pub(crate) async fn run() -> anyhow::Result<()> {
    crate::telemetry::start_logs(false);
    let setup: Setup = tokio::task::block_in_place(|| {
        let mut line = String::new();
        std::io::stdin().lock().take(SETUP_BYTES_MAX).read_line(&mut line)?;
        serde_json::from_str(&line).context("no setup on standard input: this command is started by the program itself")
    })?;
    match queries::worker::run(setup).await? {}
}
