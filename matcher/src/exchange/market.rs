//! One market's state.

use ledger::AssetId;
use model::exchange::{Indicative, InstrumentEvent, InstrumentEventKind, MarketRules, Phase};
use model::{Price, Side, Volume};

use super::units::Listing;
use crate::book::{Depth, Nodes};

/// Trades that can be busted: the last so many of a market.
pub(super) const BUSTABLE: usize = 10_000;

/// A trade that can still be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traded {
    pub(super) trade: u64,
    pub(super) buyer: u32,
    pub(super) seller: u32,
    pub(super) buy_order: u64,
    pub(super) sell_order: u64,
    pub(super) ticks: i64,
    pub(super) lots: u64,
    pub(super) buyer_fee: i128,
    pub(super) seller_fee: i128,
    pub(super) taker_side: Side,
    pub(super) busted: bool,
}

/// A level as it was before the running command changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touched {
    pub(super) sell: bool,
    pub(super) ticks: i64,
    pub(super) before: u64,
}

/// An auction that is being settled, over several commands if need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settling {
    /// The one price, in ticks.
    pub(super) ticks: i64,
    /// The phase that follows.
    pub(super) then: Phase,
}

/// So many parts of ten thousand of `ticks`, rounded down. Below 10^14 ticks without wide arithmetic.
#[inline]
fn parts_down(ticks: i64, parts: u32) -> i64 {
    match u64::try_from(ticks) {
        Ok(ticks) if ticks < 100_000_000_000_000 => (ticks * u64::from(parts) / 10_000) as i64,
        _ => (i128::from(ticks) * i128::from(parts) / 10_000) as i64,
    }
}

/// So many parts of ten thousand of `ticks`, rounded up.
#[inline]
fn parts_up(ticks: i64, parts: u32) -> i64 {
    match u64::try_from(ticks) {
        Ok(ticks) if ticks < 100_000_000_000_000 => (ticks * u64::from(parts)).div_ceil(10_000) as i64,
        _ => ((i128::from(ticks) * i128::from(parts) + 9_999) / 10_000) as i64,
    }
}

#[derive(Debug, Clone)]
pub(super) struct Market {
    pub(super) rules: MarketRules,
    pub(super) listing: Listing,
    pub(super) base: AssetId,
    pub(super) quote: AssetId,
    /// 1e-8 of quote for one lot at one tick.
    pub(super) unit: i64,
    pub(super) phase: Phase,
    pub(super) killed: bool,
    pub(super) settling: Option<Settling>,
    /// Orders still to be cancelled by the exchange's drain.
    pub(super) draining: u32,
    pub(super) depth: Depth,
    /// Waiting stops: buys as if they sold (lowest trigger first), sells as if they bought.
    pub(super) stops: Depth,
    pub(super) stop_count: u32,
    /// Waiting trailing stops in the order they came.
    pub(super) trailing: Vec<u32>,
    /// Resting orders that hide a part.
    pub(super) icebergs: u32,
    /// Last trade's price in ticks; 0 before the first.
    pub(super) last: i64,
    /// First and last price of the run of trades that stops have not seen yet.
    pub(super) run: Option<(i64, i64)>,
    pub(super) trades: u64,
    /// The last trades, oldest first from `oldest` on.
    pub(super) recent: Vec<Traded>,
    pub(super) oldest: usize,
    /// Changes of the book so far.
    pub(super) sequence: u64,
    pub(super) checksum: u64,
    pub(super) since_snapshot: u32,
    /// When the last indicative price was said.
    pub(super) indicated: i64,
    /// Levels that the running command changed. Empty between commands.
    pub(super) touched: Vec<Touched>,
}

impl Market {
    pub(super) fn new(rules: MarketRules, base: AssetId, quote: AssetId) -> Self {
        let (tick, lot) = (rules.tick.raw(), rules.lot.raw());
        Self {
            rules,
            listing: Listing { instrument: rules.instrument, tick, lot },
            base,
            quote,
            unit: (i128::from(tick) * i128::from(lot) / 100_000_000) as i64,
            phase: Phase::Closed,
            killed: false,
            settling: None,
            draining: 0,
            depth: Depth::default(),
            stops: Depth::default(),
            stop_count: 0,
            trailing: Vec::new(),
            icebergs: 0,
            last: 0,
            run: None,
            trades: 0,
            recent: Vec::new(),
            oldest: 0,
            sequence: 0,
            checksum: 0,
            since_snapshot: 0,
            indicated: i64::MIN,
            touched: Vec::new(),
        }
    }

    /// Quote units, in 1e-8, for so many lots at so many ticks.
    #[inline]
    pub(super) fn notional(&self, ticks: i64, lots: u64) -> i128 {
        // One multiplication where both factors fit; prices and quantities are checked, so the wide one never
        // overflows.
        match ticks.checked_mul(self.unit) {
            Some(each) => i128::from(each) * i128::from(lots),
            None => i128::from(ticks) * i128::from(self.unit) * i128::from(lots),
        }
    }

    /// What an open order reserves.
    #[inline]
    pub(super) fn need(&self, rec: &super::order::Rec) -> i128 {
        match rec.side {
            Side::Sell => i128::from(rec.open) * i128::from(self.listing.lot),
            Side::Buy => {
                let notional = self.notional(rec.limit, rec.open);
                notional + rec.meter.reserve(notional, rec.bps_max())
            }
        }
    }

    /// The asset that an order of this side reserves.
    #[inline]
    pub(super) fn held_asset(&self, side: Side) -> AssetId {
        if side == Side::Buy { self.quote } else { self.base }
    }

    #[inline]
    pub(super) fn price(&self, ticks: i64) -> Price {
        self.listing.price(ticks)
    }

    #[inline]
    pub(super) fn volume(&self, lots: u64) -> Volume {
        self.listing.volume(lots)
    }

    /// Last trade's price, or the listing's until there is one; in ticks.
    pub(super) fn reference(&self) -> i64 {
        if self.last > 0 { self.last } else { self.rules.reference.raw() / self.listing.tick }
    }

    /// Lowest and highest limit that the band allows, in ticks; none without a band.
    #[inline]
    pub(super) fn band(&self) -> Option<(i64, i64)> {
        let bps = self.rules.band_bps;
        if bps == 0 {
            return None;
        }
        let reference = self.reference();
        Some((parts_up(reference, 10_000 - bps).max(1), parts_down(reference, 10_000 + bps)))
    }

    /// How far an order without a limit of its own goes from `ticks`, inside the band.
    pub(super) fn protection(&self, side: Side, ticks: i64) -> i64 {
        let bps = self.rules.protection_bps;
        let far = match side {
            Side::Buy => parts_down(ticks, 10_000 + bps),
            Side::Sell => parts_up(ticks, 10_000 - bps),
        };
        let far = far.clamp(1, Price::MAX.raw() / self.listing.tick);
        match (self.band(), side) {
            (Some((_, high)), Side::Buy) => far.min(high),
            (Some((low, _)), Side::Sell) => far.max(low),
            (None, _) => far,
        }
    }

    /// Whether orders are collected rather than matched.
    pub(super) fn collects(&self) -> bool {
        matches!(self.phase, Phase::PreOpen | Phase::Auction)
    }

    /// Remembers how a level was before it changes.
    #[inline]
    pub(super) fn touch(&mut self, side: Side, ticks: i64, before: u64) {
        let sell = side == Side::Sell;
        match self.touched.last() {
            Some(last) if last.sell == sell && last.ticks == ticks => {}
            _ => self.touched.push(Touched { sell, ticks, before }),
        }
    }

    /// Rests an order in the book at its limit.
    #[inline]
    pub(super) fn rest(&mut self, nodes: &mut Nodes, slot: u32, side: Side, ticks: i64) {
        self.depth.push_back(nodes, slot, side, ticks);
        let node = nodes.get(slot);
        let before = self.depth.lots(node.level) - node.lots;
        self.touch(side, ticks, before);
    }

    /// Takes an order out of the book.
    #[inline]
    pub(super) fn unrest(&mut self, nodes: &mut Nodes, slot: u32, side: Side, ticks: i64) {
        let level = nodes.get(slot).level;
        self.touch(side, ticks, self.depth.lots(level));
        self.depth.unlink(nodes, slot);
    }

    /// Lowers what an order in the book shows.
    #[inline]
    pub(super) fn shrink(&mut self, nodes: &mut Nodes, slot: u32, side: Side, ticks: i64, lots: u64) {
        let level = nodes.get(slot).level;
        self.touch(side, ticks, self.depth.lots(level));
        self.depth.reduce(nodes, slot, lots);
    }

    /// The run of trades that stops have to see, with one more.
    #[inline]
    pub(super) fn print(&mut self, ticks: i64) {
        self.last = ticks;
        self.run = Some((self.run.map_or(ticks, |run| run.0), ticks));
    }

    /// Remembers a trade so that it can be undone.
    pub(super) fn remember(&mut self, trade: Traded) {
        if self.recent.len() < BUSTABLE {
            self.recent.push(trade);
        } else {
            self.recent[self.oldest] = trade;
            self.oldest = (self.oldest + 1) % BUSTABLE;
        }
    }

    /// The remembered trade of this number.
    pub(super) fn remembered(&mut self, trade: u64) -> Option<&mut Traded> {
        let first = self.recent.get(self.oldest)?.trade;
        let at = usize::try_from(trade.checked_sub(first)?).ok()?;
        if at >= self.recent.len() {
            return None;
        }
        let at = (self.oldest + at) % self.recent.len();
        Some(&mut self.recent[at])
    }

    pub(super) fn event(&self, kind: InstrumentEventKind, indicative: Option<Indicative>) -> InstrumentEvent {
        InstrumentEvent {
            instrument: self.rules.instrument,
            kind,
            phase: self.phase,
            killed: self.killed,
            last: (self.last > 0).then(|| self.price(self.last)),
            indicative,
            rules: self.rules,
        }
    }
}
