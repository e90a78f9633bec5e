//! How long after its acknowledgement a trade is in an SQL answer: the log, its tail and the SQL worker as in the program.
//!
//! `cargo xtask bench visible` appends 20,000 trades a second for ten seconds and asks all the while;
//! `cargo xtask bench visible 50000 30` is another rate and another time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Batch, Log, Partition, Priority};
use model::topic;
use tokio_util::sync::CancellationToken;

#[path = "market/mod.rs"]
mod market;

/// The offset after the newest trade.
const NEWEST: &str = "SELECT coalesce(max(\"offset\") + 1, 0) FROM trades";
/// Trades of one append: what a matcher writes together.
const TOGETHER: u64 = 100;

/// When each append was acknowledged: the offset after it, and the time.
type Acknowledged = Vec<(u64, Instant)>;

async fn write(log: Arc<dyn Log>, per_second: u64, seconds: u64) -> Acknowledged {
    let place = Partition::new(topic::TRADES, 0);
    let mut appender = log.appender(&place, Priority::Normal).await.expect("an appender");
    let (begun, mut waiting) = (Instant::now(), Vec::new());
    for group in 0..per_second * seconds / TOGETHER {
        let due = begun + Duration::from_secs_f64((group * TOGETHER) as f64 / per_second as f64);
        tokio::time::sleep_until(due.into()).await;
        let mut batch = Batch::new();
        for number in group * TOGETHER..(group + 1) * TOGETHER {
            batch.push(b"BTC-USDT", &market::trade(number));
        }
        let acknowledged = appender.append(batch).await.expect("taken");
        // A task of its own for each, so that the time is that of its acknowledgement.
        waiting.push(tokio::spawn(async move {
            acknowledged.await.expect("written");
            ((group + 1) * TOGETHER, Instant::now())
        }));
    }
    let mut done = Acknowledged::with_capacity(waiting.len());
    for acknowledged in waiting {
        done.push(acknowledged.await.expect("it was acknowledged"));
    }
    done
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (per_second, seconds) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(10));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let stop = CancellationToken::new();
        let (log, host) = market::open(dir.path(), &stop).await;
        assert_eq!(market::number(&host, NEWEST).await, 0, "nothing is there yet");
        let writing = tokio::spawn(write(Arc::clone(&log), per_second, seconds));
        let (mut seen, mut asked) = (Vec::new(), Vec::new());
        while !writing.is_finished() || seen.last().is_none_or(|(end, _): &(u64, Instant)| *end < per_second * seconds)
        {
            let begun = Instant::now();
            let end = market::number(&host, NEWEST).await;
            asked.push(begun.elapsed());
            seen.push((end, Instant::now()));
        }
        let acknowledged = writing.await.expect("it wrote");
        stop.cancel();
        report(&acknowledged, &seen, asked, per_second);
    });
}

fn report(acknowledged: &Acknowledged, seen: &[(u64, Instant)], mut asked: Vec<Duration>, per_second: u64) {
    let mut delays: Vec<Duration> = Vec::new();
    let mut at = 0;
    for (end, when) in acknowledged {
        while seen[at].0 < *end {
            at += 1;
        }
        delays.push(seen[at].1.saturating_duration_since(*when));
    }
    let of = |sorted: &mut Vec<Duration>, share: f64| {
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    };
    println!("{per_second} trades/s, {} groups of {TOGETHER}, {} answers", delays.len(), asked.len());
    println!("{:44} {:>8} {:>8} {:>8}", "milliseconds", "p50", "p99", "max");
    for (name, times) in [("acknowledged -> in an answer that has come", &mut delays), ("a statement", &mut asked)] {
        println!("{name:44} {:>8.1} {:>8.1} {:>8.1}", of(times, 0.5), of(times, 0.99), of(times, 1.0));
    }
}
