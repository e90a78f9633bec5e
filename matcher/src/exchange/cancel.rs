//! Cancelling orders, one or many.

use model::exchange::{AccountId, Command, ExecutionKind, OrderRef, Reason};
use model::{Instrument, UnixNanos};

use super::order::{NEVER, Place};
use super::report::Detail;
use super::timers::Timer;
use super::{Exchange, Outputs, Refused, whole};
use crate::book::NONE;

impl Exchange {
    /// The open order that `order` names, which must be the account's own; the house may name any by number.
    pub(super) fn resolve(&self, account: AccountId, order: &OrderRef) -> Result<u32, Refused> {
        let slot = match order {
            OrderRef::Id(id) => self.ids.find(&self.nodes, *id),
            OrderRef::Client(id) => self.open_by_client(account.0, id),
        };
        let slot = slot.ok_or(Refused::plain(Reason::UnknownOrder))?;
        if self.account_of(slot) != account && account != AccountId::HOUSE {
            return Err(Refused::plain(Reason::NotYourOrder));
        }
        Ok(slot)
    }

    pub(super) fn cancel(&mut self, account: AccountId, order: &OrderRef, out: &mut Outputs) -> Result<(), Refused> {
        let slot = self.resolve(account, order)?;
        let mut outcome = self.accepted(slot);
        self.close(slot, Reason::Requested, out);
        (outcome.kind, outcome.reason) = (ExecutionKind::Cancelled, Some(Reason::Requested));
        self.outcome = Some(outcome);
        Ok(())
    }

    /// Ends an open order and frees what it holds; the other one of a pair goes with it.
    pub(super) fn close(&mut self, slot: u32, reason: Reason, out: &mut Outputs) {
        self.displace(slot);
        let hold = self.recs[slot as usize].hold;
        self.free_hold(slot, hold, out);
        let rec = &mut self.recs[slot as usize];
        rec.open = 0;
        let oco = rec.oco;
        self.report_order(ExecutionKind::Cancelled, slot, Some(reason), out);
        if oco != NONE {
            self.close_partner(slot, out);
        }
        self.forget_order(slot);
    }

    /// Ends the other order of a pair, because this one has traded, was set off or is gone.
    pub(super) fn close_partner(&mut self, slot: u32, out: &mut Outputs) {
        let partner = std::mem::replace(&mut self.recs[slot as usize].oco, NONE);
        self.recs[partner as usize].oco = NONE;
        self.close(partner, Reason::OcoDone, out);
    }

    /// Takes an open order out of the book or from among the stops.
    pub(super) fn displace(&mut self, slot: u32) {
        let rec = &mut self.recs[slot as usize];
        let market = &mut self.markets[rec.market as usize];
        let place = std::mem::replace(&mut rec.place, Place::Set);
        match place {
            Place::Book => {
                market.icebergs -= u32::from(rec.display != 0);
                market.unrest(&mut self.nodes, slot, rec.side, rec.limit);
                let number = rec.market;
                self.mark_dirty(number);
            }
            Place::Stop => {
                market.stops.unlink(&mut self.nodes, slot);
                market.stop_count -= 1;
            }
            Place::Trailing => market.trailing.retain(|other| *other != slot),
            Place::Set => {}
        }
    }

    /// Ends all open orders of an account, newest first; how many.
    pub(super) fn close_all(
        &mut self,
        account: AccountId,
        only: Option<u16>,
        reason: Reason,
        out: &mut Outputs,
    ) -> u32 {
        let mut closed = 0;
        let mut at = self.account_row(account.0).head;
        while at != NONE {
            let rec = &self.recs[at as usize];
            let (mut next, oco) = (rec.next, rec.oco);
            if only.is_none_or(|market| market == rec.market) {
                // The other one of a pair goes too, and may be the next in the list.
                if oco != NONE {
                    closed += 1;
                    if next == oco {
                        next = self.recs[oco as usize].next;
                    }
                }
                self.close(at, reason, out);
                closed += 1;
            }
            at = next;
        }
        closed
    }

    pub(super) fn cancel_all(
        &mut self,
        command: &Command,
        instrument: Option<Instrument>,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let only = instrument.map(|instrument| self.market_of(&instrument)).transpose()?;
        let closed = self.close_all(command.account, only, Reason::MassCancel, out);
        self.done_with(command, Detail { amount: Some(whole(closed)), ..Detail::default() }, out);
        Ok(())
    }

    pub(super) fn cancel_all_after(
        &mut self,
        command: &Command,
        deadline: Option<UnixNanos>,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let at = deadline.map_or(NEVER, |deadline| deadline.0);
        if at <= self.clock {
            return Err(Refused::plain(Reason::ExpiredAlready));
        }
        let account = command.account.0;
        let before = std::mem::replace(&mut self.account_mut(account).deadline, at);
        if before != NEVER {
            self.timers.dropped();
        }
        if at != NEVER {
            self.timers.set(at, Timer::DeadMan { account });
        }
        self.done(command, out);
        Ok(())
    }
}
