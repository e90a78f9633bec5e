//! Changing a resting order.

use model::exchange::{AccountId, ExecutionKind, OrderRef, Reason};
use model::{Price, Quantity};

use super::admit::{check_band, check_notional, quantity_lots, ticks_of};
use super::order::Place;
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
        let rec = self.recs[slot as usize];
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
            self.shrink_order(slot, lots, out);
        } else {
            self.replace(slot, limit, lots, out)?;
        }
        Ok(())
    }

    fn shrink_order(&mut self, slot: u32, lots: u64, out: &mut Outputs) {
        let less = self.recs[slot as usize].lots - lots;
        if less > 0 {
            self.shrink_resting(slot, less, out);
        }
        let party = self.party(slot);
        self.report_order(ExecutionKind::Amended, &party, None, out);
        let mut outcome = self.accepted(&party);
        outcome.kind = ExecutionKind::Amended;
        self.outcome = Some(outcome);
    }

    fn replace(&mut self, slot: u32, limit: i64, lots: u64, out: &mut Outputs) -> Result<(), Refused> {
        let mut party = self.party(slot);
        let number = party.rec.market as usize;
        let changed = super::order::Rec { limit, lots, open: lots - party.rec.filled, ..party.rec };
        if !self.markets[number].collects() && changed.post_only {
            self.check_other_side(AccountId(party.account), &changed)?;
        }
        let need = self.markets[number].need(&changed);
        let more = need - party.rec.hold;
        if more > 0 {
            self.take_hold(party.id, AccountId(party.account), &mut party.rec, more, out)?;
        } else {
            self.free_hold(party.id, party.account, &mut party.rec, -more, out);
        }
        self.displace(slot);
        party.rec = super::order::Rec { hold: need, place: Place::Set, ..changed };
        self.recs[slot as usize] = party.rec;
        self.report_order(ExecutionKind::Amended, &party, None, out);
        let mut outcome = self.accepted(&party);
        outcome.kind = ExecutionKind::Amended;
        self.outcome = Some(outcome);
        if self.markets[number].collects() {
            self.put_in_place(slot, Place::Book);
        } else {
            let end = self.run(number, &mut party, out);
            self.finish(Some(slot), party, end, out);
        }
        Ok(())
    }
}
