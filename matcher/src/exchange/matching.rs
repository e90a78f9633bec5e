//! An incoming order against the book.

use model::Side;
use model::exchange::{AccountId, ExecutionKind, Reason, SelfTrade};

use super::fill::Party;
use super::order::Rec;
use super::{Exchange, FILLS_MAX, Outputs};
use crate::book::NONE;

/// How an order's run against the book ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing of it is left.
    Filled,
    /// Nothing in the book meets what is left.
    NothingMeets,
    /// The rest must go.
    Cancelled(Reason),
}

impl Exchange {
    /// Trades an order against the other side of the book until nothing meets it.
    pub(super) fn run(&mut self, number: usize, party: &mut Party, out: &mut Outputs) -> End {
        let other = party.rec.side.opposite();
        loop {
            if party.rec.open == 0 {
                return End::Filled;
            }
            let depth = &self.markets[number].depth;
            let level = depth.best(other);
            if level == NONE || !depth.crosses(level, party.rec.limit) {
                return End::NothingMeets;
            }
            let slot = depth.head(level);
            if self.recs[slot as usize].expires <= self.clock {
                self.close(slot, Reason::Expired, out);
                continue;
            }
            if self.nodes.get(slot).tag == party.account && party.rec.self_trade != SelfTrade::Allow {
                if let Some(end) = self.prevent(slot, party, out) {
                    return end;
                }
                continue;
            }
            if self.fills_left == 0 {
                return End::Cancelled(Reason::SweepLimit);
            }
            let ticks = self.markets[number].depth.ticks(level);
            let lots = party.rec.open.min(self.nodes.get(slot).lots).min(self.affordable(number, party, ticks));
            if lots == 0 {
                // An order by quote amount is done when what is left of it does not buy a lot.
                return if party.rec.filled > 0 { End::Filled } else { End::NothingMeets };
            }
            self.fills_left -= 1;
            self.fill_maker(number, slot, party, (ticks, lots), out);
        }
    }

    /// Trades with the resting order at `slot` and puts it where it then belongs.
    fn fill_maker(
        &mut self,
        number: usize,
        slot: u32,
        party: &mut Party,
        (ticks, lots): (i64, u64),
        out: &mut Outputs,
    ) {
        let node = *self.nodes.get(slot);
        let mut maker = Party { id: node.id, account: node.tag, rec: self.recs[slot as usize], quote: None };
        self.trade(number, &mut maker, party, (ticks, lots), false, out);
        self.after_fill(number, slot, &maker.rec, lots, out);
    }

    /// Takes what the resting order at `slot` traded off the book.
    pub(super) fn after_fill(&mut self, number: usize, slot: u32, rec: &Rec, lots: u64, out: &mut Outputs) {
        // Its place in the account's list may have changed since the copy was made.
        let kept = &mut self.recs[slot as usize];
        *kept = Rec { next: kept.next, prev: kept.prev, ..*rec };
        let (side, limit) = (rec.side, rec.limit);
        let shown = self.nodes.get(slot).lots;
        let market = &mut self.markets[number];
        if lots < shown {
            market.shrink(&mut self.nodes, slot, side, limit, lots);
        } else {
            market.unrest(&mut self.nodes, slot, side, limit);
            if rec.open > 0 {
                // An iceberg shows its next part, behind all others at the price.
                self.nodes.get_mut(slot).lots = rec.display.min(rec.open);
                market.rest(&mut self.nodes, slot, side, limit);
            } else {
                market.icebergs -= u32::from(rec.display != 0);
            }
        }
        self.mark_dirty(number as u16);
        if rec.oco != NONE {
            self.close_partner(slot, out);
        }
        if rec.open == 0 {
            self.forget_order(slot);
        }
    }

    /// What an order by quote amount can still take at a price, fee included.
    fn affordable(&self, number: usize, party: &Party, ticks: i64) -> u64 {
        let Some(left) = party.quote else { return u64::MAX };
        let one = self.markets[number].notional(ticks, 1);
        let lots = match party.rec.side {
            Side::Buy => {
                let credit = i128::from(party.rec.meter.raw());
                (left * 10_000 + credit) / ((10_000 + i128::from(party.rec.taker_bps)) * one)
            }
            Side::Sell => left / one,
        };
        u64::try_from(lots).unwrap_or(u64::MAX)
    }

    /// Keeps an account from trading with itself; how the incoming order ends, if it does. What cannot shrink by a
    /// quantity goes as a whole under `decrement`: an incoming order by quote amount, a resting one of a pair.
    fn prevent(&mut self, slot: u32, party: &mut Party, out: &mut Outputs) -> Option<End> {
        let newest = Some(End::Cancelled(Reason::SelfTradePrevented));
        match party.rec.self_trade {
            SelfTrade::Allow => None,
            SelfTrade::CancelNewest => newest,
            SelfTrade::CancelOldest => {
                self.close(slot, Reason::SelfTradePrevented, out);
                None
            }
            SelfTrade::CancelBoth => {
                self.close(slot, Reason::SelfTradePrevented, out);
                newest
            }
            SelfTrade::Decrement if party.quote.is_some() => newest,
            SelfTrade::Decrement if self.recs[slot as usize].oco != NONE => {
                self.close(slot, Reason::SelfTradePrevented, out);
                None
            }
            SelfTrade::Decrement => {
                let lots = party.rec.open.min(self.recs[slot as usize].open);
                self.decrement(slot, lots, out);
                if lots == party.rec.open {
                    return newest;
                }
                self.shrink_party(party, lots, out);
                self.report_order(ExecutionKind::Decremented, party, Some(Reason::SelfTradePrevented), out);
                None
            }
        }
    }

    /// Takes `lots` off an order in hand, off its quantity as well, and what it no longer needs off its hold.
    fn shrink_party(&mut self, party: &mut Party, lots: u64, out: &mut Outputs) {
        party.rec.open -= lots;
        party.rec.lots -= lots;
        let spare = party.rec.hold - self.markets[party.rec.market as usize].need(&party.rec);
        self.free_hold(party.id, party.account, &mut party.rec, spare, out);
    }

    /// Takes `lots` off a resting order for self-trade prevention; it goes when nothing is left.
    pub(super) fn decrement(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        if lots == self.recs[slot as usize].open {
            return self.close(slot, Reason::SelfTradePrevented, out);
        }
        self.shrink_resting(slot, lots, out);
        let party = self.party(slot);
        self.report_order(ExecutionKind::Decremented, &party, Some(Reason::SelfTradePrevented), out);
    }

    /// Lowers a resting order by `lots`, less than it has open. It keeps its place; hidden lots go first.
    pub(super) fn shrink_resting(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        let node = *self.nodes.get(slot);
        let mut party = self.party(slot);
        let hidden = party.rec.open - node.lots;
        self.shrink_party(&mut party, lots, out);
        self.recs[slot as usize] = party.rec;
        if lots > hidden {
            let market = &mut self.markets[party.rec.market as usize];
            market.shrink(&mut self.nodes, slot, party.rec.side, party.rec.limit, lots - hidden);
            self.mark_dirty(party.rec.market);
        }
    }

    /// A kept order as a party of a trade or report.
    pub(super) fn party(&self, slot: u32) -> Party {
        let node = self.nodes.get(slot);
        Party { id: node.id, account: node.tag, rec: self.recs[slot as usize], quote: None }
    }

    /// Whether an order can be filled to the last lot at once: without meeting one of its own account that it may
    /// not trade with, and within the limit of fills. What an iceberg hides stands behind everything else at its
    /// price, so in front of an own order only what shows can be had.
    pub(super) fn can_fill_all(&self, account: u32, rec: &Rec) -> bool {
        let depth = &self.markets[rec.market as usize].depth;
        let (mut missing, mut fills) = (rec.open, 0u64);
        for level in depth.iter(rec.side.opposite()).take_while(|level| depth.crosses(*level, rec.limit)) {
            let (mut shown, mut all) = (0u64, 0u64);
            for slot in depth.queue(&self.nodes, level) {
                let (node, other) = (self.nodes.get(slot), &self.recs[slot as usize]);
                if other.expires <= self.clock {
                    continue;
                }
                if node.tag == account && rec.self_trade != SelfTrade::Allow {
                    return false;
                }
                fills += if other.display == 0 { 1 } else { 1 + (other.open - node.lots).div_ceil(other.display) };
                if fills > u64::from(FILLS_MAX.min(self.fills_left)) {
                    return false;
                }
                shown += node.lots;
                all += other.open;
                if shown >= missing {
                    return true;
                }
            }
            missing = missing.saturating_sub(all);
            if missing == 0 {
                return true;
            }
        }
        false
    }

    /// The account's number as the ledger has it.
    pub(super) fn account_of(&self, slot: u32) -> AccountId {
        AccountId(self.nodes.get(slot).tag)
    }
}
