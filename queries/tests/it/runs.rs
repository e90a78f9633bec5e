//! Sorted rows are aggregated run by run: the answers are those that the same rows give unsorted.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use datafusion::catalog::MemTable;
use datafusion::logical_expr::SortExpr;
use datafusion::prelude::col;

use crate::support::{Fixed, engine, rows};

type Row = (Option<String>, i64, Option<i128>, i128, i64);

/// Rows sorted by symbol and time, both of which repeat.
fn market(random: &mut fastrand::Rng, symbols: usize, count: usize) -> Vec<Row> {
    let name = |number| match number {
        0 => None,
        odd if odd % 2 == 1 => Some(format!("S{number:05}-USDT")),
        _ => Some(format!("S{number:05}-A-NAME-THAT-IS-NOT-INLINE")),
    };
    let mut rows: Vec<Row> = (0..count)
        .map(|_| {
            let price = (random.u8(..10) > 0).then(|| random.i128(1..1_000) * 10_i128.pow(random.u32(0..12)));
            (name(random.usize(..symbols)), random.i64(0..600) * 1_000_000, price, random.i128(1..10_000), 0)
        })
        .collect();
    rows.sort_by(|a, b| (a.0.is_none(), &a.0, a.1).cmp(&(b.0.is_none(), &b.0, b.1)));
    // The order of equal times is nobody's: prices of the first and the last are asked for where times differ.
    let times: BTreeSet<_> = rows.iter().map(|row| (row.0.clone(), row.1)).collect();
    assert!(times.len() < rows.len(), "some times repeat");
    rows.iter_mut().enumerate().for_each(|(at, row)| row.4 = at as i64);
    rows
}

/// Rows in batches of up to so many.
fn batches(rows: &[Row], rows_max: usize, random: &mut fastrand::Rng) -> Vec<RecordBatch> {
    let mut left = rows;
    let mut batches = Vec::new();
    while !left.is_empty() {
        let (rows, rest) = left.split_at(random.usize(1..=rows_max).min(left.len()));
        left = rest;
        batches.push(one(rows));
    }
    batches
}

fn one(rows: &[Row]) -> RecordBatch {
    let decimal = |values: Vec<Option<i128>>| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(18, 8).unwrap())
    };
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1));
    let columns: [(&str, ArrayRef); 5] = [
        ("symbol", Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>())),
        ("ts_event", Arc::new(times.with_timezone("UTC"))),
        ("price", decimal(rows.iter().map(|row| row.2).collect())),
        ("quantity", decimal(rows.iter().map(|row| Some(row.3)).collect())),
        ("number", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.4)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn tables(seed: u64, symbols: usize, count: usize) -> Fixed {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rows = market(&mut random, symbols, count);
    // DataFusion deals many batches out to both cores and forgets their order; of one it keeps it.
    let sorted = if count > 10_000 { vec![one(&rows)] } else { batches(&rows, 400, &mut random) };
    random.shuffle(&mut rows);
    let shuffled = batches(&rows, 400, &mut random);
    twice(sorted, shuffled)
}

/// One table twice: `sorted` says that it is, `shuffled` is not.
fn twice(sorted: Vec<RecordBatch>, shuffled: Vec<RecordBatch>) -> Fixed {
    let order: Vec<SortExpr> = vec![col("symbol").sort(true, false), col("ts_event").sort(true, false)];
    let table = MemTable::try_new(sorted[0].schema(), vec![sorted]).unwrap().with_sort_order(vec![order]);
    Fixed::default().with_table("sorted", Arc::new(table)).with("shuffled", shuffled)
}

/// A question about one of the two.
fn about(name: &str, question: &str) -> String {
    question.replace("FROM t ", &format!("FROM {name} ")).replace("(t,", &format!("({name},"))
}

const QUESTIONS: [&str; 10] = [
    "SELECT symbol, count(*), count(price), sum(quantity), min(price), max(price) FROM t GROUP BY symbol",
    "SELECT symbol, vwap(price, quantity), vwap(price, quantity) FILTER (WHERE number % 3 = 0) FROM t GROUP BY symbol",
    "SELECT symbol, round(avg(price::double / 3), 4), min((price - quantity)::double), sum(number::double) FROM t GROUP BY symbol",
    "SELECT symbol, ts_event, count(*), sum(price) FROM t GROUP BY symbol, ts_event",
    "SELECT ts_event, symbol, max(number) FROM t GROUP BY ts_event, symbol",
    "SELECT symbol, date_bin('1 minute', ts_event), sum(quantity) FROM t GROUP BY 1, 2",
    "SELECT symbol, min(ts_event), max(ts_event), arg_max(ts_event, ts_event), arg_min(ts_event, ts_event) FROM t GROUP BY symbol",
    "SELECT symbol, arg_max(ts_event, ts_event) FILTER (WHERE number % 7 = 1), first_value(ts_event ORDER BY ts_event) FILTER (WHERE price IS NULL) FROM t GROUP BY symbol",
    "SELECT symbol, first_value(symbol ORDER BY ts_event), last_value(ts_event ORDER BY symbol, ts_event) FROM t GROUP BY symbol",
    "SELECT symbol, ts_event FROM latest(t, symbol)",
];

#[tokio::test]
async fn answers_do_not_depend_on_the_order_of_rows() {
    let engine = engine();
    // Few groups and long runs; one run; groups enough that those that have ended are handed out on the way.
    for (seed, symbols, count) in [(1, 20, 5_000), (2, 1, 700), (3, 3_000, 40_000), (4, 2, 100)] {
        let tables = tables(seed, symbols, count);
        for question in QUESTIONS {
            let ask = async |name: &str| {
                let sql = about(name, question);
                let plan = rows(&engine, &tables, &format!("EXPLAIN {sql}")).await.join("\n");
                let mut answer = rows(&engine, &tables, &sql).await;
                answer.sort_unstable();
                (plan, answer)
            };
            let ((planned, sorted), (plain, shuffled)) = (ask("sorted").await, ask("shuffled").await);
            assert!(planned.contains("RunsExec") && !plain.contains("RunsExec"), "seed {seed}: {planned}");
            assert!(sorted == shuffled && !sorted.is_empty(), "seed {seed}: {question}\n{sorted:?}\n{shuffled:?}");
        }
    }
}

/// Values at the ends of groups, where every time is there once: the whole row is told.
#[tokio::test]
async fn ends_of_groups_are_rows() {
    let mut random = fastrand::Rng::with_seed(9);
    let mut rows_of: Vec<Row> = market(&mut random, 50, 8_000);
    rows_of.iter_mut().for_each(|row| row.1 += row.4 % 1_000_000);
    rows_of.sort_by(|a, b| (a.0.is_none(), &a.0, a.1).cmp(&(b.0.is_none(), &b.0, b.1)));
    let sorted = batches(&rows_of, 400, &mut random);
    random.shuffle(&mut rows_of);
    let tables = twice(sorted, batches(&rows_of, 400, &mut random));
    let engine = engine();
    for question in [
        "SELECT * FROM latest(t, symbol)",
        "SELECT * FROM bars(t, '1m')",
        "SELECT symbol, arg_max(price, ts_event), arg_min(price, ts_event), first_value(price ORDER BY ts_event), last_value(price ORDER BY ts_event) FILTER (WHERE number % 5 = 0), last_value(price ORDER BY ts_event) IGNORE NULLS FROM t GROUP BY symbol",
    ] {
        let mut answers = Vec::new();
        for name in ["sorted", "shuffled"] {
            let mut answer = rows(&engine, &tables, &about(name, question)).await;
            answer.sort_unstable();
            answers.push(answer);
        }
        assert!(answers[0] == answers[1] && answers[0].len() > 10, "{question}\n{answers:?}");
    }
}

/// What stood some rows before, against a join of rows with those of smaller numbers.
#[tokio::test]
async fn a_lag_is_the_row_before() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut rows_of: Vec<Row> = market(&mut random, 40, 8_000);
    rows_of.iter_mut().for_each(|row| row.1 += row.4 % 1_000_000);
    rows_of.sort_by(|a, b| (a.0.is_none(), &a.0, a.1).cmp(&(b.0.is_none(), &b.0, b.1)));
    rows_of.iter_mut().enumerate().for_each(|(at, row)| row.4 = at as i64);
    let tables = twice(batches(&rows_of, 400, &mut random), batches(&rows_of, 400, &mut random));
    let engine = engine();
    for (over, same) in [
        ("PARTITION BY symbol ORDER BY ts_event", "AND b.symbol IS NOT DISTINCT FROM a.symbol"),
        ("ORDER BY symbol, ts_event", ""),
    ] {
        for (column, back) in [("price", 1), ("symbol", 1), ("quantity", 7), ("price * 2", 700)] {
            let lag = format!("SELECT number, lag({column}, {back}) OVER ({over}) FROM sorted ORDER BY number");
            let join = format!(
                "SELECT a.number, b.value FROM sorted a LEFT JOIN (SELECT *, {column} AS value FROM sorted) b \
                 ON b.number + {back} = a.number {same} ORDER BY a.number"
            );
            let plan = rows(&engine, &tables, &format!("EXPLAIN {lag}")).await.join("\n");
            assert!(plan.contains("LagExec"), "{plan}");
            let (lag, join) = (rows(&engine, &tables, &lag).await, rows(&engine, &tables, &join).await);
            assert!(lag.len() == rows_of.len() && lag == join, "lag({column}, {back}) OVER ({over})");
        }
        for other in
            ["lag(price, 1, 0)", "lag(price) IGNORE NULLS", "lead(price)", "lag(price, -1)", "lag(price, 5000)"]
        {
            let plan = rows(&engine, &tables, &format!("EXPLAIN SELECT {other} OVER ({over}) FROM sorted")).await;
            assert!(!plan.join("\n").contains("LagExec"), "{other}: {plan:?}");
        }
    }
}
