//! Orders per second over HTTP, and how long they take.
//!
//! `cargo xtask bench orders-http` starts the real exchange on a real, synced log behind a real server, and sends
//! limit orders and cancels from the same machine: first as fast as they go, then at a steady rate. The clients are
//! plain sockets with keep-alive and one request at a time each, so the figures include what a simple client costs.
//! Arguments: connections, orders per second of the steady part, seconds.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "orders-http/clients.rs"]
mod clients;
#[path = "orders-http/floor.rs"]
mod floor;

use std::time::Duration;

use clients::{Load, Pace};

/// The program's own.
#[global_allocator]
static MEMORY: matcher::memory::LargePages<mimalloc::MiMalloc> = matcher::memory::LargePages(mimalloc::MiMalloc);

const RUNS: usize = 3;

fn main() -> anyhow::Result<()> {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let connections = numbers.first().copied().unwrap_or(64) as usize;
    let rate = numbers.get(1).copied().unwrap_or(15_000);
    let seconds = numbers.get(2).copied().unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let floor = runtime.block_on(floor::Floor::open())?;
    // A first run, so that files and caches are warm.
    clients::run(floor.address, connections, Pace::AsFastAsPossible, Duration::from_secs(1));
    for pace in [Pace::AsFastAsPossible, Pace::PerSecond(rate)] {
        let mut loads: Vec<Load> =
            (0..RUNS).map(|_| clients::run(floor.address, connections, pace, Duration::from_secs(seconds))).collect();
        loads.sort_by_key(|load| load.p99_us);
        let Load { orders_per_second, p50_us, p99_us, max_us, refused, cpu_us } = loads.swap_remove(RUNS / 2);
        let what = match pace {
            Pace::AsFastAsPossible => "as fast as they go".to_owned(),
            Pace::PerSecond(rate) => format!("{rate} a second asked for"),
        };
        println!(
            "{connections} connections, {what}: {orders_per_second:.0} orders/s, p50 {:.2} ms, p99 {:.2} ms, \
             slowest {:.2} ms, {refused} refused; CPU {cpu_us:.1} µs an order, clients included",
            p50_us as f64 / 1e3,
            p99_us as f64 / 1e3,
            max_us as f64 / 1e3,
        );
    }
    runtime.block_on(floor.close());
    Ok(())
}
