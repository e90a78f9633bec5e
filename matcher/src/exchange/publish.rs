//! Reports of orders, and the books as they changed.

use model::exchange::{
    AccountId, BookHead, Command, CommandBody, Execution, ExecutionKind, Fill, LevelChange, OrderView, Reason,
    level_hash,
};
use model::{Quantity, Side, Volume};

use super::fill::Party;
use super::market::{Market, Touched};
use super::requests::{Outcome, Remembered};
use super::{BookUpdate, Exchange, FILLS_MAX, Outputs, whole};
use crate::book::NONE;

/// Levels of each side in a snapshot of a book, at most.
pub(super) const SNAPSHOT_LEVELS: usize = 1_000;

impl Exchange {
    /// An order as clients see it.
    pub(super) fn view(&self, party: &Party) -> OrderView {
        let rec = &party.rec;
        let market = &self.markets[rec.market as usize];
        OrderView {
            id: party.id,
            instrument: market.rules.instrument,
            side: rec.side,
            kind: rec.kind,
            tif: rec.tif,
            price: (rec.limit > 0).then(|| market.price(rec.limit)),
            trigger: (rec.trigger > 0).then(|| market.price(rec.trigger)),
            quantity: market.quantity(rec.lots),
            filled: market.quantity(rec.filled),
            notional: Volume::from_raw(rec.notional),
            open: if rec.lots == 0 { Quantity::ZERO } else { market.quantity(rec.open) },
        }
    }

    /// Reports what happened to an order.
    pub(super) fn report_order(
        &mut self,
        kind: ExecutionKind,
        party: &Party,
        reason: Option<Reason>,
        out: &mut Outputs,
    ) {
        let mut execution = Execution::new(AccountId(party.account), 0, kind);
        execution.client_order_id = party.rec.client.map(|client| client.id);
        execution.order = Some(self.view(party));
        execution.reason = reason;
        if reason == Some(Reason::SweepLimit) {
            execution.limit = Some(Volume::from_raw(whole(FILLS_MAX)));
        }
        self.report(execution, out);
    }

    /// Reports a trade of an order.
    #[inline]
    pub(super) fn report_fill(&mut self, kind: ExecutionKind, party: &Party, fill: Fill, out: &mut Outputs) {
        let mut execution = Execution::new(AccountId(party.account), 0, kind);
        execution.client_order_id = party.rec.client.map(|client| client.id);
        execution.order = Some(self.view(party));
        execution.fill = Some(fill);
        self.report(execution, out);
    }

    /// The outcome to remember of an order that came in.
    pub(super) fn accepted(&self, party: &Party) -> Outcome {
        Outcome {
            kind: ExecutionKind::Accepted,
            reason: None,
            given: None,
            limit: None,
            order: party.id,
            filled: party.rec.filled,
            open: if party.rec.lots == 0 { 0 } else { party.rec.open },
            notional: party.rec.notional,
            ticks: party.rec.limit,
        }
    }

    /// An outcome with what the command did to the order since.
    pub(super) fn latest(&self, mut outcome: Outcome, out: &Outputs) -> Outcome {
        if outcome.order == 0 || outcome.kind == ExecutionKind::Done {
            return outcome;
        }
        let mut views = out.executions.iter().rev().filter_map(|execution| execution.order.as_ref());
        if let Some(view) = views.find(|view| view.id == outcome.order) {
            let lot = self.by_name.get(&view.instrument).map_or(1, |number| self.markets[*number as usize].lot);
            outcome.filled = (view.filled.raw() / lot) as u64;
            outcome.open = (view.open.raw() / lot) as u64;
            outcome.notional = view.notional.raw();
        }
        outcome
    }

    /// Answers a repeated command with its first outcome.
    pub(super) fn tell_again(&mut self, command: &Command, known: &Remembered, out: &mut Outputs) {
        let outcome = &known.outcome;
        let mut execution = Execution::new(command.account, 0, outcome.kind);
        execution.client_order_id = command.request;
        execution.first = Some(known.offset);
        execution.reason = outcome.reason;
        execution.given = outcome.given.map(Volume::from_raw);
        execution.limit = outcome.limit.map(Volume::from_raw);
        match &command.body {
            CommandBody::Place(_) | CommandBody::PlaceOco(_) if outcome.order != 0 => {
                let order = match &command.body {
                    CommandBody::Place(order) => order,
                    CommandBody::PlaceOco(pair) => &pair.0,
                    _ => unreachable!("matched just above"),
                };
                let market = self.by_name.get(&order.instrument).map(|number| &self.markets[*number as usize]);
                execution.order = market.map(|market| OrderView {
                    id: outcome.order,
                    instrument: order.instrument,
                    side: order.side,
                    kind: order.kind,
                    tif: order.tif,
                    price: (outcome.ticks > 0).then(|| market.price(outcome.ticks)),
                    trigger: order.trigger,
                    quantity: order.quantity,
                    filled: market.quantity(outcome.filled),
                    notional: Volume::from_raw(outcome.notional),
                    open: market.quantity(outcome.open),
                });
            }
            CommandBody::Deposit { asset, amount } | CommandBody::Transfer { asset, amount, .. } => {
                (execution.asset, execution.amount) = (Some(*asset), Some(Volume::from(*amount)));
            }
            CommandBody::Withdraw { asset, amount, pending } => {
                (execution.asset, execution.amount) = (Some(*asset), Some(Volume::from(*amount)));
                execution.transfer = (*pending && outcome.order != 0).then_some(outcome.order);
            }
            _ if outcome.kind == ExecutionKind::Done && outcome.notional != 0 => {
                execution.amount = Some(Volume::from_raw(outcome.notional));
            }
            _ => {}
        }
        self.report(execution, out);
    }

    /// Adds a delta for each book that the command changed, and a snapshot where one is due.
    pub(super) fn publish_books(&mut self, out: &mut Outputs) {
        for at in 0..self.dirty.len() {
            let number = self.dirty[at];
            let every = self.limits.book_snapshot_every;
            self.markets[number as usize].publish(every, out);
        }
    }
}

impl Market {
    fn publish(&mut self, snapshot_every: u32, out: &mut Outputs) {
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
            let change = LevelChange { side, price: self.price(ticks), quantity: self.volume(now) };
            self.checksum = self
                .checksum
                .wrapping_sub(self.hash_of(side, ticks, before))
                .wrapping_add(self.hash_of(side, ticks, now));
            out.levels.push(change);
        }
        touched.clear();
        self.touched = touched;
        let end = out.levels.len() as u32;
        if start == end {
            return;
        }
        self.sequence += 1;
        out.book.push(BookUpdate { head: self.head(false, false), start, end });
        self.since_snapshot += 1;
        if snapshot_every != 0 && self.since_snapshot >= snapshot_every {
            self.since_snapshot = 0;
            self.publish_snapshot(out);
        }
    }

    fn head(&self, snapshot: bool, complete: bool) -> BookHead {
        let (instrument, sequence, checksum) = (self.rules.instrument, self.sequence, self.checksum);
        BookHead { instrument, sequence, snapshot, complete, checksum }
    }

    /// A level's part in the checksum.
    pub(super) fn hash_of(&self, side: Side, ticks: i64, lots: u64) -> u64 {
        level_hash(side, self.price(ticks).raw() as u64, self.volume(lots).raw() as u64)
    }

    fn publish_snapshot(&self, out: &mut Outputs) {
        let start = out.levels.len() as u32;
        let mut complete = true;
        for side in [Side::Buy, Side::Sell] {
            let mut levels = self.depth.iter(side);
            for level in levels.by_ref().take(SNAPSHOT_LEVELS) {
                let (ticks, lots) = (self.depth.ticks(level), self.depth.lots(level));
                out.levels.push(LevelChange { side, price: self.price(ticks), quantity: self.volume(lots) });
            }
            complete &= levels.next().is_none();
        }
        let end = out.levels.len() as u32;
        out.book.push(BookUpdate { head: self.head(true, complete), start, end });
    }
}
