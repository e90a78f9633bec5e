//! Does the state hold together?

use model::Side;
use model::exchange::AccountId;

use super::Exchange;
use super::order::Place;
use crate::book::NONE;

impl Exchange {
    /// Holds equal what open orders and pending withdrawals reserve, in the assets that the command touched.
    #[inline]
    pub(super) fn assert_reserved(&mut self) {
        while let Some(number) = self.dirty.pop() {
            let market = &self.markets[number as usize];
            for asset in [market.base, market.quote] {
                let held = self.ledger.totals(asset).held;
                let reserved = self.reserved[asset.0 as usize];
                assert!(held == reserved, "{} held, {reserved} reserved of {}", held, self.ledger.name(asset));
            }
        }
    }

    /// Goes through everything and checks that it holds together. For tests and for `millrace check`.
    ///
    /// # Panics
    /// When it does not, with what is wrong.
    pub fn verify(&self) {
        self.ledger.verify();
        let mut reserved: Vec<i128> =
            (0..self.reserved.len()).map(|at| self.ledger.held_by_pending(ledger::AssetId(at as u16))).collect();
        let mut counted = 0;
        for (account, row) in self.accounts.iter().enumerate() {
            let mut at = row.head;
            let mut open = 0;
            while at != NONE {
                self.verify_order(at, account as u32, &mut reserved);
                open += 1;
                at = self.recs[at as usize].next;
            }
            assert_eq!(open, row.open, "open orders of account {account}");
            counted += open as usize;
        }
        assert_eq!(counted, self.nodes.len(), "orders that belong to an account");
        assert_eq!(reserved, self.reserved, "reserved by order");
        for (at, reserved) in reserved.iter().enumerate() {
            let asset = ledger::AssetId(at as u16);
            assert_eq!(self.ledger.totals(asset).held, *reserved, "held of {}", self.ledger.name(asset));
        }
        for number in 0..self.markets.len() {
            self.verify_market(number);
        }
    }

    fn verify_order(&self, slot: u32, account: u32, reserved: &mut [i128]) {
        let (node, rec) = (self.nodes.get(slot), &self.recs[slot as usize]);
        let market = &self.markets[rec.market as usize];
        assert_eq!(node.tag, account, "owner of order {}", node.id);
        assert_eq!(self.ids.find(&self.nodes, node.id), Some(slot), "order {} by its number", node.id);
        if let Some(client) = &rec.client {
            assert_eq!(self.open_by_client(account, &client.id), Some(slot), "order {} by {}", node.id, client.id);
        }
        assert!(rec.open > 0 && rec.open + rec.filled == rec.lots, "order {} has {} open", node.id, rec.open);
        let need = match rec.oco {
            NONE => market.need(rec),
            // The limit order of a pair carries the larger need of the two.
            other if rec.place == Place::Book => market.need(rec).max(market.need(&self.recs[other as usize])),
            _ => 0,
        };
        assert_eq!(rec.hold, need, "hold of order {}", node.id);
        reserved[market.held_asset(rec.side).0 as usize] += rec.hold;
    }

    fn verify_market(&self, number: usize) {
        let market = &self.markets[number];
        let name = market.rules.instrument;
        assert!(market.touched.is_empty() && market.run.is_none(), "{name} between commands");
        let mut checksum = 0u64;
        let mut icebergs = 0;
        for side in [Side::Buy, Side::Sell] {
            for level in market.depth.iter(side) {
                let ticks = market.depth.ticks(level);
                let mut lots = 0;
                for slot in market.depth.queue(&self.nodes, level) {
                    let (node, rec) = (self.nodes.get(slot), &self.recs[slot as usize]);
                    assert!(rec.place == Place::Book && rec.side == side && rec.limit == ticks, "order {}", node.id);
                    assert!(node.lots > 0 && node.lots <= rec.open, "order {} shows {}", node.id, node.lots);
                    assert!(rec.display != 0 || node.lots == rec.open, "order {} hides", node.id);
                    icebergs += u32::from(rec.display != 0);
                    lots += node.lots;
                }
                assert_eq!(lots, market.depth.lots(level), "{name} {side:?} at {ticks}");
                checksum = checksum.wrapping_add(market.hash_of(side, ticks, lots));
            }
        }
        assert_eq!(checksum, market.checksum, "checksum of {name}");
        assert_eq!(icebergs, market.icebergs, "icebergs of {name}");
        let waiting = [Side::Buy, Side::Sell].into_iter().flat_map(|side| market.stops.iter(side));
        let waiting: usize = waiting.map(|level| market.stops.queue(&self.nodes, level).count()).sum();
        assert_eq!(waiting, market.stop_count as usize, "stops of {name}");
        let crossed = match (market.depth.best_ticks(Side::Buy), market.depth.best_ticks(Side::Sell)) {
            (Some(bid), Some(ask)) => bid >= ask,
            _ => false,
        };
        let waits = |trigger: Option<i64>, side| {
            trigger.is_none_or(|trigger| if side == Side::Buy { trigger > market.last } else { trigger < market.last })
        };
        if market.phase == model::exchange::Phase::Open && market.last > 0 {
            let settled = waits(market.stops.best_ticks(Side::Sell), Side::Buy)
                && waits(market.stops.best_ticks(Side::Buy), Side::Sell)
                && market.trailing.iter().all(|slot| {
                    let rec = &self.recs[*slot as usize];
                    waits(Some(rec.trigger), rec.side)
                });
            assert!(settled, "{name} has stops that the last trade reached");
        }
        assert!(!crossed || market.phase != model::exchange::Phase::Open, "{name} is crossed");
    }

    /// What is available and held of an asset over all accounts, and what came in from outside, in 1e-8.
    pub fn totals(&self, asset: &model::exchange::Asset) -> Option<ledger::AssetTotals> {
        self.ledger.asset(asset).map(|asset| self.ledger.totals(asset))
    }

    /// Whether an account has an order or money here.
    pub fn knows(&self, account: AccountId) -> bool {
        self.account_row(account.0).sequence > 0 || self.ledger.balances(account).next().is_some()
    }
}
