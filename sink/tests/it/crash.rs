//! The real thing: a process that lands is killed, at random moments and between upload and commit, and started
//! again, until all has landed. Then the lake is compared with the log.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sink::lake::{Lake, Place};
use sink::land::Sink;
use sink::tables::Table;
use sink::tend::verify;
use tokio_util::sync::CancellationToken;

use crate::s3_server::{Faults, Server};
use crate::support::{append, assert_once, config, log_with_topics, open_lake, open_log, tick, trade, until_landed};

/// Names the folder in which a child process lands; without it the child's test has nothing to do.
const CHILD: &str = "MILLRACE_TEST_LANDING";
/// Address of the S3 server that it lands in; a directory without it.
const CHILD_S3: &str = "MILLRACE_TEST_LANDING_S3";

/// What a child does: land everything, then end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process_that_lands() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let log = open_log(&folder.join("log")).await;
    let lake = match std::env::var(CHILD_S3) {
        Ok(endpoint) => Lake::open(&s3_place(endpoint)).await.unwrap(),
        Err(_) => open_lake(&folder).await,
    };
    let stop = CancellationToken::new();
    let tables = [Table::Trades, Table::Ticks];
    let sink = Sink::start(Arc::clone(&log), lake.clone(), config(&tables, 150), stop.clone()).unwrap();
    until_landed(&log, &lake, &tables).await;
    stop.cancel();
    sink.join().await.unwrap();
}

fn s3_place(endpoint: String) -> Place {
    let keys = sink::lake::S3Keys { access: "test".into(), secret: "not a secret".into() };
    Place::S3(sink::lake::S3Config {
        bucket: "test-lake".into(),
        prefix: "v1".into(),
        endpoint: Some(endpoint),
        region: Some("us-east-1".into()),
        keys: Some(keys),
    })
}

fn spawn(folder: &Path, s3: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child_process_that_lands"]).env(CHILD, folder);
    if let Some(endpoint) = s3 {
        command.env(CHILD_S3, endpoint);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn fill(folder: &Path) {
    let log = log_with_topics(&folder.join("log")).await;
    let mut random = fastrand::Rng::with_seed(12);
    for partition in 0..2 {
        append(&*log, "trades", partition, (0..3_000).map(|n| trade(&mut random, partition, n))).await;
        append(&*log, "ticks", partition, (0..3_000).map(|n| tick(&mut random, n))).await;
    }
    log.close().await.unwrap();
}

async fn compare(folder: &Path, lake: &Lake) {
    for table in [Table::Trades, Table::Ticks] {
        assert_once(lake, table, (0..2).flat_map(|p| (0..3_000).map(move |o| (p, o)))).await;
    }
    let log = open_log(&folder.join("log")).await;
    for table in [Table::Trades, Table::Ticks] {
        assert!(verify(lake, &log, table, |_| {}).await.unwrap().is_sound());
    }
    log.close().await.unwrap();
}

/// Runs children, each killed after `kill` says so, until one ends by itself.
async fn until_done(folder: &Path, s3: Option<&str>, mut kill: impl AsyncFnMut(usize) -> Option<Duration>) -> usize {
    for kills in 0.. {
        let mut child = spawn(folder, s3);
        if let Some(after) = kill(kills).await {
            tokio::time::sleep(after).await;
        }
        if kills >= 10 {
            // Enough: this one may finish.
            let give_up = Instant::now() + Duration::from_secs(120);
            while child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < give_up, "the last child does not end");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "a child failed: {status}");
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_random_lands_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(13);
    let kill = async |_| Some(Duration::from_millis(random.u64(20..400)));
    let kills = until_done(folder.path(), None, kill).await;
    println!("killed {kills} times");
    let lake = open_lake(folder.path()).await;
    compare(folder.path(), &lake).await;
}

/// The server lets data files through and holds back commits; the process dies in between, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_between_upload_and_commit_lands_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let server = Server::start(5).await;
    let held = server.clone();
    let mut uploads = 0;
    let kill = async |kills: usize| {
        if kills >= 10 {
            held.set(Faults::default());
            return None;
        }
        // Odd children may commit a few times first.
        let hold = kills.is_multiple_of(2);
        held.set(Faults { hold_commits: hold, ..Faults::default() });
        // Without commits each of the two tables gets no further than its first file.
        let enough = held.data_files() + if hold { 2 } else { 3 };
        let give_up = Instant::now() + Duration::from_secs(20);
        let before = held.data_files();
        while held.data_files() < enough && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        uploads += held.data_files() - before;
        Some(Duration::from_millis(30))
    };
    until_done(folder.path(), Some(&server.endpoint), kill).await;
    assert!(uploads > 0, "no child died with a file uploaded");
    let lake = Lake::open(&server.place()).await.unwrap();
    compare(folder.path(), &lake).await;
    let snapshot = lake.snapshot(Table::Trades).await.unwrap();
    let orphans = server.keys().iter().filter(|key| key.contains("/trades/date=")).count() - snapshot.files.len();
    println!("{orphans} files were uploaded and never committed");
}
