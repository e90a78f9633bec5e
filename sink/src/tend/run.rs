//! Compaction and vacuum by themselves, beside the landing.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::compact::compact;
use super::vacuum::{GRACE_DEFAULT, Vacuumed, vacuum};
use crate::lake::{Lake, LakeError};
use crate::tables::Table;

/// A vacuum follows every so many rounds of compaction: it lists the whole lake.
const ROUNDS_A_VACUUM: u64 = 12;

/// How tables are tended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TendConfig {
    /// Time between two rounds.
    pub every: Duration,
    /// How long a file is kept after it left its table.
    pub grace: Duration,
}

impl Default for TendConfig {
    fn default() -> Self {
        Self { every: Duration::from_secs(300), grace: GRACE_DEFAULT }
    }
}

/// Compacts and vacuums every table, round after round, until `stop`. Failures are told and tried again in the
/// next round.
pub async fn tend(lake: Lake, config: TendConfig, stop: CancellationToken) {
    let mut round = 0u64;
    while stop.run_until_cancelled(tokio::time::sleep(config.every)).await.is_some() {
        round += 1;
        for table in Table::all() {
            let tended = stop.run_until_cancelled(one(&lake, *table, config.grace, round)).await;
            match tended {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::warn!(%table, %error, "not compacted this time"),
            }
        }
    }
}

async fn one(lake: &Lake, table: Table, grace: Duration, round: u64) -> Result<(), LakeError> {
    let done = compact(lake, table, |_, _| {}).await?;
    if done.files_before > 0 {
        tracing::info!(
            %table, files_before = done.files_before, files_after = done.files_after, rows = done.rows, "compacted"
        );
    }
    if round.is_multiple_of(ROUNDS_A_VACUUM) {
        let done = vacuum(lake, table, grace, |_| {}).await?;
        if done.deleted > 0 || done.log_entries > 0 {
            let Vacuumed { deleted, bytes, log_entries, .. } = done;
            tracing::info!(%table, files = deleted, bytes, log_entries, "vacuumed");
        }
    }
    Ok(())
}
