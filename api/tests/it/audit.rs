//! Who called what, and the outcome.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Log, Partition, Visibility};
use model::topic;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::floor::{ALICE, Floor, OPERATOR, limit};

async fn records(log: &dyn Log, topic: &str) -> Vec<Value> {
    let partition = Partition::new(topic, 0);
    let end = log.bounds(&partition).await.unwrap().end;
    let mut reader = log.reader(&partition, 0, Visibility::Durable).await.unwrap();
    let mut records = Vec::new();
    while reader.position() < end {
        reader.read(&mut records).await.unwrap();
    }
    records.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect()
}

/// Places an order over `/ws/orders`.
async fn place_by_socket(floor: &Floor, order: Value) -> Value {
    let mut request = format!("ws://{}/ws/orders", floor.address).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", ALICE.parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    socket.send(Message::text(json!({"op": "place", "id": 1, "args": order}).to_string())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    serde_json::from_str(answer.to_text().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_that_may_change_something_is_recorded_with_its_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedConfig { sync: SyncPolicy::Never, ..EmbeddedConfig::default() };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&dir.path().join("log"), settings).await.unwrap());
    let floor = Floor::on(dir, Arc::clone(&log), |_| {}).await;
    floor.fund().await;
    let placed = floor.order(ALICE, "a1", "buy", "1", "100").await;
    let id = placed["order"]["order_id"].as_u64().unwrap();
    floor.post(ALICE, "/orders", limit("a2", "buy", "1", "100.005")).await.is_error(422, "PRICE_OFF_TICK", &[]);
    floor.post(ALICE, "/orders", json!({"quantity": "1"})).await.is_error(400, "bad_body", &[]);
    let theirs = json!({"client_order_id": "d9", "asset": "BTC", "amount": "1"});
    floor.post(ALICE, "/deposits", theirs.clone()).await.is_error(403, "forbidden", &[]);
    floor.post("not-a-key-of-this-one", "/withdrawals", theirs).await.is_error(401, "unauthorized", &[]);
    let cancelled = floor.call(ALICE, Method::DELETE, &format!("/orders/{id}?client_order_id=c1"), None).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let kill = floor.call(OPERATOR, Method::PUT, "/accounts/2/kill", Some(json!({"on": true}))).await;
    assert_eq!(kill.status, 200, "{}", kill.text);
    floor.get(ALICE, "/orders").await;
    floor.post(ALICE, "/nowhere", json!({})).await.is_error(404, "unknown_route", &[]);
    assert_eq!(place_by_socket(&floor, limit("s1", "buy", "1", "99")).await["status"], 201);
    assert_eq!(place_by_socket(&floor, limit("s2", "buy", "one", "99")).await["status"], 400);
    // The server writes what waits before it is gone.
    floor.close().await;

    let found = records(&*log, topic::AUDIT).await;
    let told: Vec<Value> = found
        .iter()
        .map(|one| json!([one["actor"], one["account"], one["action"], one["path"], one["outcome"], one["status"]]))
        .collect();
    let expected = json!([
        ["operator", 3, "POST /deposits", null, "done", 201],
        ["operator", 3, "POST /deposits", null, "done", 201],
        ["alice", 1, "POST /orders", null, "done", 201],
        ["alice", 1, "POST /orders", null, "PRICE_OFF_TICK", 422],
        ["alice", 1, "POST /orders", null, "bad_body", 400],
        ["alice", 1, "POST /deposits", null, "forbidden", 403],
        ["nobody", null, "POST /withdrawals", null, "unauthorized", 401],
        ["alice", 1, "DELETE /orders/{id}", format!("/orders/{id}?client_order_id=c1"), "done", 200],
        ["operator", 3, "PUT /accounts/{account}/kill", "/accounts/2/kill", "done", 200],
        ["alice", 1, "ws place", null, "done", 201],
        ["alice", 1, "ws place", null, "bad_value", 400],
    ]);
    assert_eq!(json!(told), expected);
    assert!(found.iter().all(|one| one["v"] == 1 && one["ts_event"].is_number()), "{found:?}");
    let commands: Vec<Option<u64>> = found.iter().map(|one| one["command"].as_u64()).collect();
    let came_of = |at: usize| commands[at].unwrap_or_else(|| panic!("{:?} names no command", found[at]));
    // Refused before it came to a command, or by the exchange itself.
    for (at, is_command) in
        [true, true, true, true, false, false, false, true, true, true, false].into_iter().enumerate()
    {
        assert_eq!(commands[at].is_some(), is_command, "{:?}", found[at]);
    }
    let executions = records(&*log, topic::EXECUTIONS).await;
    let caused = |offset: u64| executions.iter().filter(move |one| one["cause"]["offset"] == offset);
    assert!(caused(came_of(2)).any(|one| one["client_order_id"] == "a1"), "the command is found in `orders`");
    assert!(caused(came_of(3)).any(|one| one["kind"] == "rejected"));
    log.close().await.unwrap();
}
