//! What only the operator does.

use std::sync::Arc;

use model::exchange::{
    AccountId, Command, CommandBody, ExchangeLimits, ExecutionKind, InstrumentEventKind, KillScope, Liquidity,
    MarketRules, Phase, PostingKind, Reason,
};
use model::{Instrument, Side};

use super::market::{BUSTABLE, Market, Traded};
use super::report::{Match, Report};
use super::{Exchange, MARKETS_MAX, Outputs, Refused, whole};

impl Exchange {
    pub(super) fn administer(
        &mut self,
        command: &Command,
        body: &CommandBody,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        match body {
            CommandBody::ListMarket(rules) => self.list_market(rules, out)?,
            CommandBody::SetPhase { instrument, phase } => self.set_phase(instrument, *phase, out)?,
            CommandBody::Kill { scope, on } => self.kill(scope, *on, out)?,
            CommandBody::Bust { instrument, trade } => self.bust(instrument, *trade, out)?,
            CommandBody::SetAccount { account, open_orders_max } => self.set_account(*account, *open_orders_max)?,
            CommandBody::Configure(limits) => self.configure(*limits)?,
            _ => return Err(Refused::plain(Reason::NotAllowed)),
        }
        self.done(command, out);
        Ok(())
    }

    fn list_market(&mut self, rules: &MarketRules, out: &mut Outputs) -> Result<(), Refused> {
        let invalid = Refused::plain(Reason::RulesInvalid);
        rules.check().map_err(|_| invalid)?;
        if let Some(number) = self.by_name.get(&rules.instrument) {
            let market = &mut self.markets[number as usize];
            if market.rules.tick != rules.tick || market.rules.lot != rules.lot {
                return Err(invalid);
            }
            market.rules = *rules;
            out.instruments.push(market.event(InstrumentEventKind::Rules, None));
            return Ok(());
        }
        if self.markets.len() >= MARKETS_MAX {
            return Err(Refused::with(Reason::TooManyMarkets, 0, whole(MARKETS_MAX as i64)));
        }
        let name = |text: &str| text.parse().map_err(|_| invalid);
        let (base, quote) = (name(rules.instrument.base())?, name(rules.instrument.quote())?);
        let base = self.ledger.add_asset(base).ok_or(invalid)?;
        let quote = self.ledger.add_asset(quote).ok_or(invalid)?;
        self.reserved.resize(self.ledger.assets().len(), 0);
        let market = Market::new(*rules, base, quote);
        out.instruments.push(market.event(InstrumentEventKind::Listed, None));
        self.by_name.insert(&rules.instrument);
        self.markets.push(market);
        self.recatalog();
        out.catalog = Arc::clone(&self.catalog);
        Ok(())
    }

    fn set_phase(&mut self, instrument: &Instrument, phase: Phase, out: &mut Outputs) -> Result<(), Refused> {
        let number = self.market_of(instrument)? as usize;
        let market = &mut self.markets[number];
        if market.settling.is_some() || market.draining > 0 {
            return Err(Refused::plain(Reason::MarketSettling));
        }
        if market.phase == phase {
            return Ok(());
        }
        // Whatever crosses, from an auction or from a halt during one, trades at one price before anything else.
        let ends_auction = market.collects() && matches!(phase, Phase::Open | Phase::Closed);
        if ends_auction || phase == Phase::Open {
            self.begin_settling(number, phase, out);
        } else {
            market.phase = phase;
            out.instruments.push(market.event(InstrumentEventKind::Phase, None));
        }
        if phase == Phase::Closed {
            self.drain_market(number, Reason::DayOver, super::order::Rec::is_day, out);
        }
        Ok(())
    }

    fn kill(&mut self, scope: &KillScope, on: bool, out: &mut Outputs) -> Result<(), Refused> {
        match scope {
            KillScope::Account(account) => {
                self.check_account(*account)?;
                self.account_mut(account.0).killed = on;
                if on {
                    self.close_all(*account, None, Reason::KillSwitch, out);
                }
            }
            KillScope::Market(instrument) => {
                let number = self.market_of(instrument)? as usize;
                let market = &mut self.markets[number];
                if market.settling.is_some() || market.draining > 0 {
                    return Err(Refused::plain(Reason::MarketSettling));
                }
                market.killed = on;
                out.instruments.push(market.event(InstrumentEventKind::Kill, None));
                if on {
                    self.drain_market(number, Reason::KillSwitch, |_| true, out);
                }
            }
        }
        Ok(())
    }

    fn check_account(&self, account: AccountId) -> Result<(), Refused> {
        if account.0 >= AccountId::MAX {
            return Err(Refused::with(Reason::UnknownAccount, whole(account.0), whole(AccountId::MAX)));
        }
        Ok(())
    }

    fn set_account(&mut self, account: AccountId, open_orders_max: Option<u32>) -> Result<(), Refused> {
        self.check_account(account)?;
        let most = open_orders_max.unwrap_or(0);
        if open_orders_max == Some(0) || most > ExchangeLimits::OPEN_ORDERS_MAX {
            return Err(Refused::plain(Reason::LimitsInvalid));
        }
        self.account_mut(account.0).open_max = most;
        Ok(())
    }

    fn configure(&mut self, limits: ExchangeLimits) -> Result<(), Refused> {
        if !limits.are_valid() {
            return Err(Refused::plain(Reason::LimitsInvalid));
        }
        if limits.ids_max != self.limits.ids_max {
            self.requests.resize(limits.ids_max);
        }
        self.limits = limits;
        Ok(())
    }

    /// Gives back what a trade moved, fees included. Orders stay as they are, and so does the last price; the
    /// positions take it as the opposite trade.
    fn bust(&mut self, instrument: &Instrument, trade: u64, out: &mut Outputs) -> Result<(), Refused> {
        let number = self.market_of(instrument)? as usize;
        let market = &mut self.markets[number];
        let (base, quote, lot) = (market.base, market.quote, market.listing.lot);
        let unknown = Refused::with(Reason::UnknownTrade, 0, whole(BUSTABLE as i64));
        let Some(traded) = market.remembered(trade).filter(|traded| !traded.busted) else { return Err(unknown) };
        let traded = *traded;
        let quantity = i128::from(traded.lots) * i128::from(lot);
        let notional = market.notional(traded.ticks, traded.lots);
        let (buyer, seller) = (AccountId(traded.buyer), AccountId(traded.seller));
        let moves = [
            (buyer, seller, base, quantity),
            (seller, buyer, quote, notional - traded.seller_fee),
            (AccountId::HOUSE, buyer, quote, traded.buyer_fee + traded.seller_fee),
        ];
        let reference = ledger::Reference { order: 0, trade };
        self.ledger
            .exchange(&moves, PostingKind::Bust, reference, &mut out.entries)
            .map_err(|_| Refused::plain(Reason::BustFunds))?;
        self.positions.trade(number, buyer, -quantity, -(notional + traded.buyer_fee));
        self.positions.trade(number, seller, quantity, notional - traded.seller_fee);
        if let Some(known) = self.markets[number].remembered(trade) {
            known.busted = true;
        }
        self.report_bust(number, &traded, out);
        Ok(())
    }

    fn report_bust(&mut self, number: usize, traded: &Traded, out: &mut Outputs) {
        let (maker, taker) = match traded.taker_side {
            Side::Buy => (traded.sell_order, traded.buy_order),
            Side::Sell => (traded.buy_order, traded.sell_order),
        };
        let matched = out.matches.len() as u32;
        out.matches.push(Match {
            trade: traded.trade,
            ticks: traded.ticks,
            lots: traded.lots,
            maker,
            taker,
            market: number as u16,
            taker_side: traded.taker_side,
            auction: false,
            busted: true,
        });
        for (account, fee, side) in
            [(traded.buyer, traded.buyer_fee, Side::Buy), (traded.seller, traded.seller_fee, Side::Sell)]
        {
            let mut report = Report::new(account, ExecutionKind::Busted, None);
            (report.matched, report.fee) = (matched, fee);
            report.liquidity = if side == traded.taker_side { Liquidity::Taker } else { Liquidity::Maker };
            self.report(report, out);
        }
    }
}
