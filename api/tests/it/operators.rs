//! What operators do, what nobody else may, and what everybody may hear of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::Access;
use futures_util::{SinkExt, StreamExt};
use model::exchange::level_hash;
use model::{Price, Side, Volume};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::floor::{ALICE, BOB, Floor, OPERATOR, limit};
use crate::support::{Answer, PATIENCE};

impl Floor {
    async fn put(&self, key: &str, path: &str, body: Value) -> Answer {
        self.call(key, Method::PUT, path, Some(body)).await
    }

    async fn operator(&self, path: &str, body: Value) {
        let answer = self.put(OPERATOR, path, body).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("done")), "{path}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_exchange_asks_for_its_key() {
    let floor = Floor::open(|_| {}).await;
    let mut checked = 0;
    for route in api::routes() {
        let wants_operator = route.access == Access::Administer;
        if !wants_operator && route.access != Access::Trade || route.path == "/ws/orders" {
            continue;
        }
        let mut path = route.path.clone();
        for name in ["{id}", "{transfer}", "{account}"] {
            path = path.replace(name, "1");
        }
        let path = path.replace("{symbol}", "BTC");
        let method: Method = route.method.parse().unwrap();
        for key in ["", "not-a-key-of-this-one"] {
            floor.call(key, method.clone(), &path, Some(json!({}))).await.is_error(401, "unauthorized", &[]);
        }
        if wants_operator {
            let body = match path.as_str() {
                "/deposits" => json!({"client_order_id": "x", "asset": "USDT", "amount": "1"}),
                "/markets/BTC/phase" => json!({"phase": "halted"}),
                "/markets/BTC/bust" => json!({"trade": 1}),
                "/accounts/1/limits" => json!({"open_orders_max": 1}),
                _ => json!({"on": true}),
            };
            floor.call(ALICE, method, &path, Some(body)).await.is_error(403, "forbidden", &["operator"]);
        }
        checked += 1;
    }
    assert!(checked >= 18, "{checked} routes");
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phases_kill_switches_limits_and_busts() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    floor.operator("/markets/BTC/phase", json!({"phase": "halted"})).await;
    let halted = floor.post(ALICE, "/orders", limit("h1", "buy", "1", "100")).await;
    halted.is_error(422, "MARKET_HALTED", &["halted"]);
    floor.operator("/markets/BTC-USDT/phase", json!({"phase": "auction"})).await;
    floor.order(ALICE, "q1", "buy", "1", "102").await;
    floor.order(BOB, "q2", "sell", "1", "98").await;
    assert_eq!(floor.get("", "/markets").await["markets"][0]["phase"], "auction");
    floor.operator("/markets/btcusdt/phase", json!({"phase": "open"})).await;
    let started = Instant::now();
    while floor.get(ALICE, "/orders/client:q1").await["status"] != "filled" {
        assert!(started.elapsed() < PATIENCE, "the auction never traded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let before = floor.get(ALICE, "/account").await;
    floor.order(ALICE, "t1", "buy", "0.5", "100").await;
    let sold = floor.order(BOB, "t2", "sell", "0.5", "100").await;
    let trade = sold["fills"][0]["trade_id"].as_u64().unwrap();
    let undone = floor.post(OPERATOR, "/markets/BTC/bust", json!({"trade": trade})).await;
    assert_eq!(undone.status, 200, "{}", undone.text);
    assert_eq!(floor.get(ALICE, "/account").await["balances"], before["balances"], "to the last unit");
    let again = floor.post(OPERATOR, "/markets/BTC/bust", json!({"trade": trade})).await;
    again.is_error(404, "UNKNOWN_TRADE", &[]);

    floor.operator("/accounts/1/limits", json!({"open_orders_max": 2})).await;
    floor.order(ALICE, "l1", "buy", "0.1", "95").await;
    floor.order(ALICE, "l2", "buy", "0.1", "95").await;
    let third = floor.post(ALICE, "/orders", limit("l3", "buy", "0.1", "95")).await;
    third.is_error(422, "TOO_MANY_ORDERS", &["at most 2"]);
    floor.operator("/accounts/1/kill", json!({"on": true})).await;
    assert_eq!(floor.get(ALICE, "/orders").await["orders"], json!([]));
    floor.post(ALICE, "/orders", limit("k1", "buy", "1", "95")).await.is_error(422, "ACCOUNT_KILLED", &[]);
    floor.operator("/accounts/1/kill", json!({"on": false})).await;
    floor.order(ALICE, "k2", "buy", "1", "95").await;
    floor.operator("/markets/BTC/kill", json!({"on": true})).await;
    floor.post(ALICE, "/orders", limit("k3", "buy", "1", "95")).await.is_error(422, "MARKET_KILLED", &[]);
    floor.put(OPERATOR, "/markets/BTC/phase", json!({"phase": "mad"})).await.is_error(400, "bad_body", &["mad"]);
    floor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairs_and_pending_withdrawals() {
    let floor = Floor::open(|_| {}).await;
    floor.fund().await;
    floor.order(BOB, "b0", "sell", "0.1", "100").await;
    floor.order(ALICE, "a0", "buy", "0.1", "100").await;
    let pair = json!({"client_order_id": "p1", "instrument": "BTC-USDT", "side": "sell", "quantity": "0.1",
        "price": "105", "trigger": "97", "stop_price": "96"});
    let placed = floor.post(ALICE, "/orders/oco", pair.clone()).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    assert_eq!(floor.get(ALICE, "/orders").await["orders"].as_array().unwrap().len(), 2);
    assert_eq!(floor.post(ALICE, "/orders/oco", pair).await.json()["repeated"], true);
    floor.call(ALICE, Method::DELETE, "/orders/client:p1", None).await;
    assert_eq!(floor.get(ALICE, "/orders").await["orders"], json!([]), "one takes the other with it");

    let out = json!({"client_order_id": "w1", "asset": "USDT", "amount": "500", "pending": true});
    let held = floor.post(ALICE, "/withdrawals", out.clone()).await;
    assert_eq!(held.status, 201, "{}", held.text);
    let transfer = held.json()["transfer"].as_u64().unwrap();
    assert_eq!(floor.post(ALICE, "/withdrawals", out).await.json()["transfer"], transfer);
    let usdt = |account: &Value| account["balances"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(usdt(&floor.get(ALICE, "/account").await)["held"], "500");
    let theirs = floor.post(BOB, &format!("/withdrawals/{transfer}/void"), json!({})).await;
    theirs.is_error(403, "NOT_ALLOWED", &[]);
    let voided = floor.post(ALICE, &format!("/withdrawals/{transfer}/void"), json!({})).await;
    assert_eq!(voided.status, 200, "{}", voided.text);
    let gone = floor.post(OPERATOR, &format!("/withdrawals/{transfer}/post"), json!({})).await;
    gone.is_error(404, "UNKNOWN_TRANSFER", &[]);
    let out = json!({"client_order_id": "w2", "asset": "USDT", "amount": "500", "pending": true});
    let transfer = floor.post(ALICE, "/withdrawals", out).await.json()["transfer"].as_u64().unwrap();
    let posted = floor.post(OPERATOR, &format!("/withdrawals/{transfer}/post"), json!({})).await;
    assert_eq!(posted.status, 200, "{}", posted.text);
    let left = usdt(&floor.get(ALICE, "/account").await);
    assert_eq!((&left["held"], &left["available"]), (&json!("0"), &json!("99489.99")), "100000 - 10.01 - 500");

    let gift = json!({"client_order_id": "t1", "to": 2, "asset": "USDT", "amount": "100"});
    assert_eq!(floor.post(ALICE, "/transfers", gift).await.status, 201);
    let theirs = json!({"client_order_id": "t2", "to": 1, "asset": "USDT", "amount": "1", "account": 2});
    floor.post(ALICE, "/transfers", theirs).await.is_error(403, "forbidden", &["alice"]);
    floor.close().await;
}

/// A book as a client keeps it from the stream.
#[derive(Default)]
struct Mirror {
    sides: [BTreeMap<Price, Volume>; 2],
    sequence: u64,
}

impl Mirror {
    fn apply(&mut self, data: &Value) {
        let sequence = data["sequence"].as_u64().unwrap();
        if data["snapshot"] == true {
            *self = Self::default();
            assert_eq!(data["complete"], true);
        } else {
            assert_eq!(sequence, self.sequence + 1, "no delta is missing");
        }
        self.sequence = sequence;
        for (side, name) in ["bids", "asks"].into_iter().enumerate() {
            for level in data[name].as_array().unwrap() {
                let (price, quantity): (Price, Volume) = serde_json::from_value(level.clone()).unwrap();
                if quantity.raw() == 0 {
                    self.sides[side].remove(&price);
                } else {
                    self.sides[side].insert(price, quantity);
                }
            }
        }
        let levels = self.sides.iter().zip([Side::Buy, Side::Sell]);
        let hashes = levels.flat_map(|(levels, side)| {
            levels.iter().map(move |(price, quantity)| level_hash(side, price.raw() as u64, quantity.raw() as u64))
        });
        let checksum = hashes.fold(0u64, u64::wrapping_add);
        assert_eq!(data["checksum"], format!("{checksum:016x}"), "at {sequence}");
    }
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn next(socket: &mut Stream) -> Value {
    loop {
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame in time");
        if let Some(Ok(Message::Text(text))) = frame {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_a_market_get_its_state_and_then_every_change() {
    let floor =
        Floor::open(|limits| (limits.commands_per_second_max, limits.commands_burst_max) = (10_000, 10_000)).await;
    floor.fund().await;
    for at in 0..20 {
        floor.order(ALICE, &format!("a{at}"), "buy", "0.1", &format!("{}", 91 + at % 7)).await;
    }
    let (mut socket, _) = connect_async(format!("ws://{}/ws", floor.address)).await.unwrap();
    for channel in ["book", "trades", "instruments"] {
        let message = json!({"op": "subscribe", "channel": channel, "assets": ["btc"]});
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    let (mut mirror, mut trades, mut phases) = (Mirror::default(), Vec::new(), Vec::new());
    let mut at = 0;
    while mirror.sequence < 40 || trades.len() < 5 || phases.len() < 2 {
        at += 1;
        if at <= 30 {
            let side = if at % 3 == 0 { (BOB, "sell", "96") } else { (ALICE, "buy", "96") };
            floor.order(side.0, &format!("x{at}"), side.1, "0.1", side.2).await;
            if at == 30 {
                floor.operator("/markets/BTC/phase", json!({"phase": "halted"})).await;
            }
        }
        let message = next(&mut socket).await;
        if message["op"] == "subscribed" {
            continue;
        }
        assert_eq!(message["asset"], "BTCUSDT", "{message}");
        match message["channel"].as_str().unwrap() {
            "book" => mirror.apply(&message["data"]),
            "trades" => trades.push(message["data"]["trade_id"].as_u64().unwrap()),
            _ => phases.push(message["data"]["phase"].as_str().unwrap().to_owned()),
        }
    }
    assert!(trades.windows(2).all(|pair| pair[1] == pair[0] + 1), "{trades:?}");
    assert_eq!(phases, ["open", "halted"]);
    let book = floor.get("", "/book/BTC?depth=100").await;
    while mirror.sequence < book["sequence"].as_u64().unwrap() {
        let message = next(&mut socket).await;
        if message["channel"] == "book" {
            mirror.apply(&message["data"]);
        }
    }
    assert_eq!(mirror.sides[0].len(), book["bids"].as_array().unwrap().len());
    let events = floor.client.get(format!("http://{}/sse/markets?channel=instruments", floor.address));
    let mut response = events.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\"phase\":\"halted\"") {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().expect("it goes on")));
    }
    assert!(text.contains("event: instruments\ndata: {\"channel\":\"instruments\""), "{text}");
    floor.close().await;
}
