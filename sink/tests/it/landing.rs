//! The plain way: records become rows, once.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, TimestampMicrosecondType};
use sink::lake::Stat;
use sink::land::{Phase, Sink, SinkError};
use sink::tables::{Rows, Table};
use tokio_util::sync::CancellationToken;

use crate::support::{
    NOON, append, assert_once, batches, config, land_all, log_with_topics, open_lake, tick, trade, until_landed,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_one_row_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(1);
    let tables = [Table::Trades, Table::Ticks];
    for round in 0..4u64 {
        for partition in 0..2 {
            let numbers = round * 2_000..(round + 1) * 2_000;
            append(&*log, "trades", partition, numbers.clone().map(|n| trade(&mut random, partition, n))).await;
            append(&*log, "ticks", partition, numbers.map(|n| tick(&mut random, n))).await;
        }
        land_all(&log, &lake, config(&tables, 1_500)).await;
    }
    for table in tables {
        assert_once(&lake, table, (0..2).flat_map(|p| (0..8_000).map(move |o| (p, o)))).await;
    }
    let snapshot = lake.snapshot(Table::Trades).await.unwrap();
    assert!(snapshot.files.len() >= 8 && snapshot.version >= Some(8), "{:?}", snapshot.version);
    assert_eq!(snapshot.rows(), 16_000);
    log.close().await.unwrap();
}

/// What a file says of itself in the table's log is what its rows say, and dates never mix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_keep_apart_and_statistics_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(2);
    // A second apart: 100,000 of them pass midnight twice.
    let numbers = (0..100_000u64).step_by(20);
    append(&*log, "trades", 0, numbers.map(|n| trade(&mut random, 0, n))).await;
    land_all(&log, &lake, config(&[Table::Trades], 100_000)).await;
    let snapshot = lake.snapshot(Table::Trades).await.unwrap();
    let dates: Vec<i32> = snapshot.files.iter().map(|file| file.date).collect();
    let first = i32::try_from(NOON / 86_400_000_000_000).unwrap();
    assert!(dates.contains(&first) && dates.contains(&(first + 1)), "{dates:?}");
    for file in &snapshot.files {
        let mut one = (*snapshot).clone();
        one.files = vec![Arc::clone(file)];
        let (mut low, mut high, mut newest) = (i128::MAX, i128::MIN, i64::MIN);
        for batch in batches(&lake, &one).await {
            let prices = batch.column_by_name("price").unwrap().as_primitive::<Decimal128Type>();
            low = low.min(*prices.values().iter().min().unwrap());
            high = high.max(*prices.values().iter().max().unwrap());
            let times = batch.column_by_name("ts_event").unwrap().as_primitive::<TimestampMicrosecondType>();
            for time in times.values() {
                assert_eq!(time.div_euclid(86_400_000_000) as i32, file.date, "{}", file.path);
                newest = newest.max(*time);
            }
        }
        let price = &file.columns["price"];
        assert_eq!((price.min.clone(), price.max.clone()), (Some(Stat::Decimal(low)), Some(Stat::Decimal(high))));
        assert_eq!(file.columns["ts_event"].max, Some(Stat::Time(newest)));
        assert_eq!(price.nulls, Some(0));
    }
}

/// The rows of the files are those that the live tail would show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn landed_rows_equal_those_of_the_tail() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(3);
    let records: Vec<Vec<u8>> = (0..3_000).map(|n| tick(&mut random, n)).collect();
    append(&*log, "ticks", 0, records.iter().cloned()).await;
    land_all(&log, &lake, config(&[Table::Ticks], 1_000_000)).await;
    let mut rows = Rows::new(Table::Ticks);
    for (offset, record) in records.iter().enumerate() {
        rows.push(0, offset as u64, record).unwrap();
    }
    let tail = rows.finish();
    let snapshot = lake.snapshot(Table::Ticks).await.unwrap();
    let landed = batches(&lake, &snapshot).await;
    let landed = arrow::compute::concat_batches(&landed[0].schema(), &landed).unwrap();
    assert_eq!(landed.num_rows(), 3_000);
    for field in Table::Ticks.file_schema().fields() {
        let (a, b) = (landed.column_by_name(field.name()).unwrap(), tail.column_by_name(field.name()).unwrap());
        assert_eq!(a.to_data(), b.to_data(), "{}", field.name());
    }
}

/// Records that cannot be rows are in `dead-letters` with their place, and the rest lands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_row_is_a_letter() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(4);
    let spoilt = |n: u64| matches!(n, 3 | 500 | 999);
    let records = (0..1_000).map(|n| match n {
        3 => b"{}".to_vec(),
        500 => Vec::new(),
        999 => trade(&mut random, 0, n)[..40].to_vec(),
        _ => trade(&mut random, 0, n),
    });
    append(&*log, "trades", 0, records.collect::<Vec<_>>().into_iter()).await;
    let tables = [Table::Trades, Table::DeadLetters];
    land_all(&log, &lake, config(&tables, 1_000_000)).await;
    assert_once(&lake, Table::Trades, (0..1_000).filter(|n| !spoilt(*n)).map(|n| (0, n))).await;
    land_all(&log, &lake, config(&tables, 1_000_000)).await;
    let letters = lake.snapshot(Table::DeadLetters).await.unwrap();
    let mut places = Vec::new();
    for batch in batches(&lake, &letters).await {
        let sources = batch.column_by_name("source").unwrap().as_string::<i32>();
        assert!(sources.iter().all(|source| source == Some("sink/trades/0")));
        let column = batch.column_by_name("place").unwrap().as_string::<i32>();
        places.extend(column.iter().flatten().map(|place| place.parse::<u64>().unwrap()));
    }
    places.sort_unstable();
    assert_eq!(places, [3, 500, 999]);
}

/// A second log is not mixed into a lake by accident, and a deposed sink stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(5);
    let first = log_with_topics(&folder.path().join("first")).await;
    append(&*first, "trades", 0, (0..10).map(|n| trade(&mut random, 0, n))).await;
    land_all(&first, &lake, config(&[Table::Trades], 100)).await;
    let second = log_with_topics(&folder.path().join("second")).await;
    let config = config(&[Table::Trades], 100);
    let sink = Sink::start(second, lake.clone(), config, CancellationToken::new()).unwrap();
    let refused = sink.join().await.unwrap_err();
    assert!(matches!(refused, SinkError::OtherLog { table: Table::Trades, .. }), "{refused}");
}

/// A table that somebody alters while it lands stops and says why, the others go on; put back, it lands the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_table_stops_alone_and_goes_on_when_it_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(14);
    let tables = [Table::Trades, Table::Ticks];
    let stop = CancellationToken::new();
    let sink = Sink::start(Arc::clone(&log), lake.clone(), config(&tables, 100), stop.clone()).unwrap();
    append(&*log, "trades", 0, (0..500).map(|n| trade(&mut random, 0, n))).await;
    append(&*log, "ticks", 0, (0..500).map(|n| tick(&mut random, n))).await;
    until_landed(&log, &lake, &tables).await;

    let delta = folder.path().join("lake/trades/_delta_log");
    let name = |version: u64| delta.join(format!("{version:020}.json"));
    let created = std::fs::read_to_string(name(0)).unwrap();
    let metadata = created.lines().find(|line| line.contains("metaData")).unwrap();
    let altered = lake.snapshot(Table::Trades).await.unwrap().version.unwrap() + 1;
    std::fs::write(name(altered), metadata.replace("decimal(18,8)", "double")).unwrap();
    append(&*log, "trades", 0, (500..800).map(|n| trade(&mut random, 0, n))).await;
    append(&*log, "ticks", 0, (500..800).map(|n| tick(&mut random, n))).await;
    let mut status = sink.statuses()[0].clone();
    let stopped = status.wait_for(|status| matches!(status.phase, Phase::Stopped(Some(_)))).await.unwrap().clone();
    let Phase::Stopped(Some(why)) = stopped.phase else { unreachable!() };
    assert!(why.contains("table trades was altered: column price is \"double\""), "{why}");
    until_landed(&log, &lake, &[Table::Ticks]).await;
    assert_once(&lake, Table::Ticks, (0..800).map(|offset| (0, offset))).await;
    stop.cancel();
    assert!(sink.join().await.unwrap_err().to_string().contains("was altered"));

    std::fs::write(name(altered + 1), metadata).unwrap();
    let again = open_lake(folder.path()).await;
    land_all(&log, &again, config(&tables, 100)).await;
    for table in tables {
        assert_once(&again, table, (0..800).map(|offset| (0, offset))).await;
    }
}

/// Others in a process look at the tables too. What they have seen of a rival's commit must not pass for our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rival_whose_commit_others_have_seen_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let (ours, theirs) = (open_lake(folder.path()).await, open_lake(folder.path()).await);
    let mut random = fastrand::Rng::with_seed(22);
    // It rolls at the first record after the rival has landed all that it holds open.
    let sink = Sink::start(Arc::clone(&log), ours.clone(), config(&[Table::Trades], 501), Default::default()).unwrap();
    append(&*log, "trades", 0, (0..500).map(|n| trade(&mut random, 0, n))).await;
    let mut status = sink.statuses()[0].clone();
    status.wait_for(|status| status.read.get(&0) == Some(&500)).await.unwrap();
    land_all(&log, &theirs, config(&[Table::Trades], 100)).await;
    assert_eq!(ours.snapshot(Table::Trades).await.unwrap().rows(), 500, "somebody looks");
    append(&*log, "trades", 0, std::iter::once(trade(&mut random, 0, 500))).await;
    let ended = sink.join().await;
    assert!(matches!(ended, Err(SinkError::Fenced { partition: 0, expected: 0, found: 500, .. })), "{ended:?}");
    land_all(&log, &theirs, config(&[Table::Trades], 100)).await;
    assert_once(&ours, Table::Trades, (0..501).map(|offset| (0, offset))).await;
}
