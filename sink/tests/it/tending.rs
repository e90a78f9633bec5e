//! Compaction, vacuum and verification, while landing goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use object_store::{ObjectStoreExt, PutPayload};
use sink::lake::Lake;
use sink::land::Sink;
use sink::tables::Table;
use sink::tend::{compact, vacuum, verify};
use tokio_util::sync::CancellationToken;

use crate::support::{
    append, assert_once, batches, config, land_all, log_with_topics, open_lake, tick, trade, until_landed,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compacted_files_are_sorted_and_hold_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(7);
    for part in 0..6u64 {
        let numbers = (part * 500..(part + 1) * 500).map(|n| n * 60);
        append(&*log, "trades", 0, numbers.map(|n| trade(&mut random, 0, n)).collect::<Vec<_>>().into_iter()).await;
        land_all(&log, &lake, config(&[Table::Trades], 100)).await;
    }
    let before = lake.snapshot(Table::Trades).await.unwrap();
    let mut last = (0, 0);
    let done = compact(&lake, Table::Trades, |at, all| last = (at, all)).await.unwrap();
    assert_eq!(last.0, last.1, "progress ends at its end");
    let after = lake.snapshot(Table::Trades).await.unwrap();
    assert!(after.files.len() < before.files.len() && done.bytes_after > 0, "{done:?}");
    assert_eq!(after.rows(), 3_000);
    assert!(after.files.iter().any(|file| file.level == 2), "the first date is closed");
    for file in after.files.iter().filter(|file| file.sorted) {
        let mut one = (*after).clone();
        one.files = vec![Arc::clone(file)];
        let mut keys: Vec<(String, i64)> = Vec::new();
        for batch in batches(&lake, &one).await {
            let symbols = batch.column_by_name("symbol").unwrap().as_string::<i32>();
            let times = batch.column_by_name("ts_event_ns").unwrap().as_primitive::<Int64Type>();
            keys.extend(symbols.iter().flatten().map(str::to_owned).zip(times.values().iter().copied()));
        }
        assert!(keys.is_sorted(), "{}", file.path);
    }
    assert_once(&lake, Table::Trades, (0..3_000).map(|offset| (0, offset))).await;
    // A pinned snapshot stays readable until the vacuum's grace is over, and is gone after.
    assert_eq!(batches(&lake, &before).await.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3_000);
    let kept = vacuum(&lake, Table::Trades, Duration::from_secs(3_600), |_| {}).await.unwrap();
    assert_eq!(kept.deleted, 0);
    assert_eq!(compact(&lake, Table::Trades, |_, _| {}).await.unwrap().files_before, 0, "nothing is left to do");
    let found = verify(&lake, &log, Table::Trades, |_| {}).await.unwrap();
    assert!(found.is_sound() && found.rows == 3_000 && found.records == 3_000, "{found:?}");
}

/// Landing and compaction commit to one table at the same time; neither loses or doubles a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_and_landing_interleave() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    // The compactor is another program: it has its own view of the table.
    let other = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(8);
    let stop = CancellationToken::new();
    let config = config(&[Table::Ticks], 50);
    let sink = Sink::start(Arc::clone(&log), lake.clone(), config, stop.clone()).unwrap();
    let compacted = Arc::new(AtomicUsize::new(0));
    let compactor = {
        let (stop, compacted) = (stop.clone(), Arc::clone(&compacted));
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let files = compact(&other, Table::Ticks, |_, _| {}).await.unwrap().files_before;
                compacted.fetch_add(files, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let begun = Instant::now();
    let mut parts = 0u64;
    // A slow disk may have all of it land at once, with nothing closed yet: then more has to come.
    while parts < 40 || compacted.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the compactor finds nothing to do: {parts} parts");
        let numbers = parts * 200..(parts + 1) * 200;
        append(&*log, "ticks", 1, numbers.map(|n| tick(&mut random, n)).collect::<Vec<_>>().into_iter()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        parts += 1;
    }
    until_landed(&log, &lake, &[Table::Ticks]).await;
    stop.cancel();
    sink.join().await.unwrap();
    compactor.await.unwrap();
    assert_once(&lake, Table::Ticks, (0..parts * 200).map(|offset| (1, offset))).await;
}

/// What somebody does to a table behind our back is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(9);
    append(&*log, "trades", 0, (0..500).map(|n| trade(&mut random, 0, n))).await;
    land_all(&log, &lake, config(&[Table::Trades], 1_000_000)).await;
    assert!(verify(&lake, &log, Table::Trades, |_| {}).await.unwrap().is_sound());
    // The same rows once more, and then none at all.
    let snapshot = lake.snapshot(Table::Trades).await.unwrap();
    let first = snapshot.files[0].path.clone();
    let content = lake.objects().get(&first.clone().into()).await.unwrap().bytes().await.unwrap();
    let copy = first.replace("land-", "copy-");
    lake.objects().put(&copy.clone().into(), PutPayload::from(content)).await.unwrap();
    let name = |path: &str| path.trim_start_matches("trades/").to_owned();
    let log_folder = folder.path().join("lake/trades/_delta_log");
    let newest = snapshot.version.unwrap();
    let commit = std::fs::read_to_string(log_folder.join(format!("{newest:020}.json"))).unwrap();
    let add = commit.lines().find(|line| line.contains("\"add\"")).unwrap();
    let doubled = add.replace(&name(&first), &name(&copy));
    std::fs::write(log_folder.join(format!("{:020}.json", newest + 1)), doubled).unwrap();
    let found = verify(&lake, &log, Table::Trades, |_| {}).await.unwrap();
    assert_eq!((found.doubled, found.missing, found.is_sound()), (500, 0, false), "{found:?}");
    let removes: String = [&first, &copy]
        .map(|path| format!("{{\"remove\":{{\"path\":\"{}\",\"dataChange\":true}}}}\n", name(path)))
        .concat();
    std::fs::write(log_folder.join(format!("{:020}.json", newest + 2)), removes).unwrap();
    let found = verify(&lake, &log, Table::Trades, |_| {}).await.unwrap();
    assert_eq!((found.doubled, found.missing, found.examples.len()), (0, 500, 10), "{found:?}");
}

/// A table that asks for what we do not understand is refused, with what was found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open_lake(folder.path()).await;
    let log_folder = folder.path().join("lake/trades/_delta_log");
    lake.prepare(Table::Trades).await.unwrap();
    let created = std::fs::read_to_string(log_folder.join(format!("{:020}.json", 0))).unwrap();
    for (change, told) in [
        (created.replace("\"minReaderVersion\":1", "\"minReaderVersion\":3"), "reader version 3"),
        (created.replace("decimal(18,8)", "double"), "column price is"),
        (created.replace("\\\"taker_side\\\"", "\\\"side\\\""), "column taker_side is missing"),
        (created.replace("[\"date\"]", "[\"symbol\"]"), "partitioned by"),
        (created[..created.len() / 2].to_owned(), "is damaged"),
    ] {
        std::fs::write(log_folder.join(format!("{:020}.json", 0)), change).unwrap();
        let fresh = Lake::open(lake.place()).await.unwrap();
        let refused = fresh.snapshot(Table::Trades).await.unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
        assert!(!refused.is_transient());
    }
}

/// A checkpoint that cannot be read is passed over as long as there is another way to the table's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(11);
    for part in 0..105u64 {
        append(&*log, "trades", 0, (part * 10..part * 10 + 10).map(|n| trade(&mut random, 0, n))).await;
        land_all(&log, &lake, config(&[Table::Trades], 10)).await;
    }
    let log_folder = folder.path().join("lake/trades/_delta_log");
    let entry = |version: u64| log_folder.join(format!("{version:020}.json"));
    let checkpoint = |version: u64| log_folder.join(format!("{version:020}.checkpoint.parquet"));
    let (whole, place) = (lake.snapshot(Table::Trades).await.unwrap(), lake.place().clone());
    let reopened = || async { Lake::open(&place).await.unwrap().snapshot(Table::Trades).await };
    for spoil in [
        |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec(),
        |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 1).collect(),
        |_: &[u8]| Vec::new(),
    ] {
        let sound = std::fs::read(checkpoint(100)).unwrap();
        std::fs::write(checkpoint(100), spoil(&sound)).unwrap();
        let found = reopened().await.unwrap();
        assert_eq!((found.version, found.rows(), &found.files), (whole.version, 1_050, &whole.files), "from 50 on");
        std::fs::write(checkpoint(100), sound).unwrap();
    }
    std::fs::write(checkpoint(50), b"nothing").unwrap();
    std::fs::write(checkpoint(100), b"nothing").unwrap();
    assert_eq!(reopened().await.unwrap().rows(), 1_050, "from the beginning on");
    // With a version missing that way ends early: that is not the table.
    std::fs::rename(entry(70), folder.path().join("away")).unwrap();
    let refused = reopened().await.unwrap_err();
    assert!(refused.to_string().contains("00100.checkpoint.parquet is damaged"), "{refused}");
    std::fs::remove_file(checkpoint(50)).unwrap();
    std::fs::remove_file(checkpoint(100)).unwrap();
    let refused = reopened().await.unwrap_err();
    assert!(refused.to_string().contains("neither all versions before it nor a checkpoint"), "{refused}");
    std::fs::rename(folder.path().join("away"), entry(70)).unwrap();
    assert_eq!(reopened().await.unwrap().rows(), 1_050);
}

/// A batch that a broker stored twice, and what a deposed writer appends, make no rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_records_make_no_rows_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(10);
    let records: Vec<Vec<u8>> = (0..100).map(|n| tick(&mut random, n)).collect();
    append(&*log, "ticks", 0, records.iter().cloned()).await;
    land_all(&log, &lake, config(&[Table::Ticks], 1_000_000)).await;
    // Stored again after the restart: only the claim counts once more, as the beginning of another epoch.
    append(&*log, "ticks", 0, records[50..].iter().cloned()).await;
    land_all(&log, &lake, config(&[Table::Ticks], 1_000_000)).await;
    assert_once(&lake, Table::Ticks, (0..100).map(|offset| (0, offset))).await;
    let found = verify(&lake, &log, Table::Ticks, |_| {}).await.unwrap();
    assert!(found.is_sound() && found.rows == 100 && found.records == 150, "{found:?}");
}

/// A table that an older program made gets the columns that came later; its rows have none there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_columns_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open_lake(folder.path()).await;
    let first = folder.path().join("lake/trades/_delta_log").join(format!("{:020}.json", 0));
    lake.prepare(Table::Trades).await.unwrap();
    let created = std::fs::read_to_string(&first).unwrap();
    let mut older = String::new();
    for line in created.lines() {
        let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(text) = action["metaData"]["schemaString"].as_str() {
            let mut schema: serde_json::Value = serde_json::from_str(text).unwrap();
            schema["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "ts_recv_ns");
            action["metaData"]["schemaString"] = schema.to_string().into();
        }
        // Looking at a field that is not there put a null.
        action.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        older.push_str(&format!("{action}\n"));
    }
    assert!(older.len() < created.len() && !older.contains("ts_recv_ns"));
    std::fs::write(&first, older).unwrap();
    let fresh = Lake::open(lake.place()).await.unwrap();
    assert_eq!(fresh.snapshot(Table::Trades).await.unwrap().version, Some(0));
    assert_eq!(fresh.prepare(Table::Trades).await.unwrap().version, Some(1));
    let added = std::fs::read_to_string(first.with_file_name(format!("{:020}.json", 1))).unwrap();
    assert!(added.contains("ADD COLUMNS") && added.contains("ts_recv_ns"), "{added}");
    assert_eq!(fresh.prepare(Table::Trades).await.unwrap().version, Some(1), "once");
}
