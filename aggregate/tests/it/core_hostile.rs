//! Whatever the records hold, nothing panics, memory stays bounded, and prices go on.

use aggregate::core::{Aggregator, Stamp};
use model::{
    Clock, Origin, Price, PriceStatus, Quantity, Quote, Rate, Refresh, Side, Tick, TickBody, TickFlags, Ticker, Trade,
    TradeId, UnixNanos, Volume,
};

use crate::core_support::{Feeder, MILLI, SECOND, START, config, instrument, rules, trade};

fn extreme_trade(venue: &str, id: u128, price: i64, quantity: i64) -> TickBody {
    TickBody::Trade(Trade {
        venue: venue.parse().unwrap(),
        instrument: instrument("BTC-USDT"),
        id: TradeId::Uuid(id),
        price: Price::from_raw(price).unwrap(),
        quantity: Quantity::from_raw(quantity).unwrap(),
        taker_side: Side::Sell,
    })
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let most = Price::MAX.raw();
    for method in ["capped_vwap", "vwap", "median", "weighted_median", "capped_median", "partition_vwm"] {
        let rules = rules(&[
            ("method", method),
            ("publish.deviation_bps", "0"),
            ("publish.min_interval", "0ms"),
            ("max_venue_weight", "0.34"),
        ]);
        let mut feeder = Feeder::new(config(&[("BTC-USDT", rules)]));
        for id in 0..600 {
            let venue = ["a", "b", "c", "d"][id as usize % 4];
            let (price, quantity) = match id % 5 {
                0 => (1, 1),
                1 => (most, 1),
                2 => (1, most),
                _ => (most, most),
            };
            feeder.push(START + id as i64 * MILLI, extreme_trade(venue, id, price, quantity));
            let body = Quote {
                venue: venue.parse().unwrap(),
                instrument: instrument("BTC-USDT"),
                sequence: 0,
                bid: Price::from_raw(1).unwrap(),
                bid_quantity: Quantity::MAX,
                ask: Price::MAX,
                ask_quantity: Quantity::MAX,
            };
            feeder.push(START + id as i64 * MILLI, TickBody::Quote(body));
            feeder.push(
                START + id as i64 * MILLI,
                TickBody::Ticker(Ticker {
                    venue: venue.parse().unwrap(),
                    instrument: instrument("BTC-USDT"),
                    last: Price::MAX,
                    volume_24h: Volume::from_raw([1 << 90, i128::MAX, i128::MIN, 0][id as usize % 4]),
                    quote_volume_24h: None,
                }),
            );
        }
        let counters = *feeder.core.counters();
        assert!(counters.unusable > 0, "{method}: the sums have a limit");
        assert!(counters.trades > 40, "{method}: below it trades count: {counters:?}");
        feeder.push(START + 10 * 86_400 * SECOND, TickBody::Clock(Clock));
        assert!(feeder.candles().count() > 3, "{method}");
        assert!(feeder.prices().all(|price| price.raw.is_positive()), "{method}");
        // What was absurd ages out like anything else.
        for (at, venue) in ["a", "b", "c"].into_iter().enumerate() {
            let at = START + 12 * 86_400 * SECOND + at as i64;
            feeder.push(at, trade(venue, "BTC-USDT", 9_000 + at as u64 % 100, ("60000", "1")));
        }
        let last = feeder.prices().next_back().unwrap();
        assert_eq!(last.raw.to_string(), "60000", "{method}");
    }
}

#[test]
fn numbers_that_are_no_price_or_quantity_are_counted() {
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules(&[]))]));
    for (price, quantity) in [(0, 1), (-1, 1), (1, 0), (1, -1), (-Price::MAX.raw(), Price::MAX.raw())] {
        feeder.push(START, extreme_trade("a", 1, price, quantity));
    }
    let quote = |bid: i64, ask: i64| {
        TickBody::Quote(Quote {
            venue: "a".parse().unwrap(),
            instrument: instrument("BTC-USDT"),
            sequence: 0,
            bid: Price::from_raw(bid).unwrap(),
            bid_quantity: Quantity::ONE,
            ask: Price::from_raw(ask).unwrap(),
            ask_quantity: Quantity::ONE,
        })
    };
    feeder.push(START, quote(-1, 5));
    feeder.push(START, quote(6, 5));
    assert_eq!((feeder.core.counters().unusable, feeder.core.counters().crossed), (6, 1));
    assert_eq!(feeder.out, []);
    for (event, received) in [(-1, -1), (i64::MIN, i64::MIN), (i64::MAX, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MAX)]
    {
        feeder.push_as(event, received, TickFlags::default(), trade("a", "BTC-USDT", 1, ("1", "1")));
        feeder.push_as(event, received, TickFlags::default(), TickBody::Clock(Clock));
    }
    assert_eq!(feeder.core.counters().unusable, 16);
    assert_eq!(feeder.out, []);
    feeder.push(START, trade("a", "BTC-USDT", 1, ("60000", "1")));
    assert_eq!(feeder.prices().count(), 1, "and then it goes on");
}

/// A venue's clock may be an hour wrong, or in 1970 or 2100: its trades count at our time.
#[test]
fn a_wrong_venue_clock_is_replaced() {
    let mut feeder =
        Feeder::new(config(&[("BTC-USDT", rules(&[("publish.min_interval", "0ms"), ("publish.deviation_bps", "0")]))]));
    let wrong = [0, START - 3_600 * SECOND, START + 3_600 * SECOND, 4_102_444_800 * SECOND];
    for (id, event) in wrong.into_iter().enumerate() {
        let venue = ["a", "b", "c", "d"][id];
        let body = trade(venue, "BTC-USDT", id as u64, ("60000", "1"));
        feeder.push_as(event, START + id as i64 * MILLI, TickFlags::default(), body);
    }
    let last = feeder.prices().next_back().unwrap();
    assert_eq!((last.status, last.ts_event.0), (PriceStatus::Ok, START + 3 * MILLI));
    assert_eq!(feeder.core.counters().skewed, 4);
}

#[test]
fn floods_stay_within_the_configured_memory() {
    let rules = rules(&[("trades_kept", "1000"), ("dedup_ids", "500"), ("publish.min_interval", "1h")]);
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules)]));
    let mut sizes = Vec::new();
    for id in 0..200_000u64 {
        // More venues, instruments and roles than anyone has.
        let venue = format!("v{}", id % 40);
        let of = if id % 3 == 0 { format!("BTC-USDT{}", id % 1_000) } else { "BTC-USDT".to_owned() };
        let at = START + id as i64 * MILLI / 10;
        feeder.push(at, trade(&venue, &of, id, ("60000", "1")));
        if id % 100 == 0 {
            let role = format!("flood/{id}").parse().unwrap();
            let origin = Origin::Root { role, epoch: 1, sequence: 1 };
            let (ts_event, ts_recv) = (UnixNanos(at), UnixNanos(at));
            let refresh = TickBody::Refresh(Refresh { instrument: instrument("ETH-USDT"), id });
            feeder.apply(&Tick { origin, ts_event, ts_recv, flags: TickFlags::default(), body: refresh });
            let rate = Rate { instrument: instrument("EUR-USD"), price: Price::ONE };
            feeder.push(at, TickBody::Rate(rate));
        }
        feeder.out.clear();
        if id % 50_000 == 49_999 {
            sizes.push(feeder.core.snapshot().len());
        }
    }
    // 32 venues of 1,000 trades and 500 ids, and 4,096 roles.
    let bound = 32 * (1_000 * 24 + 500 * 16 + 1_000) + 4_096 * 48 + 100_000;
    assert!(sizes.iter().all(|size| *size < bound), "state outgrows {bound} bytes: {sizes:?}");
    let counters = feeder.core.counters();
    assert!(counters.unknown > 90_000 && counters.displaced > 10_000, "{counters:?}");
}

/// Time may leap by years at once, in whatever way a record says so.
#[test]
fn leaps_in_time_close_everything_and_go_on() {
    let config = config(&[("BTC-USDT", rules(&[]))]);
    let mut feeder = Feeder::new(config.clone());
    for year in 0..60 {
        let at = START + year * 365 * 86_400 * SECOND;
        feeder.push(at, trade("a", "BTC-USDT", year as u64, ("60000", "1")));
        feeder.push(at + SECOND, trade("b", "BTC-USDT", year as u64, ("60001", "1")));
        let last = feeder.prices().next_back().unwrap();
        assert_eq!(last.raw.to_string(), "60000.5");
    }
    assert!(feeder.candles().count() >= 59 * 6);
    let restored = Aggregator::restore(config, &feeder.core.snapshot()).unwrap();
    assert_eq!(restored.state_hash(), feeder.core.state_hash());
}

/// Our own clock leaps an hour ahead and is set back: prices stop for a moment, then go on in the right time.
#[test]
fn our_own_clock_stepping_does_not_stop_prices() {
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules(&[]))]));
    let mut id = 0;
    let mut second = |feeder: &mut Feeder, time: i64, ours: i64, price: &str| {
        let before = feeder.prices().count();
        for step in 0..50 {
            id += 1;
            let event = time + step * 20 * MILLI;
            let venue = ["a", "b", "c"][id as usize % 3];
            let body = trade(venue, "BTC-USDT", id, (price, "1"));
            feeder.push_as(event, event + ours, TickFlags::default(), body);
        }
        feeder.push(time + SECOND + ours, TickBody::Clock(Clock));
        feeder.prices().count() - before
    };
    for at in 0..10 {
        assert!(second(&mut feeder, START + at * SECOND, 0, "60000") > 0, "second {at}");
    }
    for at in 10..70 {
        let ahead = 3_600 * SECOND;
        assert!(second(&mut feeder, START + at * SECOND, ahead, "60100") > 0, "second {at}, an hour ahead");
    }
    let quiet = (70..100).filter(|at| second(&mut feeder, START + at * SECOND, 0, "60200") == 0).count();
    assert!(quiet <= 3, "{quiet} seconds without a price after the clock was set back");
    assert_eq!(feeder.core.counters().clock_steps, 1);
    let last = feeder.prices().next_back().unwrap();
    assert_eq!(last.status, PriceStatus::Ok);
    assert!(last.ts_event.0 > START + 98 * SECOND && last.ts_event.0 <= START + 100 * SECOND, "{}", last.ts_event);
    assert_eq!(last.raw.to_string(), "60200");
    // One record from the year 2100 is no more than that.
    feeder.push(4_102_444_800 * SECOND, TickBody::Clock(Clock));
    let quiet = (100..130).filter(|at| second(&mut feeder, START + at * SECOND, 0, "60300") == 0).count();
    assert!(quiet <= 3, "{quiet} seconds without a price after a record from 2100");
    assert_eq!(feeder.prices().next_back().unwrap().status, PriceStatus::Ok);
}

#[test]
fn offsets_below_the_position_change_nothing() {
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules(&[]))]));
    feeder.push(START, trade("a", "BTC-USDT", 1, ("60000", "1")));
    let hash = feeder.core.state_hash();
    let origin = Origin::Root { role: "other".parse().unwrap(), epoch: 0, sequence: 1 };
    let body = trade("a", "BTC-USDT", 2, ("1", "1"));
    let (ts_event, ts_recv) = (UnixNanos(START), UnixNanos(START));
    let tick = Tick { origin, ts_event, ts_recv, flags: TickFlags::default(), body };
    let mut out = Vec::new();
    feeder.core.apply(Stamp { partition: 0, offset: 0 }, &tick, &mut out);
    assert_eq!((out.len(), feeder.core.state_hash()), (0, hash));
}
