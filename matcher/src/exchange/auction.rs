//! Call auctions: one price for all.
//!
//! The price is the one at which most lots trade; among those the one that leaves the least surplus; among those
//! the one nearest to the last trade (the listing's reference before the first); of two equally near the lower.
//! Orders trade by price, then by time, each side from its best. Both sides pay the maker's fee. Self-trade
//! prevention holds, in the mode of the younger order; what it removes is not replaced, the price stays.

use model::exchange::{Indicative, InstrumentEventKind, Phase, Reason, SelfTrade};
use model::{Side, Volume};

use super::market::{Market, Settling};
use super::order::Recs;
use super::{Exchange, Outputs};
use crate::book::{NONE, Nodes};

/// What an auction gives at one price, in ticks and lots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) ticks: i64,
    pub(super) lots: u128,
    pub(super) surplus: i128,
}

/// Price and lots of the levels of `side` that reach `edge`, best first, hidden lots included.
fn reaching(market: &Market, nodes: &Nodes, recs: &Recs, side: Side, edge: i64) -> Vec<(i64, u128)> {
    let depth = &market.depth;
    let levels = depth.iter(side).take_while(|level| depth.crosses(*level, edge));
    let lots_of = |level| {
        if market.icebergs == 0 {
            return u128::from(depth.lots(level));
        }
        depth.queue(nodes, level).map(|slot| u128::from(recs[slot as usize].open)).sum()
    };
    levels.map(|level| (depth.ticks(level), lots_of(level))).collect()
}

/// The price of a call auction; none when no two orders meet.
pub(super) fn call(market: &Market, nodes: &Nodes, recs: &Recs) -> Option<Call> {
    let bid = market.depth.best_ticks(Side::Buy)?;
    let ask = market.depth.best_ticks(Side::Sell)?;
    if bid < ask {
        return None;
    }
    let bids = reaching(market, nodes, recs, Side::Buy, ask);
    let asks = reaching(market, nodes, recs, Side::Sell, bid);
    Some(best_price(&bids, &asks, market.reference()))
}

/// `bids` from the highest, `asks` from the lowest; they cross.
fn best_price(bids: &[(i64, u128)], asks: &[(i64, u128)], reference: i64) -> Call {
    let mut points: Vec<i64> = bids.iter().chain(asks).map(|level| level.0).collect();
    points.sort_unstable();
    points.dedup();
    let mut best: Option<Call> = None;
    let mut consider = |ticks: i64, demand: u128, supply: u128| {
        let call = Call { ticks, lots: demand.min(supply), surplus: demand as i128 - supply as i128 };
        let rank = |call: &Call| {
            let far = (call.ticks - reference).unsigned_abs();
            (std::cmp::Reverse(call.lots), call.surplus.unsigned_abs(), far, call.ticks)
        };
        if best.as_ref().is_none_or(|best| rank(&call) < rank(best)) {
            best = Some(call);
        }
    };
    let mut demand: u128 = bids.iter().map(|bid| bid.1).sum();
    let mut supply = 0u128;
    let (mut bids, mut asks) = (bids.iter().rev().peekable(), asks.iter().peekable());
    for (at, point) in points.iter().enumerate() {
        while let Some(ask) = asks.next_if(|ask| ask.0 <= *point) {
            supply += ask.1;
        }
        consider(*point, demand, supply);
        while let Some(bid) = bids.next_if(|bid| bid.0 <= *point) {
            demand -= bid.1;
        }
        // Between two prices nothing changes, so the reference itself may be the nearest.
        if let Some(next) = points.get(at + 1)
            && next - point > 1
        {
            consider(reference.clamp(point + 1, next - 1), demand, supply);
        }
    }
    best.expect("crossing sides have a price")
}

impl Exchange {
    /// Begins to settle an auction that is followed by `then`.
    pub(super) fn begin_settling(&mut self, number: usize, then: Phase, out: &mut Outputs) {
        // The first price is found on the way; until then there is none to trade at.
        self.markets[number].settling = Some(Settling { ticks: 0, then });
        self.settling += 1;
        self.go_on_settling(number, out);
    }

    /// Settles an auction as far as this command's fills go; at its end the next phase begins.
    pub(super) fn go_on_settling(&mut self, number: usize, out: &mut Outputs) {
        while let Some(Settling { mut ticks, then }) = self.markets[number].settling {
            if ticks == 0 {
                let Some(found) = call(&self.markets[number], &self.nodes, &self.recs) else {
                    let market = &mut self.markets[number];
                    market.settling = None;
                    market.phase = then;
                    self.settling -= 1;
                    out.instruments.push(market.event(InstrumentEventKind::Phase, None));
                    self.after_phase(number, then);
                    return;
                };
                ticks = found.ticks;
                self.markets[number].settling = Some(Settling { ticks, then });
            }
            if !self.trade_at(number, ticks, out) {
                return;
            }
            // What prevention left crossing is called again.
            self.markets[number].settling = Some(Settling { ticks: 0, then });
        }
    }

    /// Trades everything that meets at `ticks`; false when the command's fills ran out first.
    fn trade_at(&mut self, number: usize, ticks: i64, out: &mut Outputs) -> bool {
        loop {
            let depth = &self.markets[number].depth;
            let (bid, ask) = (depth.best(Side::Buy), depth.best(Side::Sell));
            if bid == NONE || ask == NONE || depth.ticks(bid) < ticks || depth.ticks(ask) > ticks {
                return true;
            }
            let (buy, sell) = (depth.head(bid), depth.head(ask));
            if let Some(over) = [buy, sell].into_iter().find(|slot| self.recs[*slot as usize].expires <= self.clock) {
                self.close(over, Reason::Expired, out);
                continue;
            }
            if self.fills_left == 0 {
                return false;
            }
            self.fills_left -= 1;
            let (older, younger) =
                if self.nodes.get(buy).id < self.nodes.get(sell).id { (buy, sell) } else { (sell, buy) };
            let mode = self.recs[younger as usize].self_trade;
            if self.nodes.get(buy).tag == self.nodes.get(sell).tag && mode != SelfTrade::Allow {
                self.prevent_in_auction(older, younger, mode, out);
                continue;
            }
            let lots = self.nodes.get(buy).lots.min(self.nodes.get(sell).lots);
            self.trade(number, (older, younger), None, (ticks, lots), true, out);
            self.after_fill(number, older, lots, out);
            self.after_fill(number, younger, lots, out);
        }
    }

    fn prevent_in_auction(&mut self, older: u32, younger: u32, mode: SelfTrade, out: &mut Outputs) {
        let reason = Reason::SelfTradePrevented;
        match mode {
            SelfTrade::Allow => {}
            SelfTrade::CancelNewest => self.close(younger, reason, out),
            SelfTrade::CancelOldest => self.close(older, reason, out),
            SelfTrade::CancelBoth => {
                self.close(younger, reason, out);
                self.close(older, reason, out);
            }
            SelfTrade::Decrement if self.recs[older as usize].oco != NONE => self.close(older, reason, out),
            SelfTrade::Decrement if self.recs[younger as usize].oco != NONE => self.close(younger, reason, out),
            SelfTrade::Decrement => {
                let lots = self.recs[older as usize].open.min(self.recs[younger as usize].open);
                self.decrement(older, lots, out);
                self.decrement(younger, lots, out);
            }
        }
    }

    /// Says what the auctions would give now, each at most once in the time that the limits name.
    pub(super) fn indicate_all(&mut self, out: &mut Outputs) {
        for number in 0..self.markets.len() {
            let market = &self.markets[number];
            let due = self.clock.saturating_sub(market.indicated) >= self.limits.indicative_every_ns;
            if market.phase == Phase::Auction && market.settling.is_none() && due {
                self.indicate(number, out);
            }
        }
    }

    fn indicate(&mut self, number: usize, out: &mut Outputs) {
        let market = &mut self.markets[number];
        market.indicated = self.clock;
        let indicative = call(market, &self.nodes, &self.recs).map(|call| Indicative {
            price: market.price(call.ticks),
            quantity: Volume::from_raw(call.lots as i128 * i128::from(market.listing.lot)),
            surplus: Volume::from_raw(call.surplus * i128::from(market.listing.lot)),
        });
        out.instruments.push(market.event(InstrumentEventKind::Indicative, indicative));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every price in reach, by brute force.
    fn plain(bids: &[(i64, u128)], asks: &[(i64, u128)], reference: i64) -> i64 {
        let (low, high) = (asks[0].0.min(bids[bids.len() - 1].0), bids[0].0.max(asks[asks.len() - 1].0));
        let rank = |ticks: i64| {
            let demand: u128 = bids.iter().filter(|bid| bid.0 >= ticks).map(|bid| bid.1).sum();
            let supply: u128 = asks.iter().filter(|ask| ask.0 <= ticks).map(|ask| ask.1).sum();
            let surplus = (demand as i128 - supply as i128).unsigned_abs();
            (std::cmp::Reverse(demand.min(supply)), surplus, (ticks - reference).unsigned_abs(), ticks)
        };
        (low..=high).min_by_key(|ticks| rank(*ticks)).expect("a range")
    }

    #[test]
    fn the_price_is_that_of_trying_them_all() {
        for seed in 0..5_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut side = |from: i64, count: usize| {
                let mut levels: Vec<(i64, u128)> = vec![];
                for _ in 0..count {
                    let ticks = from + random.i64(0..40);
                    if levels.iter().all(|level| level.0 != ticks) {
                        levels.push((ticks, u128::from(random.u32(1..20))));
                    }
                }
                levels.sort_unstable();
                levels
            };
            let (mut bids, asks) = (side(100, 8), side(90, 8));
            bids.reverse();
            if bids[0].0 < asks[0].0 {
                continue;
            }
            bids.retain(|bid| bid.0 >= asks[0].0);
            let asks: Vec<_> = asks.into_iter().filter(|ask| ask.0 <= bids[0].0).collect();
            let reference = 80 + (seed % 80) as i64;
            assert_eq!(best_price(&bids, &asks, reference).ticks, plain(&bids, &asks, reference), "seed {seed}");
        }
    }
}
