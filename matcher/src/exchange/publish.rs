//! Reports of orders, and the books as they changed.

use model::exchange::{Command, CommandBody, ExecutionKind, Liquidity, NewOrder, Reason, level_hash};
use model::{Price, Side};

use super::market::{Market, Touched};
use super::outputs::{BookUpdate, LevelRow};
use super::report::{Detail, OrderState, Report};
use super::requests::Outcome;
use super::{Exchange, FILLS_MAX, Outputs, whole};
use crate::book::NONE;

/// Levels of each side in a snapshot of a book, at most.
pub(super) const SNAPSHOT_LEVELS: usize = 1_000;

impl Exchange {
    /// The order at `slot` as it is.
    #[inline]
    pub(super) fn state(&self, slot: u32) -> OrderState {
        let rec = &self.recs[slot as usize];
        OrderState {
            notional: rec.notional,
            id: self.nodes.get(slot).id,
            limit: rec.limit,
            trigger: rec.trigger,
            lots: rec.lots,
            filled: rec.filled,
            open: rec.open,
            tif: rec.tif(),
            market: rec.market,
            side: rec.side,
            kind: rec.kind,
        }
    }

    /// Reports what happened to the order at `slot`.
    #[inline]
    pub(super) fn report_order(&mut self, kind: ExecutionKind, slot: u32, reason: Option<Reason>, out: &mut Outputs) {
        let mut detail = NONE;
        if reason == Some(Reason::SweepLimit) {
            detail = out.detail(Detail { limit: Some(whole(FILLS_MAX)), ..Detail::default() });
        }
        self.report_slot(slot, Report { reason, detail, ..Report::new(0, kind, None) }, out);
    }

    /// Reports the command's newest trade to one of its orders.
    #[inline]
    pub(super) fn report_fill(&mut self, slot: u32, fee: i128, liquidity: Liquidity, out: &mut Outputs) {
        let matched = (out.matches.len() - 1) as u32;
        self.report_slot(slot, Report { fee, liquidity, matched, ..Report::new(0, ExecutionKind::Trade, None) }, out);
    }

    /// Adds a report with the order at `slot` as it is.
    #[inline]
    fn report_slot(&mut self, slot: u32, report: Report, out: &mut Outputs) {
        let account = self.nodes.get(slot).tag;
        let row = self.account_mut(account);
        row.sequence += 1;
        let sequence = row.sequence;
        let client = self.recs[slot as usize].client.as_ref().map(|client| client.id);
        out.reports.push(Report { account, sequence, client, order: Some(self.state(slot)), ..report });
    }

    /// The outcome to remember of an order that came in.
    #[inline]
    pub(super) fn accepted(&self, slot: u32) -> Outcome {
        let rec = &self.recs[slot as usize];
        Outcome {
            order: self.nodes.get(slot).id,
            filled: rec.filled,
            open: if rec.lots == 0 { 0 } else { rec.open },
            notional: rec.notional,
            ticks: rec.limit,
            ..Outcome::new(ExecutionKind::Accepted)
        }
    }

    /// An outcome with what the command did to the order since.
    #[inline]
    pub(super) fn latest(&self, mut outcome: Outcome, out: &Outputs) -> Outcome {
        if outcome.order == 0 || outcome.kind == ExecutionKind::Done {
            return outcome;
        }
        let mut orders = out.reports.iter().rev().filter_map(|report| report.order.as_ref());
        if let Some(order) = orders.find(|order| order.id == outcome.order) {
            outcome.filled = order.filled;
            outcome.open = if order.lots == 0 { 0 } else { order.open };
            outcome.notional = order.notional;
        }
        outcome
    }

    /// Answers a repeated command with its first outcome, that of the command at offset `first`.
    pub(super) fn tell_again(&mut self, command: &Command, first: u64, outcome: &Outcome, out: &mut Outputs) {
        let mut report = Report::new(command.account.0, outcome.kind, command.request);
        report.reason = outcome.reason;
        let mut detail = Detail { given: outcome.given, limit: outcome.limit, first: Some(first), ..Detail::default() };
        match &command.body {
            CommandBody::Place(order) if outcome.order != 0 => report.order = self.as_it_was(order, outcome),
            CommandBody::PlaceOco(pair) if outcome.order != 0 => report.order = self.as_it_was(&pair.0, outcome),
            CommandBody::Deposit { asset, amount } | CommandBody::Transfer { asset, amount, .. } => {
                (detail.asset, detail.amount) = (Some(*asset), Some(amount.raw().into()));
            }
            CommandBody::Withdraw { asset, amount, pending } => {
                (detail.asset, detail.amount) = (Some(*asset), Some(amount.raw().into()));
                detail.transfer = (*pending && outcome.order != 0).then_some(outcome.order);
            }
            _ if outcome.kind == ExecutionKind::Done && outcome.notional != 0 => {
                detail.amount = Some(outcome.notional);
            }
            _ => {}
        }
        report.detail = out.detail(detail);
        self.report(report, out);
    }

    /// An order as the command that placed it left it.
    fn as_it_was(&self, order: &NewOrder, outcome: &Outcome) -> Option<OrderState> {
        let number = self.by_name.get(&order.instrument)?;
        let listing = &self.markets[number as usize].listing;
        Some(OrderState {
            notional: outcome.notional,
            id: outcome.order,
            limit: outcome.ticks,
            // It was admitted, so both are whole numbers of ticks and lots.
            trigger: order.trigger.map_or(0, Price::raw) / listing.tick,
            lots: (order.quantity.raw() / listing.lot) as u64,
            filled: outcome.filled,
            open: outcome.open,
            tif: order.tif,
            market: number,
            side: order.side,
            kind: order.kind,
        })
    }

    /// Adds a delta for each book that the command changed, and a snapshot where one is due.
    pub(super) fn publish_books(&mut self, out: &mut Outputs) {
        for at in 0..self.dirty.len() {
            let number = self.dirty[at];
            let every = self.limits.book_snapshot_every;
            self.markets[number as usize].publish(number, every, out);
        }
    }
}

impl Market {
    fn publish(&mut self, number: u16, snapshot_every: u32, out: &mut Outputs) {
        let start = out.levels.len() as u32;
        let mut touched = std::mem::take(&mut self.touched);
        if touched.len() > 1 {
            // By level; a stable sort keeps the first sight of each in front.
            touched.sort_by_key(|touched| (touched.sell, touched.ticks));
            touched.dedup_by_key(|touched| (touched.sell, touched.ticks));
        }
        for Touched { sell, ticks, before } in touched.iter().copied() {
            let side = if sell { Side::Sell } else { Side::Buy };
            let level = self.depth.level_at(side, ticks);
            let now = if level == NONE { 0 } else { self.depth.lots(level) };
            if now == before {
                continue;
            }
            self.checksum = self
                .checksum
                .wrapping_sub(self.hash_of(side, ticks, before))
                .wrapping_add(self.hash_of(side, ticks, now));
            out.levels.push(LevelRow { ticks, lots: now, sell });
        }
        touched.clear();
        self.touched = touched;
        let end = out.levels.len() as u32;
        if start == end {
            return;
        }
        self.sequence += 1;
        out.book.push(self.update(number, (false, false), (start, end)));
        self.since_snapshot += 1;
        if snapshot_every != 0 && self.since_snapshot >= snapshot_every {
            self.since_snapshot = 0;
            self.publish_snapshot(number, out);
        }
    }

    fn update(&self, market: u16, (snapshot, complete): (bool, bool), (start, end): (u32, u32)) -> BookUpdate {
        BookUpdate { sequence: self.sequence, checksum: self.checksum, start, end, market, snapshot, complete }
    }

    /// A level's part in the checksum.
    pub(super) fn hash_of(&self, side: Side, ticks: i64, lots: u64) -> u64 {
        level_hash(side, self.price(ticks).raw() as u64, self.volume(lots).raw() as u64)
    }

    fn publish_snapshot(&self, number: u16, out: &mut Outputs) {
        let start = out.levels.len() as u32;
        let mut complete = true;
        for side in [Side::Buy, Side::Sell] {
            let mut levels = self.depth.iter(side);
            for level in levels.by_ref().take(SNAPSHOT_LEVELS) {
                let (ticks, lots) = (self.depth.ticks(level), self.depth.lots(level));
                out.levels.push(LevelRow { ticks, lots, sell: side == Side::Sell });
            }
            complete &= levels.next().is_none();
        }
        let end = out.levels.len() as u32;
        out.book.push(self.update(number, (true, complete), (start, end)));
    }
}
