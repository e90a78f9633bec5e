//! The book of limit and immediate-or-cancel orders.

use model::Side;

use super::depth::Depth;
use super::ids::IdIndex;
use super::nodes::{NONE, Nodes};
use super::report::{Refusal, Report, Reports};
use super::{LOTS_MAX, TICKS_MAX};

/// An order on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOrder {
    /// Chosen by the caller; free again once the order is gone.
    pub id: u64,
    /// Buy or sell.
    pub side: Side,
    /// The worst price that it takes, 1 to 10^18.
    pub ticks: i64,
    /// 1 to 10^12.
    pub lots: u64,
    /// Cancel what does not trade at once.
    pub immediate: bool,
}

/// A book that matches by price, then by time.
///
/// Ids are spread for speed, not against an enemy: whoever may choose ids freely can make look-ups slow.
#[derive(Debug, Clone, Default)]
pub struct Book {
    nodes: Nodes,
    depth: Depth,
    index: IdIndex,
}

impl Book {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty book with room for `orders`.
    pub fn with_capacity(orders: usize) -> Self {
        Self { nodes: Nodes::with_capacity(orders), depth: Depth::default(), index: IdIndex::with_capacity(orders) }
    }

    #[inline]
    fn find(&self, id: u64) -> Option<u32> {
        self.index.find(&self.nodes, id)
    }

    /// Whether an order of this id rests here.
    pub fn contains(&self, id: u64) -> bool {
        self.find(id).is_some()
    }

    /// Matches an order and lets the rest of it rest, unless it is immediate.
    #[inline]
    pub fn place(&mut self, order: NewOrder, out: &mut impl Reports) {
        let id = order.id;
        if let Some(why) = refusal(order.ticks, order.lots) {
            return out.report(Report::Refused { id, why });
        }
        if id == u64::MAX || self.find(id).is_some() {
            return out.report(Report::Refused { id, why: Refusal::Duplicate });
        }
        if self.nodes.is_full() {
            return out.report(Report::Refused { id, why: Refusal::Full });
        }
        out.report(Report::Accepted { id, side: order.side, ticks: order.ticks, lots: order.lots });
        let rest = self.fill(id, order.side, order.ticks, order.lots, out);
        if rest == 0 {
            return;
        }
        if order.immediate {
            return out.report(Report::Cancelled { id, side: order.side, ticks: order.ticks, lots: rest });
        }
        let slot = self.nodes.insert(id, rest, 0);
        self.index.insert(id, slot);
        self.depth.push_back(&mut self.nodes, slot, order.side, order.ticks);
    }

    /// Trades against the other side while prices meet; what is left.
    #[inline]
    fn fill(&mut self, taker: u64, side: Side, limit: i64, mut lots: u64, out: &mut impl Reports) -> u64 {
        let other = side.opposite();
        loop {
            let level = self.depth.best(other);
            if level == NONE || !self.depth.crosses(level, limit) {
                return lots;
            }
            let ticks = self.depth.ticks(level);
            loop {
                let slot = self.depth.head(level);
                let maker = *self.nodes.get(slot);
                if lots < maker.lots {
                    self.depth.reduce(&mut self.nodes, slot, lots);
                    out.report(Report::Trade { maker: maker.id, taker, ticks, lots });
                    return 0;
                }
                let gone = self.depth.pop_front(&mut self.nodes, level);
                self.index.remove(maker.id, slot);
                self.nodes.remove(slot);
                out.report(Report::Trade { maker: maker.id, taker, ticks, lots: maker.lots });
                lots -= maker.lots;
                if lots == 0 {
                    return 0;
                }
                if gone {
                    break;
                }
            }
        }
    }

    /// Takes a resting order out.
    #[inline]
    pub fn cancel(&mut self, id: u64, out: &mut impl Reports) {
        let Some(slot) = self.find(id) else {
            return out.report(Report::Refused { id, why: Refusal::Unknown });
        };
        let node = *self.nodes.get(slot);
        let (side, ticks) = (self.depth.side(node.level), self.depth.ticks(node.level));
        self.depth.unlink(&mut self.nodes, slot);
        self.index.remove(id, slot);
        self.nodes.remove(slot);
        out.report(Report::Cancelled { id, side, ticks, lots: node.lots });
    }

    /// Replaces a resting order by one of the same id and side at the end of the queue of its new price,
    /// trading where that price meets the other side.
    #[inline]
    pub fn modify(&mut self, id: u64, ticks: i64, lots: u64, out: &mut impl Reports) {
        if let Some(why) = refusal(ticks, lots) {
            return out.report(Report::Refused { id, why });
        }
        let Some(slot) = self.find(id) else {
            return out.report(Report::Refused { id, why: Refusal::Unknown });
        };
        let side = self.depth.side(self.nodes.get(slot).level);
        self.depth.unlink(&mut self.nodes, slot);
        let rest = self.fill(id, side, ticks, lots, out);
        if rest == 0 {
            self.index.remove(id, slot);
            self.nodes.remove(slot);
        } else {
            self.nodes.get_mut(slot).lots = rest;
            self.depth.push_back(&mut self.nodes, slot, side, ticks);
        }
        out.report(Report::Modified { id, side, ticks, lots });
    }

    /// Asks the processor to fetch what a later command on this order, or at this price, will touch. Whoever has
    /// the next commands at hand calls it for the one 14, 9 and 4 places ahead, with `stage` 0 to 2: each stage
    /// fetches what the one before has made known. Values that a command lacks may be 0. It pays where the book is
    /// larger than the second level of cache; a smaller one is quicker without.
    #[inline(always)]
    pub fn prefetch(&self, stage: u32, id: u64, side: Side, ticks: i64) {
        match stage {
            0 => self.index.prefetch(id),
            1 => {
                self.nodes.prefetch(self.index.guess(id));
                self.depth.prefetch_page(side, ticks);
            }
            _ => {
                if let Some(node) = self.nodes.peek(self.index.guess(id)) {
                    self.nodes.prefetch(node.next);
                    self.nodes.prefetch(node.prev);
                    self.depth.prefetch_level(node.level);
                }
                self.depth.prefetch_level(self.depth.guess_level(side, ticks));
            }
        }
    }

    /// The levels; with [`Self::nodes`], the whole book can be walked.
    pub fn depth(&self) -> &Depth {
        &self.depth
    }

    /// The orders.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Orders that rest.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing rests.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.depth.bytes() + self.index.bytes()
    }
}

#[inline]
fn refusal(ticks: i64, lots: u64) -> Option<Refusal> {
    if lots == 0 || lots > LOTS_MAX {
        Some(Refusal::Lots)
    } else if !(1..=TICKS_MAX).contains(&ticks) {
        Some(Refusal::Ticks)
    } else {
        None
    }
}
