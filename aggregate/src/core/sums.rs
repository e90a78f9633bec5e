//! Exact sums over sliding windows.

use std::collections::VecDeque;

use super::bytes::{Malformed, Reader, put_count, put_i64, put_i128, put_u64};

/// What a window adds up.
pub(super) trait Entry: Copy {
    /// Its place in time: nanoseconds, or the number of a bucket.
    fn at(&self) -> i64;
    /// What it adds.
    fn sums(&self) -> Sums;
    fn save(&self, out: &mut Vec<u8>);
    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Totals of a window. The book refuses a trade before any total could leave an `i128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    /// Price times quantity, in units of 1e-16.
    pub(super) notional: i128,
    /// Quantity, in units of 1e-8.
    pub(super) volume: i128,
    pub(super) trades: u64,
}

impl Sums {
    pub(super) const fn of(price: i64, quantity: i64) -> Self {
        Self { notional: price as i128 * quantity as i128, volume: quantity as i128, trades: 1 }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.notional = self.notional.wrapping_add(other.notional);
        self.volume = self.volume.wrapping_add(other.volume);
        self.trades = self.trades.wrapping_add(other.trades);
    }

    const fn subtract(&mut self, other: Self) {
        self.notional = self.notional.wrapping_sub(other.notional);
        self.volume = self.volume.wrapping_sub(other.volume);
        self.trades = self.trades.wrapping_sub(other.trades);
    }
}

/// A trade in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TradeEntry {
    pub(super) at: i64,
    pub(super) price: i64,
    pub(super) quantity: i64,
}

impl Entry for TradeEntry {
    fn at(&self) -> i64 {
        self.at
    }

    fn sums(&self) -> Sums {
        Sums::of(self.price, self.quantity)
    }

    fn save(&self, out: &mut Vec<u8>) {
        put_i64(out, self.at);
        put_i64(out, self.price);
        put_i64(out, self.quantity);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (at, price, quantity) = (from.i64()?, from.price()?, from.quantity()?);
        if !price.is_positive() || !quantity.is_positive() {
            return Err(Malformed("a trade without price or quantity"));
        }
        Ok(Self { at, price: price.raw(), quantity: quantity.raw() })
    }
}

/// Everything that traded in one bucket of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    number: i64,
    sums: Sums,
}

impl Entry for Bucket {
    fn at(&self) -> i64 {
        self.number
    }

    fn sums(&self) -> Sums {
        self.sums
    }

    fn save(&self, out: &mut Vec<u8>) {
        put_i64(out, self.number);
        put_i128(out, self.sums.notional);
        put_i128(out, self.sums.volume);
        put_u64(out, self.sums.trades);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = from.i64()?;
        let sums = Sums { notional: from.i128()?, volume: from.i128()?, trades: from.u64()? };
        if sums.volume <= 0 || sums.notional <= 0 || sums.trades == 0 {
            return Err(Malformed("an empty bucket"));
        }
        Ok(Self { number, sums })
    }
}

/// `K` windows over one series of entries: each holds what lies after `now - span`.
#[derive(Debug)]
pub(super) struct Sliding<E, const K: usize> {
    /// Ordered by time; entries of one time in order of arrival.
    entries: VecDeque<E>,
    spans: [i64; K],
    /// First entry inside each window.
    starts: [usize; K],
    sums: [Sums; K],
    /// Nothing leaves a window before this time.
    next_expiry: i64,
    /// Counts changes of any window, so that what is derived from one can be kept until then.
    version: u64,
}

impl<E: Entry, const K: usize> Sliding<E, K> {
    /// Windows of these lengths; at least one, each above zero.
    pub(super) const fn new(spans: [i64; K]) -> Self {
        Self {
            entries: VecDeque::new(),
            spans,
            starts: [0; K],
            sums: [Sums { notional: 0, volume: 0, trades: 0 }; K],
            next_expiry: i64::MAX,
            version: 0,
        }
    }

    /// Goes back to `now`: what lies after it is forgotten, and what had left a window may be inside again.
    pub(super) fn rewind(&mut self, now: i64) {
        let (entries, version) = (std::mem::take(&mut self.entries), self.version);
        *self = Self::new(self.spans);
        self.version = version + 1;
        for entry in entries.into_iter().filter(|entry| entry.at() <= now) {
            self.insert(entry, now);
        }
    }

    pub(super) const fn sums(&self, window: usize) -> &Sums {
        &self.sums[window]
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// The entries of one window, oldest first.
    pub(super) fn window(&self, window: usize) -> impl DoubleEndedIterator<Item = &E> {
        self.entries.range(self.starts[window]..)
    }

    /// Moves time on.
    pub(super) fn advance(&mut self, now: i64) {
        if now >= self.next_expiry {
            self.expire(now);
        }
    }

    fn expire(&mut self, now: i64) {
        self.version += 1;
        self.next_expiry = i64::MAX;
        let mut unused = usize::MAX;
        for window in 0..K {
            let cutoff = now.saturating_sub(self.spans[window]);
            let mut start = self.starts[window];
            while let Some(entry) = self.entries.get(start) {
                if entry.at() > cutoff {
                    self.next_expiry = self.next_expiry.min(entry.at().saturating_add(self.spans[window]));
                    break;
                }
                self.sums[window].subtract(entry.sums());
                start += 1;
            }
            self.starts[window] = start;
            unused = unused.min(start);
        }
        if unused > 0 {
            self.entries.drain(..unused);
            self.starts.iter_mut().for_each(|start| *start -= unused);
        }
    }

    /// Adds an entry at its place in time. The windows have been moved to `now`, which it is not after.
    pub(super) fn insert(&mut self, entry: E, now: i64) {
        let at = entry.at();
        let longest = self.spans.iter().copied().max().unwrap_or(0);
        if at <= now.saturating_sub(longest) {
            return;
        }
        self.version += 1;
        let place = match self.entries.back() {
            Some(last) if last.at() > at => self.entries.partition_point(|other| other.at() <= at),
            _ => self.entries.len(),
        };
        let sums = entry.sums();
        if place == self.entries.len() {
            self.entries.push_back(entry);
        } else {
            self.entries.insert(place, entry);
        }
        for window in 0..K {
            if at > now.saturating_sub(self.spans[window]) {
                self.sums[window].add(sums);
                self.next_expiry = self.next_expiry.min(at.saturating_add(self.spans[window]));
            } else {
                self.starts[window] += 1;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes the oldest entry out of every window that has it.
    pub(super) fn displace_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.version += 1;
        for window in 0..K {
            if self.starts[window] == 0 {
                self.sums[window].subtract(entry.sums());
            } else {
                self.starts[window] -= 1;
            }
        }
    }

    /// Writes the entries that are inside a window at `now`.
    pub(super) fn save(&self, out: &mut Vec<u8>, now: i64) {
        let longest = self.spans.iter().copied().max().unwrap_or(0);
        let first = self.entries.partition_point(|entry| entry.at() <= now.saturating_sub(longest));
        put_count(out, self.entries.len() - first);
        for entry in self.entries.range(first..) {
            entry.save(out);
        }
    }

    /// Reads what [`Self::save`] wrote at the same `now`.
    pub(super) fn load(&mut self, from: &mut Reader<'_>, now: i64) -> Result<(), Malformed> {
        let count = from.count(24)?;
        let mut last = i64::MIN;
        for _ in 0..count {
            let entry = E::load(from)?;
            if entry.at() < last || entry.at() > now {
                return Err(Malformed("a window out of order"));
            }
            last = entry.at();
            self.insert(entry, now);
        }
        Ok(())
    }
}

impl<const K: usize> Sliding<Bucket, K> {
    /// Adds to the bucket that holds `number`; as [`Self::insert`] otherwise.
    pub(super) fn add(&mut self, number: i64, sums: Sums, now: i64) {
        let place = match self.entries.back() {
            Some(last) if last.number == number => Some(self.entries.len() - 1),
            Some(last) if last.number > number => {
                self.entries.binary_search_by_key(&number, |bucket| bucket.number).ok()
            }
            _ => None,
        };
        let Some(place) = place else {
            self.insert(Bucket { number, sums }, now);
            return;
        };
        self.version += 1;
        self.entries[place].sums.add(sums);
        for window in 0..K {
            if place >= self.starts[window] {
                self.sums[window].add(sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every window equals a plain sum over what lies inside it, for entries in any order.
    #[test]
    fn windows_equal_plain_sums() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut sliding = Sliding::<TradeEntry, 3>::new([10, 60, 35]);
            let mut all: Vec<TradeEntry> = Vec::new();
            let mut now = 0;
            for _ in 0..500 {
                now += random.i64(0..4);
                let entry =
                    TradeEntry { at: now - random.i64(0..20), price: random.i64(1..99), quantity: random.i64(1..9) };
                sliding.advance(now);
                sliding.insert(entry, now);
                all.push(entry);
                for (window, span) in [10, 60, 35].into_iter().enumerate() {
                    let mut expected = Sums::default();
                    all.iter().filter(|entry| entry.at > now - span).for_each(|entry| expected.add(entry.sums()));
                    assert_eq!(*sliding.sums(window), expected, "seed {seed}, window {window}");
                }
            }
            let mut bytes = Vec::new();
            sliding.save(&mut bytes, now);
            let mut again = Sliding::<TradeEntry, 3>::new([10, 60, 35]);
            again.load(&mut Reader(&bytes), now).expect("what was saved");
            assert_eq!(again.sums, sliding.sums, "seed {seed}");
        }
    }
}
