//! What every output must say, whatever the input: its cause, its place, its number.

use std::collections::BTreeMap;

use aggregate::core::{Aggregator, Output, Stamp};
use model::{Cause, Clock, Instrument, Interval, Origin, PriceStatus, Rate, TickBody, UnixNanos};

use crate::core_support::{Chaos, Feeder, SECOND, START, config, instrument, price, random_config, rules, trade};

#[test]
fn causes_places_and_sequences_have_no_gap() {
    for seed in 0..20 {
        let config = random_config(&mut fastrand::Rng::with_seed(seed));
        let mut chaos = Chaos::new(seed, &config);
        let mut core = Aggregator::new(config);
        let mut sequences: BTreeMap<Instrument, u64> = BTreeMap::new();
        let mut revisions: BTreeMap<(Instrument, Interval, UnixNanos), u32> = BTreeMap::new();
        let mut out = Vec::new();
        for offset in 0..5_000 {
            let tick = chaos.tick();
            out.clear();
            let steps = core.counters().clock_steps;
            core.apply(Stamp { partition: 7, offset }, &tick, &mut out);
            if core.counters().clock_steps > steps {
                // Times that came once come again, and with them their candles.
                revisions.clear();
            }
            let mut next = [0u32; 3];
            for output in &out {
                let (topic, cause) = match output {
                    Output::Price(price) => {
                        let sequence = sequences.entry(price.instrument).or_default();
                        *sequence += 1;
                        assert_eq!(price.sequence, *sequence, "seed {seed}, offset {offset}");
                        assert_eq!((price.ts_event, price.ts_recv), (core.now(), tick.ts_recv));
                        (0, price.cause)
                    }
                    Output::Candle(candle) => {
                        let key = (candle.instrument, candle.interval, candle.start);
                        let revision = revisions.entry(key).and_modify(|revision| *revision += 1).or_default();
                        assert_eq!(candle.revision, *revision, "seed {seed}, offset {offset}: {key:?}");
                        assert!(candle.low <= candle.open && candle.open <= candle.high, "{candle:?}");
                        assert!(candle.low <= candle.close && candle.close <= candle.high, "{candle:?}");
                        assert!(candle.low <= candle.vwap && candle.vwap <= candle.high, "{candle:?}");
                        (1, candle.cause)
                    }
                    Output::Rate(rate) => match rate.origin {
                        Origin::Derived(cause) => (2, cause),
                        Origin::Root { .. } => panic!("a rate follows from a tick"),
                    },
                };
                let topic_name = "ticks".parse().unwrap();
                assert_eq!(cause, Cause { topic: topic_name, partition: 7, offset, index: next[topic] });
                next[topic] += 1;
            }
        }
        assert!(sequences.len() >= 3, "seed {seed}: {sequences:?}");
    }
}

/// The price of a stable coin goes out as a rate each time it is published, and zero when it goes stale.
#[test]
fn a_needed_price_is_a_rate_too() {
    let config = config(&[
        ("BTC-USDT", rules(&[("convert", "BTC-USD")])),
        ("USDT-USD", rules(&[("tick", "0.01")])),
        ("ETH-USD", rules(&[])),
    ]);
    assert_eq!(config.rates(), [instrument("USDT-USD")]);
    assert_eq!(config.consumers_of(instrument("USDT-USD")).collect::<Vec<_>>(), [instrument("BTC-USDT")]);
    let mut feeder = Feeder::new(config);
    feeder.push(START, trade("kraken", "USDT-USD", 1, ("0.99987654", "1")));
    feeder.push(START, trade("kraken", "ETH-USD", 1, ("2500", "1")));
    feeder.push(START + 120 * SECOND, TickBody::Clock(Clock));
    let rates: Vec<Rate> = feeder
        .out
        .iter()
        .filter_map(|output| match output {
            Output::Rate(tick) => match tick.body {
                TickBody::Rate(rate) => Some(rate),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let rate = |value: &str| Rate { instrument: instrument("USDT-USD"), price: price(value) };
    assert_eq!(rates, [rate("0.99987654"), rate("0")], "unrounded, then taken back");
    let last = feeder.prices().rfind(|price| price.instrument == instrument("USDT-USD")).unwrap();
    assert_eq!((last.status, last.price.to_string().as_str()), (PriceStatus::Stale, "1"));
}

/// Readers drop what repeats: a rate that comes twice, and one that its writer sent before another.
#[test]
fn repeated_and_older_rates_change_nothing() {
    let config = config(&[("BTC-USDT", rules(&[("convert", "BTC-USD")])), ("USDT-USD", rules(&[]))]);
    let mut feeder = Feeder::new(config);
    let rate = |feeder: &mut Feeder, offset: u64, value: &str| {
        let origin = Origin::Derived(Cause { topic: "ticks".parse().unwrap(), partition: 1, offset, index: 0 });
        let body = TickBody::Rate(Rate { instrument: instrument("USDT-USD"), price: price(value) });
        let (ts_event, ts_recv) = (UnixNanos(START), UnixNanos(START));
        feeder.apply(&model::Tick { origin, ts_event, ts_recv, flags: model::TickFlags::default(), body });
    };
    rate(&mut feeder, 10, "2");
    rate(&mut feeder, 10, "4");
    rate(&mut feeder, 9, "8");
    assert_eq!(feeder.core.counters().repeated, 2);
    feeder.push(START, trade("kraken", "BTC-USD", 1, ("60000", "1")));
    assert_eq!(feeder.prices().next_back().unwrap().raw.to_string(), "30000");
}
