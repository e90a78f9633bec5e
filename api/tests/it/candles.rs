//! `GET /candles/{asset}`.

use std::sync::Arc;

use model::Interval;
use serde_json::{Value, json};

use crate::support::{Answer, Harness, Store, candle};

fn closes(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["candles"].as_array().unwrap().iter().map(|candle| candle["close"].clone()).collect()
}

async fn with_candles() -> Harness {
    let store = Arc::new(Store::new().await);
    for at in 0..6 {
        store.candle(&candle("BTC-USDT", Interval::M1, at, 0, &format!("10{at}"))).await;
    }
    store.candle(&candle("BTC-USDT", Interval::H1, 0, 0, "500")).await;
    store.candle(&candle("BTC-USDT", Interval::M1, 4, 1, "104.5")).await;
    store.candle(&candle("XRP-USDT", Interval::M1, 9, 0, "1")).await;
    Harness::with(store, |config| config.limits.candles_answered_max = 100).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candles_of_the_past_are_read_from_the_log_and_corrections_replace_them() {
    let harness = with_candles().await;
    let answer = harness.get_until("/candles/BTC", |answer| answer.status == 200).await;
    assert_eq!(closes(&answer), ["100", "101", "102", "103", "104.5", "105"]);
    let json = answer.json();
    assert_eq!((&json["asset"], &json["interval"]), (&json!("BTCUSDT"), &json!("1m")));
    assert_eq!(json["kept_from"], "2026-01-02T03:00:00Z");
    let expected = json!({
        "start": "2026-01-02T03:04:00Z", "end": "2026-01-02T03:05:00Z", "revision": 1,
        "open": "100", "high": "110.5", "low": "99.00000001", "close": "104.5",
        "volume": "2.5", "notional": "250", "vwap": "100", "trades": 3,
    });
    assert_eq!(json["candles"][4], expected);
    assert_eq!(closes(&harness.get("/candles/btcusdt?interval=1h").await), ["500"]);
    assert!(closes(&harness.get("/candles/BTC?interval=1d").await).is_empty());
    assert!(closes(&harness.get("/candles/ETH").await).is_empty());
    harness.store.candle(&candle("BTC-USDT", Interval::M1, 5, 1, "99.5")).await;
    harness.get_until("/candles/BTC?limit=1", |answer| closes(answer) == ["99.5"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_take_both_forms_of_time() {
    let harness = with_candles().await;
    harness.get_until("/candles/BTC", |answer| answer.status == 200).await;
    let start = 1_767_322_800_000i64;
    for (query, expected) in [
        ("from=2026-01-02T03:01:00Z&to=2026-01-02T03:03:00Z".to_owned(), vec!["101", "102"]),
        ("from=2026-01-02T04:01:00%2B01:00&to=2026-01-02T04:03:00+01:00".to_owned(), vec!["101", "102"]),
        (format!("from={}&to={}", start + 60_000, start + 180_000), vec!["101", "102"]),
        (format!("from={}", start + 240_001), vec!["105"]),
        (format!("from={start}&limit=2"), vec!["100", "101"]),
        (format!("to={}&limit=2", start + 180_000), vec!["101", "102"]),
        ("limit=2".to_owned(), vec!["104.5", "105"]),
        ("from=2030-01-01T00:00:00Z".to_owned(), vec![]),
    ] {
        assert_eq!(closes(&harness.get(&format!("/candles/BTC?{query}")).await), expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_parameters_are_named_with_what_is_allowed() {
    let harness = with_candles().await;
    for (query, code, words) in [
        ("interval=2m", "bad_interval", &["\"2m\"", "1s, 1m, 5m, 15m, 1h, 1d"][..]),
        ("from=yesterday", "bad_time", &["from", "\"yesterday\"", "RFC 3339 or unix milliseconds"]),
        ("to=99999999999999999", "bad_time", &["to", "1678 to 2262"]),
        ("to=99999999999999999999", "bad_time", &["to"]),
        ("from=2026-01-02T03:01:00Z&to=2026-01-02T03:01:00Z", "bad_range", &["not before"]),
        ("limit=0", "bad_limit", &["\"0\"", "1 to 100"]),
        ("limit=101", "bad_limit", &["1 to 100"]),
        ("limit=-1", "bad_limit", &["\"-1\""]),
        ("limt=1", "bad_query", &["limt", "limit"]),
        ("limit=1&limit=2", "bad_query", &["limit"]),
    ] {
        harness.get(&format!("/candles/BTC?{query}")).await.is_error(400, code, words);
    }
    harness.get("/candles/XRP").await.is_error(404, "unknown_asset", &["XRP"]);
}
