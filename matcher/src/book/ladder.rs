//! One side's price levels in price order.
//!
//! Keys are prices turned so that the best is the greatest. Sixteen neighbouring keys form a page with a bitmap
//! and a level for each bit, so that levels come and go next to the touch without moving anything. Pages stand
//! in short sorted chunks with the best at the tail of the last one: a book that is a million ticks wide costs a
//! move inside one chunk, not a move of the whole side. A small direct-mapped table finds most pages without a
//! search.

use super::nodes::NONE;
use super::runs::Runs;

/// Keys in a page, as a power of two.
const PAGE_BITS: u32 = 4;
const PAGE_KEYS: usize = 1 << PAGE_BITS;
/// Places of the direct-mapped table.
const CACHE: usize = 4096;
/// No page has this key: keys stay below 10^18 in magnitude.
const FREE: i64 = i64::MIN;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Page {
    key: i64,
    bits: u32,
    levels: [u32; PAGE_KEYS],
}

/// The levels of one side.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    pages: Vec<Page>,
    free: Vec<u32>,
    cache: Vec<u32>,
    runs: Runs,
    /// The page of the best level, [`NONE`] without any.
    best_page: u32,
    best: u32,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            cache: vec![NONE; CACHE],
            runs: Runs::default(),
            best_page: NONE,
            best: NONE,
        }
    }
}

const fn offset(key: i64) -> usize {
    (key & (PAGE_KEYS as i64 - 1)) as usize
}

impl Ladder {
    /// The best level, [`NONE`] without any.
    #[inline]
    pub(crate) fn best(&self) -> u32 {
        self.best
    }

    #[inline]
    fn find_page(&mut self, page_key: i64) -> u32 {
        let cached = self.cache[(page_key as usize) & (CACHE - 1)];
        if self.pages.get(cached as usize).is_some_and(|page| page.key == page_key) {
            return cached;
        }
        let found = self.runs.find(page_key);
        if found != NONE {
            self.cache[(page_key as usize) & (CACHE - 1)] = found;
        }
        found
    }

    /// The level at `key`; when there is none, `create` makes one, given the page that it stands in.
    #[inline]
    pub(crate) fn level_or(&mut self, key: i64, create: impl FnOnce(u32) -> u32) -> u32 {
        let page_key = key >> PAGE_BITS;
        let mut slot = self.find_page(page_key);
        if slot == NONE {
            slot = self.create_page(page_key);
        }
        let page = &mut self.pages[slot as usize];
        let at = offset(key);
        if page.bits >> at & 1 == 1 {
            return page.levels[at];
        }
        let level = create(slot);
        page.levels[at] = level;
        page.bits |= 1 << at;
        let page_key = page.key;
        if self.best == NONE || page_key > self.pages[self.best_page as usize].key {
            (self.best_page, self.best) = (slot, level);
        } else if slot == self.best_page {
            self.best = self.top_of(slot);
        }
        level
    }

    /// The level at `key`, [`NONE`] without one.
    pub(crate) fn get(&self, key: i64) -> u32 {
        let page_key = key >> PAGE_BITS;
        let cached = self.cache[(page_key as usize) & (CACHE - 1)];
        let found = match self.pages.get(cached as usize) {
            Some(page) if page.key == page_key => cached,
            _ => self.runs.find(page_key),
        };
        match self.pages.get(found as usize) {
            Some(page) if page.bits >> offset(key) & 1 == 1 => page.levels[offset(key)],
            _ => NONE,
        }
    }

    #[inline]
    fn top_of(&self, slot: u32) -> u32 {
        let page = &self.pages[slot as usize];
        debug_assert!(page.bits != 0);
        page.levels[(31 - page.bits.leading_zeros()) as usize]
    }

    #[cold]
    fn create_page(&mut self, page_key: i64) -> u32 {
        let page = Page { key: page_key, bits: 0, levels: [NONE; PAGE_KEYS] };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.pages[slot as usize] = page;
                slot
            }
            None => {
                self.pages.push(page);
                (self.pages.len() - 1) as u32
            }
        };
        self.runs.insert(page_key, slot);
        self.cache[(page_key as usize) & (CACHE - 1)] = slot;
        slot
    }

    /// Takes the empty level at `key` in page `slot` out.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32, key: i64) {
        let page = &mut self.pages[slot as usize];
        debug_assert!(page.key == key >> PAGE_BITS && page.bits >> offset(key) & 1 == 1);
        page.bits &= !(1 << offset(key));
        if page.bits == 0 {
            self.remove_page(slot);
        } else if slot == self.best_page {
            self.best = self.top_of(slot);
        }
    }

    fn remove_page(&mut self, slot: u32) {
        self.runs.remove(self.pages[slot as usize].key);
        self.pages[slot as usize].key = FREE;
        self.free.push(slot);
        if slot == self.best_page {
            self.best_page = self.runs.last();
            self.best = if self.best_page == NONE { NONE } else { self.top_of(self.best_page) };
        }
    }

    /// The next worse level after `key`, [`NONE`] at the end. `key` must be that of a level in page `slot`.
    pub(crate) fn worse(&self, slot: u32, key: i64) -> u32 {
        let page = &self.pages[slot as usize];
        let below = page.bits & ((1u32 << offset(key)) - 1);
        if below != 0 {
            return page.levels[(31 - below.leading_zeros()) as usize];
        }
        match self.runs.before(page.key) {
            NONE => NONE,
            found => self.top_of(found),
        }
    }

    /// Asks the processor to fetch the page that `key` would be in.
    #[inline(always)]
    pub(crate) fn prefetch(&self, key: i64) {
        let cached = self.cache[((key >> PAGE_BITS) as usize) & (CACHE - 1)];
        super::prefetch::read(&self.pages, cached as usize);
    }

    /// The level at `key` if it is easily found, else another one or [`NONE`]. For prefetching.
    #[inline(always)]
    pub(crate) fn guess(&self, key: i64) -> u32 {
        let cached = self.cache[((key >> PAGE_BITS) as usize) & (CACHE - 1)] as usize;
        self.pages.get(cached.min(self.pages.len().wrapping_sub(1))).map_or(NONE, |page| page.levels[offset(key)])
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Page>() + (self.cache.len() + self.free.capacity()) * 4 + self.runs.bytes()
    }
}
