//! Executions as the core makes them: numbers, ticks and lots in a fixed size. Names and decimals are added
//! when somebody reads them, so that a command that nobody reads about, as in a replay, never pays for them.

use model::exchange::{
    AccountId, Asset, ClientOrderId, Execution, ExecutionKind, Fill, Liquidity, MarketTrade, OrderKind, OrderView,
    Reason, TimeInForce,
};
use model::{Quantity, Side, Volume};

use super::units::{Catalog, Listing};
use crate::book::NONE;

/// A match. Its instrument is the market's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) trade: u64,
    pub(super) ticks: i64,
    pub(super) lots: u64,
    pub(super) maker: u64,
    pub(super) taker: u64,
    pub(super) market: u16,
    pub(super) taker_side: Side,
    pub(super) auction: bool,
    pub(super) busted: bool,
}

impl Match {
    pub(super) fn trade(&self, listing: &Listing) -> MarketTrade {
        MarketTrade {
            instrument: listing.instrument,
            trade_id: self.trade,
            price: listing.price(self.ticks),
            quantity: listing.quantity(self.lots),
            taker_side: self.taker_side,
            maker_order: self.maker,
            taker_order: self.taker,
            auction: self.auction,
            busted: self.busted,
        }
    }
}

/// An order after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderState {
    pub(super) notional: i128,
    pub(super) id: u64,
    /// In ticks; 0 for none.
    pub(super) limit: i64,
    /// In ticks; 0 for none.
    pub(super) trigger: i64,
    pub(super) lots: u64,
    pub(super) filled: u64,
    pub(super) open: u64,
    pub(super) tif: TimeInForce,
    pub(super) market: u16,
    pub(super) side: Side,
    pub(super) kind: OrderKind,
}

impl OrderState {
    pub(super) fn view(&self, listing: &Listing) -> OrderView {
        OrderView {
            id: self.id,
            instrument: listing.instrument,
            side: self.side,
            kind: self.kind,
            tif: self.tif,
            price: (self.limit > 0).then(|| listing.price(self.limit)),
            trigger: (self.trigger > 0).then(|| listing.price(self.trigger)),
            quantity: listing.quantity(self.lots),
            filled: listing.quantity(self.filled),
            notional: Volume::from_raw(self.notional),
            // An order by quote amount has no lots of its own.
            open: if self.lots == 0 { Quantity::ZERO } else { listing.quantity(self.open) },
        }
    }
}

/// What few executions say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) given: Option<i128>,
    pub(super) limit: Option<i128>,
    pub(super) first: Option<u64>,
    pub(super) asset: Option<Asset>,
    pub(super) amount: Option<i128>,
    pub(super) transfer: Option<u64>,
}

/// An execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) sequence: u64,
    pub(super) account: u32,
    pub(super) kind: ExecutionKind,
    pub(super) reason: Option<Reason>,
    pub(super) liquidity: Liquidity,
    /// Place of its trade among the command's trades; [`NONE`] without one.
    pub(super) matched: u32,
    /// Place of what else it says among the command's details; [`NONE`] for nothing.
    pub(super) detail: u32,
    /// Of the trade.
    pub(super) fee: i128,
    pub(super) client: Option<ClientOrderId>,
    pub(super) order: Option<OrderState>,
}

impl Report {
    /// A report that says only what happened to whom.
    #[inline]
    pub(super) const fn new(account: u32, kind: ExecutionKind, client: Option<ClientOrderId>) -> Self {
        Self {
            sequence: 0,
            account,
            kind,
            reason: None,
            liquidity: Liquidity::Maker,
            matched: NONE,
            detail: NONE,
            fee: 0,
            client,
            order: None,
        }
    }

    pub(super) fn execution(&self, catalog: &Catalog, matches: &[Match], details: &[Detail]) -> Execution {
        let mut execution = Execution::new(AccountId(self.account), self.sequence, self.kind);
        execution.client_order_id = self.client;
        execution.reason = self.reason;
        execution.order = self.order.map(|order| order.view(&catalog.markets[order.market as usize]));
        execution.fill = matches.get(self.matched as usize).map(|matched| {
            let listing = &catalog.markets[matched.market as usize];
            Fill {
                trade_id: matched.trade,
                last_price: listing.price(matched.ticks),
                last_quantity: listing.quantity(matched.lots),
                fee: Volume::from_raw(self.fee),
                liquidity: self.liquidity,
            }
        });
        if let Some(detail) = details.get(self.detail as usize) {
            execution.given = detail.given.map(Volume::from_raw);
            execution.limit = detail.limit.map(Volume::from_raw);
            execution.first = detail.first;
            execution.asset = detail.asset;
            execution.amount = detail.amount.map(Volume::from_raw);
            execution.transfer = detail.transfer;
        }
        execution
    }
}
