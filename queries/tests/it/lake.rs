//! A real log, a real lake: answers equal the same computation on the log's records while those land, are compacted and
//! leave the tail, and while new ones come.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Batch, Log, Partition, Priority, Retention, TopicSpec, Visibility};
use model::exchange::{MarketTrade, write_market_trade};
use model::{Cause, Price, Quantity, Side, UnixNanos, topic};
use queries::live::{Begin, LiveTables};
use sink::lake::{Lake, Place};
use sink::land::{Roll, Sink, SinkConfig};
use sink::tables::{Mark, Marks, Rows, Table};
use tokio_util::sync::CancellationToken;

use crate::support::rows;

/// 22:00 on 2026-11-24, UTC: the records go over midnight, so that dates close.
const START: i64 = 1_795_557_600_000_000_000;
const SYMBOLS: [&str; 3] = ["BTC-USDT", "ETH-USDT", "SOL-USDT"];
const PARTITIONS: u32 = 2;
/// Records of each partition whose answers are compared.
const COMPARED: u64 = 6_000;

/// The `number`-th trade of a partition, three seconds after the one before.
fn trade(random: &mut fastrand::Rng, partition: u32, number: u64) -> MarketTrade {
    MarketTrade {
        instrument: SYMBOLS[random.usize(0..3)].parse().unwrap(),
        trade_id: u64::from(partition) << 32 | (number + 1),
        price: Price::from_raw(random.i64(1..Price::MAX.raw()) >> random.u32(0..40)).unwrap(),
        quantity: Quantity::from_raw(random.i64(1..1_000_000_000)).unwrap(),
        taker_side: if random.bool() { Side::Buy } else { Side::Sell },
        maker_order: 1,
        taker_order: 2,
        auction: false,
        busted: false,
    }
}

async fn append(log: &dyn Log, partition: u32, first: u64, trades: &[MarketTrade]) {
    let mut appender = log.appender(&Partition::new(topic::TRADES, partition), Priority::Normal).await.unwrap();
    let mut batch = Batch::new();
    for (number, trade) in (first..).zip(trades) {
        let mut bytes = Vec::new();
        let cause = Cause { topic: topic::name(topic::ORDERS), partition, offset: number * 3, index: 0 };
        write_market_trade(trade, &cause, UnixNanos(START + number as i64 * 3_000_000_000), &mut bytes);
        batch.push(b"key", &bytes);
    }
    appender.append(batch).await.unwrap().await.unwrap();
}

/// What SQL has to say of these trades: count, sums and the average, by symbol.
fn expected(trades: &[MarketTrade]) -> Vec<String> {
    let mut sums: BTreeMap<String, (u64, i128, i64)> = BTreeMap::new();
    for trade in trades {
        let sums = sums.entry(trade.instrument.to_string()).or_default();
        sums.0 += 1;
        sums.1 += i128::from(trade.quantity.raw());
        sums.2 = sums.2.max(trade.price.raw());
    }
    let shown = |raw: i128| format!("{}.{:08}", raw / 100_000_000, raw % 100_000_000);
    sums.into_iter()
        .map(|(symbol, (count, volume, highest))| {
            format!("{symbol},{count},{},{}", shown(volume), shown(highest.into()))
        })
        .collect()
}

/// Follows a partition as the program's feed does.
async fn follow(log: Arc<dyn Log>, tables: Arc<LiveTables>, begin: Begin, partition: u32) {
    let place = Partition::new(topic::TRADES, partition);
    let from = begin.next.get(&partition).copied().unwrap_or(0);
    let mut marks = Marks::default();
    for (name, major, minor) in begin.marks.get(&partition).into_iter().flatten() {
        marks.set(name, Mark { major: *major, minor: *minor });
    }
    let mut made = Rows::resume(Table::Trades, BTreeMap::from([(partition, marks)]));
    let mut reader = log.reader(&place, from, Visibility::Durable).await.unwrap();
    loop {
        let (first, mut records) = (reader.position(), Vec::new());
        reader.read(&mut records).await.unwrap();
        for record in &records {
            made.push(partition, record.offset, &record.value).unwrap();
        }
        while !tables.has_room(Table::Trades) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tables.push(Table::Trades, partition, first, reader.position(), made.finish()).unwrap();
    }
}

async fn open_log(folder: &Path) -> Arc<dyn Log> {
    let config = EmbeddedConfig { sync: SyncPolicy::Never, total_bytes: Some(1 << 30), ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(folder, config).await.unwrap();
    let retention = Retention { age: None, bytes: None };
    for (name, partitions) in [(topic::TRADES, PARTITIONS), (topic::DEAD_LETTERS, 1)] {
        log.create_topic(&TopicSpec { name: name.into(), partitions, replication: 1, retention }).await.unwrap();
    }
    Arc::new(log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn answers_are_the_logs_own_while_records_land_and_are_compacted() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("log")).unwrap();
    let log = open_log(&dir.path().join("log")).await;
    let lake = Lake::open(&Place::Directory(dir.path().join("lake"))).await.unwrap();
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let trades: Vec<MarketTrade> = (0..COMPARED).map(|number| trade(&mut random, partition, number)).collect();
        append(&*log, partition, 0, &trades).await;
        all.extend(trades);
    }
    let expected = expected(&all);
    let engine = crate::support::engine();
    engine.register_lake(&lake).unwrap();
    let tables = Arc::new(LiveTables::new(Some(lake.clone()), Some(log.incarnation()), 64 << 20));
    for table in Table::all() {
        let begin = tables.begin(*table);
        if *table != Table::Trades {
            tables.begun(*table, &BTreeMap::new());
            continue;
        }
        tables.begun(*table, &(0..PARTITIONS).map(|partition| (partition, (0, COMPARED))).collect());
        for partition in 0..PARTITIONS {
            tokio::spawn(follow(Arc::clone(&log), Arc::clone(&tables), begin.clone(), partition));
        }
    }
    let stop = CancellationToken::new();
    // Landing, compaction, new records and looks at the lake, all at once.
    let roll = Roll { rows: 700, bytes: 64 << 20, age: Duration::from_millis(100) };
    let config = SinkConfig { roll, tables: vec![Table::Trades], ..SinkConfig::default() };
    let mut sink = None;
    let compacted = Arc::new(AtomicBool::new(false));
    let refreshing = Arc::clone(&tables);
    tokio::spawn(async move { refreshing.refresh_every(Duration::from_millis(50)).await });
    let (tended, is_compacted) = (lake.clone(), Arc::clone(&compacted));
    tokio::spawn(async move {
        loop {
            let done = sink::tend::compact(&tended, Table::Trades, |_, _| {}).await.unwrap();
            // A whole date has become one file or few.
            is_compacted.fetch_or(done.rows > COMPARED, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let sql = format!(
        "SELECT symbol, count(*), sum(quantity), max(price) FROM trades WHERE \"offset\" < {COMPARED} GROUP BY symbol ORDER BY symbol"
    );
    let (begun, mut rounds, mut more) = (Instant::now(), 0, COMPARED);
    // A statement waits some seconds for the newest rows, and then answers with those that there are.
    let whole = "SELECT sum(complete) FROM watermark WHERE table_name = 'trades'";
    while rows(&engine, &*tables, whole).await != [(u64::from(PARTITIONS) * COMPARED).to_string()] {
        assert!(begun.elapsed() < Duration::from_secs(120), "the tail does not catch up");
    }
    loop {
        assert_eq!(rows(&engine, &*tables, &sql).await, expected, "seed {seed}, round {rounds}");
        let watermark =
            "SELECT min(landed), max(landed), sum(complete - landed) FROM watermark WHERE table_name = 'trades'";
        let reached = rows(&engine, &*tables, watermark).await[0].clone();
        let landed: u64 = reached.split(',').next().unwrap().parse().unwrap_or(0);
        if landed >= COMPARED && compacted.load(Ordering::Relaxed) {
            println!("equal in {rounds} answers; landed, complete and in the tail: {reached}");
            break;
        }
        rounds += 1;
        if rounds == 3 {
            sink = Some(Sink::start(Arc::clone(&log), lake.clone(), config.clone(), stop.clone()).unwrap());
        }
        // New hours close the old ones.
        for partition in 0..PARTITIONS {
            let trades: Vec<MarketTrade> =
                (0..200).map(|number| trade(&mut random, partition, more + number)).collect();
            append(&*log, partition, more, &trades).await;
        }
        more += 200;
        assert!(begun.elapsed() < Duration::from_secs(300), "landed and compacted: {reached}, {compacted:?}");
    }
    // Every record is there once, whatever became of it.
    let sql = "SELECT count(*) - count(DISTINCT partition::bigint * 1000000000 + \"offset\") FROM trades";
    assert_eq!(rows(&engine, &*tables, sql).await, ["0"]);
    stop.cancel();
    sink.unwrap().join().await.unwrap();
}
