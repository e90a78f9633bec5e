//! What the stages say of themselves on `/healthz`.

use std::sync::Arc;
use std::time::Duration;

use api::{HealthRegistry, PartHealth};
use ingest::Status;
use journal::stage::{Phase, StageStatus};
use model::FeedPhase;
use sink::land::{Phase as LandingPhase, Sink};
use tokio::sync::watch;

/// Reports the venues: down when no feed of any lives, degraded when some do not.
pub(crate) fn watch_ingest(health: &HealthRegistry, status: Arc<Status>) {
    health.register("ingest", move || {
        let sources = status.report();
        let mut ill = Vec::new();
        let (mut feeds, mut live) = (0, 0);
        for source in &sources {
            let of_source = source.feeds.len();
            let live_here = source.feeds.iter().filter(|feed| feed.phase == FeedPhase::Live).count();
            feeds += of_source;
            live += live_here;
            if !source.is_healthy() {
                let trouble = source.trouble.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
                ill.push(format!("{} has {live_here} of {of_source} feeds live{trouble}", source.venue));
            }
        }
        match (live, ill.is_empty()) {
            (0, _) if feeds > 0 => PartHealth::down(format!("no feed is live; {}", ill.join("; "))),
            (_, true) => PartHealth::ok(format!("{live} feeds of {} venues are live", sources.len())),
            (_, false) => PartHealth::degraded(ill.join("; ")),
        }
    });
}

/// Reports a stage: down when a partition has stopped or waits for the log.
pub(crate) fn watch_stage(health: &HealthRegistry, stage: &str, statuses: &[watch::Receiver<StageStatus>]) {
    let statuses = statuses.to_vec();
    health.register(stage, move || {
        let mut catching_up = Vec::new();
        for (partition, status) in statuses.iter().enumerate() {
            let status = status.borrow().clone();
            match status.phase {
                Phase::Live => {}
                Phase::Recovering | Phase::CatchingUp => catching_up
                    .push(format!("partition {partition} is at {} of {}", status.position, status.end_at_start)),
                Phase::Waiting | Phase::Stopped => {
                    let why = status.failure.unwrap_or_else(|| "stopped".to_owned());
                    return PartHealth::down(format!("partition {partition}: {why}"));
                }
            }
        }
        if catching_up.is_empty() {
            PartHealth::ok(format!("{} partitions are live", statuses.len()))
        } else {
            PartHealth::degraded(format!("catching up: {}", catching_up.join(", ")))
        }
    });
}

/// A table that tries again for longer than this is not a hiccup.
const WAITING_MAX: Duration = Duration::from_secs(3);

/// Reports the sink: down when the store is away or a table no longer lands, degraded when records were lost.
pub(crate) fn watch_sink(health: &HealthRegistry, sink: &Sink) {
    let (statuses, store) = (sink.statuses().to_vec(), sink.store());
    health.register("sink", move || {
        if let Some(why) = &*store.borrow() {
            return PartHealth::down(format!("the lake is away: {why}"));
        }
        let (mut rows, mut lost, mut refused, mut starting) = (0, 0, 0, 0);
        for status in &statuses {
            let status = status.borrow();
            match &status.phase {
                LandingPhase::Landing => {}
                LandingPhase::Starting => starting += 1,
                LandingPhase::Waiting(why) if status.since.elapsed() > WAITING_MAX => {
                    return PartHealth::down(format!("table {}: {why}", status.table));
                }
                LandingPhase::Waiting(_) => starting += 1,
                LandingPhase::Stopped(why) => {
                    let why = why.as_deref().unwrap_or("stopped");
                    return PartHealth::down(format!("table {}: {why}", status.table));
                }
            }
            rows += status.rows;
            lost += status.lost;
            refused += status.refused;
        }
        let said = format!("{rows} rows landed, {refused} records refused");
        match (lost, starting) {
            (0, 0) => PartHealth::ok(said),
            (0, _) => PartHealth::degraded(format!("{starting} tables are not landing yet; {said}")),
            _ => PartHealth::degraded(format!("{lost} records were trimmed before they landed; {said}")),
        }
    });
}
