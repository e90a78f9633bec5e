//! Every venue under every fault that a simulated venue can be told to have, over real sockets: all seven at once,
//! one fault after the other. After each the feeds live again; at the end the log tells a whole story: nothing
//! twice, nothing invented, every refused input in `dead-letters`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingest::connector::Budget;
use ingest::{IngestConfig, QuotesFrom, SourceReport};
use model::{Channel, FeedPhase, TickBody, TickFlags};
use sim::{Fault, Handle, Malformed, Truth, VenueKind};

use crate::stage::{Bench, PATIENCE, phases, sequences_are_whole, source, start, trades, venues};

/// A venue with the names of the streams that its connector uses for trades and, with quotes from the book, for
/// quotes.
struct Wire {
    name: &'static str,
    trades: &'static str,
    quotes: &'static str,
    /// The stream in which the venue's own sequence shows every lost frame.
    sequenced: &'static str,
}

const WIRES: [Wire; 7] = [
    Wire { name: "binance", trades: "trade", quotes: "depth@100ms", sequenced: "depth@100ms" },
    // Quotes come with the ticker; what is lost of the trades shows in their ids.
    Wire { name: "coinbase", trades: "matches", quotes: "ticker", sequenced: "matches" },
    Wire { name: "kraken", trades: "trade", quotes: "book", sequenced: "book" },
    Wire { name: "okx", trades: "trades", quotes: "books", sequenced: "books" },
    Wire { name: "bybit", trades: "publicTrade", quotes: "orderbook.50", sequenced: "orderbook.50" },
    Wire { name: "bitstamp", trades: "live_trades", quotes: "live_orders", sequenced: "live_orders" },
    Wire { name: "coinbase_advanced", trades: "market_trades", quotes: "level2", sequenced: "level2" },
];

/// How long a fault lasts where nothing else says when it has shown.
const HOLD: Duration = Duration::from_millis(700);

async fn seven() -> Bench {
    let venues = venues(&VenueKind::ALL, 400).await;
    let sources = WIRES.iter().map(|wire| {
        let mut source = source(&venues, wire.name, wire.name);
        if wire.name != "coinbase" {
            source.quotes_from = QuotesFrom::Book;
        }
        source.backoff_max = Duration::from_secs(1);
        source.rules.connection_idle_max = Duration::from_secs(2);
        source.rules.quotes_idle_max = Some(Duration::from_secs(3));
        // More faults in a minute than a venue lets anybody connect again; the rules have tests of their own.
        source.rules.connects = Budget { count: 1_000, per: Duration::from_secs(1) };
        source.rules.requests = source.rules.connects;
        source
    });
    let config = IngestConfig { dead_letters_per_second: 1_000_000, ..IngestConfig::new(sources.collect()) };
    start(venues, config).await
}

impl Bench {
    async fn begin(&self, fault: impl Fn(&Wire) -> Fault) {
        for wire in &WIRES {
            self.venues.begin_fault(wire.name, fault(wire), None).await.unwrap();
        }
    }

    async fn clear(&self) {
        for wire in &WIRES {
            self.venues.clear_faults(wire.name).await.unwrap();
        }
    }

    /// Begins a fault everywhere, waits until every source shows it, ends it, and waits until all is well.
    async fn through(
        &self,
        what: &str,
        fault: impl Fn(&Wire) -> Fault,
        shows: impl Fn(&SourceReport, &SourceReport) -> bool,
    ) {
        let before = self.status.report();
        self.begin(fault).await;
        // A condition may pass again at once, so that no two venues show it in the same moment.
        let mut shown = [false; WIRES.len()];
        let began = std::time::Instant::now();
        while shown.contains(&false) {
            assert!(began.elapsed() < PATIENCE, "{what} does not show everywhere: {shown:?} of the venues");
            tokio::time::sleep(Duration::from_millis(20)).await;
            for ((shown, now), before) in shown.iter_mut().zip(&self.status.report()).zip(&before) {
                *shown |= shows(now, before);
            }
        }
        self.clear().await;
        self.well(what).await;
    }

    /// The same for a fault that need not show in a report: it lasts a while.
    async fn endure(&self, what: &str, fault: impl Fn(&Wire) -> Fault) {
        self.begin(fault).await;
        tokio::time::sleep(HOLD).await;
        self.clear().await;
        self.well(what).await;
    }

    /// Every feed lives, and every source goes on giving ticks.
    async fn well(&self, after: &str) {
        self.until(&format!("health after {after}"), |now| now.iter().all(SourceReport::is_healthy)).await;
        let before = self.status.report();
        let grows = |now: &[SourceReport]| now.iter().zip(&before).all(|(now, before)| now.ticks > before.ticks + 3);
        self.until(&format!("ticks after {after}"), grows).await;
        println!("{:?} {after}", self.began.elapsed());
    }

    /// Cuts every connection and lets the venues misbehave while the connectors come back.
    async fn return_through(&self, what: &str, fault: impl Fn(&Wire) -> Fault) {
        let before = self.status.report();
        self.begin(fault).await;
        self.begin(|_| Fault::Disconnect { every_ms: None, clean: false }).await;
        tokio::time::sleep(HOLD).await;
        self.clear().await;
        let back =
            |now: &[SourceReport]| now.iter().zip(&before).all(|(now, before)| now.reconnects > before.reconnects);
        self.until(what, back).await;
        self.well(what).await;
    }
}

fn reconnected(now: &SourceReport, before: &SourceReport) -> bool {
    now.reconnects > before.reconnects
}

fn refused(now: &SourceReport, before: &SourceReport) -> bool {
    now.dead_letters > before.dead_letters
}

fn has_gap(now: &SourceReport, before: &SourceReport) -> bool {
    now.gaps > before.gaps
}

fn silence(channel: Option<&str>) -> Fault {
    Fault::Silence { channel: channel.map(str::to_owned), symbol: None }
}

async fn connections(bench: &Bench) {
    for clean in [false, true] {
        bench.through("a cut", |_| Fault::Disconnect { every_ms: None, clean }, reconnected).await;
    }
    bench.through("an announced stop", |_| Fault::Shutdown, reconnected).await;
    bench.through("silence", |_| silence(None), reconnected).await;
    let silent = |now: &SourceReport, before: &SourceReport| now.silences > before.silences || reconnected(now, before);
    bench.through("silent quotes", |wire| silence(Some(wire.quotes)), silent).await;
    bench.through("an oversize frame", |_| Fault::Oversize { bytes: 20 << 20 }, reconnected).await;
    bench.return_through("refused connections", |_| Fault::Refuse).await;
    bench.return_through("failing REST", |_| Fault::RestError { status: 503, percent: 100 }).await;
    bench.return_through("slow REST", |_| Fault::RestDelay { ms: 400 }).await;
    bench.endure("a slow sender", |_| Fault::SlowSender { bytes_per_second: 2_000 }).await;
    bench.endure("a deaf venue", |_| Fault::SlowReader).await;
}

async fn frames(bench: &Bench) {
    let lost = |wire: &Wire| Fault::Drop { percent: 20, channel: Some(wire.sequenced.into()), symbol: None };
    bench.through("lost frames", lost, has_gap).await;
    let lost = |wire: &Wire| Fault::Drop { percent: 20, channel: Some(wire.trades.into()), symbol: None };
    bench.endure("lost trades", lost).await;
    bench.endure("doubled frames", |_| Fault::Duplicate { percent: 50 }).await;
    bench.endure("disorder", |_| Fault::Reorder { within: 20 }).await;
    bench.begin_one("kraken", Fault::WrongChecksum { percent: 50 }, has_gap).await;
    for form in Malformed::ALL {
        let spoilt = |_: &Wire| Fault::Malformed { percent: 30, form: Some(form), replace: false };
        // A time in 1970 or 2100 is replaced by ours and flagged; the record is used.
        if matches!(form, Malformed::Epoch | Malformed::Future) {
            bench.endure(&format!("{form:?}"), spoilt).await;
        } else {
            bench.through(&format!("{form:?}"), spoilt, refused).await;
        }
    }
}

impl Bench {
    async fn begin_one(&self, venue: &str, fault: Fault, shows: impl Fn(&SourceReport, &SourceReport) -> bool) {
        let of =
            |reports: &[SourceReport]| reports.iter().find(|report| report.venue.as_str() == venue).unwrap().clone();
        let before = of(&self.status.report());
        self.venues.begin_fault(venue, fault, None).await.unwrap();
        self.until(venue, |now| shows(&of(now), &before)).await;
        self.clear().await;
        self.well(venue).await;
    }
}

async fn lies(bench: &Bench) {
    let hour = 3_600_000;
    for ms in [hour, -hour] {
        let skewed = |now: &SourceReport, _: &SourceReport| now.lag_ns.unsigned_abs() > 3_000_000_000_000;
        bench.through(&format!("a clock {ms} ms off"), |_| Fault::ClockSkew { ms }, skewed).await;
    }
    bench.endure("prices 20 % off", |_| Fault::Outlier { bps: 2_000 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_venue_comes_through_every_fault() {
    let bench = seven().await;
    bench.well("the start").await;
    connections(&bench).await;
    frames(&bench).await;
    lies(&bench).await;
    let counted: u64 = bench.status.report().iter().map(|source| source.dead_letters).sum();
    let truth = |venues: &Handle| WIRES.map(|wire| venues.truth(wire.name, 0).unwrap().0);
    let (ticks, letters, truth) = bench.stop_asking(truth).await;
    sequences_are_whole(&ticks);
    assert_eq!(letters.len() as u64, counted, "each refusal is counted and written");
    let sources: BTreeSet<&str> = letters.iter().map(|letter| letter["source"].as_str().unwrap()).collect();
    assert!(WIRES.iter().all(|wire| sources.contains(wire.name)), "{sources:?}");
    let got = trades(&ticks);
    for (wire, truth) in WIRES.iter().zip(truth) {
        let made: BTreeMap<_, _> = truth
            .into_iter()
            .filter_map(|entry| match entry.what {
                Truth::Trade { instrument, id, price, quantity, taker_side, .. } => {
                    Some(((instrument, id), (price, quantity, taker_side)))
                }
                _ => None,
            })
            .collect();
        let of_venue = got.iter().filter(|(key, _)| key.0 == wire.name);
        let mut told = 0;
        for ((_, instrument, id), tick) in of_venue {
            let TickBody::Trade(trade) = tick.body else { panic!("{tick:?}") };
            // The history that a venue gives at subscription reaches back before the truth begins.
            if let Some(made) = made.get(&(*instrument, *id)) {
                assert_eq!((trade.price, trade.quantity, trade.taker_side), *made, "{} {instrument} {id}", wire.name);
                told += 1;
            } else {
                assert!(tick.flags.any(TickFlags::HISTORIC), "{} invented {instrument} {id}", wire.name);
            }
        }
        assert!(told > 50, "{}: only {told} trades", wire.name);
        for channel in [Channel::Trades, Channel::Quotes] {
            let phases = phases(&ticks, wire.name, channel);
            let count = |wanted| phases.iter().filter(|(phase, _)| *phase == wanted).count();
            assert!(count(FeedPhase::Down) >= 12 && count(FeedPhase::Live) >= 12, "{} {channel:?}", wire.name);
        }
        println!("{}: {told} of {} trades told, none wrong", wire.name, made.len());
    }
}
