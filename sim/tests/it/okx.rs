use std::time::Duration;

use serde_json::{Value, json};
use sim::VenueKind;

use crate::client::{self, Client};
use crate::ladder::Ladder;

fn subscribe(channel: &str) -> String {
    json!({ "op": "subscribe", "args": [{ "channel": channel, "instId": "BTC-USDT" }] }).to_string()
}

#[tokio::test]
async fn books_chain_by_the_previous_sequence() {
    let venues = client::start(client::config(VenueKind::Okx)).await;
    let mut socket = Client::connect(&venues.websocket_url("okx").unwrap()).await;
    venues.advance(Duration::from_millis(777)).await.unwrap();
    socket.send(&subscribe("books")).await;
    let told = socket.json().await;
    assert_eq!((&told["event"], &told["arg"]["channel"]), (&json!("subscribe"), &json!("books")));
    let snapshot = socket.json().await;
    assert_eq!((&snapshot["action"], &snapshot["data"][0]["prevSeqId"]), (&json!("snapshot"), &json!(-1)));
    let mut bids = Ladder::of(&snapshot["data"][0]["bids"]);
    let mut asks = Ladder::of(&snapshot["data"][0]["asks"]);
    let mut last = snapshot["data"][0]["seqId"].clone();
    venues.advance(Duration::from_millis(5_023)).await.unwrap();
    // Exactly at an emission, a second subscriber's snapshot is the book that the first must hold.
    let mut second = Client::connect(&venues.websocket_url("okx").unwrap()).await;
    second.send(&subscribe("books")).await;
    second.json().await;
    let end = second.json().await["data"][0].clone();
    let mut frames = 0;
    while last != end["seqId"] {
        let frame = socket.json().await;
        let data = &frame["data"][0];
        assert_eq!((&frame["action"], &data["prevSeqId"]), (&json!("update"), &last), "chain broken");
        last = data["seqId"].clone();
        bids.apply(&data["bids"]);
        asks.apply(&data["asks"]);
        frames += 1;
    }
    assert!(frames >= 45, "{frames}");
    assert_eq!((bids, asks), (Ladder::of(&end["bids"]), Ladder::of(&end["asks"])));
    venues.stop().await;
}

#[tokio::test]
async fn trades_quotes_and_tickers_come_in_text() {
    let venues = client::start(client::config(VenueKind::Okx)).await;
    let mut socket = Client::connect(&venues.websocket_url("okx").unwrap()).await;
    for channel in ["trades", "bbo-tbt", "tickers"] {
        socket.send(&subscribe(channel)).await;
        socket.until(|frame| frame["event"] == "subscribe").await;
    }
    venues.advance(Duration::from_secs(4)).await.unwrap();
    let (mut trades, mut quotes, mut tickers) = (0, 0, 0);
    let mut last = None;
    while trades < 20 || tickers < 5 {
        let frame = socket.json().await;
        let data = &frame["data"][0];
        match frame["arg"]["channel"].as_str().unwrap() {
            "trades" => {
                let id: u64 = data["tradeId"].as_str().unwrap().parse().unwrap();
                assert!(last.is_none_or(|last| id == last + 1));
                assert_eq!(data["count"], "1");
                last = Some(id);
                trades += 1;
            }
            "bbo-tbt" => {
                assert_eq!((data["asks"].as_array().unwrap().len(), data["bids"].as_array().unwrap().len()), (1, 1));
                quotes += 1;
            }
            "tickers" => {
                assert!(data["vol24h"].is_string());
                tickers += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(quotes > 20, "{quotes}");
    venues.stop().await;
}

#[tokio::test]
async fn pings_errors_idleness_and_rest() {
    let venues = client::start(client::config(VenueKind::Okx)).await;
    let mut socket = Client::connect(&venues.websocket_url("okx").unwrap()).await;
    socket.send("ping").await;
    assert_eq!(socket.text().await, "pong");
    socket.send(r#"{"op":"subscribe","args":[{"channel":"trades","instId":"NO-PE"}]}"#).await;
    let refused = socket.json().await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("60018")));
    socket.send("{").await;
    assert_eq!(socket.json().await["code"], "60012");
    let rest = venues.rest_url("okx").unwrap();
    let (_, ticker) = client::get(format!("{rest}/api/v5/market/ticker?instId=BTC-USDT")).await;
    let data: &Value = &ticker["data"][0];
    let (base, quote): (f64, f64) =
        (data["vol24h"].as_str().unwrap().parse().unwrap(), data["volCcy24h"].as_str().unwrap().parse().unwrap());
    assert!((78_000.0..80_000.0).contains(&(quote / base)), "{quote} / {base}");
    assert_eq!(client::get(format!("{rest}/api/v5/market/ticker?instId=NOPE")).await.1["code"], "51001");
    venues.advance(Duration::from_secs(31)).await.unwrap();
    assert_eq!(socket.ended().await, Some(1008));
    venues.stop().await;
}
