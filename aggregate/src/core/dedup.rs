//! The trade ids seen last, to know a trade that comes twice.

use model::TradeId;

use super::bytes::{Malformed, Reader, put_count};

/// The last ids of one venue and instrument: bounded, oldest forgotten first.
#[derive(Debug)]
pub(super) struct RecentIds {
    /// A ring: `next` is the place of the oldest once it is full.
    ids: Vec<u128>,
    next: usize,
    capacity: usize,
    /// Open addressing over places in `ids`, plus one; zero is free. At least twice as many as ids.
    table: Vec<u32>,
    /// No id above this one is remembered.
    highest: u128,
}

/// Numbers and UUIDs side by side: a venue uses one kind, and a UUID below 2^64 has no version.
const fn key(id: TradeId) -> u128 {
    match id {
        TradeId::Number(number) => number as u128,
        TradeId::Uuid(uuid) => uuid,
    }
}

impl RecentIds {
    pub(super) const fn new(capacity: u32) -> Self {
        Self { ids: Vec::new(), next: 0, capacity: capacity as usize, table: Vec::new(), highest: 0 }
    }

    /// Remembers `id`; false when it was remembered already.
    pub(super) fn insert(&mut self, id: TradeId) -> bool {
        let id = key(id);
        // Most venues count up, and then nothing needs to be looked up.
        if (id <= self.highest && !self.ids.is_empty()) && self.find(id).is_ok() {
            return false;
        }
        self.remember(id);
        true
    }

    fn remember(&mut self, id: u128) {
        self.highest = self.highest.max(id);
        if self.ids.len() < self.capacity {
            if (self.ids.len() + 1) * 2 > self.table.len() {
                self.grow();
            }
            self.ids.push(id);
            self.link(self.ids.len() - 1);
            return;
        }
        self.unlink(self.ids[self.next]);
        self.ids[self.next] = id;
        self.link(self.next);
        self.next = (self.next + 1) % self.capacity;
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(64);
        self.table.clear();
        self.table.resize(size, 0);
        for place in 0..self.ids.len() {
            self.link(place);
        }
    }

    /// Where the search for `id` begins. Ids that count up lie side by side, which the cache likes; the higher
    /// bits keep strides and UUIDs apart.
    const fn home(&self, id: u128) -> usize {
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let (low, high) = (id as u64, (id >> 64) as u64);
        let mixed = low.wrapping_add(((low >> 12) ^ high).wrapping_mul(SPREAD) >> 32);
        mixed as usize & (self.table.len() - 1)
    }

    /// The slot that holds `id`, or the free slot where it would go.
    fn find(&self, id: u128) -> Result<usize, usize> {
        let mut slot = self.home(id);
        loop {
            match self.table[slot] {
                0 => return Err(slot),
                place if self.ids[place as usize - 1] == id => return Ok(slot),
                _ => slot = (slot + 1) & (self.table.len() - 1),
            }
        }
    }

    fn link(&mut self, place: usize) {
        if let Err(slot) = self.find(self.ids[place]) {
            self.table[slot] = place as u32 + 1;
        }
    }

    /// Frees the slot of `id` and moves up those that only lie further because it was taken.
    fn unlink(&mut self, id: u128) {
        let Ok(mut hole) = self.find(id) else { return };
        let mask = self.table.len() - 1;
        let mut slot = hole;
        loop {
            slot = (slot + 1) & mask;
            let place = self.table[slot];
            if place == 0 {
                break;
            }
            let home = self.home(self.ids[place as usize - 1]);
            if (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(hole) & mask) {
                self.table[hole] = place;
                hole = slot;
            }
        }
        self.table[hole] = 0;
    }

    /// Oldest first.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_count(out, self.ids.len());
        for id in self.ids[self.next..].iter().chain(&self.ids[..self.next]) {
            out.extend_from_slice(&id.to_le_bytes());
        }
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..from.count(16)? {
            self.remember(from.i128()? as u128);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_are_known_and_older_ones_forgotten() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut recent = RecentIds::new(100);
            let mut plain: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
            for _ in 0..5_000 {
                let id = random.u64(0..300) * 0x0101_0101;
                let known = plain.contains(&id);
                assert_eq!(recent.insert(TradeId::Number(id)), !known, "seed {seed}, id {id}");
                if !known {
                    plain.push_back(id);
                    if plain.len() > 100 {
                        plain.pop_front();
                    }
                }
            }
            let mut bytes = Vec::new();
            recent.save(&mut bytes);
            let mut again = RecentIds::new(100);
            again.load(&mut Reader(&bytes)).expect("what was saved");
            let mut bytes_again = Vec::new();
            again.save(&mut bytes_again);
            assert_eq!(bytes, bytes_again);
        }
    }
}
