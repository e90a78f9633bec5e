use std::time::Duration;

use serde_json::json;
use sim::{Fault, VenueKind};

use crate::client::{self, Client};
use crate::ladder::Ladder;

fn subscribe(channel: &str) -> String {
    json!({ "event": "bts:subscribe", "data": { "channel": channel } }).to_string()
}

#[tokio::test]
async fn differences_lead_from_book_to_book() {
    let venues = client::start(client::config(VenueKind::Bitstamp)).await;
    let rest = venues.rest_url("bitstamp").unwrap();
    let mut socket = Client::connect(&venues.websocket_url("bitstamp").unwrap()).await;
    socket.send(&subscribe("diff_order_book_btcusdt")).await;
    assert_eq!(socket.json().await["event"], "bts:subscription_succeeded");
    // Both books at a frame's time, so that the differences between lead from one to the other.
    venues.advance(Duration::from_millis(600)).await.unwrap();
    let (_, begin) = client::get(format!("{rest}/api/v2/order_book/btcusdt/")).await;
    venues.advance(Duration::from_millis(6_000)).await.unwrap();
    let (_, end) = client::get(format!("{rest}/api/v2/order_book/btcusdt/")).await;
    let (mut bids, mut asks) = (Ladder::of(&begin["bids"]), Ladder::of(&begin["asks"]));
    loop {
        let frame = socket.json().await;
        let at = frame["data"]["microtimestamp"].clone();
        if at.as_str().unwrap() <= begin["microtimestamp"].as_str().unwrap() {
            continue;
        }
        bids.apply(&frame["data"]["bids"]);
        asks.apply(&frame["data"]["asks"]);
        if at == end["microtimestamp"] {
            break;
        }
    }
    assert_eq!((bids, asks), (Ladder::of(&end["bids"]), Ladder::of(&end["asks"])));
    venues.stop().await;
}

#[tokio::test]
async fn trades_and_orders_chain() {
    let venues = client::start(client::config(VenueKind::Bitstamp)).await;
    let mut socket = Client::connect(&venues.websocket_url("bitstamp").unwrap()).await;
    socket.send(&subscribe("live_trades_btcusdt")).await;
    socket.send(&subscribe("live_orders_btcusdt")).await;
    for _ in 0..2 {
        assert_eq!(socket.json().await["event"], "bts:subscription_succeeded");
    }
    venues.advance(Duration::from_secs(5)).await.unwrap();
    let (mut trades, mut orders) = (0, 0);
    let mut last = None;
    while trades < 20 {
        let frame = socket.json().await;
        if frame["event"] == "trade" {
            let data = &frame["data"];
            let (price, text) = (data["price"].to_string(), data["price_str"].as_str().unwrap());
            assert_eq!(price.parse::<f64>().unwrap(), text.parse::<f64>().unwrap());
            trades += 1;
        } else {
            assert!(last.is_none_or(|last| last == frame["pre_event_id"]), "chain broken at {frame}");
            last = Some(frame["event_id"].clone());
            orders += 1;
        }
    }
    assert!(orders > 100, "{orders}");
    venues.stop().await;
}

#[tokio::test]
async fn words_of_the_protocol() {
    let venues = client::start(client::config(VenueKind::Bitstamp)).await;
    let mut socket = Client::connect(&venues.websocket_url("bitstamp").unwrap()).await;
    socket.send(&subscribe("live_trades_nope")).await;
    assert_eq!(socket.json().await["event"], "bts:error");
    socket.send(r#"{"event":"bts:heartbeat"}"#).await;
    assert_eq!(socket.json().await["data"]["status"], "success");
    socket.send(&subscribe("order_book_ethusdt")).await;
    assert_eq!(socket.json().await["event"], "bts:subscription_succeeded");
    let book = socket.json().await;
    assert_eq!(book["data"]["bids"].as_array().unwrap().len(), 100);
    venues.begin_fault("bitstamp", Fault::Shutdown, None).await.unwrap();
    assert_eq!(socket.json().await["event"], "bts:request_reconnect");
    let rest = venues.rest_url("bitstamp").unwrap();
    let (_, ticker) = client::get(format!("{rest}/api/v2/ticker/btcusdt/")).await;
    for field in ["timestamp", "high", "last", "bid", "vwap", "volume", "low", "ask", "open", "open_24"] {
        assert!(ticker[field].is_string(), "{field} in {ticker}");
    }
    venues.stop().await;
}
