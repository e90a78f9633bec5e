use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, Truth, VenueKind};

use crate::client::{self, Client};
use crate::ladder::Ladder;

fn subscribe(channel: &str) -> String {
    json!({ "type": "subscribe", "product_ids": ["BTC-USDT"], "channel": channel }).to_string()
}

fn apply(bids: &mut Ladder, asks: &mut Ladder, updates: &Value) {
    for update in updates.as_array().unwrap() {
        let side = if update["side"] == "bid" { &mut *bids } else { &mut *asks };
        side.set(update["price_level"].as_str().unwrap(), update["new_quantity"].as_str().unwrap());
    }
}

#[tokio::test]
async fn every_frame_of_a_connection_is_counted() {
    let venues = client::start(client::config(VenueKind::CoinbaseAdvanced)).await;
    let name = VenueKind::CoinbaseAdvanced.name();
    let mut socket = Client::connect(&venues.websocket_url(name).unwrap()).await;
    venues.advance(Duration::from_secs(1)).await.unwrap();
    for channel in ["level2", "market_trades", "ticker", "heartbeats"] {
        socket.send(&subscribe(channel)).await;
    }
    let mut next = 0;
    let (mut bids, mut asks) = (Ladder::default(), Ladder::default());
    let mut told = 0;
    let mut seen: Vec<String> = Vec::new();
    let mut advanced = false;
    let mut beats = 0;
    while beats < 4 {
        let frame = socket.json().await;
        assert_eq!(frame["sequence_num"], next, "{frame}");
        next += 1;
        let event = &frame["events"][0];
        match frame["channel"].as_str().unwrap() {
            "subscriptions" => {
                told += 1;
                if told == 4 && !advanced {
                    advanced = true;
                    venues.advance(Duration::from_secs(4)).await.unwrap();
                }
            }
            "l2_data" => apply(&mut bids, &mut asks, &event["updates"]),
            "market_trades" if event["type"] == "update" => {
                // Newest first within a frame.
                let ids = event["trades"].as_array().unwrap().iter().rev();
                seen.extend(ids.map(|trade| trade["trade_id"].as_str().unwrap().to_owned()));
            }
            "market_trades" => assert_eq!(event["trades"].as_array().unwrap().len(), 50),
            "heartbeats" => beats += 1,
            _ => {}
        }
    }
    assert_eq!((bids.0.len(), asks.0.len()), (100, 100));
    let (truth, _) = venues.truth(name, 0).unwrap();
    let made: Vec<String> = truth
        .iter()
        .filter_map(|entry| match &entry.what {
            Truth::Trade { instrument, id, .. } if instrument.base() == "BTC" => Some(id.to_string()),
            _ => None,
        })
        .collect();
    let first = made.iter().position(|id| *id == seen[0]).unwrap();
    assert_eq!(made[first..first + seen.len()], seen);
    venues.stop().await;
}

#[tokio::test]
async fn a_lost_frame_leaves_a_hole_in_the_count() {
    let venues = client::start(client::config(VenueKind::CoinbaseAdvanced)).await;
    let name = VenueKind::CoinbaseAdvanced.name();
    let mut socket = Client::connect(&venues.websocket_url(name).unwrap()).await;
    socket.send(&subscribe("level2")).await;
    assert_eq!(socket.json().await["sequence_num"], 0);
    assert_eq!(socket.json().await["channel"], "subscriptions");
    let fault = Fault::Drop { percent: 50, channel: Some("level2".into()), symbol: None };
    venues.begin_fault(name, fault, None).await.unwrap();
    venues.advance(Duration::from_secs(5)).await.unwrap();
    let (truth, _) = venues.truth(name, 0).unwrap();
    let lost = truth.iter().filter(|entry| matches!(entry.what, Truth::Lost { .. })).count();
    venues.clear_faults(name).await.unwrap();
    venues.advance(Duration::from_millis(200)).await.unwrap();
    let (frames_sent, _) = venues.counts(name).unwrap();
    let mut last = 1;
    let mut holes = 0;
    for _ in 2..frames_sent {
        let number = socket.json().await["sequence_num"].as_u64().unwrap();
        holes += number - last - 1;
        last = number;
    }
    assert!(lost > 20, "{lost}");
    assert_eq!(holes as usize, lost);
    venues.stop().await;
}

#[tokio::test]
async fn rest_tells_the_product() {
    let venues = client::start(client::config(VenueKind::CoinbaseAdvanced)).await;
    let rest = venues.rest_url(VenueKind::CoinbaseAdvanced.name()).unwrap();
    let (_, product) = client::get(format!("{rest}/api/v3/brokerage/market/products/BTC-USDT")).await;
    assert!(product["price"].is_string() && product["volume_24h"].is_string(), "{product}");
    assert_eq!(client::get(format!("{rest}/products/BTC-USDT/stats")).await.0, 200);
    assert_eq!(client::get(format!("{rest}/api/v3/brokerage/market/products/NOPE")).await.0, 404);
    venues.stop().await;
}
