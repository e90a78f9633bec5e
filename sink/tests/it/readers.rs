//! Tables read back by DuckDB and by the Python `deltalake` reader, compared with the log row for row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::exchange::{MarketTrade, Stamped};
use serde_json::Value;
use sink::tables::Table;
use sink::tend::compact;

use crate::support::{append, config, land_all, log_with_topics, open_lake, trade};

const COLUMNS: [&str; 9] =
    ["partition", "offset", "symbol", "trade_id", "price", "quantity", "taker_side", "ts_event", "date"];

/// The interpreter with the readers, where `cargo xtask setup` has put it.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/readers/bin/python");
    if python.is_file() {
        return Some(python);
    }
    println!("not run: tables read by DuckDB and deltalake ({} is absent: cargo xtask setup)", python.display());
    None
}

fn read(python: &Path, reader: &str, table: &Path) -> BTreeMap<(u64, u64), Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/rows.py");
    let ran = Command::new(python).arg(script).arg(reader).arg(table).args(COLUMNS).output().unwrap();
    assert!(ran.status.success(), "{reader}: {}", String::from_utf8_lossy(&ran.stderr));
    let mut rows = BTreeMap::new();
    for line in String::from_utf8(ran.stdout).unwrap().lines() {
        let row: Vec<Value> = serde_json::from_str(line).unwrap();
        let identity = (row[0].as_u64().unwrap(), row[1].as_u64().unwrap());
        assert!(rows.insert(identity, row).is_none(), "{reader} reads {identity:?} twice");
    }
    rows
}

/// What a reader should show of a record, decimals with eight places.
fn expected(partition: u64, offset: u64, record: &[u8]) -> Vec<Value> {
    let trade: Stamped<MarketTrade> = serde_json::from_slice(record).unwrap();
    let decimal = |raw: i64| format!("{}.{:08}", raw / 100_000_000, raw % 100_000_000);
    let side = if trade.body.taker_side == model::Side::Buy { "buy" } else { "sell" };
    let day: String = trade.ts_event.to_string().chars().take(10).collect();
    vec![
        partition.into(),
        offset.into(),
        trade.body.instrument.as_str().into(),
        trade.body.trade_id.into(),
        decimal(trade.body.price.raw()).into(),
        decimal(trade.body.quantity.raw()).into(),
        side.into(),
        trade.ts_event.0.div_euclid(1_000).into(),
        day.into(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_peoples_readers_see_the_log_as_landed_and_as_compacted() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = log_with_topics(&folder.path().join("log")).await;
    let lake = open_lake(folder.path()).await;
    let mut random = fastrand::Rng::with_seed(6);
    let mut wanted = BTreeMap::new();
    let path = folder.path().join("lake/trades");
    // Sixty small commits, so that a checkpoint is written and read.
    for round in 0..3u64 {
        for partition in 0..2u32 {
            let mut records = Vec::new();
            for number in round * 2_000..(round + 1) * 2_000 {
                // 50 s apart: the records of a partition spread over more than three days.
                let record = trade(&mut random, partition, number * 50);
                wanted.insert((partition.into(), number), expected(partition.into(), number, &record));
                records.push(record);
            }
            append(&*log, "trades", partition, records.into_iter()).await;
        }
        land_all(&log, &lake, config(&[Table::Trades], 200)).await;
        for reader in ["duckdb", "deltalake"] {
            let rows = read(&python, reader, &path);
            assert_eq!(rows.len(), wanted.len(), "{reader}, round {round}");
            for (identity, row) in &wanted {
                assert_eq!(rows.get(identity), Some(row), "{reader}, round {round}");
            }
        }
    }
    let before = lake.snapshot(Table::Trades).await.unwrap();
    let done = compact(&lake, Table::Trades, |_, _| {}).await.unwrap();
    let after = lake.snapshot(Table::Trades).await.unwrap();
    assert!(done.files_before > 0 && after.files.len() < before.files.len(), "{done:?}");
    for reader in ["duckdb", "deltalake"] {
        assert!(read(&python, reader, &path) == wanted, "{reader} after compaction");
    }
}
