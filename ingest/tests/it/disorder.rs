//! Decoders against simulated venues that drop, double and reorder: every gap that a venue's scheme can show is
//! told, no trade counts twice, and no quote is ever wrong.
//!
//! Two venues of one seed run side by side, one sound and one faulty, so that each quote of the faulty one can
//! be held against what was true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ingest::book::Top;
use ingest::connector::{Connector, Endpoints, Plan, QuotesFrom};
use ingest::decode::{Decoded, Decoder, Feed, FrameKind, Output, Signal, decode_frame};
use ingest::stamp::Stamper;
use ingest::venues::{binance::Binance, coinbase::Coinbase, kraken::Kraken};
use model::{Channel, Instrument, Origin, Quote, TickBody, TickFlags, Trade, TradeId, UnixNanos};
use sim::{Config, Fault, Outgoing, RestRequest, Truth, VenueConfig, VenueCore, VenueKind};

use crate::support;

const START: UnixNanos = UnixNanos(1_787_610_853_500_000_000);
const INSTRUMENTS: [&str; 3] = ["BTC-USDT", "ETH-USDT", "DOGE-USDT"];
const STEP: Duration = Duration::from_millis(20);

/// A venue and the decoder at the end of a connection to it.
struct Side {
    connector: &'static dyn Connector,
    kind: VenueKind,
    plan: Plan,
    core: VenueCore,
    connection: u64,
    decoder: Box<dyn Decoder>,
    now: Duration,
    /// Everything decoded, with its time of receipt.
    ticks: Vec<(UnixNanos, Decoded)>,
    signals: Vec<Signal>,
    refused: u64,
    duplicates: u64,
    truth: Vec<Truth>,
    /// Signals that are still to be obeyed.
    todo: Vec<Signal>,
}

impl Side {
    fn new(kind: VenueKind, connector: &'static dyn Connector, quotes_from: QuotesFrom, seed: u64) -> Self {
        let mut config = Config { seed, start: Some(START), venues: vec![VenueConfig::new(kind)], ..Config::default() };
        config.instruments.retain(|listed| INSTRUMENTS.contains(&listed.instrument.as_str()));
        config.scale_to(600);
        let core = VenueCore::new(&config, &config.venues[0], START);
        let plan = support::plan(connector, &INSTRUMENTS, quotes_from);
        let decoder = connector.decoder(&plan);
        let mut side = Self {
            connector,
            kind,
            plan,
            core,
            connection: 0,
            decoder,
            now: Duration::ZERO,
            ticks: Vec::new(),
            signals: Vec::new(),
            refused: 0,
            duplicates: 0,
            truth: Vec::new(),
            todo: Vec::new(),
        };
        side.connect();
        side
    }

    fn connect(&mut self) {
        self.connection = self.core.open(self.kind.websocket_path(), "");
        self.decoder.reset();
        let feeds: Vec<Feed> = self.plan.feeds().collect();
        let mut texts = Vec::new();
        self.connector.subscribe(&self.plan, &feeds, &mut texts);
        for text in texts {
            self.core.text(self.connection, text.as_bytes());
        }
    }

    fn reconnect(&mut self) {
        self.core.closed(self.connection);
        self.todo.clear();
        self.connect();
    }

    fn run(&mut self, lasts: Duration) {
        let until = self.now + lasts;
        while self.now < until {
            self.now += STEP;
            self.core.advance(self.now);
            self.read();
            self.obey();
        }
        self.truth.extend(self.core.take_truth().into_iter().map(|entry| entry.what));
    }

    fn ts_recv(&self) -> UnixNanos {
        START.plus(self.now.as_nanos() as i64)
    }

    fn read(&mut self) {
        let ts_recv = self.ts_recv();
        let mut out = Output::default();
        for outgoing in self.core.take(self.connection) {
            let Outgoing::Text(text) = outgoing else { continue };
            out.clear();
            match decode_frame(&mut *self.decoder, &text, ts_recv, &mut out) {
                Ok(FrameKind::Data | FrameKind::Heartbeat | FrameKind::Control) => {}
                Err(error) => {
                    assert!(self.refused < 1_000_000, "{error}");
                    self.refused += 1;
                }
            }
            self.keep(&mut out, ts_recv);
        }
    }

    fn keep(&mut self, out: &mut Output, ts_recv: UnixNanos) {
        self.duplicates += out.duplicates;
        self.ticks.extend(out.ticks.iter().map(|tick| (ts_recv, *tick)));
        self.signals.extend(out.signals.iter().cloned());
        self.todo.append(&mut out.signals);
    }

    /// As the supervisor would, only at once.
    fn obey(&mut self) {
        for signal in std::mem::take(&mut self.todo) {
            match signal {
                Signal::NeedSnapshot(instrument) => self.snapshot(instrument),
                Signal::Resubscribe(feed) => {
                    let mut texts = Vec::new();
                    self.connector.unsubscribe(&self.plan, &[feed], &mut texts);
                    self.connector.subscribe(&self.plan, &[feed], &mut texts);
                    for text in texts {
                        self.core.text(self.connection, text.as_bytes());
                    }
                }
                _ => {}
            }
        }
    }

    fn snapshot(&mut self, instrument: u16) {
        let endpoints = Endpoints { websocket: String::new(), rest: String::new() };
        let request = self.connector.snapshot_request(&endpoints, &self.plan, instrument).expect("a REST book");
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let reply = self.core.rest(&RestRequest::new("GET", path, query, Vec::new()));
        let (mut out, ts_recv) = (Output::default(), self.ts_recv());
        self.decoder.snapshot(instrument, &reply.body, ts_recv, &mut out).unwrap();
        self.keep(&mut out, ts_recv);
    }

    fn trades(&self) -> impl Iterator<Item = Trade> {
        self.ticks.iter().filter_map(|(_, tick)| match tick.body {
            TickBody::Trade(trade) => Some(trade),
            _ => None,
        })
    }

    fn quotes(&self) -> impl Iterator<Item = (UnixNanos, &Decoded, Quote)> {
        self.ticks.iter().filter_map(|(ts_recv, tick)| match tick.body {
            TickBody::Quote(quote) => Some((*ts_recv, tick, quote)),
            _ => None,
        })
    }

    fn gaps(&self, channel: Channel) -> usize {
        self.signals
            .iter()
            .filter(|signal| matches!(signal, Signal::Gap { feed, .. } if feed.channel == channel))
            .count()
    }

    fn missing(&self) -> u64 {
        let missing = |signal: &Signal| match signal {
            Signal::Gap { feed, missing } if feed.channel == Channel::Trades => *missing,
            _ => 0,
        };
        self.signals.iter().map(missing).sum()
    }
}

fn number(id: TradeId) -> u64 {
    match id {
        TradeId::Number(id) => id,
        TradeId::Uuid(_) => panic!("these venues count"),
    }
}

fn top(quote: &Quote) -> Top {
    Top {
        bid: quote.bid.raw(),
        bid_quantity: quote.bid_quantity.raw(),
        ask: quote.ask.raw(),
        ask_quantity: quote.ask_quantity.raw(),
    }
}

/// When a quote holds, in the venue's own count: its sequence, or its time.
fn place(tick: &Decoded, quote: &Quote) -> Option<i64> {
    if quote.sequence > 0 { i64::try_from(quote.sequence).ok() } else { tick.ts_event.map(|time| time.0) }
}

/// No quote of the faulty side says what was not true at its place.
fn quotes_are_true(sound: &Side, faulty: &Side, seed: u64) {
    let mut true_tops = BTreeMap::<Instrument, BTreeMap<i64, Vec<Top>>>::new();
    for (_, tick, quote) in sound.quotes() {
        let at = place(tick, &quote).expect("sound quotes have a place");
        true_tops.entry(quote.instrument).or_default().entry(at).or_default().push(top(&quote));
    }
    let mut compared = 0;
    for (_, tick, quote) in faulty.quotes() {
        // A book fresh from a REST snapshot stands between two updates of the stream, where the sound side
        // says nothing.
        let from_snapshot = faulty.plan.quotes_from == QuotesFrom::Book && tick.ts_event.is_none();
        let Some(at) = place(tick, &quote).filter(|_| !from_snapshot) else { continue };
        let tops = &true_tops[&quote.instrument];
        let here = tops.get(&at).into_iter().flatten();
        let before = tops.range(..at).next_back().and_then(|(_, tops)| tops.last());
        assert!(
            here.chain(before).any(|known| *known == top(&quote)),
            "seed {seed}: {quote:?} at {at} was never true; before it {before:?}"
        );
        compared += 1;
    }
    assert!(compared > 100, "seed {seed}: only {compared} quotes");
}

/// Each trade that happened between the first and the last that we know is there once and as it was, or within
/// what was told as missing; and nothing is told as missing that could not be.
fn trades_add_up(faulty: &Side, seed: u64, exact: bool) {
    let mut got = BTreeMap::<(Instrument, u64), Trade>::new();
    for trade in faulty.trades() {
        let earlier = got.insert((trade.instrument, number(trade.id)), trade);
        assert!(earlier.is_none(), "seed {seed}: {trade:?} came twice");
    }
    let mut happened = BTreeSet::new();
    let mut lost = 0u64;
    for entry in &faulty.truth {
        let Truth::Trade { instrument, id, price, quantity, taker_side, .. } = entry else { continue };
        let key = (*instrument, number(*id));
        happened.insert(key);
        match got.get(&key) {
            Some(trade) => assert_eq!(
                (trade.price, trade.quantity, trade.taker_side),
                (*price, *quantity, *taker_side),
                "seed {seed}: trade {id}"
            ),
            None => {
                let first = got.range((*instrument, 0)..).next().map(|((_, id), _)| *id);
                let last = got.range(..=(*instrument, u64::MAX)).next_back().map(|((_, id), _)| *id);
                if first < Some(key.1) && Some(key.1) < last {
                    lost += 1;
                }
            }
        }
    }
    assert!(got.len() > 300, "seed {seed}: only {} trades", got.len());
    let missing = faulty.missing();
    if exact {
        assert_eq!(missing, lost, "seed {seed}: told as missing, and lost");
    } else {
        assert!(missing >= lost, "seed {seed}: {lost} trades lost, {missing} told as missing");
    }
}

fn sides(kind: VenueKind, connector: &'static dyn Connector, from: QuotesFrom, seed: u64) -> (Side, Side) {
    (Side::new(kind, connector, from, seed), Side::new(kind, connector, from, seed))
}

const VENUES: [(VenueKind, &dyn Connector, QuotesFrom); 4] = [
    (VenueKind::Binance, &Binance, QuotesFrom::Book),
    (VenueKind::Binance, &Binance, QuotesFrom::BestBidAsk),
    (VenueKind::Coinbase, &Coinbase, QuotesFrom::BestBidAsk),
    (VenueKind::Kraken, &Kraken, QuotesFrom::Book),
];

#[test]
fn a_sound_venue_gives_everything_and_no_alarm() {
    for (kind, connector, from) in VENUES {
        let mut side = Side::new(kind, connector, from, 7);
        side.run(Duration::from_secs(30));
        assert_eq!((side.refused, side.duplicates), (0, 0), "{kind:?}");
        let alarms: Vec<_> = side.signals.iter().filter(|signal| !matches!(signal, Signal::NeedSnapshot(_))).collect();
        assert!(alarms.is_empty(), "{kind:?}: {alarms:?}");
        trades_add_up(&side, 7, true);
    }
}

#[test]
fn five_percent_dropped() {
    for (kind, connector, from) in VENUES {
        for seed in [1, 2] {
            let (mut sound, mut faulty) = sides(kind, connector, from, seed);
            faulty.core.begin_fault(Fault::Drop { percent: 5, channel: None, symbol: None }, None).unwrap();
            for side in [&mut sound, &mut faulty] {
                side.run(Duration::from_secs(40));
            }
            let dropped = faulty.truth.iter().filter(|entry| matches!(entry, Truth::Lost { .. })).count();
            assert!(dropped > 100, "{kind:?} seed {seed}: only {dropped} frames were dropped");
            assert!(faulty.gaps(Channel::Trades) > 0);
            if from == QuotesFrom::Book {
                assert!(faulty.gaps(Channel::Quotes) > 5, "{kind:?} seed {seed}: lost book updates were not told");
            }
            // Coinbase's heartbeats tell what no later trade has shown yet.
            trades_add_up(&faulty, seed, kind != VenueKind::Coinbase);
            quotes_are_true(&sound, &faulty, seed);
        }
    }
}

#[test]
fn five_percent_doubled() {
    for (kind, connector, from) in VENUES {
        let (mut sound, mut faulty) = sides(kind, connector, from, 3);
        faulty.core.begin_fault(Fault::Duplicate { percent: 5 }, None).unwrap();
        for side in [&mut sound, &mut faulty] {
            side.run(Duration::from_secs(40));
        }
        assert!(faulty.duplicates > 10, "{kind:?}: {} repeats", faulty.duplicates);
        assert_eq!(faulty.missing(), 0, "{kind:?}");
        assert_eq!(faulty.trades().count(), sound.trades().count(), "{kind:?}");
        trades_add_up(&faulty, 3, true);
        quotes_are_true(&sound, &faulty, 3);
    }
}

#[test]
fn reordered_within_100() {
    for (kind, connector, from) in VENUES {
        let (mut sound, mut faulty) = sides(kind, connector, from, 4);
        faulty.core.begin_fault(Fault::Reorder { within: 100 }, None).unwrap();
        for side in [&mut sound, &mut faulty] {
            side.run(Duration::from_secs(40));
        }
        trades_add_up(&faulty, 4, false);
        if from == QuotesFrom::Book {
            assert!(faulty.gaps(Channel::Quotes) > 0, "{kind:?}: disorder breaks the chain");
        }
        // Order restored, the feed recovers.
        for side in [&mut sound, &mut faulty] {
            side.core.clear_faults();
            side.run(Duration::from_secs(10));
        }
        quotes_are_true(&sound, &faulty, 4);
        ends_alike(&sound, &faulty, 4);
    }
}

#[test]
fn everything_at_once_with_cuts_then_healed() {
    for (kind, connector, from) in VENUES {
        for seed in [5, 6] {
            let (mut sound, mut faulty) = sides(kind, connector, from, seed);
            for fault in [
                Fault::Drop { percent: 5, channel: None, symbol: None },
                Fault::Duplicate { percent: 5 },
                Fault::Reorder { within: 20 },
                Fault::Malformed { percent: 5, form: None, replace: false },
            ] {
                faulty.core.begin_fault(fault, None).unwrap();
            }
            for _ in 0..4 {
                sound.run(Duration::from_secs(10));
                faulty.run(Duration::from_secs(9));
                faulty.core.closed(faulty.connection);
                faulty.run(Duration::from_secs(1));
                faulty.reconnect();
            }
            assert!(faulty.refused > 50, "{kind:?} seed {seed}: {} refused", faulty.refused);
            trades_add_up(&faulty, seed, false);
            for side in [&mut sound, &mut faulty] {
                side.core.clear_faults();
                side.run(Duration::from_secs(10));
            }
            ends_alike(&sound, &faulty, seed);
        }
    }
}

/// After the faults, both sides end with the same quotes.
fn ends_alike(sound: &Side, faulty: &Side, seed: u64) {
    let last = |side: &Side| {
        let mut last = BTreeMap::new();
        for (_, _, quote) in side.quotes() {
            last.insert(quote.instrument, top(&quote));
        }
        last
    };
    assert_eq!(last(sound), last(faulty), "seed {seed}: {:?} did not recover", faulty.kind);
}

#[test]
fn a_clock_ten_seconds_wrong_is_replaced() {
    let stamper = Stamper::new(Duration::from_secs(5));
    let origin = Origin::Root { role: "ingest/x".parse().unwrap(), epoch: 0, sequence: 0 };
    for (kind, connector, from) in VENUES {
        for ms in [10_000, -10_000, 3_600_000] {
            let mut side = Side::new(kind, connector, from, 9);
            side.core.begin_fault(Fault::ClockSkew { ms }, None).unwrap();
            side.run(Duration::from_secs(10));
            let mut replaced = 0;
            for (ts_recv, decoded) in &side.ticks {
                let (tick, _) = stamper.stamp(decoded, *ts_recv, origin);
                let historic = tick.flags.any(TickFlags::HISTORIC);
                assert!(historic || tick.ts_event.since(*ts_recv).abs() <= 5_000_000_000, "{kind:?} {ms}: {tick:?}");
                replaced += u32::from(tick.flags.any(TickFlags::TIME_REPLACED));
            }
            assert!(replaced > 50, "{kind:?} {ms}: {replaced}");
        }
    }
}
