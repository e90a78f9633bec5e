//! Stops: which ones trades set off, and what those then do.

use model::exchange::{ExecutionKind, OrderKind, Reason};
use model::{Price, Side};

use super::admit::{behind, check_band};
use super::matching::End;
use super::order::Place;
use super::{Exchange, Outputs};
use crate::book::NONE;

impl Exchange {
    /// Carries out the stops that the running command's trades set off, those that they in turn set off, and so on.
    pub(super) fn settle_stops(&mut self, out: &mut Outputs) {
        let mut at = 0;
        // Stops trade in their own market only, so the list does not grow meanwhile.
        while let Some(number) = self.dirty.get(at).copied() {
            at += 1;
            self.cascade(number as usize, out);
        }
    }

    fn cascade(&mut self, number: usize, out: &mut Outputs) {
        if self.markets[number].phase != model::exchange::Phase::Open {
            // They are looked at when it opens.
            self.markets[number].run = None;
            return;
        }
        loop {
            if let Some((first, last)) = self.markets[number].run.take() {
                self.set_off(number, first, last, out);
            }
            match self.set_off.pop_front() {
                Some(slot) => self.carry_out_stop(number, slot, out),
                None => return,
            }
        }
    }

    /// Queues the stops that a run of trades reached. A run is one order's trades, so its prices go one way.
    fn set_off(&mut self, number: usize, first: i64, last: i64, out: &mut Outputs) {
        let (low, high) = (first.min(last), first.max(last));
        let from = self.set_off.len();
        for side in [Side::Sell, Side::Buy] {
            // Buying stops stand on the selling side of the stops, lowest trigger first, and the other way round.
            loop {
                let market = &mut self.markets[number];
                let level = market.stops.best(side);
                let edge = if side == Side::Sell { high } else { low };
                if level == NONE || !market.stops.crosses(level, edge) {
                    break;
                }
                let slot = market.stops.head(level);
                self.displace(slot);
                self.set_off.push_back(slot);
            }
        }
        if !self.markets[number].trailing.is_empty() {
            self.trail(number, first, last);
        }
        for at in from..self.set_off.len() {
            let slot = self.set_off[at];
            if self.recs[slot as usize].oco != NONE {
                self.take_over(slot, out);
            }
        }
    }

    /// Moves trailing stops along with a run of trades, and queues those that it reached.
    fn trail(&mut self, number: usize, first: i64, last: i64) {
        let market = &mut self.markets[number];
        let mut waiting = std::mem::take(&mut market.trailing);
        let (market, recs) = (&self.markets[number], &mut self.recs);
        let queue = &mut self.set_off;
        waiting.retain(|slot| {
            let rec = &mut recs[*slot as usize];
            let trail = rec.trail.expect("a trailing stop has a distance");
            // Prices go one way, so the two ends say everything that lies between them.
            for ticks in [first, last] {
                let reached = match rec.side {
                    Side::Buy => ticks >= rec.trigger,
                    Side::Sell => ticks <= rec.trigger,
                };
                if reached {
                    rec.place = Place::Set;
                    queue.push_back(*slot);
                    return false;
                }
                let moved = behind(market, rec.side, trail, ticks);
                rec.trigger = match rec.side {
                    Side::Buy => rec.trigger.min(moved),
                    Side::Sell => rec.trigger.max(moved),
                };
            }
            true
        });
        self.markets[number].trailing = waiting;
    }

    /// A stop that was set off becomes a market or limit order and trades.
    fn carry_out_stop(&mut self, number: usize, slot: u32, out: &mut Outputs) {
        self.report_order(ExecutionKind::Triggered, slot, None, out);
        let rec = &self.recs[slot as usize];
        if rec.expires <= self.clock {
            return self.close(slot, Reason::Expired, out);
        }
        if self.fills_left == 0 {
            return self.close(slot, Reason::SweepLimit, out);
        }
        let market = &self.markets[number];
        if rec.kind == OrderKind::StopLimit {
            if check_band(market, rec.limit).is_err() {
                return self.close(slot, Reason::PriceBand, out);
            }
            if self.check_other_side(self.account_of(slot), rec).is_err() {
                return self.close(slot, Reason::PostOnlyWouldTake, out);
            }
        } else {
            let mut limit = if rec.limit_given { rec.limit } else { market.protection(rec.side, rec.trigger) };
            if let Some((low, high)) = market.band() {
                limit = if rec.side == Side::Buy { limit.min(high) } else { limit.max(low) };
            }
            let rec = &mut self.recs[slot as usize];
            // A worse limit than the hold was taken for is never used.
            rec.limit = match rec.side {
                Side::Buy => limit.min(rec.limit),
                Side::Sell => limit.min(Price::MAX.raw() / market.listing.tick),
            };
            let spare = rec.hold - market.need(rec);
            self.free_hold(slot, spare, out);
        }
        let end: End = self.run(number, slot, None, out);
        self.finish(slot, true, end, out);
    }
}
