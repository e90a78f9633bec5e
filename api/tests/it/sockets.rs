//! WebSockets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use model::Interval;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{Harness, PATIENCE, Store, candle, price, quote, trade};

/// A client of `/ws`.
pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(harness: &Harness) -> Self {
        let (socket, _) = connect_async(format!("ws://{}/ws", harness.address)).await.unwrap();
        Self(socket)
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next frame that is not a ping.
    async fn frame(&mut self) -> Option<Result<Message, Error>> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        match self.frame().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// Says something and takes the answer.
    async fn ask(&mut self, message: Value) -> Value {
        self.say(message).await;
        self.next().await
    }

    /// Reads until the server closes, and gives its reason.
    async fn closed(&mut self) -> (CloseCode, String) {
        loop {
            match self.frame().await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code, frame.reason.to_string()),
                Some(Ok(Message::Text(_))) => {}
                other => panic!("not a close: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_begin_with_the_current_value() {
    let store = Arc::new(Store::new().await);
    store.candle(&candle("BTC-USDT", Interval::S1, 0, 0, "100")).await;
    store.tick(&quote("ETH-USDT", "kraken", 1, "3000")).await;
    let harness = Harness::with(store, |_| {}).await;
    harness.publish(&price("BTC-USDT", 1, "64123.45000001")).await;
    harness.get_until("/candles/BTC", |answer| answer.status == 200).await;
    harness.get_until("/prices/BTC", |answer| answer.status == 200).await;
    let mut socket = Socket::open(&harness).await;
    let reply = socket.ask(json!({"op": "subscribe", "channel": "prices", "assets": ["btc"], "id": {"n": [1]}})).await;
    let expected = json!({"op": "subscribed", "channel": "prices", "assets": ["BTCUSDT"], "id": {"n": [1]}});
    assert_eq!(reply, expected);
    let rest = harness.get("/prices/BTC").await.json();
    assert_eq!(socket.next().await, json!({"channel": "prices", "asset": "BTCUSDT", "data": rest}));
    harness.publish(&price("BTC-USDT", 2, "64124")).await;
    assert_eq!(socket.next().await["data"]["sequence"], 2);
    // Again: it begins anew.
    assert_eq!(
        socket.ask(json!({"op": "subscribe", "channel": "prices"})).await["assets"].as_array().unwrap().len(),
        3
    );
    assert_eq!(socket.next().await["data"]["sequence"], 2);
    let reply = socket.ask(json!({"op": "unsubscribe", "channel": "prices"})).await;
    assert_eq!(reply["op"], "unsubscribed");
    harness.publish(&price("BTC-USDT", 3, "64125")).await;
    let reply = socket.ask(json!({"op": "subscribe", "channel": "candles", "assets": ["BTC"], "interval": "1s"})).await;
    assert_eq!(reply, json!({"op": "subscribed", "channel": "candles", "assets": ["BTCUSDT"], "interval": "1s"}));
    let event = socket.next().await;
    assert_eq!((&event["interval"], &event["data"]["close"]), (&json!("1s"), &json!("100")));
    socket.ask(json!({"op": "subscribe", "channel": "ticks", "assets": ["ETH"]})).await;
    assert_eq!(socket.next().await["data"]["bid"], "3000");
    for id in 1..50 {
        harness.store.tick(&trade("ETH-USDT", id)).await;
    }
    for id in 1..50 {
        assert_eq!(socket.next().await["data"]["id"], id.to_string());
    }
    assert_eq!(socket.ask(json!({"op": "ping", "id": 7})).await, json!({"op": "pong", "id": 7}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_messages_are_answered_and_the_socket_goes_on() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.subscriptions_max = 4).await;
    let mut socket = Socket::open(&harness).await;
    let errors = [
        (json!({"op": "subscribe"}), "bad_channel", "prices, candles, ticks"),
        (json!({"op": "subscribe", "channel": "moods"}), "bad_message", "moods"),
        (json!({"op": "subscribe", "channel": "trades"}), "no_exchange", "without an exchange"),
        (json!({"op": "subscribe", "channel": "prices", "assets": ["XRP"]}), "unknown_asset", "XRP"),
        (json!({"op": "subscribe", "channel": "prices", "assets": []}), "bad_assets", "empty"),
        (json!({"op": "subscribe", "channel": "prices", "interval": "1m"}), "bad_interval", "for candles"),
        (json!({"op": "subscribe", "channel": "candles", "interval": "3m"}), "bad_interval", "\"3m\""),
        (json!({"op": "dance"}), "bad_op", "\"dance\""),
        (json!({"op": "ping", "more": 1}), "bad_message", "more"),
        (json!([1]), "bad_message", "not understood"),
    ];
    for (message, code, word) in errors {
        let reply = socket.ask(message.clone()).await;
        assert_eq!((&reply["op"], &reply["error"]["code"]), (&json!("error"), &json!(code)), "{message}");
        assert!(reply["error"]["message"].as_str().unwrap().contains(word), "{reply}");
    }
    assert_eq!(socket.ask(json!({"op": "subscribe", "channel": "prices"})).await["op"], "subscribed");
    let reply = socket.ask(json!({"op": "subscribe", "channel": "ticks", "id": 9})).await;
    assert_eq!((&reply["error"]["code"], &reply["id"]), (&json!("too_many_subscriptions"), &json!(9)));
    assert!(reply["error"]["message"].as_str().unwrap().contains("at most 4"), "{reply}");
    assert_eq!(socket.ask(json!({"op": "subscribe", "channel": "ticks", "assets": ["ETH"]})).await["op"], "subscribed");
    socket.0.send(Message::text("{\"op\":")).await.unwrap();
    assert_eq!(socket.next().await["error"]["code"], "bad_message");
    socket.0.send(Message::binary(vec![1u8, 2])).await.unwrap();
    assert_eq!(socket.next().await["error"]["code"], "bad_message");
    assert_eq!(socket.ask(json!({"op": "ping"})).await, json!({"op": "pong"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_checked() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.streams_max = 1).await;
    harness.get("/ws").await.is_error(400, "no_websocket", &[]);
    let mut foreign = format!("ws://{}/ws", harness.address).into_client_request().unwrap();
    foreign.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    let refused = connect_async(foreign).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 403));
    let mut ours = format!("ws://{}/ws", harness.address).into_client_request().unwrap();
    ours.headers_mut().insert("origin", format!("http://{}", harness.address).parse().unwrap());
    let (held, _) = connect_async(ours).await.unwrap();
    let refused = connect_async(format!("ws://{}/ws", harness.address)).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 503));
    drop(held);
    for attempt in 0.. {
        if connect_async(format!("ws://{}/ws", harness.address)).await.is_ok() {
            break;
        }
        assert!(attempt < 500, "the place of a client that left is never free again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_too_much_is_closed() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| {
        config.limits.messages_burst_max = 5;
        config.limits.messages_per_second_max = 1;
        config.limits.message_bytes_max = 1_000;
    })
    .await;
    let mut flood = Socket::open(&harness).await;
    for _ in 0..20 {
        // The server may have closed already.
        if flood.0.send(Message::text(r#"{"op":"ping"}"#)).await.is_err() {
            break;
        }
    }
    assert_eq!(flood.closed().await, (CloseCode::Policy, "more than 1 messages a second".into()));
    let mut pings = Socket::open(&harness).await;
    for _ in 0..20 {
        if pings.0.send(Message::Ping(Default::default())).await.is_err() {
            break;
        }
    }
    assert_eq!(pings.closed().await.0, CloseCode::Policy);
    let mut long = Socket::open(&harness).await;
    long.0.send(Message::text("x".repeat(1_001))).await.unwrap();
    assert_eq!(long.closed().await, (CloseCode::Size, "messages have at most 1000 bytes".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_answers_no_ping_is_closed_and_a_stop_says_goodbye() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| {
        config.limits.ping_every = Duration::from_millis(100);
        config.limits.pong_within = Duration::from_secs(3);
    })
    .await;
    let mut lively = Socket::open(&harness).await;
    let mut dead = Socket::open(&harness).await;
    let lively = tokio::spawn(async move {
        // Reading answers the pings.
        lively.closed().await
    });
    // It reads nothing, so it answers nothing.
    harness.get_until("/healthz", |answer| answer.text.contains("1 of 2048 streams")).await;
    assert_eq!(dead.closed().await, (CloseCode::Policy, "no answer to a ping within 3 s".into()));
    assert!(!lively.is_finished());
    harness.cancel.cancel();
    assert_eq!(lively.await.unwrap(), (CloseCode::Away, "the server stops".into()));
    harness.stop().await;
}
