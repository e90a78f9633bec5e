//! Records that cannot become rows go to `dead-letters`, before the commit that passes over them.

use std::sync::Arc;

use journal::{Batch, Log, LogError, Partition, Priority};
use model::topic::{DEAD_LETTERS, partition_for};

use crate::tables::{RowError, Table};

/// Bytes of a refused record that its letter keeps.
const KEPT_BYTES_MAX: usize = 2_048;
/// Letters that one commit may wait for: a topic full of refused records must not fill memory.
pub(super) const LETTERS_MAX: usize = 4_096;

/// Letters that wait for the next commit.
#[derive(Debug, Default)]
pub(super) struct Letters {
    waiting: Vec<(String, Vec<u8>)>,
}

impl Letters {
    /// Notes a refused record.
    pub(super) fn refuse(&mut self, table: Table, partition: u32, offset: u64, error: &RowError, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(KEPT_BYTES_MAX)];
        let source = format!("sink/{}/{partition}", table.topic());
        let letter = serde_json::json!({
            "v": 1,
            "source": source,
            "offset": offset.to_string(),
            "reason": error.to_string(),
            "length": bytes.len(),
            "input": String::from_utf8_lossy(kept),
            "ts_recv": crate::lake::now_ms().saturating_mul(1_000_000),
        });
        self.waiting.push((source, letter.to_string().into_bytes()));
    }

    /// Whether a commit is due for their number.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= LETTERS_MAX
    }

    /// Appends what waits and waits until it is durable. After a failure all are appended again, so a letter may
    /// be there twice.
    pub(super) async fn send(&mut self, log: &Arc<dyn Log>) -> Result<(), LogError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let topics = log.topics().await?;
        let Some((_, partitions)) = topics.iter().find(|(name, _)| &**name == DEAD_LETTERS) else {
            return Err(LogError::UnknownPartition(Partition::new(DEAD_LETTERS, 0)));
        };
        for (source, letter) in &self.waiting {
            let home = partition_for(source.as_bytes(), *partitions);
            let mut appender = log.appender(&Partition::new(DEAD_LETTERS, home), Priority::Normal).await?;
            appender.append(Batch::of(source.as_bytes(), letter)).await?.await?;
        }
        self.waiting.clear();
        Ok(())
    }
}
