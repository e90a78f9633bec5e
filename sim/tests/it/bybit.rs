use std::time::Duration;

use serde_json::json;
use sim::{Truth, VenueKind};

use crate::client::{self, Client};
use crate::ladder::Ladder;

#[tokio::test]
async fn book_messages_count_up_by_one() {
    let venues = client::start(client::config(VenueKind::Bybit)).await;
    let mut socket = Client::connect(&venues.websocket_url("bybit").unwrap()).await;
    venues.advance(Duration::from_millis(555)).await.unwrap();
    socket.send(r#"{"req_id":"1","op":"subscribe","args":["orderbook.50.BTCUSDT"]}"#).await;
    let told = socket.json().await;
    assert_eq!((&told["success"], &told["ret_msg"], &told["req_id"]), (&json!(true), &json!("subscribe"), &json!("1")));
    let snapshot = socket.json().await;
    assert_eq!(snapshot["type"], "snapshot");
    let (mut bids, mut asks) = (Ladder::of(&snapshot["data"]["b"]), Ladder::of(&snapshot["data"]["a"]));
    let mut last = snapshot["data"]["u"].as_u64().unwrap();
    venues.advance(Duration::from_millis(5_445)).await.unwrap();
    let mut second = Client::connect(&venues.websocket_url("bybit").unwrap()).await;
    second.send(r#"{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}"#).await;
    second.json().await;
    let end = second.json().await["data"].clone();
    let mut frames = 0;
    while last < end["u"].as_u64().unwrap() {
        let frame = socket.json().await;
        assert_eq!((&frame["type"], &frame["data"]["u"]), (&json!("delta"), &json!(last + 1)), "chain broken");
        last += 1;
        bids.apply(&frame["data"]["b"]);
        asks.apply(&frame["data"]["a"]);
        frames += 1;
    }
    assert!(frames > 100, "{frames}");
    assert_eq!((bids, asks), (Ladder::of(&end["b"]), Ladder::of(&end["a"])));
    venues.stop().await;
}

#[tokio::test]
async fn trades_carry_uuids_and_mark_blocks() {
    let mut config = client::config(VenueKind::Bybit);
    config.instruments.truncate(1);
    config.instruments[0].ticks_per_second = 2_000;
    let venues = client::start(config).await;
    let mut socket = Client::connect(&venues.websocket_url("bybit").unwrap()).await;
    socket.send(r#"{"op":"subscribe","args":["publicTrade.BTCUSDT","orderbook.1.BTCUSDT","tickers.BTCUSDT"]}"#).await;
    assert_eq!(socket.json().await["success"], true);
    venues.advance(Duration::from_secs(5)).await.unwrap();
    let (truth, _) = venues.truth("bybit", 0).unwrap();
    let made: Vec<(String, bool)> = truth
        .iter()
        .filter_map(|entry| match &entry.what {
            Truth::Trade { id, block, .. } => Some((id.to_string(), *block)),
            _ => None,
        })
        .collect();
    let (mut seen, mut quotes) = (Vec::new(), 0);
    while seen.len() < made.len() {
        let frame = socket.json().await;
        match frame["topic"].as_str().unwrap() {
            "publicTrade.BTCUSDT" => {
                let trade = &frame["data"][0];
                seen.push((trade["i"].as_str().unwrap().to_owned(), trade["BT"].as_bool().unwrap()));
            }
            "orderbook.1.BTCUSDT" => {
                assert_eq!(frame["type"], "snapshot");
                quotes += 1;
            }
            _ => {}
        }
    }
    assert_eq!(seen, made);
    assert!(made.iter().any(|(_, block)| *block), "none of {} trades is a block trade", made.len());
    assert!(quotes > 100, "{quotes}");
    venues.stop().await;
}

#[tokio::test]
async fn pings_errors_and_rest() {
    let venues = client::start(client::config(VenueKind::Bybit)).await;
    let mut socket = Client::connect(&venues.websocket_url("bybit").unwrap()).await;
    socket.send(r#"{"op":"ping"}"#).await;
    assert_eq!(socket.json().await["ret_msg"], "pong");
    socket.send(r#"{"op":"subscribe","args":["publicTrade.NOPE"]}"#).await;
    let refused = socket.json().await;
    assert_eq!(refused["success"], false);
    assert_eq!(refused["ret_msg"], "error:handler not found,topic:publicTrade.NOPE");
    let rest = venues.rest_url("bybit").unwrap();
    let (_, ticker) = client::get(format!("{rest}/v5/market/tickers?category=spot&symbol=BTCUSDT")).await;
    assert!(ticker["result"]["list"][0]["volume24h"].is_string(), "{ticker}");
    assert_eq!(client::get(format!("{rest}/v5/market/tickers?category=spot&symbol=NOPE")).await.1["retCode"], 10001);
    venues.stop().await;
}

#[tokio::test]
async fn a_quiet_best_quote_is_repeated() {
    let mut config = client::config(VenueKind::Bybit);
    config.instruments.truncate(1);
    config.instruments[0].ticks_per_second = 1;
    let venues = client::start(config).await;
    let mut socket = Client::connect(&venues.websocket_url("bybit").unwrap()).await;
    socket.send(r#"{"op":"subscribe","args":["orderbook.1.BTCUSDT"]}"#).await;
    assert_eq!(socket.json().await["success"], true);
    let mut last = socket.json().await["data"]["u"].as_u64().unwrap();
    venues.advance(Duration::from_secs(60)).await.unwrap();
    let (mut repeats, mut news) = (0, 0);
    while news < 20 {
        let update = socket.json().await["data"]["u"].as_u64().unwrap();
        assert!(update == last || update == last + 1);
        repeats += usize::from(update == last);
        news += usize::from(update > last);
        last = update;
    }
    assert!(repeats > 0, "a pause of more than 3 s is repeated into");
    venues.stop().await;
}
