//! The OpenAPI document, the page to try it, and the page of live prices.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Access;
use model::Interval;
use serde_json::Value;

use crate::schema::check;
use crate::support::{Harness, Store, candle, price, quote, trade};

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "$ref" => {
                        found.insert(text.clone());
                    }
                    _ => references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_lists_every_route_and_resolves() {
    let harness = Harness::start().await;
    let document = harness.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut listed = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            listed.insert((method.to_uppercase(), path.clone()));
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            assert!(!answers.is_empty(), "{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{method} {path}: {parameter}");
            }
        }
    }
    let table: BTreeSet<(String, String)> =
        api::routes().into_iter().map(|route| (route.method.to_owned(), route.path)).collect();
    assert_eq!(listed, table);
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_table_is_there() {
    let harness = Harness::start().await;
    let mut open = 0;
    for route in api::routes() {
        let path = route.path.replace("{asset}", "BTC").replace("{topic}", "none").replace("{file}", "none");
        let path =
            path.replace("{transfer}", "1").replace("{id}", "1").replace("{symbol}", "BTC").replace("{account}", "1");
        let method = route.method.parse().unwrap();
        let response = harness.client.request(method, harness.url(&path)).send().await.unwrap();
        let (status, is_stream) = (response.status().as_u16(), path.starts_with("/sse/"));
        if !is_stream {
            let text = response.text().await.unwrap();
            assert!(!text.contains("unknown_route") && !text.contains("unknown_method"), "{path}: {status} {text}");
        }
        open += usize::from(route.access == Access::Open);
    }
    assert!(open >= 4, "health, documents and page take no rights");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_the_document_says() {
    let store = Arc::new(Store::new().await);
    store.candle(&candle("BTC-USDT", Interval::M1, 0, 0, "100")).await;
    store.tick(&trade("BTC-USDT", 1)).await;
    store.tick(&quote("BTC-USDT", "kraken", 2, "64000")).await;
    let harness = Harness::with(store, |_| {}).await;
    harness.publish(&price("BTC-USDT", 1, "64123.45")).await;
    harness.get_until("/candles/BTC", |answer| answer.status == 200).await;
    let document = harness.get("/openapi.json").await.json();
    let checked = [
        ("/prices", "/prices", "200"),
        ("/prices/BTC", "/prices/{asset}", "200"),
        ("/prices/XRP", "/prices/{asset}", "404"),
        ("/prices/ETH", "/prices/{asset}", "503"),
        ("/candles/BTC", "/candles/{asset}", "200"),
        ("/candles/BTC?limit=x", "/candles/{asset}", "400"),
        ("/healthz", "/healthz", "200"),
        ("/topics", "/topics", "200"),
        ("/metrics", "/metrics", "503"),
        ("/ws", "/ws", "400"),
    ];
    for (path, route, status) in checked {
        let answer = harness.get(path).await;
        assert_eq!(answer.status.to_string(), status, "{path}: {}", answer.text);
        let content = &document["paths"][route]["get"]["responses"][status]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(schema.is_object(), "{route} {status} has no schema: {content}");
        check(&document, schema, &answer.json(), path);
    }
    let lines = harness.get("/topics/ticks/records?from=start&follow=false").await.text;
    let schemas = &document["components"]["schemas"];
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        check(&document, &schemas["Record"], &line, "record");
        check(&document, &schemas["Tick"], &line["value"], "tick");
    }
    assert_eq!(lines.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_come_whole_from_this_server_and_nothing_else() {
    let harness = Harness::start().await;
    let moved = harness.get("/docs").await;
    assert_eq!((moved.status, moved.header("content-type")), (200, "text/html"), "followed to the page");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert_eq!(harness.get(&format!("/docs/{file}")).await.status, 200, "{file}");
    }
    assert!(harness.get("/docs/swagger-initializer.js").await.text.contains("/openapi.json"));
    harness.get("/docs/none").await.is_error(404, "unknown_file", &["none"]);
    harness.get("/page/none").await.is_error(404, "unknown_file", &["none"]);
    let page = harness.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let mut parts = 0;
    for quoted in page.text.split('"').filter(|text| text.starts_with("/page/")) {
        let part = harness.get(quoted).await;
        assert_eq!((part.status, part.header("x-content-type-options")), (200, "nosniff"), "{quoted}");
        assert!(!part.text.contains("://") || quoted.ends_with(".svg"), "{quoted} names another place");
        parts += 1;
    }
    assert!(parts >= 3);
    assert!(!page.text.contains("://") && !page.text.contains("<style") && !page.text.contains("onclick"));
}
