//! `GET /prices` and `GET /prices/{asset}`.

use std::sync::Arc;
use std::time::Duration;

use model::topic;
use serde_json::json;

use crate::support::{Harness, Store, price};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_has_many_names_and_one_price_in_its_exact_digits() {
    let harness = Harness::start().await;
    // A double holds neither of these.
    harness.publish(&price("BTC-USDT", 1, "64123.45000001")).await;
    harness.publish(&price("USDT-USD", 1, "9999999999.99999999")).await;
    for name in ["BTCUSDT", "BTC-USDT", "BTC", "btcusdt", "btc-usdt", "Btc"] {
        let answer = harness.get(&format!("/prices/{name}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{name}");
        let head = r#"{"asset":"BTCUSDT","instrument":"BTC-USDT","price":64123.45000001,"#;
        assert!(answer.text.starts_with(head), "{name}: {}", answer.text);
    }
    for name in ["USDT", "USDTUSD", "usdt-usd"] {
        let answer = harness.get(&format!("/prices/{name}")).await;
        assert!(answer.text.contains(r#""price":9999999999.99999999,"#), "{name}: {}", answer.text);
    }
    for (sequence, exact) in ["0.00000001", "1", "100.1", "12345678.12345678"].into_iter().enumerate() {
        harness.publish(&price("ETH-USDT", sequence as u64, exact)).await;
        let answer = harness.get("/prices/ETH").await;
        assert!(answer.text.contains(&format!(r#""price":{exact},"#)), "{exact}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_price_comes_with_the_reason_behind_it() {
    let harness = Harness::start().await;
    harness.publish(&price("BTC-USDT", 3, "64123.5")).await;
    let part = |venue: &str, weight: &str, state: &str| json!({"venue": venue, "price": "64123.5", "weight": weight, "volume": "12.5", "age_ns": 120_000_000, "state": state});
    let mut coinbase = part("coinbase", "0.25", "CLAMPED");
    coinbase["instrument"] = json!("BTC-USD");
    let window = |name: &str| json!({"window": name, "price": "64120.01", "volume": "1.5"});
    let mut second = window("1s");
    second["price"] = json!(null);
    let expected = json!({
        "asset": "BTCUSDT",
        "instrument": "BTC-USDT",
        "price": 64123.5,
        "raw": "64123.5",
        "last_updated": "2026-01-02T03:00:03Z",
        "status": "OK",
        "age_ns": 5_000_000,
        "confidence": "1.5",
        "bid": {"price": "64123.4", "quantity": "0.75", "venue": "binance"},
        "ask": null,
        "mid": null,
        "vwap": [second, window("1m"), window("5m"), window("1h"), window("24h")],
        "constituents": [part("binance", "0.75", "USED"), coinbase, part("kraken", "0", "OUTLIER")],
        "sequence": 3,
        "reason": "deviation",
        "config": "0000000000c0ffee",
    });
    assert_eq!(harness.get("/prices/BTC").await.json(), expected);
    let all = harness.get("/prices").await.json();
    assert_eq!(all, json!({"prices": [expected], "missing": ["ETHUSDT", "USDTUSD"]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_an_error_that_says_what_is() {
    let harness = Harness::start().await;
    for name in ["XRP", "BTC%2FUSDT", "%00", "BTCUSDTT", &"B".repeat(2_000)] {
        let answer = harness.get(&format!("/prices/{name}")).await;
        answer.is_error(404, "unknown_asset", &["BTCUSDT, ETHUSDT, USDTUSD"]);
        assert!(answer.text.len() < 300, "{}", answer.text);
    }
    harness.get("/prices/XRP").await.is_error(404, "unknown_asset", &["\"XRP\""]);
    let none_yet = harness.get("/prices/BTC").await;
    none_yet.is_error(503, "no_price", &["no price for BTCUSDT yet"]);
    assert_eq!(none_yet.header("retry-after"), "1");
    harness.get("/nowhere").await.is_error(404, "unknown_route", &["/nowhere", "/openapi.json"]);
    harness.get("/prices/BTC/more").await.is_error(404, "unknown_route", &[]);
    harness.post("/prices/BTC").await.is_error(405, "unknown_method", &["POST", "/prices/BTC"]);
    harness.get("/prices/%FF").await.is_error(400, "bad_path", &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_that_nothing_follows_becomes_stale_and_says_its_age() {
    let store = Arc::new(Store::new().await);
    let fresh_for = Duration::from_secs(3);
    let harness = Harness::with(store, |config| config.fresh_for = fresh_for).await;
    harness.publish(&price("BTC-USDT", 1, "64123.45000001")).await;
    assert_eq!(harness.get("/prices/BTC").await.json()["status"], "OK");
    let stale = harness.get_until("/prices/BTC", |answer| answer.json()["status"] == "STALE").await;
    assert!(stale.text.contains(r#""price":64123.45000001,"#), "{}", stale.text);
    let first = stale.json();
    assert_eq!(first["confidence"], json!(null));
    assert_eq!(first["last_updated"], "2026-01-02T03:00:01Z");
    let later = harness.get("/prices").await.json();
    let (first, later) = (first["age_ns"].as_i64().unwrap(), later["prices"][0]["age_ns"].as_i64().unwrap());
    assert!(first > 3_000_000_000 && later > first, "{first} {later}");
    harness.publish(&price("BTC-USDT", 2, "64124")).await;
    let fresh = harness.get("/prices/BTC").await.json();
    assert_eq!((&fresh["status"], &fresh["sequence"]), (&json!("OK"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_of_cache_and_topic_is_answered() {
    let harness = Harness::start().await;
    harness.put(&price("BTC-USDT", 1, "100"));
    harness.get_until("/prices/BTC", |answer| answer.json()["sequence"] == 1).await;
    // The cache is behind, or lost what it had: the topic's price is fresh, and is not called stale.
    harness.store.price(&price("BTC-USDT", 2, "200")).await;
    harness.store.price(&price("ETH-USDT", 2, "300")).await;
    for asset in ["BTC", "ETH"] {
        let answer = harness.get_until(&format!("/prices/{asset}"), |answer| answer.json()["sequence"] == 2).await;
        assert_eq!(answer.json()["status"], "OK");
    }
    // The cache is ahead of the topic.
    harness.put(&price("BTC-USDT", 3, "300"));
    assert_eq!(harness.get("/prices/BTC").await.json()["sequence"], 3);
    harness.store.price(&price("BTC-USDT", 3, "300")).await;
    assert_eq!(harness.get("/prices/BTC").await.json()["sequence"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_begins_anew_is_followed_once_the_old_price_has_expired() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.fresh_for = Duration::from_millis(300)).await;
    harness.publish(&price("BTC-USDT", 5_000, "100")).await;
    harness.get_until("/prices/BTC", |answer| answer.json()["status"] == "STALE").await;
    harness.store.price(&price("BTC-USDT", 1, "200")).await;
    let answer = harness.get_until("/prices/BTC", |answer| answer.json()["sequence"] == 1).await;
    assert!(answer.text.contains(r#""raw":"200""#), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_knows_the_last_price_of_every_asset_from_the_log() {
    let store = Arc::new(Store::new().await);
    store.price(&price("ETH-USDT", 7, "3000.25")).await;
    store.price(&price("BTC-USDT", 9, "64000")).await;
    // More than one look back, of records that are about neither, cannot be read, or are not ours.
    for (key, value) in [("USDT-USD", &b"{}"[..]), ("XRP-USDT", b"{}"), ("", b"\xff\xff"), ("BTC-USDT", b"[1")] {
        let key = if key.is_empty() { "ETH" } else { key };
        store.append_all(topic::PRICES, key, &vec![value.to_vec(); 6_000]).await;
    }
    let harness = Harness::with(store, |_| {}).await;
    let eth = harness.get_until("/prices/ETH", |answer| answer.status == 200).await.json();
    assert_eq!((&eth["sequence"], &eth["status"], &eth["price"]), (&json!(7), &json!("STALE"), &json!(3000.25)));
    // The newest record of BTC is broken, and an older one is not passed off as the newest.
    harness.get("/prices/BTC").await.is_error(503, "no_price", &[]);
    harness.store.price(&price("BTC-USDT", 10, "65000")).await;
    let btc = harness.get_until("/prices/BTC", |answer| answer.status == 200).await.json();
    assert_eq!((&btc["sequence"], &btc["status"]), (&json!(10), &json!("OK")));
}
