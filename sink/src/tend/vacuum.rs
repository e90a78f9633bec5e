//! Deletes files that no reader can want any more: those taken out of their table long ago, those that were uploaded
//! and never committed, and entries of the table's log that are older than its retention and behind a checkpoint.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::delta::Entry;
use crate::lake::{Lake, LakeError, now_ms};
use crate::tables::Table;

/// Files out of their table for longer go. Far longer than any statement runs, and than a writer takes between
/// upload and commit, even while its store is away.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// No grace is shorter: a running statement reads files of its snapshot.
const GRACE_MIN: Duration = Duration::from_secs(60);

/// What a vacuum did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vacuumed {
    /// Files looked at.
    pub seen: usize,
    /// Files deleted.
    pub deleted: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Entries of the table's log deleted.
    pub log_entries: usize,
}

/// Whether a file that is not part of the table may go.
fn is_forgotten(removed_ms: Option<i64>, modified_ms: i64, now_ms: i64, grace: Duration) -> bool {
    let since = removed_ms.unwrap_or(modified_ms).max(modified_ms);
    u128::try_from(now_ms.saturating_sub(since)).is_ok_and(|age| age > grace.as_millis())
}

/// Deletes what has been out of the table for longer than `grace`, at least a minute. `progress` is told of every
/// file looked at.
///
/// # Errors
/// When the store is away.
pub async fn vacuum(
    lake: &Lake,
    table: Table,
    grace: Duration,
    mut progress: impl FnMut(usize),
) -> Result<Vacuumed, LakeError> {
    let grace = grace.max(GRACE_MIN);
    let store = lake.objects();
    let mut done = Vacuumed::default();
    let mut listed = store.list(Some(&Path::from(table.name())));
    let (mut doubtful, mut entries) = (Vec::new(), Vec::new());
    let log = format!("{}/_delta_log/", table.name());
    while let Some(object) = listed.try_next().await? {
        let path = object.location.to_string();
        if let Some(name) = path.strip_prefix(&log) {
            entries.push(Entry { name: name.to_owned(), modified_ms: object.last_modified.timestamp_millis() });
            continue;
        }
        if !path.ends_with(".parquet") {
            continue;
        }
        done.seen += 1;
        progress(done.seen);
        doubtful.push((path, object.last_modified.timestamp_millis(), object.size));
    }
    // The table is read after the listing: what was committed meanwhile is part of it.
    let snapshot = lake.snapshot(table).await?;
    let kept: BTreeSet<&str> = snapshot.files.iter().map(|file| &*file.path).collect();
    let now = now_ms();
    for (path, modified, size) in &doubtful {
        if kept.contains(&**path) || !is_forgotten(snapshot.removed().get(path).copied(), *modified, now, grace) {
            continue;
        }
        store.delete(&Path::from(&**path)).await?;
        done.deleted += 1;
        done.bytes += size;
    }
    done.log_entries = lake.clean_up(table, &entries).await?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_counts_from_removal_and_from_upload() {
        let grace = Duration::from_secs(100);
        assert!(!is_forgotten(Some(50_000), 0, 150_000, grace));
        assert!(is_forgotten(Some(50_000), 0, 150_001, grace));
        assert!(!is_forgotten(None, 60_000, 150_001, grace), "uploaded and not yet committed");
        assert!(is_forgotten(None, 10_000, 150_001, grace));
        assert!(!is_forgotten(None, 500_000, 150_000, grace), "a clock that runs ahead");
    }
}
