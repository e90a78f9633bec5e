//! Changing a resting order.

use model::exchange::{AccountId, ExecutionKind, OrderRef, Reason};
use model::{Price, Quantity};

use super::admit::{check_band, check_notional, quantity_lots, ticks_of};
use super::order::Place;
use super::requests::Outcome;
use super::{Exchange, Outputs, Refused};
use crate::book::NONE;

impl Exchange {
    /// Changes limit or quantity of an order that rests in the book. Only shrinking keeps its place in the queue;
    /// every other change works as if it had been cancelled and had come in anew, under its old number.
    pub(super) fn amend(
        &mut self,
        account: AccountId,
        order: &OrderRef,
        price: Option<Price>,
        quantity: Option<Quantity>,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let slot = self.resolve(account, order)?;
        let rec = &self.recs[slot as usize];
        let market = &self.markets[rec.market as usize];
        self.admit_to(self.account_of(slot), market)?;
        if rec.place != Place::Book || rec.oco != NONE || price.is_none() && quantity.is_none() {
            return Err(Refused::plain(Reason::AmendInvalid));
        }
        let limit = match price {
            Some(price) => ticks_of(market, price)?,
            None => rec.limit,
        };
        if limit != rec.limit {
            check_band(market, limit)?;
        }
        let lots = match quantity {
            Some(quantity) => quantity_lots(&market.rules, quantity)?,
            None => rec.lots,
        };
        if lots <= rec.filled {
            return Err(Refused::plain(Reason::AmendInvalid));
        }
        check_notional(market, limit, lots, None)?;
        if limit == rec.limit && lots <= rec.lots {
            self.shrink_to(slot, lots, out);
        } else {
            self.replace(slot, limit, lots, out)?;
        }
        Ok(())
    }

    fn shrink_to(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        let less = self.recs[slot as usize].lots - lots;
        if less > 0 {
            self.shrink_resting(slot, less, out);
        }
        self.amended(slot, out);
    }

    /// Says that the order at `slot` was changed.
    fn amended(&mut self, slot: u32, out: &mut Outputs) {
        self.report_order(ExecutionKind::Amended, slot, None, out);
        self.outcome = Some(Outcome { kind: ExecutionKind::Amended, ..self.accepted(slot) });
    }

    fn replace(&mut self, slot: u32, limit: i64, lots: u64, out: &mut Outputs) -> Result<(), Refused> {
        let rec = &self.recs[slot as usize];
        let (id, account) = (self.nodes.get(slot).id, self.account_of(slot));
        let number = rec.market as usize;
        let mut changed = super::order::Rec { limit, lots, open: lots - rec.filled, ..*rec };
        let at_once = !self.markets[number].collects();
        if at_once && changed.post_only {
            self.check_other_side(account, &changed)?;
        }
        let more = self.markets[number].need(&changed) - changed.hold;
        if more > 0 {
            self.take_hold(id, account, &mut changed, more, out)?;
        } else {
            self.free_hold(slot, -more, out);
            changed.hold += more;
        }
        self.displace(slot);
        let rec = &mut self.recs[slot as usize];
        (rec.limit, rec.lots, rec.open, rec.hold) = (limit, lots, changed.open, changed.hold);
        self.amended(slot, out);
        if at_once {
            let end = self.run(number, slot, None, out);
            self.finish(slot, true, end, out);
        } else {
            self.put_in_place(slot, Place::Book);
        }
        Ok(())
    }
}
