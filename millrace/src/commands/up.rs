//! `millrace up` and `millrace run STAGE`: stages until Ctrl-C.

use std::io::IsTerminal;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Stage, UpArgs};
use crate::config::{BackEnd, Pipeline};
use crate::pipeline::{Running, Stages};
use crate::terminal::say;
use crate::{telemetry, terminal};

/// Runs the whole pipeline.
///
/// # Errors
/// A file with mistakes, a port or data directory in use, or the failure that ended it.
pub(crate) async fn up(args: &UpArgs) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(&args.file)?;
    let live = !args.no_live && std::io::stderr().is_terminal();
    telemetry::start_logs(live);
    run(&pipeline, &args.file, Stages::ALL, live).await
}

/// Runs one stage.
///
/// # Errors
/// As [`up`], and for the embedded log, which one process has for itself.
pub(crate) async fn one(stage: Stage, file: &Path) -> anyhow::Result<()> {
    let pipeline = Pipeline::load(file)?;
    anyhow::ensure!(
        !matches!(pipeline.log.back_end, BackEnd::Embedded { .. }),
        "stages in processes of their own need a log that they can share: set `log: {{ type: fluvio, … }}` in {}, \
         or run them together with `millrace up`",
        file.display()
    );
    telemetry::start_logs(false);
    let none = Stages { simulate: false, ingest: false, aggregate: false, matcher: false, sink: false, api: false };
    let stages = match stage {
        // The simulated venues belong to those who read them.
        Stage::Ingest => Stages { simulate: true, ingest: true, ..none },
        Stage::Aggregate => Stages { aggregate: true, ..none },
        Stage::Matcher => Stages { matcher: true, ..none },
        Stage::Sink => Stages { sink: true, ..none },
        Stage::Api => Stages { api: true, ..none },
    };
    run(&pipeline, file, stages, false).await
}

async fn run(pipeline: &Pipeline, file: &Path, stages: Stages, live: bool) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let running = Running::start(pipeline, stages, metrics, stop.clone()).await?;
    terminal::greet(pipeline, file, &running);
    let shown = tokio::spawn(terminal::follow(
        pipeline.instruments.clone(),
        std::sync::Arc::clone(&running.cache),
        live,
        stop.clone(),
    ));
    let result = running.finish().await;
    stop.cancel();
    shown.await?;
    result?;
    say!("stopped cleanly; the next start continues from {}", pipeline.data_dir.display());
    Ok(())
}

/// Asks for a stop at Ctrl-C or SIGTERM; the second one ends the process at once.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                say!("stopped at once; what was acknowledged is in the log");
                std::process::exit(130);
            }
            say!("stopping; press again to end at once");
            stop.cancel();
        }
    });
    Ok(())
}
