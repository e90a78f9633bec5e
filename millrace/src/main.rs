//! Millrace: live prices of many venues, one trustworthy price per instrument.

mod cli;
mod commands;
mod config;
mod control;
mod exchange;
mod health;
mod memory;
mod pipeline;
mod sql;
mod telemetry;
mod terminal;
mod topics;
mod trader_key;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// The planner descends into a statement with its own stack, and the deepest that is allowed came near the usual 2 MiB.
const WORKER_STACK_BYTES: usize = 8 << 20;
/// Threads that read files in the worker, at most: the stack of each counts against what it may map.
const WORKER_READERS: usize = 32;

fn main() -> ExitCode {
    memory::give_back_at_once();
    // Both of rustls' providers are linked; this one is meant.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        terminal::say!("error: another TLS provider was installed first");
        return ExitCode::FAILURE;
    }
    match begin(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Causes in one line; a list of mistakes brings its own lines.
            terminal::say!("error: {}", format!("{error:#}").trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Runs a command. What runs statements gives way to the pipeline; the thread that watches their memory, which the main
/// one starts, does not.
fn begin(cli: Cli) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Some(Command::SqlWorker)) {
        runtime.on_thread_start(queries::worker::give_way);
        runtime.thread_stack_size(WORKER_STACK_BYTES).max_blocking_threads(WORKER_READERS);
    }
    runtime.enable_all().build()?.block_on(run(cli))
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command.unwrap_or(Command::Up(cli.up)) {
        Command::Up(args) => commands::up::up(&args).await,
        Command::Run { stage, file } => commands::up::one(stage, &file.file).await,
        Command::Check { file } => commands::check::run(&file),
        Command::Doctor { file } => commands::doctor::run(&file).await,
        Command::Tail(args) => commands::tail::run(&args).await,
        Command::Sql(args) => commands::sql::run(&args).await,
        Command::SqlWorker => commands::sql_worker::run().await,
        Command::Replay(args) => commands::replay::run(&args).await,
        Command::Compact(args) => commands::lake::compact(&args).await,
        Command::Vacuum { keep, tables } => commands::lake::vacuum(&tables, keep).await,
        Command::Verify(args) => commands::lake::verify(&args).await,
        Command::Join { file } => commands::lake::join(&file.file).await,
        Command::Backup { to, file } => commands::backup::backup(&to, &file).await,
        Command::Restore { from, file } => commands::backup::restore(&from, &file).await,
    }
}
