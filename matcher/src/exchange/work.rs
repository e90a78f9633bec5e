//! Work that is due before a command: what earlier ones left over, and what time has brought.

use model::exchange::{Phase, Reason};

use super::order::NEVER;
use super::timers::Timer;
use super::{Drained, Exchange, Outputs};

/// Steps of each kind of leftover work done before one command, at most.
const STEPS_MAX: usize = 10_000;

impl Exchange {
    pub(super) fn do_leftover_work(&mut self, out: &mut Outputs) {
        if self.settling > 0 {
            for number in 0..self.markets.len() {
                if self.markets[number].settling.is_some() {
                    self.go_on_settling(number, out);
                }
            }
            self.settle_stops(out);
        }
        if !self.drain.is_empty() {
            self.drain_some(out);
        }
        for _ in 0..STEPS_MAX {
            let Some((at, timer)) = self.timers.due(self.clock) else { break };
            match timer {
                Timer::Order { id, slot } => {
                    if self.nodes.holds(slot, id) && self.recs[slot as usize].expires == at {
                        self.close(slot, Reason::Expired, out);
                    }
                }
                Timer::DeadMan { account } => {
                    if self.account_row(account).deadline == at {
                        self.account_mut(account).deadline = NEVER;
                        self.close_all(model::exchange::AccountId(account), None, Reason::DeadMan, out);
                    }
                }
            }
        }
        let Self { timers, nodes, recs, accounts, .. } = self;
        timers.tidy(|at, timer| match timer {
            Timer::Order { id, slot } => nodes.holds(slot, id) && recs[slot as usize].expires == at,
            Timer::DeadMan { account } => accounts[account as usize].deadline == at,
        });
    }

    /// Cancels some of the orders that wait to be cancelled.
    pub(super) fn drain_some(&mut self, out: &mut Outputs) {
        for _ in 0..STEPS_MAX {
            let Some(Drained { slot, id, market, reason }) = self.drain.pop_front() else { return };
            self.markets[market as usize].draining -= 1;
            if self.nodes.holds(slot, id) {
                self.close(slot, reason, out);
            }
        }
    }

    /// Queues the orders of a market that `which` picks to be cancelled, and begins.
    pub(super) fn drain_market(
        &mut self,
        number: usize,
        reason: Reason,
        which: impl Fn(&super::order::Rec) -> bool,
        out: &mut Outputs,
    ) {
        let market = &self.markets[number];
        let mut slots: Vec<u32> = Vec::new();
        for depth in [&market.depth, &market.stops] {
            for side in [model::Side::Buy, model::Side::Sell] {
                slots.extend(depth.iter(side).flat_map(|level| depth.queue(&self.nodes, level)));
            }
        }
        slots.extend(&market.trailing);
        slots.retain(|slot| which(&self.recs[*slot as usize]));
        self.markets[number].draining += slots.len() as u32;
        let nodes = &self.nodes;
        self.drain.extend(slots.iter().map(|slot| Drained {
            slot: *slot,
            id: nodes.get(*slot).id,
            market: number as u16,
            reason,
        }));
        self.drain_some(out);
    }

    /// What a new phase brings with it: stops look at the last trade again once the market is open.
    pub(super) fn after_phase(&mut self, number: usize, phase: Phase) {
        let market = &mut self.markets[number];
        if phase == Phase::Open && market.last > 0 {
            market.run = Some((market.last, market.last));
            self.mark_dirty(number as u16);
        }
    }
}
