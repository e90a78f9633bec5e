//! A hash index from keys to slots, with the keys kept elsewhere.
//!
//! Open addressing with linear probing over a power of two, deletion by shifting back, so no tombstones and no
//! decay. An entry is eight bytes: 32 bits of the hash and the slot. Ids are given out in sequence, so eight
//! neighbouring ids share one cache line, and lines are spread by multiplication.
//!
//! A table that is full is left behind for one of twice the size place by place, a few with each key that comes: no
//! command pays for moving a million. Keys keep their order from table to table, so the new one's memory is touched
//! bit by bit as well.

/// Marks an empty place. Zero, which fresh memory is without being written.
const EMPTY: u64 = 0;
/// 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Places of the smallest table, as a power of two.
const BITS_MIN: u32 = 6;
/// Places left behind before each key that is added, at least. More than one, so that what is added at the seam of the
/// table left behind, and goes on into places that are left already, never reaches those that are not.
const MOVED: usize = 16;

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

/// Entries by the order of their tags.
#[derive(Debug, Clone, Default)]
struct Table {
    /// A tag and a slot plus one. No place at all where there is no table.
    entries: Vec<u64>,
    bits: u32,
}

const fn entry_of(tag: Tag, slot: u32) -> u64 {
    (tag.0 as u64) << 32 | (slot as u64 + 1)
}

const fn slot_of(entry: u64) -> u32 {
    (entry as u32).wrapping_sub(1)
}

const fn tag_of(entry: u64) -> Tag {
    Tag((entry >> 32) as u32)
}

impl Table {
    fn new(bits: u32) -> Self {
        Self { entries: vec![EMPTY; 1 << bits], bits }
    }

    #[inline]
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    #[inline]
    fn home(&self, Tag(tag): Tag) -> usize {
        (((tag >> (35 - self.bits)) << 3) | (tag & 7)) as usize
    }

    #[inline]
    fn find(&self, tag: Tag, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.mask();
        let mut at = self.home(tag);
        loop {
            let entry = self.entries[at & mask];
            if entry == EMPTY {
                return None;
            }
            if tag_of(entry) == tag && is_it(slot_of(entry)) {
                return Some(slot_of(entry));
            }
            at += 1;
        }
    }

    #[inline]
    fn place(&mut self, entry: u64) {
        let mask = self.mask();
        let mut at = self.home(tag_of(entry));
        while self.entries[at & mask] != EMPTY {
            at += 1;
        }
        self.entries[at & mask] = entry;
    }

    #[inline]
    fn remove(&mut self, wanted: u64) -> bool {
        let mask = self.mask();
        let mut hole = self.home(tag_of(wanted)) & mask;
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
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry == EMPTY {
                break;
            }
            // An entry may move back into the hole unless its home lies between the hole and itself.
            let home = self.home(tag_of(entry));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = EMPTY;
        true
    }
}

/// Maps keys to slots. The caller says whether a slot holds the key that it looks for.
#[derive(Debug, Clone)]
pub struct SlotIndex {
    table: Table,
    /// The table that is left behind; without places while there is none.
    old: Table,
    /// The empty place of `old` at which leaving it began.
    begin: usize,
    /// Places of `old` from there on that are left. The last one was empty, so that what has its home in one of them is
    /// in `table`, and everything else where it was.
    left: usize,
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
        Self { table: Table::new(bits), old: Table::default(), begin: 0, left: 0, len: 0 }
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
        (self.table.entries.capacity() + self.old.entries.capacity()) * size_of::<u64>()
    }

    #[inline]
    fn is_growing(&self) -> bool {
        !self.old.entries.is_empty()
    }

    /// Whether what has this tag is, or would be, in the table that is left behind.
    #[inline]
    fn is_in_old(&self, tag: Tag) -> bool {
        self.is_growing() && self.old.home(tag).wrapping_sub(self.begin) & self.old.mask() >= self.left
    }

    /// The slot that has `tag` and for which `is_it` holds.
    #[inline]
    pub fn find(&self, tag: Tag, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.is_in_old(tag) { &self.old } else { &self.table }.find(tag, is_it)
    }

    /// Adds a slot, at most `u32::MAX - 1`, under a tag. The key must not be there yet.
    #[inline]
    pub fn insert(&mut self, tag: Tag, slot: u32) {
        if self.is_growing() {
            self.leave_some();
        }
        if self.len * 2 >= self.table.entries.len() {
            self.grow();
        }
        self.len += 1;
        if self.is_in_old(tag) { &mut self.old } else { &mut self.table }.place(entry_of(tag, slot));
    }

    #[cold]
    fn grow(&mut self) {
        // It is left long before this one is half full.
        debug_assert!(!self.is_growing());
        assert!(self.table.bits < 31, "an index holds at most 2^30 keys");
        let larger = Table::new(self.table.bits + 1);
        self.old = std::mem::replace(&mut self.table, larger);
        self.begin = self.old.entries.iter().position(|entry| *entry == EMPTY).expect("half of the places are empty");
        self.left = 0;
        self.leave_some();
    }

    /// Moves the entries of some places on, and of as many more as it takes to an empty one.
    #[cold]
    fn leave_some(&mut self) {
        let (mask, enough) = (self.old.mask(), self.left + MOVED);
        loop {
            let at = (self.begin + self.left) & mask;
            let entry = std::mem::replace(&mut self.old.entries[at], EMPTY);
            self.left += 1;
            if entry != EMPTY {
                self.table.place(entry);
            } else if self.left > mask {
                // All around, and beyond by what stood at the seam.
                self.old = Table::default();
                return;
            } else if self.left >= enough {
                return;
            }
        }
    }

    /// Removes the entry of this tag and slot; whether it was there.
    #[inline]
    pub fn remove(&mut self, tag: Tag, slot: u32) -> bool {
        let table = if self.is_in_old(tag) { &mut self.old } else { &mut self.table };
        let removed = table.remove(entry_of(tag, slot));
        self.len -= usize::from(removed);
        removed
    }

    /// Asks the processor to fetch the place of `tag` before it is needed.
    #[inline]
    pub fn prefetch(&self, tag: Tag) {
        let table = if self.is_in_old(tag) { &self.old } else { &self.table };
        super::prefetch::read(&table.entries, table.home(tag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_map_under_churn() {
        for seed in 0..12 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut keys: Vec<u64> = vec![];
            let mut slots: Vec<u64> = vec![];
            let mut index = SlotIndex::default();
            let stride = [1, 8, 64, 4096][seed as usize % 4];
            // The last seeds have their homes in a few places, some of them at the seam.
            let tag = |key: u64| match seed {
                0..8 => Tag::of_id(key),
                _ => Tag::from_raw((key as u32 / stride as u32 % 50).wrapping_sub(25) << (seed - 6)),
            };
            let find = |index: &SlotIndex, slots: &[u64], key| index.find(tag(key), |slot| slots[slot as usize] == key);
            let steps = if seed < 8 { 20_000 } else { 2_000 };
            for step in 0..steps {
                if keys.is_empty() || random.u32(0..100) < 60 {
                    let key = step * stride;
                    assert_eq!(find(&index, &slots, key), None, "seed {seed}");
                    slots.push(key);
                    index.insert(tag(key), (slots.len() - 1) as u32);
                    keys.push(key);
                } else {
                    let key = keys.swap_remove(random.usize(0..keys.len()));
                    let slot = find(&index, &slots, key).unwrap_or_else(|| panic!("seed {seed}: {key} is lost"));
                    assert!(index.remove(tag(key), slot), "seed {seed}");
                    assert!(!index.remove(tag(key), slot), "seed {seed}");
                    assert_eq!(find(&index, &slots, key), None, "seed {seed}");
                }
                assert_eq!(index.len(), keys.len());
                if step % 97 == 0 {
                    for key in &keys {
                        assert!(find(&index, &slots, *key).is_some(), "seed {seed}: {key} is lost");
                    }
                }
            }
        }
    }
}
