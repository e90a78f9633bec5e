//! The one way from a route to the exchange's log, and back.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use matcher::shell::{Answer, GatewayError, Lane, Receipt};
use model::UnixNanos;
use model::exchange::{AccountId, ClientOrderId, CommandBody, Execution, ExecutionKind, Reason};

use super::Caller;
use super::body::optional;
use super::form::time;
use super::outcome::{Outcome, Reply, Shape, answering};
use crate::clock::unix_now;
use crate::problem::Problem;

/// How long an answer may take, less where requests get less.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A command as a route asks for it.
#[derive(Debug)]
pub(crate) struct Ask {
    account: AccountId,
    request: Option<ClientOrderId>,
    sent_at: UnixNanos,
    body: CommandBody,
    shape: Shape,
}

impl Ask {
    /// A command without a name of its own, sent now.
    pub(crate) fn new(account: AccountId, body: CommandBody) -> Self {
        let shape = Shape::of(&body);
        Self { account, request: None, sent_at: unix_now(), body, shape }
    }

    /// With the client order id, and the time at which it was sent first, that the caller gave.
    ///
    /// # Errors
    /// When one of them is not as expected.
    pub(crate) fn named(mut self, id: Option<&str>, sent_at: Option<&str>) -> Result<Self, Problem> {
        self.request = optional("client_order_id", id)?;
        if let Some(text) = sent_at {
            self.sent_at = time("sent_at", text)?;
        }
        Ok(self)
    }

    /// Which of the two ways to the log it takes.
    pub(crate) fn lane(&self) -> Lane {
        Lane::of(&self.body)
    }
}

/// A command that is on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    receipt: Receipt,
    within: Duration,
    shape: Shape,
}

impl Caller {
    /// Hands a command to the exchange, unless the caller has sent too many.
    ///
    /// # Errors
    /// When nothing was or will be done.
    pub(crate) fn send(&self, ask: Ask) -> Result<Sent, Problem> {
        let Ask { account, request, sent_at, body, shape } = ask;
        let limits = &self.state().config.limits;
        let desk = self.desk();
        let (bucket, rate, burst, what) = match Lane::of(&body) {
            Lane::Orders => (&desk.commands, limits.commands_per_second_max, limits.commands_burst_max, "commands"),
            Lane::Cancels => (&desk.cancels, limits.cancels_per_second_max, limits.cancels_burst_max, "cancels"),
        };
        bucket.admit(self.account(), Instant::now()).map_err(|wait| {
            metrics::counter!("millrace_api_commands_refused_total", "reason" => "rate").increment(1);
            let message = format!("account {} sends too much: {rate} {what} a second, {burst} at once", self.account());
            let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_commands", message).retry_after(seconds.max(1))
        })?;
        let within = ANSWER_WITHIN.min(limits.request_timeout / 2);
        let receipt = desk.gateway()?.submit(account, request, sent_at, body).map_err(unanswered)?;
        Ok(Sent { receipt, within, shape })
    }

    /// Hands a command to the exchange and waits for what becomes of it.
    ///
    /// # Errors
    /// Too many commands, an exchange that does not take them, no answer in time, or the rejection.
    pub(crate) async fn carry_out(&self, ask: Ask) -> Result<Reply, Problem> {
        self.send(ask)?.reply().await
    }
}

impl Sent {
    /// Waits for what became of the command; an exchange that rejects it answers with a problem.
    ///
    /// # Errors
    /// No answer in time, or the rejection.
    pub(crate) async fn reply(self) -> Result<Reply, Problem> {
        let answer: Answer = self.receipt.answer(self.within).await.map_err(unanswered)?;
        match answering(&answer.executions) {
            Some(first) if first.kind == ExecutionKind::Rejected => Err(rejected(first).of_command(answer.offset)),
            Some(_) => Ok(Outcome::of(answer, self.shape)),
            None => Err(unanswered(GatewayError::Unknown("the exchange gave no execution".to_owned()))),
        }
    }
}

/// Why there is no answer. Only `UNKNOWN` leaves open whether the command was carried out.
fn unanswered(error: GatewayError) -> Problem {
    let message = error.to_string();
    match error {
        GatewayError::Busy => Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", message).retry_after(1),
        GatewayError::Refused(_) => Problem::unavailable("refused", message),
        GatewayError::NotLive(_) => Problem::unavailable("not_live", message),
        GatewayError::Superseded => Problem::unavailable("superseded", message),
        GatewayError::Unknown(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "UNKNOWN", message),
    }
}

fn rejected(execution: &Execution) -> Problem {
    let status = match execution.reason {
        Some(Reason::UnknownOrder | Reason::UnknownTransfer | Reason::UnknownTrade) => StatusCode::NOT_FOUND,
        Some(Reason::NotYourOrder | Reason::NotAllowed) => StatusCode::FORBIDDEN,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let code = execution.reason.map_or("REJECTED", Reason::code);
    Problem::new(status, code, execution.text().unwrap_or_else(|| "the command was rejected".to_owned()))
}
