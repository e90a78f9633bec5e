//! `log:` – the embedded log or a Fluvio cluster.

use std::time::Duration;

use journal::embedded::SyncPolicy;

use super::scalar::{count, duration, one_of, size, text};
use super::section::{Context, Section};

/// Which log, and how durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) back_end: BackEnd,
    /// Partitions of each topic; fixed when the topics are created.
    pub(crate) partitions: u32,
    /// Copies of each topic in a cluster.
    pub(crate) replication: u32,
    /// Age at which records go.
    pub(crate) retain_age: Duration,
    /// Bytes per partition at which the oldest records go.
    pub(crate) retain_bytes: u64,
    /// Whether records are kept, whatever their age and bytes, until they have landed in the lake.
    pub(crate) landed: bool,
}

/// The kind of log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackEnd {
    /// In this process, below the data directory.
    Embedded {
        /// When what was appended is synced.
        sync: SyncPolicy,
        /// Bytes of all topics together.
        total_bytes: u64,
    },
    /// A Fluvio cluster at `host:port` of its stream controller.
    Fluvio {
        /// `host:port`.
        endpoint: String,
    },
}

const GIB: u64 = 1 << 30;

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            back_end: BackEnd::Embedded { sync: SyncPolicy::EveryBatch, total_bytes: 8 * GIB },
            partitions: 1,
            replication: 1,
            retain_age: Duration::from_secs(3_600),
            retain_bytes: 2 * GIB,
            landed: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Embedded,
    Fluvio,
}

fn sync(value: &str) -> Result<SyncPolicy, String> {
    match value {
        "every_batch" => Ok(SyncPolicy::EveryBatch),
        "never" => Ok(SyncPolicy::Never),
        other => duration(Duration::from_millis(1)..=Duration::from_secs(60))(other)
            .map(SyncPolicy::Every)
            .map_err(|_| format!("{other:?} is not known: every_batch, a time from 1ms to 1m, or never")),
    }
}

/// Reads the section.
pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> LogSettings {
    let mut settings = LogSettings::default();
    let Some(node) = root.node("log") else { return settings };
    let mut section = Section::open(node, "log", context);
    let kinds = [("embedded", Kind::Embedded), ("fluvio", Kind::Fluvio)];
    match section.required("type", "embedded", context, one_of(&kinds)) {
        Some(Kind::Embedded) => {
            let sync = section.optional("sync", context, sync).unwrap_or(SyncPolicy::EveryBatch);
            let range = (256 << 20)..=(1 << 44);
            let total_bytes = section.optional("total", context, size(range)).unwrap_or(8 * GIB);
            settings.back_end = BackEnd::Embedded { sync, total_bytes };
        }
        Some(Kind::Fluvio) => {
            if let Some(endpoint) = section.required("endpoint", "127.0.0.1:9003", context, host_port) {
                settings.back_end = BackEnd::Fluvio { endpoint };
            }
            settings.replication = section.optional("replication", context, count(1..=16)).unwrap_or(1);
        }
        None => {}
    }
    settings.partitions = section.optional("partitions", context, count(1..=256)).unwrap_or(1);
    if let Some(node) = section.node("retention") {
        let mut retention = Section::open(node, "log.retention", context);
        let ages = Duration::from_secs(60)..=Duration::from_secs(10 * 365 * 86_400);
        let default = settings.retain_age;
        settings.retain_age = retention.optional("age", context, duration(ages)).unwrap_or(default);
        let sizes = (64 << 20)..=(1 << 44);
        let default = settings.retain_bytes;
        settings.retain_bytes = retention.optional("size", context, size(sizes)).unwrap_or(default);
        retention.finish(context);
    }
    section.finish(context);
    settings
}

fn host_port(value: &str) -> Result<String, String> {
    let wrong = || format!("{value:?} is not an address: host:port, as in 127.0.0.1:9003");
    let (host, port) = value.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    text(value)
}
