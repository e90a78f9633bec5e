//! Tables whose log was cleaned up: new readers and old ones find their way, and nobody commits into the past.

use std::time::{Duration, SystemTime};

use super::*;
use crate::delta::{Action, Txn};
use crate::tend::vacuum;

const TABLE: Table = Table::Trades;
const APP: &str = "a test";

async fn open(folder: &std::path::Path) -> Lake {
    Lake::open(&Place::Directory(folder.to_owned())).await.expect("opened")
}

/// Commits that change nothing but a number, up to a version.
async fn commit_up_to(lake: &Lake, last: u64) {
    let mut version = lake.prepare(TABLE).await.expect("made").version.expect("made");
    while version < last {
        version += 1;
        let txn = Txn { app_id: APP.into(), version: i64::try_from(version).expect("small"), last_updated: None };
        let actions: [Action; 2] = [commit_info("WRITE", uuid_text(), &[]).into(), txn.into()];
        assert!(matches!(lake.commit(TABLE, version, &actions).await, Ok(Committed::Yes)), "version {version}");
    }
}

/// Makes every entry of the log up to a version as old as the retention and a day.
fn age(folder: &std::path::Path, last: u64) {
    let then = SystemTime::now() - Duration::from_secs(8 * 86_400);
    for entry in std::fs::read_dir(folder.join("trades/_delta_log")).expect("the log") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name.get(..20).and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|version| version <= last) {
            std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(then)).expect("aged");
        }
    }
}

fn versions(folder: &std::path::Path) -> Vec<u64> {
    let names = std::fs::read_dir(folder.join("trades/_delta_log")).expect("the log");
    let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut all: Vec<u64> = names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    all.sort_unstable();
    all
}

async fn forget_when_looked(lake: &Lake) {
    let mut state = lake.slots[TABLE as usize].state.lock().await;
    state.as_mut().expect("looked at").looked_ms = 0;
}

async fn number(lake: &Lake) -> i64 {
    let state = lake.slots[TABLE as usize].state.lock().await;
    state.as_ref().expect("looked at").txns[APP]
}

#[tokio::test]
async fn old_readers_and_new_ones_find_the_end_and_old_writers_see_that_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = open(folder.path()).await;
    commit_up_to(&writer, 20).await;
    let old = open(folder.path()).await;
    assert_eq!(old.snapshot(TABLE).await.expect("read").version, Some(20));
    commit_up_to(&writer, 130).await;

    // Nothing is old, then all but the last few are.
    assert_eq!(vacuum(&writer, TABLE, Duration::ZERO, |_| {}).await.expect("done").log_entries, 0);
    age(folder.path(), 120);
    let done = vacuum(&writer, TABLE, Duration::ZERO, |_| {}).await.expect("done");
    assert_eq!(done.log_entries, 101, "100 commits and the checkpoint before the one at 100");
    assert_eq!(versions(folder.path()), (100..=130).collect::<Vec<_>>());
    assert_eq!(vacuum(&writer, TABLE, Duration::ZERO, |_| {}).await.expect("done").log_entries, 0, "once");

    // A reader that knows nothing, one without the hint, and one that was here long before.
    for hint in [true, false] {
        if !hint {
            std::fs::remove_file(folder.path().join("trades/_delta_log/_last_checkpoint")).expect("there");
        }
        let fresh = open(folder.path()).await;
        assert_eq!(fresh.snapshot(TABLE).await.expect("read").version, Some(130), "hint: {hint}");
        assert_eq!(number(&fresh).await, 130);
    }
    // A writer that stands where the log is gone must not commit there: nobody would ever read it.
    forget_when_looked(&old).await;
    let actions: [Action; 1] = [commit_info("WRITE", uuid_text(), &[]).into()];
    assert!(matches!(old.commit(TABLE, 21, &actions).await, Ok(Committed::Taken)));
    assert!(!versions(folder.path()).contains(&21));
    assert_eq!((old.snapshot(TABLE).await.expect("read").version, number(&old).await), (Some(130), 130));
    commit_up_to(&old, 131).await;
    assert_eq!(writer.snapshot(TABLE).await.expect("read").version, Some(131));
}

#[tokio::test]
async fn a_table_that_lost_its_beginning_is_not_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = open(folder.path()).await;
    commit_up_to(&writer, 60).await;
    let log = folder.path().join("trades/_delta_log");
    std::fs::remove_file(log.join(format!("{:020}.json", 0))).expect("there");
    std::fs::remove_file(log.join(format!("{:020}.checkpoint.parquet", 50))).expect("there");
    let refused = open(folder.path()).await.prepare(TABLE).await.expect_err("no beginning");
    assert!(refused.to_string().contains("neither all versions before it nor a checkpoint"), "{refused}");
    assert!(!versions(folder.path()).contains(&0));
}

/// What the table's owner says counts; what nobody understands keeps everything.
#[tokio::test]
async fn the_table_says_how_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = open(folder.path()).await;
    commit_up_to(&lake, 60).await;
    age(folder.path(), 60);
    let mut version = 60;
    for (name, value, gone) in [
        ("delta.logRetentionDuration", "interval 9 days", 0),
        ("delta.logRetentionDuration", "as long as you like", 0),
        ("delta.enableExpiredLogCleanup", "false", 0),
        ("delta.logRetentionDuration", "interval 2 days", 50),
    ] {
        version += 1;
        let state = lake.slots[TABLE as usize].state.lock().await;
        let metadata = state.as_ref().and_then(|state| state.metadata.clone()).expect("made");
        drop(state);
        let configuration = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let actions = [MetaData { configuration, ..metadata }.into()];
        assert!(matches!(lake.commit(TABLE, version, &actions).await, Ok(Committed::Yes)));
        let done = vacuum(&lake, TABLE, Duration::ZERO, |_| {}).await.expect("done");
        assert_eq!(done.log_entries, gone, "{name} {value}");
    }
}
