//! One command makes at most 10,000 fills.

use matcher::exchange::{Exchange, FILLS_MAX, Outputs};
use model::exchange::{
    AccountId, Command, CommandBody, ExchangeLimits, ExecutionKind, NewOrder, OrderKind, Phase, Reason,
};
use model::{Instrument, Origin, Price, Quantity, Side, UnixNanos};

use crate::workload::{ONE, START, Workload};

struct Desk {
    exchange: Exchange,
    out: Outputs,
    offset: u64,
    instrument: Instrument,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self {
            exchange: Exchange::new(3),
            out: Outputs::default(),
            offset: 0,
            instrument: "BTC-USDT".parse().unwrap(),
        };
        for (offset, command) in Workload::new(3, 9).opening() {
            desk.exchange.apply(offset, &command, &mut desk.out);
            desk.offset = offset + 1;
        }
        let limits = ExchangeLimits { open_orders_max: 10_000, ..ExchangeLimits::default() };
        desk.send(0, CommandBody::Configure(limits));
        desk
    }

    fn send(&mut self, account: u32, body: CommandBody) {
        let origin = Origin::Root { role: "test/1".parse().unwrap(), epoch: 0, sequence: self.offset };
        let ts = UnixNanos(START + 1_000_000_000 + self.offset as i64);
        let command = Command { origin, ts, account: AccountId(account), request: None, sent_at: ts, body };
        self.exchange.apply(self.offset, &command, &mut self.out);
        self.offset += 1;
    }

    fn order(&self, side: Side, thousandths: i64, price: i64) -> NewOrder {
        let quantity = Quantity::from_raw(thousandths * (ONE / 1_000)).unwrap();
        NewOrder::limit(self.instrument, side, quantity, Price::from_raw(price * ONE).unwrap())
    }

    /// `count` orders of one lot from several accounts.
    fn rest(&mut self, side: Side, count: u32, price: i64) {
        for at in 0..count {
            self.send(2 + at % 4, CommandBody::Place(self.order(side, 1, price)));
            assert_eq!(self.out.executions().len(), 1);
        }
    }

    fn reasons(&self) -> Vec<Reason> {
        self.out.executions().filter_map(|execution| execution.reason).collect()
    }
}

#[test]
fn what_would_fill_more_is_cancelled_at_the_limit_and_stops_with_it() {
    let mut desk = Desk::new();
    desk.rest(Side::Sell, FILLS_MAX + 5, 100);
    let mut stop = desk.order(Side::Buy, 1, 101);
    (stop.kind, stop.trigger, stop.price) = (OrderKind::Stop, Price::from_raw(100 * ONE), None);
    desk.send(8, CommandBody::Place(stop));
    desk.send(1, CommandBody::Place(desk.order(Side::Buy, i64::from(FILLS_MAX) + 5, 100)));
    assert_eq!(desk.out.trades().len() as u32, FILLS_MAX);
    assert_eq!(desk.reasons(), [Reason::SweepLimit, Reason::SweepLimit], "the order's rest and the stop");
    assert_eq!(desk.exchange.open_orders_count(), 5);
    desk.exchange.verify();
    let fok = NewOrder { tif: model::exchange::TimeInForce::Fok, ..desk.order(Side::Buy, 5, 100) };
    desk.rest(Side::Sell, FILLS_MAX, 100);
    desk.send(1, CommandBody::Place(NewOrder { quantity: Quantity::from_raw(11 * ONE).unwrap(), ..fok }));
    assert_eq!(desk.reasons(), [Reason::FokUnfillable]);
}

#[test]
fn an_auction_goes_on_with_the_next_commands() {
    let mut desk = Desk::new();
    let phase = |phase| CommandBody::SetPhase { instrument: "BTC-USDT".parse().unwrap(), phase };
    desk.send(0, phase(Phase::Auction));
    desk.rest(Side::Sell, FILLS_MAX * 2 + 7, 99);
    desk.send(1, CommandBody::Place(desk.order(Side::Buy, i64::from(FILLS_MAX) * 2 + 10, 101)));
    desk.send(0, phase(Phase::Open));
    assert_eq!(desk.out.trades().len() as u32, FILLS_MAX);
    assert_eq!(desk.exchange.market(&desk.instrument).unwrap().phase, Phase::Auction);
    let place = CommandBody::Place(desk.order(Side::Buy, 1, 99));
    // A snapshot in the middle of it goes on as well.
    desk.exchange = Exchange::decode(&desk.exchange.encode()).unwrap();
    desk.send(8, place.clone());
    assert_eq!(desk.out.trades().len() as u32, FILLS_MAX);
    assert_eq!(desk.reasons(), [Reason::MarketSettling]);
    desk.send(0, CommandBody::Clock);
    assert_eq!(desk.out.trades().len(), 7);
    assert_eq!(desk.exchange.market(&desk.instrument).unwrap().phase, Phase::Open);
    let prices: Vec<Price> = desk.out.trades().map(|trade| trade.price).collect();
    assert!(prices.iter().all(|price| *price == prices[0]));
    desk.send(8, place);
    assert_eq!(desk.out.execution(0).kind, ExecutionKind::Accepted);
    desk.exchange.verify();
}

#[test]
fn a_killed_market_is_emptied_over_several_commands() {
    let mut desk = Desk::new();
    desk.rest(Side::Sell, 25_000, 105);
    let scope = model::exchange::KillScope::Market(desk.instrument);
    desk.send(0, CommandBody::Kill { scope, on: true });
    assert_eq!(desk.exchange.open_orders_count(), 15_000);
    desk.exchange = Exchange::decode(&desk.exchange.encode()).unwrap();
    desk.send(0, CommandBody::Kill { scope, on: false });
    assert_eq!(desk.reasons().last(), Some(&Reason::MarketSettling));
    desk.send(0, CommandBody::Clock);
    assert_eq!(desk.exchange.open_orders_count(), 0);
    desk.exchange.verify();
}
