//! The state as bytes and back.
//!
//! ```text
//! "MRXS" | format version u32 | logic version u32 | length u64 | CRC-32 of the state u32 | state
//! ```
//! What can be computed from the rest (indices, price levels) is left out and built again.

use std::collections::VecDeque;

use ledger::snapshot::{SnapshotError, Source, State};
use ledger::{AssetId, Chunks, Ledger, state_of, state_of_enum};
use model::Side;
use model::exchange::MarketRules;

use super::accounts::AccountRow;
use super::market::{Market, Settling, Traded};
use super::order::{Place, Rec, Recs, Tif};
use super::requests::{Client, Outcome, Remembered, Requests};
use super::roles::{Roles, SourceMark, Writer};
use super::timers::{Timer, Timers};
use super::{Drained, Exchange, MARKETS_MAX, SLOTS_ROOM, fingerprint};
use crate::book::{Depth, IdIndex, NONE, Node, Nodes, SlotIndex, Tag};

/// Version of the snapshot's format.
pub const FORMAT_VERSION: u32 = 2;
/// Version of the exchange's rules: two programs with the same one make the same of the same records. New rules
/// start from a snapshot taken at the log's end, never by replaying old commands.
pub const LOGIC_VERSION: u32 = 2;

const MAGIC: [u8; 4] = *b"MRXS";
const HEAD: usize = 24;

state_of!(AccountRow { sequence, deadline, head, open, open_max, killed });
state_of!(Writer { role, epoch, sequence });
state_of!(SourceMark { topic, partition, offset, index });
state_of!(Outcome { kind, reason, given, limit, order, filled, open, notional, ticks });
state_of!(Client { id, tag });
state_of!(Drained { slot, id, market, reason });
state_of!(Settling { ticks, then });
state_of!(Traded {
    trade,
    buyer,
    seller,
    buy_order,
    sell_order,
    ticks,
    lots,
    buyer_fee,
    seller_fee,
    taker_side,
    busted
});
state_of_enum!(Place { Book, Stop, Trailing, Set });
state_of_enum!(Tif { Gtc, Ioc, Fok, Gtd, Day });
state_of!(Rec {
    hold,
    notional,
    open,
    filled,
    limit,
    lots,
    expires,
    trigger,
    display,
    next,
    prev,
    oco,
    meter,
    maker_bps,
    taker_bps,
    market,
    side,
    kind,
    place,
    post_only,
    self_trade,
    limit_given,
    tif,
    trail,
    client
});

impl State for Remembered {
    fn put(&self, out: &mut Vec<u8>) {
        (self.account, self.tag).put(out);
        (self.id, self.fingerprint).put(out);
        (self.offset, self.sent_at).put(out);
        (self.at, self.outcome()).put(out);
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let (account, tag): (u32, Tag) = State::get(from)?;
        let (id, fingerprint) = State::get(from)?;
        let (offset, sent_at) = State::get(from)?;
        let (at, outcome): (i64, Outcome) = State::get(from)?;
        Ok(Self::new(account, &Client { id, tag }, fingerprint, (offset, sent_at, at), &outcome))
    }
}

impl State for Tag {
    fn put(&self, out: &mut Vec<u8>) {
        self.raw().put(out);
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        u32::get(from).map(Self::from_raw)
    }
}

impl State for Timer {
    fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Order { id, slot } => {
                out.push(0);
                (id, slot).put(out);
            }
            Self::DeadMan { account } => {
                out.push(1);
                account.put(out);
            }
        }
    }

    fn get(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        Ok(match u8::get(from)? {
            0 => {
                let (id, slot) = State::get(from)?;
                Self::Order { id, slot }
            }
            1 => Self::DeadMan { account: u32::get(from)? },
            _ => return Err(SnapshotError::Invalid("timer")),
        })
    }
}

/// The slots of a side's orders from the best level on, each level in the order of its queue, with their lots.
fn put_depth(depth: &Depth, nodes: &Nodes, out: &mut Vec<u8>) {
    for side in [Side::Buy, Side::Sell] {
        let at = out.len();
        0u32.put(out);
        let mut count = 0u32;
        for slot in depth.iter(side).flat_map(|level| depth.queue(nodes, level)) {
            slot.put(out);
            count += 1;
        }
        out[at..at + 4].copy_from_slice(&count.to_le_bytes());
    }
}

impl Market {
    fn put(&self, nodes: &Nodes, out: &mut Vec<u8>) {
        self.rules.put(out);
        (self.base, self.quote).put(out);
        self.phase.put(out);
        self.killed.put(out);
        self.settling.put(out);
        self.draining.put(out);
        put_depth(&self.depth, nodes, out);
        put_depth(&self.stops, nodes, out);
        self.trailing.put(out);
        self.last.put(out);
        self.trades.put(out);
        let oldest_first: Vec<Traded> =
            self.recent[self.oldest..].iter().chain(&self.recent[..self.oldest]).copied().collect();
        oldest_first.put(out);
        (self.sequence, self.checksum).put(out);
        (self.since_snapshot, self.indicated).put(out);
    }

    fn get(from: &mut Source<'_>, assets: usize, nodes: &mut Nodes, recs: &Recs) -> Result<Self, SnapshotError> {
        let rules = MarketRules::get(from)?;
        rules.check().map_err(|_| SnapshotError::Invalid("rules of a market"))?;
        let (base, quote): (AssetId, AssetId) = State::get(from)?;
        if base.0 as usize >= assets || quote.0 as usize >= assets {
            return Err(SnapshotError::Invalid("asset of a market"));
        }
        let mut market = Self::new(rules, base, quote);
        market.phase = State::get(from)?;
        market.killed = State::get(from)?;
        market.settling = State::get(from)?;
        market.draining = State::get(from)?;
        get_depth(from, &mut market.depth, nodes, recs, Place::Book)?;
        get_depth(from, &mut market.stops, nodes, recs, Place::Stop)?;
        market.stop_count = [Side::Buy, Side::Sell]
            .into_iter()
            .map(|side| market.stops.iter(side).map(|level| market.stops.count(level)).sum::<u32>())
            .sum();
        market.icebergs = [Side::Buy, Side::Sell]
            .into_iter()
            .flat_map(|side| market.depth.iter(side))
            .flat_map(|level| market.depth.queue(nodes, level))
            .filter(|slot| recs[*slot as usize].display != 0)
            .count() as u32;
        market.trailing = State::get(from)?;
        if market.trailing.iter().any(|slot| recs.get(*slot as usize).is_none_or(|rec| rec.place != Place::Trailing)) {
            return Err(SnapshotError::Invalid("trailing stop"));
        }
        market.last = State::get(from)?;
        market.trades = State::get(from)?;
        market.recent = State::get(from)?;
        (market.sequence, market.checksum) = State::get(from)?;
        (market.since_snapshot, market.indicated) = State::get(from)?;
        Ok(market)
    }
}

fn get_depth(
    from: &mut Source<'_>,
    depth: &mut Depth,
    nodes: &mut Nodes,
    recs: &Recs,
    place: Place,
) -> Result<(), SnapshotError> {
    for side in [Side::Buy, Side::Sell] {
        for _ in 0..u32::get(from)? {
            let slot = u32::get(from)?;
            let rec = recs.get(slot as usize).filter(|rec| rec.place == place);
            let rec = rec.ok_or(SnapshotError::Invalid("order in a book"))?;
            let (own, ticks) =
                if place == Place::Book { (rec.side, rec.limit) } else { (rec.side.opposite(), rec.trigger) };
            let node = nodes.get(slot);
            if own != side || ticks < 1 || node.level != NONE || node.id == u64::MAX {
                return Err(SnapshotError::Invalid("order in a book"));
            }
            depth.push_back(nodes, slot, side, ticks);
        }
    }
    Ok(())
}

/// Nodes by slot: the id, for a free slot none and the next free one.
fn put_nodes(nodes: &Nodes, out: &mut Vec<u8>) {
    let (all, free) = nodes.parts();
    (all.len() as u32, free).put(out);
    for node in all {
        node.id.put(out);
        if node.id == u64::MAX {
            node.next.put(out);
        } else {
            (node.lots, node.tag).put(out);
        }
    }
}

fn get_nodes(from: &mut Source<'_>) -> Result<Nodes, SnapshotError> {
    let (len, free): (u32, u32) = State::get(from)?;
    let mut nodes = Vec::with_capacity(SLOTS_ROOM);
    for _ in 0..len {
        let id = u64::get(from)?;
        let mut node = Node { id, lots: 0, next: NONE, prev: NONE, level: NONE, tag: 0 };
        if id == u64::MAX {
            node.next = u32::get(from)?;
        } else {
            (node.lots, node.tag) = State::get(from)?;
        }
        nodes.push(node);
    }
    Nodes::from_parts(nodes, free).ok_or(SnapshotError::Invalid("free list"))
}

impl Exchange {
    fn put_state(&self, out: &mut Vec<u8>) {
        self.seed.put(out);
        self.limits.put(out);
        self.applied.put(out);
        (self.clock, self.orders).put(out);
        self.roles.writers.put(out);
        self.roles.sources.put(out);
        self.ledger.put(out);
        self.positions.put(out);
        self.accounts.put(out);
        self.reserved.put(out);
        put_nodes(&self.nodes, out);
        let (nodes, _) = self.nodes.parts();
        for (node, rec) in nodes.iter().zip(self.recs.iter()) {
            if node.id != u64::MAX {
                rec.put(out);
            }
        }
        (self.markets.len() as u32).put(out);
        for market in &self.markets {
            market.put(&self.nodes, out);
        }
        (self.requests.len() as u32, self.requests.floor).put(out);
        for entry in self.requests.iter() {
            entry.put(out);
        }
        self.timers
            .sorted(|at, timer| match timer {
                Timer::Order { id, slot } => self.nodes.holds(slot, id) && self.recs[slot as usize].expires == at,
                Timer::DeadMan { account } => self.account_row(account).deadline == at,
            })
            .put(out);
        let drain: Vec<Drained> = self.drain.iter().copied().collect();
        drain.put(out);
    }

    fn get_state(from: &mut Source<'_>) -> Result<Self, SnapshotError> {
        let seed = u64::get(from)?;
        let mut exchange = Self::new(seed);
        exchange.limits = State::get(from)?;
        if !exchange.limits.are_valid() {
            return Err(SnapshotError::Invalid("limits"));
        }
        exchange.applied = State::get(from)?;
        (exchange.clock, exchange.orders) = State::get(from)?;
        exchange.roles = Roles::new(State::get(from)?, State::get(from)?);
        exchange.ledger = Ledger::get(from)?;
        exchange.positions = State::get(from)?;
        exchange.accounts = State::get(from)?;
        exchange.reserved = State::get(from)?;
        exchange.nodes = get_nodes(from)?;
        exchange.get_recs(from)?;
        for number in 0..u32::get(from)? {
            let assets = exchange.ledger.assets().len();
            let market = Market::get(from, assets, &mut exchange.nodes, &exchange.recs)?;
            exchange.settling += u32::from(market.settling.is_some());
            if exchange.by_name.get(&market.rules.instrument).is_some() || number as usize >= MARKETS_MAX {
                return Err(SnapshotError::Invalid("market"));
            }
            exchange.by_name.insert(&market.rules.instrument);
            exchange.markets.push(market);
        }
        let (count, floor): (u32, i64) = State::get(from)?;
        let mut entries = Chunks::default();
        for _ in 0..count {
            entries.push(Remembered::get(from)?);
        }
        if count > exchange.limits.ids_max {
            return Err(SnapshotError::Invalid("number of remembered ids"));
        }
        exchange.requests = Requests::restore(exchange.limits.ids_max, floor, entries);
        exchange.timers = Timers::from_sorted(State::get(from)?);
        exchange.drain = VecDeque::from(Vec::<Drained>::get(from)?);
        if from.left() != 0 || exchange.reserved.len() != exchange.ledger.assets().len() {
            return Err(SnapshotError::Invalid("end"));
        }
        exchange.check_links()?;
        exchange.recatalog();
        Ok(exchange)
    }

    /// Reads the records of live orders and builds the indices over them.
    fn get_recs(&mut self, from: &mut Source<'_>) -> Result<(), SnapshotError> {
        let live = self.nodes.len();
        (self.ids, self.clients) = (IdIndex::with_capacity(live), SlotIndex::with_capacity(live));
        let mut by_id = Vec::with_capacity(live);
        for slot in 0..self.nodes.slots() as u32 {
            let node = *self.nodes.get(slot);
            if node.id == u64::MAX {
                self.recs.push(unused());
                continue;
            }
            let rec = Rec::get(from)?;
            if let Some(client) = rec.client {
                self.clients.insert(client.tag, slot);
            }
            by_id.push((node.id, slot));
            self.recs.push(rec);
        }
        // In the order they came, so that the newest are in the ring.
        by_id.sort_unstable();
        if by_id.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(SnapshotError::Invalid("order number"));
        }
        for (id, slot) in by_id {
            self.ids.insert(id, slot);
        }
        Ok(())
    }

    /// Whether every slot that something points to holds an order.
    fn check_links(&self) -> Result<(), SnapshotError> {
        let holds = |slot: u32| slot == NONE || self.live(slot);
        let markets = self.markets.len();
        for slot in (0..self.nodes.slots() as u32).filter(|slot| self.live(*slot)) {
            let (node, rec) = (self.nodes.get(slot), &self.recs[slot as usize]);
            let linked = rec.place == Place::Trailing || node.level != NONE;
            let sound = holds(rec.next)
                && holds(rec.prev)
                && holds(rec.oco)
                && linked
                && (rec.market as usize) < markets
                && (node.tag as usize) < self.accounts.len();
            if !sound {
                return Err(SnapshotError::Invalid("order"));
            }
        }
        let heads = self.accounts.iter().all(|row| holds(row.head));
        let drained = self.drain.iter().all(|drained| (drained.market as usize) < markets);
        if heads && drained { Ok(()) } else { Err(SnapshotError::Invalid("link")) }
    }

    fn live(&self, slot: u32) -> bool {
        (slot as usize) < self.nodes.slots() && self.nodes.get(slot).id != u64::MAX
    }

    /// The state as a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes);
        bytes
    }

    /// Appends the state as a snapshot, which may be hundreds of megabytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; HEAD]);
        self.put_state(out);
        let (head, state) = out[begin..].split_at_mut(HEAD);
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        head[8..12].copy_from_slice(&LOGIC_VERSION.to_le_bytes());
        head[12..20].copy_from_slice(&(state.len() as u64).to_le_bytes());
        head[20..24].copy_from_slice(&crc32fast::hash(state).to_le_bytes());
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// When the snapshot is damaged, cut, or of another version of format or logic.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Source::new(bytes);
        if from.array::<4>("head")? != MAGIC {
            return Err(SnapshotError::Invalid("head"));
        }
        for (what, ours) in [("format", FORMAT_VERSION), ("logic", LOGIC_VERSION)] {
            let found = u32::get(&mut from)?;
            if found != ours {
                return Err(SnapshotError::Version { what, found, ours });
            }
        }
        let (length, checksum) = (u64::get(&mut from)?, u32::get(&mut from)?);
        if from.left() as u64 != length {
            return Err(SnapshotError::Truncated("state"));
        }
        if crc32fast::hash(&bytes[HEAD..]) != checksum {
            return Err(SnapshotError::Checksum);
        }
        Self::get_state(&mut from)
    }

    /// A hash of the state: equal in every replica that has taken in the same records.
    pub fn state_hash(&self) -> u64 {
        let mut bytes = Vec::new();
        self.put_state(&mut bytes);
        fingerprint::of_bytes(&bytes)
    }
}

/// What stands in an unused slot.
fn unused() -> Rec {
    Rec {
        hold: 0,
        notional: 0,
        open: 0,
        filled: 0,
        limit: 0,
        lots: 0,
        expires: super::order::NEVER,
        trigger: 0,
        display: 0,
        next: NONE,
        prev: NONE,
        oco: NONE,
        meter: ledger::FeeMeter::default(),
        maker_bps: 0,
        taker_bps: 0,
        market: 0,
        side: Side::Buy,
        kind: model::exchange::OrderKind::Limit,
        place: Place::Set,
        post_only: false,
        self_trade: model::exchange::SelfTrade::Allow,
        limit_given: false,
        tif: Tif::Gtc,
        trail: None,
        client: None,
    }
}
