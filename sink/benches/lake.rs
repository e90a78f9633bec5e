//! Parquet encoding beside pyarrow's, topic to committed Parquet, memory at a steady rate, commit to visible in a
//! directory and in S3.
//!
//! `cargo xtask bench lake [encode|land|steady|visible] [ROWS]`. Processor time is this process' own
//! (`/proc/self/stat`); pyarrow's is its process'. Memory is given out by mimalloc, as in the program.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Batch, Log, Partition, Priority, Retention, TopicSpec};
use model::exchange::{MarketTrade, write_market_trade};
use model::{Cause, Instrument, Price, Quantity, Side, UnixNanos, topic};
use sink::encode::{Encoder, Order};
use sink::lake::{Lake, Place};
use sink::land::{Files, Roll, Sink, SinkConfig};
use sink::tables::{Rows, Table};
use tokio_util::sync::CancellationToken;

#[allow(clippy::unwrap_used, reason = "shared with the tests")]
#[path = "../tests/it/seaweed.rs"]
mod seaweed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;
const START: i64 = 1_795_651_200_000_000_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let mode = args.first().map_or("all", String::as_str);
    let rows = args.get(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if matches!(mode, "all" | "encode") {
        encode(rows)?;
    }
    if matches!(mode, "all" | "land") {
        runtime.block_on(land(rows))?;
    }
    if matches!(mode, "all" | "steady") {
        runtime.block_on(steady())?;
    }
    if matches!(mode, "all" | "visible") {
        runtime.block_on(visible_everywhere())?;
    }
    Ok(())
}

/// A market's trades: prices that walk, sizes that repeat, two and a half a second per instrument.
fn trade(random: &mut fastrand::Rng, prices: &mut [i64; 20], number: u64, out: &mut Vec<u8>) {
    let at = random.usize(..20);
    prices[at] = (prices[at] + random.i64(-20..=20) * 1_000_000).max(1_000_000);
    let instrument: Instrument = format!("COIN{at}-USDT").parse().expect("an instrument");
    let trade = MarketTrade {
        instrument,
        trade_id: number,
        price: Price::from_raw(prices[at]).expect("in range"),
        quantity: Quantity::from_raw((random.i64(1..100) * random.i64(1..100)) * 100_000).expect("in range"),
        taker_side: if random.bool() { Side::Buy } else { Side::Sell },
        maker_order: number * 2,
        taker_order: number * 2 + 1,
        auction: false,
        busted: false,
    };
    let cause = Cause { topic: topic::name(topic::ORDERS), partition: 0, offset: number, index: 0 };
    let ts = UnixNanos(START + number as i64 * 20_000 + random.i64(0..20_000));
    write_market_trade(&trade, &cause, ts, out);
}

fn trades(rows: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut prices = std::array::from_fn(|at| 100_000_000 * (at as i64 + 1) * 37);
    let one = |number| {
        let mut bytes = Vec::new();
        trade(&mut random, &mut prices, number, &mut bytes);
        bytes
    };
    (0..rows).map(one).collect()
}

/// Processor time of this process, of threads that have ended too, in the kernel's ticks of 10 ms.
fn cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in brackets may hold spaces; what follows it does not.
    let (_, fields) = stat.rsplit_once(')').context("Linux says it")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn encode(rows: u64) -> Result<()> {
    let records = trades(rows);
    let mut maker = Rows::new(Table::Trades);
    let (mut made, mut batches) = (Vec::new(), Vec::new());
    let begun = cpu()?;
    for (offset, record) in records.iter().enumerate() {
        maker.push(0, offset as u64, record)?;
        if maker.len() == 8_192 {
            batches.push(maker.finish());
        }
    }
    batches.push(maker.finish());
    made.push(rows as f64 / (cpu()? - begun).as_secs_f64());
    let kept: Vec<usize> = (0..Table::Trades.file_schema().fields().len()).collect();
    let batches: Vec<_> = batches.iter().map(|batch| batch.project(&kept)).collect::<Result<_, _>>()?;
    let mut rates = Vec::new();
    let mut file = bytes::Bytes::new();
    for _ in 0..RUNS {
        let begun = cpu()?;
        let mut encoder = Encoder::new(Table::Trades, Order::Arrival)?;
        for batch in &batches {
            encoder.write(batch)?;
        }
        file = encoder.finish()?.bytes;
        rates.push(rows as f64 / (cpu()? - begun).as_secs_f64());
    }
    println!("records to rows                {:>10.0} rows per processor second", median(made));
    println!(
        "Parquet, ours                  {:>10.0} rows per processor second, {:.2} bytes a row, {} columns",
        median(rates),
        file.len() as f64 / rows as f64,
        kept.len()
    );
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("trades.parquet");
    std::fs::write(&path, &file)?;
    pyarrow(&path)
}

/// The same columns with the same settings by pyarrow.
fn pyarrow(path: &Path) -> Result<()> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/readers/bin/python");
    ensure!(python.is_file(), "{} is absent: cargo xtask setup makes it", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pyarrow_encode.py");
    let ran = std::process::Command::new(python).arg(script).arg(path).arg(RUNS.to_string()).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    print!("{}", String::from_utf8_lossy(&ran.stdout));
    Ok(())
}

async fn filled(folder: &Path, rows: u64) -> Result<Arc<dyn Log>> {
    let config = EmbeddedConfig { sync: SyncPolicy::Never, ..EmbeddedConfig::default() };
    std::fs::create_dir_all(folder)?;
    let log = Arc::new(EmbeddedLog::open(folder, config).await?);
    let retention = Retention { age: None, bytes: None };
    let spec = TopicSpec { name: topic::TRADES.into(), partitions: 1, replication: 1, retention };
    log.create_topic(&spec).await?;
    let mut appender = log.appender(&Partition::new(topic::TRADES, 0), Priority::Normal).await?;
    for part in trades(rows).chunks(5_000) {
        let mut batch = Batch::new();
        part.iter().for_each(|record| batch.push(b"", record));
        appender.append(batch).await?.await?;
    }
    Ok(log)
}

async fn land(rows: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = filled(&folder.path().join("log"), rows).await?;
    let mut rates = Vec::new();
    for run in 0..RUNS {
        let lake = Lake::open(&Place::Directory(folder.path().join(format!("lake{run}")))).await?;
        let roll = Roll { rows: rows / 4, age: Duration::from_secs(5), ..Roll::default() };
        let config = SinkConfig { roll, tables: vec![Table::Trades], ..SinkConfig::default() };
        let stop = CancellationToken::new();
        let (cpu_before, begun) = (cpu()?, Instant::now());
        let sink = Sink::start(Arc::clone(&log), lake.clone(), config, stop.clone())?;
        let mut known = lake.known(Table::Trades);
        known.wait_for(|snapshot| snapshot.next(log.incarnation(), 0) == rows).await.context("the sink ended")?;
        let (took, used) = (begun.elapsed(), cpu()? - cpu_before);
        rates.push(rows as f64 / used.as_secs_f64());
        println!(
            "  run {run}: {:.0} rows/s by the clock, {:.2} processors",
            rows as f64 / took.as_secs_f64(),
            used.as_secs_f64() / took.as_secs_f64()
        );
        stop.cancel();
        sink.join().await?;
    }
    println!(
        "topic to committed Parquet     {:>10.0} rows per processor second, reading and syncing included",
        median(rates)
    );
    // The same without log and disk: what one core makes of records.
    let records = trades(rows);
    let begun = cpu()?;
    let mut files = Files::new(Table::Trades, std::collections::BTreeMap::new());
    for (offset, record) in records.iter().enumerate() {
        files.push(0, offset as u64, record)?;
        if files.is_full() {
            files.encode()?;
        }
    }
    files.finish()?;
    println!(
        "records to Parquet, no I/O     {:>10.0} rows per processor second",
        rows as f64 / (cpu()? - begun).as_secs_f64()
    );
    Ok(())
}

fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("Linux says it")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1_024.0)
}

/// 50,000 records a second with default rolling, for two files.
async fn steady() -> Result<()> {
    const PER_SECOND: u64 = 50_000;
    let folder = tempfile::tempdir()?;
    let log = filled(&folder.path().join("log"), 0).await?;
    let lake = Lake::open(&Place::Directory(folder.path().join("lake"))).await?;
    let stop = CancellationToken::new();
    let config = SinkConfig { tables: vec![Table::Trades], ..SinkConfig::default() };
    let before = resident_mib()?;
    let sink = Sink::start(Arc::clone(&log), lake.clone(), config, stop.clone())?;
    let mut appender = log.appender(&Partition::new(topic::TRADES, 0), Priority::Normal).await?;
    let mut random = fastrand::Rng::with_seed(2);
    let mut prices = std::array::from_fn(|at| 100_000_000 * (at as i64 + 1) * 37);
    let mut most: f64 = 0.0;
    let (mut number, begun, cpu_before) = (0, Instant::now(), cpu()?);
    while begun.elapsed() < Duration::from_secs(45) {
        let mut batch = Batch::new();
        for _ in 0..PER_SECOND / 50 {
            batch.push_with(b"", |out| trade(&mut random, &mut prices, number, out));
            number += 1;
        }
        appender.append(batch).await?.await?;
        most = most.max(resident_mib()?);
        let due = Duration::from_secs_f64(number as f64 / PER_SECOND as f64);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu()? - cpu_before);
    let landed = lake.known(Table::Trades).borrow().rows();
    ensure!(landed > 0, "nothing has landed in {took:.0} s");
    stop.cancel();
    sink.join().await?;
    println!(
        "memory at {:.0} records/s       {most:>10.0} MiB resident at most, log and writer included ({before:.0} MiB before)",
        number as f64 / took
    );
    println!(
        "processors at that rate        {:>10.2}, log and writer included; {landed} rows landed meanwhile",
        used.as_secs_f64() / took
    );
    Ok(())
}

async fn visible_everywhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    visible("in a directory", &folder.path().join("log"), &Place::Directory(folder.path().join("lake"))).await?;
    let Some(server) = seaweed::Seaweed::start() else { return Ok(()) };
    let place = server.place();
    server.answering(&Lake::open(&place).await?).await;
    visible("in S3 (SeaweedFS)", &folder.path().join("log-s3"), &place).await
}

/// A thousand trades at a time, each a file and a commit: how long until a reader with a view of its own has them,
/// from the commit and from the append on, with reading, encoding and uploading between.
async fn visible(what: &str, log: &Path, place: &Place) -> Result<()> {
    const COMMITS: u64 = 100;
    const ROWS: u64 = 1_000;
    let log = filled(log, 0).await?;
    let (lake, reader) = (Lake::open(place).await?, Lake::open(place).await?);
    let stop = CancellationToken::new();
    let roll = Roll { rows: ROWS, ..Roll::default() };
    let config = SinkConfig { roll, tables: vec![Table::Trades], ..SinkConfig::default() };
    let sink = Sink::start(Arc::clone(&log), lake.clone(), config, stop.clone())?;
    let mut known = lake.known(Table::Trades);
    known.wait_for(|snapshot| snapshot.version.is_some()).await.context("the sink ended")?;
    let mut appender = log.appender(&Partition::new(topic::TRADES, 0), Priority::Normal).await?;
    let records = trades(COMMITS * ROWS);
    let (mut after_commit, mut after_append) = (Vec::new(), Vec::new());
    for (at, part) in (1..).zip(records.chunks(ROWS as usize)) {
        let mut batch = Batch::new();
        part.iter().for_each(|record| batch.push(b"", record));
        let begun = Instant::now();
        appender.append(batch).await?.await?;
        known.wait_for(|snapshot| snapshot.next(log.incarnation(), 0) == at * ROWS).await.context("the sink ended")?;
        let committed = Instant::now();
        while reader.snapshot(Table::Trades).await?.next(log.incarnation(), 0) < at * ROWS {
            tokio::task::yield_now().await;
        }
        after_commit.push(committed.elapsed().as_secs_f64() * 1e3);
        after_append.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    stop.cancel();
    sink.join().await?;
    for (what_from, mut took) in [("commit", after_commit), ("appended", after_append)] {
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        println!(
            "{what_from:8} to visible elsewhere {:>10.2} ms, 99 % within {:.2} ms, the worst {:.2} ms, {what}",
            at(50),
            at(99),
            at(100)
        );
    }
    Ok(())
}
