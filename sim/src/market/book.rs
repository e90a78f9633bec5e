//! A venue's order book by price level, in whole ticks and lots.

use model::Side;

/// One price level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Level {
    /// In ticks.
    pub(crate) price: i64,
    /// In lots; 0 stands for a removed level in deltas.
    pub(crate) quantity: i64,
}

/// A change of one level, with the quantities before and after; 0 is no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Bids are the side of buyers.
    pub(crate) side: Side,
    /// In ticks.
    pub(crate) price: i64,
    /// In lots.
    pub(crate) before: i64,
    /// In lots.
    pub(crate) after: i64,
}

/// Both sides, best first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    /// Highest first.
    pub(crate) bids: Vec<Level>,
    /// Lowest first.
    pub(crate) asks: Vec<Level>,
    /// Grows by one with each change of a level.
    pub(crate) update_id: u64,
    /// The changes of the last event, oldest first.
    pub(crate) changes: Vec<Change>,
}

impl Book {
    /// The levels of a side: bids are the side of buyers.
    pub(crate) fn side(&self, side: Side) -> &[Level] {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    /// Best bid and ask.
    pub(crate) fn best(&self) -> (Option<Level>, Option<Level>) {
        (self.bids.first().copied(), self.asks.first().copied())
    }

    /// The quantity at a price; 0 where there is no level.
    pub(crate) fn quantity_at(&self, side: Side, price: i64) -> i64 {
        let levels = self.side(side);
        let place = levels.binary_search_by(|level| match side {
            Side::Buy => price.cmp(&level.price),
            Side::Sell => level.price.cmp(&price),
        });
        place.map_or(0, |at| levels[at].quantity)
    }

    /// Sets the quantity at a price; 0 removes the level.
    pub(crate) fn set(&mut self, side: Side, price: i64, quantity: i64) {
        let levels = match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        };
        let place = levels.binary_search_by(|level| match side {
            Side::Buy => price.cmp(&level.price),
            Side::Sell => level.price.cmp(&price),
        });
        let before = place.map_or(0, |at| levels[at].quantity);
        if before == quantity {
            return;
        }
        match (place, quantity) {
            (Ok(at), 0) => drop(levels.remove(at)),
            (Ok(at), quantity) => levels[at].quantity = quantity,
            (Err(at), quantity) => levels.insert(at, Level { price, quantity }),
        }
        self.changes.push(Change { side, price, before, after: quantity });
        self.update_id += 1;
    }
}

/// The first levels of a book as a channel last showed them, to tell what has changed since.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    depth: usize,
    /// Whether a level pushed out by better ones is announced as removed, or left to the reader to cut.
    announces_evicted: bool,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// What changed in a window: removed levels have quantity 0. Best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    /// Changed bids.
    pub(crate) bids: Vec<Level>,
    /// Changed asks.
    pub(crate) asks: Vec<Level>,
}

impl Delta {
    /// Whether nothing changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

impl Window {
    /// A window over the first `depth` levels, empty until the first [`Self::advance`].
    pub(crate) fn new(depth: usize, announces_evicted: bool) -> Self {
        Self { depth, announces_evicted, bids: Vec::new(), asks: Vec::new() }
    }

    /// The bids last shown.
    pub(crate) fn bids(&self) -> &[Level] {
        &self.bids
    }

    /// The asks last shown.
    pub(crate) fn asks(&self) -> &[Level] {
        &self.asks
    }

    /// Moves the window to the book's present state and says what changed.
    pub(crate) fn advance(&mut self, book: &Book, delta: &mut Delta) {
        let (bids, asks) = (first(&book.bids, self.depth), first(&book.asks, self.depth));
        diff(&self.bids, bids, |a, b| a > b, self.evicts(bids), &mut delta.bids);
        diff(&self.asks, asks, |a, b| a < b, self.evicts(asks), &mut delta.asks);
        self.bids.clear();
        self.bids.extend_from_slice(bids);
        self.asks.clear();
        self.asks.extend_from_slice(asks);
    }

    /// Whether old levels beyond the end of `shown` are announced. A side shorter than the window has lost
    /// them for good; a full one has pushed them out.
    fn evicts(&self, shown: &[Level]) -> bool {
        self.announces_evicted || shown.len() < self.depth
    }
}

fn first(levels: &[Level], depth: usize) -> &[Level] {
    &levels[..levels.len().min(depth)]
}

/// Merges two sorted runs of levels; `before` orders prices best first.
fn diff(old: &[Level], new: &[Level], before: impl Fn(i64, i64) -> bool, evicts: bool, out: &mut Vec<Level>) {
    out.clear();
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        if old[i].price == new[j].price {
            if old[i].quantity != new[j].quantity {
                out.push(new[j]);
            }
            i += 1;
            j += 1;
        } else if before(old[i].price, new[j].price) {
            out.push(Level { price: old[i].price, quantity: 0 });
            i += 1;
        } else {
            out.push(new[j]);
            j += 1;
        }
    }
    if evicts {
        out.extend(old[i..].iter().map(|level| Level { price: level.price, quantity: 0 }));
    }
    out.extend_from_slice(&new[j..]);
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    fn apply(levels: &mut Vec<Level>, changes: &[Level], side: Side, depth: usize) {
        let mut book = Book::default();
        for level in levels.iter().chain(changes) {
            book.set(side, level.price, level.quantity);
        }
        *levels = book.side(side).to_vec();
        levels.truncate(depth);
    }

    #[test]
    fn a_reader_of_deltas_holds_the_window() {
        for announces in [false, true] {
            let mut random = Random::new(5, &[]);
            let mut book = Book::default();
            let mut window = Window::new(10, announces);
            let (mut bids, mut asks) = (Vec::new(), Vec::new());
            let mut delta = Delta::default();
            for round in 0..20_000 {
                for _ in 0..random.below(4) {
                    let quantity = random.below(4) as i64;
                    book.set(Side::Buy, 100 - random.below(30) as i64, quantity);
                    book.set(Side::Sell, 101 + random.below(30) as i64, quantity);
                }
                window.advance(&book, &mut delta);
                // Without announcements the reader cuts to the depth; with them it never holds more.
                let cut = if announces { usize::MAX } else { 10 };
                apply(&mut bids, &delta.bids, Side::Buy, cut);
                apply(&mut asks, &delta.asks, Side::Sell, cut);
                assert_eq!(bids, first(&book.bids, 10), "round {round}, announces {announces}");
                assert_eq!(asks, first(&book.asks, 10), "round {round}, announces {announces}");
            }
        }
    }

    #[test]
    fn only_real_changes_count() {
        let mut book = Book::default();
        book.set(Side::Buy, 5, 1);
        book.set(Side::Buy, 5, 1);
        book.set(Side::Sell, 6, 0);
        assert_eq!(book.update_id, 1);
    }
}
