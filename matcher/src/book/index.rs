//! A hash index from keys to slots, with the keys kept elsewhere.
//!
//! Open addressing with linear probing over a power of two, deletion by shifting back, so no tombstones and no
//! decay. An entry is eight bytes: 32 bits of the hash and the slot. Ids are given out in sequence, so eight
//! neighbouring ids share one cache line, and lines are spread by multiplication.

/// Marks an empty place.
const EMPTY: u64 = u64::MAX;
/// 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Places of the smallest table, as a power of two.
const BITS_MIN: u32 = 6;

/// 32 bits of a key's hash; the low three bits are its place inside a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u32);

impl Tag {
    /// For ids given out in sequence.
    #[inline]
    pub const fn of_id(id: u64) -> Self {
        let spread = ((id >> 3).wrapping_mul(SPREAD) >> 32) as u32;
        Self(spread & !7 | (id & 7) as u32)
    }

    /// The tag as a number.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The tag from its number.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// For a hash whose bits are all good.
    #[inline]
    pub const fn of_hash(hash: u64) -> Self {
        Self((hash >> 32) as u32)
    }
}

/// Maps keys to slots. The caller says whether a slot holds the key that it looks for.
#[derive(Debug, Clone)]
pub struct SlotIndex {
    entries: Vec<u64>,
    bits: u32,
    len: usize,
}

impl Default for SlotIndex {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl SlotIndex {
    /// An index that holds `keys` without growing.
    pub fn with_capacity(keys: usize) -> Self {
        let bits = (keys * 2).next_power_of_two().trailing_zeros().clamp(BITS_MIN, 31);
        Self { entries: vec![EMPTY; 1 << bits], bits, len: 0 }
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u64>()
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (((tag >> (35 - self.bits)) << 3) | (tag & 7)) as usize
    }

    /// The slot that has `tag` and for which `is_it` holds.
    #[inline]
    pub fn find(&self, tag: Tag, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.entries.len() - 1;
        let mut at = self.home(tag.0);
        loop {
            let entry = self.entries[at & mask];
            if entry == EMPTY {
                return None;
            }
            if (entry >> 32) as u32 == tag.0 && is_it(entry as u32) {
                return Some(entry as u32);
            }
            at += 1;
        }
    }

    /// Adds a slot under a tag. The key must not be there yet.
    #[inline]
    pub fn insert(&mut self, tag: Tag, slot: u32) {
        if self.len * 2 >= self.entries.len() {
            self.grow();
        }
        self.len += 1;
        self.place(u64::from(tag.0) << 32 | u64::from(slot));
    }

    #[inline]
    fn place(&mut self, entry: u64) {
        let mask = self.entries.len() - 1;
        let mut at = self.home((entry >> 32) as u32);
        while self.entries[at & mask] != EMPTY {
            at += 1;
        }
        self.entries[at & mask] = entry;
    }

    #[cold]
    fn grow(&mut self) {
        assert!(self.bits < 31, "an index holds at most 2^30 keys");
        self.bits += 1;
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; 1 << self.bits]);
        for entry in old.into_iter().filter(|entry| *entry != EMPTY) {
            self.place(entry);
        }
    }

    /// Removes the entry of this tag and slot; whether it was there.
    #[inline]
    pub fn remove(&mut self, tag: Tag, slot: u32) -> bool {
        let mask = self.entries.len() - 1;
        let wanted = u64::from(tag.0) << 32 | u64::from(slot);
        let mut hole = self.home(tag.0) & mask;
        loop {
            let entry = self.entries[hole];
            if entry == EMPTY {
                return false;
            }
            if entry == wanted {
                break;
            }
            hole = (hole + 1) & mask;
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry == EMPTY {
                break;
            }
            // An entry may move back into the hole unless its home lies between the hole and itself.
            let home = self.home((entry >> 32) as u32);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = EMPTY;
        true
    }

    /// Asks the processor to fetch the place of `tag` before it is needed.
    #[inline]
    pub fn prefetch(&self, tag: Tag) {
        super::prefetch::read(&self.entries, self.home(tag.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_map_under_churn() {
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut keys: Vec<u64> = vec![];
            let mut slots: Vec<u64> = vec![];
            let mut index = SlotIndex::default();
            let stride = [1, 8, 64, 4096][seed as usize % 4];
            for step in 0..20_000u64 {
                if keys.is_empty() || random.u32(0..100) < 52 {
                    let key = step * stride;
                    slots.push(key);
                    index.insert(Tag::of_id(key), (slots.len() - 1) as u32);
                    keys.push(key);
                } else {
                    let key = keys.swap_remove(random.usize(0..keys.len()));
                    let found = index.find(Tag::of_id(key), |slot| slots[slot as usize] == key);
                    let slot = found.unwrap_or_else(|| panic!("seed {seed}: {key} is lost"));
                    assert!(index.remove(Tag::of_id(key), slot), "seed {seed}");
                    assert_eq!(index.find(Tag::of_id(key), |slot| slots[slot as usize] == key), None, "seed {seed}");
                }
                assert_eq!(index.len(), keys.len());
            }
            for key in keys {
                assert!(index.find(Tag::of_id(key), |slot| slots[slot as usize] == key).is_some(), "seed {seed}");
            }
        }
    }
}
