//! The whole stage over real sockets: simulated venues, the supervisor, an embedded log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ingest::{Ingest, IngestConfig, IngestError, SourceConfig, SourceReport, Status};
use journal::{Batch, Log, Partition, Priority, Record, Retention, TopicSpec, Visibility};
use model::topic::{CONTROL, DEAD_LETTERS, TICKS};
use model::{Channel, FeedPhase, Instrument, Origin, Tick, TickBody, TickFlags, TradeId};
use sim::{Config, Fault, Handle, Malformed, Truth, VenueConfig, VenueKind, Venues};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const PARTITIONS: u32 = 2;

/// A log in a folder of its own.
pub(crate) struct TestLog {
    pub(crate) log: Arc<dyn Log>,
    _folder: tempfile::TempDir,
}

pub(crate) async fn test_log() -> TestLog {
    let folder = tempfile::tempdir().unwrap();
    let config = journal::embedded::EmbeddedConfig { sync: journal::embedded::SyncPolicy::Never, ..Default::default() };
    let log: Arc<dyn Log> = Arc::new(journal::embedded::EmbeddedLog::open(folder.path(), config).await.unwrap());
    for (name, partitions) in [(TICKS, PARTITIONS), (CONTROL, 1), (DEAD_LETTERS, 1)] {
        let retention = Retention { age: None, bytes: None };
        log.create_topic(&TopicSpec { name: name.into(), partitions, replication: 1, retention }).await.unwrap();
    }
    TestLog { log, _folder: folder }
}

/// Everything in a topic so far, by partition.
pub(crate) async fn read_all(log: &dyn Log, topic: &str, partitions: u32) -> Vec<Vec<Record>> {
    let mut all = Vec::new();
    for index in 0..partitions {
        let partition = Partition::new(topic, index);
        let end = log.bounds(&partition).await.unwrap().end;
        let mut reader = log.reader(&partition, 0, Visibility::Durable).await.unwrap();
        let mut records = Vec::new();
        while reader.position() < end {
            reader.read(&mut records).await.unwrap();
        }
        all.push(records);
    }
    all
}

pub(crate) async fn ticks(log: &dyn Log) -> Vec<Vec<Tick>> {
    let decode = |records: Vec<Record>| records.iter().map(|record| Tick::decode(&record.value).unwrap()).collect();
    read_all(log, TICKS, PARTITIONS).await.into_iter().map(decode).collect()
}

/// The stage at work between simulated venues and a log.
struct Bench {
    venues: Handle,
    log: TestLog,
    status: Arc<Status>,
    cancel: CancellationToken,
    running: JoinHandle<Result<(), IngestError>>,
}

const INSTRUMENTS: [&str; 3] = ["BTC-USDT", "ETH-USDT", "DOGE-USDT"];

async fn venues(kinds: &[VenueKind], ticks_per_second: u32) -> Handle {
    let mut config =
        Config { seed: 11, venues: kinds.iter().map(|kind| VenueConfig::new(*kind)).collect(), ..Config::default() };
    config.instruments.retain(|listed| INSTRUMENTS.contains(&listed.instrument.as_str()));
    config.scale_to(ticks_per_second);
    Venues::start(config).await.unwrap()
}

fn source(venues: &Handle, name: &str, kind: &str) -> SourceConfig {
    let instruments = INSTRUMENTS.map(|name| name.parse().unwrap());
    let mut source = SourceConfig::new(name.parse().unwrap(), kind, &instruments, &[]).unwrap();
    source.endpoints.rest = venues.rest_url(name).unwrap();
    if !source.endpoints.websocket.is_empty() {
        source.endpoints.websocket = venues.websocket_url(name).unwrap();
    }
    source
}

async fn start(venues: Handle, config: IngestConfig) -> Bench {
    start_on(venues, config, test_log().await).await
}

async fn start_on(venues: Handle, config: IngestConfig, log: TestLog) -> Bench {
    let ingest = Ingest::new(config).unwrap();
    let (status, cancel) = (ingest.status(), CancellationToken::new());
    let running = tokio::spawn(Box::pin(ingest.run(Arc::clone(&log.log), cancel.clone())));
    Bench { venues, log, status, cancel, running }
}

impl Bench {
    async fn until(&self, what: &str, mut holds: impl FnMut(&[SourceReport]) -> bool) {
        let began = std::time::Instant::now();
        loop {
            let report = self.status.report();
            if holds(&report) {
                return;
            }
            assert!(!self.running.is_finished(), "the stage ended while waiting for {what}");
            assert!(began.elapsed() < PATIENCE, "{what} did not come: {report:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_healthy(&self) {
        self.until("health", |report| report.iter().all(SourceReport::is_healthy)).await;
    }

    /// Stops everything and returns what is in the log.
    async fn stop(self) -> (Vec<Vec<Tick>>, Vec<serde_json::Value>) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("the stage stops").unwrap().unwrap();
        let ticks = ticks(&*self.log.log).await;
        let letters = read_all(&*self.log.log, DEAD_LETTERS, 1).await.remove(0);
        let letters = letters.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect();
        self.log.log.close().await.unwrap();
        self.venues.stop().await;
        (ticks, letters)
    }
}

/// Every role's records count up from its claim without a hole, in every partition.
fn sequences_are_whole(ticks: &[Vec<Tick>]) {
    for (partition, ticks) in ticks.iter().enumerate() {
        let mut next = BTreeMap::new();
        for (offset, tick) in ticks.iter().enumerate() {
            let Origin::Root { role, epoch, sequence } = tick.origin else { panic!("{tick:?}") };
            if tick.body == TickBody::Claim(model::Claim) {
                assert_eq!((epoch, sequence), (0, 0));
                next.insert(role, (offset as u64, 1));
                continue;
            }
            let expected = next.get_mut(&role).unwrap_or_else(|| panic!("{role} writes before its claim"));
            assert_eq!((epoch, sequence), *expected, "{role} in partition {partition} at {offset}");
            expected.1 += 1;
        }
    }
}

type TradeKey = (String, Instrument, TradeId);

/// The trades in the log; each is there once.
fn trades(ticks: &[Vec<Tick>]) -> BTreeMap<TradeKey, Tick> {
    let mut trades = BTreeMap::new();
    for tick in ticks.iter().flatten() {
        if let TickBody::Trade(trade) = tick.body {
            let key = (trade.venue.to_string(), trade.instrument, trade.id);
            assert!(trades.insert(key, *tick).is_none(), "{trade:?} is there twice");
        }
    }
    trades
}

/// The conditions that the log tells of a venue's feeds.
fn phases(ticks: &[Vec<Tick>], venue: &str, channel: Channel) -> Vec<(FeedPhase, u64)> {
    let told = |tick: &Tick| match tick.body {
        TickBody::FeedState(state) if state.venue.as_str() == venue && state.channel == channel => {
            Some((state.phase, state.missing))
        }
        _ => None,
    };
    ticks.iter().flatten().filter_map(told).collect()
}

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
    bench
        .until("silence on one, a renewal on both", |report| {
            let silent = |feed: &ingest::FeedReport| feed.channel == Channel::Quotes && feed.phase == FeedPhase::Silent;
            report[0].feeds.iter().any(silent) && report[1].reconnects > 0
        })
        .await;
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
        for venue in ["binance", "kraken"] {
            bench.venues.begin_fault(venue, fault.clone(), None).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
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
    // Long enough for the last one to be mended on a busy machine.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (ticks, letters) = bench.stop().await;
    assert!(letters.is_empty(), "{letters:?}");
    sequences_are_whole(&ticks);
    for venue in ["binance", "kraken"] {
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
        assert!(open.is_empty() && mended > 0, "{venue}: never mended {open:?}");
        println!("{venue}: {mended} gaps in books mended, the longest took {} ms", longest / 1_000_000);
    }
}
