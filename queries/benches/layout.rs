//! One symbol, one hour, out of a table of a thousand million trades: from nothing known to the last row.
//!
//! The day that is asked for is real: 25 million rows in two sorted files, as compaction leaves a date, with the encoder
//! and the statistics of the sink. The other 39 days are entries of the table's log alone, a file an hour, as before
//! their dates were merged: they are never opened, and have to be left out by what the log says of them.
//! `cargo xtask bench layout`. As root the page cache is dropped before every run, and it says whether it was.

use std::path::Path;
use std::time::Instant;

use model::exchange::{MarketTrade, write_market_trade};
use model::{Cause, Instrument, Price, Quantity, Side, UnixNanos, topic};
use queries::live::LiveTables;
use queries::{Caller, Engine, Limits};
use serde_json::{Value, json};
use sink::encode::{Encoded, Encoder, Order};
use sink::lake::{Lake, Place};
use sink::tables::{Rows, Table};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 9;
const SYMBOLS: u64 = 100;
const FILES: u64 = 2;
const ROWS_OF_DAY: u64 = 25_000_000;
const DAYS: i64 = 40;
const DAY_NS: i64 = 86_400_000_000_000;
/// 2026-01-20: the day that is asked for.
const DAY: i64 = 1_768_867_200_000_000_000;
const ASKED: &str = "SELECT ts_event, price, quantity FROM trades WHERE symbol = 'COIN042-USDT' \
                     AND ts_event >= TIMESTAMP '2026-01-20T14:00:00Z' AND ts_event < TIMESTAMP '2026-01-20T15:00:00Z'";

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let place = Place::Directory(dir.path().to_path_buf());
    runtime.block_on(async {
        let lake = Lake::open(&place).await.expect("a lake");
        lake.prepare(Table::Trades).await.expect("a table");
    });
    eprintln!("making a day of {ROWS_OF_DAY} trades");
    let entries = make(&dir.path().join("trades"));
    println!("{entries} files of {} rows in all", ROWS_OF_DAY as i64 * DAYS);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut dropped = true;
    for _ in 0..RUNS {
        dropped &= std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok();
        let begun = Instant::now();
        let (engine, tables) = runtime.block_on(open(&place));
        let rows = runtime.block_on(ask(&engine, &tables));
        cold.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(rows > 0, "there are trades in that hour");
        let begun = Instant::now();
        assert_eq!(runtime.block_on(ask(&engine, &tables)), rows);
        warm.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let cache = if dropped { "page cache dropped" } else { "page cache as it was: dropping it takes root" };
    report("lake opened, log read, answer complete", &mut cold, cache);
    report("the same question again", &mut warm, "lake open");
}

async fn open(place: &Place) -> (Engine, LiveTables) {
    let lake = Lake::open(place).await.expect("a lake");
    let engine = Engine::new(Limits::default()).expect("an engine");
    engine.register_lake(&lake).expect("an address");
    (engine, LiveTables::new(Some(lake), None, 0))
}

async fn ask(engine: &Engine, tables: &LiveTables) -> usize {
    let answer = engine.run(ASKED, tables, &Caller::Operator).await.expect("an answer");
    answer.collect().await.expect("rows").iter().map(|batch| batch.num_rows()).sum()
}

fn report(what: &str, took: &mut [f64], how: &str) {
    took.sort_by(f64::total_cmp);
    println!("{what:40} {:>8.1} ms, the worst of {RUNS} {:.1} ms ({how})", took[took.len() / 2], took[took.len() - 1]);
}

/// The files of the day and the entries of the others. Returns how many there are in all.
fn make(table: &Path) -> usize {
    let mut random = fastrand::Rng::with_seed(3);
    let mut entries = Vec::new();
    let mut stats = Value::Null;
    for file in 0..FILES {
        let encoded = day_file(file, &mut random);
        stats = serde_json::from_str(&encoded.stats).expect("statistics");
        let name = format!("sorted-{file}.parquet");
        let folder = table.join("date=2026-01-20");
        std::fs::create_dir_all(&folder).expect("a directory");
        std::fs::write(folder.join(&name), &encoded.bytes).expect("a file");
        entries.push(entry("2026-01-20", &name, encoded.bytes.len(), 2, &encoded.stats));
    }
    for day in (0..DAYS).map(|day| DAY + (day - 20) * DAY_NS).filter(|day| *day != DAY) {
        let date = date(day);
        for hour in 0..24 {
            let from = day / 1_000_000_000 + hour * 3_600;
            stats["numRecords"] = json!(ROWS_OF_DAY / 24);
            stats["minValues"]["ts_event"] = json!(moment(from));
            stats["maxValues"]["ts_event"] = json!(moment(from + 3_599));
            stats["minValues"]["symbol"] = json!("COIN000-USDT");
            let name = format!("sorted-{hour:02}.parquet");
            entries.push(entry(&date, &name, 8_000_000, 1, &stats.to_string()));
        }
    }
    // Twenty entries a commit, less than the fifty versions after which there is a checkpoint: the most to be read.
    for (version, commit) in entries.chunks(20).enumerate() {
        let path = table.join("_delta_log").join(format!("{:020}.json", version + 1));
        std::fs::write(path, commit.concat()).expect("a commit");
    }
    entries.len()
}

fn day_file(file: u64, random: &mut fastrand::Rng) -> Encoded {
    let mut rows = Rows::new(Table::Trades);
    let mut encoder = Encoder::new(Table::Trades, Order::Sorted).expect("columns that Parquet has");
    let (symbols, each) = (SYMBOLS / FILES, ROWS_OF_DAY / SYMBOLS);
    let mut offset = 0;
    let mut bytes = Vec::new();
    let columns: Vec<usize> = (0..Table::Trades.file_schema().fields().len()).collect();
    for symbol in file * symbols..(file + 1) * symbols {
        let instrument: Instrument = format!("COIN{symbol:03}-USDT").parse().expect("an instrument");
        let mut price = 100_000_000 * (symbol as i64 + 1) * 37;
        for number in 0..each {
            price = (price + random.i64(-20..=20) * 1_000_000).max(1_000_000);
            let trade = MarketTrade {
                instrument,
                trade_id: number + 1,
                price: Price::from_raw(price).expect("in range"),
                quantity: Quantity::from_raw(random.i64(1..10_000) * 100_000).expect("in range"),
                taker_side: if random.bool() { Side::Buy } else { Side::Sell },
                maker_order: offset * 2,
                taker_order: offset * 2 + 1,
                auction: false,
                busted: false,
            };
            let cause = Cause { topic: topic::name(topic::ORDERS), partition: 0, offset, index: 0 };
            bytes.clear();
            write_market_trade(&trade, &cause, UnixNanos(DAY + number as i64 * (DAY_NS / each as i64)), &mut bytes);
            rows.push(0, offset, &bytes).expect("a trade");
            offset += 1;
            if rows.len() == 8_192 {
                encoder.write(&rows.finish().project(&columns).expect("columns")).expect("rows of the table");
            }
        }
    }
    encoder.write(&rows.finish().project(&columns).expect("columns")).expect("rows of the table");
    encoder.finish().expect("a footer")
}

/// A line of the table's log.
fn entry(date: &str, name: &str, size: usize, level: u8, stats: &str) -> String {
    let add = json!({"add": {
        "path": format!("date={date}/{name}"), "partitionValues": {"date": date}, "size": size,
        "modificationTime": 0, "dataChange": true, "stats": stats, "tags": {"millrace.level": level.to_string()},
    }});
    format!("{add}\n")
}

fn date(nanos: i64) -> String {
    UnixNanos(nanos).to_string()[..10].to_owned()
}

/// A second as statistics have it.
fn moment(seconds: i64) -> String {
    format!("{}.000Z", &UnixNanos(seconds * 1_000_000_000).to_string()[..19])
}
