//! The worker process: what does not stop is stopped, and nobody else notices.

use std::time::{Duration, Instant};

use super::{MARKETS, Market};
use crate::program::PATIENCE;

/// Goes on for an hour, and hears of nothing for long while it does.
const HEAVY: &str =
    "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

impl Market {
    /// Process ids of this pipeline's workers.
    fn workers(&self) -> Vec<u32> {
        let parent = self.running.id();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_ours = |id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // Fields after the name in parentheses: state, parent.
            let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            let state = fields.next();
            state != Some("Z") && fields.next() == Some(&parent.to_string())
        };
        numbers.filter(is_ours).collect()
    }

    /// What the pipeline has counted.
    fn counted(&self, name: &str) -> f64 {
        let metrics = self.running.get("/metrics").unwrap();
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

#[test]
fn what_does_not_stop_is_stopped_and_the_pipeline_goes_on() {
    let market = Market::open("timeout: 3s", MARKETS);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    let begun = Instant::now();
    let (status, body) = market.sql(HEAVY, "csv");
    let took = begun.elapsed();
    assert!(status == 422 && body.contains("took longer than 3 s"), "{status} {body}");
    // Three seconds, one of grace, and what a busy machine adds.
    assert!(took < Duration::from_secs(30), "{took:?}");
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    // A client that goes away takes its statement with it: all places are free again, long before the deadline.
    let key = format!("x-api-key: {}\r\n", market.key);
    for _ in 0..8 {
        let stream = market.begin(HEAVY, "csv", &key);
        std::thread::sleep(Duration::from_millis(300));
        drop(stream);
    }
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    let before = market.wait_for("SELECT count(*) FROM ticks", |_| true);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > before);
}

#[test]
fn a_killed_worker_is_replaced_and_nobody_notices() {
    let market = Market::open("timeout: 60s", MARKETS);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 0);
    let ticks = "SELECT count(*) - count(DISTINCT partition::bigint * 1000000000 + \"offset\") FROM ticks";
    for _ in 0..5 {
        let workers = market.workers();
        assert_eq!(workers.len(), 1, "{workers:?}");
        let before = market.wait_for("SELECT count(*) FROM ticks", |_| true);
        let killed = std::process::Command::new("kill").args(["-KILL", &workers[0].to_string()]).status().unwrap();
        assert!(killed.success());
        // The next statement, right away, is answered by another worker, no row twice. The whole tail is there within
        // seconds.
        assert_eq!(market.lines(ticks), ["0"]);
        market.wait_for("SELECT count(*) FROM ticks", |after| after >= before);
        assert_ne!(market.workers(), workers);
    }
    let health = market.running.get("/healthz").unwrap();
    assert!(health.contains("\"parts\"") && !health.contains("DOWN"), "{health}");
}

#[test]
fn the_worker_does_not_outlive_the_pipeline() {
    let market = Market::open("timeout: 60s", MARKETS);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    let workers = market.workers();
    assert_eq!(workers.len(), 1);
    // Busy with a statement that never ends, and without anybody to end it.
    let key = format!("x-api-key: {}\r\n", market.key);
    let _stream = market.begin(HEAVY, "csv", &key);
    std::thread::sleep(Duration::from_millis(500));
    market.running.kill();
    let begun = Instant::now();
    while std::fs::read_to_string(format!("/proc/{}/comm", workers[0])).is_ok_and(|name| name.contains("millrace")) {
        assert!(begun.elapsed() < PATIENCE, "the worker goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_statement_that_takes_all_memory_is_ended_and_the_others_get_their_answers() {
    let market = Market::open("timeout: 60s, memory: 64MiB, tail: 64MiB", MARKETS);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    let workers = market.workers();
    // A window over all rows keeps them, and DataFusion does not count that: a gigabyte and a half.
    let all = "SELECT max(text), max(whole) FROM (SELECT text, sum(value) OVER () AS whole FROM \
               (SELECT value, repeat('x', 1000) || value AS text FROM generate_series(1, 1500000)))";
    std::thread::scope(|scope| {
        let heavy = scope.spawn(|| (0..3).map(|_| market.sql(all, "csv")).collect::<Vec<_>>());
        let is_ended = |status: u16, body: &str| status == 422 && body.contains("the engine came near its");
        let (mut answered, mut ended) = (0, 0);
        while !heavy.is_finished() {
            let (status, body) = market.sql("SELECT count(*) > 100 FROM ticks", "csv");
            // What a window keeps is counted for nobody, so that an older one may be ended before it, once each time.
            if is_ended(status, &body) {
                ended += 1;
                continue;
            }
            assert!(status == 200 && body.ends_with("true\n"), "{status} {body}");
            answered += 1;
        }
        for (status, body) in heavy.join().unwrap() {
            assert!(is_ended(status, &body), "{status} {body}");
        }
        assert!(answered > 0 && ended <= 3, "{answered} answered, {ended} ended");
    });
    assert_eq!(market.workers(), workers, "it is the same worker");
}

#[test]
fn a_client_that_does_not_read_holds_no_place() {
    let market = Market::open("timeout: 2s, concurrency: 2", MARKETS);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    let key = format!("x-api-key: {}\r\n", market.key);
    let endless = "SELECT a.value, repeat('x', 200) FROM generate_series(1, 100000000) a";
    // Both places come free, though nobody reads, and the worker need not be ended for it, but where a busy machine
    // takes longer for letting go than the half second that it has.
    let spared = (0..5).any(|_| {
        let streams: Vec<_> = (0..2).map(|_| market.begin(endless, "csv", &key)).collect();
        std::thread::sleep(Duration::from_millis(500));
        let killed = market.counted("millrace_sql_workers_killed_total");
        market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
        drop(streams);
        (market.counted("millrace_sql_workers_killed_total") - killed).abs() < 0.5
    });
    assert!(spared, "the worker is ended each time");
}
