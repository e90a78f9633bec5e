//! Ticks per second through the core on one thread: `cargo bench -p aggregate --bench core [-- TICKS]`.
//!
//! Ten instruments on three venues, 20,000 ticks a second of event time, six trades to four quotes; every price
//! is a random walk of a basis point a second. `throttled` publishes by the default rules, `publish all` makes a
//! price of every tick. Figures are CPU time of the folding thread, medians of five runs.
#![allow(missing_docs, dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../tests/it/core_support.rs"]
mod core_support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use aggregate::config::{Config, Rules};
use aggregate::core::{Aggregator, Output, Stamp};
use model::{
    Instrument, Origin, Price, Quantity, Quote, Role, Side, Tick, TickBody, TickFlags, Trade, TradeId, UnixNanos, Venue,
};

const INSTRUMENTS: [&str; 10] = [
    "BTC-USDT",
    "ETH-USDT",
    "XRP-USDT",
    "BNB-USDT",
    "SOL-USDT",
    "DOGE-USDT",
    "ADA-USDT",
    "TRX-USDT",
    "USDC-USDT",
    "LTC-USDT",
];
const STEP_NS: i64 = 50_000;
const CHUNK: usize = 50_000;
const RUNS: usize = 5;

struct Market {
    random: fastrand::Rng,
    instruments: Vec<Instrument>,
    venues: [Venue; 3],
    prices: Vec<i64>,
    made: u64,
}

impl Market {
    fn new() -> Self {
        Self {
            random: fastrand::Rng::with_seed(1),
            instruments: INSTRUMENTS.iter().map(|name| name.parse().expect("an instrument")).collect(),
            venues: ["binance", "coinbase", "kraken"].map(|name| name.parse().expect("a venue")),
            prices: vec![
                6_183_763_000_000,
                250_000_000_000,
                60_000_000,
                50_000_000_000,
                15_000_000_000,
                10_000_000,
                35_000_000,
                13_000_000,
                99_990_000,
                6_000_000_000,
            ],
            made: 0,
        }
    }

    fn chunk(&mut self, into: &mut Vec<Tick>) {
        into.clear();
        for _ in 0..CHUNK {
            self.made += 1;
            let at = UnixNanos(1_723_161_600_000_000_000 + self.made as i64 * STEP_NS);
            let place = self.random.usize(0..10);
            let (instrument, venue) = (self.instruments[place], self.venues[self.random.usize(0..3)]);
            let price = &mut self.prices[place];
            *price += self.random.i64(-1..=1) * (*price / 500_000).max(1);
            let raw = |raw: i64| Price::from_raw(raw).expect("in range");
            let quantity = Quantity::from_raw(self.random.i64(1_000..200_000_000)).expect("in range");
            let half = (*price / 40_000).max(1);
            let body = if self.random.u8(0..10) < 6 {
                let id = TradeId::Number(self.made);
                TickBody::Trade(Trade { venue, instrument, id, price: raw(*price), quantity, taker_side: Side::Buy })
            } else {
                let (bid, ask) = (raw(*price - half), raw(*price + half));
                let (bid_quantity, ask_quantity) = (quantity, quantity);
                TickBody::Quote(Quote { venue, instrument, sequence: self.made, bid, bid_quantity, ask, ask_quantity })
            };
            let role: Role = "ingest/bench".parse().expect("a role");
            let origin = Origin::Root { role, epoch: 0, sequence: self.made };
            into.push(Tick { origin, ts_event: at, ts_recv: at, flags: TickFlags::default(), body });
        }
    }
}

/// Nanoseconds that this thread has run; the wall clock where the system does not say.
fn cpu_ns(start: Instant) -> u64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = spent.and_then(|text| text.split(' ').next().and_then(|number| number.parse().ok()));
    spent.unwrap_or_else(|| start.elapsed().as_nanos() as u64)
}

fn run(name: &str, rules: &Rules, ticks: usize) {
    let instruments: Vec<(Instrument, Rules)> =
        INSTRUMENTS.iter().map(|name| (name.parse().expect("an instrument"), rules.clone())).collect();
    let config = Arc::new(Config::new(instruments).expect("rules that fit"));
    let start = Instant::now();
    let (mut rates, mut last) = (Vec::new(), None);
    for _ in 0..RUNS {
        let mut core = Aggregator::new(Arc::clone(&config));
        let mut market = Market::new();
        let (mut chunk, mut out): (Vec<Tick>, Vec<Output>) = (Vec::new(), Vec::new());
        let (mut spent, mut offset) = (0, 0);
        for _ in 0..ticks / CHUNK {
            market.chunk(&mut chunk);
            let before = cpu_ns(start);
            for tick in &chunk {
                out.clear();
                core.apply(Stamp { partition: 0, offset }, tick, &mut out);
                offset += 1;
                black_box(&out);
            }
            spent += cpu_ns(start) - before;
        }
        rates.push(offset as f64 / (spent as f64 / 1e9));
        last = Some((core, out));
    }
    rates.sort_by(f64::total_cmp);
    let (core, _) = last.expect("at least one run");
    let counters = core.counters();
    println!(
        "{name:<12} {:>6.2} M ticks/s ({:.2} to {:.2}); {} prices, {} candles of {} ticks",
        rates[RUNS / 2] / 1e6,
        rates[0] / 1e6,
        rates[RUNS - 1] / 1e6,
        counters.prices,
        counters.candles,
        counters.records
    );
    let before = cpu_ns(start);
    let snapshot = core.snapshot();
    let spent = cpu_ns(start) - before;
    println!("{:<12} snapshot of {} kB in {} ms", "", snapshot.len() / 1_000, spent / 1_000_000);
}

fn json(ticks: usize) {
    let rules = all();
    let config = Arc::new(Config::uniform(&["BTC-USDT".parse().expect("an instrument")], &rules).expect("rules"));
    let (mut core, mut market) = (Aggregator::new(config), Market::new());
    let (mut chunk, mut out) = (Vec::new(), Vec::new());
    market.chunk(&mut chunk);
    for (offset, tick) in chunk.iter().enumerate() {
        core.apply(Stamp { partition: 0, offset: offset as u64 }, tick, &mut out);
    }
    let Some(price) = out.iter().rev().find_map(|output| match output {
        Output::Price(price) => Some(price),
        _ => None,
    }) else {
        return;
    };
    let start = Instant::now();
    let mut bytes = Vec::new();
    let count = ticks.min(1_000_000);
    let before = cpu_ns(start);
    for _ in 0..count {
        bytes.clear();
        black_box(price).write_json(&mut bytes);
        black_box(&bytes);
    }
    let ours = (cpu_ns(start) - before) as f64 / count as f64;
    let before = cpu_ns(start);
    for _ in 0..count {
        bytes.clear();
        serde_json::to_writer(&mut bytes, black_box(price)).expect("serialisable");
        black_box(&bytes);
    }
    let serde = (cpu_ns(start) - before) as f64 / count as f64;
    println!("{:<12} {ours:>6.0} ns for {} bytes; serde_json {serde:.0} ns", "json", bytes.len());
}

fn all() -> Rules {
    let mut rules = Rules::default();
    for (name, value) in [("publish.deviation_bps", "0"), ("publish.min_interval", "0ms")] {
        rules.set(name, value).expect("a rule");
    }
    rules
}

fn main() {
    let ticks = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(2_000_000);
    println!("{} bytes a tick, {} bytes a price", size_of::<Tick>(), size_of::<model::CompositePrice>());
    run("throttled", &Rules::default(), ticks);
    run("publish all", &all(), ticks);
    json(ticks);
    assert_eq!(core_support::pinned_run(), core_support::PINNED, "this build folds other bytes than the tested one");
    println!("{:<12} the pinned run gives the same bytes in this build as in the tests", "");
}
