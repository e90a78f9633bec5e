//! A vector that never moves what it holds: growing adds a chunk, so that no command pays for copying the others.
//! Chunks of some megabytes can lie in large pages of memory.

use std::ops::{Index, IndexMut};

/// A vector of `T` in chunks of `CHUNK` items. Reading costs one more load than from a `Vec`.
pub struct Chunks<T, const CHUNK: usize> {
    /// Each has room for `CHUNK` from the start; only the last has fewer.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T, const CHUNK: usize> Default for Chunks<T, CHUNK> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Copy, const CHUNK: usize> Chunks<T, CHUNK> {
    /// Items held.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at `at`.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&T> {
        if at < self.len { Some(&self.chunks[at / CHUNK][at % CHUNK]) } else { None }
    }

    /// Adds an item at the end.
    #[inline]
    pub fn push(&mut self, item: T) {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[self.len / CHUNK].push(item);
        self.len += 1;
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// Asks the processor to fetch the line `offset` bytes into the item at `at` before it is needed. Nothing
    /// happens past the end.
    #[inline]
    pub fn prefetch(&self, at: usize, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(chunk) = self.chunks.get(at / CHUNK) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let item = chunk.as_ptr().wrapping_add(at % CHUNK).cast::<i8>();
            // SAFETY: a prefetch has no effect but on the cache, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(item.wrapping_add(offset)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (at, offset);
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T, const CHUNK: usize> Index<usize> for Chunks<T, CHUNK> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T, const CHUNK: usize> IndexMut<usize> for Chunks<T, CHUNK> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T: Copy, const CHUNK: usize> Clone for Chunks<T, CHUNK> {
    fn clone(&self) -> Self {
        self.iter().copied().collect()
    }
}

impl<T: Copy + PartialEq, const CHUNK: usize> PartialEq for Chunks<T, CHUNK> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Copy + Eq, const CHUNK: usize> Eq for Chunks<T, CHUNK> {}

impl<T: Copy + std::fmt::Debug, const CHUNK: usize> std::fmt::Debug for Chunks<T, CHUNK> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Copy, const CHUNK: usize> FromIterator<T> for Chunks<T, CHUNK> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut all = Self::default();
        items.into_iter().for_each(|item| all.push(item));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_vector_holds() {
        let mut random = fastrand::Rng::with_seed(9);
        let (mut chunks, mut plain) = (Chunks::<u64, 4>::default(), vec![]);
        for step in 0..5_000u64 {
            if plain.is_empty() || random.bool() {
                chunks.push(step);
                plain.push(step);
            } else {
                let at = random.usize(0..plain.len());
                chunks[at] = step;
                plain[at] = step;
            }
            assert_eq!((chunks.len(), chunks.get(plain.len())), (plain.len(), None));
        }
        assert!(chunks.iter().eq(plain.iter()));
        assert_eq!(chunks.clone(), plain.into_iter().collect());
    }
}
