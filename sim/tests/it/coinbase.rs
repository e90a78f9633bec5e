use std::time::Duration;

use serde_json::{Value, json};
use sim::{Truth, VenueKind};

use crate::client::{self, Client, START};
use crate::ladder::Ladder;

const SUBSCRIBE: &str =
    r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["matches","ticker","heartbeat","level2_batch"]}"#;

#[tokio::test]
async fn channels_send_what_they_are_for() {
    let venues = client::start(client::config(VenueKind::Coinbase)).await;
    let mut socket = Client::connect(&venues.websocket_url("coinbase").unwrap()).await;
    venues.advance(Duration::from_millis(1_030)).await.unwrap();
    socket.send(SUBSCRIBE).await;
    let told = socket.json().await;
    assert_eq!(told["type"], "subscriptions");
    let names: Vec<&Value> = told["channels"].as_array().unwrap().iter().map(|channel| &channel["name"]).collect();
    assert_eq!(names, ["matches", "ticker", "heartbeat", "level2_batch"]);
    let last = socket.json().await;
    assert_eq!(last["type"], "last_match");
    assert_eq!(socket.json().await["type"], "ticker");
    let snapshot = socket.json().await;
    assert_eq!(snapshot["type"], "snapshot");
    let (mut bids, mut asks) = (Ladder::of(&snapshot["bids"]), Ladder::of(&snapshot["asks"]));

    venues.advance(Duration::from_millis(5_970)).await.unwrap();
    let mut last_id = last["trade_id"].as_u64().unwrap();
    let (mut beats, mut matches) = (0, Vec::new());
    while beats < 6 {
        let frame = socket.json().await;
        match frame["type"].as_str().unwrap() {
            "match" => {
                assert_eq!(frame["trade_id"], last_id + 1);
                last_id += 1;
                matches.push(frame);
            }
            "ticker" => assert_eq!(frame["trade_id"], last_id, "a ticker follows its match"),
            "l2update" => {
                for change in frame["changes"].as_array().unwrap() {
                    let side = if change[0] == "buy" { &mut bids } else { &mut asks };
                    side.set(change[1].as_str().unwrap(), change[2].as_str().unwrap());
                }
            }
            "heartbeat" => {
                assert_eq!(frame["last_trade_id"], last_id);
                beats += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(matches.len() > 30, "{}", matches.len());
    assert!(bids.0.last_key_value().unwrap().0 < asks.0.first_key_value().unwrap().0);
    assert_eq!((bids.0.len(), asks.0.len()), (100, 100));
    compare(&matches, &venues.truth("coinbase", 0).unwrap().0);
    venues.stop().await;
}

fn compare(matches: &[Value], truth: &[sim::TruthEntry]) {
    let mut compared = 0;
    for entry in truth {
        let Truth::Trade { id, price, quantity, taker_side, .. } = &entry.what else { continue };
        let Some(seen) = matches.iter().find(|seen| seen["trade_id"].as_u64().map(model::TradeId::Number) == Some(*id))
        else {
            continue;
        };
        compared += 1;
        assert_eq!(seen["price"].as_str().unwrap().parse(), Ok(*price));
        assert_eq!(seen["size"].as_str().unwrap().parse(), Ok(*quantity));
        let maker = if *taker_side == model::Side::Buy { "sell" } else { "buy" };
        assert_eq!(seen["side"], maker, "the side told is the maker's");
        let time = model::UnixNanos::parse_rfc3339(seen["time"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(time.0 / 1_000, entry.at.0 / 1_000);
        assert!(time.0 >= START);
    }
    assert_eq!(compared, matches.len());
}

#[tokio::test]
async fn who_does_not_subscribe_is_cut() {
    let venues = client::start(client::config(VenueKind::Coinbase)).await;
    let mut idle = Client::connect(&venues.websocket_url("coinbase").unwrap()).await;
    let mut active = Client::connect(&venues.websocket_url("coinbase").unwrap()).await;
    active.send(r#"{"type":"subscribe","product_ids":["NOPE-USD"],"channels":["matches"]}"#).await;
    let refused = active.json().await;
    assert_eq!((&refused["type"], &refused["message"]), (&json!("error"), &json!("Failed to subscribe")));
    assert_eq!(refused["reason"], "NOPE-USD is not a valid product");
    active.send(r#"{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["level2"]}"#).await;
    assert_eq!(active.json().await["reason"], "level2 requires authentication");
    active.send(r#"{"type":"subscribe","channels":[{"name":"heartbeat","product_ids":["ETH-USDT"]}]}"#).await;
    assert_eq!(active.json().await["type"], "subscriptions");
    venues.advance(Duration::from_secs(6)).await.unwrap();
    assert_eq!(idle.ended().await, Some(1008));
    for _ in 0..5 {
        assert_eq!(active.json().await["product_id"], "ETH-USDT");
    }
    active.send(r#"{"type":"unsubscribe","product_ids":["ETH-USDT"],"channels":["heartbeat"]}"#).await;
    let told = active.until(|frame| frame["type"] == "subscriptions").await;
    assert_eq!(told.last().unwrap()["channels"], json!([]));
    venues.stop().await;
}

#[tokio::test]
async fn rest_tells_the_day_and_the_last_trade() {
    let venues = client::start(client::config(VenueKind::Coinbase)).await;
    let rest = venues.rest_url("coinbase").unwrap();
    let (_, stats) = client::get(format!("{rest}/products/BTC-USDT/stats")).await;
    let volume: f64 = stats["volume"].as_str().unwrap().parse().unwrap();
    assert!((7_000.0..8_000.0).contains(&volume), "{volume}");
    let (_, ticker) = client::get(format!("{rest}/products/BTC-USDT/ticker")).await;
    for field in ["price", "size", "bid", "ask", "volume", "time"] {
        assert!(ticker[field].is_string(), "{field} in {ticker}");
    }
    let (status, refused) = client::get(format!("{rest}/products/NOPE/ticker")).await;
    assert_eq!((status, refused), (404, json!({ "message": "NotFound" })));
    venues.stop().await;
}
