//! Statements that ask for what they may not have. The program's own tests send the same ones to its doors.

use queries::error::ErrorKind::{self, Data, Internal, Limit, Meaning, Refused, Syntax};

/// Statements, and how each has to fail.
pub(crate) fn statements() -> Vec<(String, &'static [ErrorKind])> {
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
        // DataFusion 55 panics in its repartitioning on some of these, which ends this statement alone.
        ("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, generate_series(1, 100000) c WHERE a.value + b.value < c.value", &[Limit, Internal]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r", &[Limit]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT * FROM r", &[Limit]),
        ("SELECT * FROM generate_series(1, 1000000000000)", &[Limit]),
        ("SELECT array_agg(value) FROM generate_series(1, 100000000)", &[Limit]),
        ("SELECT count(DISTINCT value) FROM generate_series(1, 1000000000)", &[Limit]),
        ("SELECT a.value FROM generate_series(1, 100000000) a ORDER BY a.value % 1000 DESC, a.value", &[Limit]),
        ("SELECT repeat('x', 2000000000)", &[Limit]),
        ("SELECT repeat(symbol, 900000000) FROM trades", &[Limit]),
        ("SELECT lpad('x', 2000000000, 'y')", &[Limit]),
        ("SELECT rpad(symbol, 2000000000) FROM trades", &[Limit]),
        ("SELECT range(1, 10000000000)", &[Limit]),
        ("SELECT generate_series(price::bigint, 90000000000) FROM trades", &[Limit]),
        ("SELECT generate_series(TIMESTAMP '1970-01-01', TIMESTAMP '2026-01-01', INTERVAL '1 microsecond')", &[Limit]),
        ("SELECT array_repeat(1, 10000000000)", &[Limit]),
        ("SELECT array_resize([1], 10000000000)", &[Limit]),
        ("SELECT * FROM bars((SELECT symbol, ts AS ts_event, 1.0 AS price, 1.0 AS quantity FROM (VALUES ('X', TIMESTAMP '1970-01-01'), ('X', TIMESTAMP '2026-01-01'), ('Y', TIMESTAMP '2026-01-01')) AS t (symbol, ts)), '1us', fill => 'prev')", &[Limit]),
        ("SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, (SELECT * FROM window_join(trades, trades, '1s')), '1s')), '1s')), '1s')), '1s')), '1s')), '1s')), '1s')), '1s')", &[Limit]),
        ("SELECT 1 / 0.0 FROM trades", &[Data]),
        ("SELECT sum(price * quantity * 1000000000000000000000000) FROM trades", &[Data, Limit, Meaning]),
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
