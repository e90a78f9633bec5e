//! The memory of client order ids: what each was for and what became of it.

use ledger::Chunks;
use model::exchange::{ClientOrderId, ExecutionKind, Reason};

use super::fingerprint::fold;
use crate::book::{SlotIndex, Tag};

/// A client order id with its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: ClientOrderId,
    pub(super) tag: Tag,
}

/// How many entries ahead of those that go the memory of the next ones is fetched.
const AHEAD: usize = 16;
/// Entries in a chunk of the ring.
const RING_CHUNK: usize = 32_768;

/// What became of a command, as far as it must be told again. The fields of the order itself are in the repeated
/// command, which is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) kind: ExecutionKind,
    pub(super) reason: Option<Reason>,
    /// The numbers of a rejection.
    pub(super) given: Option<i128>,
    pub(super) limit: Option<i128>,
    /// The order, 0 for none; for a pending withdrawal its number.
    pub(super) order: u64,
    pub(super) filled: u64,
    pub(super) open: u64,
    pub(super) notional: i128,
    /// Its limit in ticks, 0 for none.
    pub(super) ticks: i64,
}

impl Outcome {
    /// An outcome that says nothing else.
    #[inline]
    pub(super) const fn new(kind: ExecutionKind) -> Self {
        Self { kind, reason: None, given: None, limit: None, order: 0, filled: 0, open: 0, notional: 0, ticks: 0 }
    }
}

/// An id with what became of it, in two cache lines. A rejection has no order, so the numbers of its sentence lie
/// where the order's quantities would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Remembered {
    pub(super) id: ClientOrderId,
    kind: ExecutionKind,
    reason: Option<Reason>,
    /// Which numbers a rejection has: [`GIVEN`], [`LIMIT`].
    numbers: u8,
    pub(super) account: u32,
    /// Of account and id, so that it need not be computed again.
    pub(super) tag: Tag,
    /// Of the command's content.
    pub(super) fingerprint: u64,
    pub(super) offset: u64,
    pub(super) sent_at: i64,
    pub(super) at: i64,
    order: u64,
    ticks: i64,
    /// Filled and open lots; or what was given, low half first.
    left: [u64; 2],
    /// The notional; or the limit; low half first.
    right: [u64; 2],
}

const GIVEN: u8 = 1;
const LIMIT: u8 = 2;

const fn halves(value: i128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

const fn whole([low, high]: [u64; 2]) -> i128 {
    ((high as u128) << 64 | low as u128) as i128
}

impl Remembered {
    /// `times` are the command's offset, when it was sent, and the exchange's time.
    #[inline]
    pub(super) fn new(
        account: u32,
        client: &Client,
        fingerprint: u64,
        (offset, sent_at, at): (u64, i64, i64),
        outcome: &Outcome,
    ) -> Self {
        const { assert!(size_of::<Self>() == 128) };
        let mut entry = Self {
            id: client.id,
            kind: outcome.kind,
            reason: outcome.reason,
            numbers: 0,
            account,
            tag: client.tag,
            fingerprint,
            offset,
            sent_at,
            at,
            order: outcome.order,
            ticks: outcome.ticks,
            left: [outcome.filled, outcome.open],
            right: halves(outcome.notional),
        };
        if outcome.kind == ExecutionKind::Rejected {
            if let Some(given) = outcome.given {
                (entry.numbers, entry.left) = (GIVEN, halves(given));
            }
            if let Some(limit) = outcome.limit {
                (entry.numbers, entry.right) = (entry.numbers | LIMIT, halves(limit));
            }
        }
        entry
    }

    pub(super) fn outcome(&self) -> Outcome {
        let mut outcome =
            Outcome { reason: self.reason, order: self.order, ticks: self.ticks, ..Outcome::new(self.kind) };
        if self.kind == ExecutionKind::Rejected {
            outcome.given = (self.numbers & GIVEN != 0).then(|| whole(self.left));
            outcome.limit = (self.numbers & LIMIT != 0).then(|| whole(self.right));
        } else {
            [outcome.filled, outcome.open] = self.left;
            outcome.notional = whole(self.right);
        }
        outcome
    }
}

/// A ring of the newest ids, with an index. What falls out moves `floor` up, so that an id that could have been
/// forgotten is refused as too old rather than taken for new.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    ring: Chunks<Remembered, RING_CHUNK>,
    /// Where the oldest one is.
    head: usize,
    len: usize,
    capacity: usize,
    index: SlotIndex,
    /// Commands sent at or before this time may be forgotten ones.
    pub(super) floor: i64,
}

/// Hash of an account's id, keyed so that nobody can choose ids that collide.
#[inline]
pub(super) fn tag_of(seed: u64, account: u32, id: &ClientOrderId) -> Tag {
    const { assert!(ClientOrderId::LEN_MAX == 36) };
    let bytes = id.padded();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let last = u32::from_le_bytes(bytes[32..36].try_into().expect("four bytes"));
    // Two pairs of words at a time, so that the products do not wait for each other.
    let left = fold(seed ^ word(0), word(8) ^ 0xa076_1d64_78bd_642f);
    let right = fold(seed.rotate_left(32) ^ word(16), word(24) ^ 0xe703_7ed1_a0b4_28db);
    let rest = u64::from(account) << 32 | u64::from(last);
    Tag::of_hash(fold(left ^ rest, right ^ seed ^ 0x8ebc_6af0_9c88_c6e3))
}

impl Requests {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            ring: Chunks::default(),
            head: 0,
            len: 0,
            capacity: capacity as usize,
            index: SlotIndex::default(),
            floor: i64::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn find(&self, tag: Tag, account: u32, id: &ClientOrderId) -> Option<&Remembered> {
        let is_it = |slot: u32| {
            let known = &self.ring[slot as usize];
            known.account == account && known.id == *id
        };
        self.index.find(tag, is_it).map(|slot| &self.ring[slot as usize])
    }

    /// Asks the processor to fetch where `tag` is looked up.
    #[inline]
    pub(super) fn prefetch(&self, tag: Tag) {
        self.index.prefetch(tag);
    }

    /// Forgets what is older than `since`; a few at a time, so that no command pays for many.
    #[inline]
    pub(super) fn forget(&mut self, since: i64) {
        for _ in 0..4 {
            if self.len == 0 || self.ring[self.head].at >= since {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let old = &self.ring[self.head];
        self.floor = self.floor.max(old.sent_at);
        self.index.remove(old.tag, self.head as u32);
        // Those that go next are known already: first the entry is fetched, then its place in the index.
        self.ring.prefetch(self.head + 2 * AHEAD, 0);
        if let Some(soon) = self.ring.get(self.head + AHEAD) {
            self.index.prefetch(soon.tag);
        }
        self.head += 1;
        if self.head == self.capacity {
            self.head = 0;
        }
        self.len -= 1;
    }

    /// Remembers an id that is not known.
    #[inline]
    pub(super) fn remember(&mut self, entry: Remembered) {
        if self.len >= self.capacity {
            self.forget_oldest();
        }
        // The ring grows at its end until it is full once; only then does it wrap.
        let at = if self.ring.len() < self.capacity {
            self.ring.push(entry);
            self.ring.len() - 1
        } else {
            let mut at = self.head + self.len;
            if at >= self.ring.len() {
                at -= self.ring.len();
            }
            self.ring[at] = entry;
            at
        };
        self.index.insert(entry.tag, at as u32);
        self.len += 1;
    }

    fn reindex(&mut self) {
        self.index = SlotIndex::with_capacity(self.len);
        for at in 0..self.len {
            let place = (self.head + at) % self.ring.len();
            let entry = &self.ring[place];
            self.index.insert(entry.tag, place as u32);
        }
    }

    /// Changes how many are remembered; what is too much goes, oldest first.
    pub(super) fn resize(&mut self, capacity: u32) {
        while self.len > capacity as usize {
            self.forget_oldest();
        }
        self.ring = self.iter().copied().collect();
        (self.head, self.capacity) = (0, capacity as usize);
        self.reindex();
    }

    /// What is remembered, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Remembered> {
        (0..self.len).map(|at| &self.ring[(self.head + at) % self.ring.len()])
    }

    /// From what was remembered, oldest first.
    pub(super) fn restore(capacity: u32, floor: i64, entries: Chunks<Remembered, RING_CHUNK>) -> Self {
        let len = entries.len();
        let mut requests =
            Self { ring: entries, head: 0, len, capacity: capacity as usize, index: SlotIndex::default(), floor };
        requests.reindex();
        requests
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.ring.bytes() + self.index.bytes()
    }
}
