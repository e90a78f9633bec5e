//! `executions`: what became of each command and of each order.

use model::exchange::{Execution, Fill, OrderView, Stamped};

use super::Table;
use super::columns::columns;
use super::marks::Marks;
use super::orders::tif;
use super::rows::{Reads, RowError, Stamp, long, wide};
use super::ticks::cause_partition;

columns! {
    /// Columns of `executions`.
    Columns {
        account: Long = "Whose";
        sequence: Long = "Counts the account's executions from 1, without gaps";
        kind: Text = "accepted, rejected, trade, cancelled, amended, triggered, decremented, busted or done";
        client_order_id: Text null = "For an order's events the id that placed it; otherwise the command's own";
        reason: Text null = "Why it was rejected or cancelled: a code";
        text: Text null = "The same as a sentence";
        given: Wide null = "What was given, where the reason is about a number";
        limit: Wide null = "What would have been allowed";
        first: Long null = "Set where this repeats a first outcome: the offset in orders of the command that had it";
        order_id: Long null = "The order's number";
        symbol: Text null = "Instrument, BASE-QUOTE";
        side: Text null = "buy or sell";
        order_type: Text null = "limit, market, stop, stop_limit or trailing_stop";
        tif: Text null = "gtc, ioc, fok, gtd or day";
        good_till: Time null = "gtd: until when";
        price: Money null = "The order's limit or protection price";
        trigger: Money null = "A stop's trigger, where it is at the moment";
        quantity: Amount null = "Base units in all";
        filled: Amount null = "Base units traded so far";
        notional: Wide null = "Quote units traded so far";
        open: Amount null = "Base units still open";
        trade_id: Long null = "The trade's number, counted from 1 in its market";
        last_price: Money null = "The trade's price";
        last_quantity: Amount null = "Base units of this trade";
        fee: Wide null = "Quote units charged for this trade";
        liquidity: Text null = "maker, taker or auction";
        asset: Text null = "The asset of a deposit, withdrawal or transfer";
        amount: Wide null = "Its amount; for a mass cancel the number of orders";
        transfer: Long null = "The number of a pending withdrawal";
        cause_partition: Int = "Partition of the command in orders that led to it";
        cause_offset: Long = "Offset of that command";
        cause_index: Long = "Place among that command's executions, from 0";
    }
}

/// The numbers that may not fit, checked before anything is appended.
struct Checked {
    sequence: i64,
    first: Option<i64>,
    order_id: Option<i64>,
    trade_id: Option<i64>,
    transfer: Option<i64>,
    cause_partition: i32,
    cause_offset: i64,
}

fn check(record: &Stamped<Execution>) -> Result<Checked, RowError> {
    let body = &record.body;
    let notional = body.order.map(|order| order.notional);
    let fee = body.fill.map(|fill| fill.fee);
    for (field, value) in
        [("given", body.given), ("limit", body.limit), ("amount", body.amount), ("notional", notional), ("fee", fee)]
    {
        value.map(|value| wide(field, value)).transpose()?;
    }
    let maybe = |field, value: Option<u64>| value.map(|value| long(field, value)).transpose();
    Ok(Checked {
        sequence: long("sequence", body.sequence)?,
        first: maybe("first", body.first)?,
        order_id: maybe("order_id", body.order.map(|order| order.id))?,
        trade_id: maybe("trade_id", body.fill.map(|fill| fill.trade_id))?,
        transfer: maybe("transfer", body.transfer)?,
        cause_partition: cause_partition(&record.cause)?,
        cause_offset: long("cause offset", record.cause.offset)?,
    })
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let record: Stamped<Execution> =
            serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::Executions, &error))?;
        let checked = check(&record)?;
        if !marks.admit_cause(&record.cause) {
            return Ok(None);
        }
        let body = &record.body;
        self.account.put(i64::from(body.account.0));
        self.sequence.put(checked.sequence);
        self.kind.put(body.kind.as_str());
        self.client_order_id.maybe(body.client_order_id.as_ref().map(model::exchange::ClientOrderId::as_str));
        self.reason.maybe(body.reason.map(model::exchange::Reason::code));
        self.text.maybe(body.text().as_deref());
        self.given.maybe(body.given);
        self.limit.maybe(body.limit);
        self.first.maybe(checked.first);
        self.order_id.maybe(checked.order_id);
        self.order(body.order.as_ref());
        self.trade_id.maybe(checked.trade_id);
        self.fill(body.fill.as_ref());
        self.asset.maybe(body.asset.as_ref().map(model::exchange::Asset::as_str));
        self.amount.maybe(body.amount);
        self.transfer.maybe(checked.transfer);
        self.cause_partition.put(checked.cause_partition);
        self.cause_offset.put(checked.cause_offset);
        self.cause_index.put(i64::from(record.cause.index));
        Ok(Some(Stamp { event: record.ts_event, received: None }))
    }
}

impl Columns {
    fn order(&mut self, order: Option<&OrderView>) {
        let (tif, until) = order.map(|order| tif(order.tif)).unzip();
        self.symbol.maybe(order.map(|order| order.instrument.as_str()));
        self.side.maybe(order.map(|order| order.side.as_str()));
        self.order_type.maybe(order.map(|order| order.kind.as_str()));
        self.tif.maybe(tif);
        self.good_till.maybe(until.flatten());
        self.price.maybe(order.and_then(|order| order.price));
        self.trigger.maybe(order.and_then(|order| order.trigger));
        self.quantity.maybe(order.map(|order| order.quantity));
        self.filled.maybe(order.map(|order| order.filled));
        self.notional.maybe(order.map(|order| order.notional));
        self.open.maybe(order.map(|order| order.open));
    }

    fn fill(&mut self, fill: Option<&Fill>) {
        self.last_price.maybe(fill.map(|fill| fill.last_price));
        self.last_quantity.maybe(fill.map(|fill| fill.last_quantity));
        self.fee.maybe(fill.map(|fill| fill.fee));
        self.liquidity.maybe(fill.map(|fill| fill.liquidity.as_str()));
    }
}
