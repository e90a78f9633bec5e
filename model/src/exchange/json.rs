//! The public topics as JSON text, written by hand: the same text that serde would write, at a fraction of the
//! time. A test holds the two together.

use std::borrow::Borrow;
use std::fmt::{self, Write};

use super::execution::{Execution, ExecutionKind, OrderView};
use super::market::InstrumentEvent;
use super::order::TimeInForce;
use super::output::{BookHead, LevelChange, MarketTrade, Posting, Stamped};
use crate::number::put_decimal;
use crate::record::Cause;
use crate::tick::Side;
use crate::time::UnixNanos;

/// Appends text to bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Text<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, value: impl itoa::Integer) {
        let mut buffer = itoa::Buffer::new();
        self.raw(buffer.format(value));
    }

    /// A value in quotes that needs no escaping: decimals, names, times.
    fn quoted(&mut self, value: &impl fmt::Display) {
        self.0.push(b'"');
        let _ = write!(self, "{value}");
        self.0.push(b'"');
    }

    fn field(&mut self, name: &str, value: &impl fmt::Display) {
        self.raw(name);
        self.quoted(value);
    }

    /// A text in quotes that needs no escaping, as names are.
    fn name(&mut self, name: &str, value: &str) {
        self.raw(name);
        self.0.push(b'"');
        self.raw(value);
        self.0.push(b'"');
    }

    fn optional(&mut self, name: &str, value: &Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// A number in units of 1e-8 as decimal text in quotes.
    fn decimal(&mut self, name: &str, raw: impl Into<i128>) {
        self.raw(name);
        self.0.push(b'"');
        put_decimal(raw.into(), self.0);
        self.0.push(b'"');
    }

    fn count(&mut self, name: &str, value: impl itoa::Integer) {
        self.raw(name);
        self.number(value);
    }

    fn truth(&mut self, name: &str, value: bool) {
        self.raw(name);
        self.raw(if value { "true" } else { "false" });
    }

    fn tail(&mut self, cause: &Cause, ts: UnixNanos) {
        self.name(",\"cause\":{\"topic\":", cause.topic.as_str());
        self.count(",\"partition\":", cause.partition);
        self.count(",\"offset\":", cause.offset);
        self.count(",\"index\":", cause.index);
        self.count("},\"ts_event\":", ts.0);
        self.0.push(b'}');
    }
}

/// Appends an execution of `orders`' record `cause`.
pub fn write_execution(execution: &Execution, cause: &Cause, ts: UnixNanos, out: &mut Vec<u8>) {
    let mut text = Text(out);
    text.count("{\"v\":1,\"account\":", execution.account.0);
    text.count(",\"sequence\":", execution.sequence);
    text.name(",\"kind\":", execution.kind.as_str());
    if let Some(id) = &execution.client_order_id {
        text.name(",\"client_order_id\":", id.as_str());
    }
    if let Some(reason) = execution.reason {
        text.name(",\"reason\":", reason.code());
    }
    text.optional(",\"given\":", &execution.given);
    text.optional(",\"limit\":", &execution.limit);
    if execution.kind == ExecutionKind::Rejected {
        // Sentences have no character that JSON would escape.
        text.optional(",\"text\":", &execution.text());
    }
    if let Some(first) = execution.first {
        text.count(",\"first\":", first);
    }
    if let Some(order) = &execution.order {
        text.raw(",\"order\":");
        write_order(&mut text, order);
    }
    if let Some(fill) = &execution.fill {
        text.count(",\"fill\":{\"trade_id\":", fill.trade_id);
        text.decimal(",\"last_price\":", fill.last_price.raw());
        text.decimal(",\"last_quantity\":", fill.last_quantity.raw());
        text.decimal(",\"fee\":", fill.fee.raw());
        text.name(",\"liquidity\":", fill.liquidity.as_str());
        text.raw("}");
    }
    text.optional(",\"asset\":", &execution.asset);
    text.optional(",\"amount\":", &execution.amount);
    if let Some(transfer) = execution.transfer {
        text.count(",\"transfer\":", transfer);
    }
    text.tail(cause, ts);
}

fn write_order(text: &mut Text<'_>, order: &OrderView) {
    text.count("{\"order_id\":", order.id);
    text.name(",\"instrument\":", order.instrument.as_str());
    text.name(",\"side\":", order.side.as_str());
    text.name(",\"type\":", order.kind.as_str());
    match order.tif {
        TimeInForce::Gtc => text.raw(",\"tif\":\"gtc\""),
        TimeInForce::Ioc => text.raw(",\"tif\":\"ioc\""),
        TimeInForce::Fok => text.raw(",\"tif\":\"fok\""),
        TimeInForce::Day => text.raw(",\"tif\":\"day\""),
        TimeInForce::Gtd(until) => {
            text.count(",\"tif\":{\"gtd\":", until.0);
            text.raw("}");
        }
    }
    if let Some(price) = order.price {
        text.decimal(",\"price\":", price.raw());
    }
    if let Some(trigger) = order.trigger {
        text.decimal(",\"trigger\":", trigger.raw());
    }
    text.decimal(",\"quantity\":", order.quantity.raw());
    text.decimal(",\"filled\":", order.filled.raw());
    text.decimal(",\"notional\":", order.notional.raw());
    text.decimal(",\"open\":", order.open.raw());
    text.raw("}");
}

/// Appends a trade.
pub fn write_market_trade(trade: &MarketTrade, cause: &Cause, ts: UnixNanos, out: &mut Vec<u8>) {
    let mut text = Text(out);
    text.name("{\"v\":1,\"instrument\":", trade.instrument.as_str());
    text.count(",\"trade_id\":", trade.trade_id);
    text.decimal(",\"price\":", trade.price.raw());
    text.decimal(",\"quantity\":", trade.quantity.raw());
    text.name(",\"taker_side\":", trade.taker_side.as_str());
    text.count(",\"maker_order\":", trade.maker_order);
    text.count(",\"taker_order\":", trade.taker_order);
    text.truth(",\"auction\":", trade.auction);
    text.truth(",\"busted\":", trade.busted);
    text.tail(cause, ts);
}

/// Appends a change of the book, or a snapshot of it.
pub fn write_book(
    head: &BookHead,
    levels: impl IntoIterator<Item: Borrow<LevelChange>> + Clone,
    cause: &Cause,
    ts: UnixNanos,
    out: &mut Vec<u8>,
) {
    let mut text = Text(out);
    text.name("{\"v\":1,\"instrument\":", head.instrument.as_str());
    text.count(",\"sequence\":", head.sequence);
    text.truth(",\"snapshot\":", head.snapshot);
    text.truth(",\"complete\":", head.complete);
    text.raw(",\"checksum\":\"");
    let _ = write!(text, "{:016x}\"", head.checksum);
    for (name, side) in [(",\"bids\":[", Side::Buy), (",\"asks\":[", Side::Sell)] {
        text.raw(name);
        let mut first = true;
        for level in levels.clone().into_iter().filter(|level| level.borrow().side == side) {
            let level = level.borrow();
            text.raw(if first { "[" } else { ",[" });
            first = false;
            text.decimal("", level.price.raw());
            text.raw(",");
            text.decimal("", level.quantity.raw());
            text.raw("]");
        }
        text.raw("]");
    }
    text.tail(cause, ts);
}

/// Appends a posting.
pub fn write_posting(posting: &Posting, cause: &Cause, ts: UnixNanos, out: &mut Vec<u8>) {
    let mut text = Text(out);
    text.count("{\"v\":1,\"transfer\":", posting.transfer);
    text.count(",\"account\":", posting.account.0);
    text.name(",\"asset\":", posting.asset.as_str());
    text.name(",\"kind\":", posting.kind.as_str());
    text.decimal(",\"amount\":", posting.amount.raw());
    text.decimal(",\"held_change\":", posting.held_change.raw());
    text.decimal(",\"available\":", posting.available.raw());
    text.decimal(",\"held\":", posting.held.raw());
    text.count(",\"order_id\":", posting.order_id);
    text.count(",\"trade_id\":", posting.trade_id);
    text.tail(cause, ts);
}

/// Appends an event of a market. These are rare, so serde writes them.
pub fn write_instrument_event(event: &InstrumentEvent, cause: &Cause, ts: UnixNanos, out: &mut Vec<u8>) {
    let record = Stamped { v: 1, body: *event, cause: *cause, ts_event: ts };
    serde_json::to_writer(out, &record).expect("a record of plain fields always becomes text");
}
