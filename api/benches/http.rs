//! Requests per second, and what slow clients cost the others.
//!
//! `cargo xtask bench http` starts a server whose ten prices are published ten times a second each, and lets
//! `wrk` ask for them from the same machine. With `-- clients`, 1,000 WebSocket clients follow the prices,
//! once all of them reading and once with ten that never read.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "http/clients.rs"]
mod clients;
#[path = "http/server.rs"]
mod server;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const RUNS: usize = 3;
const RUN_SECONDS: u64 = 8;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if std::env::args().any(|argument| argument == "clients") {
        return runtime.block_on(clients::measure());
    }
    runtime.block_on(requests())
}

async fn requests() -> anyhow::Result<()> {
    if Command::new("wrk").arg("--version").output().is_err() {
        bail!("wrk is missing: it makes the load; install it with `apt-get install wrk`");
    }
    let server = server::Running::start(Duration::from_millis(100)).await?;
    for (path, connections) in [("/prices/BTCUSDT", 64), ("/prices/BTCUSDT", 256), ("/prices", 64)] {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let url = format!("http://{}{path}", server.address);
            rates.push(tokio::task::spawn_blocking(move || wrk(&url, connections)).await??);
        }
        rates.sort_by(|one, other| one.requests_per_second.total_cmp(&other.requests_per_second));
        let median = rates.swap_remove(RUNS / 2);
        println!(
            "GET {path:<16} {connections:>4} connections: {:>8.0} requests/s, p50 {}, p99 {}, errors {}; \
             CPU a request: server {:.1} µs, wrk {:.1} µs",
            median.requests_per_second, median.p50, median.p99, median.errors, median.server_us, median.wrk_us
        );
    }
    let stats = server.cache_stats();
    let reads = stats.hits + stats.misses + stats.expired;
    println!("cache: {:.2} % of {reads} reads were hits", stats.hits as f64 * 100.0 / reads.max(1) as f64);
    server.stop().await;
    Ok(())
}

/// What one run of `wrk` says.
struct Load {
    requests_per_second: f64,
    p50: String,
    p99: String,
    errors: u64,
    server_us: f64,
    wrk_us: f64,
}

/// CPU seconds of this process, and of the children that have ended.
fn cpu_seconds() -> anyhow::Result<(f64, f64)> {
    // proc(5): fields 14 to 17, in hundredths of a second; the second field may hold spaces, so count after it.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    let sum = |at: usize| -> anyhow::Result<f64> {
        Ok((fields[at].parse::<f64>()? + fields[at + 1].parse::<f64>()?) / 100.0)
    };
    Ok((sum(11)?, sum(13)?))
}

fn wrk(url: &str, connections: u32) -> anyhow::Result<Load> {
    let (start, before) = (Instant::now(), cpu_seconds()?);
    let output = Command::new("wrk")
        .args(["--threads", "1", "--latency", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{RUN_SECONDS}s"), url])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || start.elapsed() < Duration::from_secs(RUN_SECONDS) {
        bail!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    let after =
        |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(|rest| rest.trim().to_owned());
    let refused = after("Non-2xx or 3xx responses:").map_or(Ok(0), |count| count.parse::<u64>())?;
    let broken = after("Socket errors:").map_or(0, |counts| {
        counts.split(|letter: char| !letter.is_ascii_digit()).filter_map(|count| count.parse::<u64>().ok()).sum()
    });
    let after_cpu = cpu_seconds()?;
    let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk gives no count")?;
    let requests: f64 = line.split_whitespace().next().context("wrk gives no count")?.parse()?;
    Ok(Load {
        server_us: (after_cpu.0 - before.0) * 1e6 / requests,
        wrk_us: (after_cpu.1 - before.1) * 1e6 / requests,
        requests_per_second: after("Requests/sec:").context("wrk gives no rate")?.parse()?,
        p50: after("50%").context("wrk gives no median")?,
        p99: after("99%").context("wrk gives no 99th percentile")?,
        errors: refused + broken,
    })
}
