//! The table over files and a tail.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use queries::Engine;
use queries::table::{File, MarketTable, Range, Source, TailStore, sql_schema};

use crate::support::{Fixed, engine, rows, trades};

const LAKE: &str = "lake://test/";
const DAY: i64 = 86_400_000_000;

/// The columns of a table of the lake: identity, body, date.
fn schema() -> SchemaRef {
    let body = trades(&[]).schema();
    let mut fields = vec![
        Arc::new(Field::new("partition", DataType::Int32, false)),
        Arc::new(Field::new("offset", DataType::Int64, false)),
    ];
    fields.extend(body.fields().iter().cloned());
    fields.push(Arc::new(Field::new("date", DataType::Date32, false)));
    Arc::new(Schema::new(fields))
}

/// `count` rows of one partition from offset `first` on: four symbols in turn, ten seconds apart.
fn batch(first: i64, count: i64) -> RecordBatch {
    let symbols = ["ADA-USDT", "BTC-USDT", "ETH-USDT", "XRP-USDT"];
    let texts: Vec<(String, i64)> =
        (first..first + count).map(|at| (format!("{}.{:08}", 100 + at, at), at * 10_000_000)).collect();
    let body: Vec<(&str, i64, &str, &str, &str)> = texts
        .iter()
        .enumerate()
        .map(|(row, (price, time))| (symbols[(first as usize + row) % 4], *time, price.as_str(), "1.5", "buy"))
        .collect();
    let body = trades(&body);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![0; count as usize])),
        Arc::new(Int64Array::from_iter_values(first..first + count)),
    ];
    columns.extend(body.columns().iter().cloned());
    let dates = (first..first + count).map(|at| (at * 10_000_000).div_euclid(DAY) as i32);
    columns.push(Arc::new(Date32Array::from_iter_values(dates)));
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Writes rows of one date as a file.
fn land(dir: &Path, name: &str, rows: &RecordBatch, sorted: bool) -> Arc<File> {
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let rows = if sorted {
        let by = ["symbol", "ts_event", "partition", "offset"].map(|name| SortColumn {
            values: Arc::clone(column(name)),
            options: Some(SortOptions { descending: false, nulls_first: false }),
        });
        take_record_batch(rows, &lexsort_to_indices(&by, None).unwrap()).unwrap()
    } else {
        rows.clone()
    };
    let inside = rows.project(&(0..rows.num_columns() - 1).collect::<Vec<_>>()).unwrap();
    let small_groups = WriterProperties::builder().set_max_row_group_row_count(Some(1_000)).build();
    let to = std::fs::File::create(dir.join(name)).unwrap();
    let mut writer = ArrowWriter::try_new(to, inside.schema(), Some(small_groups)).unwrap();
    writer.write(&inside).unwrap();
    writer.close().unwrap();
    let view = sql_schema(&schema());
    let ranges = view.fields().iter().map(|field| {
        let column = arrow::compute::cast(rows.column_by_name(field.name()).unwrap(), field.data_type()).unwrap();
        let order = arrow::compute::sort_to_indices(&column, None, None).unwrap();
        let at = |place: usize| ScalarValue::try_from_array(&column, order.value(place) as usize).unwrap();
        Some(Range { min: at(0), max: at(rows.num_rows() - 1), nulls: Some(0) })
    });
    let date = rows.column(rows.num_columns() - 1).as_any().downcast_ref::<Date32Array>().unwrap().value(0);
    Arc::new(File {
        path: name.to_owned(),
        bytes: std::fs::metadata(dir.join(name)).unwrap().len(),
        rows: rows.num_rows() as u64,
        date,
        ranges: ranges.collect(),
        sorted,
    })
}

fn table(files: Vec<Arc<File>>, next: u64, tail: &TailStore) -> Fixed {
    let source = Source {
        schema: sql_schema(&schema()),
        sort_columns: ["symbol", "ts_event", "partition", "offset"].map(str::to_owned).into(),
        store: ObjectStoreUrl::parse(LAKE).unwrap(),
        files,
        next: BTreeMap::from([(0, next)]),
        tail: tail.pin(),
        revisions: None,
    };
    Fixed::default().with_table("trades", Arc::new(MarketTable::new(source).unwrap()))
}

fn engine_over(dir: &Path) -> Engine {
    let engine = engine();
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    engine.register_store(&ObjectStoreUrl::parse(LAKE).unwrap(), Arc::new(store));
    engine
}

const QUESTIONS: [&str; 7] = [
    "SELECT count(*), min(\"offset\"), max(\"offset\"), count(DISTINCT \"offset\"), sum(price) FROM trades",
    "SELECT symbol, count(*), vwap(price, quantity), max(ts_event) FROM trades GROUP BY symbol ORDER BY symbol",
    "SELECT \"offset\", price FROM trades WHERE symbol = 'BTC-USDT' AND ts_event < TIMESTAMP '1970-01-01T01:00:00Z' ORDER BY 1",
    "SELECT date, count(*) FROM trades GROUP BY date ORDER BY date",
    "SELECT count(*) FROM trades WHERE date = DATE '1970-01-02'",
    "SELECT symbol, price FROM latest(trades, symbol) ORDER BY 1",
    "SELECT count(*) FROM trades WHERE price = 142.00000042",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_stay_the_same_while_rows_land_and_are_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine_over(dir.path());
    // Rows 0 to 20,000: dates 0 to 2, a date having 8,640 rows.
    let all = batch(0, 20_000);
    let whole = {
        let mut tail = TailStore::new(sql_schema(&schema()));
        tail.push(0, 0, 20_000, all.clone()).unwrap();
        tail
    };
    let mut expected = Vec::new();
    for sql in QUESTIONS {
        expected.push(rows(&engine, &table(Vec::new(), 0, &whole), sql).await);
    }
    assert_eq!(expected[0][0].split(',').next(), Some("20000"));
    assert_eq!(expected[6], ["1"], "an equality on a decimal finds its row");
    let part = |first: usize, end: usize| all.slice(first, end - first);
    let dir = dir.path();
    let landed = [
        land(dir, "a.parquet", &part(0, 5_000), false),
        land(dir, "b.parquet", &part(5_000, 8_640), false),
        land(dir, "c.parquet", &part(8_640, 12_345), false),
    ];
    let compacted = land(dir, "d.parquet", &part(0, 8_640), true);
    let second = land(dir, "e.parquet", &part(8_640, 17_280), true);
    let third = land(dir, "f.parquet", &part(17_280, 20_000), true);
    let mut pieces = TailStore::new(sql_schema(&schema()));
    for first in (0..20_000).step_by(770) {
        let end = (first + 770).min(20_000);
        pieces.push(0, first as u64, end as u64, part(first, end)).unwrap();
    }
    let states: [(&str, Vec<Arc<File>>, u64); 5] = [
        ("in the tail alone", Vec::new(), 0),
        ("landed in part", landed.to_vec(), 12_345),
        ("compacted in part", vec![compacted.clone(), landed[2].clone()], 12_345),
        ("compacted up to a date", vec![compacted.clone(), second.clone()], 17_280),
        ("compacted whole", vec![compacted, second, third], 20_000),
    ];
    for (state, files, next) in states {
        // What landed leaves the tail sooner or later; the answer is the same before and after.
        for evicted in [false, true] {
            if evicted {
                pieces.evict(&BTreeMap::from([(0, next)]));
            }
            let tables = table(files.clone(), next, &pieces);
            for (sql, expected) in QUESTIONS.iter().zip(&expected) {
                assert_eq!(&rows(&engine, &tables, sql).await, expected, "{state}, evicted {evicted}: {sql}");
            }
        }
    }
}

/// A chain of sorted files is read by both cores where its order is not wanted, and by one where it is.
#[tokio::test]
async fn a_chain_is_read_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine_over(dir.path());
    let all = batch(0, 8_640);
    let mut tail = TailStore::new(sql_schema(&schema()));
    tail.push(0, 0, 8_640, all.clone()).unwrap();
    let of = |wanted: [&str; 2]| {
        let symbols = all.column_by_name("symbol").unwrap().as_string::<i32>();
        let wanted: BooleanArray = symbols.iter().map(|symbol| symbol.map(|name| wanted.contains(&name))).collect();
        filter_record_batch(&all, &wanted).unwrap()
    };
    let files = vec![
        land(dir.path(), "a.parquet", &of(["ADA-USDT", "BTC-USDT"]), true),
        land(dir.path(), "b.parquet", &of(["ETH-USDT", "XRP-USDT"]), true),
    ];
    let chain = table(files, 8_640, &TailStore::new(sql_schema(&schema())));
    let plain = table(Vec::new(), 0, &tail);
    for (sql, pieces) in [
        ("SELECT symbol, count(*), sum(price), vwap(price, quantity) FROM trades GROUP BY symbol", true),
        ("SELECT side, count(*), max(\"offset\") FROM trades GROUP BY side", true),
        ("SELECT partition, count(*) FROM trades GROUP BY partition", true),
        ("SELECT symbol, \"offset\" FROM trades ORDER BY symbol, ts_event", false),
        ("SELECT \"offset\", lag(price) OVER (ORDER BY symbol, ts_event) FROM trades", false),
        ("SELECT count(*) FROM (SELECT * FROM trades LIMIT 5000)", false),
    ] {
        let plan = rows(&engine, &chain, &format!("EXPLAIN {sql}")).await.join("\n");
        assert_eq!(plan.contains("2 groups"), pieces, "{sql}: {plan}");
        assert!(!plan.contains("SortExec") && !plan.contains("SortPreserving"), "{sql}: {plan}");
        let (mut read, mut expected) = (rows(&engine, &chain, sql).await, rows(&engine, &plain, sql).await);
        if pieces || sql.contains("lag") {
            read.sort_unstable();
            expected.sort_unstable();
        }
        assert_eq!(read, expected, "{sql}");
    }
}

/// Another writer's statistics: ends that look alike of values that are not.
#[tokio::test]
async fn times_and_decimals_are_read_whatever_their_ends() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine_over(dir.path());
    let mut file = File::clone(&land(dir.path(), "a.parquet", &batch(0, 100), true));
    for column in ["ts_event", "price"] {
        let at = schema().index_of(column).unwrap();
        let range = file.ranges[at].as_mut().unwrap();
        range.max = range.min.clone();
    }
    let tables = table(vec![Arc::new(file)], 100, &TailStore::new(sql_schema(&schema())));
    let sql = "SELECT count(DISTINCT ts_event), count(DISTINCT price), count(DISTINCT partition) FROM trades";
    assert_eq!(rows(&engine, &tables, sql).await, ["100,100,1"]);
}

#[tokio::test]
async fn files_that_cannot_match_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine_over(dir.path());
    let all = batch(0, 17_280);
    let files = vec![
        land(dir.path(), "a.parquet", &all.slice(0, 8_640), true),
        land(dir.path(), "b.parquet", &all.slice(8_640, 8_640), true),
    ];
    // The first file is gone: whoever reads it fails.
    std::fs::remove_file(dir.path().join("a.parquet")).unwrap();
    let tables = table(files, 17_280, &TailStore::new(sql_schema(&schema())));
    for sql in [
        "SELECT count(*) FROM trades WHERE ts_event >= TIMESTAMP '1970-01-02T00:00:00Z'",
        "SELECT count(*) FROM trades WHERE date = DATE '1970-01-02'",
        "SELECT count(*) FROM trades WHERE \"offset\" >= 8640",
        "SELECT count(*) FROM trades WHERE price > 8740.00008639",
    ] {
        assert_eq!(rows(&engine, &tables, sql).await, ["8640"], "{sql}");
    }
}

#[tokio::test]
async fn sorted_files_need_no_sort() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine_over(dir.path());
    let all = batch(0, 8_640);
    let files = vec![land(dir.path(), "a.parquet", &all, true)];
    let tables = table(files, 8_640, &TailStore::new(sql_schema(&schema())));
    let sql = "EXPLAIN SELECT l.price, r.price FROM trades AS l ASOF JOIN trades AS r \
               MATCH_CONDITION (l.ts_event >= r.ts_event) ON l.symbol = r.symbol";
    let plan = rows(&engine, &tables, sql).await.join("\n");
    assert!(plan.contains("AsofExec") && !plan.contains("SortExec"), "{plan}");
}

#[test]
fn a_hole_between_files_and_tail_is_an_error() {
    let mut tail = TailStore::new(sql_schema(&schema()));
    tail.push(0, 100, 200, batch(100, 100)).unwrap();
    assert!(tail.push(0, 250, 300, batch(250, 50)).is_err(), "a hole in the tail");
    let source = |next: u64| Source {
        schema: sql_schema(&schema()),
        sort_columns: Vec::new(),
        store: ObjectStoreUrl::parse(LAKE).unwrap(),
        files: Vec::new(),
        next: BTreeMap::from([(0, next)]),
        tail: tail.pin(),
        revisions: None,
    };
    assert!(MarketTable::new(source(99)).is_err());
    assert_eq!(MarketTable::new(source(150)).unwrap().tail_rows(), 50);
    assert_eq!(MarketTable::new(source(500)).unwrap().tail_rows(), 0);
}
