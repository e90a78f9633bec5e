//! `/ws/orders`: trading over a WebSocket, and the reports that can be taken up again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::floor::{ALICE, BOB, Floor, limit};
use crate::support::PATIENCE;

/// A trader's connection: answers and reports are told apart.
struct Trader {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    reports: Vec<Value>,
}

impl Trader {
    async fn connect(floor: &Floor, key: Option<&str>) -> Self {
        let mut request = format!("ws://{}/ws/orders", floor.address).into_client_request().unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        Self { socket: connect_async(request).await.unwrap().0, reports: Vec::new() }
    }

    async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn frame(&mut self) -> Message {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(frame)) => return frame,
                other => panic!("no frame: {other:?}"),
            }
        }
    }

    /// The next answer; reports that come before it are kept.
    async fn answer(&mut self) -> Value {
        loop {
            let Message::Text(text) = self.frame().await else { panic!("no text") };
            let value: Value = serde_json::from_str(&text).unwrap();
            if value.get("status").is_some() {
                return value;
            }
            self.reports.push(value);
        }
    }

    async fn ask(&mut self, op: &str, args: Value) -> Value {
        self.say(json!({"op": op, "args": args})).await;
        self.answer().await
    }

    /// Waits until so many reports have come in all.
    async fn reports(&mut self, count: usize) -> &[Value] {
        while self.reports.len() < count {
            let Message::Text(text) = self.frame().await else { panic!("no text") };
            self.reports.push(serde_json::from_str(&text).unwrap());
        }
        &self.reports
    }

    async fn closed(&mut self) -> (CloseCode, String) {
        loop {
            match self.frame().await {
                Message::Close(Some(frame)) => return (frame.code, frame.reason.to_string()),
                Message::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn open_orders(floor: &Floor, key: &str) -> usize {
    floor.get(key, "/orders").await["orders"].as_array().unwrap().len()
}

async fn until_open(floor: &Floor, key: &str, count: usize) {
    let started = Instant::now();
    while open_orders(floor, key).await != count {
        assert!(started.elapsed() < PATIENCE, "never {count} open orders");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trader_places_amends_cancels_and_hears_of_it() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    let mut alice = Trader::connect(&floor, Some(ALICE)).await;
    let followed = alice.ask("subscribe", json!({"channel": "executions"})).await;
    assert_eq!((&followed["status"], &followed["data"]["channel"]), (&json!(200), &json!("executions")), "{followed}");
    alice.ask("subscribe", json!({"channel": "ledger"})).await;

    alice.say(json!({"op": "place", "id": {"n": 1}, "args": limit("a1", "buy", "1", "100")})).await;
    let placed = alice.answer().await;
    assert_eq!((&placed["op"], &placed["id"], &placed["status"]), (&json!("place"), &json!({"n": 1}), &json!(201)));
    assert_eq!(placed["data"]["status"], "accepted", "{placed}");
    let amended = alice.ask("amend", json!({"order": "client:a1", "quantity": "0.8"})).await;
    assert_eq!((&amended["status"], &amended["data"]["order"]["open"]), (&json!(200), &json!("0.8")), "{amended}");
    floor.order(BOB, "b1", "sell", "0.3", "100").await;
    let cancelled = alice.ask("cancel", json!({"order": placed["data"]["order"]["order_id"].to_string()})).await;
    assert_eq!((&cancelled["status"], &cancelled["data"]["status"]), (&json!(200), &json!("cancelled")), "{cancelled}");
    let gone = alice.ask("cancel", json!({"order": "client:a1"})).await;
    assert_eq!((&gone["status"], &gone["error"]["code"]), (&json!(404), &json!("UNKNOWN_ORDER")), "{gone}");
    let short = alice.ask("place", limit("a2", "sell", "1", "105")).await;
    assert_eq!((&short["status"], &short["error"]["code"]), (&json!(422), &json!("INSUFFICIENT_FUNDS")), "{short}");

    // accepted, amended, trade, cancelled, rejected twice; and what they moved.
    let mut by_channel: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    alice.reports(6 + 5).await;
    for report in &alice.reports {
        by_channel.entry(report["channel"].as_str().unwrap().to_owned()).or_default().push(report.clone());
    }
    let kinds: Vec<&str> = by_channel["executions"].iter().map(|one| one["data"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["accepted", "amended", "trade", "cancelled", "rejected", "rejected"]);
    let sequences: Vec<u64> =
        by_channel["executions"].iter().map(|one| one["data"]["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
    let moved: Vec<&str> = by_channel["ledger"].iter().map(|one| one["data"]["kind"].as_str().unwrap()).collect();
    assert_eq!((moved[0], moved.last()), ("hold", Some(&"release")), "{moved:?}");
    assert!(moved.contains(&"trade"), "{moved:?}");
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_taken_up_again_without_gap_or_double() {
    let floor =
        Floor::open(|limits| (limits.commands_per_second_max, limits.commands_burst_max) = (10_000, 10_000)).await;
    floor.fund().await;
    let total = 300u64;
    let mut got: Vec<(u64, u64)> = Vec::new();
    let mut after: Option<u64> = None;
    let mut placed = 0;
    // Connections end at odd places while orders go on; what comes after the last position comes once.
    for round in 0..6 {
        let mut alice = Trader::connect(&floor, Some(ALICE)).await;
        let after_arg = after.map_or(json!("start"), |after| json!(after));
        let followed = alice.ask("subscribe", json!({"channel": "executions", "after": after_arg})).await;
        assert_eq!(followed["status"], 200, "{followed}");
        for _ in 0..total / 6 {
            placed += 1;
            floor.order(ALICE, &format!("o{placed}"), "buy", "0.06", "95").await;
        }
        let wanted = if round == 5 { total as usize + 1 - got.len() } else { 20 + round * 3 };
        for report in &alice.reports(wanted).await[..wanted] {
            let position = report["position"].as_u64().unwrap();
            got.push((position, report["data"]["sequence"].as_u64().unwrap()));
            after = Some(position);
        }
    }
    let sequences: Vec<u64> = got.iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(sequences, (1..=total + 1).collect::<Vec<u64>>(), "the deposit and every order, each once");
    assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0));

    let mut alice = Trader::connect(&floor, Some(ALICE)).await;
    let beyond = alice.ask("subscribe", json!({"channel": "executions", "after": 1_000_000})).await;
    assert_eq!((&beyond["status"], &beyond["error"]["code"]), (&json!(400), &json!("bad_after")), "{beyond}");
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_is_closed_with_the_place_to_go_on_and_holds_nobody_up() {
    let floor = Floor::open(|limits| {
        (limits.commands_per_second_max, limits.commands_burst_max) = (10_000, 10_000);
        limits.reports_kept_max = 100;
        // It is the distance that closes it here, not the silence.
        limits.stall_timeout = PATIENCE * 10;
        limits.ping_every = PATIENCE * 20;
    })
    .await;
    floor.fund().await;
    // It reads nothing yet, and its side of the connection takes little.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let stream = MaybeTlsStream::Plain(socket.connect(floor.address).await.unwrap());
    let mut request = format!("ws://{}/ws/orders", floor.address).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", ALICE.parse().unwrap());
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut slow = Trader { socket, reports: Vec::new() };
    slow.ask("subscribe", json!({"channel": "executions"})).await;

    let mut alice = Trader::connect(&floor, Some(ALICE)).await;
    let (rounds, orders) = (8, 200);
    for round in 0..rounds {
        for at in 0..orders {
            let order = limit(&format!("r{round}-{at}"), "buy", "0.06", "95");
            alice.say(json!({"op": "place", "args": order})).await;
        }
        for _ in 0..orders {
            assert_eq!(alice.answer().await["status"], 201, "a slow client of the same account holds nobody up");
        }
        assert_eq!(alice.ask("cancel_all", json!({})).await["data"]["cancelled"], orders);
    }
    let mut got: Vec<(u64, u64)> = Vec::new();
    let note = |report: &Value, got: &mut Vec<(u64, u64)>| {
        got.push((report["position"].as_u64().unwrap(), report["data"]["sequence"].as_u64().unwrap()));
    };
    let (code, reason) = loop {
        match slow.frame().await {
            Message::Text(text) => note(&serde_json::from_str(&text).unwrap(), &mut got),
            Message::Close(Some(frame)) => break (frame.code, frame.reason.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let last = got.last().unwrap().0;
    let words = format!("too slow: connect and subscribe to executions after {last}");
    assert_eq!((code, reason), (CloseCode::Policy, words));
    let mut again = Trader::connect(&floor, Some(ALICE)).await;
    again.ask("subscribe", json!({"channel": "executions", "after": last})).await;
    // Every order came and went, and each mass cancel was answered.
    let all = rounds * (2 * orders as usize + 1);
    again.reports(all - got.len()).await.iter().for_each(|report| note(report, &mut got));
    let first = got[0].1;
    let expected: Vec<u64> = (first..first + all as u64).collect();
    assert_eq!(got.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(), expected);
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_go_when_the_connection_does_for_those_who_ask() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    let mut stays = Trader::connect(&floor, Some(ALICE)).await;
    stays.ask("place", limit("a1", "buy", "1", "95")).await;
    drop(stays);
    let mut goes = Trader::connect(&floor, Some(ALICE)).await;
    let watch = goes.ask("cancel_on_disconnect", json!({"on": true})).await;
    assert_eq!((&watch["status"], &watch["data"]["status"]), (&json!(200), &json!("done")), "{watch}");
    goes.ask("place", limit("a2", "buy", "1", "96")).await;
    assert_eq!(open_orders(&floor, ALICE).await, 2, "a connection that did not ask leaves its orders");
    // The last order is on its way when the connection breaks: it goes as well.
    goes.say(json!({"op": "place", "args": limit("a3", "buy", "1", "97")})).await;
    drop(goes);
    until_open(&floor, ALICE, 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(open_orders(&floor, ALICE).await, 0);
    floor.order(ALICE, "a4", "buy", "1", "95").await;

    let mut changed = Trader::connect(&floor, Some(ALICE)).await;
    changed.ask("cancel_on_disconnect", json!({"on": true})).await;
    changed.ask("cancel_on_disconnect", json!({"on": false})).await;
    drop(changed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(open_orders(&floor, ALICE).await, 1, "it was taken back");
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dead_man_timer_cancels_unless_it_is_set_anew() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    floor.order(ALICE, "a1", "buy", "1", "95").await;
    let begun = Instant::now();
    let set = floor.post(ALICE, "/orders/cancel-all-after", json!({"timeout_ms": 1_000})).await;
    assert_eq!(set.status, 200, "{}", set.text);
    until_open(&floor, ALICE, 0).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "not before its time: {:?}", begun.elapsed());
    let mut alice = Trader::connect(&floor, Some(ALICE)).await;
    alice.ask("place", limit("a2", "buy", "1", "95")).await;
    alice.ask("cancel_all_after", json!({"timeout_ms": 3_000})).await;
    let stopped = alice.ask("cancel_all_after", json!({"timeout_ms": 0})).await;
    assert_eq!(stopped["status"], 200, "{stopped}");
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(open_orders(&floor, ALICE).await, 1, "the timer was stopped");
    let wrong = floor.post(ALICE, "/orders/cancel-all-after", json!({"timeout_ms": 10})).await;
    wrong.is_error(400, "bad_value", &["1000 to 86400000"]);
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_needed_and_mistakes_are_answered() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    let mut wrong = format!("ws://{}/ws/orders", floor.address).into_client_request().unwrap();
    wrong.headers_mut().insert("x-api-key", "no-key-of-this-server".parse().unwrap());
    assert!(matches!(connect_async(wrong).await, Err(Error::Http(response)) if response.status() == 401));
    let mut alice = Trader::connect(&floor, None).await;
    assert_eq!(alice.ask("place", limit("a1", "buy", "1", "95")).await["status"], 401);
    assert_eq!(alice.ask("login", json!({"key": "no-key-of-this-server"})).await["status"], 401);
    assert_eq!(alice.ask("login", json!({"key": ALICE})).await["status"], 200);
    assert_eq!(alice.ask("login", json!({"key": BOB})).await["error"]["code"], "logged_in");
    let cases = [
        (json!({"op": "dance"}), 400, "bad_op", "cancel_on_disconnect"),
        (json!({"op": "place", "args": {"side": "buy"}}), 400, "bad_args", "client_order_id"),
        (json!({"op": "place", "args": limit("a1", "buy", "x", "95")}), 400, "bad_value", "quantity"),
        (json!({"op": "cancel", "args": {"order": "first"}}), 400, "bad_order", "client:"),
        (json!({"op": "subscribe", "args": {"channel": "trades"}}), 400, "bad_args", "executions"),
        (json!({"op": "subscribe", "args": {"channel": "ledger", "after": "now"}}), 400, "bad_after", "start"),
        (json!({"op": "ping", "more": 1}), 400, "bad_message", "more"),
        (json!([1]), 400, "bad_message", "not understood"),
    ];
    for (message, status, code, word) in cases {
        alice.say(message.clone()).await;
        let answer = alice.answer().await;
        assert_eq!((&answer["status"], &answer["error"]["code"]), (&json!(status), &json!(code)), "{message}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(word), "{answer}");
    }
    assert_eq!(alice.ask("place", limit("a1", "buy", "1", "95")).await["status"], 201, "it goes on");
    // Sent at once, carried out in order: what was placed before is cancelled, what comes after stays.
    for at in 0..3 {
        alice.say(json!({"op": "place", "id": at, "args": limit(&format!("p{at}"), "buy", "0.1", "95")})).await;
    }
    alice.say(json!({"op": "cancel_all", "id": 3})).await;
    alice.say(json!({"op": "place", "id": 4, "args": limit("p4", "buy", "0.1", "95")})).await;
    let mut answers = BTreeMap::new();
    for _ in 0..5 {
        let answer = alice.answer().await;
        answers.insert(answer["id"].as_u64().unwrap(), answer);
    }
    assert_eq!(answers[&3]["data"]["cancelled"], 4, "{answers:?}");
    assert_eq!(open_orders(&floor, ALICE).await, 1);
    floor.stop.cancel();
    assert_eq!(alice.closed().await.0, CloseCode::Away);
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_orders_can_be_looked_up() {
    let floor = Floor::open(|limits| limits.orders_kept_max = 2).await;
    floor.fund().await;
    let placed = floor.order(ALICE, "a1", "buy", "1", "100").await;
    let number = placed["order"]["order_id"].as_u64().unwrap();
    assert_eq!(floor.get(ALICE, &format!("/orders/{number}")).await["status"], "accepted");
    floor.order(BOB, "b1", "sell", "1", "100").await;
    let done = floor.get(ALICE, &format!("/orders/{number}")).await;
    assert_eq!(
        (&done["status"], &done["filled"], &done["client_order_id"]),
        (&json!("filled"), &json!("1"), &json!("a1"))
    );
    assert_eq!(floor.get(ALICE, "/orders/client:a1").await, done);
    floor.call(BOB, Method::GET, &format!("/orders/{number}"), None).await.is_error(404, "unknown_order", &[]);
    for id in ["a2", "a3"] {
        floor.order(ALICE, id, "buy", "1", "95").await;
        floor.call(ALICE, Method::DELETE, &format!("/orders/client:{id}"), None).await;
        let gone = floor.get(ALICE, &format!("/orders/client:{id}")).await;
        assert_eq!((&gone["status"], &gone["reason"]), (&json!("cancelled"), &json!("REQUESTED")));
    }
    floor.call(ALICE, Method::GET, "/orders/client:a1", None).await.is_error(404, "unknown_order", &["long ago"]);
    floor.close().await;
}
