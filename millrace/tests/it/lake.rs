//! The lake of a running program: a store that goes away, and compaction by itself.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::commands::stdout;
use crate::program::{Place, Running};
use crate::s3_server::{Faults, Server};

/// Seconds that the store is away in the test run; `MILLRACE_OUTAGE_SECONDS` sets another number.
const OUTAGE_SECONDS: u64 = 8;
/// MiB of encoded bytes that a table may have open.
const OPEN_MIB: u64 = 1;
/// MiB that a table may hold beside: two reads that wait, one on its way and one being encoded.
const READ_MIB: u64 = 4;
const TABLES: u64 = 9;
/// MiB that a program takes by itself in a minute, at most: the markets' tapes and the windows of prices fill, and what
/// is read of the log is remembered. And MiB by which two moments differ anyway.
const OWN_MIB_PER_MINUTE: u64 = 4;
const ANYWAY_MIB: u64 = 8;
/// Seconds of an outage whose first quarter fills the files.
const FULL_AFTER: u64 = 240;

const EXCHANGE: &str = "matcher:\n  markets:\n    BTC-USDT: { tick: \"0.01\", lot: \"0.00001\" }\n  simulate_traders: { seed: 3, makers: 2, takers: 2 }\n";

/// A figure of `/metrics`; 0 where it is not there yet.
fn figure(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn landed(running: &Running, table: &str, more_than: f64) -> f64 {
    let name = format!("millrace_sink_rows_total{{table=\"{table}\"}}");
    figure(&running.wait_for("/metrics", |text| figure(text, &name) > more_than), &name)
}

fn every_offset_once(place: &Place, tables: &[&str]) {
    let verified = stdout(&place.run(&["verify"]));
    for table in tables {
        let line =
            verified.lines().find(|line| line.starts_with(table)).unwrap_or_else(|| panic!("{table}: {verified}"));
        assert!(line.contains("every offset once") && !line.contains("; 0 rows"), "{line}");
    }
}

/// The store answers nothing for a while, at full rate: the program goes on, its memory stays within what the open
/// files may have, health tells, and afterwards every record is one row.
#[test]
fn a_store_that_is_away_costs_neither_rows_nor_memory() {
    let seconds =
        std::env::var("MILLRACE_OUTAGE_SECONDS").map_or(OUTAGE_SECONDS, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(1));
    let lake = format!(
        "lake:\n  type: s3\n  url: s3://test-lake/v1\n  endpoint: \"{}\"\n  region: us-east-1\n  access_key: test\n  \
         secret_key: not a secret\n  roll: {{ rows: 100000, bytes: {OPEN_MIB}MiB, age: 300ms }}\n",
        server.endpoint
    );
    let place = Place::new(&format!("{EXCHANGE}{lake}"));
    let running = place.up();
    for table in ["ticks", "prices", "orders", "executions"] {
        landed(&running, table, 20.0);
    }
    running.wait_for("/healthz", |text| text.starts_with("{\"status\":\"ok\""));
    let before = running.resident();
    server.set(Faults { down: true, ..Faults::default() });
    let begun = Instant::now();
    running.wait_for("/healthz", |text| text.contains("the lake is away") && text.starts_with("{\"status\":\"down\""));
    let red = begun.elapsed();
    let name = "millrace_sink_rows_total{table=\"ticks\"}";
    let stuck = figure(&running.get("/metrics").unwrap(), name);
    // The most of each quarter: files are full in the first one.
    let mut most = [before; 4];
    while begun.elapsed() < Duration::from_secs(seconds) {
        let quarter = (begun.elapsed().as_secs_f64() / seconds as f64 * 4.0) as usize;
        most[quarter.min(3)] = most[quarter.min(3)].max(running.resident());
        std::thread::sleep(Duration::from_millis(100));
    }
    running.wait_for("/prices/BTCUSDT", |text| text.contains("\"status\":\"OK\""));
    assert_eq!(figure(&running.get("/metrics").unwrap(), name), stuck, "nothing lands meanwhile");
    server.set(Faults::default());
    let back = Instant::now();
    running.wait_for("/healthz", |text| text.starts_with("{\"status\":\"ok\""));
    let green = back.elapsed();
    // What came while the store was away is below this.
    let end = running.end_of("ticks");
    running.wait_for("/metrics", |text| figure(text, name) >= end as f64);
    let all_landed = back.elapsed();
    let after = running.resident();
    println!(
        "away for {} s: red after {red:.1?}, green {green:.1?} after it came back, all landed after {all_landed:.1?}; \
         {} MiB resident before, at most {:?} in the four quarters, {} after",
        (begun.elapsed() - back.elapsed()).as_secs(),
        before >> 20,
        most.map(|bytes| bytes >> 20),
        after >> 20
    );
    let bound = (TABLES * (OPEN_MIB + READ_MIB)) << 20;
    let own = (OWN_MIB_PER_MINUTE * seconds / 60) << 20;
    let allowed = before + bound + bound / 10 + own;
    let largest = most.into_iter().max().unwrap();
    assert!(largest <= allowed, "{largest} bytes resident: at most {allowed} are allowed");
    // It does not grow with the time that the store is away, once the files are full.
    let allowed = most[1] + own / 2 + (ANYWAY_MIB << 20);
    assert!(
        seconds < FULL_AFTER || most[3] <= allowed,
        "{} bytes resident at the end: at most {allowed} are allowed",
        most[3]
    );
    let metrics = running.get("/metrics").unwrap();
    assert_eq!(figure(&metrics, "millrace_sink_lost_total{table=\"ticks\"}"), 0.0);
    assert!(figure(&metrics, "millrace_sink_retries_total{table=\"ticks\"}") > 0.0);
    assert!(running.interrupt());
    every_offset_once(&place, &["ticks", "prices", "orders", "executions", "ledger"]);
    // SQL reads the bucket without a pipeline.
    let sql =
        "SELECT count(*) >= 20, count(*) - count(DISTINCT partition::bigint * 1000000000 + \"offset\") FROM ticks";
    let answer = stdout(&place.run(&["sql", "--format", "csv", sql]));
    assert_eq!(answer.lines().nth(1), Some("true,0"), "{answer}");
}

/// Frames of one venue: a trade every six seconds for an hour and a half, three hours ago.
fn frames_of_closed_hours(path: &Path) -> u64 {
    const TRADES: u64 = 900;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let line = |number: u64| {
        let at = now - 3 * 3_600_000 + number * 6_000;
        let data = serde_json::json!({ "e": "trade", "E": at, "s": "BTCUSDT", "t": number + 1, "p": "78000.10",
            "q": format!("0.{:05}", number + 1), "T": at, "m": number.is_multiple_of(3) });
        format!("{at}000000 {}\n", serde_json::json!({ "stream": "btcusdt@trade", "data": data }))
    };
    std::fs::write(path, (0..TRADES).map(line).collect::<String>()).unwrap();
    TRADES
}

#[test]
fn closed_hours_are_compacted_while_the_program_runs_and_calls_are_in_the_table_audit() {
    let lake = "lake: { type: directory, roll: { rows: 200, age: 300ms }, compact_every: 1s }\n";
    let place = Place::new(&format!("{EXCHANGE}{lake}"));
    // The program takes up a log that has hours of the past: a replay's. Its prices have the times of the frames; among
    // the ticks is the claim of who replayed, which is of this hour, and so they wait for its end.
    let file = std::fs::read_to_string(place.path("pipeline.yaml")).unwrap();
    std::fs::write(place.path("replay.yaml"), file.replace("./data", "./elsewhere")).unwrap();
    let trades = frames_of_closed_hours(&place.path("frames.txt"));
    let replayed = stdout(&place.run(&["replay", "frames.txt", "--file", "replay.yaml", "--data-dir", "data"]));
    assert!(replayed.contains(&format!("replayed {trades} frames")) && replayed.contains("landed "), "{replayed}");
    let files = |level: &str| {
        let dates = std::fs::read_dir(place.path("data/lake/prices")).unwrap().map(|entry| entry.unwrap().path());
        let names = dates.filter(|path| path.is_dir() && !path.ends_with("_delta_log"));
        let files = names.flat_map(|date| std::fs::read_dir(date).unwrap());
        files.filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().starts_with(level)).count()
    };
    assert!(files("land-") >= 1 && files("sorted-") == 0, "what a replay lands lies as it came");

    let running = place.up();
    let compacted = "millrace_sink_compacted_files_total{table=\"prices\"}";
    let metrics = running.wait_for("/metrics", |text| figure(text, compacted) >= 1.0);
    assert!(files("sorted-") >= 1, "{metrics}");
    let key = std::fs::read_to_string(place.path("data/trader.key")).unwrap();
    let deposit = "{\"client_order_id\":\"d1\",\"asset\":\"USDT\",\"amount\":\"10\"}";
    let answer = running.wait_for_call(key.trim(), "POST", "/deposits", deposit);
    assert_eq!(answer.0, 201, "{}", answer.1);
    landed(&running, "audit", 0.0);
    // Asked while it lands and compacts, and once more at rest.
    every_offset_once(&place, &["ticks", "audit"]);
    assert!(running.interrupt());
    every_offset_once(&place, &["ticks", "prices", "orders", "audit"]);
    let log = std::fs::read_dir(place.path("data/lake/prices/_delta_log")).unwrap();
    let commits = log.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|is| is == "json"));
    let optimised = commits.filter(|path| std::fs::read_to_string(path).unwrap().contains("OPTIMIZE")).count();
    assert!(optimised >= 1, "compaction is in the table's history");
}
