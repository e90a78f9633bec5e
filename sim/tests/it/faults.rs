//! Each fault does what it says, at run time over HTTP or through the handle, and the truth tells it.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Config, Fault, Handle, Malformed, ScheduledFault, Truth, VenueKind};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{self, Client, START};

/// A Binance with one instrument and a client that reads its trades.
async fn trades(change: impl FnOnce(&mut Config)) -> (Handle, Client) {
    let mut config = client::config(VenueKind::Binance);
    config.instruments.truncate(1);
    change(&mut config);
    let venues = client::start(config).await;
    let url = format!("ws://{}/ws/btcusdt@trade", venues.address("binance").unwrap());
    let mut socket = Client::connect(&url).await;
    // An answer tells that the connection is known to the venue before time passes.
    socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":0}"#).await;
    socket.json().await;
    (venues, socket)
}

async fn begin(venues: &Handle, fault: Fault) {
    venues.begin_fault("binance", fault, None).await.unwrap();
}

async fn seconds(venues: &Handle, seconds: u64) {
    venues.advance(Duration::from_secs(seconds)).await.unwrap();
}

/// Ids of the trades that were made, and what else the truth says.
fn truth(venues: &Handle) -> (Vec<u64>, Vec<Truth>) {
    let mut ids = Vec::new();
    let mut others = Vec::new();
    for entry in venues.truth("binance", 0).unwrap().0 {
        match entry.what {
            Truth::Trade { id, .. } => ids.push(id.to_string().parse().unwrap()),
            other => others.push(other),
        }
    }
    (ids, others)
}

/// Ids of the next trade frames.
async fn ids(socket: &mut Client, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(socket.json().await["t"].as_u64().unwrap());
    }
    ids
}

#[tokio::test]
async fn dropped_trades_are_missing_and_told() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::Drop { percent: 20, channel: Some("trade".into()), symbol: None }).await;
    seconds(&venues, 20).await;
    let (made, others) = truth(&venues);
    let lost: Vec<u64> = others
        .iter()
        .filter_map(|what| match what {
            Truth::Lost { channel, reference, .. } => Some((channel, *reference)).map(|(_, reference)| reference),
            _ => None,
        })
        .collect();
    assert!(lost.len() * 10 > made.len() && lost.len() * 3 < made.len(), "{} of {}", lost.len(), made.len());
    let seen = ids(&mut socket, made.len() - lost.len()).await;
    let expected: Vec<u64> = made.into_iter().filter(|id| !lost.contains(id)).collect();
    assert_eq!(seen, expected);
    venues.stop().await;
}

#[tokio::test]
async fn doubled_trades_come_twice() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::Duplicate { percent: 30 }).await;
    seconds(&venues, 10).await;
    let (made, others) = truth(&venues);
    let doubled = others.iter().filter(|what| matches!(what, Truth::Doubled { .. })).count();
    assert!(doubled > 5, "{doubled}");
    let mut seen = ids(&mut socket, made.len() + doubled).await;
    seen.dedup();
    assert_eq!(seen, made);
    venues.stop().await;
}

#[tokio::test]
async fn reordered_trades_all_come() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::Reorder { within: 10 }).await;
    seconds(&venues, 10).await;
    venues.clear_faults("binance").await.unwrap();
    seconds(&venues, 2).await;
    let (made, _) = truth(&venues);
    let mut seen = ids(&mut socket, made.len()).await;
    assert_ne!(seen, made);
    for (place, id) in seen.iter().enumerate() {
        let true_place = made.iter().position(|made| made == id).unwrap();
        assert!(place.abs_diff(true_place) < 10, "{id} moved from {true_place} to {place}");
    }
    seen.sort_unstable();
    assert_eq!(seen, made);
    venues.stop().await;
}

#[tokio::test]
async fn silence_is_narrow_or_total() {
    let (venues, mut socket) = trades(|config| {
        config.instruments = client::config(VenueKind::Binance).instruments;
        config.instruments.truncate(2);
    })
    .await;
    socket.send(r#"{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":1}"#).await;
    socket.json().await;
    let symbol = Some("BTC-USDT".parse().unwrap());
    begin(&venues, Fault::Silence { channel: Some("trade".into()), symbol }).await;
    seconds(&venues, 10).await;
    for _ in 0..20 {
        assert_eq!(socket.json().await["s"], "ETHUSDT");
    }
    let unknown = Fault::Silence { channel: Some("trades".into()), symbol: None };
    let refused = venues.begin_fault("binance", unknown, None).await.unwrap_err().to_string();
    assert_eq!(refused, r#"channel "trades" not known to binance: one of trade, bookTicker, depth@100ms, depth"#);
    begin(&venues, Fault::Silence { channel: None, symbol: None }).await;
    socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#).await;
    seconds(&venues, 30).await;
    while !socket.is_quiet().await {}
    venues.clear_faults("binance").await.unwrap();
    seconds(&venues, 5).await;
    socket.json().await;
    venues.stop().await;
}

#[tokio::test]
async fn connections_are_cut_now_and_again() {
    let (venues, mut socket) = trades(|_| {}).await;
    let url = format!("ws://{}/ws/btcusdt@trade", venues.address("binance").unwrap());
    begin(&venues, Fault::Disconnect { every_ms: None, clean: true }).await;
    assert_eq!(socket.ended().await, Some(1001));
    begin(&venues, Fault::Disconnect { every_ms: Some(5_000), clean: false }).await;
    for _ in 0..3 {
        let mut socket = Client::connect(&url).await;
        socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":0}"#).await;
        socket.json().await;
        seconds(&venues, 6).await;
        assert_eq!(socket.ended().await, None, "cut without a close frame");
    }
    venues.stop().await;
}

#[tokio::test]
async fn a_shutdown_is_announced() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::Shutdown).await;
    assert_eq!(socket.json().await["e"], "serverShutdown");
    seconds(&venues, 11).await;
    assert_eq!(socket.ended().await, Some(1001));
    venues.stop().await;
}

#[tokio::test]
async fn spoilt_frames_come_beside_the_good_ones() {
    for form in Malformed::ALL {
        let (venues, mut socket) = trades(|_| {}).await;
        begin(&venues, Fault::Malformed { percent: 100, form: Some(form), replace: false }).await;
        venues.advance(Duration::from_millis(1_500)).await.unwrap();
        let (made, _) = truth(&venues);
        let mut good = 0;
        if form == Malformed::BadUtf8 {
            // This client gives up on such a frame, as it should.
            let refused = socket.frame().await;
            assert!(matches!(refused, Some(Err(Error::Utf8(_)))), "{refused:?}");
            venues.stop().await;
            continue;
        }
        for _ in 0..made.len() {
            let spoilt = socket.frame().await.unwrap().unwrap();
            match spoilt {
                Message::Binary(_) => assert_eq!(form, Malformed::Binary),
                Message::Text(text) => {
                    assert_ne!(form, Malformed::Binary);
                    let read: Result<Value, _> = serde_json::from_str(&text);
                    assert!(read.is_err() || read.unwrap()["t"] == made[good], "{form:?}: {text}");
                }
                other => panic!("{form:?}: {other:?}"),
            }
            assert_eq!(socket.json().await["t"], made[good], "{form:?}");
            good += 1;
        }
        venues.stop().await;
    }
}

#[tokio::test]
async fn an_oversize_frame_has_the_size_asked_for() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::Oversize { bytes: 12 << 20 }).await;
    assert_eq!(socket.text().await.len(), 12 << 20);
    seconds(&venues, 2).await;
    assert_eq!(socket.json().await["e"], "trade");
    venues.stop().await;
}

#[tokio::test]
async fn a_skewed_clock_shows_in_the_times_and_not_in_the_truth() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::ClockSkew { ms: -3_600_000 }).await;
    seconds(&venues, 3).await;
    let time = socket.json().await["T"].as_i64().unwrap();
    let behind = START / 1_000_000 - 3_600_000;
    assert!((behind..behind + 3_000).contains(&time), "{time}");
    assert!(venues.truth("binance", 0).unwrap().0.iter().all(|entry| entry.at.0 >= START));
    venues.stop().await;
}

#[tokio::test]
async fn an_outlier_is_off_by_its_factor_until_it_ends() {
    let (venues, mut socket) = trades(|config| {
        config.venues[0].faults = vec![ScheduledFault {
            at: Duration::from_secs(5),
            lasts: Some(Duration::from_secs(5)),
            fault: Fault::Outlier { bps: 2_000 },
        }];
    })
    .await;
    seconds(&venues, 15).await;
    let (made, _) = truth(&venues);
    for _ in 0..made.len() {
        let frame = socket.json().await;
        let price: f64 = frame["p"].as_str().unwrap().parse().unwrap();
        let since = frame["T"].as_i64().unwrap() - START / 1_000_000;
        let factor = price / 78_850.0;
        let expected = if (5_000..10_000).contains(&since) { 1.2 } else { 1.0 };
        assert!((factor - expected).abs() < 0.01, "{factor} at {since} ms");
    }
    venues.stop().await;
}

#[tokio::test]
async fn rest_fails_and_delays() {
    let (venues, _socket) = trades(|_| {}).await;
    let rest = venues.rest_url("binance").unwrap();
    begin(&venues, Fault::RestError { status: 503, percent: 100 }).await;
    assert_eq!(client::get(format!("{rest}/api/v3/ping")).await.0, 503);
    assert_eq!(client::get(format!("{rest}/mock/ticker/BTCUSDT")).await.0, 503);
    assert_eq!(client::get(format!("{rest}/mock/faults")).await.0, 200, "the way to end faults stays open");
    venues.clear_faults("binance").await.unwrap();
    begin(&venues, Fault::RestDelay { ms: 300 }).await;
    let before = tokio::time::Instant::now();
    assert_eq!(client::get(format!("{rest}/api/v3/ping")).await.0, 200);
    assert!(before.elapsed() >= Duration::from_millis(300));
    venues.stop().await;
}

#[tokio::test]
async fn refused_connections_end_before_they_begin() {
    let (venues, _socket) = trades(|_| {}).await;
    let rest = venues.rest_url("binance").unwrap();
    begin(&venues, Fault::Refuse).await;
    // The gate is told after the answer; the next input makes sure of it.
    venues.advance(Duration::from_millis(1)).await.unwrap();
    let url = format!("ws://{}/ws/btcusdt@trade", venues.address("binance").unwrap());
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    assert!(reqwest::Client::new().get(format!("{rest}/api/v3/ping")).send().await.is_err());
    assert_eq!(client::get(format!("{rest}/mock/faults")).await.0, 200, "the way to end faults stays open");
    venues.clear_faults("binance").await.unwrap();
    venues.advance(Duration::from_millis(1)).await.unwrap();
    Client::connect(&url).await;
    venues.stop().await;
}

#[tokio::test]
async fn a_slow_sender_keeps_to_its_rate() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::SlowSender { bytes_per_second: 1_000 }).await;
    venues.advance(Duration::from_millis(1)).await.unwrap();
    let before = tokio::time::Instant::now();
    venues.advance(Duration::from_millis(1_000)).await.unwrap();
    let bytes: usize = {
        let mut bytes = 0;
        for _ in 0..5 {
            bytes += socket.text().await.len();
        }
        bytes
    };
    // The first frame leaves at once; the pause comes after it.
    let least = Duration::from_millis(bytes as u64 * 4 / 5);
    assert!(before.elapsed() >= least, "{bytes} bytes in {:?}", before.elapsed());
    venues.stop().await;
}

#[tokio::test]
async fn a_slow_reader_leaves_requests_unread() {
    let (venues, mut socket) = trades(|_| {}).await;
    begin(&venues, Fault::SlowReader).await;
    venues.advance(Duration::from_millis(1)).await.unwrap();
    // One request is being waited for when the fault begins.
    socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).await;
    socket.json().await;
    socket.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#).await;
    assert!(socket.is_quiet().await);
    venues.clear_faults("binance").await.unwrap();
    venues.advance(Duration::from_millis(1)).await.unwrap();
    assert_eq!(socket.json().await["id"], 2);
    venues.stop().await;
}

#[tokio::test]
async fn faults_are_ordered_over_http() {
    let (venues, mut socket) = trades(|_| {}).await;
    let faults = format!("{}/mock/faults", venues.rest_url("binance").unwrap());
    let http = reqwest::Client::new();
    let order = json!({ "fault": { "kind": "drop", "percent": 100 }, "for_ms": 2_000 });
    let answer = http.post(&faults).body(order.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let (_, active) = client::get(faults.clone()).await;
    assert_eq!(active["active"][0]["kind"], "drop");
    seconds(&venues, 10).await;
    let first = socket.json().await["T"].as_i64().unwrap() - START / 1_000_000;
    assert!((2_000..4_000).contains(&first), "{first}");
    for wrong in [
        json!({ "fault": { "kind": "drop", "percent": 0 } }),
        json!({ "fault": { "kind": "explode" } }),
        json!({ "fault": { "kind": "refuse" }, "for": 1 }),
        json!([]),
    ] {
        let answer = http.post(&faults).body(wrong.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }
    let order = json!({ "fault": { "kind": "outlier", "bps": 100 } });
    http.post(&faults).body(order.to_string()).send().await.unwrap();
    assert_eq!(http.delete(&faults).send().await.unwrap().status(), 200);
    assert_eq!(client::get(faults).await.1, json!({ "active": [] }));
    venues.stop().await;
}
