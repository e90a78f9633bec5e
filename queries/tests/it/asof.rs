//! The ASOF join against the definition, row by row.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use queries::{Engine, Limits};

use crate::support::{Fixed, rows};

/// A row: key, time, number. Keys and times may be null.
type Row = (Option<u8>, Option<i64>, i64);

fn table(rows: &[Row], batch_rows: usize) -> Vec<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("at", DataType::Int64, true),
        Field::new("id", DataType::Int64, false),
    ]));
    let batch = |rows: &[Row]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0.map(|key| format!("K{key}"))).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int64Array>()),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    if rows.is_empty() { vec![batch(&[])] } else { rows.chunks(batch_rows).map(batch).collect() }
}

/// What has to come out: for each left row its id and the time of its match, sorted.
fn expected(left: &[Row], right: &[Row], operator: &str) -> Vec<String> {
    let mut lines: Vec<String> = left
        .iter()
        .map(|(key, at, id)| {
            let fits = |candidate: &&Row| {
                let (Some(key), Some(at), Some(other), Some(time)) = (key, at, &candidate.0, candidate.1) else {
                    return false;
                };
                key == other
                    && match operator {
                        ">=" => *at >= time,
                        ">" => *at > time,
                        "<=" => *at <= time,
                        _ => *at < time,
                    }
            };
            let times = right.iter().filter(fits).filter_map(|row| row.1);
            let best = if operator.starts_with('>') { times.max() } else { times.min() };
            format!("{id},{}", best.map(|time| time.to_string()).unwrap_or_default())
        })
        .collect();
    lines.sort();
    lines
}

fn random(rng: &mut fastrand::Rng, count: usize, first: i64) -> Vec<Row> {
    let keys = rng.u8(1..6);
    let span = rng.i64(1..500);
    (0..count)
        .map(|id| {
            let key = (rng.u8(..) > 8).then(|| rng.u8(..keys));
            let at = (rng.u8(..) > 8).then(|| rng.i64(-span..span));
            (key, at, first + id as i64)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_left_row_finds_its_nearest() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..60 {
        let (left_rows, right_rows) = (rng.usize(..400), rng.usize(..1_500));
        let (left, right) = (random(&mut rng, left_rows, 0), random(&mut rng, right_rows, 10_000));
        let batch_rows = rng.usize(1..64);
        let limits = Limits { parallelism: rng.usize(1..4), batch_rows: rng.usize(1..40), ..Limits::default() };
        let engine = Engine::new(limits).unwrap();
        let tables = Fixed::default().with("l", table(&left, batch_rows)).with("r", table(&right, batch_rows));
        for operator in [">=", ">", "<=", "<"] {
            let sql =
                format!("SELECT l.id, r.at FROM l ASOF JOIN r MATCH_CONDITION (l.at {operator} r.at) ON l.key = r.key");
            let mut found = rows(&engine, &tables, &sql).await;
            found.sort();
            assert_eq!(found, expected(&left, &right, operator), "seed {seed}, round {round}, {operator}");
        }
    }
}

fn small() -> Fixed {
    let left = [(Some(1), Some(10), 1), (Some(1), Some(20), 2), (Some(2), Some(15), 3), (Some(3), Some(1), 4)];
    let right = [(Some(1), Some(10), 11), (Some(1), Some(15), 12), (Some(2), Some(16), 13)];
    Fixed::default().with("l", table(&left, 8)).with("r", table(&right, 8))
}

#[tokio::test]
async fn it_is_a_relation_like_any_other() {
    let (engine, tables) = (crate::support::engine(), small());
    let check = async |sql: &str, expected: &[&str]| assert_eq!(rows(&engine, &tables, sql).await, expected, "{sql}");
    check(
        "SELECT l.id, r.id FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key ORDER BY 1",
        &["1,11", "2,12", "3,", "4,"],
    )
    .await;
    // The condition may stand the other way round, and keys may be named once.
    check(
        "SELECT l.id, r.id FROM l ASOF JOIN r MATCH_CONDITION (r.at <= l.at) USING (key) ORDER BY 1",
        &["1,11", "2,12", "3,", "4,"],
    )
    .await;
    check("SELECT key FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) USING (key) ORDER BY l.id LIMIT 1", &["K1"])
        .await;
    // Filters, on either side, mean what they say.
    check(
        "SELECT l.id, r.id FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key \
         WHERE l.key = 'K1' AND r.id = 12",
        &["2,12"],
    )
    .await;
    check(
        "SELECT l.id FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key WHERE r.id IS NULL ORDER BY 1",
        &["3", "4"],
    )
    .await;
    // Twice in one FROM, and beside other joins.
    check(
        "SELECT l.id, a.id, b.id, c.id FROM l \
         ASOF JOIN r AS a MATCH_CONDITION (l.at >= a.at) ON l.key = a.key \
         ASOF JOIN r AS b MATCH_CONDITION (l.at < b.at) ON l.key = b.key \
         JOIN l AS c ON c.id = l.id ORDER BY 1",
        &["1,11,12,1", "2,12,,2", "3,,13,3", "4,,,4"],
    )
    .await;
    check(
        "WITH j AS (SELECT l.id AS id, r.id AS other FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key) \
         SELECT count(*), count(other) FROM j",
        &["4,2"],
    )
    .await;
    // Without keys.
    check(
        "SELECT l.id, r.id FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ORDER BY 1",
        &["1,11", "2,13", "3,12", "4,"],
    )
    .await;
    check("SELECT count(*) FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key", &["4"]).await;
}

#[tokio::test]
async fn filters_on_keys_reach_both_sides() {
    let (engine, tables) = (crate::support::engine(), small());
    let sql = "EXPLAIN SELECT * FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key WHERE l.key = 'K1'";
    let plan = rows(&engine, &tables, sql).await.join("\n").replace("\"\"", "\"");
    let below = plan.split("AsofJoin").nth(1).unwrap();
    assert!(below.contains("l.key = Utf8(\"K1\")") && below.contains("r.key = Utf8(\"K1\")"), "{plan}");
    // Where few columns are wanted there is a projection above the join, and the filter is below both.
    let sql = "EXPLAIN SELECT count(r.id) FROM l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.key = r.key WHERE l.key = 'K1'";
    let plan = rows(&engine, &tables, sql).await.join("\n").replace("\"\"", "\"");
    let below = plan.split("AsofJoin").nth(1).unwrap();
    assert!(below.contains("l.key = Utf8(\"K1\")") && below.contains("r.key = Utf8(\"K1\")"), "{plan}");
}
