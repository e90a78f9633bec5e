//! The same prices, computed again from their definitions: slowly, from a plain list of trades, in whole
//! fractions. It shares no code with the core beyond the record types.

use std::collections::{BTreeMap, HashSet};

use model::{Candle, CompositePrice, ConstituentState, Instrument, Interval, PriceStatus, TradeId, Window};

const SECOND: i64 = 1_000_000_000;
const ONE: i128 = 100_000_000;
/// The rules that this file spells out; the tests configure the core to the same.
pub const WINDOW: i64 = 60 * SECOND;

#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    pub offset: u64,
    pub at: i64,
    pub venue: &'static str,
    pub id: u64,
    pub price: i128,
    pub quantity: i128,
}

#[derive(Debug, Default)]
pub struct Naive {
    pub trades: Vec<Arrived>,
    ids: HashSet<(&'static str, u64)>,
}

/// A fraction rounded half to even.
pub fn rounded(numerator: i128, denominator: i128) -> i128 {
    assert!(denominator > 0 && numerator >= 0);
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    let up = match (rest * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => whole % 2 == 1,
    };
    whole + i128::from(up)
}

fn average<'a>(trades: impl Iterator<Item = &'a Arrived> + Clone) -> Option<(i128, i128)> {
    let volume: i128 = trades.clone().map(|trade| trade.quantity).sum();
    let notional: i128 = trades.map(|trade| trade.price * trade.quantity).sum();
    (volume > 0).then(|| (rounded(notional, volume), volume))
}

/// Halfway between the lowest prices at which at least half, and more than half, of the weight is reached.
fn middle_by_weight(venues: &[(i128, i128)]) -> i128 {
    let total: i128 = venues.iter().map(|(_, weight)| weight).sum();
    let reached = |price: i128| -> i128 { venues.iter().filter(|one| one.0 <= price).map(|(_, weight)| weight).sum() };
    let lowest = |enough: &dyn Fn(i128) -> bool| {
        venues.iter().map(|(price, _)| *price).filter(|price| enough(reached(*price) * 2)).min().unwrap()
    };
    rounded(lowest(&|twice| twice >= total) + lowest(&|twice| twice > total), 2)
}

impl Naive {
    pub fn arrive(&mut self, trade: Arrived) {
        if self.ids.insert((trade.venue, trade.id)) {
            self.trades.push(trade);
        }
    }

    /// Compares a price, its windows and its constituents.
    pub fn check(&self, found: &CompositePrice, context: &str) {
        let now = found.ts_event.0;
        let known = || self.trades.iter().filter(|trade| trade.offset <= found.cause.offset);
        for one in &found.vwap {
            let (length, bucket) = match one.window {
                Window::S1 => (SECOND, 1),
                Window::M1 => (60 * SECOND, 1),
                Window::M5 => (300 * SECOND, SECOND),
                Window::H1 => (3_600 * SECOND, SECOND),
                Window::H24 => (86_400 * SECOND, 60 * SECOND),
            };
            let inside = known().filter(|trade| trade.at / bucket > now / bucket - length / bucket);
            let expected = average(inside);
            let have = one.price.map(|price| (i128::from(price.raw()), one.volume.raw()));
            assert_eq!(have, expected, "{context}: {} vwap at offset {}", one.window.as_str(), found.cause.offset);
        }
        self.check_composite(found, known().filter(|trade| trade.at > now - WINDOW), context);
    }

    /// `capped_vwap` with its defaults and `rejoin_after: 0`, where every venue trades in the window.
    fn check_composite<'a>(
        &self,
        found: &CompositePrice,
        inside: impl Iterator<Item = &'a Arrived> + Clone,
        context: &str,
    ) {
        let names: std::collections::BTreeSet<&str> = inside.clone().map(|trade| trade.venue).collect();
        let venues: BTreeMap<&str, (i128, i128)> = names
            .into_iter()
            .map(|name| (name, average(inside.clone().filter(|trade| trade.venue == name)).unwrap()))
            .collect();
        let context = format!("{context}: price at offset {}", found.cause.offset);
        if venues.is_empty() {
            // Before its first trade a venue may have a price by its quotes, which are not looked at here.
            assert!(self.trades.is_empty() || found.status == PriceStatus::Stale, "{context}");
            return;
        }
        let all: Vec<(i128, i128)> = venues.values().copied().collect();
        let centre = middle_by_weight(&all);
        let reach = rounded(centre * 3, 100);
        let (low, high) = (centre - reach, centre + reach);
        let near = |price: i128| low <= price && price <= high;
        let inliers = all.iter().filter(|(price, _)| near(*price)).count();
        let excludes = inliers >= 2;
        let counted: Vec<(i128, i128)> = if excludes {
            all.iter().copied().filter(|(price, _)| near(*price)).collect()
        } else {
            all.iter().map(|(price, volume)| ((*price).clamp(low, high), *volume)).collect()
        };
        let (numerator, denominator) = fraction(&counted);
        assert_eq!(i128::from(found.raw.raw()), rounded(numerator, denominator), "{context}: {counted:?}");
        let status = match (counted.len(), excludes) {
            (1, _) => PriceStatus::SingleSource,
            (3.., true) => PriceStatus::Ok,
            _ => PriceStatus::Degraded,
        };
        assert_eq!(found.status, status, "{context}");
        for one in &found.constituents {
            let Some((price, volume)) = venues.get(one.venue.as_str()) else {
                let out = matches!(one.state, ConstituentState::Stale | ConstituentState::Thin);
                assert!(out && one.weight == model::Quantity::ZERO, "{context}: {one:?}");
                continue;
            };
            assert_eq!((i128::from(one.price.raw()), one.volume.raw()), (*price, *volume), "{context}: {}", one.venue);
            let state = match (near(*price), excludes) {
                (true, _) => ConstituentState::Used,
                (false, true) => ConstituentState::Outlier,
                (false, false) => ConstituentState::Clamped,
            };
            assert_eq!(one.state, state, "{context}: {}", one.venue);
        }
        recomputed_from_the_record(found, &context);
    }

    /// Every candle there should be, from the trades alone.
    pub fn candles(&self) -> BTreeMap<(Interval, i64), Expected> {
        let mut ordered: Vec<&Arrived> = self.trades.iter().collect();
        ordered.sort_by_key(|trade| (trade.at, trade.venue, TradeId::Number(trade.id)));
        let mut candles: BTreeMap<(Interval, i64), Expected> = BTreeMap::new();
        for interval in Interval::ALL {
            for trade in &ordered {
                let start = trade.at / interval.nanos() * interval.nanos();
                let candle = candles.entry((interval, start)).or_insert(Expected {
                    open: trade.price,
                    high: trade.price,
                    low: trade.price,
                    close: trade.price,
                    ..Expected::default()
                });
                candle.high = candle.high.max(trade.price);
                candle.low = candle.low.min(trade.price);
                candle.close = trade.price;
                candle.volume += trade.quantity;
                candle.notional += trade.price * trade.quantity;
                candle.trades += 1;
            }
        }
        candles
    }
}

/// The mean by volume; a venue with more than half of it, among three or more, has exactly half.
fn fraction(counted: &[(i128, i128)]) -> (i128, i128) {
    let total: i128 = counted.iter().map(|(_, volume)| volume).sum();
    let sum = |venues: &[(i128, i128)]| venues.iter().map(|(price, volume)| price * volume).sum::<i128>();
    let major = counted.iter().position(|(_, volume)| volume * 2 > total);
    match major {
        Some(major) if counted.len() >= 3 => {
            let others: Vec<(i128, i128)> =
                counted.iter().enumerate().filter(|(at, _)| *at != major).map(|(_, one)| *one).collect();
            let rest: i128 = others.iter().map(|(_, volume)| volume).sum();
            (counted[major].0 * rest + sum(&others), 2 * rest)
        }
        _ => (sum(counted), total),
    }
}

/// Whoever has only the record comes to the same price, but for what the eighth decimal of the weights hides.
fn recomputed_from_the_record(found: &CompositePrice, context: &str) {
    let used = found.constituents.iter().filter(|one| one.state == ConstituentState::Used);
    if found.constituents.iter().any(|one| one.state == ConstituentState::Clamped) {
        return;
    }
    let sum: i128 = used.clone().map(|one| i128::from(one.price.raw()) * i128::from(one.weight.raw())).sum();
    let weights: i128 = used.map(|one| i128::from(one.weight.raw())).sum();
    assert!((weights - ONE).abs() <= 2, "{context}: weights add up to {weights}");
    let off = (rounded(sum, weights) - i128::from(found.raw.raw())).abs();
    assert!(off <= i128::from(found.raw.raw()) / ONE + 1, "{context}: {off} from what the constituents give");
}

/// What a candle should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
    pub volume: i128,
    pub notional: i128,
    pub trades: u64,
}

/// The last revision of each candle of an instrument.
pub fn last_revisions<'a>(
    candles: impl Iterator<Item = &'a Candle>,
    of: Instrument,
) -> BTreeMap<(Interval, i64), Expected> {
    let mut last = BTreeMap::new();
    let mut revisions: BTreeMap<(Interval, i64), u32> = BTreeMap::new();
    for candle in candles.filter(|candle| candle.instrument == of) {
        let key = (candle.interval, candle.start.0);
        let expected = revisions.get(&key).map_or(0, |revision| revision + 1);
        assert_eq!(candle.revision, expected, "{key:?}: revisions count up from 0");
        revisions.insert(key, candle.revision);
        let vwap = rounded(candle.notional.raw(), candle.volume.raw());
        assert_eq!(i128::from(candle.vwap.raw()), vwap, "{key:?}: vwap");
        last.insert(
            key,
            Expected {
                open: candle.open.raw().into(),
                high: candle.high.raw().into(),
                low: candle.low.raw().into(),
                close: candle.close.raw().into(),
                volume: candle.volume.raw(),
                notional: candle.notional.raw(),
                trades: candle.trades,
            },
        );
    }
    last
}
