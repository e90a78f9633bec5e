//! Sorted keys with a slot each, in chunks of at most 64: find, insert and remove move at most one chunk.

use super::nodes::NONE;

/// Keys in a chunk, at most.
const CHUNK: usize = 64;

#[derive(Debug, Clone)]
struct Chunk {
    keys: [i64; CHUNK],
    slots: [u32; CHUNK],
    len: usize,
}

/// A sorted map from keys to slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    /// First key of each chunk, ascending.
    firsts: Vec<i64>,
    /// Which chunk it is.
    order: Vec<u32>,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
}

impl Runs {
    /// Position in `order` of the chunk that holds or would hold `key`.
    fn position(&self, key: i64) -> usize {
        // Most changes happen at the touch, which is in the last chunk.
        match self.firsts.last() {
            Some(first) if key >= *first => self.firsts.len() - 1,
            _ => self.firsts.partition_point(|first| *first <= key).saturating_sub(1),
        }
    }

    fn chunk(&self, position: usize) -> &Chunk {
        &self.chunks[self.order[position] as usize]
    }

    /// The slot of `key`, [`NONE`] when it is not there.
    pub(crate) fn find(&self, key: i64) -> u32 {
        if self.order.is_empty() {
            return NONE;
        }
        let chunk = self.chunk(self.position(key));
        match chunk.keys[..chunk.len].binary_search(&key) {
            Ok(at) => chunk.slots[at],
            Err(_) => NONE,
        }
    }

    /// The slot of the greatest key, [`NONE`] without any.
    pub(crate) fn last(&self) -> u32 {
        match self.order.last() {
            Some(chunk) => {
                let chunk = &self.chunks[*chunk as usize];
                chunk.slots[chunk.len - 1]
            }
            None => NONE,
        }
    }

    /// The slot of the greatest key below `key`, [`NONE`] without any.
    pub(crate) fn before(&self, key: i64) -> u32 {
        if self.order.is_empty() {
            return NONE;
        }
        let position = self.position(key);
        let chunk = self.chunk(position);
        let at = chunk.keys[..chunk.len].partition_point(|other| *other < key);
        if at > 0 {
            return chunk.slots[at - 1];
        }
        match position.checked_sub(1) {
            Some(previous) => {
                let chunk = self.chunk(previous);
                chunk.slots[chunk.len - 1]
            }
            None => NONE,
        }
    }

    /// Adds a key that is not there.
    pub(crate) fn insert(&mut self, key: i64, slot: u32) {
        if self.order.is_empty() {
            self.add_chunk(0, &[key], &[slot]);
            return;
        }
        let mut position = self.position(key);
        if self.chunk(position).len == CHUNK {
            self.split(position, key);
            position = self.position(key);
        }
        let chunk = &mut self.chunks[self.order[position] as usize];
        let at = chunk.keys[..chunk.len].partition_point(|other| *other < key);
        chunk.keys.copy_within(at..chunk.len, at + 1);
        chunk.slots.copy_within(at..chunk.len, at + 1);
        chunk.keys[at] = key;
        chunk.slots[at] = slot;
        chunk.len += 1;
        self.firsts[position] = chunk.keys[0];
    }

    /// Splits a full chunk. One that grows at its end, as under a moving market, is kept full.
    fn split(&mut self, position: usize, key: i64) {
        let full = &mut self.chunks[self.order[position] as usize];
        let keep = if key > full.keys[CHUNK - 1] { CHUNK - 1 } else { CHUNK / 2 };
        let (keys, slots) = (full.keys, full.slots);
        full.len = keep;
        self.add_chunk(position + 1, &keys[keep..], &slots[keep..]);
    }

    fn add_chunk(&mut self, position: usize, keys: &[i64], slots: &[u32]) {
        let mut chunk = Chunk { keys: [0; CHUNK], slots: [NONE; CHUNK], len: keys.len() };
        chunk.keys[..keys.len()].copy_from_slice(keys);
        chunk.slots[..slots.len()].copy_from_slice(slots);
        let index = match self.free.pop() {
            Some(index) => {
                self.chunks[index as usize] = chunk;
                index
            }
            None => {
                self.chunks.push(chunk);
                (self.chunks.len() - 1) as u32
            }
        };
        self.order.insert(position, index);
        self.firsts.insert(position, keys[0]);
    }

    /// Removes a key that is there.
    pub(crate) fn remove(&mut self, key: i64) {
        let position = self.position(key);
        let chunk = &mut self.chunks[self.order[position] as usize];
        let at = chunk.keys[..chunk.len].binary_search(&key).expect("the key was inserted");
        chunk.keys.copy_within(at + 1..chunk.len, at);
        chunk.slots.copy_within(at + 1..chunk.len, at);
        chunk.len -= 1;
        if chunk.len == 0 {
            self.free.push(self.order.remove(position));
            self.firsts.remove(position);
        } else {
            self.firsts[position] = chunk.keys[0];
        }
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk>()
            + self.firsts.capacity() * 8
            + (self.order.capacity() + self.free.capacity()) * 4
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn agrees_with_an_ordered_map() {
        for seed in 0..6 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut map = BTreeMap::new();
            let mut runs = Runs::default();
            let width = [100, 5_000, 1_000_000][seed as usize % 3];
            for step in 0..20_000u32 {
                let key = random.i64(-width..width);
                if map.remove(&key).is_some() {
                    runs.remove(key);
                } else if random.u32(0..10) < 7 {
                    map.insert(key, step);
                    runs.insert(key, step);
                } else if let Some((key, _)) = map.pop_last() {
                    runs.remove(key);
                }
                let probe = random.i64(-width..width);
                assert_eq!(runs.find(probe), map.get(&probe).copied().unwrap_or(NONE), "seed {seed}");
                let before = map.range(..probe).next_back().map_or(NONE, |(_, slot)| *slot);
                assert_eq!(runs.before(probe), before, "seed {seed}");
                assert_eq!(runs.last(), map.last_key_value().map_or(NONE, |(_, slot)| *slot), "seed {seed}");
            }
        }
    }
}
