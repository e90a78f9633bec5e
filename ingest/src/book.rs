//! A venue's book as its level updates build it.

use model::{Instrument, Price, Quantity, Quote, Venue};

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

/// One side. Keys rise towards the best level, which is last: nearly every update is near the best, so the
/// search starts there and little has to move. Keys and quantities lie apart, so that a search reads keys only.
#[derive(Debug, Clone, Default)]
struct Side {
    keys: Vec<i64>,
    quantities: Vec<i64>,
}

impl Side {
    /// Index of the first key at or above `key`.
    #[inline]
    fn position(&self, key: i64) -> usize {
        // Gallop from the best level, then halve.
        let keys = self.keys.as_slice();
        let len = keys.len();
        let mut step = 8;
        let mut high = len;
        let mut low = loop {
            if step >= len {
                break 0;
            }
            let probe = len - step;
            if keys[probe] < key {
                break probe + 1;
            }
            high = probe;
            step *= 4;
        };
        let mut size = high - low;
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
        let at = self.position(key);
        if self.keys.get(at) == Some(&key) {
            if quantity == 0 {
                self.keys.remove(at);
                self.quantities.remove(at);
            } else {
                self.quantities[at] = quantity;
            }
        } else if quantity != 0 {
            if self.keys.len() >= Book::SIDE_MAX {
                self.drop_worst(Book::SIDE_MAX / 8);
                return self.set(key, quantity);
            }
            self.keys.insert(at, key);
            self.quantities.insert(at, quantity);
        }
    }

    #[cold]
    fn drop_worst(&mut self, count: usize) {
        self.keys.drain(..count);
        self.quantities.drain(..count);
    }

    fn truncate(&mut self, depth: usize) {
        let surplus = self.keys.len().saturating_sub(depth);
        if surplus > 0 {
            self.drop_worst(surplus);
        }
    }

    /// Fills the side from scratch, in whatever order the levels come.
    fn load(&mut self, levels: impl Iterator<Item = (i64, i64)>) {
        let mut pairs: Vec<(i64, i64)> = levels.filter(|(_, quantity)| *quantity != 0).collect();
        pairs.sort_unstable_by_key(|(key, _)| *key);
        // A price named twice keeps its last quantity in sort order; no venue does that.
        pairs.dedup_by_key(|(key, _)| *key);
        let surplus = pairs.len().saturating_sub(Book::SIDE_MAX);
        self.keys.clear();
        self.quantities.clear();
        self.keys.extend(pairs[surplus..].iter().map(|(key, _)| *key));
        self.quantities.extend(pairs[surplus..].iter().map(|(_, quantity)| *quantity));
    }

    #[inline]
    fn best(&self) -> (i64, i64) {
        match (self.keys.last(), self.quantities.last()) {
            (Some(key), Some(quantity)) => (*key, *quantity),
            _ => (0, 0),
        }
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
        (self.bids.keys.len(), self.asks.keys.len())
    }

    /// Bids, best first.
    pub fn bids(&self) -> impl Iterator<Item = Level> {
        self.bids
            .keys
            .iter()
            .zip(&self.bids.quantities)
            .rev()
            .map(|(key, quantity)| Level { price: *key, quantity: *quantity })
    }

    /// Asks, best first.
    pub fn asks(&self) -> impl Iterator<Item = Level> {
        self.asks
            .keys
            .iter()
            .zip(&self.asks.quantities)
            .rev()
            .map(|(key, quantity)| Level { price: -*key, quantity: *quantity })
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
                let found: Vec<_> = book.bids().map(|level| (level.price, level.quantity)).collect();
                assert_eq!(found, expected, "bids, seed {seed} round {round}");
                let expected: Vec<_> = asks.iter().map(|(price, quantity)| (*price, *quantity)).collect();
                let found: Vec<_> = book.asks().map(|level| (level.price, level.quantity)).collect();
                assert_eq!(found, expected, "asks, seed {seed} round {round}");
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
            book.bids().map(|level| level.price).collect::<Vec<_>>(),
            (39_991..=40_000).rev().collect::<Vec<_>>()
        );
    }
}
