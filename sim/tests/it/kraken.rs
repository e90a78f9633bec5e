use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sim::{Fault, Truth, VenueKind};

use crate::client::{self, Client};

/// A level with its numbers as they were written, since the checksum runs over their text.
#[derive(Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct Book<'a> {
    symbol: String,
    #[serde(borrow)]
    bids: Vec<Level<'a>>,
    #[serde(borrow)]
    asks: Vec<Level<'a>>,
    checksum: u32,
}

#[derive(Deserialize)]
struct Frame<'a> {
    channel: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    data: Option<Vec<Book<'a>>>,
}

/// CRC-32 (IEEE 802.3) bit by bit, so that it shares nothing with the server's.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Levels by price in micro-units of 1e-8, with the texts.
type Side = BTreeMap<i64, (String, String)>;

fn apply(side: &mut Side, levels: &[Level<'_>]) {
    for level in levels {
        let (price, quantity) = (level.price.get(), level.qty.get());
        let key = price.parse::<model::Price>().unwrap().raw();
        if quantity.parse::<model::Quantity>().unwrap() == model::Quantity::ZERO {
            side.remove(&key);
        } else {
            side.insert(key, (price.into(), quantity.into()));
        }
    }
}

fn checksum(bids: &Side, asks: &Side) -> u32 {
    let mut text = String::new();
    for (price, quantity) in asks.values().take(10).chain(bids.values().rev().take(10)) {
        for number in [price, quantity] {
            text += number.replace('.', "").trim_start_matches('0');
        }
    }
    crc32(text.as_bytes())
}

/// Follows a book channel; the number of frames whose checksum did not fit.
async fn follow(socket: &mut Client, depth: usize, frames: usize) -> usize {
    let (mut bids, mut asks) = (Side::new(), Side::new());
    let (mut seen, mut wrong) = (0, 0);
    while seen < frames {
        let text = socket.text().await;
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(&text) else { continue };
        if frame.channel != "book" {
            continue;
        }
        let book = &frame.data.unwrap()[0];
        assert_eq!(book.symbol, "BTC/USDT");
        if frame.kind.as_deref() == Some("snapshot") {
            assert_eq!(seen, 0);
            assert_eq!((book.bids.len(), book.asks.len()), (depth, depth));
        }
        apply(&mut bids, &book.bids);
        apply(&mut asks, &book.asks);
        while bids.len() > depth {
            bids.pop_first();
        }
        while asks.len() > depth {
            asks.pop_last();
        }
        wrong += usize::from(checksum(&bids, &asks) != book.checksum);
        seen += 1;
    }
    wrong
}

#[tokio::test]
async fn book_checksums_fit_at_every_depth() {
    for depth in [10, 25, 100] {
        let venues = client::start(client::config(VenueKind::Kraken)).await;
        let mut socket = Client::connect(&venues.websocket_url("kraken").unwrap()).await;
        venues.advance(Duration::from_millis(333)).await.unwrap();
        let params = json!({ "channel": "book", "symbol": ["BTC/USDT"], "depth": depth });
        socket.send(&json!({ "method": "subscribe", "params": params }).to_string()).await;
        assert_eq!(socket.json().await["channel"], "status");
        let told = socket.json().await;
        assert_eq!((&told["success"], &told["result"]["depth"]), (&json!(true), &json!(depth)));
        venues.advance(Duration::from_secs(10)).await.unwrap();
        assert_eq!(follow(&mut socket, depth, 200).await, 0, "depth {depth}");
        venues.stop().await;
    }
}

#[tokio::test]
async fn a_checksum_fault_spoils_the_share_asked_for() {
    let venues = client::start(client::config(VenueKind::Kraken)).await;
    let mut socket = Client::connect(&venues.websocket_url("kraken").unwrap()).await;
    socket.send(r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"]}}"#).await;
    assert_eq!(socket.json().await["channel"], "status");
    assert_eq!(socket.json().await["success"], true);
    venues.begin_fault("kraken", Fault::WrongChecksum { percent: 50 }, None).await.unwrap();
    venues.advance(Duration::from_secs(10)).await.unwrap();
    let wrong = follow(&mut socket, 10, 200).await;
    assert!((60..140).contains(&wrong), "{wrong}");
    let (truth, _) = venues.truth("kraken", 0).unwrap();
    let told = truth.iter().filter(|entry| matches!(entry.what, Truth::WrongChecksum { .. })).count();
    assert!(told >= wrong, "{told} {wrong}");
    venues.stop().await;
}

#[tokio::test]
async fn trades_and_tickers_begin_with_a_snapshot() {
    let venues = client::start(client::config(VenueKind::Kraken)).await;
    let mut socket = Client::connect(&venues.websocket_url("kraken").unwrap()).await;
    venues.advance(Duration::from_secs(1)).await.unwrap();
    socket
        .send(r#"{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USDT","NO/PE"]},"req_id":7}"#)
        .await;
    let params = json!({ "channel": "ticker", "symbol": ["BTC/USDT"], "event_trigger": "bbo" });
    socket.send(&json!({ "method": "subscribe", "params": params }).to_string()).await;
    assert_eq!(socket.json().await["channel"], "status");
    let told = socket.json().await;
    assert_eq!((&told["req_id"], &told["result"]["channel"]), (&json!(7), &json!("trade")));
    let snapshot = socket.json().await;
    let trades = snapshot["data"].as_array().unwrap();
    assert_eq!((&snapshot["type"], trades.len()), (&json!("snapshot"), 50));
    let refused = socket.json().await;
    assert_eq!((&refused["success"], &refused["error"]), (&json!(false), &json!("Currency pair not supported NO/PE")));
    assert_eq!(socket.json().await["result"]["event_trigger"], "bbo");
    assert_eq!(socket.json().await["type"], "snapshot");

    venues.advance(Duration::from_secs(5)).await.unwrap();
    let mut last_id = trades.last().unwrap()["trade_id"].as_u64().unwrap();
    let (mut seen, mut quotes, mut best) = (0, 0, Value::Null);
    while seen < 30 {
        let frame = socket.json().await;
        let data = &frame["data"][0];
        match frame["channel"].as_str().unwrap() {
            "trade" => {
                assert_eq!(data["trade_id"], last_id + 1);
                last_id += 1;
                seen += 1;
            }
            "ticker" => {
                let now = json!([data["bid"], data["bid_qty"], data["ask"], data["ask_qty"]]);
                assert_ne!(now, best, "told without a change");
                best = now;
                quotes += 1;
            }
            "heartbeat" => {}
            other => panic!("{other}"),
        }
    }
    assert!(quotes > 60, "{quotes}");
    venues.stop().await;
}

#[tokio::test]
async fn idle_connections_hear_heartbeats_and_pongs() {
    let mut config = client::config(VenueKind::Kraken);
    for listed in &mut config.instruments {
        listed.ticks_per_second = 1;
    }
    let venues = client::start(config).await;
    let mut socket = Client::connect(&venues.websocket_url("kraken").unwrap()).await;
    assert_eq!(socket.json().await["channel"], "status");
    socket.send(r#"{"method":"ping","req_id":42}"#).await;
    let pong = socket.json().await;
    assert_eq!((&pong["method"], &pong["req_id"]), (&json!("pong"), &json!(42)));
    socket.send(r#"{"method":"subscribe","params":{"channel":"trade","symbol":["XRP/USDT"],"snapshot":false}}"#).await;
    assert_eq!(socket.json().await["success"], true);
    venues.advance(Duration::from_secs(20)).await.unwrap();
    let mut beats = 0;
    for _ in 0..15 {
        beats += usize::from(socket.json().await == json!({ "channel": "heartbeat" }));
    }
    assert!(beats >= 8, "{beats}");
    venues.stop().await;
}

#[tokio::test]
async fn rest_speaks_in_the_old_names() {
    let mut config = client::config(VenueKind::Kraken);
    config.instruments.push(sim::InstrumentConfig::named("BTC-USD".parse().unwrap()));
    config.instruments.push(sim::InstrumentConfig::named("DOGE-USD".parse().unwrap()));
    let venues = client::start(config).await;
    let rest = venues.rest_url("kraken").unwrap();
    for (pair, key) in [
        ("XBTUSDT", "XBTUSDT"),
        ("XBTUSD", "XXBTZUSD"),
        ("XXBTZUSD", "XXBTZUSD"),
        ("XDGUSD", "XDGUSD"),
        ("USDTUSD", "USDTZUSD"),
        ("ETHUSDT", "ETHUSDT"),
    ] {
        let (status, answer) = client::get(format!("{rest}/0/public/Ticker?pair={pair}")).await;
        assert_eq!((status, &answer["error"]), (200, &json!([])), "{pair}: {answer}");
        let ticker = &answer["result"][key];
        let day: f64 = ticker["v"][1].as_str().unwrap_or_else(|| panic!("{pair}: {answer}")).parse().unwrap();
        let today: f64 = ticker["v"][0].as_str().unwrap().parse().unwrap();
        assert!(today > 0.0 && today <= day, "{pair}: {today} of {day}");
    }
    let (_, refused) = client::get(format!("{rest}/0/public/Ticker?pair=NOPE")).await;
    assert_eq!(refused["error"], json!(["EQuery:Unknown asset pair"]));
    venues.stop().await;
}
