//! What became of a command, as callers see it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use matcher::shell::Answer;
use model::exchange::{CommandBody, Execution, ExecutionKind, Fill, OrderView, Reason};
use serde::Serialize;
use utoipa::ToSchema;

use crate::audit::Command;

/// How an order stands after the command. A rejected command is an error, with the reason as its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderStatus {
    /// It is in and nothing of it has traded.
    Accepted,
    /// A part has traded, the rest is open.
    PartiallyFilled,
    /// All of it has traded.
    Filled,
    /// It is gone with a rest that did not trade.
    Cancelled,
}

/// An execution with its reason in words.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    #[serde(flatten)]
    execution: Execution,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// What became of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderOutcome)]
pub(crate) struct OrderOutcome {
    status: OrderStatus,
    /// Whether this is the first outcome of a command that came again.
    repeated: bool,
    /// The order after the command.
    #[schema(value_type = Object)]
    order: Option<OrderView>,
    /// Its trades in this command.
    #[schema(value_type = Vec<Object>)]
    fills: Vec<Fill>,
    /// All that the command brought about for the account, in order, as the topic `executions` has it.
    #[schema(value_type = Vec<Object>)]
    executions: Vec<Told>,
}

/// What became of a command that is about no single order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CommandDone)]
pub(crate) struct Done {
    /// `done`.
    status: &'static str,
    /// Whether this is the first outcome of a command that came again.
    repeated: bool,
    /// Orders that a mass cancel took away.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<u64>,
    /// The number of a pending withdrawal.
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<u64>,
    /// All that the command brought about for the account, in order, as the topic `executions` has it.
    #[schema(value_type = Vec<Object>)]
    executions: Vec<Told>,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    status: StatusCode,
    about: About,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// One order.
    Order,
    /// Orders that were taken away: their number.
    Orders,
    /// Something else.
    Other,
}

impl Shape {
    pub(super) const fn of(body: &CommandBody) -> Self {
        let (status, about) = match body {
            CommandBody::Place(_) | CommandBody::PlaceOco(_) => (StatusCode::CREATED, About::Order),
            CommandBody::Amend { .. } | CommandBody::Cancel { .. } => (StatusCode::OK, About::Order),
            CommandBody::CancelAll { .. } => (StatusCode::OK, About::Orders),
            CommandBody::Deposit { .. } | CommandBody::Withdraw { .. } | CommandBody::Transfer { .. } => {
                (StatusCode::CREATED, About::Other)
            }
            _ => (StatusCode::OK, About::Other),
        };
        Self { status, about }
    }
}

/// What became of a command, of either kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    /// Of one about an order.
    Order(OrderOutcome),
    /// Of another.
    Done(Done),
}

/// What a caller is answered: the status belongs to HTTP and stands inside a WebSocket's answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) outcome: Outcome,
    /// Offset of the command in `orders`.
    pub(crate) command: u64,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.outcome)).into_response();
        response.extensions_mut().insert(Command(self.command));
        response
    }
}

impl Outcome {
    pub(super) fn of(answer: Answer, shape: Shape) -> Reply {
        let command = answer.offset;
        let outcome = match shape.about {
            About::Order => Self::Order(OrderOutcome::of(answer)),
            about => Self::Done(Done::of(answer, about == About::Orders)),
        };
        Reply { status: shape.status, outcome, command }
    }
}

impl OrderOutcome {
    fn of(answer: Answer) -> Self {
        let first = answering(&answer.executions);
        let repeated = first.is_some_and(|first| first.first.is_some());
        let id = first.and_then(|first| first.order).map(|order| order.id);
        let own = || answer.executions.iter().filter(|one| one.order.is_some_and(|order| Some(order.id) == id));
        let order = own().filter_map(|one| one.order).next_back();
        let fills = own().filter_map(|one| one.fill).collect();
        let gone = own().any(|one| one.kind == ExecutionKind::Cancelled);
        let status = order.map_or(OrderStatus::Accepted, |order| status(&order, gone));
        Self { status, repeated, order, fills, executions: told(answer.executions) }
    }
}

impl Done {
    /// `counts` where the amount of the answer is a number of orders.
    fn of(answer: Answer, counts: bool) -> Self {
        let first = answering(&answer.executions);
        let cancelled = first.filter(|_| counts).and_then(|first| first.amount);
        Self {
            status: "done",
            repeated: first.is_some_and(|first| first.first.is_some()),
            cancelled: cancelled.and_then(|amount| u64::try_from(amount.raw() / COUNT_UNIT).ok()),
            transfer: first.and_then(|first| first.transfer),
            executions: told(answer.executions),
        }
    }
}

/// Counts stand in executions as whole numbers, in units of 1e-8.
const COUNT_UNIT: i128 = 100_000_000;

/// The execution that answers the command. It need not be the first: orders whose time is over go before it, and
/// those that a mass cancel takes away.
pub(super) fn answering(executions: &[Execution]) -> Option<&Execution> {
    use ExecutionKind::{Accepted, Amended, Cancelled, Done, Rejected};
    let answers = |one: &&Execution| {
        let requested = one.kind == Cancelled && one.reason == Some(Reason::Requested);
        one.first.is_some() || requested || matches!(one.kind, Accepted | Amended | Done | Rejected)
    };
    executions.iter().find(answers).or(executions.first())
}

/// How an order stands; `gone` where it is known to have been cancelled.
pub(crate) fn status(order: &OrderView, gone: bool) -> OrderStatus {
    let short = order.open.raw() == 0 && order.filled < order.quantity;
    if gone || short {
        OrderStatus::Cancelled
    } else if order.open.raw() == 0 {
        OrderStatus::Filled
    } else if order.filled.is_positive() {
        OrderStatus::PartiallyFilled
    } else {
        OrderStatus::Accepted
    }
}

fn told(executions: Vec<Execution>) -> Vec<Told> {
    executions.into_iter().map(|execution| Told { text: execution.text(), execution }).collect()
}
