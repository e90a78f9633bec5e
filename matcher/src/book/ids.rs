//! Finds orders by id: a dense ring for the newest ids, a hash index for those that outlive it.
//!
//! Ids are given out in sequence and most orders live shortly, so nearly every look-up hits the ring: one load,
//! no comparison, neighbours in one cache line. Ids that do not come in sequence all go to the hash index, which
//! is slower and no less right.

use super::index::{SlotIndex, Tag};
use super::nodes::{NONE, Nodes};

/// Ids that the ring covers.
const WINDOW: u64 = 1 << 17;
/// The ring follows ids that skip at most this many.
const SKIP: u64 = 64;

/// Maps order ids to slots of a [`Nodes`].
#[derive(Debug, Clone)]
pub struct IdIndex {
    ring: Vec<u32>,
    /// The ring covers `top - WINDOW + 1 ..= top`.
    top: u64,
    in_ring: usize,
    rest: SlotIndex,
    /// The greatest id that went to `rest` from above the ring; up to it the ring may not know all.
    ahead: u64,
}

impl Default for IdIndex {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

const fn place(id: u64) -> usize {
    (id & (WINDOW - 1)) as usize
}

impl IdIndex {
    /// An index that holds `ids` outside the ring without growing.
    pub fn with_capacity(ids: usize) -> Self {
        let rest = SlotIndex::with_capacity(ids);
        Self { ring: vec![NONE; WINDOW as usize], top: 0, in_ring: 0, rest, ahead: 0 }
    }

    #[inline]
    fn in_window(&self, id: u64) -> bool {
        self.top.wrapping_sub(id) < WINDOW
    }

    /// The slot of `id` in `nodes`.
    #[inline]
    pub fn find(&self, nodes: &Nodes, id: u64) -> Option<u32> {
        if self.in_window(id) {
            let slot = self.ring[place(id)];
            if slot != NONE {
                return Some(slot);
            }
        }
        if id > self.top.saturating_sub(WINDOW) && id > self.ahead {
            return None;
        }
        self.rest.find(Tag::of_id(id), |slot| nodes.holds(slot, id))
    }

    /// Adds an id that is not there.
    #[inline]
    pub fn insert(&mut self, id: u64, slot: u32) {
        if self.in_window(id) || self.follow(id) {
            self.ring[place(id)] = slot;
            self.in_ring += 1;
        } else {
            if id > self.top {
                self.ahead = self.ahead.max(id);
            }
            self.rest.insert(Tag::of_id(id), slot);
        }
    }

    /// Moves the ring on to `id`, where that is near or the ring is empty; whether the ring covers it now.
    #[inline]
    fn follow(&mut self, id: u64) -> bool {
        if id < self.top {
            return false;
        }
        if self.in_ring == 0 {
            self.top = id;
            return true;
        }
        if id - self.top > SKIP {
            return false;
        }
        while self.top < id {
            self.top += 1;
            let old = std::mem::replace(&mut self.ring[place(self.top)], NONE);
            if old != NONE {
                self.in_ring -= 1;
                self.rest.insert(Tag::of_id(self.top - WINDOW), old);
            }
        }
        true
    }

    /// Removes an id that is at `slot`.
    #[inline]
    pub fn remove(&mut self, id: u64, slot: u32) {
        if self.in_window(id) && self.ring[place(id)] == slot {
            self.ring[place(id)] = NONE;
            self.in_ring -= 1;
        } else {
            self.rest.remove(Tag::of_id(id), slot);
        }
    }

    /// Asks the processor to fetch where `id` is looked up, if that is in the ring.
    #[inline(always)]
    pub fn prefetch(&self, id: u64) {
        super::prefetch::read(&self.ring, place(id));
    }

    /// What the ring has in the place of `id`: its slot if the ring covers it, else that of another order or
    /// [`NONE`]. For prefetching.
    #[inline(always)]
    pub(crate) fn guess(&self, id: u64) -> u32 {
        self.ring[place(id)]
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.ring.capacity() * size_of::<u32>() + self.rest.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn finds_every_id_whatever_the_order_they_come_in() {
        for seed in 0..6u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut nodes = Nodes::default();
            let mut index = IdIndex::default();
            let mut known: HashMap<u64, u32> = HashMap::new();
            let mut ids: Vec<u64> = vec![];
            let mut next = [1, 0, 5_000_000_000, 7, 1, 1][seed as usize];
            for _ in 0..600_000 {
                let id = match random.u32(0..1000) {
                    0 if seed % 2 == 1 => random.u64(0..1 << 40),
                    1 if seed % 2 == 1 => next + random.u64(0..WINDOW * 2),
                    _ => {
                        next += random.u64(1..4);
                        next
                    }
                };
                assert_eq!(index.find(&nodes, id), known.get(&id).copied(), "seed {seed}");
                known.entry(id).or_insert_with(|| {
                    let slot = nodes.insert(id, 1, 0);
                    index.insert(id, slot);
                    ids.push(id);
                    slot
                });
                // Most go soon, a few stay past the window.
                while ids.len() > 2_000 && random.u32(0..50) != 0 {
                    let old = ids.len() - 1 - random.usize(0..1_500);
                    let gone = ids.swap_remove(old);
                    let slot = known.remove(&gone).expect("it was known");
                    assert_eq!(index.find(&nodes, gone), Some(slot), "seed {seed}");
                    index.remove(gone, slot);
                    nodes.remove(slot);
                    assert_eq!(index.find(&nodes, gone), None, "seed {seed}");
                }
            }
            for (id, slot) in known {
                assert_eq!(index.find(&nodes, id), Some(slot), "seed {seed}");
            }
        }
    }
}
