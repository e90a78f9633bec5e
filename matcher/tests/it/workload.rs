//! Random commands of every kind, from a seed: few accounts, few prices, so that everything meets everything.

use matcher::exchange::Outputs;
use model::exchange::{
    AccountId, Command, CommandBody, ExchangeLimits, ExecutionKind, KillScope, MarketRules, NewOrder, OrderKind,
    OrderRef, Phase, SelfTrade, TimeInForce, Trail,
};
use model::{Instrument, Origin, Price, Quantity, Side, UnixNanos};

pub(crate) const ONE: i64 = 100_000_000;
pub(crate) const START: i64 = 1_700_000_000_000_000_000;

pub(crate) struct Workload {
    random: fastrand::Rng,
    offset: u64,
    sequence: u64,
    clock: i64,
    known: Vec<(AccountId, u64)>,
    accounts: u32,
    markets: [Instrument; 2],
    phase: [Phase; 2],
    recent: Vec<Command>,
    trades: u64,
    released: u32,
}

fn rules(instrument: Instrument, self_trade: SelfTrade) -> MarketRules {
    MarketRules {
        instrument,
        tick: Price::from_raw(ONE / 100).unwrap(),
        lot: Quantity::from_raw(ONE / 1_000).unwrap(),
        min_notional: Quantity::from_raw(ONE / 100).unwrap(),
        max_notional: Quantity::from_raw(1_000_000 * ONE).unwrap(),
        max_quantity: Quantity::from_raw(1_000 * ONE).unwrap(),
        band_bps: 5_000,
        protection_bps: 500,
        maker_bps: 7,
        taker_bps: 13,
        self_trade,
        reference: Price::from_raw(100 * ONE).unwrap(),
    }
}

impl Workload {
    pub(crate) fn new(seed: u64, accounts: u32) -> Self {
        let market = |name: &str| name.parse::<Instrument>().unwrap();
        Self {
            random: fastrand::Rng::with_seed(seed),
            offset: 0,
            sequence: 0,
            clock: START,
            known: vec![],
            accounts,
            markets: [market("BTC-USDT"), market("ETH-USDT")],
            phase: [Phase::Open; 2],
            recent: vec![],
            trades: 0,
            released: 0,
        }
    }

    /// The commands that list and open the markets and give everybody something.
    pub(crate) fn opening(&mut self) -> Vec<(u64, Command)> {
        let mut all = vec![self.wrap(AccountId::HOUSE, CommandBody::Claim)];
        all[0].1.origin = Origin::Root { role: "test/1".parse().unwrap(), epoch: 0, sequence: 0 };
        let limits = ExchangeLimits { book_snapshot_every: 50, ids_max: 500, ..ExchangeLimits::default() };
        let mut bodies = vec![CommandBody::Configure(limits)];
        for (market, mode) in self.markets.into_iter().zip([SelfTrade::CancelNewest, SelfTrade::Decrement]) {
            bodies.push(CommandBody::ListMarket(Box::new(rules(market, mode))));
            bodies.push(CommandBody::SetPhase { instrument: market, phase: Phase::Open });
        }
        all.extend(bodies.into_iter().map(|body| self.wrap(AccountId::HOUSE, body)).collect::<Vec<_>>());
        for account in 1..=self.accounts {
            for (asset, amount) in [("BTC", 1_000), ("ETH", 1_000), ("USDT", 60_000)] {
                let amount = Quantity::from_raw(amount * ONE).unwrap();
                let body = CommandBody::Deposit { asset: asset.parse().unwrap(), amount };
                all.push(self.wrap(AccountId(account), body));
            }
        }
        all
    }

    fn wrap(&mut self, account: AccountId, body: CommandBody) -> (u64, Command) {
        let offset = self.offset;
        self.offset += 1;
        self.sequence += u64::from(offset > 0);
        self.clock += self.random.i64(0..2_000_000);
        let ts = UnixNanos(self.clock);
        let origin = Origin::Root { role: "test/1".parse().unwrap(), epoch: 0, sequence: self.sequence };
        (offset, Command { origin, ts, account, request: None, sent_at: ts, body })
    }

    /// Learns from what came of the last command which orders and trades there are.
    pub(crate) fn saw(&mut self, out: &Outputs) {
        self.trades += out.trades().len() as u64;
        for execution in out.executions().filter(|execution| execution.kind == ExecutionKind::Accepted) {
            if let Some(order) = &execution.order {
                if self.known.len() >= 100 {
                    self.known.swap_remove(self.random.usize(0..100));
                }
                self.known.push((execution.account, order.id));
            }
        }
    }

    /// The next command.
    pub(crate) fn next(&mut self) -> (u64, Command) {
        let account = AccountId(self.random.u32(1..=self.accounts));
        let draw = self.random.u32(0..1_000);
        let (account, body) = match draw {
            0..560 => (account, CommandBody::Place(self.order())),
            560..700 => {
                let (account, order) = self.known(account);
                (account, CommandBody::Cancel { order })
            }
            700..840 => self.amend(account),
            840..870 => (account, self.pair()),
            870..880 => (account, CommandBody::CancelAll { instrument: self.random.bool().then(|| self.market()) }),
            880..890 => (account, self.dead_man()),
            890..950 => (account, self.money()),
            950..980 => (AccountId::HOUSE, CommandBody::Clock),
            980..988 => (AccountId::HOUSE, self.phases()),
            _ => (AccountId::HOUSE, self.admin()),
        };
        if self.random.u32(0..50) == 0 {
            self.clock += self.random.i64(0..20_000_000_000);
        }
        let (offset, mut command) = self.wrap(account, body);
        // Half of the commands carry an id; now and then one comes again, as it was or changed.
        if self.random.bool() {
            let id = format!("c{}", self.random.u32(0..5_000));
            command.request = Some(id.parse().unwrap());
            command.sent_at = UnixNanos(self.clock - self.random.i64(0..1_000_000_000));
            if self.random.u32(0..20) == 0 && !self.recent.is_empty() {
                let old = &self.recent[self.random.usize(0..self.recent.len())];
                (command.account, command.request, command.sent_at) = (old.account, old.request, old.sent_at);
                if self.random.u32(0..4) != 0 {
                    command.body = old.body.clone();
                }
            } else {
                self.recent.push(command.clone());
                if self.recent.len() > 300 {
                    self.recent.swap_remove(self.random.usize(0..300));
                }
            }
        }
        (offset, command)
    }

    fn market(&mut self) -> Instrument {
        self.markets[self.random.usize(0..2)]
    }

    fn side(&mut self) -> Side {
        if self.random.bool() { Side::Buy } else { Side::Sell }
    }

    fn price(&mut self) -> Price {
        let raw = match self.random.u32(0..200) {
            0 => self.random.i64(-5..5),
            1 => self.random.i64(0..=Price::MAX.raw()),
            2 => 100 * ONE + self.random.i64(0..ONE),
            _ => 100 * ONE + self.random.i64(-150..150) * (ONE / 100),
        };
        Price::from_raw(raw).unwrap()
    }

    fn quantity(&mut self) -> Quantity {
        let raw = match self.random.u32(0..200) {
            0 => self.random.i64(-5..5),
            1 => self.random.i64(0..=Quantity::MAX.raw()),
            2 => self.random.i64(0..ONE),
            _ => self.random.i64(1..5_000) * (ONE / 1_000),
        };
        Quantity::from_raw(raw).unwrap()
    }

    fn order(&mut self) -> NewOrder {
        let (market, side) = (self.market(), self.side());
        let mut order = NewOrder::limit(market, side, self.quantity(), self.price());
        order.self_trade = match self.random.u32(0..12) {
            0 => Some(SelfTrade::Allow),
            1 => Some(SelfTrade::CancelOldest),
            2 => Some(SelfTrade::CancelBoth),
            3 => Some(SelfTrade::Decrement),
            4 => Some(SelfTrade::CancelNewest),
            _ => None,
        };
        order.tif = match self.random.u32(0..20) {
            0..3 => TimeInForce::Ioc,
            3 | 4 => TimeInForce::Fok,
            5 => TimeInForce::Day,
            6 | 7 => TimeInForce::Gtd(UnixNanos(self.clock + self.random.i64(-1_000_000..60_000_000_000))),
            _ => TimeInForce::Gtc,
        };
        match self.random.u32(0..20) {
            0 | 1 => {
                order.kind = OrderKind::Market;
                order.tif = if self.random.u32(0..8) == 0 { TimeInForce::Fok } else { TimeInForce::Ioc };
                order.price = (self.random.u32(0..3) == 0).then(|| self.price());
                if self.random.u32(0..3) == 0 {
                    order.quote_amount = Quantity::from_raw(self.random.i64(1..500 * ONE)).unwrap();
                    order.quantity = Quantity::ZERO;
                }
            }
            2 => {
                order.kind = OrderKind::Stop;
                order.trigger = Some(self.price());
                order.price = (self.random.u32(0..3) == 0).then(|| self.price());
            }
            3 => {
                order.kind = OrderKind::StopLimit;
                order.trigger = Some(self.price());
            }
            4 => {
                order.kind = OrderKind::TrailingStop;
                order.price = None;
                let distance = self.random.i64(1..100);
                order.trail = Some(if self.random.bool() {
                    Trail::Price(Price::from_raw(distance * (ONE / 100)).unwrap())
                } else {
                    Trail::Bps(distance as u32)
                });
            }
            5 | 6 => order.post_only = true,
            7 | 8 => {
                let shown = order.quantity.raw() / self.random.i64(1..10);
                order.display = Quantity::from_raw(shown - shown % (ONE / 1_000));
            }
            _ => {}
        }
        order
    }

    /// An order that may exist, by its number or its client's; mostly its owner's.
    fn known(&mut self, account: AccountId) -> (AccountId, OrderRef) {
        if self.known.is_empty() || self.random.u32(0..8) == 0 {
            return (account, OrderRef::Client(format!("c{}", self.random.u32(0..5_000)).parse().unwrap()));
        }
        let (owner, id) = self.known[self.random.usize(0..self.known.len())];
        (if self.random.u32(0..20) == 0 { account } else { owner }, OrderRef::Id(id))
    }

    fn amend(&mut self, account: AccountId) -> (AccountId, CommandBody) {
        let (account, order) = self.known(account);
        let price = self.random.bool().then(|| self.price());
        let quantity = (self.random.u32(0..3) != 0).then(|| self.quantity());
        let trigger = (self.random.u32(0..4) == 0).then(|| self.price());
        (account, CommandBody::Amend { order, price, quantity, trigger })
    }

    fn pair(&mut self) -> CommandBody {
        let mut limit = self.order();
        (limit.kind, limit.tif, limit.display, limit.post_only) = (OrderKind::Limit, TimeInForce::Gtc, None, false);
        (limit.trigger, limit.trail, limit.quote_amount) = (None, None, Quantity::ZERO);
        limit.quantity = self.quantity();
        limit.price = Some(self.price());
        let mut stop = limit;
        stop.kind = if self.random.bool() { OrderKind::Stop } else { OrderKind::StopLimit };
        stop.trigger = Some(self.price());
        stop.price = Some(self.price());
        CommandBody::PlaceOco(Box::new((limit, stop)))
    }

    fn dead_man(&mut self) -> CommandBody {
        let deadline = UnixNanos(self.clock + self.random.i64(-1_000..10_000_000_000));
        CommandBody::CancelAllAfter { deadline: self.random.bool().then_some(deadline) }
    }

    fn money(&mut self) -> CommandBody {
        let asset = ["BTC", "ETH", "USDT", "DOGE"][self.random.usize(0..4)].parse().unwrap();
        let amount = Quantity::from_raw(self.random.i64(-1..20 * ONE)).unwrap();
        match self.random.u32(0..5) {
            0 | 1 => CommandBody::Deposit { asset, amount },
            2 => CommandBody::Withdraw { asset, amount, pending: self.random.bool() },
            3 => CommandBody::Transfer { to: AccountId(self.random.u32(0..=self.accounts + 1)), asset, amount },
            _ => CommandBody::Settle { transfer: self.random.u64(0..self.offset * 3), post: false },
        }
    }

    /// Markets go through their phases and are never away for long.
    fn phases(&mut self) -> CommandBody {
        let at = self.random.usize(0..2);
        self.phase[at] = match self.phase[at] {
            Phase::Open => [Phase::Auction, Phase::Halted, Phase::PreOpen, Phase::Closed][self.random.usize(0..4)],
            Phase::Halted if self.random.u32(0..3) == 0 => Phase::Auction,
            _ => Phase::Open,
        };
        CommandBody::SetPhase { instrument: self.markets[at], phase: self.phase[at] }
    }

    fn admin(&mut self) -> CommandBody {
        let account = AccountId(self.random.u32(1..=self.accounts));
        match self.random.u32(0..8) {
            0 => CommandBody::Kill { scope: KillScope::Account(account), on: self.random.u32(0..3) == 0 },
            1 => CommandBody::Kill { scope: KillScope::Market(self.market()), on: self.random.u32(0..12) == 0 },
            2 | 3 => {
                // Nobody stays killed for long.
                self.released = (self.released + 1) % (self.accounts + 2);
                let scope = match self.released.checked_sub(self.accounts) {
                    Some(market) => KillScope::Market(self.markets[market as usize]),
                    None => KillScope::Account(AccountId(self.released + 1)),
                };
                CommandBody::Kill { scope, on: false }
            }
            4 | 5 => {
                let trade = self.trades.saturating_sub(self.random.u64(0..20)) / 2;
                CommandBody::Bust { instrument: self.market(), trade }
            }
            6 => CommandBody::SetAccount { account, open_orders_max: Some(self.random.u32(1..200)) },
            _ => {
                let market = self.market();
                let mode = if market.base() == "BTC" { SelfTrade::CancelNewest } else { SelfTrade::Decrement };
                let mut rules = rules(market, mode);
                (rules.maker_bps, rules.taker_bps) = (self.random.u16(0..30), self.random.u16(0..30));
                CommandBody::ListMarket(Box::new(rules))
            }
        }
    }
}
