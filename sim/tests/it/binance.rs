use std::time::Duration;

use serde_json::{Value, json};
use sim::{Truth, VenueKind};

use crate::client::{self, Client, START};
use crate::ladder::Ladder;

#[tokio::test]
async fn depth_frames_chain_and_splice_onto_the_snapshot() {
    let venues = client::start(client::config(VenueKind::Binance)).await;
    let rest = venues.rest_url("binance").unwrap();
    let mut socket =
        Client::connect(&format!("ws://{}/ws/btcusdt@depth@100ms", venues.address("binance").unwrap())).await;
    // In the middle of an interval, so that a frame reaches from before the snapshot to after it.
    venues.advance(Duration::from_millis(1_450)).await.unwrap();
    let snapshot = format!("{rest}/api/v3/depth?symbol=BTCUSDT&limit=5000");
    let (status, begin) = client::get(snapshot.clone()).await;
    assert_eq!(status, 200);
    venues.advance(Duration::from_millis(3_050)).await.unwrap();
    let (_, end) = client::get(snapshot).await;
    let at = begin["lastUpdateId"].as_u64().unwrap();
    let (mut bids, mut asks) = (Ladder::of(&begin["bids"]), Ladder::of(&begin["asks"]));
    let (mut last, mut frames) = (None, 0);
    loop {
        let frame = socket.json().await;
        let (first, final_) = (frame["U"].as_u64().unwrap(), frame["u"].as_u64().unwrap());
        if let Some(last) = last {
            assert_eq!(first, last + 1, "chain broken at {frame}");
        }
        last = Some(final_);
        if final_ <= at {
            continue;
        }
        assert!(frames > 0 || first <= at + 1, "the first frame after the snapshot must reach back to it");
        frames += 1;
        bids.apply(&frame["b"]);
        asks.apply(&frame["a"]);
        if final_ >= end["lastUpdateId"].as_u64().unwrap() {
            break;
        }
    }
    assert!(frames >= 25, "{frames}");
    assert_eq!((bids, asks), (Ladder::of(&end["bids"]), Ladder::of(&end["asks"])));
    venues.stop().await;
}

#[tokio::test]
async fn trades_are_those_that_were_made() {
    let venues = client::start(client::config(VenueKind::Binance)).await;
    let streams = "streams=btcusdt@trade/btcusdt@bookTicker/ethusdt@trade";
    let mut socket = Client::connect(&format!("ws://{}/stream?{streams}", venues.address("binance").unwrap())).await;
    venues.advance(Duration::from_secs(5)).await.unwrap();
    let (truth, _) = venues.truth("binance", 0).unwrap();
    let made: Vec<(String, String, String, String)> = truth
        .iter()
        .filter_map(|entry| match &entry.what {
            Truth::Trade { instrument, id, price, quantity, .. } if ["BTC", "ETH"].contains(&instrument.base()) => {
                Some((format!("{}USDT", instrument.base()), id.to_string(), price.to_string(), quantity.to_string()))
            }
            _ => None,
        })
        .collect();
    assert!(made.len() > 50, "{}", made.len());
    let (mut seen, mut quotes, mut best) = (Vec::new(), 0, 0);
    while seen.len() < made.len() {
        let frame = socket.json().await;
        let data = &frame["data"];
        let short = |text: &Value| text.as_str().unwrap().parse::<model::Price>().unwrap().to_string();
        if frame["stream"].as_str().unwrap().ends_with("@trade") {
            let symbol = data["s"].as_str().unwrap().to_owned();
            assert_eq!(frame["stream"], format!("{}@trade", symbol.to_lowercase()));
            assert_eq!(data["p"].as_str().unwrap().split_once('.').unwrap().1.len(), 8);
            let since = data["T"].as_i64().unwrap() - START / 1_000_000;
            assert!((0..=5_000).contains(&since), "{since}");
            seen.push((symbol, data["t"].to_string(), short(&data["p"]), short(&data["q"])));
        } else {
            quotes += 1;
            let update = data["u"].as_u64().unwrap();
            assert!(update > best, "u goes back: {update} after {best}");
            best = update;
            assert!(short(&data["b"]).parse::<model::Price>().unwrap() < short(&data["a"]).parse().unwrap());
        }
    }
    assert_eq!(seen, made);
    assert!(quotes > 100, "{quotes}");
    venues.stop().await;
}

#[tokio::test]
async fn requests_are_answered_by_id() {
    let venues = client::start(client::config(VenueKind::Binance)).await;
    let mut socket = Client::connect(&format!("ws://{}/ws", venues.address("binance").unwrap())).await;
    socket.send(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","nosuch@trade"],"id":1}"#).await;
    assert_eq!(socket.text().await, r#"{"result":null,"id":1}"#);
    socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":"a"}"#).await;
    assert_eq!(socket.json().await, json!({"result": ["btcusdt@trade"], "id": "a"}));
    socket.send(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}"#).await;
    assert_eq!(socket.text().await, r#"{"result":null,"id":2}"#);
    socket.send(r#"{"method":"EXPLODE","id":3}"#).await;
    let refused = socket.json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(3), &json!(2)));
    venues.advance(Duration::from_secs(2)).await.unwrap();
    assert!(socket.is_quiet().await);
    socket.send("{").await;
    assert_eq!(socket.json().await["error"]["code"], 3);
    venues.stop().await;
}

#[tokio::test]
async fn rest_answers_as_documented() {
    let venues = client::start(client::config(VenueKind::Binance)).await;
    let rest = venues.rest_url("binance").unwrap();
    venues.advance(Duration::from_secs(1)).await.unwrap();
    let (_, days) = client::get(format!("{rest}/api/v3/ticker/24hr?symbols=%5B%22BTCUSDT%22,%22XRPUSDT%22%5D")).await;
    assert_eq!(days.as_array().unwrap().len(), 2);
    assert_eq!(days[1]["symbol"], "XRPUSDT");
    let volume: f64 = days[0]["volume"].as_str().unwrap().parse().unwrap();
    assert!((17_000.0..19_000.0).contains(&volume), "{volume}");
    let (_, one) = client::get(format!("{rest}/api/v3/ticker/24hr?symbol=BTCUSDT")).await;
    assert_eq!(one, days[0]);
    assert_eq!(one["closeTime"], START / 1_000_000 + 1_000);
    let (_, price) = client::get(format!("{rest}/api/v3/ticker/price?symbol=BTCUSDT")).await;
    assert_eq!(price["price"], one["lastPrice"]);
    let (status, refused) = client::get(format!("{rest}/api/v3/ticker/24hr?symbol=NOPE")).await;
    assert_eq!((status, &refused["code"]), (400, &json!(-1121)));
    assert_eq!(client::get(format!("{rest}/api/v3/ping")).await, (200, json!({})));
    let (_, info) = client::get(format!("{rest}/api/v3/exchangeInfo")).await;
    assert_eq!(info["symbols"].as_array().unwrap().len(), 4);
    for name in ["BTCUSDT", "BTC-USDT"] {
        let (_, mock) = client::get(format!("{rest}/mock/ticker/{name}")).await;
        assert_eq!(mock["symbol"], "BTCUSDT");
        assert_eq!(mock["timestamp"], START / 1_000_000 + 1_000);
        assert!(mock["price"].is_number() && mock["volume"].is_number(), "{mock}");
    }
    assert_eq!(client::get(format!("{rest}/mock/ticker/NOPE")).await.0, 404);
    venues.stop().await;
}

#[tokio::test]
async fn the_connection_rules_hold() {
    let mut config = client::config(VenueKind::Binance);
    config.venues[0].session_max = Some(Duration::from_secs(45));
    config.instruments.truncate(1);
    let venues = client::start(config).await;
    let url = format!("ws://{}/ws", venues.address("binance").unwrap());
    let mut socket = Client::connect(&url).await;
    socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).await;
    socket.text().await;
    venues.advance(Duration::from_secs(41)).await.unwrap();
    let mut pings = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_millis(300), socket.frame()).await {
        pings += usize::from(message.is_ping());
    }
    assert_eq!(pings, 2);
    venues.advance(Duration::from_secs(5)).await.unwrap();
    assert_eq!(socket.ended().await, Some(1008));
    let mut hasty = Client::connect(&url).await;
    for id in 0..6 {
        hasty.send(&format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#)).await;
    }
    assert_eq!(hasty.ended().await, Some(1008));
    venues.stop().await;
}
