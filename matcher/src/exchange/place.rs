//! Placing orders: the hold, the number, the run against the book, the rest.

use model::Side;
use model::exchange::{AccountId, ExecutionKind, NewOrder, OrderKind, Reason};

use super::admit::{Admitted, rests};
use super::matching::End;
use super::order::{NEVER, Place, Rec, Tif};
use super::requests::Client;
use super::timers::Timer;
use super::{Exchange, Outputs, Refused};

impl Exchange {
    pub(super) fn place(
        &mut self,
        account: AccountId,
        client: Option<Client>,
        order: &NewOrder,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let Admitted { market, mut rec, quote } = self.admit(account, client, order)?;
        let number = market as usize;
        let waits = rec.trigger != 0;
        let at_once = !waits && !self.markets[number].collects();
        if at_once {
            self.check_other_side(account, &rec)?;
        }
        let need = self.first_need(number, &mut rec, quote)?;
        let id = self.orders + 1;
        self.take_hold(id, account, &mut rec, need, out)?;
        self.orders = id;
        let slot = self.take_slot(id, account.0, &rec);
        self.report_order(ExecutionKind::Accepted, slot, None, out);
        self.outcome = Some(self.accepted(slot));
        if waits {
            let place = if order.kind == OrderKind::TrailingStop { Place::Trailing } else { Place::Stop };
            self.keep(slot, place);
        } else if at_once {
            let end = self.run(number, slot, quote, out);
            self.finish(slot, false, end, out);
        } else {
            self.keep(slot, Place::Book);
        }
        Ok(())
    }

    /// Gives an order a slot. It is in no list and found by nobody until it is kept.
    pub(super) fn take_slot(&mut self, id: u64, account: u32, rec: &Rec) -> u32 {
        let slot = self.nodes.insert(id, rec.open, account);
        if self.recs.len() <= slot as usize {
            self.recs.push(*rec);
        } else {
            self.recs[slot as usize] = *rec;
        }
        slot
    }

    /// What an order needs held before it may do anything. For a sale by quote amount this also sets how much it
    /// may sell at most.
    fn first_need(&self, market: usize, rec: &mut Rec, quote: Option<i128>) -> Result<i128, Refused> {
        let market = &self.markets[market];
        let Some(amount) = quote else { return Ok(market.need(rec)) };
        let most = market.rules.max_quantity.raw() / market.listing.lot;
        let lots = (amount / market.notional(rec.limit, 1)).min(i128::from(most)) as u64;
        if lots == 0 {
            return Err(Refused::with(Reason::NotionalTooSmall, amount, market.notional(rec.limit, 1)));
        }
        match rec.side {
            Side::Buy => {
                rec.open = most as u64;
                Ok(amount)
            }
            Side::Sell => {
                rec.open = lots;
                Ok(market.need(rec))
            }
        }
    }

    /// Holds `need` for an order.
    pub(super) fn take_hold(
        &mut self,
        id: u64,
        account: AccountId,
        rec: &mut Rec,
        need: i128,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let asset = self.markets[rec.market as usize].held_asset(rec.side);
        let reference = ledger::Reference { order: id, trade: 0 };
        self.ledger
            .hold(account, asset, need, reference, &mut out.entries)
            .map_err(|short| Refused::with(Reason::InsufficientFunds, short.needed, short.available))?;
        self.reserve(asset, need);
        rec.hold += need;
        Ok(())
    }

    /// Frees a part of an order's hold.
    pub(super) fn free_hold(&mut self, slot: u32, amount: i128, out: &mut Outputs) {
        let node = self.nodes.get(slot);
        let rec = &mut self.recs[slot as usize];
        rec.hold -= amount;
        let asset = self.markets[rec.market as usize].held_asset(rec.side);
        let reference = ledger::Reference { order: node.id, trade: 0 };
        self.ledger.release(AccountId(node.tag), asset, amount, reference, &mut out.entries);
        self.reserve(asset, -amount);
    }

    /// Whether the other side of the book forbids the order: post-only and fill-or-kill.
    pub(super) fn check_other_side(&self, account: AccountId, rec: &Rec) -> Result<(), Refused> {
        let market = &self.markets[rec.market as usize];
        if rec.post_only {
            let best = market.depth.best(rec.side.opposite());
            if best != crate::book::NONE && market.depth.crosses(best, rec.limit) {
                let price = market.price(market.depth.ticks(best)).raw();
                return Err(Refused { reason: Reason::PostOnlyWouldTake, given: None, limit: Some(price.into()) });
            }
        }
        if rec.tif == Tif::Fok && !self.can_fill_all(account.0, rec) {
            return Err(Refused::plain(Reason::FokUnfillable));
        }
        Ok(())
    }

    /// Lets the order at `slot` stay: in the book at its limit, or among the stops.
    pub(super) fn keep(&mut self, slot: u32, place: Place) {
        let id = self.nodes.get(slot).id;
        self.ids.insert(id, slot);
        let rec = &self.recs[slot as usize];
        if let Some(client) = &rec.client {
            self.clients.insert(client.tag, slot);
        }
        if rec.expires != NEVER {
            self.timers.set(rec.expires, Timer::Order { id, slot });
        }
        self.list(slot);
        self.put_in_place(slot, place);
    }

    /// Puts the order at `slot`, which is nowhere, into the book or among the stops.
    pub(super) fn put_in_place(&mut self, slot: u32, place: Place) {
        let rec = &mut self.recs[slot as usize];
        rec.place = place;
        let (number, side, limit, open, display) = (rec.market, rec.side, rec.limit, rec.open, rec.display);
        let trigger = rec.trigger;
        match place {
            Place::Book => {
                let hides = display != 0 && display < open;
                self.nodes.get_mut(slot).lots = if hides { display } else { open };
                let market = &mut self.markets[number as usize];
                market.icebergs += u32::from(display != 0);
                market.rest(&mut self.nodes, slot, side, limit);
                self.mark_dirty(number);
            }
            Place::Stop => {
                let market = &mut self.markets[number as usize];
                market.stops.push_back(&mut self.nodes, slot, side.opposite(), trigger);
                market.stop_count += 1;
            }
            Place::Trailing => self.markets[number as usize].trailing.push(slot),
            Place::Set => {}
        }
    }

    /// What becomes of an order that has finished trading: done, resting, or its rest cancelled. `kept` says that it
    /// was kept before.
    pub(super) fn finish(&mut self, slot: u32, kept: bool, end: End, out: &mut Outputs) {
        let rec = &self.recs[slot as usize];
        let may_rest = matches!(rec.kind, OrderKind::Limit | OrderKind::StopLimit) && rests(rec.tif());
        let reason = match end {
            End::Filled => None,
            End::NothingMeets if may_rest && kept => return self.put_in_place(slot, Place::Book),
            End::NothingMeets if may_rest => return self.keep(slot, Place::Book),
            End::NothingMeets => Some(Reason::IocRemainder),
            End::Cancelled(reason) => Some(reason),
        };
        let left = rec.hold;
        self.free_hold(slot, left, out);
        if let Some(reason) = reason {
            self.recs[slot as usize].open = 0;
            self.report_order(ExecutionKind::Cancelled, slot, Some(reason), out);
        }
        if kept {
            self.forget_order(slot);
        } else {
            self.nodes.remove(slot);
        }
    }

    /// Frees the slot of an order that is in no book and among no stops.
    pub(super) fn forget_order(&mut self, slot: u32) {
        self.unlist(slot);
        self.ids.remove(self.nodes.get(slot).id, slot);
        let rec = &self.recs[slot as usize];
        if let Some(client) = &rec.client {
            self.clients.remove(client.tag, slot);
        }
        if rec.expires != NEVER {
            self.timers.dropped();
        }
        self.nodes.remove(slot);
    }
}
