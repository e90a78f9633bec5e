//! A vector that can be copied in an instant: the copy shares its chunks, and whoever writes to a shared chunk
//! first copies that chunk alone.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// A vector of `T` in chunks of `CHUNK` items, shared with the copies that [`Self::share`] makes.
///
/// Reading costs one more load than from a `Vec`, writing one more test; taking a copy costs one count a chunk.
pub struct Shared<T, const CHUNK: usize> {
    chunks: Vec<Arc<[T; CHUNK]>>,
    /// Whether a copy may hold the chunk too. A chunk whose mark is off is ours alone.
    marks: Vec<bool>,
    len: usize,
}

impl<T, const CHUNK: usize> Default for Shared<T, CHUNK> {
    fn default() -> Self {
        Self { chunks: Vec::new(), marks: Vec::new(), len: 0 }
    }
}

impl<T: Copy, const CHUNK: usize> Shared<T, CHUNK> {
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
            self.chunks.push(Arc::new([item; CHUNK]));
            self.marks.push(false);
        }
        self.len += 1;
        let at = self.len - 1;
        self[at] = item;
    }

    /// A copy that shares every chunk until one of the two writes to it.
    pub fn share(&mut self) -> Self {
        self.marks.fill(true);
        Self { chunks: self.chunks.clone(), marks: self.marks.clone(), len: self.len }
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).take(self.len)
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

    /// Bytes of memory held, those of shared chunks included.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * (CHUNK * size_of::<T>() + 24) + self.marks.capacity()
    }

    #[cold]
    fn unshare(&mut self, chunk: usize) {
        let own = *self.chunks[chunk];
        self.chunks[chunk] = Arc::new(own);
        self.marks[chunk] = false;
    }
}

impl<T: Copy, const CHUNK: usize> Index<usize> for Shared<T, CHUNK> {
    type Output = T;

    #[inline]
    fn index(&self, at: usize) -> &T {
        assert!(at < self.len, "index {at} of {}", self.len);
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T: Copy, const CHUNK: usize> IndexMut<usize> for Shared<T, CHUNK> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut T {
        assert!(at < self.len, "index {at} of {}", self.len);
        let chunk = at / CHUNK;
        if self.marks[chunk] {
            self.unshare(chunk);
        }
        let items = Arc::as_ptr(&self.chunks[chunk]).cast_mut();
        // SAFETY: the mark is off, so no other `Arc` to this chunk exists: chunks are cloned by `share` alone,
        // which sets the mark of all of them, and a chunk whose mark is cleared was made just before. The
        // pointer is valid for as long as the `Arc` that `self` owns, and `self` is borrowed for writing.
        unsafe { &mut (*items)[at % CHUNK] }
    }
}

/// A copy of its own, chunk by chunk.
impl<T: Copy, const CHUNK: usize> Clone for Shared<T, CHUNK> {
    fn clone(&self) -> Self {
        let chunks: Vec<_> = self.chunks.iter().map(|chunk| Arc::new(**chunk)).collect();
        Self { marks: vec![false; chunks.len()], chunks, len: self.len }
    }
}

impl<T: Copy + PartialEq, const CHUNK: usize> PartialEq for Shared<T, CHUNK> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Copy + Eq, const CHUNK: usize> Eq for Shared<T, CHUNK> {}

impl<T: Copy + fmt::Debug, const CHUNK: usize> fmt::Debug for Shared<T, CHUNK> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Copy, const CHUNK: usize> FromIterator<T> for Shared<T, CHUNK> {
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
    fn copies_keep_what_they_had_whoever_writes() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut live: Shared<u64, 4> = Shared::default();
        let mut plain: Vec<u64> = vec![];
        let mut copies: Vec<(Shared<u64, 4>, Vec<u64>)> = vec![];
        for step in 0..5_000u64 {
            match random.u32(0..10) {
                0 | 1 => {
                    live.push(step);
                    plain.push(step);
                }
                2 if copies.len() < 20 => copies.push((live.share(), plain.clone())),
                3 if !copies.is_empty() => {
                    let (mut copy, was) = copies.swap_remove(random.usize(0..copies.len()));
                    assert!(copy.iter().eq(was.iter()), "step {step}");
                    if !was.is_empty() {
                        copy[0] = u64::MAX;
                    }
                }
                _ if !plain.is_empty() => {
                    let at = random.usize(0..plain.len());
                    live[at] = step;
                    plain[at] = step;
                }
                _ => {}
            }
            assert_eq!(live.len(), plain.len());
        }
        assert!(live.iter().eq(plain.iter()));
        for (copy, was) in &copies {
            assert!(copy.iter().eq(was.iter()));
        }
    }
}
