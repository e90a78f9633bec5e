//! What the state machine does: commands per CPU-second with ledger, limits, fees and reports, over 100,000
//! accounts and a full memory of a million client order ids; the same from the log's bytes, as at start; the
//! topics' JSON; snapshots with a million open orders. `cargo bench -p matcher --bench exchange`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use matcher::exchange::{Exchange, OutputTopic, Outputs};
use model::exchange::{
    AccountId, Command, CommandBody, ExchangeLimits, ExecutionKind, NewOrder, OrderRef, Phase, TimeInForce,
};
use model::{Instrument, Origin, Price, Quantity, Side, UnixNanos};

use listing::{ONE, amount, rules};

mod listing;

#[global_allocator]
static MEMORY: matcher::memory::LargePages<mimalloc::MiMalloc> = matcher::memory::LargePages(mimalloc::MiMalloc);

const MARKETS: usize = 8;
const BLOCK: usize = 1_000;

/// How large everything is.
#[derive(Clone, Copy)]
struct Scale {
    accounts: u32,
    ids: u32,
    warm: usize,
    commands: usize,
    runs: usize,
}

const FULL: Scale = Scale { accounts: 100_000, ids: 1_000_000, warm: 1_200_000, commands: 2_000_000, runs: 5 };
/// For counting instructions: `valgrind --tool=callgrind --toggle-collect='*apply_all*'` over the program with `small`.
const SMALL: Scale = Scale { accounts: 10_000, ids: 100_000, warm: 150_000, commands: 200_000, runs: 1 };

/// Nanoseconds that this thread has had a CPU.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split(' ').next().unwrap().parse().unwrap()
}

#[derive(Clone)]
struct Feed {
    random: fastrand::Rng,
    scale: Scale,
    offset: u64,
    markets: Vec<Instrument>,
    orders: u64,
    /// Orders that may be open: account, number.
    open: Vec<(AccountId, u64, Instrument)>,
}

impl Feed {
    fn wrap(&mut self, account: AccountId, named: bool, body: CommandBody) -> Command {
        let ts = UnixNanos(1_700_000_000_000_000_000 + self.offset as i64 * 5_000);
        let origin = Origin::Root { role: "api/1".parse().unwrap(), epoch: 0, sequence: self.offset };
        let request = named.then(|| format!("order-{:016x}", self.offset).parse().unwrap());
        self.offset += 1;
        Command { origin, ts, account, request, sent_at: ts, body }
    }

    fn price(&mut self) -> Price {
        let away = (self.random.f64().powi(3) * 400.0) as i64 - 8;
        let ticks = if self.random.bool() { 10_000 + away } else { 10_000 - away };
        Price::from_raw(ticks * (ONE / 100)).unwrap()
    }

    /// 50 % new, of which 15 % immediate; 41 % cancels; 9 % amends. Every command has a client order id.
    fn next(&mut self) -> Command {
        let draw = self.random.u32(0..100);
        if draw < 50 || self.open.len() < 1_000 {
            let account = AccountId(self.random.u32(1..=self.scale.accounts));
            let instrument = self.markets[self.random.usize(0..MARKETS)];
            let immediate = self.random.u32(0..100) < 15;
            let side = if self.random.bool() { Side::Buy } else { Side::Sell };
            let away = (self.random.f64().powi(3) * 400.0) as i64 + if immediate { -6 } else { -1 };
            let ticks = if side == Side::Buy { 10_000 - away } else { 10_000 + away };
            let price = Price::from_raw(ticks * (ONE / 100)).unwrap();
            let quantity = Quantity::from_raw(self.random.i64(1..100) * (ONE / 1_000)).unwrap();
            let mut order = NewOrder::limit(instrument, side, quantity, price);
            if immediate {
                order.tif = TimeInForce::Ioc;
            }
            // The number it will get if nothing is refused; the commands below tolerate that it is not so.
            self.orders += 1;
            self.open.push((account, self.orders, instrument));
            return self.wrap(account, true, CommandBody::Place(order));
        }
        let recent = self.open.len() - 1 - self.random.usize(0..self.open.len().min(4_000));
        if draw < 91 {
            let (account, id, _) = self.open.swap_remove(recent);
            return self.wrap(account, true, CommandBody::Cancel { order: OrderRef::Id(id) });
        }
        let (account, id, _) = self.open[recent];
        let (price, quantity) = (self.price(), Quantity::from_raw(self.random.i64(1..100) * (ONE / 1_000)).unwrap());
        let body =
            CommandBody::Amend { order: OrderRef::Id(id), price: Some(price), quantity: Some(quantity), trigger: None };
        self.wrap(account, true, body)
    }

    fn opening(&mut self) -> Vec<Command> {
        let mut all = vec![self.wrap(AccountId::HOUSE, false, CommandBody::Claim)];
        let limits = ExchangeLimits { open_orders_max: 10_000, ids_max: self.scale.ids, ..ExchangeLimits::default() };
        all.push(self.wrap(AccountId::HOUSE, false, CommandBody::Configure(limits)));
        for instrument in self.markets.clone() {
            all.push(self.wrap(AccountId::HOUSE, false, CommandBody::ListMarket(Box::new(rules(instrument)))));
            all.push(self.wrap(AccountId::HOUSE, false, CommandBody::SetPhase { instrument, phase: Phase::Open }));
        }
        for account in 1..=self.scale.accounts {
            let assets: Vec<String> = self.markets.iter().map(|market| market.base().to_owned()).collect();
            for asset in assets.iter().map(String::as_str).chain(["USDT"]) {
                let body = CommandBody::Deposit { asset: asset.parse().unwrap(), amount: amount(1_000_000) };
                all.push(self.wrap(AccountId(account), false, body));
            }
        }
        all
    }
}

fn warm_up(exchange: &mut Exchange, commands: &[Command], out: &mut Outputs) {
    for command in commands {
        exchange.apply(command_offset(command), command, out);
    }
}

#[inline(never)]
fn apply_all(exchange: &mut Exchange, commands: &[Command], out: &mut Outputs) -> u64 {
    let first = command_offset(&commands[0]);
    let start = cpu_ns();
    for (at, command) in commands.iter().enumerate() {
        if let Some(next) = commands.get(at + Exchange::PREFETCH[0]) {
            exchange.prefetch(0, next);
        }
        if let Some(next) = commands.get(at + Exchange::PREFETCH[1]) {
            exchange.prefetch(1, next);
        }
        exchange.apply(first + at as u64, command, out);
        black_box(&out);
    }
    cpu_ns() - start
}

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let (quick, scale) = (has("quick") || has("small"), if has("small") { SMALL } else { FULL });
    let markets = (0..MARKETS).map(|at| format!("C{at}-USDT").parse().unwrap()).collect();
    let mut feed = Feed { random: fastrand::Rng::with_seed(4), scale, offset: 0, markets, orders: 0, open: vec![] };
    let mut exchange = Exchange::new(7);
    let mut out = Outputs::default();
    for command in feed.opening() {
        exchange.apply(command_offset(&command), &command, &mut out);
        assert!(out.executions().all(|execution| execution.kind != ExecutionKind::Rejected), "{out:?}");
    }
    let warm: Vec<Command> = (0..scale.warm).map(|_| feed.next()).collect();
    warm_up(&mut exchange, &warm, &mut out);
    drop(warm);
    println!(
        "{} accounts, {MARKETS} markets, {} open orders, {} remembered ids, {:.0} MB in the large tables",
        scale.accounts,
        exchange.open_orders_count(),
        exchange.remembered_ids(),
        exchange.bytes() as f64 / 1e6
    );
    let mut figures = vec![];
    for _ in 0..scale.runs {
        let (mut fresh, mut feed) = (exchange.clone(), feed.clone());
        let mut spent = 0;
        // In blocks, as the log gives them: commands lie in the cache when they are applied.
        for _ in 0..scale.commands / BLOCK {
            let block: Vec<Command> = (0..BLOCK).map(|_| feed.next()).collect();
            spent += apply_all(&mut fresh, &block, &mut out);
        }
        figures.push(scale.commands as f64 / spent as f64 * 1e3);
    }
    figures.sort_by(f64::total_cmp);
    let (median, best) = (figures[figures.len() / 2], figures[figures.len() - 1]);
    println!("apply: {median:.2} M commands per CPU-second, median of {} (best {best:.2})", figures.len());
    if quick {
        return;
    }
    let commands: Vec<Command> = (0..scale.commands).map(|_| feed.next()).collect();
    let first = command_offset(&commands[0]);
    replay(&exchange, &commands, first);
    publish(&exchange, &commands, first);
    snapshots(&exchange);
}

/// The bench numbers its commands as the log would: the sequence is the offset.
fn command_offset(command: &Command) -> u64 {
    match &command.origin {
        Origin::Root { sequence, .. } => *sequence,
        Origin::Derived(cause) => cause.offset,
    }
}

/// From the log's bytes to the state, as at start.
fn replay(exchange: &Exchange, commands: &[Command], first: u64) {
    let mut bytes = vec![];
    let mut ends = vec![];
    for command in commands {
        command.encode(&mut bytes);
        ends.push(bytes.len());
    }
    let mut fresh = exchange.clone();
    let mut out = Outputs::default();
    let start = cpu_ns();
    // As the stage does it: each command is decoded once, some places ahead of its turn.
    let (mut from, mut next, mut ahead) = (0, 0, VecDeque::new());
    for at in 0..ends.len() {
        while next < ends.len().min(at + 16) {
            ahead.push_back(Command::decode(&bytes[from..ends[next]]).unwrap());
            (from, next) = (ends[next], next + 1);
        }
        for (stage, place) in Exchange::PREFETCH.into_iter().enumerate() {
            if let Some(command) = ahead.get(place) {
                fresh.prefetch(stage, command);
            }
        }
        let command = ahead.pop_front().unwrap();
        fresh.apply(first + at as u64, &command, &mut out);
    }
    let figure = commands.len() as f64 / (cpu_ns() - start) as f64 * 1e3;
    println!(
        "replay: {figure:.2} M commands per CPU-second, {:.0} bytes each",
        bytes.len() as f64 / commands.len() as f64
    );
}

/// With every record of every topic written as JSON.
fn publish(exchange: &Exchange, commands: &[Command], first: u64) {
    let mut fresh = exchange.clone();
    let mut out = Outputs::default();
    let (mut records, mut size, mut text) = (0u64, 0u64, vec![]);
    let (mut kinds, start) = ([0u64; 5], cpu_ns());
    for (at, command) in commands.iter().enumerate().take(500_000) {
        fresh.apply(first + at as u64, command, &mut out);
        text.clear();
        for (kind, topic) in OutputTopic::ALL.into_iter().enumerate() {
            for index in 0..out.len(topic) {
                out.write(topic, index, 0, &mut text);
                records += 1;
                kinds[kind] += 1;
            }
        }
        size += text.len() as u64;
    }
    let spent = (cpu_ns() - start) as f64;
    println!(
        "apply and write JSON: {:.2} M commands per CPU-second; {:.2} records a command (executions, trades, book, \
         ledger, instruments: {kinds:?}), {:.0} bytes each",
        500_000.0 / spent * 1e3,
        records as f64 / 500_000.0,
        size as f64 / records as f64
    );
}

/// With a million open orders: how long the stage stands still for a snapshot, and how long the rest takes.
fn snapshots(exchange: &Exchange) {
    let mut exchange = exchange.clone();
    let mut out = Outputs::default();
    let (mut offset, mut account) = (exchange.applied().unwrap() + 1, 0);
    let instrument = "C0-USDT".parse().unwrap();
    while exchange.open_orders_count() < 1_000_000 {
        account = account % FULL.accounts + 1;
        let price = Price::from_raw((9_000 - offset as i64 % 2_000) * (ONE / 100)).unwrap();
        let order = NewOrder::limit(instrument, Side::Buy, Quantity::from_raw(ONE / 1_000).unwrap(), price);
        let ts = UnixNanos(exchange.clock().0 + 1_000);
        let origin = Origin::Root { role: "api/1".parse().unwrap(), epoch: 0, sequence: offset };
        let request = format!("snap-{offset}").parse().ok();
        let body = CommandBody::Place(order);
        let command = Command { origin, ts, account: AccountId(account), request, sent_at: ts, body };
        exchange.apply(offset, &command, &mut out);
        offset += 1;
    }
    println!("1,000,000 open orders: {:.0} MB in the large tables", exchange.bytes() as f64 / 1e6);
    let clock = Instant::now();
    let bytes = exchange.encode();
    println!("encode: {:.0} ms, {:.0} MB", clock.elapsed().as_secs_f64() * 1e3, bytes.len() as f64 / 1e6);
    let clock = Instant::now();
    let twin = Exchange::decode(&bytes).unwrap();
    println!("decode: {:.0} ms", clock.elapsed().as_secs_f64() * 1e3);
    let clock = Instant::now();
    assert_eq!(twin.state_hash(), exchange.state_hash());
    println!("two state hashes: {:.0} ms", clock.elapsed().as_secs_f64() * 1e3);
}
