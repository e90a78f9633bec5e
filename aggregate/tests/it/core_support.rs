//! Feeds for the core's tests: ticks by hand, and ticks at random with everything that goes wrong.

use std::sync::Arc;

use aggregate::config::{Config, Method, Outlier, PriceSource, Rules, Weights};
use aggregate::core::{Aggregator, Output, Stamp};
use model::{
    Cause, Channel, Claim, Clock, CompositePrice, Configure, FeedPhase, FeedState, Instrument, Origin, Price, Quantity,
    Quote, Rate, Refresh, Side, Tick, TickBody, TickFlags, Ticker, Trade, TradeId, UnixNanos, Volume, topic,
};

pub const SECOND: i64 = 1_000_000_000;
pub const MILLI: i64 = 1_000_000;
/// When the made-up feeds begin: the second before a minute, an hour and a day do.
pub const START: i64 = 1_723_161_600 * SECOND - SECOND;

pub fn instrument(text: &str) -> Instrument {
    text.parse().unwrap()
}

pub fn price(text: &str) -> Price {
    text.parse().unwrap()
}

pub fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

/// Rules from `name value` pairs.
pub fn rules(pairs: &[(&str, &str)]) -> Rules {
    let mut rules = Rules::default();
    for (name, value) in pairs {
        rules.set(name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    rules
}

pub fn config(instruments: &[(&str, Rules)]) -> Arc<Config> {
    let instruments = instruments.iter().map(|(name, rules)| (instrument(name), rules.clone())).collect();
    Arc::new(Config::new(instruments).unwrap_or_else(|problems| panic!("{problems:?}")))
}

pub fn trade(venue: &str, of: &str, id: u64, at: (&str, &str)) -> TickBody {
    TickBody::Trade(Trade {
        venue: venue.parse().unwrap(),
        instrument: instrument(of),
        id: TradeId::Number(id),
        price: price(at.0),
        quantity: quantity(at.1),
        taker_side: Side::Buy,
    })
}

/// Gives records of one role their numbers, and folds them.
#[derive(Debug)]
pub struct Feeder {
    pub core: Aggregator,
    pub out: Vec<Output>,
    offset: u64,
    epoch: Option<u64>,
    sequence: u64,
}

impl Feeder {
    pub fn new(config: Arc<Config>) -> Self {
        Self { core: Aggregator::new(config), out: Vec::new(), offset: 0, epoch: None, sequence: 0 }
    }

    /// Folds a record that happened at `at` and was received at once.
    pub fn push(&mut self, at: i64, body: TickBody) {
        self.push_as(at, at, TickFlags::default(), body);
    }

    pub fn push_as(&mut self, event: i64, received: i64, flags: TickFlags, body: TickBody) {
        let role = "test".parse().unwrap();
        let (ts_event, ts_recv) = (UnixNanos(event), UnixNanos(received));
        if self.epoch.is_none() {
            let origin = Origin::Root { role, epoch: 0, sequence: 0 };
            let claim = Tick { origin, ts_event, ts_recv, flags: TickFlags::default(), body: TickBody::Claim(Claim) };
            self.apply(&claim);
            self.epoch = Some(self.offset - 1);
        }
        self.sequence += 1;
        let origin = Origin::Root { role, epoch: self.epoch.unwrap(), sequence: self.sequence };
        self.apply(&Tick { origin, ts_event, ts_recv, flags, body });
    }

    pub fn apply(&mut self, tick: &Tick) {
        self.core.apply(Stamp { partition: 0, offset: self.offset }, tick, &mut self.out);
        self.offset += 1;
    }

    pub fn prices(&self) -> impl DoubleEndedIterator<Item = &CompositePrice> {
        self.out.iter().filter_map(|output| match output {
            Output::Price(price) => Some(price),
            _ => None,
        })
    }

    pub fn candles(&self) -> impl DoubleEndedIterator<Item = &model::Candle> {
        self.out.iter().filter_map(|output| match output {
            Output::Candle(candle) => Some(candle),
            _ => None,
        })
    }
}

/// Adds the exact bytes of an output to `bytes`.
pub fn write_output(output: &Output, bytes: &mut Vec<u8>) {
    match output {
        Output::Price(price) => price.write_json(bytes),
        Output::Candle(candle) => serde_json::to_writer(&mut *bytes, candle).unwrap(),
        Output::Rate(tick) => tick.encode(bytes),
    }
    bytes.push(b'\n');
}

/// Folds records; hashes what comes out.
#[derive(Debug)]
pub struct Run {
    pub core: Aggregator,
    pub hash: u64,
    pub outputs: usize,
    out: Vec<Output>,
    bytes: Vec<u8>,
}

impl Run {
    pub fn new(core: Aggregator) -> Self {
        Self { core, hash: 0, outputs: 0, out: Vec::new(), bytes: Vec::new() }
    }

    pub fn apply(&mut self, offset: u64, tick: &Tick) {
        self.core.apply(Stamp { partition: 0, offset }, tick, &mut self.out);
        self.outputs += self.out.len();
        for output in self.out.drain(..) {
            self.bytes.clear();
            write_output(&output, &mut self.bytes);
            self.hash = self.hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(crc32fast::hash(&self.bytes));
        }
    }
}

/// State and outputs of [`pinned_run`]. They change with every change of logic, and only then: see
/// `LOGIC_VERSION`.
pub const PINNED: (u64, u64) = (0xd5e8_94ae_6cef_8ac4, 0xa5ca_8b2b_482a_065b);

/// A run that the tests make in a debug build and the benchmark in a release build.
pub fn pinned_run() -> (u64, u64) {
    let config = random_config(&mut fastrand::Rng::with_seed(20_240_808));
    let mut chaos = Chaos::new(20_240_808, &config);
    let mut run = Run::new(Aggregator::new(config));
    (0..10_000).for_each(|offset| run.apply(offset, &chaos.tick()));
    (run.core.state_hash(), run.hash)
}

/// Rules drawn at random: every method, source, weight and outlier rule comes up.
pub fn random_config(random: &mut fastrand::Rng) -> Arc<Config> {
    let mut rules = Rules {
        method: random
            .choice([
                Method::CappedVwap,
                Method::CappedVwap,
                Method::Vwap,
                Method::Median,
                Method::WeightedMedian,
                Method::CappedMedian,
                Method::PartitionVwm,
            ])
            .unwrap(),
        ..Rules::default()
    };
    if rules.method != Method::CappedMedian {
        rules.outlier =
            random.choice([None, None, Some(Outlier::Clamp), Some(Outlier::Exclude), Some(Outlier::Mad)]).unwrap();
    }
    if rules.method == Method::PartitionVwm {
        rules.window_ns = SECOND * random.i64(1..=60);
    } else {
        rules.price_source = random.choice([PriceSource::TradeVwap, PriceSource::LastTrade, PriceSource::Mid]).unwrap();
        rules.window_ns = SECOND * random.choice([1, 7, 60, 60, 300, 3_600, 86_400]).unwrap();
    }
    rules.weights = random.choice([None, None, Some(Weights::Volume24h), Some(Weights::Equal)]).unwrap();
    rules.rejoin_after_ns = SECOND * random.i64(0..20);
    rules.min_trades = random.u32(0..3);
    rules.publish.deviation_bps = random.choice([Quantity::ZERO, quantity("1"), quantity("25.5")]).unwrap();
    rules.publish.min_interval_ns = MILLI * random.choice([0, 100, 1_000]).unwrap();
    rules.trades_kept = random.choice([50, 131_072]).unwrap();
    rules.dedup_ids = random.choice([16, 4_096]).unwrap();
    if random.bool() {
        rules.tick = Some(price("0.05"));
    }
    let mut converted = rules.clone();
    converted.convert = vec![instrument("BTC-USD"), instrument("BTC-EUR")];
    if random.u8(0..4) == 0 {
        converted.assume_par = true;
    }
    config(&[("BTC-USDT", converted), ("BTC-USD", rules.clone()), ("USDT-USD", rules.clone()), ("EUR-USD", rules)])
}

/// A feed in which everything happens that may.
#[derive(Debug)]
pub struct Chaos {
    random: fastrand::Rng,
    time: i64,
    next_id: u64,
    sequence: u64,
    epoch: u64,
    made: u64,
    config_hash: u64,
}

impl Chaos {
    pub fn new(seed: u64, config: &Config) -> Self {
        let random = fastrand::Rng::with_seed(seed ^ 0x00c0_ffee);
        Self { random, time: START, next_id: 1_000, sequence: 0, epoch: 0, made: 0, config_hash: config.hash() }
    }

    /// The next record; the first is a claim.
    pub fn tick(&mut self) -> Tick {
        let random = &mut self.random;
        let offset = self.made;
        self.made += 1;
        self.time += match random.u16(0..1_000) {
            0 => random.i64(0..100) * SECOND,
            1..=9 => random.i64(0..5) * SECOND,
            _ => random.i64(0..40) * MILLI,
        };
        if offset == 0 || random.u16(0..2_000) == 0 {
            (self.epoch, self.sequence) = (offset, 0);
            return self.record(self.time, self.time, TickFlags::default(), TickBody::Claim(Claim), (0, 0));
        }
        let event = self.time
            - match random.u16(0..100) {
                0 => random.i64(-20..20) * SECOND,
                1..=9 => random.i64(0..4_000) * MILLI,
                10..=59 => random.i64(0..300) * MILLI,
                _ => 0,
            };
        let flags = TickFlags(match random.u8(0..40) {
            0 => TickFlags::OFF_BOOK,
            1 => TickFlags::HISTORIC,
            2..=5 => TickFlags::TIME_REPLACED,
            6 => TickFlags::POLLED,
            7..=10 => TickFlags::FROM_BOOK,
            _ => 0,
        });
        let body = self.body();
        let random = &mut self.random;
        self.sequence += 1;
        let numbers = match random.u8(0..100) {
            0 => (self.epoch, self.sequence.saturating_sub(random.u64(0..20))),
            1 => (self.epoch.saturating_sub(random.u64(0..10)), self.sequence),
            _ => (self.epoch, self.sequence),
        };
        self.record(event, self.time, flags, body, numbers)
    }

    fn record(&mut self, event: i64, received: i64, flags: TickFlags, body: TickBody, numbers: (u64, u64)) -> Tick {
        let (epoch, sequence) = numbers;
        let origin = if matches!(body, TickBody::Rate(_)) && self.random.bool() {
            let (offset, index) = (self.made, self.random.u32(0..2));
            Origin::Derived(Cause { topic: topic::name(topic::TICKS), partition: 3, offset, index })
        } else {
            Origin::Root { role: "ingest/chaos".parse().unwrap(), epoch, sequence }
        };
        Tick { origin, ts_event: UnixNanos(event), ts_recv: UnixNanos(received), flags, body }
    }

    fn body(&mut self) -> TickBody {
        let random = &mut self.random;
        let names = ["BTC-USDT", "BTC-USDT", "BTC-USDT", "BTC-USD", "BTC-EUR", "USDT-USD", "EUR-USD", "XMR-USD"];
        let known = usize::from(random.u8(0..20) != 0);
        let of = instrument(names[random.usize(0..names.len() - known)]);
        let names = ["alpha", "bravo", "charlie", "delta"];
        let venue = names[random.usize(0..4)].parse().unwrap();
        let base: i64 = if of.base() == "BTC" { 60_000 * 100_000_000 } else { 100_000_000 };
        let around = |random: &mut fastrand::Rng| match random.u16(0..1_000) {
            0 => random.i64(-1..=Price::MAX.raw()),
            1..=20 => base / 5 * 6,
            _ => base + base / 10_000 * random.i64(-20..=20),
        };
        match random.u16(0..1_000) {
            0..=549 => {
                let id = if random.u8(0..20) == 0 { self.next_id - random.u64(0..100) } else { self.next_id };
                self.next_id += random.u64(0..3);
                let id = if random.u8(0..50) == 0 { TradeId::Uuid(random.u128(..)) } else { TradeId::Number(id) };
                let quantity = match random.u16(0..500) {
                    0 => 0,
                    1 => random.i64(0..=Quantity::MAX.raw()),
                    _ => random.i64(1..500_000_000),
                };
                TickBody::Trade(Trade {
                    venue,
                    instrument: of,
                    id,
                    price: Price::from_raw(around(random)).unwrap(),
                    quantity: Quantity::from_raw(quantity).unwrap(),
                    taker_side: if random.bool() { Side::Buy } else { Side::Sell },
                })
            }
            550..=799 => {
                let (bid, ask) = (around(random), around(random));
                let (bid, ask) =
                    if random.u8(0..20) == 0 { (ask.max(bid), bid.min(ask)) } else { (bid.min(ask), bid.max(ask)) };
                let bid = if random.u8(0..30) == 0 { 0 } else { bid };
                TickBody::Quote(Quote {
                    venue,
                    instrument: of,
                    sequence: random.u64(0..5),
                    bid: Price::from_raw(bid).unwrap(),
                    bid_quantity: Quantity::from_raw(random.i64(0..1_000_000_000)).unwrap(),
                    ask: Price::from_raw(ask).unwrap(),
                    ask_quantity: Quantity::from_raw(random.i64(0..1_000_000_000)).unwrap(),
                })
            }
            800..=859 => {
                let volume = if random.u8(0..50) == 0 { random.i128(..) } else { random.i128(0..1 << 50) };
                TickBody::Ticker(Ticker {
                    venue,
                    instrument: of,
                    last: Price::from_raw(around(random)).unwrap(),
                    volume_24h: Volume::from_raw(volume),
                    quote_volume_24h: None,
                })
            }
            860..=879 => TickBody::FeedState(FeedState {
                venue,
                instrument: of,
                channel: random.choice([Channel::Trades, Channel::Quotes, Channel::Ticker]).unwrap(),
                phase: random.choice([FeedPhase::Live, FeedPhase::Silent, FeedPhase::Gap, FeedPhase::Down]).unwrap(),
                missing: 0,
            }),
            880..=919 => {
                let of = instrument(["USDT-USD", "EUR-USD", "SOL-USD"][random.usize(0..3)]);
                let raw = if random.u8(0..20) == 0 { 0 } else { around(random).clamp(1, 200_000_000) };
                TickBody::Rate(Rate { instrument: of, price: Price::from_raw(raw).unwrap() })
            }
            920..=934 => TickBody::Refresh(Refresh { instrument: of, id: random.u64(..) }),
            935..=939 => TickBody::Configure(Configure { hash: self.config_hash ^ u64::from(random.bool()) }),
            _ => TickBody::Clock(Clock),
        }
    }
}
