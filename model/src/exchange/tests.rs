//! The records' forms: fixtures of version 1, round trips, hostile bytes, and serde's opinion of the JSON.

use super::*;
use crate::codec::CodecError;
use crate::{Cause, Instrument, Origin, Price, Quantity, Side, UnixNanos, Volume, topic};

fn cause(index: u32) -> Cause {
    Cause { topic: topic::name(topic::ORDERS), partition: 0, offset: 42, index }
}

fn instrument() -> Instrument {
    "BTC-USDT".parse().expect("an instrument")
}

fn price(text: &str) -> Price {
    text.parse().expect("a price")
}

fn quantity(text: &str) -> Quantity {
    text.parse().expect("a quantity")
}

fn rules() -> MarketRules {
    MarketRules {
        instrument: instrument(),
        tick: price("0.01"),
        lot: quantity("0.00001"),
        min_notional: quantity("5"),
        max_notional: quantity("1000000"),
        max_quantity: quantity("1000"),
        band_bps: 500,
        protection_bps: 100,
        maker_bps: 2,
        taker_bps: 5,
        self_trade: SelfTrade::CancelNewest,
        reference: price("60000"),
    }
}

/// One command of every kind, with every field that a kind has.
fn commands() -> Vec<Command> {
    let asset = || "USDT".parse().expect("an asset");
    let plain = NewOrder::limit(instrument(), Side::Buy, quantity("0.5"), price("59999.99"));
    let iceberg = NewOrder {
        tif: TimeInForce::Gtd(UnixNanos(1_700_000_100_000_000_000)),
        display: Some(quantity("0.1")),
        post_only: true,
        self_trade: Some(SelfTrade::Decrement),
        ..plain
    };
    let market = NewOrder {
        kind: OrderKind::Market,
        tif: TimeInForce::Ioc,
        quantity: Quantity::ZERO,
        quote_amount: quantity("1000"),
        price: None,
        ..plain
    };
    let stop = NewOrder { side: Side::Sell, kind: OrderKind::StopLimit, trigger: Some(price("58000")), ..plain };
    let trailing = |trail| NewOrder { kind: OrderKind::TrailingStop, trail: Some(trail), price: None, ..plain };
    let mine = || "my-order.1".parse().expect("an id");
    let bodies = vec![
        CommandBody::Place(plain),
        CommandBody::Place(iceberg),
        CommandBody::Place(market),
        CommandBody::Place(trailing(Trail::Price(price("12.5")))),
        CommandBody::Place(NewOrder { tif: TimeInForce::Day, ..trailing(Trail::Bps(150)) }),
        CommandBody::PlaceOco(Box::new((NewOrder { side: Side::Sell, ..plain }, stop))),
        CommandBody::Amend { order: OrderRef::Id(7), price: Some(price("60001")), quantity: None, trigger: None },
        CommandBody::Amend {
            order: OrderRef::Client(mine()),
            price: None,
            quantity: Some(quantity("0.25")),
            trigger: None,
        },
        CommandBody::Amend { order: OrderRef::Id(8), price: None, quantity: None, trigger: Some(price("59000.5")) },
        CommandBody::Cancel { order: OrderRef::Id(u64::MAX) },
        CommandBody::Cancel { order: OrderRef::Client(mine()) },
        CommandBody::CancelAll { instrument: None },
        CommandBody::CancelAll { instrument: Some(instrument()) },
        CommandBody::CancelAllAfter { deadline: Some(UnixNanos(1_700_000_060_000_000_000)) },
        CommandBody::CancelAllAfter { deadline: None },
        CommandBody::Deposit { asset: asset(), amount: quantity("1234.5") },
        CommandBody::Withdraw { asset: asset(), amount: quantity("1"), pending: true },
        CommandBody::Settle { transfer: 9, post: true },
        CommandBody::Transfer { to: AccountId(8), asset: asset(), amount: quantity("3") },
        CommandBody::ListMarket(Box::new(rules())),
        CommandBody::SetPhase { instrument: instrument(), phase: Phase::Auction },
        CommandBody::Kill { scope: KillScope::Account(AccountId(5)), on: true },
        CommandBody::Kill { scope: KillScope::Market(instrument()), on: false },
        CommandBody::Bust { instrument: instrument(), trade: 3 },
        CommandBody::SetAccount { account: AccountId(5), open_orders_max: Some(10) },
        CommandBody::Configure(ExchangeLimits::default()),
        CommandBody::Clock,
        CommandBody::Claim,
    ];
    let wrap = |(at, body): (usize, CommandBody)| Command {
        origin: if at % 5 == 4 {
            Origin::Derived(Cause { topic: topic::name(topic::CONTROL), ..cause(2) })
        } else {
            Origin::Root { role: "api/1".parse().expect("a role"), epoch: 3, sequence: at as u64 + 1 }
        },
        ts: UnixNanos(1_700_000_000_000_000_000 + at as i64),
        account: AccountId(at as u32),
        request: (at % 2 == 0).then(mine),
        sent_at: UnixNanos(1_699_999_999_000_000_000),
        body,
    };
    bodies.into_iter().enumerate().map(wrap).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn commands_of_version_1_are_read_and_written_alike() {
    let commands = commands();
    let kinds: std::collections::BTreeSet<u8> = commands.iter().map(|command| command.body.number()).collect();
    assert_eq!(kinds, (1..=BODY_KINDS).collect(), "every kind has a fixture");
    let written: String = commands
        .iter()
        .map(|command| {
            let mut bytes = vec![];
            command.encode(&mut bytes);
            hex(&bytes) + "\n"
        })
        .collect();
    let fixture = include_str!("fixtures/commands-v1.txt");
    assert_eq!(written, fixture, "what this program writes:\n{written}");
    let read: Vec<Command> =
        fixture.lines().map(|line| Command::decode(&from_hex(line)).expect("a record of version 1")).collect();
    assert_eq!(read, commands);
}

#[test]
fn readers_skip_fields_they_do_not_know_and_refuse_newer_versions() {
    for command in commands() {
        let mut bytes = vec![];
        command.encode(&mut bytes);
        bytes.extend_from_slice(b"a field of the future");
        assert_eq!(Command::decode(&bytes), Ok(command));
        bytes[0] = 2;
        assert_eq!(Command::decode(&bytes), Err(CodecError::NewerVersion(2)));
        (bytes[0], bytes[1]) = (1, 200);
        assert_eq!(Command::decode(&bytes), Err(CodecError::UnknownKind(200)));
    }
}

#[test]
fn hostile_bytes_are_errors_and_never_panics() {
    let mut random = fastrand::Rng::with_seed(21);
    for command in commands() {
        let mut bytes = vec![];
        command.encode(&mut bytes);
        for end in 0..bytes.len() {
            assert!(Command::decode(&bytes[..end]).is_err(), "{command:?} cut at {end}");
        }
        for _ in 0..5_000 {
            let mut damaged = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..damaged.len());
                damaged[at] = random.u8(..);
            }
            // Whatever is read must be written and read again as the same.
            if let Ok(read) = Command::decode(&damaged) {
                let mut again = vec![];
                read.encode(&mut again);
                assert_eq!(Command::decode(&again), Ok(read));
            }
        }
    }
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        let _ = Command::decode(&noise);
    }
}

/// One record of every public topic, and of each kind of execution that differs in form.
fn topics() -> (Vec<Execution>, Vec<MarketTrade>, Vec<Posting>, Vec<InstrumentEvent>) {
    let view = OrderView {
        id: 17,
        instrument: instrument(),
        side: Side::Buy,
        kind: OrderKind::StopLimit,
        tif: TimeInForce::Gtd(UnixNanos(1_700_000_100_000_000_000)),
        price: Some(price("60000.5")),
        trigger: Some(price("60000")),
        quantity: quantity("0.5"),
        filled: quantity("0.2"),
        notional: "12000.1".parse().expect("a volume"),
        open: quantity("0.3"),
    };
    let volume = |text: &str| text.parse::<Volume>().expect("a volume");
    let mut trade = Execution::new(AccountId(3), 9, ExecutionKind::Trade);
    trade.client_order_id = Some("my-order.1".parse().expect("an id"));
    trade.order = Some(view);
    trade.fill = Some(Fill {
        trade_id: 5,
        last_price: price("60000.5"),
        last_quantity: quantity("0.2"),
        fee: volume("2.40002"),
        liquidity: Liquidity::Maker,
    });
    let mut rejected = Execution::new(AccountId(3), 10, ExecutionKind::Rejected);
    rejected.reason = Some(Reason::PriceOffTick);
    (rejected.given, rejected.limit) = (Some(volume("100.005")), Some(volume("0.01")));
    let mut again = Execution::new(AccountId(3), 11, ExecutionKind::Accepted);
    again.first = Some(40);
    again.order = Some(OrderView { tif: TimeInForce::Gtc, price: None, trigger: None, ..view });
    let mut done = Execution::new(AccountId(3), 12, ExecutionKind::Done);
    (done.asset, done.amount, done.transfer) = ("USDT".parse().ok(), Some(volume("3")), Some(77));
    let mut all = vec![trade, rejected, again, done];
    for kind in [
        ExecutionKind::Cancelled,
        ExecutionKind::Amended,
        ExecutionKind::Triggered,
        ExecutionKind::Decremented,
        ExecutionKind::Busted,
    ] {
        all.push(Execution::new(AccountId::HOUSE, 1, kind));
    }
    for (at, kind) in [OrderKind::Limit, OrderKind::Market, OrderKind::Stop, OrderKind::TrailingStop].iter().enumerate()
    {
        let tif = [TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Day][at];
        let mut execution = Execution::new(AccountId(4), at as u64, ExecutionKind::Cancelled);
        execution.reason = Some(Reason::IocRemainder);
        execution.order = Some(OrderView { kind: *kind, tif, side: Side::Sell, ..view });
        let liquidity = if at == 0 { Liquidity::Taker } else { Liquidity::Auction };
        execution.fill = Some(Fill { liquidity, ..trade.fill.expect("set above") });
        all.push(execution);
    }
    let market_trade = MarketTrade {
        instrument: instrument(),
        trade_id: 5,
        price: price("60000.5"),
        quantity: quantity("0.2"),
        taker_side: Side::Sell,
        maker_order: 17,
        taker_order: 18,
        auction: false,
        busted: true,
    };
    let posting = |kind| Posting {
        transfer: 33,
        account: AccountId(3),
        asset: "USDT".parse().expect("an asset"),
        kind,
        amount: volume("-12.5"),
        held_change: volume("-13"),
        available: volume("0.5"),
        held: Volume::ZERO,
        order_id: 17,
        trade_id: 5,
    };
    let postings = [
        PostingKind::Deposit,
        PostingKind::Withdrawal,
        PostingKind::Hold,
        PostingKind::Release,
        PostingKind::Trade,
        PostingKind::Fee,
        PostingKind::Transfer,
        PostingKind::Bust,
    ];
    let indicative = Indicative { price: price("60000"), quantity: volume("3"), surplus: volume("-0.5") };
    let event = InstrumentEvent {
        instrument: instrument(),
        kind: InstrumentEventKind::Indicative,
        phase: Phase::Auction,
        killed: false,
        last: Some(price("59999")),
        indicative: Some(indicative),
        rules: rules(),
    };
    let plain = InstrumentEvent { kind: InstrumentEventKind::Listed, last: None, indicative: None, ..event };
    (all, vec![market_trade], postings.map(posting).to_vec(), vec![event, plain])
}

/// Reads a line as serde does, and has serde write it again.
fn by_serde<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(line: &str, body: &T) {
    let read: Stamped<T> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(&read.body, body, "{line}");
    // The sentence of a rejection is made from its numbers and is no field of its own.
    let line = match line.split_once(",\"text\":\"") {
        Some((before, after)) => format!("{before}{}", after.split_once('"').expect("the text ends").1),
        None => line.to_owned(),
    };
    assert_eq!(serde_json::to_string(&read).expect("text"), line);
}

#[test]
fn topics_of_version_1_are_written_as_serde_would_and_read() {
    let ts = UnixNanos(1_700_000_000_123_456_789);
    let (executions, trades, postings, events) = topics();
    let mut lines: Vec<String> = vec![];
    let mut line = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = vec![];
        write(&mut bytes);
        let text = String::from_utf8(bytes).expect("text");
        lines.push(text.clone());
        text
    };
    for (at, body) in executions.iter().enumerate() {
        by_serde(&line(&|out| write_execution(body, &cause(at as u32), ts, out)), body);
    }
    for body in &trades {
        by_serde(&line(&|out| write_market_trade(body, &cause(0), ts, out)), body);
    }
    for body in &postings {
        by_serde(&line(&|out| write_posting(body, &cause(1), ts, out)), body);
    }
    for body in &events {
        by_serde(&line(&|out| write_instrument_event(body, &cause(0), ts, out)), body);
    }
    let head = BookHead { instrument: instrument(), sequence: 8, snapshot: true, complete: true, checksum: 0xabc };
    let volume = |text: &str| text.parse::<Volume>().expect("a volume");
    let level = |side, text, amount| LevelChange { side, price: price(text), quantity: volume(amount) };
    let levels = [level(Side::Sell, "101", "3"), level(Side::Buy, "100", "2.5"), level(Side::Buy, "99", "0")];
    let delta = BookDelta {
        instrument: instrument(),
        sequence: 8,
        snapshot: true,
        complete: true,
        checksum: "0000000000000abc".into(),
        bids: vec![(price("100"), volume("2.5")), (price("99"), Volume::ZERO)],
        asks: vec![(price("101"), volume("3"))],
    };
    by_serde(&line(&|out| write_book(&head, &levels, &cause(0), ts, out)), &delta);
    let written = lines.join("\n") + "\n";
    assert_eq!(written, include_str!("fixtures/topics-v1.jsonl"), "what this program writes:\n{written}");
}

#[test]
fn rules_that_cannot_be_are_refused() {
    assert_eq!(rules().check(), Ok(()));
    let change = |change: &dyn Fn(&mut MarketRules)| {
        let mut rules = rules();
        change(&mut rules);
        rules.check()
    };
    assert_eq!(change(&|rules| rules.tick = Price::ZERO), Err(RulesError::NotPositive("tick")));
    assert_eq!(change(&|rules| rules.lot = quantity("-1")), Err(RulesError::NotPositive("lot")));
    assert_eq!(change(&|rules| rules.min_notional = quantity("-1")), Err(RulesError::NotPositive("min_notional")));
    assert_eq!(change(&|rules| rules.tick = price("0.000001")), Err(RulesError::TickTimesLot));
    let huge = change(&|rules| (rules.tick, rules.lot) = (Price::MAX, quantity("9999999999")));
    assert_eq!(huge, Err(RulesError::TickTimesLot));
    assert_eq!(change(&|rules| rules.max_quantity = quantity("10000000.00001")), Err(RulesError::MaxQuantity));
    assert_eq!(change(&|rules| rules.reference = price("60000.001")), Err(RulesError::Reference));
    assert_eq!(change(&|rules| rules.taker_bps = 10_000), Err(RulesError::Bps("taker_bps")));
    assert_eq!(change(&|rules| rules.instrument = "BTC-BTC".parse().expect("it reads")), Err(RulesError::SameAsset));
}

#[test]
fn the_checksum_of_a_book_can_be_computed_by_anyone() {
    // By a few lines of Python from the formula alone: a bid and an ask of 1 at 100.
    assert_eq!(level_hash(Side::Buy, 10_000_000_000, 0), 0);
    assert_eq!(level_hash(Side::Buy, 10_000_000_000, 100_000_000), 0x590cae9a3678bfff);
    assert_eq!(level_hash(Side::Sell, 10_000_000_000, 100_000_000), 0xa57cfe020f9f0bea);
}
