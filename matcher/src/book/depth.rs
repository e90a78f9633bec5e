//! Two sides of levels over a slab of orders, by slot: the part that a book and the exchange share.

use model::Side;

use super::ladder::Ladder;
use super::nodes::{NONE, Nodes};

/// Marks a level of the selling side in [`Level::page`].
const SELL: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
struct Level {
    key: i64,
    lots: u64,
    head: u32,
    tail: u32,
    count: u32,
    page: u32,
}

/// The price levels of one book, each with its queue. The orders are in a [`Nodes`] that the caller keeps and
/// passes in, always the same one.
#[derive(Debug, Clone)]
pub struct Depth {
    levels: Vec<Level>,
    free: u32,
    live: u32,
    sides: [Ladder; 2],
}

impl Default for Depth {
    fn default() -> Self {
        Self { levels: Vec::new(), free: NONE, live: 0, sides: [Ladder::default(), Ladder::default()] }
    }
}

/// Prices turned so that the best of the side is the greatest.
#[inline]
pub(crate) const fn key_of(side: Side, ticks: i64) -> i64 {
    match side {
        Side::Buy => ticks,
        Side::Sell => -ticks,
    }
}

#[inline]
pub(crate) const fn side_index(side: Side) -> usize {
    match side {
        Side::Buy => 0,
        Side::Sell => 1,
    }
}

impl Depth {
    /// The best level of `side`, [`NONE`] when it is empty.
    #[inline]
    pub fn best(&self, side: Side) -> u32 {
        self.sides[side_index(side)].best()
    }

    /// The best price of `side`, in ticks.
    #[inline]
    pub fn best_ticks(&self, side: Side) -> Option<i64> {
        match self.best(side) {
            NONE => None,
            level => Some(self.ticks(level)),
        }
    }

    /// The level at a price, [`NONE`] when nothing rests there.
    pub fn level_at(&self, side: Side, ticks: i64) -> u32 {
        self.sides[side_index(side)].get(key_of(side, ticks))
    }

    /// A level's side.
    #[inline]
    pub fn side(&self, level: u32) -> Side {
        if self.levels[level as usize].page & SELL == 0 { Side::Buy } else { Side::Sell }
    }

    /// A level's price, in ticks.
    #[inline]
    pub fn ticks(&self, level: u32) -> i64 {
        key_of(self.side(level), self.levels[level as usize].key)
    }

    /// What rests and shows at a level, in lots.
    #[inline]
    pub fn lots(&self, level: u32) -> u64 {
        self.levels[level as usize].lots
    }

    /// Orders at a level.
    #[inline]
    pub fn count(&self, level: u32) -> u32 {
        self.levels[level as usize].count
    }

    /// The first order in a level's queue.
    #[inline]
    pub fn head(&self, level: u32) -> u32 {
        self.levels[level as usize].head
    }

    /// The next worse level of the same side, [`NONE`] at the end.
    pub fn worse(&self, level: u32) -> u32 {
        let at = &self.levels[level as usize];
        self.sides[usize::from(at.page & SELL != 0)].worse(at.page & !SELL, at.key)
    }

    /// Whether an order of the other side with the limit `ticks` meets this level.
    #[inline]
    pub fn crosses(&self, level: u32, ticks: i64) -> bool {
        let at = &self.levels[level as usize];
        at.key >= if at.page & SELL == 0 { ticks } else { -ticks }
    }

    /// Puts the order at `slot` at the end of the queue at its price.
    #[inline]
    pub fn push_back(&mut self, nodes: &mut Nodes, slot: u32, side: Side, ticks: i64) {
        let key = key_of(side, ticks);
        let sell = if side == Side::Sell { SELL } else { 0 };
        let Self { levels, free, live, sides } = self;
        let level = sides[side_index(side)].level_or(key, |page| {
            let fresh = Level { key, lots: 0, head: NONE, tail: NONE, count: 0, page: page | sell };
            *live += 1;
            if *free == NONE {
                levels.push(fresh);
                (levels.len() - 1) as u32
            } else {
                let level = *free;
                *free = levels[level as usize].head;
                levels[level as usize] = fresh;
                level
            }
        });
        self.append(nodes, slot, level);
    }

    #[inline]
    fn append(&mut self, nodes: &mut Nodes, slot: u32, level: u32) {
        let at = &mut self.levels[level as usize];
        let node = nodes.get_mut(slot);
        node.level = level;
        node.next = NONE;
        node.prev = at.tail;
        at.lots += node.lots;
        at.count += 1;
        let before = at.tail;
        at.tail = slot;
        if before == NONE {
            at.head = slot;
        } else {
            nodes.get_mut(before).next = slot;
        }
    }

    /// Takes the order at `slot` out of its level's queue.
    #[inline]
    pub fn unlink(&mut self, nodes: &mut Nodes, slot: u32) {
        let node = nodes.get_mut(slot);
        let (level, next, prev, lots) = (node.level, node.next, node.prev, node.lots);
        node.level = NONE;
        let at = &mut self.levels[level as usize];
        at.lots -= lots;
        at.count -= 1;
        if next == NONE {
            at.tail = prev;
        } else {
            nodes.get_mut(next).prev = prev;
        }
        if prev == NONE {
            at.head = next;
        } else {
            nodes.get_mut(prev).next = next;
        }
        if at.count == 0 {
            self.remove_level(level);
        }
    }

    /// Takes the first order of `level` out of the queue; whether the level went with it.
    #[inline]
    pub(crate) fn pop_front(&mut self, nodes: &mut Nodes, level: u32) -> bool {
        let at = &mut self.levels[level as usize];
        let node = nodes.get_mut(at.head);
        node.level = NONE;
        at.head = node.next;
        at.lots -= node.lots;
        at.count -= 1;
        if at.head == NONE {
            self.remove_level(level);
            return true;
        }
        let head = at.head;
        nodes.get_mut(head).prev = NONE;
        false
    }

    fn remove_level(&mut self, level: u32) {
        let at = &mut self.levels[level as usize];
        self.sides[usize::from(at.page & SELL != 0)].remove(at.page & !SELL, at.key);
        at.head = self.free;
        self.free = level;
        self.live -= 1;
    }

    /// Lowers what the order at `slot` shows; it keeps its place in the queue.
    ///
    /// # Panics
    /// When it shows less than `lots`.
    #[inline]
    pub fn reduce(&mut self, nodes: &mut Nodes, slot: u32, lots: u64) {
        let node = nodes.get_mut(slot);
        node.lots -= lots;
        self.levels[node.level as usize].lots -= lots;
    }

    /// Number of levels on both sides.
    pub fn levels(&self) -> usize {
        self.live as usize
    }

    /// The levels of `side` from the best on.
    pub fn iter(&self, side: Side) -> impl Iterator<Item = u32> {
        let mut at = self.best(side);
        std::iter::from_fn(move || {
            let level = at;
            if level == NONE {
                return None;
            }
            at = self.worse(level);
            Some(level)
        })
    }

    /// The orders of a level in the order of their queue.
    pub fn queue<'a>(&'a self, nodes: &'a Nodes, level: u32) -> impl Iterator<Item = u32> + 'a {
        let mut at = self.head(level);
        std::iter::from_fn(move || {
            let slot = at;
            if slot == NONE {
                return None;
            }
            at = nodes.get(slot).next;
            Some(slot)
        })
    }

    #[inline(always)]
    pub(crate) fn prefetch_page(&self, side: Side, ticks: i64) {
        self.sides[side_index(side)].prefetch(key_of(side, ticks));
    }

    #[inline(always)]
    pub(crate) fn guess_level(&self, side: Side, ticks: i64) -> u32 {
        self.sides[side_index(side)].guess(key_of(side, ticks))
    }

    #[inline(always)]
    pub(crate) fn prefetch_level(&self, level: u32) {
        super::prefetch::read(&self.levels, level as usize);
    }

    #[inline(always)]
    pub(crate) fn guess_tail(&self, side: Side, ticks: i64) -> u32 {
        let level = self.guess_level(side, ticks) as usize;
        self.levels.get(level.min(self.levels.len().wrapping_sub(1))).map_or(NONE, |level| level.tail)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.levels.capacity() * size_of::<Level>() + self.sides.iter().map(Ladder::bytes).sum::<usize>()
    }
}
