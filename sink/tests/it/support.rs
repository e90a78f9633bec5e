//! Logs with records in them, lakes, and readers of what has landed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Batch, Log, Partition, Priority, Retention, TopicSpec};
use model::exchange::{MarketTrade, write_market_trade};
use model::{
    Cause, Instrument, Origin, Price, Quantity, Quote, Side, Tick, TickBody, TickFlags, Trade, TradeId, UnixNanos,
    topic,
};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sink::lake::{Lake, Place, Snapshot};
use sink::land::{Phase, Roll, Sink, SinkConfig};
use sink::tables::Table;
use tokio_util::sync::CancellationToken;

/// A quarter past midnight of 2026-11-25, UTC.
pub(crate) const NOON: i64 = 1_795_651_200_000_000_000;
const SECOND: i64 = 1_000_000_000;

pub(crate) async fn open_log(folder: &Path) -> Arc<dyn Log> {
    let config = EmbeddedConfig { sync: SyncPolicy::Never, total_bytes: Some(1 << 30), ..EmbeddedConfig::default() };
    std::fs::create_dir_all(folder).unwrap();
    Arc::new(EmbeddedLog::open(folder, config).await.unwrap())
}

pub(crate) async fn create(log: &dyn Log, topic: &str, partitions: u32) {
    let retention = Retention { age: None, bytes: None };
    log.create_topic(&TopicSpec { name: topic.into(), partitions, replication: 1, retention }).await.unwrap();
}

/// A log with the topics of the tests, two partitions each.
pub(crate) async fn log_with_topics(folder: &Path) -> Arc<dyn Log> {
    let log = open_log(folder).await;
    for topic in [topic::TICKS, topic::TRADES, topic::DEAD_LETTERS] {
        create(&*log, topic, 2).await;
    }
    log
}

fn instrument(random: &mut fastrand::Rng) -> Instrument {
    ["BTC-USDT", "ETH-USDT", "SOL-USDT"][random.usize(0..3)].parse().unwrap()
}

/// The `number`-th trade of partition `partition`: about a second after the one before.
pub(crate) fn trade(random: &mut fastrand::Rng, partition: u32, number: u64) -> Vec<u8> {
    let trade = MarketTrade {
        instrument: instrument(random),
        trade_id: number + 1,
        price: Price::from_raw(random.i64(1..Price::MAX.raw()) >> random.u32(0..40)).unwrap(),
        quantity: Quantity::from_raw(random.i64(1..1_000_000_000)).unwrap(),
        taker_side: if random.bool() { Side::Buy } else { Side::Sell },
        maker_order: random.u64(0..1 << 40),
        taker_order: random.u64(0..1 << 40),
        auction: false,
        busted: false,
    };
    let cause = Cause { topic: topic::name(topic::ORDERS), partition, offset: number * 3, index: 0 };
    let mut bytes = Vec::new();
    write_market_trade(&trade, &cause, UnixNanos(NOON + number as i64 * SECOND), &mut bytes);
    bytes
}

/// The `number`-th tick of a partition, the claim first.
pub(crate) fn tick(random: &mut fastrand::Rng, number: u64) -> Vec<u8> {
    let venue = ["binance", "okx"][random.usize(0..2)].parse().unwrap();
    let instrument = instrument(random);
    let price = Price::from_raw(random.i64(1..10_000_000_000_000)).unwrap();
    let quantity = Quantity::from_raw(random.i64(1..1_000_000_000)).unwrap();
    let body = match random.u8(0..4) {
        0 => TickBody::Quote(Quote {
            venue,
            instrument,
            sequence: number,
            bid: price,
            bid_quantity: quantity,
            ask: price,
            ask_quantity: quantity,
        }),
        _ => TickBody::Trade(Trade {
            venue,
            instrument,
            id: if random.bool() { TradeId::Number(number) } else { TradeId::Uuid(random.u128(..)) },
            price,
            quantity,
            taker_side: Side::Buy,
        }),
    };
    let body = if number == 0 { TickBody::Claim(model::Claim) } else { body };
    let tick = Tick {
        origin: Origin::Root { role: "ingest/test".parse().unwrap(), epoch: 0, sequence: number },
        ts_event: UnixNanos(NOON + number as i64 * SECOND),
        ts_recv: UnixNanos(NOON + number as i64 * SECOND + 7),
        flags: TickFlags(0),
        body,
    };
    let mut bytes = Vec::new();
    tick.encode(&mut bytes);
    bytes
}

pub(crate) async fn append(log: &dyn Log, topic: &str, partition: u32, records: impl Iterator<Item = Vec<u8>>) {
    let mut appender = log.appender(&Partition::new(topic, partition), Priority::Normal).await.unwrap();
    let mut batch = Batch::new();
    for record in records {
        batch.push(b"key", &record);
        if batch.len() == 1_000 {
            appender.append(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    appender.append(batch).await.unwrap().await.unwrap();
}

pub(crate) fn config(tables: &[Table], rows: u64) -> SinkConfig {
    let roll = Roll { rows, bytes: 64 << 20, age: Duration::from_millis(200) };
    SinkConfig { roll, tables: tables.to_vec(), ..SinkConfig::default() }
}

pub(crate) async fn open_lake(folder: &Path) -> Lake {
    Lake::open(&Place::Directory(folder.join("lake"))).await.unwrap()
}

/// Lands until every partition of the tables has landed to its end, then stops.
pub(crate) async fn land_all(log: &Arc<dyn Log>, lake: &Lake, config: SinkConfig) {
    let stop = CancellationToken::new();
    let tables = config.tables.clone();
    let sink = Sink::start(Arc::clone(log), lake.clone(), config, stop.clone()).unwrap();
    let mut statuses = sink.statuses().to_vec();
    // A table that stops before it is told to has failed: its own words say more than a wait in vain.
    let stopped = statuses.iter_mut().map(|one| Box::pin(one.wait_for(|now| matches!(now.phase, Phase::Stopped(_)))));
    let stopped = futures_util::future::select_all(stopped);
    let mut ended = std::pin::pin!(sink.join());
    tokio::select! {
        (one, ..) = stopped => panic!("a table stopped: {:?}", one.map(|status| status.clone())),
        result = &mut ended => panic!("the sink ended: {result:?}"),
        () = until_landed(log, lake, &tables) => {}
    }
    stop.cancel();
    ended.await.unwrap();
}

/// Waits until everything in the log now has landed.
pub(crate) async fn until_landed(log: &Arc<dyn Log>, lake: &Lake, tables: &[Table]) {
    let give_up = Instant::now() + Duration::from_secs(300);
    for table in tables {
        for (name, partitions) in log.topics().await.unwrap() {
            for partition in (0..partitions).filter(|_| *name == *table.topic()) {
                let end = log.bounds(&Partition::new(&name, partition)).await.unwrap().end;
                loop {
                    let snapshot = lake.snapshot(*table).await;
                    let next = snapshot.as_ref().map_or(0, |known| known.next(log.incarnation(), partition));
                    if next >= end {
                        break;
                    }
                    assert!(Instant::now() < give_up, "{table}/{partition} is at {next} of {end}: {snapshot:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

/// Every row of a snapshot, file by file.
pub(crate) async fn batches(lake: &Lake, snapshot: &Snapshot) -> Vec<RecordBatch> {
    let mut all = Vec::new();
    for file in &snapshot.files {
        let path = object_store::path::Path::from(&*file.path);
        let bytes = lake.objects().get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size, "{}", file.path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let mut rows = 0;
        for batch in reader {
            let batch = batch.unwrap();
            rows += batch.num_rows() as u64;
            all.push(batch);
        }
        assert_eq!(rows, file.rows, "{}", file.path);
    }
    all
}

/// How often each record of a table is a row.
pub(crate) async fn rows_by_record(lake: &Lake, table: Table) -> BTreeMap<(u32, u64), u32> {
    let snapshot = lake.snapshot(table).await.unwrap();
    let mut seen = BTreeMap::new();
    for batch in batches(lake, &snapshot).await {
        let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
        let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
        for (partition, offset) in partitions.values().iter().zip(offsets.values()) {
            *seen.entry((*partition as u32, *offset as u64)).or_default() += 1;
        }
    }
    seen
}

/// Asserts that the given records, and no others, are one row each.
pub(crate) async fn assert_once(lake: &Lake, table: Table, expected: impl Iterator<Item = (u32, u64)>) {
    let seen = rows_by_record(lake, table).await;
    let expected: BTreeMap<(u32, u64), u32> = expected.map(|record| (record, 1)).collect();
    if seen != expected {
        let wrong: Vec<_> = seen.iter().filter(|(record, count)| expected.get(record) != Some(count)).take(5).collect();
        let missing: Vec<_> = expected.keys().filter(|record| !seen.contains_key(record)).take(5).collect();
        panic!("{table}: {} rows for {} records; wrong {wrong:?}, missing {missing:?}", seen.len(), expected.len());
    }
}
