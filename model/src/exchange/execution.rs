//! Executions: what became of each command and of each order.

use super::order::{AccountId, Asset, ClientOrderId, OrderId, OrderKind, TimeInForce};
use super::reason::Reason;
use crate::instrument::Instrument;
use crate::number::{Price, Quantity, Volume};
use crate::tick::Side;

/// What an execution reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionKind {
    /// The order is in. Its fills follow.
    Accepted,
    /// The command changed nothing.
    Rejected,
    /// The order traded.
    Trade,
    /// The order left the book.
    Cancelled,
    /// The order was changed.
    Amended,
    /// The stop was set off and is an order now.
    Triggered,
    /// Self-trade prevention took a part of the order.
    Decremented,
    /// A trade of the account was undone.
    Busted,
    /// A command that is about no order was carried out.
    Done,
}

/// Whether an order was there first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liquidity {
    /// It rested.
    Maker,
    /// It came in.
    Taker,
    /// Both were collected for a call auction.
    Auction,
}

/// An order as it is after the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OrderView {
    /// Our number.
    #[serde(rename = "order_id")]
    pub id: OrderId,
    /// Where.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// What kind; a stop keeps its kind when it is set off.
    #[serde(rename = "type")]
    pub kind: OrderKind,
    /// How long it stands.
    pub tif: TimeInForce,
    /// The limit or protection price; none while a stop waits without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// A stop's trigger, where it is at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Price>,
    /// Base units in all; zero for a market order by quote amount.
    pub quantity: Quantity,
    /// Base units traded.
    pub filled: Quantity,
    /// Quote units traded.
    pub notional: Volume,
    /// Base units still open; zero once the order is done.
    pub open: Quantity,
}

/// One trade of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fill {
    /// The trade's number, counted from 1 in its market.
    pub trade_id: u64,
    /// Its price.
    pub last_price: Price,
    /// Base units.
    pub last_quantity: Quantity,
    /// Quote units charged.
    pub fee: Volume,
    /// Maker or taker.
    pub liquidity: Liquidity,
}

/// One record of the topic `executions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Execution {
    /// Whose.
    pub account: AccountId,
    /// Counts the account's executions from 1, without gaps.
    pub sequence: u64,
    /// What happened.
    pub kind: ExecutionKind,
    /// For an order's events the client order id that placed it; for the answer to another command its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<ClientOrderId>,
    /// Why it was rejected or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was given, where the reason is about a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Volume>,
    /// What would have been allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Volume>,
    /// Set when this is a repeated command's first outcome: the offset in `orders` of the command that had it.
    /// The order below is as that command left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderView>,
    /// The trade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
    /// The asset of a deposit, withdrawal or transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Asset>,
    /// Its amount; for a mass cancel or the like, the number of orders in whole units of 1e-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Volume>,
    /// The number of a pending withdrawal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<u64>,
}

impl Execution {
    /// An execution that says only what happened to whom.
    pub const fn new(account: AccountId, sequence: u64, kind: ExecutionKind) -> Self {
        Self {
            account,
            sequence,
            kind,
            client_order_id: None,
            reason: None,
            given: None,
            limit: None,
            first: None,
            order: None,
            fill: None,
            asset: None,
            amount: None,
            transfer: None,
        }
    }

    /// The reason as a sentence with its numbers; none without a reason.
    pub fn text(&self) -> Option<String> {
        self.reason.map(|reason| reason.sentence(self.given, self.limit))
    }
}
