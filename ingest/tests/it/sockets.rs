//! The stage over real sockets, one story a test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingest::{IngestConfig, SourceConfig};
use journal::{Batch, Partition, Priority};
use model::topic::CONTROL;
use model::{Channel, FeedPhase, Instrument, Tick, TickBody, TickFlags, TradeId};
use sim::{Fault, Malformed, Truth, VenueKind};

use crate::stage::{
    INSTRUMENTS, PATIENCE, TradeKey, phases, sequences_are_whole, source, start, ticks, trades, venues,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_venues_and_a_ticker_reach_the_log() {
    let venues = venues(&[VenueKind::Binance, VenueKind::Coinbase, VenueKind::Kraken], 300).await;
    let mut sources: Vec<_> =
        ["binance", "coinbase", "kraken"].iter().map(|name| source(&venues, name, name)).collect();
    let mut polled = SourceConfig::new(
        "exchange_a".parse().unwrap(),
        "rest_ticker",
        &INSTRUMENTS.map(|name| name.parse().unwrap()),
        &[],
    )
    .unwrap();
    polled.endpoints.rest = format!("{}/mock/ticker/{{symbol}}", venues.rest_url("kraken").unwrap());
    polled.poll_every = Duration::from_millis(200);
    sources.push(polled);
    let bench = start(venues, IngestConfig::new(sources)).await;
    bench.until_healthy().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let report = bench.status.report();
    assert!(report.iter().all(|source| source.dead_letters == 0 && source.gaps == 0), "{report:#?}");
    let truth: Vec<_> = ["binance", "coinbase", "kraken"]
        .into_iter()
        .flat_map(|venue| bench.venues.truth(venue, 0).unwrap().0.into_iter().map(move |entry| (venue, entry.what)))
        .collect();
    let (ticks, letters) = bench.stop().await;
    assert!(letters.is_empty(), "{letters:?}");
    sequences_are_whole(&ticks);
    let got = trades(&ticks);
    let mut matched = 0;
    for (venue, entry) in truth {
        let Truth::Trade { instrument, id, price, quantity, taker_side, .. } = entry else { continue };
        let of_feed = |(key, tick): (&TradeKey, &Tick)| {
            (key.0 == venue && key.1 == instrument && !tick.flags.any(TickFlags::HISTORIC)).then_some(key.2)
        };
        let (first, last) = (got.iter().filter_map(of_feed).min(), got.iter().filter_map(of_feed).max());
        if first <= Some(id) && Some(id) <= last {
            let tick = got.get(&(venue.into(), instrument, id)).unwrap_or_else(|| panic!("{venue} lost {id}"));
            let TickBody::Trade(trade) = tick.body else { panic!() };
            assert_eq!((trade.price, trade.quantity, trade.taker_side), (price, quantity, taker_side));
            matched += 1;
        }
    }
    assert!(matched > 50, "{matched} trades");
    for venue in ["binance", "coinbase", "kraken"] {
        for channel in [Channel::Trades, Channel::Quotes, Channel::Ticker] {
            let told = phases(&ticks, venue, channel);
            let live = told.iter().filter(|(phase, _)| *phase == FeedPhase::Live).count();
            let down = told.iter().filter(|(phase, _)| *phase == FeedPhase::Down).count();
            assert_eq!((live, down), (3, 3), "{venue} {channel:?}: {told:?}");
        }
    }
    let polled = ticks
        .iter()
        .flatten()
        .filter(|tick| matches!(tick.body, TickBody::Ticker(ticker) if ticker.venue.as_str() == "exchange_a"));
    assert!(polled.count() >= 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_come_back_and_no_trade_counts_twice() {
    let venues = venues(&[VenueKind::Binance, VenueKind::Kraken], 400).await;
    let mut binance = source(&venues, "binance", "binance");
    binance.quotes_from = ingest::QuotesFrom::Book;
    let sources = vec![binance, source(&venues, "kraken", "kraken")];
    let bench = start(venues, IngestConfig::new(sources)).await;
    bench.until_healthy().await;
    for clean in [true, false, true] {
        let before: Vec<u64> = bench.status.report().iter().map(|source| source.reconnects).collect();
        for venue in ["binance", "kraken"] {
            bench.venues.begin_fault(venue, Fault::Disconnect { every_ms: None, clean }, None).await.unwrap();
        }
        bench
            .until("a reconnect", |report| report.iter().zip(&before).all(|(now, before)| now.reconnects > *before))
            .await;
        bench.until_healthy().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let truth = ["binance", "kraken"].map(|venue| (venue, bench.venues.truth(venue, 0).unwrap().0));
    let (ticks, _) = bench.stop().await;
    sequences_are_whole(&ticks);
    let got = trades(&ticks);
    for (venue, truth) in truth {
        let ids: BTreeSet<_> = got.keys().filter(|key| key.0 == venue).map(|key| (key.1, key.2)).collect();
        let lost = truth.iter().filter(|entry| match entry.what {
            Truth::Trade { instrument, id, .. } => {
                let of = |side: &(Instrument, TradeId)| side.0 == instrument;
                let first = ids.iter().find(|key| of(key));
                let last = ids.iter().rev().find(|key| of(key));
                first < Some(&(instrument, id)) && Some(&(instrument, id)) < last && !ids.contains(&(instrument, id))
            }
            _ => false,
        });
        let missing: u64 = phases(&ticks, venue, Channel::Trades).iter().map(|(_, missing)| missing).sum();
        assert_eq!(lost.count() as u64, missing, "{venue}: what was lost while away is told");
        let told = phases(&ticks, venue, Channel::Trades);
        let count = |phase| told.iter().filter(|(told, _)| *told == phase).count();
        assert!(count(FeedPhase::Down) >= 9 && count(FeedPhase::Live) >= 9, "{venue}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_feed_is_told_and_renewed() {
    let venues = venues(&[VenueKind::Binance, VenueKind::Coinbase], 400).await;
    let mut binance = source(&venues, "binance", "binance");
    binance.rules.quotes_idle_max = Some(Duration::from_millis(1_500));
    let mut coinbase = source(&venues, "coinbase", "coinbase");
    coinbase.rules.connection_idle_max = Duration::from_secs(2);
    let bench = start(venues, IngestConfig::new(vec![binance, coinbase])).await;
    bench.until_healthy().await;
    // One channel of one venue, and all of the other.
    let silence = |channel: Option<&str>| Fault::Silence { channel: channel.map(str::to_owned), symbol: None };
    bench.venues.begin_fault("binance", silence(Some("bookTicker")), None).await.unwrap();
    bench.venues.begin_fault("coinbase", silence(None), None).await.unwrap();
    bench.until("silence on one, a renewal on both", |report| report[0].silences > 0 && report[1].reconnects > 0).await;
    bench.until("a renewal", |report| report[0].reconnects > 0).await;
    for venue in ["binance", "coinbase"] {
        bench.venues.clear_faults(venue).await.unwrap();
    }
    bench.until_healthy().await;
    let (ticks, _) = bench.stop().await;
    let told = phases(&ticks, "binance", Channel::Quotes);
    assert!(told.iter().any(|(phase, _)| *phase == FeedPhase::Silent), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_and_oversize_frames_are_dead_letters() {
    let venues = venues(&[VenueKind::Binance, VenueKind::Kraken], 300).await;
    let sources = vec![source(&venues, "binance", "binance"), source(&venues, "kraken", "kraken")];
    let bench = start(venues, IngestConfig::new(sources)).await;
    bench.until_healthy().await;
    for form in Malformed::ALL {
        // Some forms cost the connection.
        bench.until_healthy().await;
        let fault = Fault::Malformed { percent: 20, form: Some(form), replace: false };
        let before = bench.status.report();
        for venue in ["binance", "kraken"] {
            bench.venues.begin_fault(venue, fault.clone(), None).await.unwrap();
        }
        // A wrong time is replaced by ours, and the record used; all else is refused.
        if matches!(form, Malformed::Epoch | Malformed::Future) {
            tokio::time::sleep(Duration::from_millis(250)).await;
        } else {
            let refused = |now: &[ingest::SourceReport]| {
                now.iter().zip(&before).all(|(now, before)| now.dead_letters > before.dead_letters)
            };
            bench.until(&format!("a refusal of {form:?}"), refused).await;
        }
        for venue in ["binance", "kraken"] {
            bench.venues.clear_faults(venue).await.unwrap();
        }
    }
    // The frame goes to who is connected, and may end that connection before anybody looks.
    bench.until_healthy().await;
    let before: Vec<u64> = bench.status.report().iter().map(|source| source.reconnects).collect();
    for venue in ["binance", "kraken"] {
        bench.venues.begin_fault(venue, Fault::Oversize { bytes: 64 << 20 }, None).await.unwrap();
    }
    bench.until("a new connection", |report| report.iter().zip(&before).all(|(now, was)| now.reconnects > *was)).await;
    bench.until_healthy().await;
    let counted: u64 = bench.status.report().iter().map(|source| source.dead_letters).sum();
    let (ticks, letters) = bench.stop().await;
    sequences_are_whole(&ticks);
    trades(&ticks);
    assert_eq!(letters.len() as u64, counted, "each one is counted and written");
    let reasons: BTreeSet<&str> = letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    for part in ["truncated", "not UTF-8", "binary frame", "expected", "negative", "out of range", "at most 16777216"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "no letter says {part:?}: {reasons:#?}");
    }
    for letter in &letters {
        assert_eq!(letter["v"], 1);
        assert!(["binance", "kraken"].contains(&letter["source"].as_str().unwrap()), "{letter}");
        assert!(letter["offset"].as_str().unwrap().starts_with("connection 1."), "{letter}");
        assert!(letter["input"].as_str().unwrap().len() <= 3 * 2_048, "{letter}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_polls_every_venue_then_asks_for_a_price() {
    let venues = venues(&[VenueKind::Binance, VenueKind::Coinbase, VenueKind::Kraken], 100).await;
    let names = ["binance", "coinbase", "kraken"];
    let sources = names.iter().map(|name| source(&venues, name, name)).collect();
    let bench = start(venues, IngestConfig::new(sources)).await;
    bench.until_healthy().await;
    let mut appender = bench.log.log.appender(&Partition::new(CONTROL, 0), Priority::Normal).await.unwrap();
    let mut batch = Batch::new();
    for value in [
        r#"{"v":1,"kind":"refresh","instrument":"ETH-USDT","id":77}"#,
        r#"{"v":1,"kind":"refresh","instrument":"eth","id":78}"#,
        r#"{"v":1,"kind":"something else"}"#,
        r#"{"v":1,"kind":"refresh","instrument":"ZZZ-USDT","id":79}"#,
    ] {
        batch.push(b"ETH-USDT", value.as_bytes());
    }
    appender.append(batch).await.unwrap().await.unwrap();
    let began = std::time::Instant::now();
    let refreshed = loop {
        let ticks = ticks(&*bench.log.log).await;
        let is_it = |tick: &Tick| matches!(tick.body, TickBody::Refresh(refresh) if refresh.id == 77);
        let found = ticks.iter().find_map(|ticks| Some(ticks[..=ticks.iter().position(is_it)?].to_vec()));
        if let Some(ticks) = found {
            break ticks;
        }
        assert!(began.elapsed() < PATIENCE, "no refresh came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for name in names {
        let polls = refreshed.iter().filter(|tick| {
            let ours = matches!(tick.body, TickBody::Ticker(ticker)
                if ticker.venue.as_str() == name && ticker.instrument.as_str() == "ETH-USDT");
            ours && tick.flags.any(TickFlags::POLLED)
        });
        // One from the start, one for the refresh.
        assert!(polls.count() >= 2, "{name} was not polled before the refresh");
    }
    let (_, letters) = bench.stop().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0]["source"].as_str(), letters[0]["offset"].as_str()), (Some("control"), Some("control/0@1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_with_lost_updates_is_mended_by_its_snapshot() {
    let venues = venues(&[VenueKind::Binance, VenueKind::Kraken], 300).await;
    let mut binance = source(&venues, "binance", "binance");
    binance.quotes_from = ingest::QuotesFrom::Book;
    let sources = vec![binance, source(&venues, "kraken", "kraken")];
    let bench = start(venues, IngestConfig::new(sources)).await;
    bench.until_healthy().await;
    for (venue, channel) in [("binance", "depth@100ms"), ("kraken", "book")] {
        let fault = Fault::Drop { percent: 5, channel: Some(channel.into()), symbol: None };
        bench.venues.begin_fault(venue, fault, None).await.unwrap();
    }
    bench.until("gaps on both", |report| report.iter().all(|source| source.gaps >= 5)).await;
    for venue in ["binance", "kraken"] {
        bench.venues.clear_faults(venue).await.unwrap();
    }
    // What was lost last is noticed with the next update, and a new subscription may have to wait for its turn.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = std::time::Instant::now();
    let ticks = loop {
        let ticks = ticks(&*bench.log.log).await;
        if ["binance", "kraken"].iter().all(|venue| books_mended(&ticks, venue).is_ok()) {
            break ticks;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", ["binance", "kraken"].map(|venue| books_mended(&ticks, venue)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (_, letters) = bench.stop().await;
    assert!(letters.is_empty(), "{letters:?}");
    sequences_are_whole(&ticks);
    for venue in ["binance", "kraken"] {
        let (mended, longest) = books_mended(&ticks, venue).unwrap();
        println!("{venue}: {mended} gaps in books mended, the longest took {} ms", longest / 1_000_000);
    }
}

/// How many gaps in a venue's books were mended and how many nanoseconds the longest took; or the books that are not.
fn books_mended(ticks: &[Vec<Tick>], venue: &str) -> Result<(u64, i64), BTreeSet<Instrument>> {
    let (mut open, mut longest, mut mended) = (BTreeMap::new(), 0, 0);
    for tick in ticks.iter().flatten() {
        let TickBody::FeedState(state) = tick.body else { continue };
        if state.venue.as_str() != venue || state.channel != Channel::Quotes {
            continue;
        }
        match state.phase {
            FeedPhase::Gap => {
                open.entry(state.instrument).or_insert(tick.ts_recv);
            }
            FeedPhase::Live => {
                if let Some(since) = open.remove(&state.instrument) {
                    longest = longest.max(tick.ts_recv.since(since));
                    mended += 1;
                }
            }
            _ => {}
        }
    }
    if open.is_empty() && mended > 0 { Ok((mended, longest)) } else { Err(open.into_keys().collect()) }
}
