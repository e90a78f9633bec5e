//! Memory of the SQL worker under abuse: four clients that ask for what needs more than there is, over and over, and one
//! that asks for little. The worker's own memory is sampled all the while, and what became of the statements counted.
//!
//! `cargo xtask bench worker` does it for a minute over 800,000 trades in its tail;
//! `cargo xtask bench worker 20` for 20 seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use journal::{Batch, Log, Partition, Priority};
use model::topic;
use queries::host::{SqlHost, Statement};
use queries::{Caller, SqlError};
use tokio_util::sync::CancellationToken;

#[path = "market/mod.rs"]
mod market;

/// Trades in the log, as many as the tail keeps.
const TRADES: u64 = 800_000;
/// Clients that ask for too much.
const HEAVY: usize = 4;
/// What they ask for: sorts, groups, joins and lists of everything.
const MUCH: [&str; 6] = [
    "SELECT \"offset\", count(*), max(price) FROM trades GROUP BY \"offset\" ORDER BY 2 DESC, 1 LIMIT 5",
    "SELECT * FROM trades ORDER BY price DESC, \"offset\" LIMIT 400000",
    "SELECT count(DISTINCT price), count(DISTINCT trade_id), count(DISTINCT maker_order) FROM trades",
    "SELECT count(*) FROM trades a JOIN trades b ON a.trade_id = b.trade_id + 1",
    "SELECT array_agg(trade_id ORDER BY price) FROM trades",
    "SELECT a.trade_id, b.price FROM trades a JOIN trades b ON a.maker_order = b.taker_order - 1 ORDER BY b.price DESC",
];
/// What the other one asks for.
const LITTLE: &str = "SELECT count(*), max(price) FROM trades WHERE \"offset\" % 1000 = 1";
const ALL: &str = "SELECT count(*) FROM trades";
const LITTLE_EVERY: Duration = Duration::from_millis(100);
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

async fn fill(log: &Arc<dyn Log>) {
    let place = Partition::new(topic::TRADES, 0);
    let mut appender = log.appender(&place, Priority::Normal).await.expect("an appender");
    for group in 0..TRADES / 1_000 {
        let mut batch = Batch::new();
        for number in group * 1_000..(group + 1) * 1_000 {
            batch.push(b"BTC-USDT", &market::trade(number));
        }
        appender.append(batch).await.expect("taken").await.expect("written");
    }
}

/// Runs a statement to its end.
async fn ask(host: &SqlHost, sql: &str) -> Result<(), SqlError> {
    let mut running = host.run(&Statement::new(sql, Caller::Operator)).await?;
    while running.next_bytes().await?.is_some() {}
    Ok(())
}

/// What became of statements, by the beginning of the reason.
type Outcomes = BTreeMap<String, u64>;

fn note(outcomes: &mut Outcomes, result: Result<(), SqlError>) {
    let outcome = result.map_or_else(
        |error| {
            let digits_gone = error.message.replace(|letter: char| letter.is_ascii_digit(), "");
            format!("{}: {}", error.kind.code(), digits_gone.chars().take(90).collect::<String>())
        },
        |()| "answered".to_owned(),
    );
    *outcomes.entry(outcome).or_default() += 1;
}

/// This process's children.
fn children() -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Resident, anonymous and mapped MiB of a process, while it is there.
fn memory(pid: u32) -> Option<[u64; 3]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some([of("VmRSS:")? >> 10, of("RssAnon:")? >> 10, of("VmData:")? >> 10])
}

/// Samples until `stop`: the most of each figure, and how many workers there were.
fn sample(stop: &AtomicBool) -> ([u64; 3], usize) {
    let (mut most, mut seen) = ([0; 3], std::collections::BTreeSet::new());
    while !stop.load(Ordering::Relaxed) {
        for pid in children() {
            if let Some(found) = memory(pid) {
                seen.insert(pid);
                most = std::array::from_fn(|at| most[at].max(found[at]));
            }
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
    (most, seen.len())
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse::<u64>().ok()).unwrap_or(60);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(Duration::from_secs(seconds)));
}

async fn run(time: Duration) {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = CancellationToken::new();
    let (log, host) = market::open(dir.path(), &stop).await;
    let limits = host.limits();
    let bound = (limits.memory_bytes_max + limits.metadata_cache_bytes_max + limits.tail_bytes_max + (256 << 20)) >> 20;
    // A worker that is there keeps as much as fits; one that starts would read the newest 200,000.
    ask(&host, LITTLE).await.expect("an answer");
    fill(&log).await;
    while market::number(&host, ALL).await < TRADES {
        tokio::time::sleep(LITTLE_EVERY).await;
    }
    let quiet = children().first().and_then(|pid| memory(*pid)).expect("a worker");
    let done = Arc::new(AtomicBool::new(false));
    let sampling = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || sample(&done))
    };
    let until = Instant::now() + time;
    let heavy = (0..HEAVY).map(|client| {
        let host = host.clone();
        tokio::spawn(async move {
            let mut outcomes = Outcomes::new();
            for sql in MUCH.iter().cycle().skip(client) {
                if Instant::now() >= until {
                    break;
                }
                note(&mut outcomes, ask(&host, sql).await);
            }
            outcomes
        })
    });
    let heavy: Vec<_> = heavy.collect();
    let (mut little, mut times) = (Outcomes::new(), Vec::new());
    while Instant::now() < until {
        let begun = Instant::now();
        let result = ask(&host, LITTLE).await;
        if result.is_ok() {
            times.push(begun.elapsed());
        }
        note(&mut little, result);
        tokio::time::sleep(LITTLE_EVERY).await;
    }
    let mut much = Outcomes::new();
    for client in heavy {
        for (outcome, count) in client.await.expect("it ends") {
            *much.entry(outcome).or_default() += count;
        }
    }
    done.store(true, Ordering::Relaxed);
    let (most, workers) = sampling.join().expect("it ends");
    stop.cancel();
    println!("a worker with {TRADES} trades: {} MiB resident, {} of its own, {} mapped", quiet[0], quiet[1], quiet[2]);
    println!("under abuse, at most: {} MiB resident, {} of its own, {} mapped", most[0], most[1], most[2]);
    println!("its pool, caches, tail and 256 MiB: {bound} MiB; workers that were needed: {workers}");
    println!("{HEAVY} clients that ask for much:");
    much.iter().for_each(|(outcome, count)| println!("{count:8} {outcome}"));
    println!("one that asks for little:");
    little.iter().for_each(|(outcome, count)| println!("{count:8} {outcome}"));
    times.sort_unstable();
    if let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) {
        println!("its answers took {middle:.0?} in the middle, {last:.0?} at most");
    }
}
