//! One trade between two orders: money, positions, reports.

use ledger::Settlement;
use model::Side;
use model::exchange::{AccountId, Liquidity};

use super::market::{Market, Traded};
use super::order::Rec;
use super::report::Match;
use super::{Exchange, Outputs};

/// What one side of a trade pays and gets back from its hold.
struct Share {
    fee: i128,
    release: i128,
}

impl Rec {
    /// Takes a fill in. `quote` is what is left of an order by quote amount.
    #[inline]
    fn take(&mut self, market: &Market, quote: Option<&mut i128>, lots: u64, notional: i128, bps: u16) -> Share {
        let fee = self.meter.charge(notional, bps);
        self.open -= lots;
        self.filled += lots;
        self.notional += notional;
        let paid = match self.side {
            Side::Buy => notional + fee,
            Side::Sell => i128::from(lots) * i128::from(market.listing.lot),
        };
        let left = self.hold - paid;
        let needed = match quote {
            Some(quote) if self.side == Side::Buy => {
                *quote -= paid;
                left
            }
            Some(quote) => {
                *quote -= notional;
                market.need(self)
            }
            None => market.need(self),
        };
        self.hold = needed;
        Share { fee, release: left - needed }
    }
}

impl Exchange {
    /// Trades `lots` at `ticks` between the orders of two slots, of opposite sides. `auction` says that neither took.
    pub(super) fn trade(
        &mut self,
        number: usize,
        (maker, taker): (u32, u32),
        quote: Option<&mut i128>,
        (ticks, lots): (i64, u64),
        auction: bool,
        out: &mut Outputs,
    ) {
        let market = &self.markets[number];
        let notional = market.notional(ticks, lots);
        let rec = &mut self.recs[maker as usize];
        let made = rec.take(market, None, lots, notional, rec.maker_bps);
        let rec = &mut self.recs[taker as usize];
        let bps = if auction { rec.maker_bps } else { rec.taker_bps };
        let taken = rec.take(market, quote, lots, notional, bps);
        let taker_side = rec.side;
        let quantity = i128::from(lots) * i128::from(market.listing.lot);
        let (base, quote) = (market.base, market.quote);
        let ((buyer, bought), (seller, sold)) = match taker_side {
            Side::Buy => ((self.nodes.get(taker), &taken), (self.nodes.get(maker), &made)),
            Side::Sell => ((self.nodes.get(maker), &made), (self.nodes.get(taker), &taken)),
        };
        let market = &mut self.markets[number];
        market.trades += 1;
        market.print(ticks);
        let trade = market.trades;
        market.remember(Traded {
            trade,
            buyer: buyer.tag,
            seller: seller.tag,
            buy_order: buyer.id,
            sell_order: seller.id,
            ticks,
            lots,
            buyer_fee: bought.fee,
            seller_fee: sold.fee,
            taker_side,
            busted: false,
        });
        let settlement = Settlement {
            buyer: AccountId(buyer.tag),
            seller: AccountId(seller.tag),
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
        self.ledger.settle(&settlement, AccountId::HOUSE, &mut out.entries);
        let paid = notional + bought.fee;
        self.positions.trade(number, settlement.buyer, quantity, paid);
        self.positions.trade(number, settlement.seller, -quantity, sold.fee - notional);
        let (freed_quote, freed_base) = (paid + bought.release, quantity + sold.release);
        out.matches.push(Match {
            trade,
            ticks,
            lots,
            maker: self.nodes.get(maker).id,
            taker: self.nodes.get(taker).id,
            market: number as u16,
            taker_side,
            auction,
            busted: false,
        });
        self.reserve(quote, -freed_quote);
        self.reserve(base, -freed_base);
        let (as_maker, as_taker) =
            if auction { (Liquidity::Auction, Liquidity::Auction) } else { (Liquidity::Maker, Liquidity::Taker) };
        self.report_fill(maker, made.fee, as_maker, out);
        self.report_fill(taker, taken.fee, as_taker, out);
    }
}
