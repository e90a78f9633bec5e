//! Landing in S3: a server that misbehaves, and a real one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sink::lake::{Lake, LakeError, Place, S3Config, S3Keys};
use sink::land::{Phase, Roll, Sink, SinkConfig, SinkError};
use sink::probe::probe;
use sink::tables::Table;
use sink::tend::compact;
use tokio_util::sync::CancellationToken;

use crate::s3_server::{Faults, Server};
use crate::seaweed::Seaweed;
use crate::support::{append, assert_once, batches, config, land_all, log_with_topics, tick, trade, until_landed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_land_once_under_errors_stalls_and_lost_answers() {
    for seed in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let log = log_with_topics(&folder.path().join("log")).await;
        let server = Server::start(seed).await;
        let lake = Lake::open(&server.place()).await.unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        server.set(Faults { errors: 20, lost: 20, stalls: (5, Duration::from_millis(100)), ..Faults::default() });
        for round in 0..3u64 {
            for partition in 0..2 {
                let numbers = round * 500..(round + 1) * 500;
                let trades: Vec<_> = numbers.clone().map(|n| trade(&mut random, partition, n)).collect();
                append(&*log, "trades", partition, trades.into_iter()).await;
                let ticks: Vec<_> = numbers.map(|n| tick(&mut random, n)).collect();
                append(&*log, "ticks", partition, ticks.into_iter()).await;
            }
            land_all(&log, &lake, config(&[Table::Trades, Table::Ticks], 250)).await;
        }
        let (requests, refused) = server.counts();
        assert!(refused * 5 > requests / 2, "seed {seed}: {refused} of {requests} requests were refused");
        server.set(Faults::default());
        // A reader that knows nothing yet.
        let fresh = Lake::open(&server.place()).await.unwrap();
        for table in [Table::Trades, Table::Ticks] {
            assert_once(&fresh, table, (0..2).flat_map(|p| (0..1_500).map(move |o| (p, o)))).await;
        }
        compact(&fresh, Table::Ticks, |_, _| {}).await.unwrap();
        assert_once(&lake, Table::Ticks, (0..2).flat_map(|p| (0..1_500).map(move |o| (p, o)))).await;
    }
}

/// A look that fails halfway is taken up by the next: what it had read counts as read, and shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_failing_store_misses_no_version() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let server = Server::start(7).await;
    let (writer, reader) = (Lake::open(&server.place()).await.unwrap(), Lake::open(&server.place()).await.unwrap());
    let mut random = fastrand::Rng::with_seed(7);
    let mut failed = 0;
    for round in 0..20 {
        let trades: Vec<_> = (round * 30..(round + 1) * 30).map(|n| trade(&mut random, 0, n)).collect();
        append(&*log, "trades", 0, trades.into_iter()).await;
        land_all(&log, &writer, config(&[Table::Trades], 10)).await;
        server.set(Faults { errors: 70, ..Faults::default() });
        let seen = loop {
            match reader.snapshot(Table::Trades).await {
                Ok(seen) => break seen,
                Err(_) => failed += 1,
            }
        };
        server.set(Faults::default());
        assert_eq!(seen.version, writer.snapshot(Table::Trades).await.unwrap().version, "round {round}");
    }
    assert!(failed > 5, "the store failed {failed} looks");
}

/// The store is away while records keep coming: memory stays bounded, the status says so, and all lands after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_away_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let server = Server::start(1).await;
    let lake = Lake::open(&server.place()).await.unwrap();
    let stop = CancellationToken::new();
    server.set(Faults { down: true, ..Faults::default() });
    let sink = Sink::start(Arc::clone(&log), lake.clone(), config(&[Table::Trades], 100), stop.clone()).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for outage in [Faults { down: true, ..Faults::default() }, Faults { full: true, ..Faults::default() }] {
        server.set(outage);
        let offset = log.bounds(&journal::Partition::new("trades", 0)).await.unwrap().end;
        let trades: Vec<_> = (offset..offset + 5_000).map(|n| trade(&mut random, 0, n)).collect();
        append(&*log, "trades", 0, trades.into_iter()).await;
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let waits = matches!(sink.statuses()[0].borrow().phase, Phase::Waiting(_));
            if waits && (sink.store().borrow().is_some() || offset > 0) {
                break;
            }
            assert!(Instant::now() < give_up, "{:?}", sink.statuses()[0].borrow());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.set(Faults::default());
        until_landed(&log, &lake, &[Table::Trades]).await;
        assert_once(&lake, Table::Trades, (0..offset + 5_000).map(|o| (0, o))).await;
    }
    let mut store = sink.store();
    tokio::time::timeout(Duration::from_secs(30), store.wait_for(Option::is_none)).await.unwrap().unwrap();
    stop.cancel();
    sink.join().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn careless_and_closed_stores_are_refused() {
    let server = Server::start(2).await;
    let lake = Lake::open(&server.place()).await.unwrap();
    assert_eq!(probe(&lake).await.unwrap().races, 4);
    assert_eq!(server.keys(), Vec::<String>::new(), "the probe leaves nothing behind");
    server.set(Faults { careless: true, ..Faults::default() });
    let refused = probe(&lake).await.unwrap_err();
    assert!(matches!(refused, SinkError::UnsafeStore { winners: 8, .. }), "{refused}");
    server.set(Faults { forbidden: true, ..Faults::default() });
    let refused = lake.prepare(Table::Trades).await.unwrap_err();
    assert!(matches!(&refused, LakeError::Place { .. }) && refused.to_string().contains("is denied"), "{refused}");
}

/// Two sinks on one log and lake, in a store that loses answers and in a directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_one_stops() {
    for seed in 0..3 {
        let server = Server::start(seed).await;
        let faults = Faults { lost: 20, stalls: (30, Duration::from_millis(20)), ..Faults::default() };
        two_writers(seed, &server.place(), |on| server.set(if on { faults.clone() } else { Faults::default() })).await;
    }
    let folder = tempfile::tempdir().unwrap();
    two_writers(3, &Place::Directory(folder.path().join("lake")), |_| {}).await;
}

/// One of them finds the other's commit and stops, and every row is there once.
async fn two_writers(seed: u64, place: &Place, faults: impl Fn(bool)) {
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    faults(true);
    let stop = CancellationToken::new();
    let mut sinks = Vec::new();
    for _ in 0..2 {
        // Each has a view of its own, as two programs have.
        let lake = Lake::open(place).await.unwrap();
        let config = config(&[Table::Trades], 40);
        sinks.push(Sink::start(Arc::clone(&log), lake, config, stop.clone()).unwrap());
    }
    let mut random = fastrand::Rng::with_seed(seed);
    for part in 0..10u64 {
        let trades: Vec<_> = (part * 50..(part + 1) * 50).map(|n| trade(&mut random, 0, n)).collect();
        append(&*log, "trades", 0, trades.into_iter()).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let lake = Lake::open(place).await.unwrap();
    until_landed(&log, &lake, &[Table::Trades]).await;
    let stopped = |sink: &Sink| matches!(sink.statuses()[0].borrow().phase, Phase::Stopped(Some(_)));
    let give_up = Instant::now() + Duration::from_secs(120);
    // One may have begun when all had landed: records come until the two have met.
    let mut records = 500;
    while !sinks.iter().any(stopped) {
        assert!(Instant::now() < give_up, "seed {seed}: both go on");
        append(&*log, "trades", 0, std::iter::once(trade(&mut random, 0, records))).await;
        records += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until_landed(&log, &lake, &[Table::Trades]).await;
    stop.cancel();
    let mut fenced = 0;
    for sink in sinks {
        match sink.join().await {
            Ok(()) => {}
            Err(SinkError::Fenced { .. }) => fenced += 1,
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert_eq!(fenced, 1, "seed {seed}");
    faults(false);
    assert_once(&lake, Table::Trades, (0..records).map(|offset| (0, offset))).await;
}

/// A file of several parts arrives whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_go_up_in_parts() {
    use object_store::ObjectStoreExt;
    let server = Server::start(3).await;
    let lake = Lake::open(&server.place()).await.unwrap();
    lake.ensure().await.unwrap();
    let content: Vec<u8> = (0..40u32 << 20).map(|at| (at >> 8) as u8).collect();
    let path = object_store::path::Path::from("trades/date=2026-11-25/large.parquet");
    lake.objects().put(&path, content.clone().into()).await.unwrap();
    assert!(lake.objects().get(&path).await.unwrap().bytes().await.unwrap() == content);
    let range = lake.objects().get_range(&path, 16_777_210..16_777_220).await.unwrap();
    assert_eq!(&range[..], &content[16_777_210..16_777_220]);
    assert_eq!(lake.objects().head(&path).await.unwrap().size, 40 << 20);
}

/// The same on a server that others have written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_keeps_every_row() {
    let Some(server) = Seaweed::start() else { return };
    let lake = Lake::open(&server.place()).await.unwrap();
    let probed = server.answering(&lake).await;
    assert_eq!(probed.races, 4);
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..2u64 {
        for partition in 0..2 {
            let trades: Vec<_> =
                (round * 1_000..(round + 1) * 1_000).map(|n| trade(&mut random, partition, n * 40)).collect();
            append(&*log, "trades", partition, trades.into_iter()).await;
        }
        let roll = Roll { rows: 500, age: Duration::from_millis(300), ..Roll::default() };
        let config = SinkConfig { roll, tables: vec![Table::Trades], ..SinkConfig::default() };
        land_all(&log, &lake, config).await;
    }
    let expected = || (0..2).flat_map(|p| (0..2_000).map(move |o| (p, o)));
    assert_once(&lake, Table::Trades, expected()).await;
    compact(&lake, Table::Trades, |_, _| {}).await.unwrap();
    let fresh = Lake::open(&server.place()).await.unwrap();
    assert_once(&fresh, Table::Trades, expected()).await;
    let snapshot = fresh.snapshot(Table::Trades).await.unwrap();
    assert!(batches(&fresh, &snapshot).await.len() >= snapshot.files.len());
    let wrong = match server.place() {
        Place::S3(config) => {
            S3Config { keys: Some(S3Keys { access: "test".into(), secret: "another".into() }), ..config }
        }
        Place::Directory(_) => unreachable!(),
    };
    let stranger = Lake::open(&Place::S3(wrong)).await.unwrap();
    let refused = stranger.prepare(Table::Trades).await.unwrap_err();
    assert!(refused.to_string().contains("denied"), "{refused}");
}
