//! What the simulated venues cost: frames made per CPU second without sockets, and the CPU that the three
//! default venues take at 20,000 ticks per second over sockets. Arguments after `--`: `quick` for short runs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use sim::{Config, Pace, VenueConfig, VenueCore, VenueKind, Venues};
use tokio_tungstenite::tungstenite::Message;

const TICKS_PER_SECOND: u32 = 20_000;
const VENUE_THREADS: &str = "sim-venues";

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let seconds = if quick { 3 } else { 10 };
    for kind in VenueKind::ALL {
        made(kind, seconds);
    }
    over_sockets(seconds);
}

/// Subscriptions to trades and best quotes of every default instrument, and where a venue has only books, to
/// those.
fn texts(kind: VenueKind) -> Vec<String> {
    let listed = sim::defaults();
    let join = |write: &dyn Fn(&str, &str) -> String| -> String {
        let each: Vec<String> =
            listed.iter().map(|listed| write(listed.instrument.base(), listed.instrument.quote())).collect();
        each.join(",")
    };
    match kind {
        VenueKind::Binance => {
            let streams = join(&|base, quote| {
                let symbol = format!("{base}{quote}").to_lowercase();
                format!(r#""{symbol}@trade","{symbol}@bookTicker""#)
            });
            vec![format!(r#"{{"method":"SUBSCRIBE","params":[{streams}],"id":1}}"#)]
        }
        VenueKind::Coinbase => {
            let products = join(&|base, quote| format!(r#""{base}-{quote}""#));
            vec![format!(
                r#"{{"type":"subscribe","product_ids":[{products}],"channels":["matches","ticker","heartbeat"]}}"#
            )]
        }
        VenueKind::Kraken => {
            let symbols = join(&|base, quote| format!(r#""{base}/{quote}""#));
            vec![
                format!(r#"{{"method":"subscribe","params":{{"channel":"trade","symbol":[{symbols}]}}}}"#),
                format!(
                    r#"{{"method":"subscribe","params":{{"channel":"ticker","event_trigger":"bbo","symbol":[{symbols}]}}}}"#
                ),
            ]
        }
        VenueKind::Okx => {
            let args = join(&|base, quote| {
                format!(
                    r#"{{"channel":"trades","instId":"{base}-{quote}"}},{{"channel":"bbo-tbt","instId":"{base}-{quote}"}}"#
                )
            });
            vec![format!(r#"{{"op":"subscribe","args":[{args}]}}"#)]
        }
        VenueKind::Bybit => listed
            .iter()
            .map(|listed| {
                let symbol = format!("{}{}", listed.instrument.base(), listed.instrument.quote());
                format!(r#"{{"op":"subscribe","args":["publicTrade.{symbol}","orderbook.1.{symbol}"]}}"#)
            })
            .collect(),
        VenueKind::Bitstamp => listed
            .iter()
            .flat_map(|listed| {
                let symbol = format!("{}{}", listed.instrument.base(), listed.instrument.quote()).to_lowercase();
                ["live_trades", "order_book"]
                    .map(|channel| format!(r#"{{"event":"bts:subscribe","data":{{"channel":"{channel}_{symbol}"}}}}"#))
            })
            .collect(),
        VenueKind::CoinbaseAdvanced => {
            let products = join(&|base, quote| format!(r#""{base}-{quote}""#));
            ["market_trades", "ticker"]
                .map(|channel| format!(r#"{{"type":"subscribe","product_ids":[{products}],"channel":"{channel}"}}"#))
                .to_vec()
        }
    }
}

/// One venue at the full rate, without sockets.
fn made(kind: VenueKind, seconds: u64) {
    let mut config = Config { pace: Pace::Manual, venues: vec![VenueConfig::new(kind)], ..Config::default() };
    config.scale_to(TICKS_PER_SECOND);
    let mut core = VenueCore::new(&config, &config.venues[0], model::UnixNanos(0));
    let connection = core.open(kind.websocket_path(), "");
    for text in texts(kind) {
        core.text(connection, text.as_bytes());
    }
    let (mut frames, mut bytes) = (0u64, 0u64);
    let before = cpu("/proc/thread-self/schedstat");
    for milli in 1..=seconds * 1_000 {
        core.advance(Duration::from_millis(milli));
        for frame in core.take(connection) {
            if let sim::Outgoing::Text(text) = frame {
                frames += 1;
                bytes += text.len() as u64;
            }
        }
        // Kept by the server's journal otherwise.
        core.take_truth();
    }
    let spent = (cpu("/proc/thread-self/schedstat") - before).as_secs_f64();
    println!(
        "{:13} {:>7.0} frames/s of simulated time, {:>3.0} bytes each, {:.2} us of CPU per frame, {:.1} % of a core",
        kind.name(),
        frames as f64 / seconds as f64,
        bytes as f64 / frames as f64,
        spent * 1e6 / frames as f64,
        spent * 100.0 / seconds as f64,
    );
}

/// The three default venues at 20,000 ticks per second in all, one client each.
fn over_sockets(seconds: u64) {
    let mut config = Config::default();
    for venue in &mut config.venues {
        venue.listen.set_port(0);
    }
    config.scale_to(TICKS_PER_SECOND);
    let venues_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name(VENUE_THREADS).enable_all().build();
    let venues_runtime = venues_runtime.unwrap();
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let venues = venues_runtime.block_on(Venues::start(config)).unwrap();
    let frames = Arc::new(AtomicU64::new(0));
    for (name, kind, _) in venues.addresses() {
        let (url, frames) = (venues.websocket_url(name.as_str()).unwrap(), frames.clone());
        clients.spawn(async move {
            let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
            for text in texts(kind) {
                socket.send(Message::text(text)).await.unwrap();
            }
            while let Some(Ok(_)) = socket.next().await {
                frames.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    std::thread::sleep(Duration::from_secs(1));
    let (began, before, first) = (Instant::now(), threads_cpu(), frames.load(Ordering::Relaxed));
    std::thread::sleep(Duration::from_secs(seconds));
    let passed = began.elapsed().as_secs_f64();
    let spent = (threads_cpu() - before).as_secs_f64();
    let received = frames.load(Ordering::Relaxed) - first;
    println!(
        "three venues over sockets: {:.0} frames/s received, {:.1} % of a core for the venues, {:.1} us of CPU per frame",
        received as f64 / passed,
        spent * 100.0 / passed,
        spent * 1e6 / received as f64,
    );
    venues_runtime.block_on(venues.stop());
}

/// CPU time from a schedstat file: its first number, in nanoseconds.
fn cpu(path: &str) -> Duration {
    let text = std::fs::read_to_string(path).expect("Linux with schedstat");
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// CPU time of the venues' threads.
fn threads_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            (name.trim() == VENUE_THREADS).then(|| cpu(path.join("schedstat").to_str().unwrap()))
        })
        .sum()
}
