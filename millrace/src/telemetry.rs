//! Structured logs to standard error, metrics to `/metrics`.

use std::io::IsTerminal;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Bounds of latency histograms, in seconds.
const LATENCY_BUCKETS_S: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Starts logging: text on a terminal, JSON lines otherwise; `MILLRACE_LOG` sets the level by target, as in
/// `info,ingest=debug`. With `quiet` only warnings are shown unless the variable says otherwise.
pub(crate) fn start_logs(quiet: bool) {
    let default = if quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_env("MILLRACE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A line that cannot be written is lost; saying so on the same standard error would end the thread.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if std::io::stderr().is_terminal() {
        builder.compact().init();
    } else {
        builder.json().init();
    }
}

/// How often the values of histograms are counted into their buckets. Until then each takes eight bytes: thousands a
/// second, were it left to whoever asks for `/metrics`.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the recorder behind every counter of the program. Only inside a runtime.
///
/// # Errors
/// When another one is installed already.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENCY_BUCKETS_S)?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        loop {
            every.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
