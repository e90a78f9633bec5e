//! `POST /refresh/{asset}`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Partition, Visibility};
use model::{PublishReason, topic};
use serde_json::{Value, json};

use crate::support::{Harness, PARTITIONS, Store, price};

/// Reads `control` and answers each request with a price that repeats its id, as ingest and aggregation do.
fn answer_refreshes(store: &Arc<Store>) -> tokio::task::JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let mut answers = Vec::new();
        for index in 0..PARTITIONS {
            let store = Arc::clone(&store);
            answers.push(tokio::spawn(async move {
                let partition = Partition::new(topic::CONTROL, index);
                let mut reader = store.log.reader(&partition, 0, Visibility::Durable).await.unwrap();
                let (mut records, mut sequence) = (Vec::new(), 100);
                loop {
                    reader.read(&mut records).await.unwrap();
                    for record in records.drain(..) {
                        let request: Value = serde_json::from_slice(&record.value).unwrap();
                        let name = request["instrument"].as_str().unwrap();
                        let id = request["id"].as_u64().unwrap();
                        assert_eq!(request, json!({"v": 1, "kind": "refresh", "instrument": name, "id": id}));
                        assert_eq!(record.key, name);
                        sequence += 1;
                        let mut answer = price(name, sequence, "777.5");
                        (answer.refresh, answer.reason) = (Some(id), PublishReason::Refresh);
                        store.price(&answer).await;
                        // Behind it in the same read, mostly: the newest price is not the one that answers.
                        sequence += 1;
                        store.price(&price(name, sequence, "778")).await;
                    }
                }
            }));
        }
        futures_util::future::join_all(answers).await;
    })
}

/// A server that follows the prices: those that answer a refresh are never taken for what was there before.
async fn reading() -> Harness {
    let harness = Harness::start().await;
    for asset in ["BTC", "ETH"] {
        harness.store.price(&price(&format!("{asset}-USDT"), 1, "500")).await;
        harness.get_until(&format!("/prices/{asset}"), |answer| answer.status == 200).await;
    }
    harness
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_is_answered_once_the_new_price_is_out() {
    let harness = reading().await;
    let answering = answer_refreshes(&harness.store);
    let answer = harness.post("/refresh/btc").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"message": "Price for BTCUSDT refreshed"})));
    let shown = harness.get("/prices/BTC").await.json();
    assert!(shown["sequence"].as_u64().unwrap() > 100, "{shown}");
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_is_refreshed_at_most_once_a_second_and_does_not_hold_up_others() {
    let harness = reading().await;
    let answering = answer_refreshes(&harness.store);
    let start = Instant::now();
    assert_eq!(harness.post("/refresh/BTC").await.status, 200);
    let again = harness.post("/refresh/BTC-USDT").await;
    if start.elapsed() < Duration::from_secs(1) {
        again.is_error(429, "too_many_refreshes", &["BTCUSDT", "once every 1 s"]);
        assert_eq!(again.header("retry-after"), "1");
    }
    assert_eq!(harness.post("/refresh/ETH").await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.post("/refresh/BTC").await.status, 200);
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_nobody_answers_says_so_in_bounded_time() {
    let store = Arc::new(Store::new().await);
    let within = Duration::from_millis(300);
    let harness = Harness::with(store, |config| config.limits.refresh_within = within).await;
    let start = Instant::now();
    let answer = harness.post("/refresh/BTC").await;
    answer.is_error(504, "refresh_timeout", &["BTCUSDT", "0.3 s", "/healthz"]);
    assert!(start.elapsed() >= within);
    harness.post("/refresh/XRP").await.is_error(404, "unknown_asset", &["XRP"]);
    harness.get("/refresh/BTC").await.is_error(405, "unknown_method", &["GET"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_accepts_nothing_is_named() {
    let harness = Harness::start().await;
    harness.store.log.close().await.unwrap();
    let answer = harness.post("/refresh/BTC").await;
    answer.is_error(503, "log_unavailable", &["BTCUSDT was not refreshed", "closed"]);
}
