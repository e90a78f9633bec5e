//! Starting, stopping, the journal, and clients that do not read.

use std::time::Duration;

use serde_json::json;
use sim::{Config, Pace, Truth, VenueConfig, VenueKind, Venues};

use crate::client::{self, Client};

#[tokio::test]
async fn a_taken_port_is_one_clear_error() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut config = client::config(VenueKind::Binance);
    config.venues.push(VenueConfig::on_port(VenueKind::Kraken, port));
    let error = Venues::start(config).await.unwrap_err().to_string();
    let expected = format!("port {port} is taken: simulated venue kraken cannot listen on 127.0.0.1:{port}");
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_wrong_configuration_starts_nothing() {
    let mut config = client::config(VenueKind::Binance);
    config.instruments[0].ticks_per_second = 0;
    config.venues[0].client_queue_bytes_max = 1;
    let error = Venues::start(config).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "simulated venues not started: ticks_per_second 0 of BTC-USDT not allowed: 1 to 100000; \
         client_queue_bytes_max 1 not allowed: at least 65536"
    );
}

#[tokio::test]
async fn the_wall_clock_drives_a_real_run_and_stop_ends_it() {
    let mut config = Config { seed: 7, ..Config::default() };
    for venue in &mut config.venues {
        venue.listen.set_port(0);
    }
    assert_eq!(config.pace, Pace::Real);
    let venues = client::start(config).await;
    let started = venues.start();
    let addresses: Vec<_> = venues.addresses().collect();
    assert_eq!(addresses.len(), 3);
    let mut socket = Client::connect(&format!("ws://{}/ws/btcusdt@trade", addresses[0].2)).await;
    for _ in 0..10 {
        let time = socket.json().await["T"].as_i64().unwrap();
        assert!(time >= started.0 / 1_000_000);
    }
    tokio::time::timeout(Duration::from_secs(10), venues.stop()).await.expect("stops with clients connected");
    socket.ended().await;
    assert!(tokio::net::TcpStream::connect(addresses[0].2).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_others_are_not() {
    let mut config = client::config(VenueKind::Binance);
    config.pace = Pace::Real;
    config.venues[0].client_queue_bytes_max = 65_536;
    config.scale_to(20_000);
    let venues = client::start(config).await;
    let streams = "streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms/ethusdt@bookTicker/xrpusdt@bookTicker";
    let url = format!("ws://{}/stream?{streams}", venues.address("binance").unwrap());
    let _stuck = Client::connect(&url).await;
    let mut reader = Client::connect(&format!("ws://{}/ws/btcusdt@trade", venues.address("binance").unwrap())).await;
    let mut cut = None;
    while cut.is_none() {
        reader.json().await;
        cut = venues.truth("binance", 0).unwrap().0.into_iter().find_map(|entry| match entry.what {
            Truth::Cut { connection, reason } => Some((connection, reason)),
            _ => None,
        });
    }
    assert_eq!(cut, Some((0, "does not read")));
    venues.stop().await;
}

#[tokio::test]
async fn the_journal_is_read_in_pages() {
    let venues = client::start(client::config(VenueKind::Kraken)).await;
    venues.advance(Duration::from_secs(20)).await.unwrap();
    let rest = venues.rest_url("kraken").unwrap();
    let (mut since, mut trades) = (0, 0);
    loop {
        let (_, page) = client::get(format!("{rest}/mock/journal?since={since}&limit=50")).await;
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 50);
        for entry in entries {
            assert_eq!(entry["sequence"], since);
            since += 1;
            if entry["kind"] == "trade" {
                assert!(entry["price"].is_string() && entry["id"].is_string());
                trades += 1;
            }
        }
        assert_eq!(page["next"], since);
        if entries.is_empty() {
            break;
        }
    }
    assert_eq!(trades, venues.counts("kraken").unwrap().1);
    assert_eq!(client::get(format!("{rest}/mock/journal?since=x")).await.0, 400);
    let (status, refused) = client::get(format!("{rest}/mock/nothing")).await;
    assert_eq!((status, refused), (404, json!({ "error": "no such path: /mock/nothing" })));
    venues.stop().await;
}
