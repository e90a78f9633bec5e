//! One trade between two orders: money, positions, reports.

use ledger::Settlement;
use model::exchange::{AccountId, ExecutionKind, Fill, Liquidity, MarketTrade};
use model::{Side, Volume};

use super::market::{Market, Traded};
use super::order::Rec;
use super::{Exchange, Outputs};

/// An order while it trades: a copy of its record, written back by whoever made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party {
    pub(super) id: u64,
    pub(super) account: u32,
    pub(super) rec: Rec,
    /// By quote amount: what is left of it, in 1e-8.
    pub(super) quote: Option<i128>,
}

/// What one side of a trade pays and gets back from its hold.
struct Share {
    fee: i128,
    release: i128,
}

impl Party {
    /// Takes a fill into the record.
    #[inline]
    fn take(&mut self, market: &Market, lots: u64, notional: i128, bps: u16) -> Share {
        let fee = self.rec.meter.charge(notional, bps);
        self.rec.open -= lots;
        self.rec.filled += lots;
        self.rec.notional += notional;
        let paid = match self.rec.side {
            Side::Buy => notional + fee,
            Side::Sell => i128::from(lots) * i128::from(market.lot),
        };
        let left = self.rec.hold - paid;
        let needed = match self.quote.as_mut() {
            Some(quote) if self.rec.side == Side::Buy => {
                *quote -= paid;
                left
            }
            Some(quote) => {
                *quote -= notional;
                market.need(&self.rec)
            }
            None => market.need(&self.rec),
        };
        self.rec.hold = needed;
        Share { fee, release: left - needed }
    }
}

impl Exchange {
    /// Trades `lots` at `ticks` between two orders of opposite sides. `auction` says that neither took.
    pub(super) fn trade(
        &mut self,
        number: usize,
        maker: &mut Party,
        taker: &mut Party,
        (ticks, lots): (i64, u64),
        auction: bool,
        out: &mut Outputs,
    ) {
        let market = &mut self.markets[number];
        let notional = market.notional(ticks, lots);
        let made = maker.take(market, lots, notional, maker.rec.maker_bps);
        let taker_bps = if auction { taker.rec.maker_bps } else { taker.rec.taker_bps };
        let taken = taker.take(market, lots, notional, taker_bps);
        market.trades += 1;
        market.print(ticks);
        let trade = market.trades;
        let quantity = i128::from(lots) * i128::from(market.lot);
        let (base, quote) = (market.base, market.quote);
        let ((buyer, bought), (seller, sold)) = match taker.rec.side {
            Side::Buy => ((&*taker, &taken), (&*maker, &made)),
            Side::Sell => ((&*maker, &made), (&*taker, &taken)),
        };
        market.remember(Traded {
            trade,
            buyer: buyer.account,
            seller: seller.account,
            buy_order: buyer.id,
            sell_order: seller.id,
            ticks,
            lots,
            buyer_fee: bought.fee,
            seller_fee: sold.fee,
            taker_side: taker.rec.side,
            busted: false,
        });
        let settlement = Settlement {
            buyer: AccountId(buyer.account),
            seller: AccountId(seller.account),
            base,
            quote,
            quantity,
            notional,
            buyer_fee: bought.fee,
            seller_fee: sold.fee,
            buyer_release: bought.release,
            seller_release: sold.release,
            buy_order: buyer.id,
            sell_order: seller.id,
            trade,
        };
        self.ledger.settle(&settlement, AccountId::HOUSE, &mut out.postings);
        let paid = notional + bought.fee;
        self.positions.trade(number, settlement.buyer, quantity, paid);
        self.positions.trade(number, settlement.seller, -quantity, sold.fee - notional);
        self.reserve(quote, -(paid + bought.release));
        self.reserve(base, -(quantity + sold.release));
        let fees = (made.fee, taken.fee);
        self.report_trade(number, (maker, taker), (ticks, lots), fees, auction, out);
    }

    /// Reports the trade that was just settled: to the public, to the maker, to the taker.
    fn report_trade(
        &mut self,
        number: usize,
        (maker, taker): (&Party, &Party),
        (ticks, lots): (i64, u64),
        (maker_fee, taker_fee): (i128, i128),
        auction: bool,
        out: &mut Outputs,
    ) {
        let market = &self.markets[number];
        let (last_price, last_quantity) = (market.price(ticks), market.quantity(lots));
        let trade_id = market.trades;
        out.trades.push(MarketTrade {
            instrument: market.rules.instrument,
            trade_id,
            price: last_price,
            quantity: last_quantity,
            taker_side: taker.rec.side,
            maker_order: maker.id,
            taker_order: taker.id,
            auction,
            busted: false,
        });
        let fill = |fee: i128, liquidity| Fill {
            trade_id,
            last_price,
            last_quantity,
            fee: Volume::from_raw(fee),
            liquidity: if auction { Liquidity::Auction } else { liquidity },
        };
        self.report_fill(ExecutionKind::Trade, maker, fill(maker_fee, Liquidity::Maker), out);
        self.report_fill(ExecutionKind::Trade, taker, fill(taker_fee, Liquidity::Taker), out);
    }
}
