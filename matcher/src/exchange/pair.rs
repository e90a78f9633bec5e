//! Pairs of which one order cancels the other: a limit order that rests and a stop beyond the market.

use model::exchange::{AccountId, ExecutionKind, NewOrder, OrderKind, Reason};

use super::order::Place;
use super::requests::Client;
use super::{Exchange, Outputs, Refused};
use crate::book::NONE;

impl Exchange {
    /// Places a pair. The first order carries one hold for both, the larger need of the two; it and the client
    /// order id are the limit order's. Whichever trades, even in part, is set off, or is cancelled, ends the
    /// other.
    pub(super) fn place_pair(
        &mut self,
        account: AccountId,
        client: Option<Client>,
        limit: &NewOrder,
        stop: &NewOrder,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let invalid = Refused::plain(Reason::OcoInvalid);
        let goes_together = limit.instrument == stop.instrument
            && limit.side == stop.side
            && limit.quantity == stop.quantity
            && limit.kind == OrderKind::Limit
            && limit.display.is_none()
            && super::admit::rests(limit.tif)
            && matches!(stop.kind, OrderKind::Stop | OrderKind::StopLimit);
        if !goes_together {
            return Err(invalid);
        }
        let mut first = self.admit(account, client, limit)?.rec;
        let mut second = self.admit(account, None, stop)?.rec;
        let row = self.account_row(account.0);
        let most = if row.open_max == 0 { self.limits.open_orders_max } else { row.open_max };
        if row.open + 2 > most {
            return Err(Refused::with(Reason::TooManyOrders, super::whole(row.open + 2), super::whole(most)));
        }
        let market = &self.markets[first.market as usize];
        let best = market.depth.best(first.side.opposite());
        let takes = best != NONE && market.depth.crosses(best, first.limit) && !market.collects();
        let beyond = match first.side {
            model::Side::Buy => second.trigger > first.limit,
            model::Side::Sell => second.trigger < first.limit,
        };
        if takes || !beyond {
            return Err(invalid);
        }
        let need = market.need(&first).max(market.need(&second));
        let id = self.orders + 1;
        self.take_hold(id, account, &mut first, need, out)?;
        self.orders = id + 1;
        second.hold = 0;
        let first = self.take_slot(id, account.0, &first);
        let second = self.take_slot(id + 1, account.0, &second);
        self.report_order(ExecutionKind::Accepted, first, None, out);
        self.report_order(ExecutionKind::Accepted, second, None, out);
        self.outcome = Some(self.accepted(first));
        self.keep(first, Place::Book);
        self.keep(second, Place::Stop);
        self.recs[first as usize].oco = second;
        self.recs[second as usize].oco = first;
        Ok(())
    }

    /// Hands the pair's hold to its stop, which has been set off, and ends the limit order.
    pub(super) fn take_over(&mut self, stop: u32, out: &mut Outputs) {
        let limit = self.recs[stop as usize].oco;
        let hold = std::mem::take(&mut self.recs[limit as usize].hold);
        let rec = &mut self.recs[stop as usize];
        rec.hold = hold;
        let spare = hold - self.markets[rec.market as usize].need(rec);
        self.free_hold(stop, spare, out);
        self.close_partner(stop, out);
    }
}
