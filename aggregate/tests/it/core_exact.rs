//! Prices, windows and candles equal an independent exact recomputation: random feeds, and in disorder.

use model::{Clock, Instrument, Price, Quantity, Side, TickBody, TickFlags, Trade, TradeId};

use crate::core_naive::{Arrived, Naive, last_revisions};
use crate::core_support::{Feeder, MILLI, SECOND, START, config, instrument, rules};

/// A trade on its way: what happened, and what its record says of when.
#[derive(Debug, Clone, Copy)]
struct Sent {
    venue: &'static str,
    id: u64,
    price: i64,
    quantity: i64,
    event: i64,
    received: i64,
}

impl Sent {
    /// The event time that counts, by the rule in words: the venue's, unless it is more than 5 s from ours.
    const fn at(&self) -> i64 {
        if (self.event - self.received).abs() > 5 * SECOND { self.received } else { self.event }
    }

    fn body(&self, of: Instrument) -> TickBody {
        TickBody::Trade(Trade {
            venue: self.venue.parse().unwrap(),
            instrument: of,
            id: TradeId::Number(self.id),
            price: Price::from_raw(self.price).unwrap(),
            quantity: Quantity::from_raw(self.quantity).unwrap(),
            taker_side: Side::Buy,
        })
    }

    fn arrived(&self, offset: u64) -> Arrived {
        let (price, quantity) = (self.price.into(), self.quantity.into());
        Arrived { offset, at: self.at(), venue: self.venue, id: self.id, price, quantity }
    }
}

fn random_trades(random: &mut fastrand::Rng, count: u64, skew: i64, outliers: bool) -> Vec<Sent> {
    let mut time = START;
    let venues = [("alpha", 0), ("bravo", 0), ("charlie", skew)];
    (0..count)
        .map(|id| {
            time += if random.u16(0..500) == 0 { 300 * MILLI } else { random.i64(0..18) * MILLI };
            let (venue, skew) = venues[random.choice([0, 0, 0, 1, 1, 2]).unwrap()];
            let far = outliers && venue == "charlie" && (id / 500) % 2 == 1;
            let base = if far { 72_000 } else { 60_000 };
            let price = (base * 100 + random.i64(-500..500)) * 1_000_000 + random.i64(0..3);
            let event = time + skew - random.i64(0..50) * MILLI;
            Sent { venue, id, price, quantity: random.i64(1..300_000_000), event, received: time }
        })
        .collect()
}

/// Folds trades in this order, checks every price on the way and every candle at the end.
fn fold_and_check(sent: &[Sent], context: &str) -> (Naive, Feeder) {
    let of = instrument("BTC-USDT");
    let rules = rules(&[("rejoin_after", "0s"), ("publish.min_interval", "500ms"), ("max_clock_skew", "5s")]);
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules)]));
    let mut naive = Naive::default();
    let mut seen = 0;
    for trade in sent {
        feeder.push_as(trade.event, trade.received, TickFlags::default(), trade.body(of));
        naive.arrive(trade.arrived(feeder.core.position() - 1));
        for output in &feeder.out[seen..] {
            if let aggregate::core::Output::Price(price) = output {
                naive.check(price, context);
            }
        }
        seen = feeder.out.len();
        assert_eq!(feeder.core.counters().late, 0, "{context}: the feed stays inside the lateness bound");
    }
    let end = sent.iter().map(|trade| trade.at()).max().unwrap();
    feeder.push(end + 3 * 86_400 * SECOND, TickBody::Clock(Clock));
    assert_eq!(last_revisions(feeder.candles(), of), naive.candles(), "{context}: candles");
    assert!(feeder.prices().count() > 20, "{context}: too few prices");
    (naive, feeder)
}

#[test]
fn random_feeds_equal_the_definitions() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let sent = random_trades(&mut random, 3_000, 0, seed % 2 == 1);
        fold_and_check(&sent, &format!("seed {seed}"));
    }
}

/// Row 8 of the proof: 5 % lost, 5 % doubled, reordered within 100, one venue's clock 10 s wrong.
#[test]
fn every_order_of_arrival_gives_the_same() {
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(1_000 + seed);
        let mut sent = random_trades(&mut random, 3_000, if seed % 2 == 0 { 10 * SECOND } else { -10 * SECOND }, false);
        sent.retain(|_| random.u8(0..20) != 0);
        let mut first = None;
        for order in 0..6 {
            let context = format!("seed {seed}, order {order}");
            let mut arrivals: Vec<(usize, Sent)> = Vec::new();
            for (at, trade) in sent.iter().enumerate() {
                let copies = 1 + usize::from(random.u8(0..20) == 0);
                arrivals.extend((0..copies).map(|_| (at + if order == 0 { 0 } else { random.usize(0..100) }, *trade)));
            }
            arrivals.sort_by_key(|(place, _)| *place);
            let arrivals: Vec<Sent> = arrivals.into_iter().map(|(_, trade)| trade).collect();
            let (_, feeder) = fold_and_check(&arrivals, &context);
            assert_eq!(feeder.core.counters().trades, sent.len() as u64, "{context}: each trade counts once");
            let candles = last_revisions(feeder.candles(), instrument("BTC-USDT"));
            let first = first.get_or_insert_with(|| candles.clone());
            assert_eq!(*first, candles, "{context}: candles of another order");
        }
    }
}

/// A trade behind the watermark corrects what is final; behind the allowed lateness it is left out.
#[test]
fn late_trades_correct_and_later_ones_are_left_out() {
    let of = instrument("BTC-USDT");
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules(&[("candles", "1s, 1m")]))]));
    let trade = |feeder: &mut Feeder, id: u64, at: i64, price: i64| {
        let sent = Sent { venue: "a", id, price: price * 100_000_000, quantity: 100_000_000, event: at, received: at };
        feeder.push_as(at, at.max(START), TickFlags::default(), sent.body(of));
    };
    trade(&mut feeder, 1, START + 100 * MILLI, 100);
    trade(&mut feeder, 2, START + 2_500 * MILLI, 101);
    assert_eq!(feeder.candles().count(), 2, "the watermark passed the first second, and the minute that it ends");
    trade(&mut feeder, 3, START + 900 * MILLI, 99);
    let rows: Vec<(String, u32, String, String)> = feeder
        .candles()
        .map(|c| (c.interval.to_string(), c.revision, c.close.to_string(), c.volume.to_string()))
        .collect();
    let row = |interval: &str, revision, close: &str, volume: &str| {
        (interval.to_owned(), revision, close.to_owned(), volume.to_owned())
    };
    let expected =
        [row("1s", 0, "100", "1"), row("1m", 0, "100", "1"), row("1s", 1, "99", "2"), row("1m", 1, "99", "2")];
    assert_eq!(rows, expected);
    trade(&mut feeder, 4, START + 400 * MILLI, 98);
    assert_eq!(feeder.core.counters().late, 1, "2.1 s behind the watermark");
    assert_eq!(feeder.candles().count(), 4);
    assert_eq!(feeder.core.counters().revisions, 2);
}

/// A venue that is silent holds the candles back for `idle_after`, not longer.
#[test]
fn an_idle_venue_is_not_waited_for() {
    let of = instrument("BTC-USDT");
    let mut feeder = Feeder::new(config(&[("BTC-USDT", rules(&[("candles", "1s")]))]));
    let trade = |feeder: &mut Feeder, venue: &'static str, id: u64, at: i64| {
        let sent = Sent { venue, id, price: 100, quantity: 100, event: at, received: at };
        feeder.push_as(at, at, TickFlags::default(), sent.body(of));
    };
    trade(&mut feeder, "slow", 1, START);
    for id in 0..50 {
        trade(&mut feeder, "quick", id, START + 100 * MILLI * id as i64);
    }
    assert_eq!(feeder.candles().count(), 0, "the slow venue may still say something");
    trade(&mut feeder, "quick", 50, START + 6 * SECOND);
    assert_eq!(feeder.candles().count(), 1, "after 5 s nobody waits for it");
    feeder.push(START + 60 * SECOND, TickBody::Clock(Clock));
    assert_eq!(feeder.candles().count(), 6, "time alone closes the rest");
}
