//! `orders`: the commands that the exchange was given.

use model::exchange::{
    Command, CommandBody, ExchangeLimits, KillScope, MarketRules, NewOrder, OrderRef, SelfTrade, TimeInForce, Trail,
};
use model::{Instrument, Origin, Price, Quantity, UnixNanos};

use super::columns::columns;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long};
use super::ticks::cause_partition;

columns! {
    /// Columns of `orders`.
    Columns {
        kind: Text = "place, place_oco, amend, cancel, cancel_all, cancel_all_after, deposit, withdraw, settle, transfer, list_market, set_phase, kill, bust, set_account, configure, clock or claim";
        account: Long = "On whose behalf; 0 is the house";
        request: Text null = "What the client calls it; for an order its client order id";
        sent_at: Time = "When the client first sent it";
        symbol: Text null = "Instrument, BASE-QUOTE";
        side: Text null = "buy or sell";
        order_type: Text null = "limit, market, stop, stop_limit or trailing_stop";
        tif: Text null = "gtc, ioc, fok, gtd or day";
        good_till: Time null = "gtd: until when";
        quantity: Amount null = "Base units; for a deposit, withdrawal or transfer the amount";
        quote_amount: Amount null = "Market order by quote amount: quote units";
        price: Money null = "The limit or protection price";
        trigger: Money null = "Stop: its trigger price";
        trail: Money null = "Trailing stop: how far behind, as a price";
        trail_bps: Long null = "Trailing stop: how far behind, in parts of ten thousand";
        display: Amount null = "Iceberg: what shows at a time";
        post_only: Flag null = "Rejected rather than taking";
        self_trade: Text null = "allow, cancel_newest, cancel_oldest, cancel_both or decrement, where it is not the market's";
        order_id: Long null = "Amend, cancel: the order by our number";
        client_order_id: Text null = "Amend, cancel: the order by the client order id that placed it";
        asset: Text null = "Deposit, withdrawal, transfer: what";
        other_account: Long null = "Transfer: to whom. Kill switch, limits: whose";
        number: Long null = "Settle: the transfer. Bust: the trade";
        on: Flag null = "Kill switch thrown, withdrawal pending, settlement posted";
        phase: Text null = "Phase of a market from here on";
        deadline: Time null = "Cancel all after: when";
        detail: Text null = "The second order of a pair, rules of a market or limits of the exchange, as JSON";
        role: Text null = "Who wrote a root record";
        epoch: Long null = "Offset of the writer's claim";
        sequence: Long null = "Position since the claim";
        cause_partition: Int null = "Partition of the record that a derived command follows from";
        cause_offset: Long null = "Its offset";
    }
}

/// What a command may say.
#[derive(Default)]
struct Cells<'a> {
    kind: &'static str,
    order: Option<&'a NewOrder>,
    symbol: Option<Instrument>,
    quantity: Option<Quantity>,
    price: Option<Price>,
    target: Option<&'a OrderRef>,
    asset: Option<&'a str>,
    other_account: Option<i64>,
    number: Option<i64>,
    on: Option<bool>,
    phase: Option<&'static str>,
    deadline: Option<UnixNanos>,
    detail: Option<String>,
}

pub(super) const fn tif(tif: TimeInForce) -> (&'static str, Option<UnixNanos>) {
    match tif {
        TimeInForce::Gtc => ("gtc", None),
        TimeInForce::Ioc => ("ioc", None),
        TimeInForce::Fok => ("fok", None),
        TimeInForce::Gtd(until) => ("gtd", Some(until)),
        TimeInForce::Day => ("day", None),
    }
}

/// The second order of a pair as JSON.
fn stop_of_pair(order: &NewOrder) -> String {
    let text = |price: Option<Price>| price.map(|price| price.to_string());
    serde_json::json!({
        "side": order.side.as_str(),
        "order_type": order.kind.as_str(),
        "tif": tif(order.tif).0,
        "quantity": order.quantity.to_string(),
        "price": text(order.price),
        "trigger": text(order.trigger),
    })
    .to_string()
}

fn rules(rules: &MarketRules) -> String {
    serde_json::json!({
        "tick": rules.tick.to_string(),
        "lot": rules.lot.to_string(),
        "min_notional": rules.min_notional.to_string(),
        "max_notional": rules.max_notional.to_string(),
        "max_quantity": rules.max_quantity.to_string(),
        "band_bps": rules.band_bps,
        "protection_bps": rules.protection_bps,
        "maker_fee_bps": rules.maker_bps,
        "taker_fee_bps": rules.taker_bps,
        "self_trade": rules.self_trade.as_str(),
        "reference": rules.reference.to_string(),
    })
    .to_string()
}

fn limits(limits: &ExchangeLimits) -> String {
    serde_json::to_string(limits).expect("plain numbers")
}

fn cells(body: &CommandBody) -> Result<Cells<'_>, RowError> {
    let of = |kind| Cells { kind, ..Cells::default() };
    let order = |kind, order: &'_ NewOrder| Cells { symbol: Some(order.instrument), ..of_order(kind, order.price) };
    fn of_order<'a>(kind: &'static str, price: Option<Price>) -> Cells<'a> {
        Cells { kind, price, ..Cells::default() }
    }
    Ok(match body {
        CommandBody::Place(one) => Cells { order: Some(one), quantity: Some(one.quantity), ..order("place", one) },
        CommandBody::PlaceOco(pair) => Cells {
            order: Some(&pair.0),
            quantity: Some(pair.0.quantity),
            detail: Some(stop_of_pair(&pair.1)),
            ..order("place_oco", &pair.0)
        },
        CommandBody::Amend { order, price, quantity, .. } => {
            Cells { target: Some(order), price: *price, quantity: *quantity, ..of("amend") }
        }
        CommandBody::Cancel { order } => Cells { target: Some(order), ..of("cancel") },
        CommandBody::CancelAll { instrument } => Cells { symbol: *instrument, ..of("cancel_all") },
        CommandBody::CancelAllAfter { deadline } => Cells { deadline: *deadline, ..of("cancel_all_after") },
        CommandBody::Deposit { asset, amount } => {
            Cells { asset: Some(asset.as_str()), quantity: Some(*amount), ..of("deposit") }
        }
        CommandBody::Withdraw { asset, amount, pending } => {
            Cells { asset: Some(asset.as_str()), quantity: Some(*amount), on: Some(*pending), ..of("withdraw") }
        }
        CommandBody::Settle { transfer, post } => {
            Cells { number: Some(long("transfer", *transfer)?), on: Some(*post), ..of("settle") }
        }
        CommandBody::Transfer { to, asset, amount } => Cells {
            other_account: Some(i64::from(to.0)),
            asset: Some(asset.as_str()),
            quantity: Some(*amount),
            ..of("transfer")
        },
        CommandBody::ListMarket(market) => {
            Cells { symbol: Some(market.instrument), detail: Some(rules(market)), ..of("list_market") }
        }
        CommandBody::SetPhase { instrument, phase: to } => {
            Cells { symbol: Some(*instrument), phase: Some(to.as_str()), ..of("set_phase") }
        }
        CommandBody::Kill { scope, on } => {
            let (other_account, symbol) = match scope {
                KillScope::Account(account) => (Some(i64::from(account.0)), None),
                KillScope::Market(instrument) => (None, Some(*instrument)),
            };
            Cells { other_account, symbol, on: Some(*on), ..of("kill") }
        }
        CommandBody::Bust { instrument, trade } => {
            Cells { symbol: Some(*instrument), number: Some(long("trade", *trade)?), ..of("bust") }
        }
        CommandBody::SetAccount { account, open_orders_max } => Cells {
            other_account: Some(i64::from(account.0)),
            number: open_orders_max.map(i64::from),
            ..of("set_account")
        },
        CommandBody::Configure(all) => Cells { detail: Some(limits(all)), ..of("configure") },
        CommandBody::Clock => of("clock"),
        CommandBody::Claim => of("claim"),
    })
}

impl Reads for Columns {
    fn read(&mut self, offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let command = Command::decode(bytes)?;
        let cells = cells(&command.body)?;
        let order_id = match cells.target {
            Some(OrderRef::Id(id)) => Some(long("order_id", *id)?),
            _ => None,
        };
        let root = match &command.origin {
            Origin::Root { epoch, sequence, .. } => Some((long("epoch", *epoch)?, long("sequence", *sequence)?)),
            Origin::Derived(_) => None,
        };
        let cause = match &command.origin {
            Origin::Root { .. } => None,
            Origin::Derived(cause) => Some((cause_partition(cause)?, long("cause offset", cause.offset)?)),
        };
        if !marks.admit(offset, &command.origin) {
            return Ok(None);
        }
        self.kind.put(cells.kind);
        self.account.put(i64::from(command.account.0));
        self.request.maybe(command.request.as_ref().map(model::exchange::ClientOrderId::as_str));
        self.sent_at.put(command.sent_at);
        self.order(cells.order);
        self.order_id.maybe(order_id);
        self.put(&cells);
        let role = match &command.origin {
            Origin::Root { role, .. } => Some(role.as_str()),
            Origin::Derived(_) => None,
        };
        self.role.maybe(role);
        self.epoch.maybe(root.map(|(epoch, _)| epoch));
        self.sequence.maybe(root.map(|(_, sequence)| sequence));
        self.cause_partition.maybe(cause.map(|(partition, _)| partition));
        self.cause_offset.maybe(cause.map(|(_, offset)| offset));
        Ok(Some(Stamp { event: command.ts, received: Some(command.ts) }))
    }
}

impl Columns {
    /// What only a new order says.
    fn order(&mut self, order: Option<&NewOrder>) {
        let (tif, until) = order.map(|order| tif(order.tif)).unzip();
        self.side.maybe(order.map(|order| order.side.as_str()));
        self.order_type.maybe(order.map(|order| order.kind.as_str()));
        self.tif.maybe(tif);
        self.good_till.maybe(until.flatten());
        self.quote_amount.maybe(order.map(|order| order.quote_amount).filter(|amount| *amount != Quantity::ZERO));
        self.trigger.maybe(order.and_then(|order| order.trigger));
        let (price, bps) = match order.and_then(|order| order.trail) {
            Some(Trail::Price(price)) => (Some(price), None),
            Some(Trail::Bps(bps)) => (None, Some(i64::from(bps))),
            None => (None, None),
        };
        self.trail.maybe(price);
        self.trail_bps.maybe(bps);
        self.display.maybe(order.and_then(|order| order.display));
        self.post_only.maybe(order.map(|order| order.post_only));
        self.self_trade.maybe(order.and_then(|order| order.self_trade).map(SelfTrade::as_str));
    }

    fn put(&mut self, cells: &Cells<'_>) {
        self.symbol.maybe(cells.symbol.as_ref().map(Instrument::as_str));
        self.quantity.maybe(cells.quantity);
        self.price.maybe(cells.price);
        self.client_order_id.maybe(match cells.target {
            Some(OrderRef::Client(id)) => Some(id.as_str()),
            _ => None,
        });
        self.asset.maybe(cells.asset);
        self.other_account.maybe(cells.other_account);
        self.number.maybe(cells.number);
        self.on.maybe(cells.on);
        self.phase.maybe(cells.phase);
        self.deadline.maybe(cells.deadline);
        self.detail.maybe(cells.detail.as_deref());
    }
}
