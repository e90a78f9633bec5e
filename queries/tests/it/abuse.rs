//! Statements that ask for what they may not have: each is refused or stopped within its limit, and the engine goes
//! on.

use std::time::{Duration, Instant};

use queries::error::ErrorKind::{self, Data, Limit, Meaning, Refused, Syntax};
use queries::{Caller, Engine, Limits};

use crate::support::{Fixed, rows, rows_for, trades};

/// Time that a statement gets.
const TIME: Duration = Duration::from_millis(1_500);

/// Statements, and how each has to fail.
fn statements() -> Vec<(String, &'static [ErrorKind])> {
    let mut all: Vec<(String, &'static [ErrorKind])> = [
        // What writes.
        ("CREATE TABLE x (a INT)", &[Refused] as &[ErrorKind]),
        ("CREATE TABLE x AS SELECT * FROM trades", &[Refused]),
        ("CREATE VIEW v AS SELECT 1", &[Refused]),
        ("CREATE OR REPLACE VIEW trades AS SELECT 1", &[Refused]),
        ("CREATE SCHEMA s", &[Refused]),
        ("CREATE DATABASE d", &[Refused]),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a", &[Refused, Syntax]),
        ("CREATE INDEX i ON trades (price)", &[Refused]),
        ("DROP TABLE trades", &[Refused]),
        ("DROP VIEW IF EXISTS trades", &[Refused]),
        ("DROP SCHEMA public CASCADE", &[Refused]),
        ("ALTER TABLE trades ADD COLUMN x INT", &[Refused]),
        ("TRUNCATE TABLE trades", &[Refused]),
        ("INSERT INTO trades SELECT * FROM trades", &[Refused]),
        ("INSERT INTO trades VALUES (1)", &[Refused]),
        ("UPDATE trades SET price = 1", &[Refused]),
        ("DELETE FROM trades", &[Refused]),
        ("MERGE INTO trades USING trades AS s ON true WHEN MATCHED THEN DELETE", &[Refused, Syntax]),
        ("WITH x AS (INSERT INTO trades VALUES (1)) SELECT 1", &[Refused, Syntax]),
        ("WITH x AS (DELETE FROM trades RETURNING *) SELECT * FROM x", &[Refused, Syntax]),
        ("SELECT * INTO other FROM trades", &[Refused]),
        ("SELECT * FROM trades FOR UPDATE", &[Refused]),
        ("EXPLAIN INSERT INTO trades SELECT * FROM trades", &[Refused]),
        ("EXPLAIN ANALYZE DELETE FROM trades", &[Refused]),
        ("PREPARE p AS SELECT 1", &[Refused]),
        ("EXECUTE p", &[Refused]),
        ("DEALLOCATE p", &[Refused]),
        ("DECLARE c CURSOR FOR SELECT 1", &[Refused]),
        ("SET datafusion.execution.batch_size = 1", &[Refused]),
        ("RESET datafusion.execution.batch_size", &[Refused]),
        ("SET ROLE admin", &[Refused]),
        ("BEGIN", &[Refused]),
        ("COMMIT", &[Refused]),
        ("GRANT ALL ON trades TO public", &[Refused]),
        ("ANALYZE trades", &[Refused, Syntax]),
        ("VACUUM", &[Refused, Syntax]),
        ("KILL 1", &[Refused, Syntax]),
        ("CALL f()", &[Refused]),
        ("LOAD 'x'", &[Refused, Syntax]),
        ("SHOW ALL", &[Refused]),
        ("SHOW datafusion.execution.batch_size", &[Refused]),
        // Files, programs and the network.
        ("COPY trades TO '/tmp/x.csv'", &[Refused]),
        ("COPY (SELECT 1) TO '/tmp/x.parquet'", &[Refused]),
        ("COPY (SELECT 1) TO PROGRAM 'sh'", &[Refused]),
        ("COPY trades FROM STDIN", &[Refused]),
        ("COPY trades TO STDOUT", &[Refused]),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", &[Refused]),
        ("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 's3://bucket/x'", &[Refused]),
        ("SELECT * FROM '/etc/passwd'", &[Refused]),
        ("SELECT * FROM \"/etc/passwd\"", &[Refused]),
        ("SELECT * FROM '../secret.csv'", &[Refused]),
        ("SELECT * FROM 'file:///etc/passwd'", &[Refused]),
        ("SELECT * FROM 'http://127.0.0.1/x.parquet'", &[Refused]),
        ("SELECT * FROM \"lake.parquet\"", &[Refused]),
        ("SELECT * FROM read_csv('/etc/passwd')", &[Refused]),
        ("SELECT * FROM read_parquet('x')", &[Refused]),
        ("SELECT * FROM parquet_metadata('x')", &[Refused]),
        ("SELECT * FROM glob('/*')", &[Refused]),
        ("SELECT pg_read_file('/etc/passwd')", &[Meaning]),
        ("SELECT pg_sleep(100)", &[Meaning]),
        ("SELECT lo_import('/etc/passwd')", &[Meaning]),
        ("SELECT getenv('HOME')", &[Meaning]),
        ("SELECT * FROM information_schema.df_settings", &[Refused]),
        ("SELECT * FROM pg_authid", &[Meaning]),
        // More than one, or none.
        ("SELECT 1; SELECT 2", &[Refused]),
        ("SELECT 1; DROP TABLE trades", &[Refused]),
        ("", &[Syntax]),
        ("-- nothing", &[Syntax]),
        (";", &[Syntax]),
        ("SELEC 1", &[Syntax, Refused]),
        ("SELECT 'open", &[Syntax]),
        ("SELECT * FROM nothing_here", &[Meaning]),
        ("SELECT missing FROM trades", &[Meaning]),
        // What would never end, or need all memory.
        ("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, generate_series(1, 100000) c WHERE a.value + b.value < c.value", &[Limit]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r", &[Limit]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT * FROM r", &[Limit]),
        ("SELECT * FROM generate_series(1, 1000000000000)", &[Limit]),
        ("SELECT array_agg(value) FROM generate_series(1, 100000000)", &[Limit]),
        ("SELECT count(DISTINCT value) FROM generate_series(1, 1000000000)", &[Limit]),
        ("SELECT a.value FROM generate_series(1, 100000000) a ORDER BY a.value % 1000 DESC, a.value", &[Limit]),
        ("SELECT repeat('x', 2000000000)", &[Limit, Data]),
        ("SELECT 1 / 0.0 FROM trades", &[Data]),
        ("SELECT sum(price * quantity * 1000000000000000000000) FROM trades", &[Data, Limit, Meaning]),
        // Ours, misused.
        ("SELECT * FROM bars(trades)", &[Meaning]),
        ("SELECT * FROM bars(trades, 'often')", &[Meaning]),
        ("SELECT * FROM bars(trades, '1m', fill => 'magic')", &[Meaning]),
        ("SELECT * FROM bars('/etc/passwd', '1m')", &[Meaning]),
        ("SELECT * FROM bars((DELETE FROM trades), '1m')", &[Syntax, Refused]),
        ("SELECT * FROM trades ASOF JOIN trades AS q MATCH_CONDITION (trades.price = q.price) ON trades.symbol = q.symbol", &[Meaning]),
        ("SELECT * FROM trades ASOF JOIN trades AS q MATCH_CONDITION (trades.symbol >= q.symbol) ON true", &[Meaning]),
    ]
    .into_iter()
    .map(|(sql, kinds)| (sql.to_owned(), kinds))
    .collect();
    all.push((format!("SELECT {}", vec!["1"; 2_000].join(" + ")), &[Limit]));
    all.push((format!("SELECT * FROM trades WHERE {}", vec!["price = 1"; 2_000].join(" OR ")), &[Limit]));
    all.push((format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)), &[Limit]));
    all.push((format!("SELECT {}1", "NOT ".repeat(5_000)), &[Limit]));
    all.push((format!("SELECT {}1", "- ".repeat(5_000)), &[Limit]));
    all.push((vec!["SELECT 1"; 2_000].join(" UNION ALL "), &[Limit]));
    all.push((format!("SELECT '{}'", "x".repeat(100_000)), &[Limit]));
    all.push((format!("SELECT {}1{}", "[".repeat(1_000), "]".repeat(1_000)), &[Limit]));
    all.push((format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(600), " END".repeat(600)), &[Limit, Syntax]));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_is_refused_or_stopped_within_its_limit() {
    let limits = Limits {
        time_max: TIME,
        memory_bytes_max: 32 << 20,
        rows_max: 100_000,
        spill_bytes_max: 16 << 20,
        parallelism: 2,
        ..Limits::default()
    };
    let engine = Engine::new(limits).unwrap();
    let tables = Fixed::default().with("trades", vec![trades(&[("BTC-USDT", 1, "1", "1", "buy")])]);
    let statements = statements();
    assert!(statements.len() >= 60, "{}", statements.len());
    let mut wrong = Vec::new();
    for (sql, kinds) in &statements {
        let shown: String = sql.chars().take(90).collect();
        let begun = Instant::now();
        // A statement that ignores its deadline is the worker process's matter; here it may take a while longer.
        match rows_for(&engine, &tables, sql, &Caller::Operator).await {
            Ok(rows) => wrong.push(format!("{shown}: answered {} rows", rows.len())),
            Err(error) if !kinds.contains(&error.kind) => {
                wrong.push(format!("{shown}: {:?} instead of {kinds:?}: {}", error.kind, error.message));
            }
            Err(error) => {
                if error.message.is_empty() || error.message.len() > 2_000 {
                    wrong.push(format!("{shown}: no sentence: {}", error.message));
                }
            }
        }
        let took = begun.elapsed();
        if took > Duration::from_secs(30) {
            wrong.push(format!("{shown}: took {took:?}"));
        }
        // The engine is as good as before.
        assert_eq!(rows(&engine, &tables, "SELECT count(*) FROM trades").await, ["1"], "after {shown}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn errors_say_where() {
    let engine = crate::support::engine();
    let tables = Fixed::default().with("trades", vec![trades(&[("BTC-USDT", 1, "1", "1", "buy")])]);
    let error =
        rows_for(&engine, &tables, "SELECT price\nFROM trades WHERE WHERE", &Caller::Operator).await.unwrap_err();
    assert_eq!(error.position.map(|at| at.line), Some(2), "{error}");
    let error =
        rows_for(&engine, &tables, "SELECT price,\n  missing FROM trades", &Caller::Operator).await.unwrap_err();
    assert_eq!(error.position.map(|at| (at.line, at.column)), Some((2, 3)), "{error}");
    let error = rows_for(&engine, &tables, "SELECT * FROM trades, 'x.csv'", &Caller::Operator).await.unwrap_err();
    assert_eq!(error.position.map(|at| at.line), Some(1), "{error}");
}

#[tokio::test]
async fn a_trader_sees_its_own_rows_alone() {
    let engine = crate::support::engine();
    let deals = trades(&[("A-B", 1, "1", "1", "buy"), ("A-B", 2, "2", "1", "buy"), ("A-B", 3, "3", "1", "buy")]);
    let tables = ["executions", "orders", "ledger", "audit", "trades"]
        .into_iter()
        .fold(Fixed::default(), |tables, name| tables.with(name, vec![deals.clone()]));
    let trader = Caller::Trader { account: 1 };
    for table in ["executions", "orders", "ledger", "audit"] {
        for sql in [
            format!("SELECT account FROM {table}"),
            format!("SELECT account FROM {table} WHERE account = 1 OR true"),
            format!("SELECT DISTINCT account FROM (SELECT * FROM {table}) AS t"),
            format!("SELECT account FROM millrace.public.{table}"),
            format!("SELECT x.account FROM {table} AS x LEFT JOIN {table} AS y ON y.account <> x.account"),
            format!("SELECT max(account) FROM {table}"),
            format!("WITH t AS (SELECT * FROM {table}) SELECT t.account FROM t UNION SELECT account FROM {table}"),
            format!("SELECT account FROM latest({table}, symbol)"),
        ] {
            assert_eq!(rows_for(&engine, &tables, &sql, &trader).await.unwrap(), ["1"], "{sql}");
        }
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(rows_for(&engine, &tables, &sql, &trader).await.unwrap(), ["1"]);
        assert_eq!(rows(&engine, &tables, &sql).await, ["3"]);
    }
    assert_eq!(rows_for(&engine, &tables, "SELECT count(*) FROM trades", &trader).await.unwrap(), ["3"]);
}
