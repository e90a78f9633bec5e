//! Runs the tables in `tests/cases`, which say in traders' words what the exchange does. Their format is described
//! in `tests/cases/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use matcher::exchange::{Exchange, Outputs};
use model::exchange::{
    AccountId, Command, CommandBody, Execution, ExecutionKind, InstrumentEventKind, KillScope, MarketRules, NewOrder,
    OrderKind, OrderRef, Phase, SelfTrade, TimeInForce, Trail,
};
use model::{Origin, Price, Quantity, Side, UnixNanos, Volume};

const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

#[test]
fn the_tables_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cases"));
    files.sort();
    let mut cases = 0;
    let mut failures = vec![];
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut stage = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.split("  #").next().unwrap_or_default().trim_end();
            let place = format!("{file}:{}", at + 1);
            if line.trim().is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix("case ") {
                cases += 1;
                finish(stage.replace(Stage::new()), &mut failures);
                println!("{place}: {name}");
            } else if let Err(problem) = stage.as_mut().expect("a line outside a case").line(line.trim()) {
                failures.push(format!("{place}: {}\n    {problem}", line.trim()));
            }
        }
        finish(stage, &mut failures);
    }
    assert!(failures.is_empty(), "{} lines do not hold:\n{}", failures.len(), failures.join("\n"));
    assert!(cases >= 60, "{cases} cases");
}

fn finish(stage: Option<Stage>, failures: &mut Vec<String>) {
    let Some(stage) = stage else { return };
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.exchange.verify())) {
        failures.push(format!("the state after the case: {:?}", panic.downcast_ref::<String>()));
    }
}

/// One case: an exchange with one market, and who is who.
struct Stage {
    exchange: Exchange,
    out: Outputs,
    offset: u64,
    now: i64,
    rules: MarketRules,
    accounts: BTreeMap<String, u32>,
    /// Every transfer's number, in the order of the withdrawals.
    transfers: Vec<u64>,
}

type Told = Result<(), String>;

impl Stage {
    fn new() -> Self {
        let rules = MarketRules {
            instrument: "BTC-USDT".parse().unwrap(),
            tick: "0.5".parse().unwrap(),
            lot: "0.01".parse().unwrap(),
            min_notional: "1".parse().unwrap(),
            max_notional: "1000000".parse().unwrap(),
            max_quantity: "20000".parse().unwrap(),
            band_bps: 0,
            protection_bps: 1_000,
            maker_bps: 0,
            taker_bps: 0,
            self_trade: SelfTrade::CancelNewest,
            reference: "100".parse().unwrap(),
        };
        let mut stage = Self {
            exchange: Exchange::new(1),
            out: Outputs::default(),
            offset: 0,
            now: START,
            rules,
            accounts: BTreeMap::new(),
            transfers: vec![],
        };
        stage.send(0, None, CommandBody::Claim);
        stage.send(0, None, CommandBody::ListMarket(Box::new(rules)));
        let phase = CommandBody::SetPhase { instrument: rules.instrument, phase: Phase::Open };
        stage.send(0, None, phase);
        stage
    }

    fn account(&mut self, name: &str) -> u32 {
        if name == "house" {
            return 0;
        }
        let next = self.accounts.len() as u32 + 1;
        *self.accounts.entry(name.to_owned()).or_insert(next)
    }

    fn name_of(&self, account: AccountId) -> &str {
        let known = self.accounts.iter().find(|(_, number)| **number == account.0);
        known.map_or("house", |(name, _)| name.as_str())
    }

    fn send(&mut self, account: u32, request: Option<&str>, body: CommandBody) {
        let origin = Origin::Root { role: "cases/1".parse().unwrap(), epoch: 0, sequence: self.offset };
        let ts = UnixNanos(self.now);
        let request = request.map(|text| text.parse().unwrap());
        let command = Command { origin, ts, account: AccountId(account), request, sent_at: ts, body };
        self.exchange.apply(self.offset, &command, &mut self.out);
        self.offset += 1;
    }

    /// Carries out a line and compares.
    fn line(&mut self, line: &str) -> Told {
        let (left, right) = match line.split_once("->") {
            Some((left, right)) => (left.trim(), Some(right.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = left.split_whitespace().collect();
        if let Some(told) = self.check(&words, left) {
            return told;
        }
        self.carry_out(&words)?;
        let told = self.told();
        match right {
            Some(right) => same(&told, right),
            None if told.contains("rejected") => Err(format!("unexpectedly {told}")),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, words: &[&str]) -> Told {
        let instrument = self.rules.instrument;
        match words {
            ["rules", rest @ ..] => return self.change_rules(rest),
            ["wait", time] => {
                self.now += seconds(time)?;
                self.send(0, None, CommandBody::Clock);
            }
            ["market", phase] => {
                let phase = match *phase {
                    "pre-open" => Phase::PreOpen,
                    "auction" => Phase::Auction,
                    "open" => Phase::Open,
                    "halted" => Phase::Halted,
                    "closed" => Phase::Closed,
                    other => return Err(format!("no phase {other}")),
                };
                self.send(0, None, CommandBody::SetPhase { instrument, phase });
            }
            [verb @ ("kill" | "release"), who] => {
                let scope = match *who {
                    "market" => KillScope::Market(instrument),
                    name => KillScope::Account(AccountId(self.account(name))),
                };
                self.send(0, None, CommandBody::Kill { scope, on: *verb == "kill" });
            }
            ["limit", who, "to", most, "orders"] => {
                let account = AccountId(self.account(who));
                let open_orders_max = Some(parsed(most)?);
                self.send(0, None, CommandBody::SetAccount { account, open_orders_max });
            }
            [who, "busts", trade] => {
                let account = self.account(who);
                let trade = parsed(trade.trim_start_matches('t'))?;
                self.send(account, None, CommandBody::Bust { instrument, trade });
            }
            [who, rest @ ..] => return self.act(who, rest),
            [] => {}
        }
        Ok(())
    }

    fn act(&mut self, who: &str, words: &[&str]) -> Told {
        let account = self.account(who);
        let (words, request) = match words {
            [rest @ .., "as", id] => (rest, Some(*id)),
            all => (all, None),
        };
        let body = match words {
            ["deposits", amount, asset] => CommandBody::Deposit { asset: parsed(asset)?, amount: parsed(amount)? },
            ["withdraws", amount, asset, rest @ ..] => CommandBody::Withdraw {
                asset: parsed(asset)?,
                amount: parsed(amount)?,
                pending: rest.first() == Some(&"later"),
            },
            [verb @ ("posts" | "voids"), number] => {
                let at: usize = parsed(number.trim_start_matches('w'))?;
                let transfer = self.transfers.get(at.wrapping_sub(1)).copied().unwrap_or(u64::MAX);
                CommandBody::Settle { transfer, post: *verb == "posts" }
            }
            ["sends", amount, asset, "to", other] => CommandBody::Transfer {
                to: AccountId(self.account(other)),
                asset: parsed(asset)?,
                amount: parsed(amount)?,
            },
            ["cancels", "all"] => CommandBody::CancelAll { instrument: None },
            ["cancels", order] => CommandBody::Cancel { order: order_ref(order)? },
            ["cancels", "all", "after", time] => {
                CommandBody::CancelAllAfter { deadline: Some(UnixNanos(self.now + seconds(time)?)) }
            }
            ["keeps", "all"] => CommandBody::CancelAllAfter { deadline: None },
            ["amends", order, "to", rest @ ..] => amendment(order, rest)?,
            [side @ ("buys" | "sells"), rest @ ..] => self.order(side, rest)?,
            _ => return Err("no such command".into()),
        };
        self.send(account, request, body);
        let transfers = self.out.executions().filter(|execution| execution.kind == ExecutionKind::Done);
        if words.first() == Some(&"withdraws") {
            self.transfers.extend(transfers.filter_map(|execution| execution.transfer));
        }
        Ok(())
    }

    fn order(&self, side: &str, words: &[&str]) -> Result<CommandBody, String> {
        let side = if side == "buys" { Side::Buy } else { Side::Sell };
        let halves: Vec<&[&str]> = words.split(|word| *word == "or").collect();
        let first = self.one_order(side, halves[0], None)?;
        match halves.get(1) {
            None => Ok(CommandBody::Place(first)),
            Some(second) => {
                Ok(CommandBody::PlaceOco(Box::new((first, self.one_order(side, second, Some(first.quantity))?))))
            }
        }
    }

    fn one_order(&self, side: Side, words: &[&str], quantity: Option<Quantity>) -> Result<NewOrder, String> {
        let mut order = NewOrder::limit(self.rules.instrument, side, quantity.unwrap_or(Quantity::ZERO), Price::ZERO);
        order.price = None;
        order.kind = OrderKind::Market;
        let mut tif = None;
        let mut words = words.iter().copied().peekable();
        if quantity.is_none() {
            order.quantity = parsed(words.next().unwrap_or_default())?;
        }
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word {
                "USDT" => (order.quote_amount, order.quantity) = (order.quantity, Quantity::ZERO),
                "market" => order.kind = OrderKind::Market,
                "@" => {
                    order.price = Some(parsed(value()?)?);
                    order.kind = if order.trigger.is_some() { OrderKind::StopLimit } else { OrderKind::Limit };
                }
                "protect" => order.price = Some(parsed(value()?)?),
                "stop" => {
                    order.trigger = Some(parsed(value()?)?);
                    order.kind = if order.price.is_some() { OrderKind::StopLimit } else { OrderKind::Stop };
                }
                "trail" => {
                    let text = value()?;
                    order.kind = OrderKind::TrailingStop;
                    order.trail = Some(match text.strip_suffix("bps") {
                        Some(bps) => Trail::Bps(parsed(bps)?),
                        None => Trail::Price(parsed(text)?),
                    });
                }
                "show" => order.display = Some(parsed(value()?)?),
                "post-only" => order.post_only = true,
                "ioc" => tif = Some(TimeInForce::Ioc),
                "fok" => tif = Some(TimeInForce::Fok),
                "day" => tif = Some(TimeInForce::Day),
                "for" => tif = Some(TimeInForce::Gtd(UnixNanos(self.now + seconds(value()?)?))),
                "allow-self" => order.self_trade = Some(SelfTrade::Allow),
                "cancel-newest" => order.self_trade = Some(SelfTrade::CancelNewest),
                "cancel-oldest" => order.self_trade = Some(SelfTrade::CancelOldest),
                "cancel-both" => order.self_trade = Some(SelfTrade::CancelBoth),
                "decrement" => order.self_trade = Some(SelfTrade::Decrement),
                other => return Err(format!("no word {other:?} in an order")),
            }
        }
        order.tif = tif.unwrap_or(TimeInForce::Gtc);
        Ok(order)
    }

    fn change_rules(&mut self, words: &[&str]) -> Told {
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err("a rule needs a value".into()) };
            match *name {
                "maker" => self.rules.maker_bps = parsed(value)?,
                "taker" => self.rules.taker_bps = parsed(value)?,
                "band" => self.rules.band_bps = parsed(value)?,
                "protection" => self.rules.protection_bps = parsed(value)?,
                "tick" => self.rules.tick = parsed(value)?,
                "min-notional" => self.rules.min_notional = parsed(value)?,
                "max-notional" => self.rules.max_notional = parsed(value)?,
                "max-quantity" => self.rules.max_quantity = parsed(value)?,
                "reference" => self.rules.reference = parsed(value)?,
                other => return Err(format!("no rule {other}")),
            }
        }
        self.send(0, None, CommandBody::ListMarket(Box::new(self.rules)));
        Ok(())
    }

    /// What the last command brought, in the words of the tables.
    fn told(&self) -> String {
        let mut words: Vec<String> = vec![];
        for (at, execution) in self.out.executions().enumerate() {
            match execution.kind {
                ExecutionKind::Trade => words.extend(self.told_trade(at, &execution)),
                ExecutionKind::Done if self.out.executions().len() > 1 => {}
                _ => words.push(self.told_one(&execution)),
            }
        }
        for event in self.out.instruments() {
            match (event.kind, event.indicative) {
                (InstrumentEventKind::Indicative, Some(it)) => {
                    words.push(format!("indicative {}@{} surplus {}", it.quantity, it.price, it.surplus));
                }
                (InstrumentEventKind::Indicative, None) => words.push("indicative none".into()),
                _ => {}
            }
        }
        if words.is_empty() { "nothing".into() } else { words.join(", ") }
    }

    /// A trade is told once, with its second execution: `1@100 #1 x #2`, the maker first.
    fn told_trade(&self, at: usize, execution: &Execution) -> Option<String> {
        let fill = execution.fill?;
        let same = |other: &Execution| {
            other.kind == ExecutionKind::Trade && other.fill.is_some_and(|it| it.trade_id == fill.trade_id)
        };
        let first = self.out.executions().take(at).find(same)?;
        let (maker, taker) = (first.order?.id, execution.order?.id);
        Some(format!("{}@{} #{maker} x #{taker}", fill.last_quantity, fill.last_price))
    }

    fn told_one(&self, execution: &Execution) -> String {
        let again = if execution.first.is_some() { "again " } else { "" };
        let order = execution.order.map(|order| format!("#{}", order.id)).unwrap_or_default();
        let reason = execution.reason.map(|reason| format!(" {}", reason.code())).unwrap_or_default();
        let text = match execution.kind {
            ExecutionKind::Accepted => format!("accepted {order}"),
            ExecutionKind::Rejected => format!("rejected{reason}"),
            ExecutionKind::Cancelled => format!("cancelled {order}{reason}"),
            ExecutionKind::Amended => format!("amended {order}"),
            ExecutionKind::Triggered => format!("triggered {order}"),
            ExecutionKind::Decremented => {
                format!("decremented {order} to {}", execution.order.map(|order| order.open).unwrap_or_default())
            }
            ExecutionKind::Busted => format!("busted for {}", self.name_of(execution.account)),
            ExecutionKind::Done => "done".into(),
            ExecutionKind::Trade => "trade".into(),
        };
        format!("{again}{text}")
    }

    /// Lines that only look.
    fn check(&mut self, words: &[&str], line: &str) -> Option<Told> {
        match words {
            ["book", ..] => Some(self.check_book(line)),
            ["last", price] => {
                let market = self.exchange.market(&self.rules.instrument).unwrap();
                let last = market.last.map_or("none".to_owned(), |price| price.to_string());
                Some(same(&last, price))
            }
            ["#0" | "order", ..] => None,
            [order, rest @ ..] if order.starts_with('#') => Some(self.check_order(order, rest)),
            [who, "has", rest @ ..] => Some(self.check_balance(who, rest)),
            [who, "position", rest @ ..] => Some(self.check_position(who, rest)),
            _ => None,
        }
    }

    fn check_book(&self, line: &str) -> Told {
        let book = self.exchange.book(&self.rules.instrument, 100).unwrap();
        let side = |levels: &[(Price, Volume)]| {
            levels.iter().map(|(price, quantity)| format!("{quantity}@{price}")).collect::<Vec<_>>().join(" ")
        };
        let found = format!("book {} | {}", side(&book.bids), side(&book.asks));
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        same(&squeeze(&found), &squeeze(line))
    }

    /// `#1 open 2 trigger 95 filled 1 quantity 3 @ 100` or `#1 gone`.
    fn check_order(&self, order: &str, words: &[&str]) -> Told {
        let id = parsed(order.trim_start_matches('#'))?;
        let Some((_, view)) = self.exchange.order(id) else {
            return same("gone", &words.join(" "));
        };
        for pair in words.chunks(2) {
            let [what, value] = pair else { return Err(format!("{order} is there")) };
            let text = |value: Option<String>| value.unwrap_or("none".into());
            let found = match *what {
                "open" => view.open.to_string(),
                "filled" => view.filled.to_string(),
                "quantity" => view.quantity.to_string(),
                "@" => text(view.price.map(|price| price.to_string())),
                "trigger" => text(view.trigger.map(|price| price.to_string())),
                other => return Err(format!("an order has no {other}")),
            };
            same(&found, value)?;
        }
        Ok(())
    }

    /// `alice has 100 USDT` or `alice has 100 USDT and holds 50`.
    fn check_balance(&mut self, who: &str, words: &[&str]) -> Told {
        let account = AccountId(self.account(who));
        let (amount, asset, held) = match words {
            [amount, asset] => (amount, asset, "0"),
            [amount, asset, "and", "holds", held] => (amount, asset, *held),
            _ => return Err("as in: alice has 100 USDT and holds 50".into()),
        };
        let found = self.exchange.balances(account).find(|(name, _)| name.as_str() == *asset);
        let balance = found.map(|(_, balance)| balance).unwrap_or_default();
        let (available, holds) = (Volume::from_raw(balance.available), Volume::from_raw(balance.held));
        same(&format!("{available} and holds {holds}"), &format!("{amount} and holds {held}"))
    }

    /// `alice position 2 cost 200 average 100 realised 5`.
    fn check_position(&mut self, who: &str, words: &[&str]) -> Told {
        let account = AccountId(self.account(who));
        let position = self.exchange.positions(account).next().map(|(_, position)| position).unwrap_or_default();
        let average = position.average_cost().map_or("none".to_owned(), |price| price.to_string());
        let mut pairs = vec!["quantity"];
        pairs.extend(words);
        for pair in pairs.chunks(2) {
            let found = match pair[0] {
                "quantity" => Volume::from_raw(position.quantity).to_string(),
                "cost" => Volume::from_raw(position.cost).to_string(),
                "realised" => Volume::from_raw(position.realised).to_string(),
                "average" => average.clone(),
                other => return Err(format!("a position has no {other}")),
            };
            same(&found, pair[1])?;
        }
        Ok(())
    }
}

fn same(found: &str, expected: &str) -> Told {
    if found == expected { Ok(()) } else { Err(format!("came out: {found}")) }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} cannot be read"))
}

fn seconds(text: &str) -> Result<i64, String> {
    let text = text.strip_suffix('s').ok_or("a time as in 60s")?;
    Ok(parsed::<i64>(text)? * SECOND)
}

fn order_ref(text: &str) -> Result<OrderRef, String> {
    match text.strip_prefix('#') {
        Some(number) => Ok(OrderRef::Id(parsed(number)?)),
        None => Ok(OrderRef::Client(parsed(text)?)),
    }
}

/// `3`, `@ 99`, `3 @ 99` or `stop 95`, which may stand behind each of them.
fn amendment(order: &str, words: &[&str]) -> Result<CommandBody, String> {
    let (words, trigger) = match words {
        [words @ .., "stop", trigger] => (words, Some(parsed(trigger)?)),
        words => (words, None),
    };
    let (quantity, price) = match words {
        [] if trigger.is_some() => (None, None),
        ["@", price] => (None, Some(parsed(price)?)),
        [quantity] => (Some(parsed(quantity)?), None),
        [quantity, "@", price] => (Some(parsed(quantity)?), Some(parsed(price)?)),
        _ => return Err("as in: amends #1 to 3 @ 99".into()),
    };
    Ok(CommandBody::Amend { order: order_ref(order)?, price, quantity, trigger })
}
