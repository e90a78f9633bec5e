//! Prices of a real capture equal an independent exact recomputation.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use aggregate::core::Output;
use model::{Clock, Quote, TickBody, TickFlags};

use crate::core_naive::{Arrived, Naive, last_revisions};
use crate::core_support::{Feeder, MILLI, SECOND, config, instrument, price, quantity, rules, trade};

/// The captured frames of one symbol, oldest first; none where the folder is absent.
fn frames(symbol: &str) -> Option<Vec<(i64, serde_json::Value)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/binance-spot-2024-08-08");
    if !folder.is_dir() {
        println!("NOT RUN: {} is absent, so no real capture was compared", folder.display());
        return None;
    }
    let mut frames = Vec::new();
    for day in ["20240808", "20240809"] {
        let file = std::fs::File::open(folder.join(format!("{symbol}_{day}.gz"))).unwrap();
        for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
            let line = line.unwrap();
            let (received, frame) = line.split_once(' ').unwrap();
            let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
            frames.push((received.parse().unwrap(), frame));
        }
    }
    Some(frames)
}

/// Folds the capture and compares. Its one venue is dealt to `venues`, by trade id, so that several agree.
fn compare(symbol: &str, of: &str, venues: &[&'static str], every: usize) {
    let Some(frames) = frames(symbol) else { return };
    let rules = rules(&[("rejoin_after", "0s"), ("publish.deviation_bps", "0"), ("publish.min_interval", "0ms")]);
    let mut feeder = Feeder::new(config(&[(of, rules)]));
    let (mut naive, mut best, mut prices, mut compared) = (Naive::default(), None, 0, 0);
    let mut candles = Vec::new();
    for (received, frame) in &frames {
        let data = &frame["data"];
        let text = |key: &str| data[key].as_str().unwrap();
        match frame["stream"].as_str().unwrap_or_default().split_once('@') {
            Some((_, "trade")) => {
                let (at, id) = (data["T"].as_i64().unwrap() * MILLI, data["t"].as_u64().unwrap());
                let venue = venues[id as usize % venues.len()];
                let body = trade(venue, of, id, (text("p"), text("q")));
                feeder.push_as(at, *received, TickFlags::default(), body);
                let (price, quantity) = (price(text("p")).raw().into(), quantity(text("q")).raw().into());
                naive.arrive(Arrived { offset: feeder.core.position() - 1, at, venue, id, price, quantity });
            }
            Some((_, "bookTicker")) => {
                let (bid, ask) = (price(text("b")), price(text("a")));
                let body = TickBody::Quote(Quote {
                    venue: venues[0].parse().unwrap(),
                    instrument: instrument(of),
                    sequence: data["u"].as_u64().unwrap(),
                    bid,
                    bid_quantity: quantity(text("B")),
                    ask,
                    ask_quantity: quantity(text("A")),
                });
                feeder.push_as(*received, *received, TickFlags(TickFlags::TIME_REPLACED), body);
                best = Some((bid, ask));
            }
            _ => continue,
        }
        for output in feeder.out.drain(..) {
            match output {
                Output::Price(found) => {
                    prices += 1;
                    let levels = found.bid.zip(found.ask).map(|(bid, ask)| (bid.price, ask.price));
                    assert_eq!(levels, best, "best bid and ask");
                    if prices % every == 0 {
                        naive.check(&found, symbol);
                        compared += 1;
                    }
                }
                Output::Candle(candle) => candles.push(candle),
                Output::Rate(_) => panic!("nothing is converted"),
            }
        }
    }
    assert_eq!(feeder.core.counters().late, 0);
    let end = feeder.core.now().0 + 3 * 86_400 * SECOND;
    feeder.push(end, TickBody::Clock(Clock));
    candles.extend(feeder.candles().cloned());
    let expected = naive.candles();
    assert_eq!(last_revisions(candles.iter(), instrument(of)), expected, "{symbol}: candles");
    println!(
        "{symbol} as {} venues: {} frames, {} trades, {prices} prices, {compared} of them and {} candles recomputed",
        venues.len(),
        frames.len(),
        naive.trades.len(),
        expected.len()
    );
    assert!(compared > 1_000 && naive.trades.len() > 5_000, "the capture is shorter than it was");
}

#[test]
fn btc_as_captured() {
    compare("btcusdt", "BTC-USDT", &["binance"], 60);
}

#[test]
fn eth_dealt_to_three_venues() {
    compare("ethusdt", "ETH-USDT", &["alpha", "bravo", "charlie"], 60);
}
