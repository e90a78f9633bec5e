//! An incoming order against the book.

use model::Side;
use model::exchange::{AccountId, ExecutionKind, Reason, SelfTrade};

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
    /// Trades the order at `taker` against the other side of the book until nothing meets it. `quote` is what is
    /// left of an order by quote amount.
    pub(super) fn run(&mut self, number: usize, taker: u32, mut quote: Option<i128>, out: &mut Outputs) -> End {
        let rec = &self.recs[taker as usize];
        let (other, limit, self_trade) = (rec.side.opposite(), rec.limit, rec.self_trade);
        let account = self.nodes.get(taker).tag;
        loop {
            let open = self.recs[taker as usize].open;
            if open == 0 {
                return End::Filled;
            }
            let depth = &self.markets[number].depth;
            let level = depth.best(other);
            if level == NONE || !depth.crosses(level, limit) {
                return End::NothingMeets;
            }
            let slot = depth.head(level);
            if self.recs[slot as usize].expires <= self.clock {
                self.close(slot, Reason::Expired, out);
                continue;
            }
            let node = self.nodes.get(slot);
            if node.tag == account && self_trade != SelfTrade::Allow {
                if let Some(end) = self.prevent(slot, taker, quote.is_some(), out) {
                    return end;
                }
                continue;
            }
            if self.fills_left == 0 {
                return End::Cancelled(Reason::SweepLimit);
            }
            let ticks = depth.ticks(level);
            let mut lots = open.min(node.lots);
            if let Some(left) = quote {
                lots = lots.min(self.affordable(number, taker, left, ticks));
            }
            if lots == 0 {
                // An order by quote amount is done when what is left of it does not buy a lot.
                return if self.recs[taker as usize].filled > 0 { End::Filled } else { End::NothingMeets };
            }
            self.fills_left -= 1;
            self.trade(number, (slot, taker), quote.as_mut(), (ticks, lots), false, out);
            self.after_fill(number, slot, lots, out);
        }
    }

    /// Takes what the resting order at `slot` traded off the book.
    pub(super) fn after_fill(&mut self, number: usize, slot: u32, lots: u64, out: &mut Outputs) {
        let rec = &self.recs[slot as usize];
        let (side, limit, open, display, oco) = (rec.side, rec.limit, rec.open, rec.display, rec.oco);
        let shown = self.nodes.get(slot).lots;
        let market = &mut self.markets[number];
        if lots < shown {
            market.shrink(&mut self.nodes, slot, side, limit, lots);
        } else {
            market.unrest(&mut self.nodes, slot, side, limit);
            if open > 0 {
                // An iceberg shows its next part, behind all others at the price.
                self.nodes.get_mut(slot).lots = display.min(open);
                market.rest(&mut self.nodes, slot, side, limit);
            } else {
                market.icebergs -= u32::from(display != 0);
            }
        }
        self.mark_dirty(number as u16);
        if oco != NONE {
            self.close_partner(slot, out);
        }
        if open == 0 {
            self.forget_order(slot);
        }
    }

    /// What an order by quote amount can still take at a price, fee included, with `left` of it left.
    fn affordable(&self, number: usize, taker: u32, left: i128, ticks: i64) -> u64 {
        let one = self.markets[number].notional(ticks, 1);
        let rec = &self.recs[taker as usize];
        let lots = match rec.side {
            Side::Buy => {
                let credit = i128::from(rec.meter.raw());
                (left * 10_000 + credit) / ((10_000 + i128::from(rec.taker_bps)) * one)
            }
            Side::Sell => left / one,
        };
        u64::try_from(lots).unwrap_or(u64::MAX)
    }

    /// Keeps an account from trading with itself; how the incoming order ends, if it does. What cannot shrink by a
    /// quantity goes as a whole under `decrement`: an incoming order by quote amount, a resting one of a pair.
    fn prevent(&mut self, slot: u32, taker: u32, by_quote: bool, out: &mut Outputs) -> Option<End> {
        let newest = Some(End::Cancelled(Reason::SelfTradePrevented));
        let rec = &self.recs[taker as usize];
        match rec.self_trade {
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
            SelfTrade::Decrement if by_quote => newest,
            SelfTrade::Decrement if self.recs[slot as usize].oco != NONE => {
                self.close(slot, Reason::SelfTradePrevented, out);
                None
            }
            SelfTrade::Decrement => {
                let open = rec.open;
                let lots = open.min(self.recs[slot as usize].open);
                self.decrement(slot, lots, out);
                if lots == open {
                    return newest;
                }
                self.shrink_order(taker, lots, out);
                self.report_order(ExecutionKind::Decremented, taker, Some(Reason::SelfTradePrevented), out);
                None
            }
        }
    }

    /// Takes `lots` off an order, off its quantity as well, and what it no longer needs off its hold.
    fn shrink_order(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        let rec = &mut self.recs[slot as usize];
        rec.open -= lots;
        rec.lots -= lots;
        let spare = rec.hold - self.markets[rec.market as usize].need(rec);
        self.free_hold(slot, spare, out);
    }

    /// Takes `lots` off a resting order for self-trade prevention; it goes when nothing is left.
    pub(super) fn decrement(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        if lots == self.recs[slot as usize].open {
            return self.close(slot, Reason::SelfTradePrevented, out);
        }
        self.shrink_resting(slot, lots, out);
        self.report_order(ExecutionKind::Decremented, slot, Some(Reason::SelfTradePrevented), out);
    }

    /// Lowers a resting order by `lots`, less than it has open. It keeps its place; hidden lots go first.
    pub(super) fn shrink_resting(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        let rec = &self.recs[slot as usize];
        let hidden = rec.open - self.nodes.get(slot).lots;
        let (number, side, limit) = (rec.market, rec.side, rec.limit);
        self.shrink_order(slot, lots, out);
        if lots > hidden {
            self.markets[number as usize].shrink(&mut self.nodes, slot, side, limit, lots - hidden);
            self.mark_dirty(number);
        }
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
