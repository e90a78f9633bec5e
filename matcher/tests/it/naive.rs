//! The plainest book that could be right: one sorted vector a side. The judge of the quick one.

use matcher::book::{NewOrder, Refusal, Report};
use model::Side;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resting {
    pub(crate) id: u64,
    pub(crate) side: Side,
    pub(crate) ticks: i64,
    pub(crate) lots: u64,
}

/// Each side best first, and within a price oldest first.
#[derive(Debug, Default)]
pub(crate) struct NaiveBook {
    pub(crate) bids: Vec<Resting>,
    pub(crate) asks: Vec<Resting>,
}

impl NaiveBook {
    fn side(&mut self, side: Side) -> &mut Vec<Resting> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn take(&mut self, id: u64) -> Option<Resting> {
        for side in [Side::Buy, Side::Sell] {
            let orders = self.side(side);
            if let Some(at) = orders.iter().position(|order| order.id == id) {
                return Some(orders.remove(at));
            }
        }
        None
    }

    pub(crate) fn place(&mut self, order: NewOrder, out: &mut Vec<Report>) {
        let NewOrder { id, side, ticks, lots, immediate } = order;
        if lots == 0 {
            return out.push(Report::Refused { id, why: Refusal::Lots });
        }
        if ticks < 1 {
            return out.push(Report::Refused { id, why: Refusal::Ticks });
        }
        if self.bids.iter().chain(&self.asks).any(|order| order.id == id) {
            return out.push(Report::Refused { id, why: Refusal::Duplicate });
        }
        out.push(Report::Accepted { id, side, ticks, lots });
        let rest = self.fill(id, side, ticks, lots, out);
        if rest == 0 {
            return;
        }
        if immediate {
            return out.push(Report::Cancelled { id, side, ticks, lots: rest });
        }
        self.rest(Resting { id, side, ticks, lots: rest });
    }

    fn rest(&mut self, order: Resting) {
        let at = match order.side {
            Side::Buy => self.bids.partition_point(|other| other.ticks >= order.ticks),
            Side::Sell => self.asks.partition_point(|other| other.ticks <= order.ticks),
        };
        self.side(order.side).insert(at, order);
    }

    fn fill(&mut self, taker: u64, side: Side, limit: i64, mut lots: u64, out: &mut Vec<Report>) -> u64 {
        let others = self.side(side.opposite());
        while lots > 0 {
            let Some(maker) = others.first_mut() else { break };
            let meets = if side == Side::Buy { maker.ticks <= limit } else { maker.ticks >= limit };
            if !meets {
                break;
            }
            let traded = lots.min(maker.lots);
            out.push(Report::Trade { maker: maker.id, taker, ticks: maker.ticks, lots: traded });
            lots -= traded;
            maker.lots -= traded;
            if maker.lots == 0 {
                others.remove(0);
            }
        }
        lots
    }

    pub(crate) fn cancel(&mut self, id: u64, out: &mut Vec<Report>) {
        out.push(match self.take(id) {
            Some(Resting { side, ticks, lots, .. }) => Report::Cancelled { id, side, ticks, lots },
            None => Report::Refused { id, why: Refusal::Unknown },
        });
    }

    pub(crate) fn modify(&mut self, id: u64, ticks: i64, lots: u64, out: &mut Vec<Report>) {
        if lots == 0 {
            return out.push(Report::Refused { id, why: Refusal::Lots });
        }
        if ticks < 1 {
            return out.push(Report::Refused { id, why: Refusal::Ticks });
        }
        let Some(old) = self.take(id) else {
            return out.push(Report::Refused { id, why: Refusal::Unknown });
        };
        let rest = self.fill(id, old.side, ticks, lots, out);
        if rest > 0 {
            self.rest(Resting { id, side: old.side, ticks, lots: rest });
        }
        out.push(Report::Modified { id, side: old.side, ticks, lots });
    }
}
