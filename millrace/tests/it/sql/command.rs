//! `millrace sql` and `POST /sql`.

use std::process::Output;
use std::time::{Duration, Instant};

use super::{LAKE, MARKETS, Market};
use crate::program::{PATIENCE, Place};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn statements_are_answered_or_refused_with_a_reason() {
    let market = Market::open("timeout: 20s", &format!("{LAKE}{MARKETS}"));
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 100);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 0);
    // Every record once, whether it has landed or not.
    let sql = "SELECT count(*) - count(DISTINCT partition::bigint * 1000000000 + \"offset\") FROM ticks";
    assert_eq!(market.lines(sql), ["0"]);
    let (status, body) = market.sql("SELECT symbol, price FROM latest(prices, symbol) ORDER BY symbol", "ndjson");
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("{\"symbol\":\"BTC-USDT\",\"price\":\""), "{body}");
    assert_eq!(market.lines("SELECT bool_and(complete >= landed AND begins <= complete) FROM watermark"), ["true"]);

    // What is refused says why, and where.
    let (status, body) = market.sql("DROP TABLE ticks", "csv");
    assert!(status == 403 && body.contains("sql_refused"), "{status} {body}");
    let (status, body) = market.sql("SELECT 1 +", "csv");
    assert!(status == 400 && body.contains("sql_syntax"), "{status} {body}");
    let (status, body) = market.sql("SELECT nowhere FROM ticks", "csv");
    assert!(status == 400 && body.contains("line 1, column 8"), "{status} {body}");
    let (status, body) = market.sql("SELECT 1", "xml");
    assert!(status == 400 && body.contains("ndjson, csv, arrow or parquet"), "{status} {body}");
    assert_eq!(market.sql_with("SELECT 1", "csv", "").0, 401);
    assert_eq!(market.sql_with("SELECT 1", "csv", "x-api-key: 00000000000000000000000000000000\r\n").0, 401);

    // The command asks the running pipeline, in every format.
    let output = market.place.run(&["sql", "--format", "csv", "SELECT 1 + 1 AS two"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "two\n2\n", "{}", said(&output));
    let output = market.place.run(&["sql", "SELECT 1.50 AS price, 'x' AS text"]);
    assert!(said(&output).contains("| price | text |") && said(&output).contains("1 rows"), "{}", said(&output));
    let output = market.place.run(&["sql", "--format", "json", "SELECT 1.50 AS price, NULL AS nothing"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"price\":\"1.50\",\"nothing\":null}\n", "{}", said(&output));
    for (format, magic) in [("parquet", &b"PAR1"[..]), ("arrow", b"\xff\xff\xff\xff")] {
        let output =
            market.place.run(&["sql", "--format", format, "--output", "x", "SELECT symbol, price FROM ticks LIMIT 9"]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(std::fs::read(market.place.path("x")).unwrap().starts_with(magic), "{format}");
    }
    let output = market.place.run(&["sql", "SELECT nothing FROM ticks"]);
    assert!(!output.status.success() && said(&output).contains("line 1, column 8"), "{}", said(&output));
    let output = market.place.run(&["sql", "--key", "wrong", "SELECT 1"]);
    assert!(!output.status.success() && said(&output).contains("no key of this server"), "{}", said(&output));
}

#[test]
fn a_lake_is_asked_without_a_pipeline() {
    let place = Place::new(LAKE);
    let running = place.up();
    let begun = Instant::now();
    let landed = loop {
        let output = place.run(&["sql", "--lake", "lake", "--format", "csv", "SELECT count(*) FROM ticks"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text.lines().nth(1).and_then(|line| line.parse::<i64>().ok()) {
            Some(count) if count > 500 => break count,
            _ => assert!(begun.elapsed() < PATIENCE, "{text} {}", said(&output)),
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    // Without `sql:` in its file a pipeline has no SQL, and says what to do about it.
    let output = place.run(&["sql", "SELECT 1"]);
    assert!(!output.status.success() && said(&output).contains("sql: {}"), "{}", said(&output));
    assert!(running.interrupt());
    // What landed stays, each record once.
    let sql = "SELECT count(*), count(*) - count(DISTINCT partition::bigint * 1000000000 + \"offset\") FROM ticks";
    let output = place.run(&["sql", "--format", "csv", sql]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<i64> = text.lines().nth(1).unwrap().split(',').map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] >= landed && numbers[1] == 0, "{text}");
    let output = place.run(&["sql", "SELECT nothing FROM ticks"]);
    assert!(!output.status.success() && said(&output).contains("line 1, column 8"), "{}", said(&output));
    let output = place.run(&["sql", "--lake", "nowhere", "SELECT 1"]);
    assert!(!output.status.success() && said(&output).contains("nowhere is not a directory"), "{}", said(&output));
}
