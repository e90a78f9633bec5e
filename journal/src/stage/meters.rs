//! A stage's metrics, looked up once.

use metrics::{Counter, Gauge};

use super::StageConfig;

/// Labelled with the stage's name and the partition of its inbox.
pub(super) struct Meters {
    /// Records applied.
    pub(super) records: Counter,
    /// Outputs handed to the log.
    pub(super) outputs: Counter,
    /// Next record to be applied; the inbox's end less this is the lag in records.
    pub(super) position: Gauge,
    /// Hand-overs to the log that are not acknowledged.
    pub(super) outstanding: Gauge,
    pub(super) snapshots: Counter,
    pub(super) snapshot_failures: Counter,
    /// Snapshots passed over at a start.
    pub(super) snapshots_skipped: Counter,
    /// Size of the newest one.
    pub(super) snapshot_bytes: Gauge,
    /// What the newest one took.
    pub(super) snapshot_seconds: Gauge,
}

impl Meters {
    pub(super) fn new(config: &StageConfig) -> Self {
        let labels = [("stage", config.name.to_string()), ("partition", config.inbox.index.to_string())];
        Self {
            records: metrics::counter!("millrace_stage_records_total", &labels),
            outputs: metrics::counter!("millrace_stage_outputs_total", &labels),
            position: metrics::gauge!("millrace_stage_position", &labels),
            outstanding: metrics::gauge!("millrace_stage_outstanding", &labels),
            snapshots: metrics::counter!("millrace_stage_snapshots_total", &labels),
            snapshot_failures: metrics::counter!("millrace_stage_snapshot_failures_total", &labels),
            snapshots_skipped: metrics::counter!("millrace_stage_snapshots_skipped_total", &labels),
            snapshot_bytes: metrics::gauge!("millrace_stage_snapshot_bytes", &labels),
            snapshot_seconds: metrics::gauge!("millrace_stage_snapshot_seconds", &labels),
        }
    }
}
