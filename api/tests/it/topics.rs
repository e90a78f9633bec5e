//! `GET /topics` and `GET /topics/{topic}/records`.

use std::sync::Arc;
use std::time::Duration;

use model::topic;
use serde_json::{Value, json};

use crate::support::{Harness, PATIENCE, Store, price, trade};

/// Takes lines of a stream as they come.
struct Lines {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Lines {
    async fn open(harness: &Harness, path: &str) -> Self {
        let response = harness.client.get(harness.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self { response, rest: Vec::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a line in time").unwrap();
            self.rest.extend_from_slice(&chunk?);
        }
    }

    async fn all(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(line) = self.next().await {
            all.push(line);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_lines_from_the_past_on() {
    let harness = Harness::start().await;
    for id in 1..=5 {
        harness.store.tick(&trade("BTC-USDT", id)).await;
    }
    harness.store.append(topic::TICKS, "BTC", b"\x09not a tick").await;
    let partition = topic::partition_for(b"BTC", 2);
    let path = format!("/topics/ticks/records?partition={partition}");
    let mut lines = Lines::open(&harness, &format!("{path}&from=-2")).await;
    let expected = json!({
        "topic": "ticks", "partition": partition, "offset": 4, "key": "BTC",
        "value": {
            "kind": "trade", "venue": "kraken", "instrument": "BTC-USDT", "id": "5", "price": "64000.5",
            "quantity": "0.01", "taker_side": "sell", "ts_event": "2026-01-02T03:00:00Z",
            "ts_recv": "2026-01-02T03:00:00.002Z",
            "origin": {"root": {"role": "ingest/test", "epoch": 0, "sequence": 5}},
        },
    });
    assert_eq!(lines.next().await.unwrap(), expected);
    assert_eq!(lines.next().await.unwrap()["value_hex"], "096e6f742061207469636b");
    harness.store.tick(&trade("BTC-USDT", 6)).await;
    assert_eq!(lines.next().await.unwrap()["value"]["id"], "6");
    let past = Lines::open(&harness, &format!("{path}&from=1&follow=false")).await.all().await;
    assert_eq!(past.iter().map(|line| line["offset"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    // JSON stays as it is in the log, every partition of it.
    harness.store.price(&price("BTC-USDT", 1, "64123.45000001")).await;
    harness.store.price(&price("ETH-USDT", 1, "3000")).await;
    let prices = harness.get("/topics/prices/records?from=start&follow=false").await;
    assert!(prices.text.contains(r#""price":"64123.45000001""#), "{}", prices.text);
    assert_eq!(prices.text.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_past_comes_whole_and_in_order_and_readers_are_few() {
    let store = Arc::new(Store::new().await);
    let values: Vec<Vec<u8>> = (0..20_000).map(|number| format!("{{\"n\":{number}}}").into_bytes()).collect();
    for part in values.chunks(5_000) {
        store.append_all(topic::CONTROL, "BTC-USDT", part).await;
    }
    let harness = Harness::with(store, |config| config.limits.tails_max = 1).await;
    let past = Lines::open(&harness, "/topics/control/records?from=start&follow=false").await.all().await;
    let numbers: Vec<u64> = past.iter().map(|line| line["value"]["n"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..20_000), "{} lines", numbers.len());
    let held = Lines::open(&harness, "/topics/control/records").await;
    let refused = harness.get("/topics/prices/records").await;
    refused.is_error(503, "too_many_streams", &["all 1 readers of records"]);
    drop(held);
    harness.get_until("/topics/prices/records?follow=false", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_listed_and_wrong_places_named() {
    let harness = Harness::start().await;
    harness.store.append(topic::CONTROL, "BTC-USDT", b"{}").await;
    let partition = topic::partition_for(b"BTC-USDT", 2);
    let json = harness.get("/topics").await.json();
    let control = json["topics"].as_array().unwrap().iter().find(|entry| entry["topic"] == "control").unwrap();
    assert_eq!(control["partitions"][partition as usize], json!({"partition": partition, "start": 0, "end": 1}));
    let errors = [
        ("/topics/none/records".to_owned(), 404, "unknown_topic", &["\"none\"", "candles, control"][..]),
        ("/topics/control/records?partition=2".to_owned(), 404, "unknown_partition", &["0 to 1"]),
        ("/topics/control/records?partition=x".to_owned(), 400, "bad_query", &["partition \"x\""]),
        ("/topics/control/records?from=5".to_owned(), 400, "bad_from", &["partition="]),
        ("/topics/control/records?from=x".to_owned(), 400, "bad_query", &["from \"x\""]),
        ("/topics/control/records?follow=no".to_owned(), 400, "bad_query", &["true or false"]),
        (format!("/topics/control/records?partition={partition}&from=2"), 400, "bad_from", &["ends at offset 1"]),
    ];
    for (path, status, code, words) in errors {
        harness.get(&path).await.is_error(status, code, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_stream() {
    let harness = Harness::start().await;
    let lines = Lines::open(&harness, "/topics/control/records").await;
    let cancel = harness.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    assert!(lines.all().await.is_empty());
    harness.stop().await;
}
