//! Lets a new log continue a lake that another one began. Never by itself: whoever points a pipeline at the wrong
//! lake must not find two histories in one table.

use std::sync::Arc;

use journal::{Log, Partition};

use super::SinkError;
use crate::delta::{Action, Committed, Txn};
use crate::lake::{Lake, app_id, commit_info, now_ms, uuid_text};
use crate::tables::Table;

/// Commits the log's positions, none landed yet, to every table that has rows of another log. Returns those tables.
///
/// # Errors
/// When the store or the log is away, or refuses.
pub async fn join(lake: &Lake, log: &Arc<dyn Log>) -> Result<Vec<Table>, SinkError> {
    let topics = log.topics().await?;
    let mut joined = Vec::new();
    for table in Table::all() {
        let Some((_, partitions)) = topics.iter().find(|(name, _)| &**name == table.topic()) else { continue };
        loop {
            let snapshot = lake.prepare(*table).await?;
            if !snapshot.positions(log.incarnation()).is_empty() || snapshot.logs().next().is_none() {
                break;
            }
            let mut actions: Vec<Action> = vec![commit_info("JOIN", uuid_text(), &[]).into()];
            for partition in 0..*partitions {
                let start = log.bounds(&Partition::new(table.topic(), partition)).await?.start;
                let app_id = app_id(*table, log.incarnation(), partition);
                let version = i64::try_from(start).unwrap_or(i64::MAX);
                actions.push(Txn { app_id, version, last_updated: Some(now_ms()) }.into());
            }
            let version = snapshot.version.map_or(0, |version| version + 1);
            if matches!(lake.commit(*table, version, &actions).await?, Committed::Yes) {
                joined.push(*table);
                break;
            }
        }
    }
    Ok(joined)
}
