//! The topics of a pipeline and the log that carries them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::fluvio::{FluvioConfig, FluvioLog};
use journal::{Log, Partition, Retention, TopicSpec};
use model::topic;
use sink::tables::Table;

use crate::config::{BackEnd, LogSettings};

/// Topics whose records are few: they are kept this long whatever the age configured for the others.
const SLOW_TOPICS_AGE: Duration = Duration::from_secs(30 * 86_400);
/// Bytes that a slow topic may have.
const SLOW_TOPICS_BYTES: u64 = 256 << 20;

/// A log that is open.
#[derive(Debug, Clone)]
pub(crate) struct OpenLog {
    /// As the stages see it.
    pub(crate) log: Arc<dyn Log>,
    /// The embedded log itself, for what only it can do.
    pub(crate) embedded: Option<Arc<EmbeddedLog>>,
}

/// Where the embedded log lies in a data directory.
pub(crate) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

/// Opens or reaches the log and makes sure that its topics are there.
///
/// # Errors
/// When the log is in use, damaged or out of reach, or a topic has another number of partitions.
pub(crate) async fn open(settings: &LogSettings, data_dir: &Path) -> anyhow::Result<OpenLog> {
    let open = match &settings.back_end {
        BackEnd::Embedded { sync, total_bytes } => {
            let config = EmbeddedConfig { sync: *sync, total_bytes: Some(*total_bytes), ..EmbeddedConfig::default() };
            let dir = log_dir(data_dir);
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            let embedded = Arc::new(EmbeddedLog::open(&dir, config).await?);
            OpenLog { log: Arc::clone(&embedded) as Arc<dyn Log>, embedded: Some(embedded) }
        }
        BackEnd::Fluvio { endpoint } => {
            let mut config = FluvioConfig::new(endpoint.clone());
            config.replication = settings.replication;
            OpenLog { log: Arc::new(FluvioLog::connect(config).await?), embedded: None }
        }
    };
    for spec in specs(settings) {
        open.log.create_topic(&spec).await?;
    }
    if settings.landed {
        // Until the sink says how far it has come, nothing goes.
        let topics = open.log.topics().await?;
        let of_table = |name: &str| Table::all().iter().any(|table| table.topic() == name);
        for (name, partitions) in topics.iter().filter(|(name, _)| of_table(name)) {
            for index in 0..*partitions {
                open.log.hold(&Partition::new(name, index), 0).await?;
            }
        }
    }
    Ok(open)
}

/// Every topic with its partitions and bounds.
fn specs(settings: &LogSettings) -> Vec<TopicSpec> {
    let fast = Retention { age: Some(settings.retain_age), bytes: Some(settings.retain_bytes) };
    let slow = Retention { age: Some(SLOW_TOPICS_AGE.max(settings.retain_age)), bytes: Some(SLOW_TOPICS_BYTES) };
    [
        (topic::TICKS, settings.partitions, fast),
        (topic::PRICES, settings.partitions, fast),
        (topic::CANDLES, settings.partitions, slow),
        (topic::CONTROL, 1, slow),
        (topic::AUDIT, 1, slow),
        (topic::DEAD_LETTERS, 1, slow),
        (topic::ORDERS, 1, fast),
        (topic::EXECUTIONS, settings.partitions, fast),
        (topic::LEDGER, settings.partitions, fast),
        (topic::INSTRUMENTS, settings.partitions, slow),
        (topic::TRADES, settings.partitions, fast),
        (topic::BOOK, settings.partitions, fast),
    ]
    .map(|(name, partitions, retention)| TopicSpec {
        name: name.into(),
        partitions,
        replication: settings.replication,
        retention,
    })
    .into()
}
