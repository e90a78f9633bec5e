//! Statements that ask for what they may not have: each is refused or stopped within its limit, and the engine goes
//! on.

use std::time::{Duration, Instant};

use queries::{Caller, Engine, Limits};

use crate::statements::statements;
use crate::support::{Fixed, rows, rows_for, trades};

/// Time that a statement gets.
const TIME: Duration = Duration::from_millis(1_500);

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
    assert!(error.message.contains("'x.csv' is not a table"), "{error}");
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
