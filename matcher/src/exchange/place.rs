//! Placing orders: the hold, the number, the run against the book, the rest.

use model::Side;
use model::exchange::{AccountId, ExecutionKind, NewOrder, OrderKind, Reason, TimeInForce};

use super::admit::rests;
use super::fill::Party;
use super::matching::End;
use super::order::{NEVER, Place, Rec};
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
        let mut admitted = self.admit(account, client, order)?;
        let market = admitted.market as usize;
        let waits = admitted.rec.trigger != 0;
        let at_once = !waits && !self.markets[market].collects();
        if at_once {
            self.check_other_side(account, &admitted.rec)?;
        }
        let need = self.first_need(market, &mut admitted.rec, admitted.quote)?;
        let id = self.orders + 1;
        self.take_hold(id, account, &mut admitted.rec, need, out)?;
        self.orders = id;
        let mut party = Party { id, account: account.0, rec: admitted.rec, quote: admitted.quote };
        self.report_order(ExecutionKind::Accepted, &party, None, out);
        self.outcome = Some(self.accepted(&party));
        if waits {
            let place = if party.rec.kind == OrderKind::TrailingStop { Place::Trailing } else { Place::Stop };
            self.keep(&party, place);
        } else if at_once {
            let end = self.run(market, &mut party, out);
            self.finish(None, party, end, out);
        } else {
            self.keep(&party, Place::Book);
        }
        Ok(())
    }

    /// What an order needs held before it may do anything. For a sale by quote amount this also sets how much it
    /// may sell at most.
    fn first_need(&self, market: usize, rec: &mut Rec, quote: Option<i128>) -> Result<i128, Refused> {
        let market = &self.markets[market];
        let Some(amount) = quote else { return Ok(market.need(rec)) };
        let most = market.rules.max_quantity.raw() / market.lot;
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
            .hold(account, asset, need, reference, &mut out.postings)
            .map_err(|short| Refused::with(Reason::InsufficientFunds, short.needed, short.available))?;
        self.reserve(asset, need);
        rec.hold += need;
        Ok(())
    }

    /// Frees a part of an order's hold.
    pub(super) fn free_hold(&mut self, id: u64, account: u32, rec: &mut Rec, amount: i128, out: &mut Outputs) {
        let asset = self.markets[rec.market as usize].held_asset(rec.side);
        let reference = ledger::Reference { order: id, trade: 0 };
        self.ledger.release(AccountId(account), asset, amount, reference, &mut out.postings);
        self.reserve(asset, -amount);
        rec.hold -= amount;
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
        if rec.tif == TimeInForce::Fok && !self.can_fill_all(account.0, rec) {
            return Err(Refused::plain(Reason::FokUnfillable));
        }
        Ok(())
    }

    /// Lets an order stay: in the book at its limit, or among the stops. Gives it a slot.
    pub(super) fn keep(&mut self, party: &Party, place: Place) {
        let slot = self.nodes.insert(party.id, party.rec.open, party.account);
        let rec = party.rec.unlinked();
        if self.recs.len() <= slot as usize {
            self.recs.push(rec);
        } else {
            self.recs[slot as usize] = rec;
        }
        self.ids.insert(party.id, slot);
        if let Some(client) = rec.client {
            self.clients.insert(client.tag, slot);
        }
        self.list(slot);
        if rec.expires != NEVER {
            self.timers.set(rec.expires, Timer::Order { id: party.id, slot });
        }
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

    /// What becomes of an order that has finished trading: done, resting, or its rest cancelled. `slot` is where
    /// it was kept before, if it was.
    pub(super) fn finish(&mut self, slot: Option<u32>, mut party: Party, end: End, out: &mut Outputs) {
        let may_rest = matches!(party.rec.kind, OrderKind::Limit | OrderKind::StopLimit) && rests(party.rec.tif);
        let reason = match end {
            End::Filled => None,
            End::NothingMeets if may_rest => {
                match slot {
                    Some(slot) => {
                        let (next, prev) = (self.recs[slot as usize].next, self.recs[slot as usize].prev);
                        self.recs[slot as usize] = Rec { next, prev, ..party.rec };
                        self.put_in_place(slot, Place::Book);
                    }
                    None => self.keep(&party, Place::Book),
                }
                return;
            }
            End::NothingMeets => Some(Reason::IocRemainder),
            End::Cancelled(reason) => Some(reason),
        };
        let left = party.rec.hold;
        self.free_hold(party.id, party.account, &mut party.rec, left, out);
        if let Some(reason) = reason {
            party.rec.open = 0;
            self.report_order(ExecutionKind::Cancelled, &party, Some(reason), out);
        }
        if let Some(slot) = slot {
            self.forget_order(slot);
        }
    }

    /// Frees the slot of an order that is in no book and among no stops.
    pub(super) fn forget_order(&mut self, slot: u32) {
        let rec = self.recs[slot as usize];
        let node = *self.nodes.get(slot);
        self.unlist(slot);
        self.ids.remove(node.id, slot);
        if let Some(client) = rec.client {
            self.clients.remove(client.tag, slot);
        }
        if rec.expires != NEVER {
            self.timers.dropped();
        }
        self.nodes.remove(slot);
    }
}
