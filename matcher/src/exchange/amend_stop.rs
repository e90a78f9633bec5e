//! Changing orders that wait: stops, trailing stops and the two of a pair.

use model::Side;
use model::exchange::{ExecutionKind, OrderKind, Reason};

use super::admit::{check_band, check_notional, quantity_lots, ticks_of, trigger_ticks};
use super::amend::Change;
use super::order::{Place, Rec};
use super::{Exchange, Outputs, Refused};
use crate::book::NONE;

impl Exchange {
    /// Changes a waiting stop. Only shrinking keeps its place among those with the same trigger.
    pub(super) fn amend_stop(&mut self, slot: u32, change: &Change, out: &mut Outputs) -> Result<(), Refused> {
        let before = self.recs[slot as usize];
        let mut changed = self.changed_stop(&before, change)?;
        let need = self.markets[before.market as usize].need(&changed);
        self.change_hold(slot, &mut changed, need, out)?;
        self.put_again(slot, &before, changed);
        self.amended(slot, out);
        Ok(())
    }

    /// Changes one order of a pair. Its limit or trigger is its own, the quantity is both's.
    pub(super) fn amend_pair(&mut self, slot: u32, change: &Change, out: &mut Outputs) -> Result<(), Refused> {
        let partner = self.recs[slot as usize].oco;
        let of_stop = self.recs[slot as usize].place == Place::Stop;
        let (limit_slot, stop_slot) = if of_stop { (partner, slot) } else { (slot, partner) };
        let (limit_before, stop_before) = (self.recs[limit_slot as usize], self.recs[stop_slot as usize]);
        let of_both = Change { price: None, trigger: None, ..*change };
        let (limit_change, stop_change) = if of_stop { (&of_both, change) } else { (change, &of_both) };
        let mut limit = self.changed_limit(&limit_before, limit_change)?;
        let stop = self.changed_stop(&stop_before, stop_change)?;
        let market = &self.markets[limit.market as usize];
        let best = market.depth.best(limit.side.opposite());
        let takes = best != NONE && market.depth.crosses(best, limit.limit) && !market.collects();
        let beyond = match limit.side {
            Side::Buy => stop.trigger > limit.limit,
            Side::Sell => stop.trigger < limit.limit,
        };
        if takes || !beyond {
            return Err(Refused::plain(Reason::OcoInvalid));
        }
        // The limit order carries the one hold of both.
        let need = market.need(&limit).max(market.need(&stop));
        self.change_hold(limit_slot, &mut limit, need, out)?;
        self.put_again(limit_slot, &limit_before, limit);
        self.put_again(stop_slot, &stop_before, stop);
        self.amended(slot, out);
        if change.quantity.is_some() {
            self.report_order(ExecutionKind::Amended, partner, None, out);
        }
        Ok(())
    }

    /// A pair's limit order as it is to be.
    fn changed_limit(&self, before: &Rec, change: &Change) -> Result<Rec, Refused> {
        let market = &self.markets[before.market as usize];
        if change.trigger.is_some() {
            return Err(Refused::plain(Reason::AmendInvalid));
        }
        let mut changed = *before;
        if let Some(price) = change.price {
            changed.limit = ticks_of(market, price)?;
            if changed.limit != before.limit {
                check_band(market, changed.limit)?;
            }
        }
        if let Some(quantity) = change.quantity {
            changed.lots = quantity_lots(&market.rules, quantity)?;
            changed.open = changed.lots;
        }
        check_notional(market, changed.limit, changed.lots, None)?;
        Ok(changed)
    }

    /// A waiting stop as it is to be.
    fn changed_stop(&self, before: &Rec, change: &Change) -> Result<Rec, Refused> {
        let market = &self.markets[before.market as usize];
        let mut changed = *before;
        if let Some(quantity) = change.quantity {
            changed.lots = quantity_lots(&market.rules, quantity)?;
            changed.open = changed.lots;
        }
        if let Some(trigger) = change.trigger {
            // A trailing stop's follows the market.
            if before.kind == OrderKind::TrailingStop {
                return Err(Refused::plain(Reason::AmendInvalid));
            }
            changed.trigger = trigger_ticks(market, before.side, trigger)?;
        }
        if let Some(price) = change.price {
            changed.limit = ticks_of(market, price)?;
            changed.limit_given = true;
        } else if !before.limit_given && changed.trigger != before.trigger {
            changed.limit = market.protection(before.side, changed.trigger);
        }
        if changed.display != 0 && (changed.display > changed.lots || changed.display * 1_000 < changed.lots) {
            let display = i128::from(changed.display) * i128::from(market.listing.lot);
            return Err(Refused::with(Reason::DisplayInvalid, display, market.listing.lot));
        }
        check_notional(market, changed.limit, changed.lots, None)?;
        Ok(changed)
    }

    /// Holds more, or frees what is too much, so that the order holds `need`.
    fn change_hold(&mut self, slot: u32, rec: &mut Rec, need: i128, out: &mut Outputs) -> Result<(), Refused> {
        let (id, account) = (self.nodes.get(slot).id, self.account_of(slot));
        let more = need - rec.hold;
        if more > 0 {
            return self.take_hold(id, account, rec, more, out);
        }
        self.free_hold(slot, -more, out);
        rec.hold = need;
        Ok(())
    }

    /// Puts a changed order in its place: the one it has when it only shrank, otherwise the last of its kind.
    fn put_again(&mut self, slot: u32, before: &Rec, changed: Rec) {
        let same = changed.limit == before.limit && changed.trigger == before.trigger;
        if same && changed.lots <= before.lots {
            self.recs[slot as usize] = changed;
            let less = before.lots - changed.lots;
            if less == 0 {
                return;
            }
            let market = &mut self.markets[changed.market as usize];
            match changed.place {
                Place::Book => {
                    market.shrink(&mut self.nodes, slot, changed.side, changed.limit, less);
                    self.mark_dirty(changed.market);
                }
                Place::Stop => market.stops.reduce(&mut self.nodes, slot, less),
                Place::Trailing | Place::Set => self.nodes.get_mut(slot).lots = changed.open,
            }
            return;
        }
        self.displace(slot);
        self.recs[slot as usize] = Rec { place: Place::Set, ..changed };
        self.nodes.get_mut(slot).lots = changed.open;
        self.put_in_place(slot, changed.place);
    }
}
