//! Orders of one account that are done: the last state of each, for as many as are kept.

use std::collections::VecDeque;

use bytes::Bytes;
use model::exchange::{Execution, ExecutionKind, OrderId, OrderRef, Stamped};
use rustc_hash::FxHashMap;
use serde::Deserialize;

/// What tells a finished order's record from others. The rest is read when somebody asks.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'a> {
    /// Counts the account's executions.
    pub(super) sequence: u64,
    kind: ExecutionKind,
    #[serde(borrow)]
    client_order_id: Option<&'a str>,
    first: Option<u64>,
    #[serde(borrow)]
    order: Option<OrderHead<'a>>,
}

#[derive(Debug, Deserialize)]
struct OrderHead<'a> {
    order_id: OrderId,
    #[serde(borrow)]
    open: &'a str,
}

/// The newest finished orders.
#[derive(Debug)]
pub(super) struct History {
    orders: FxHashMap<OrderId, Kept>,
    /// The newest order of each client order id.
    by_client: FxHashMap<Box<str>, OrderId>,
    /// In the order in which they ended.
    ended: VecDeque<OrderId>,
    max: usize,
}

#[derive(Debug)]
struct Kept {
    client: Option<Box<str>>,
    record: Bytes,
}

impl History {
    pub(super) fn new(max: usize) -> Self {
        Self { orders: FxHashMap::default(), by_client: FxHashMap::default(), ended: VecDeque::new(), max }
    }

    /// Looks at an execution; keeps it where it may be its order's last.
    pub(super) fn note(&mut self, head: &Head<'_>, record: &Bytes) {
        use ExecutionKind::{Cancelled, Decremented, Trade};
        let Some(order) = &head.order else { return };
        // A repeated command shows an order as it was.
        let ends = order.open == "0" && matches!(head.kind, Trade | Cancelled | Decremented);
        if !ends || head.first.is_some() {
            return;
        }
        let client = head.client_order_id.map(Box::from);
        if let Some(client) = &client {
            self.by_client.insert(Box::clone(client), order.order_id);
        }
        let kept = Kept { client, record: record.clone() };
        if self.orders.insert(order.order_id, kept).is_none() {
            self.ended.push_back(order.order_id);
        }
        while self.ended.len() > self.max {
            let Some(oldest) = self.ended.pop_front() else { break };
            let client = self.orders.remove(&oldest).and_then(|kept| kept.client);
            if let Some(client) = client.filter(|client| self.by_client.get(client) == Some(&oldest)) {
                self.by_client.remove(&client);
            }
        }
    }

    /// A finished order's last execution.
    pub(super) fn find(&self, order: &OrderRef) -> Option<Execution> {
        let id = match order {
            OrderRef::Id(id) => id,
            OrderRef::Client(client) => self.by_client.get(client.as_str())?,
        };
        let kept = self.orders.get(id)?;
        serde_json::from_slice::<Stamped<Execution>>(&kept.record).ok().map(|stamped| stamped.body)
    }
}

#[cfg(test)]
mod tests {
    use model::exchange::{AccountId, OrderKind, OrderView, Reason, TimeInForce, write_execution};
    use model::{Cause, Quantity, Side, UnixNanos, Volume, topic};

    use super::*;

    fn record(id: OrderId, client: &str, open: i64, kind: ExecutionKind) -> Bytes {
        let mut execution = Execution::new(AccountId(1), id, kind);
        execution.client_order_id = Some(client.parse().expect("a short id"));
        execution.reason = (kind == ExecutionKind::Cancelled).then_some(Reason::Requested);
        let quantity = |raw| Quantity::from_raw(raw).expect("a small number");
        execution.order = Some(OrderView {
            id,
            instrument: "BTC-USDT".parse().expect("a name"),
            side: Side::Buy,
            kind: OrderKind::Limit,
            tif: TimeInForce::Gtc,
            price: None,
            trigger: None,
            quantity: quantity(5),
            filled: quantity(5 - open),
            notional: Volume::from_raw(0),
            open: quantity(open),
        });
        let mut text = Vec::new();
        let cause = Cause { topic: topic::name(topic::ORDERS), partition: 0, offset: id, index: 0 };
        write_execution(&execution, &cause, UnixNanos(1), &mut text);
        text.into()
    }

    fn note(history: &mut History, record: &Bytes) {
        history.note(&serde_json::from_slice(record).expect("an execution"), record);
    }

    #[test]
    fn the_last_state_of_the_newest_orders_is_found_by_either_name() {
        let mut history = History::new(2);
        note(&mut history, &record(1, "a", 5, ExecutionKind::Accepted));
        assert_eq!(history.find(&OrderRef::Id(1)), None, "it is open");
        for (id, client) in [(1, "a"), (2, "b"), (3, "a")] {
            note(&mut history, &record(id, client, 0, ExecutionKind::Trade));
        }
        assert_eq!(history.find(&OrderRef::Id(1)), None, "two are kept");
        let by_client = history.find(&OrderRef::Client("a".parse().expect("an id"))).expect("the newest");
        assert_eq!(by_client.order.map(|order| order.id), Some(3));
        note(&mut history, &record(4, "c", 0, ExecutionKind::Cancelled));
        assert_eq!(history.find(&OrderRef::Id(2)), None);
        assert_eq!(history.find(&OrderRef::Id(4)).and_then(|one| one.reason), Some(Reason::Requested));
        assert!(history.find(&OrderRef::Client("b".parse().expect("an id"))).is_none());
    }
}
