//! Clients that do not read, beside many that do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::sockets::Socket;
use crate::support::{Harness, PATIENCE, Store, price, quote};

const READERS: usize = 60;
const STALLED: usize = 10;

/// Connects with room for little that is not read, and asks for a stream.
async fn silent(harness: &Harness, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(harness.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", harness.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads what is left until the connection ends.
async fn is_cut(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    let start = Instant::now();
    while let Ok(1..) = stream.read(&mut buffer).await {
        assert!(start.elapsed() < PATIENCE, "the server goes on sending");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_clients_are_cut_off_and_the_others_get_every_last_price() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.stall_timeout = Duration::from_millis(300)).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut socket = Socket::open(&harness).await;
        socket.say(json!({"op": "subscribe", "channel": "prices", "assets": ["BTC"]})).await;
        assert_eq!(socket.next().await["op"], "subscribed");
        readers.push(tokio::spawn(async move {
            let (mut got, mut last) = (0u64, 0);
            loop {
                let event = socket.next().await;
                let sequence = event["data"]["sequence"].as_u64().unwrap();
                assert!(sequence > last, "prices never go back: {sequence} after {last}");
                (got, last) = (got + 1, sequence);
                if event["data"]["raw"] == "1" {
                    return got;
                }
            }
        }));
    }
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(silent(&harness, "/sse/prices?assets=BTC").await);
    }
    let open = |count: usize| format!("{count} of 2048 streams are open");
    harness.get_until("/healthz", |answer| answer.text.contains(&open(READERS + STALLED))).await;
    // Prices until the buffers of those who do not read are full, and they are cut off.
    let (start, mut sequence) = (Instant::now(), 0);
    while !harness.get("/healthz").await.text.contains(&open(READERS)) {
        assert!(start.elapsed() < PATIENCE, "stalled clients are never cut off");
        for _ in 0..20 {
            sequence += 1;
            harness.store.price(&price("BTC-USDT", sequence, "64000")).await;
        }
    }
    harness.store.price(&price("BTC-USDT", sequence + 1, "1")).await;
    for reader in readers {
        let got = tokio::time::timeout(PATIENCE, reader).await.expect("readers get the last price").unwrap();
        assert!(got >= 1);
    }
    for stream in stalled {
        is_cut(stream).await;
    }
    assert_eq!(harness.get("/prices/BTC").await.json()["raw"], "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_gets_the_newest_quotes() {
    let harness = Harness::start().await;
    let mut socket = Socket::open(&harness).await;
    socket.say(json!({"op": "subscribe", "channel": "ticks", "assets": ["BTC"]})).await;
    assert_eq!(socket.next().await["op"], "subscribed");
    for round in 1..=40u64 {
        let mut values = Vec::new();
        for sequence in (round - 1) * 500 + 1..=round * 500 {
            let mut value = Vec::new();
            quote("BTC-USDT", "kraken", sequence, "64000").encode(&mut value);
            values.push(value);
        }
        harness.store.append_all("ticks", "BTC", &values).await;
    }
    // It did not read meanwhile; now it does, and comes to the newest without most of the others.
    let (mut got, mut last) = (0, 0);
    while last < 20_000 {
        let sequence = socket.next().await["data"]["sequence"].as_u64().unwrap();
        assert!(sequence > last, "quotes never go back: {sequence} after {last}");
        (got, last) = (got + 1, sequence);
    }
    assert!(got < 10_000, "{got} of 20000 quotes were sent: nothing was conflated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_too_slow_for_trades_is_told_how_many_it_missed() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.trades_kept_max = 100).await;
    let mut socket = Socket::open(&harness).await;
    socket.say(json!({"op": "subscribe", "channel": "ticks", "assets": ["BTC"]})).await;
    assert_eq!(socket.next().await["op"], "subscribed");
    // The first look at a channel begins with its newest event; from then on each counts.
    harness.store.tick(&crate::support::trade("BTC-USDT", 1)).await;
    assert_eq!(socket.next().await["data"]["id"], "1");
    // One read of the log brings more trades than are kept for those who lag.
    let values: Vec<Vec<u8>> = (2..=2_000u64)
        .map(|id| {
            let mut value = Vec::new();
            crate::support::trade("BTC-USDT", id).encode(&mut value);
            value
        })
        .collect();
    harness.store.append_all("ticks", "BTC", &values).await;
    let (mut got, mut missed, mut last) = (1u64, 0u64, 1u64);
    while last < 2_000 {
        let event = socket.next().await;
        if event["op"] == "gap" {
            assert_eq!((&event["channel"], &event["asset"]), (&json!("ticks"), &json!("BTCUSDT")));
            missed += event["missed"].as_u64().unwrap();
            continue;
        }
        let id: u64 = event["data"]["id"].as_str().unwrap().parse().unwrap();
        assert!(id > last);
        (got, last) = (got + 1, id);
    }
    assert_eq!((got + missed, missed > 0), (2_000, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_and_never_reads_is_cut_off() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| {
        config.limits.stall_timeout = Duration::from_millis(300);
        config.limits.messages_burst_max = 1_000_000;
        config.limits.messages_per_second_max = 1_000_000;
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(harness.address).await.unwrap();
    let url = format!("ws://{}/ws", harness.address);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    // Each message is answered with a longer one, which nobody reads.
    let message = Message::text(format!(r#"{{"op":"subscribe","channel":"prices","id":"{}"}}"#, "x".repeat(8_000)));
    let start = Instant::now();
    let cut = async { while socket.send(message.clone()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, cut).await.expect("the connection is cut");
    assert!(start.elapsed() >= Duration::from_millis(300));
    drop(socket.next());
}
