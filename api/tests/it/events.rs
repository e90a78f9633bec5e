//! Server-sent events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Interval;
use serde_json::{Value, json};

use crate::support::{Harness, PATIENCE, Store, candle, price, quote, trade};

/// Takes events of a stream as they come.
pub(crate) struct Events {
    response: reqwest::Response,
    rest: String,
}

impl Events {
    pub(crate) async fn open(harness: &Harness, path: &str) -> Self {
        let response = harness.client.get(harness.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Self { response, rest: String::new() };
        assert_eq!(events.block().await.unwrap(), "retry: 2000");
        events
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.find("\n\n") {
                let block = self.rest[..end].to_owned();
                self.rest.drain(..end + 2);
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("an event in time").unwrap();
            self.rest.push_str(std::str::from_utf8(&chunk?).unwrap());
        }
    }

    /// The next event's name and data, comments skipped.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if block.starts_with(':') {
                continue;
            }
            let (name, data) = block.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            return (name.to_owned(), serde_json::from_str(data).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_begin_with_the_current_one_and_are_those_of_rest() {
    let harness = Harness::start().await;
    harness.publish(&price("BTC-USDT", 1, "64123.45000001")).await;
    harness.publish(&price("ETH-USDT", 1, "3000")).await;
    for asset in ["BTC", "ETH"] {
        harness.get_until(&format!("/prices/{asset}"), |answer| answer.status == 200).await;
    }
    let mut one = Events::open(&harness, "/sse/prices?assets=btc").await;
    let (name, event) = one.next().await;
    assert_eq!(name, "prices");
    let rest = harness.get("/prices/BTC").await.json();
    assert_eq!(event, json!({"channel": "prices", "asset": "BTCUSDT", "data": rest}));
    let mut all = Events::open(&harness, "/sse/prices").await;
    let mut first = [all.next().await.1["asset"].clone(), all.next().await.1["asset"].clone()];
    first.sort_by_key(ToString::to_string);
    assert_eq!(first, ["BTCUSDT", "ETHUSDT"]);
    harness.publish(&price("ETH-USDT", 2, "3001")).await;
    harness.publish(&price("BTC-USDT", 2, "64124")).await;
    assert_eq!(one.next().await.1["data"]["sequence"], 2);
    let next = [all.next().await.1, all.next().await.1];
    assert!(next.iter().all(|event| event["data"]["sequence"] == 2), "{next:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candles_begin_with_the_newest_and_corrections_follow() {
    let store = Arc::new(Store::new().await);
    for at in 0..3 {
        store.candle(&candle("BTC-USDT", Interval::M1, at, 0, &format!("10{at}"))).await;
    }
    let harness = Harness::with(store, |_| {}).await;
    harness.get_until("/candles/BTC", |answer| answer.status == 200).await;
    let mut minutes = Events::open(&harness, "/sse/candles?assets=BTC").await;
    let (name, event) = minutes.next().await;
    assert_eq!(name, "candles");
    assert_eq!((&event["interval"], &event["data"]["close"]), (&json!("1m"), &json!("102")));
    let mut hours = Events::open(&harness, "/sse/candles?assets=BTC,ETH&interval=1h").await;
    harness.store.candle(&candle("BTC-USDT", Interval::M1, 1, 1, "101.5")).await;
    harness.store.candle(&candle("BTC-USDT", Interval::M1, 3, 0, "103")).await;
    harness.store.candle(&candle("ETH-USDT", Interval::H1, 0, 0, "3000")).await;
    let got = [minutes.next().await.1, minutes.next().await.1];
    assert_eq!(got.map(|event| event["data"]["close"].clone()), ["101.5", "103"]);
    let (_, event) = hours.next().await;
    assert_eq!((&event["asset"], &event["interval"]), (&json!("ETHUSDT"), &json!("1h")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_begin_with_the_quotes_and_every_trade_follows() {
    let store = Arc::new(Store::new().await);
    store.tick(&quote("BTC-USDT", "kraken", 1, "64000")).await;
    store.tick(&quote("BTC-USDT", "kraken", 2, "64001")).await;
    store.tick(&quote("BTC-USDT", "binance", 1, "64002")).await;
    store.tick(&trade("BTC-USDT", 1)).await;
    // Converted into the served instrument, so shown with it.
    store.tick(&quote("BTC-USD", "coinbase", 1, "64003")).await;
    let harness = Harness::with(store, |_| {}).await;
    let newest = ["quote kraken 64001", "quote binance 64002", "trade kraken null", "quote coinbase 64003"];
    let begun = Instant::now();
    let mut events = loop {
        let mut events = Events::open(&harness, "/sse/ticks?assets=BTC").await;
        let mut first = Vec::new();
        for _ in 0..4 {
            let (name, event) = events.next().await;
            assert_eq!((&*name, &event["asset"]), ("ticks", &json!("BTCUSDT")));
            let data = &event["data"];
            first.push(format!("{} {} {}", data["kind"], data["venue"], data["bid"]).replace('"', ""));
        }
        if first == newest {
            break events;
        }
        // The server is still reading what was there at its start.
        assert!(begun.elapsed() < PATIENCE, "{first:?}");
    };
    for id in 2..200 {
        harness.store.tick(&trade("BTC-USDT", id)).await;
    }
    for id in 2..200 {
        let (_, event) = events.next().await;
        assert_eq!(event["data"]["id"], id.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_refused_and_silence_is_broken() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| {
        config.limits.ping_every = Duration::from_millis(50);
        config.limits.streams_max = 2;
    })
    .await;
    harness.get("/sse/prices?assets=BTC,XRP").await.is_error(404, "unknown_asset", &["XRP"]);
    harness.get("/sse/prices?asset=BTC").await.is_error(400, "bad_query", &["asset", "assets"]);
    harness.get("/sse/candles?interval=7m").await.is_error(400, "bad_interval", &["7m"]);
    harness.get("/sse/none").await.is_error(404, "unknown_route", &[]);
    let mut quiet = Events::open(&harness, "/sse/prices").await;
    assert_eq!(quiet.block().await.unwrap(), ":");
    let second = Events::open(&harness, "/sse/prices").await;
    harness.get("/sse/prices").await.is_error(503, "too_many_streams", &["all 2 streams"]);
    drop(second);
    harness.cancel.cancel();
    while let Some(block) = quiet.block().await {
        assert_eq!(block, ":");
    }
    harness.stop().await;
}
