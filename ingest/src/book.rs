//! A venue's book as its level updates build it.

use model::{Instrument, Price, Quantity, Quote, Venue};
use rustc_hash::FxHashMap;

/// One price level; quantity zero removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Units of 1e-8.
    pub price: i64,
    /// Units of 1e-8, zero or more.
    pub quantity: i64,
}

/// Level updates of one frame, or a whole book: scratch space that a decoder reuses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// Buy side.
    pub bids: Vec<Level>,
    /// Sell side.
    pub asks: Vec<Level>,
}

impl Levels {
    /// Levels of one side in one frame, at most: venues send up to 5,000 in a snapshot.
    pub const SIDE_MAX: usize = 50_000;

    /// Forgets the levels and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Levels on both sides.
    pub fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

/// One side, in two parts. *Near*: the best levels in order of their keys, which rise towards the best, the
/// last; short, so that a search is quick and little moves. *Far*: all others by key, in no order, since most
/// updates of a real stream are far from the top and only their sum matters until the price goes there. Every
/// far key is below every near one, and there is nothing far unless something is near.
#[derive(Debug, Clone, Default)]
struct Side {
    // Apart, so that a search reads keys only.
    keys: Vec<i64>,
    quantities: Vec<i64>,
    far: FxHashMap<i64, i64>,
}

impl Side {
    /// More near levels than this are too many,
    const NEAR_MAX: usize = 256;
    /// fewer too few,
    const NEAR_MIN: usize = 24;
    /// and this many are right.
    const NEAR: usize = 160;

    /// Index of the first near key at or above `key`.
    #[inline]
    fn position(&self, key: i64) -> usize {
        let keys = self.keys.as_slice();
        let (mut low, mut size) = (0, keys.len());
        while size > 0 {
            let half = size / 2;
            let middle = low + half;
            // Written so that it compiles to a conditional move: the outcome is a coin toss.
            let above = keys[middle] < key;
            low = if above { middle + 1 } else { low };
            size = if above { size - half - 1 } else { half };
        }
        low
    }

    #[inline]
    fn set(&mut self, key: i64, quantity: i64) {
        if !self.far.is_empty() && self.keys.first().is_some_and(|lowest| key < *lowest) {
            return self.set_far(key, quantity);
        }
        let at = self.position(key);
        if self.keys.get(at) == Some(&key) {
            if quantity != 0 {
                self.quantities[at] = quantity;
                return;
            }
            self.keys.remove(at);
            self.quantities.remove(at);
            if self.keys.len() < Self::NEAR_MIN && !self.far.is_empty() {
                self.bring_near();
            }
        } else if quantity != 0 {
            self.keys.insert(at, key);
            self.quantities.insert(at, quantity);
            if self.keys.len() > Self::NEAR_MAX {
                self.send_far();
            }
        }
    }

    #[inline]
    fn set_far(&mut self, key: i64, quantity: i64) {
        if quantity == 0 {
            self.far.remove(&key);
            return;
        }
        self.far.insert(key, quantity);
        if self.len() > Book::SIDE_MAX {
            self.truncate(Book::SIDE_MAX - Book::SIDE_MAX / 8);
        }
    }

    /// Moves the worst near levels away.
    #[cold]
    fn send_far(&mut self) {
        let surplus = self.keys.len() - Self::NEAR;
        self.far.extend(self.keys.drain(..surplus).zip(self.quantities.drain(..surplus)));
        if self.len() > Book::SIDE_MAX {
            self.truncate(Book::SIDE_MAX - Book::SIDE_MAX / 8);
        }
    }

    /// Moves the best far levels in.
    #[cold]
    fn bring_near(&mut self) {
        let wanted = (Self::NEAR - self.keys.len()).min(self.far.len());
        // The order of the map does not matter: keys are distinct, and the best of them are sorted below.
        let mut keys: Vec<i64> = self.far.keys().copied().collect();
        let rest = keys.len() - wanted;
        if rest > 0 {
            keys.select_nth_unstable(rest);
        }
        let best = &mut keys[rest..];
        best.sort_unstable();
        let far = &mut self.far;
        let quantities: Vec<i64> = best.iter().map(|key| far.remove(key).unwrap_or_default()).collect();
        self.keys.splice(..0, best.iter().copied());
        self.quantities.splice(..0, quantities);
    }

    fn truncate(&mut self, depth: usize) {
        if self.len() > depth {
            let levels = self.levels();
            self.load(levels.into_iter().take(depth));
        }
    }

    fn len(&self) -> usize {
        self.keys.len() + self.far.len()
    }

    /// Fills the side from scratch, in whatever order the levels come.
    fn load(&mut self, levels: impl Iterator<Item = (i64, i64)>) {
        let mut pairs: Vec<(i64, i64)> = levels.filter(|(_, quantity)| *quantity != 0).collect();
        pairs.sort_unstable_by_key(|(key, _)| *key);
        // A price named twice keeps one of its quantities; no venue does that.
        pairs.dedup_by_key(|(key, _)| *key);
        let surplus = pairs.len().saturating_sub(Book::SIDE_MAX);
        pairs.drain(..surplus);
        let near = pairs.split_off(pairs.len().saturating_sub(Self::NEAR));
        self.keys.clear();
        self.keys.extend(near.iter().map(|(key, _)| *key));
        self.quantities.clear();
        self.quantities.extend(near.iter().map(|(_, quantity)| *quantity));
        self.far.clear();
        self.far.extend(pairs);
    }

    #[inline]
    fn best(&self) -> (i64, i64) {
        match (self.keys.last(), self.quantities.last()) {
            (Some(key), Some(quantity)) => (*key, *quantity),
            _ => (0, 0),
        }
    }

    /// Keys and quantities, best first.
    fn levels(&self) -> Vec<(i64, i64)> {
        let near = self.keys.iter().copied().zip(self.quantities.iter().copied());
        let mut all: Vec<_> = near.chain(self.far.iter().map(|(key, quantity)| (*key, *quantity))).collect();
        all.sort_unstable_by_key(|(key, _)| std::cmp::Reverse(*key));
        all
    }
}

/// Best bid and ask with their quantities, in units of 1e-8; a side without orders has zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Top {
    /// Best bid.
    pub bid: i64,
    /// Base units there.
    pub bid_quantity: i64,
    /// Best ask.
    pub ask: i64,
    /// Base units there.
    pub ask_quantity: i64,
}

impl Top {
    /// Whether the best bid is at or above the best ask: no sound book shows that.
    #[inline]
    pub const fn crossed(&self) -> bool {
        self.bid != 0 && self.ask != 0 && self.bid >= self.ask
    }

    /// As a quote.
    #[inline]
    pub fn quote(&self, venue: Venue, instrument: Instrument, sequence: u64) -> Quote {
        let price = |raw| Price::from_raw(raw).unwrap_or_default();
        let quantity = |raw| Quantity::from_raw(raw).unwrap_or_default();
        Quote {
            venue,
            instrument,
            sequence,
            bid: price(self.bid),
            bid_quantity: quantity(self.bid_quantity),
            ask: price(self.ask),
            ask_quantity: quantity(self.ask_quantity),
        }
    }
}

/// Bids and asks of one instrument at one venue, bounded: past [`Book::SIDE_MAX`] levels the worst eighth of a
/// side is forgotten, thousands of levels away from the top.
#[derive(Debug, Clone, Default)]
pub struct Book {
    bids: Side,
    // Keys are negated prices, so that the best ask is the greatest.
    asks: Side,
}

impl Book {
    /// Levels a side holds, at most.
    pub const SIDE_MAX: usize = 16_384;

    /// Replaces everything.
    pub fn load(&mut self, levels: &Levels) {
        self.bids.load(levels.bids.iter().map(|level| (level.price, level.quantity)));
        self.asks.load(levels.asks.iter().map(|level| (-level.price, level.quantity)));
    }

    /// Sets the given levels; quantity zero removes one.
    #[inline]
    pub fn apply(&mut self, levels: &Levels) {
        for level in &levels.bids {
            self.bids.set(level.price, level.quantity);
        }
        for level in &levels.asks {
            self.asks.set(-level.price, level.quantity);
        }
    }

    /// Forgets all but the best `depth` levels of each side.
    pub fn truncate(&mut self, depth: usize) {
        self.bids.truncate(depth);
        self.asks.truncate(depth);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.load(&Levels::default());
    }

    /// Best bid and ask.
    #[inline]
    pub fn top(&self) -> Top {
        let (bid, bid_quantity) = self.bids.best();
        let (ask, ask_quantity) = self.asks.best();
        Top { bid, bid_quantity, ask: -ask, ask_quantity }
    }

    /// Levels of each side.
    pub fn depth(&self) -> (usize, usize) {
        (self.bids.len(), self.asks.len())
    }

    /// Bids, best first. Sorts: for checks and displays.
    pub fn bids(&self) -> Vec<Level> {
        self.bids.levels().into_iter().map(|(key, quantity)| Level { price: key, quantity }).collect()
    }

    /// Asks, best first. Sorts: for checks and displays.
    pub fn asks(&self) -> Vec<Level> {
        self.asks.levels().into_iter().map(|(key, quantity)| Level { price: -key, quantity }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_book_equals_a_sorted_map() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut book = Book::default();
            let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
            for round in 0..3_000 {
                let mut levels = Levels::default();
                for _ in 0..random.usize(0..8) {
                    let price = random.i64(1..1_000);
                    let quantity = if random.bool() { 0 } else { random.i64(1..100) };
                    let (side, map) =
                        if random.bool() { (&mut levels.bids, &mut bids) } else { (&mut levels.asks, &mut asks) };
                    side.push(Level { price, quantity });
                    if quantity == 0 {
                        map.remove(&price);
                    } else {
                        map.insert(price, quantity);
                    }
                }
                book.apply(&levels);
                let expected: Vec<_> = bids.iter().rev().map(|(price, quantity)| (*price, *quantity)).collect();
                let found: Vec<_> = book.bids().iter().map(|level| (level.price, level.quantity)).collect();
                assert_eq!(found, expected, "bids, seed {seed} round {round}");
                let expected: Vec<_> = asks.iter().map(|(price, quantity)| (*price, *quantity)).collect();
                let found: Vec<_> = book.asks().iter().map(|level| (level.price, level.quantity)).collect();
                assert_eq!(found, expected, "asks, seed {seed} round {round}");
                assert_eq!(book.depth(), (bids.len(), asks.len()), "seed {seed} round {round}");
                let best_bid = bids.last_key_value().map_or(0, |(price, _)| *price);
                let best_ask = asks.first_key_value().map_or(0, |(price, _)| *price);
                assert_eq!((book.top().bid, book.top().ask), (best_bid, best_ask), "seed {seed} round {round}");
            }
        }
    }

    #[test]
    fn a_side_is_bounded_and_keeps_its_best() {
        let mut book = Book::default();
        for price in 1..=40_000 {
            book.apply(&Levels { bids: vec![Level { price, quantity: 1 }], asks: vec![] });
        }
        assert!(book.depth().0 <= Book::SIDE_MAX);
        assert_eq!((book.top().bid, book.top().ask), (40_000, 0));
        book.truncate(10);
        assert_eq!(
            book.bids().iter().map(|level| level.price).collect::<Vec<_>>(),
            (39_991..=40_000).rev().collect::<Vec<_>>()
        );
    }
}
