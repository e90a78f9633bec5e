//! Changing an open order. What rests in the book is dealt with here, what waits in `amend_stop`.

use model::exchange::{AccountId, ExecutionKind, OrderRef, Reason};
use model::{Price, Quantity};

use super::admit::{check_band, check_notional, quantity_lots, ticks_of};
use super::order::Place;
use super::requests::Outcome;
use super::{Exchange, Outputs, Refused};
use crate::book::NONE;

/// What a change is to be; none leaves a field as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) price: Option<Price>,
    pub(super) quantity: Option<Quantity>,
    pub(super) trigger: Option<Price>,
}

impl Exchange {
    /// Changes an open order of the account.
    pub(super) fn amend(
        &mut self,
        account: AccountId,
        order: &OrderRef,
        change: &Change,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let slot = self.resolve(account, order)?;
        let rec = &self.recs[slot as usize];
        self.admit_to(self.account_of(slot), &self.markets[rec.market as usize])?;
        let changes = change.price.is_some() || change.quantity.is_some() || change.trigger.is_some();
        match rec.place {
            _ if !changes => Err(Refused::plain(Reason::AmendInvalid)),
            Place::Book | Place::Stop if rec.oco != NONE => self.amend_pair(slot, change, out),
            Place::Book if change.trigger.is_none() => self.amend_resting(slot, change, out),
            Place::Stop | Place::Trailing => self.amend_stop(slot, change, out),
            Place::Book | Place::Set => Err(Refused::plain(Reason::AmendInvalid)),
        }
    }

    /// Changes limit or quantity of an order that rests in the book. Only shrinking keeps its place in the queue;
    /// every other change works as if it had been cancelled and had come in anew, under its old number.
    fn amend_resting(&mut self, slot: u32, change: &Change, out: &mut Outputs) -> Result<(), Refused> {
        let rec = &self.recs[slot as usize];
        let market = &self.markets[rec.market as usize];
        let limit = match change.price {
            Some(price) => ticks_of(market, price)?,
            None => rec.limit,
        };
        if limit != rec.limit {
            check_band(market, limit)?;
        }
        let lots = match change.quantity {
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
    pub(super) fn amended(&mut self, slot: u32, out: &mut Outputs) {
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
