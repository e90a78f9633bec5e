//! The slab of orders: 32 bytes each, linked into the queue of their price level.

/// No slot, no level, no page.
pub const NONE: u32 = u32::MAX;

/// Orders that one slab holds, at most. With [`super::LOTS_MAX`] it keeps the sum of a level inside a `u64`.
pub const SLOTS_MAX: usize = 1 << 24;

/// One order in a book. Aligned so that it never straddles two cache lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Node {
    /// The order's id.
    pub id: u64,
    /// What of it rests and shows, in lots.
    pub lots: u64,
    /// The next one in the level's queue; for a free slot the next free one.
    pub next: u32,
    /// The one before it in the level's queue.
    pub prev: u32,
    /// The level that it rests in; [`NONE`] while it rests nowhere.
    pub level: u32,
    /// Whatever the owner of the book likes to find again here, such as the account.
    pub tag: u32,
}

/// A slab of [`Node`]s: slots are stable, freed ones are reused last in, first out.
#[derive(Debug, Clone)]
pub struct Nodes {
    nodes: Vec<Node>,
    free: u32,
    live: u32,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: NONE, live: 0 }
    }
}

impl Nodes {
    /// An empty slab with room for `orders`.
    pub fn with_capacity(orders: usize) -> Self {
        Self { nodes: Vec::with_capacity(orders.min(SLOTS_MAX)), ..Self::default() }
    }

    /// Orders held.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether no order is held.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Slots that exist, free ones included.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no room for another order.
    pub fn is_full(&self) -> bool {
        self.live as usize >= SLOTS_MAX
    }

    /// Takes a slot for an order that rests nowhere yet.
    ///
    /// # Panics
    /// When the slab is full; ask [`Self::is_full`] first.
    #[inline]
    pub fn insert(&mut self, id: u64, lots: u64, tag: u32) -> u32 {
        let node = Node { id, lots, next: NONE, prev: NONE, level: NONE, tag };
        self.live += 1;
        let slot = self.free;
        if slot != NONE {
            let place = &mut self.nodes[slot as usize];
            self.free = place.next;
            *place = node;
            return slot;
        }
        assert!(self.nodes.len() < SLOTS_MAX, "a slab holds at most {SLOTS_MAX} orders");
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// Frees a slot. The order must rest nowhere.
    #[inline]
    pub fn remove(&mut self, slot: u32) {
        let node = &mut self.nodes[slot as usize];
        debug_assert_eq!(node.level, NONE);
        *node = Node { id: u64::MAX, lots: 0, next: self.free, prev: NONE, level: NONE, tag: 0 };
        self.free = slot;
        self.live -= 1;
    }

    /// The order at `slot`.
    #[inline]
    pub fn get(&self, slot: u32) -> &Node {
        &self.nodes[slot as usize]
    }

    /// The order at `slot`, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Node {
        &mut self.nodes[slot as usize]
    }

    /// Whether `slot` holds the order `id`.
    #[inline]
    pub fn holds(&self, slot: u32, id: u64) -> bool {
        self.nodes.get(slot as usize).is_some_and(|node| node.id == id)
    }

    /// The order at `slot`; near the end some other one where there is no such slot. For prefetching.
    #[inline(always)]
    pub(crate) fn peek(&self, slot: u32) -> Option<&Node> {
        self.nodes.get((slot as usize).min(self.nodes.len().wrapping_sub(1)))
    }

    /// Asks the processor to fetch the order at `slot` before it is needed.
    #[inline(always)]
    pub fn prefetch(&self, slot: u32) {
        super::prefetch::read(&self.nodes, slot as usize);
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>()
    }

    /// The slab as it is, for snapshots: nodes and the first free slot.
    pub(crate) fn parts(&self) -> (&[Node], u32) {
        (&self.nodes, self.free)
    }

    /// A slab from its parts. `None` when the free list does not hold together.
    pub(crate) fn from_parts(nodes: Vec<Node>, free: u32) -> Option<Self> {
        let mut freed = 0usize;
        let mut at = free;
        while at != NONE {
            let node = nodes.get(at as usize)?;
            if node.id != u64::MAX || freed >= nodes.len() {
                return None;
            }
            freed += 1;
            at = node.next;
        }
        let live = nodes.len().checked_sub(freed)? as u32;
        (nodes.len() <= SLOTS_MAX).then_some(Self { nodes, free, live })
    }
}
