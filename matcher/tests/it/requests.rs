//! Client order ids: a command counts once, whatever becomes of callers and processes.

use matcher::exchange::{Exchange, Outputs};
use model::exchange::{AccountId, Command, CommandBody, ExchangeLimits, ExecutionKind, NewOrder, OrderRef, Reason};
use model::{Origin, Quantity, Side, UnixNanos};

use crate::workload::{ONE, START, Workload};

struct Desk {
    exchange: Exchange,
    out: Outputs,
    offset: u64,
    now: i64,
}

impl Desk {
    fn new() -> Self {
        let mut workload = Workload::new(1, 3);
        let mut desk = Self { exchange: Exchange::new(1), out: Outputs::default(), offset: 0, now: START };
        for (offset, command) in workload.opening() {
            desk.exchange.apply(offset, &command, &mut desk.out);
            desk.offset = offset + 1;
            desk.now = command.ts.0;
        }
        desk
    }

    fn send(&mut self, account: u32, request: &str, sent_at: i64, body: CommandBody) -> &Outputs {
        let origin = Origin::Root { role: "test/1".parse().unwrap(), epoch: 0, sequence: self.offset };
        let command = Command {
            origin,
            ts: UnixNanos(self.now),
            account: AccountId(account),
            request: (!request.is_empty()).then(|| request.parse().unwrap()),
            sent_at: UnixNanos(sent_at),
            body,
        };
        self.exchange.apply(self.offset, &command, &mut self.out);
        self.offset += 1;
        &self.out
    }

    fn configure(&mut self, limits: ExchangeLimits) {
        let now = self.now;
        let out = self.send(0, "", now, CommandBody::Configure(limits));
        assert_eq!(out.execution(0).kind, ExecutionKind::Done);
    }

    fn reason(&self) -> Option<Reason> {
        self.out.execution(0).reason
    }
}

fn buy(price: i64) -> CommandBody {
    let price = model::Price::from_raw(price * ONE).unwrap();
    CommandBody::Place(NewOrder::limit("BTC-USDT".parse().unwrap(), Side::Buy, Quantity::ONE, price))
}

#[test]
fn a_thousand_times_the_same_id_across_crashes_is_one_order() {
    let mut desk = Desk::new();
    let sent = desk.now;
    let mut random = fastrand::Rng::with_seed(13);
    let mut first = None;
    for _ in 0..1_000 {
        let out = desk.send(1, "mine", sent, buy(99)).clone();
        assert_eq!(out.executions().len(), 1);
        let (kind, order) = (out.execution(0).kind, out.execution(0).order.unwrap());
        assert_eq!(kind, ExecutionKind::Accepted);
        assert_eq!(*first.get_or_insert(order), order, "not the first outcome");
        desk.now += random.i64(0..1_000_000_000);
        if random.u32(0..10) == 0 {
            desk.exchange = Exchange::decode(&desk.exchange.encode()).unwrap();
        }
    }
    assert_eq!(desk.exchange.open_orders(AccountId(1)).count(), 1);
    desk.exchange.verify();
}

#[test]
fn the_first_outcome_comes_back_with_its_fills_and_its_reason() {
    let mut desk = Desk::new();
    let sent = desk.now;
    let sell = |price: i64| {
        let price = model::Price::from_raw(price * ONE).unwrap();
        CommandBody::Place(NewOrder::limit("BTC-USDT".parse().unwrap(), Side::Sell, Quantity::ONE, price))
    };
    desk.send(2, "", sent, sell(100));
    let offset = desk.offset;
    desk.send(1, "taker", sent, buy(100));
    let last = desk.out.executions().next_back().unwrap().order.unwrap();
    desk.send(1, "taker", sent, buy(100));
    let again = desk.out.execution(0);
    assert_eq!(again.first, Some(offset));
    assert_eq!(again.order.unwrap(), last);
    desk.send(1, "poor", sent, buy(149));
    let huge = CommandBody::Withdraw {
        asset: "USDT".parse().unwrap(),
        amount: Quantity::from_raw(900_000 * ONE).unwrap(),
        pending: false,
    };
    desk.send(1, "much", sent, huge.clone());
    let refused = desk.out.execution(0);
    assert_eq!(refused.reason, Some(Reason::InsufficientFunds));
    desk.send(1, "much", sent, huge);
    let again = desk.out.execution(0);
    assert_eq!((again.reason, again.given, again.limit), (refused.reason, refused.given, refused.limit));
}

#[test]
fn another_command_under_a_used_id_is_refused() {
    let mut desk = Desk::new();
    let now = desk.now;
    desk.send(1, "mine", now, buy(99));
    desk.send(1, "mine", now, buy(98));
    assert_eq!(desk.reason(), Some(Reason::IdReused));
    desk.send(1, "mine", now, CommandBody::Cancel { order: OrderRef::Id(1) });
    assert_eq!(desk.reason(), Some(Reason::IdReused));
    // Another account's ids are its own.
    desk.send(2, "mine", now, buy(97));
    assert_eq!(desk.reason(), None);
    assert_eq!(desk.exchange.open_orders_count(), 2);
}

#[test]
fn what_may_be_forgotten_is_too_old() {
    let mut desk = Desk::new();
    let day = 24 * 3_600 * ONE * 10;
    let sent = desk.now;
    desk.send(1, "mine", sent, buy(99));
    desk.now += day - 1;
    desk.send(1, "mine", sent, buy(99));
    assert_eq!(desk.reason(), None);
    desk.now += 2;
    desk.send(1, "mine", sent, buy(99));
    assert_eq!(desk.reason(), Some(Reason::TooOld));
    let now = desk.now;
    desk.send(1, "mine", now, buy(99));
    assert_eq!(desk.reason(), Some(Reason::IdReused), "an order under this id is open");
    desk.send(1, "next", now + 6 * ONE * 10, buy(99));
    assert_eq!(desk.reason(), Some(Reason::SentInFuture));
    assert_eq!(desk.exchange.open_orders_count(), 1);
}

#[test]
fn a_small_memory_forgets_the_oldest_and_never_takes_an_old_one_for_new() {
    let mut desk = Desk::new();
    desk.configure(ExchangeLimits { ids_max: 10, ..ExchangeLimits::default() });
    let mut sent = vec![];
    for at in 0..50 {
        desk.now += 1_000;
        sent.push(desk.now);
        let now = desk.now;
        desk.send(1, &format!("c{at}"), now, buy(99));
        assert_eq!(desk.reason(), None);
        assert!(desk.exchange.remembered_ids() <= 10);
        if at % 7 == 0 {
            desk.exchange = Exchange::decode(&desk.exchange.encode()).unwrap();
        }
    }
    let orders = desk.exchange.open_orders_count();
    for (at, sent) in sent.into_iter().enumerate() {
        desk.send(1, &format!("c{at}"), sent, buy(99));
        let expected = if at < 40 { Some(Reason::TooOld) } else { None };
        assert_eq!(desk.reason(), expected, "c{at}");
    }
    assert_eq!(desk.exchange.open_orders_count(), orders);
}
