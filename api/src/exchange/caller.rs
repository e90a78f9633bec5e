//! Who calls, and the one way from a route to the exchange's log.

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use matcher::shell::{Answer, GatewayError};
use model::exchange::{AccountId, ClientOrderId, CommandBody, Execution, ExecutionKind, Reason};

use super::body::optional;
use super::form::time;
use super::outcome::answering;
use super::{ApiKey, Desk};
use crate::clock::unix_now;
use crate::problem::Problem;
use crate::state::Shared;

/// The header that holds the key.
const HEADER: &str = "x-api-key";
/// How long an answer may take, less where requests get less.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A caller whose key is known.
pub(crate) struct Caller {
    state: Shared,
    key: usize,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let desk = state.desk()?;
        let refused = |message| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        let given = parts.headers.get(HEADER).ok_or_else(|| refused("the header X-Api-Key is missing"))?;
        let key = find(&desk.keys, given.as_bytes()).ok_or_else(|| refused("X-Api-Key holds no key of this server"))?;
        Ok(Self { state: Shared::clone(state), key })
    }
}

/// The key that was given. Every byte given is compared with every key, so that the time tells nothing about how
/// much of a guess was right.
fn find(keys: &[ApiKey], given: &[u8]) -> Option<usize> {
    let mut found = None;
    for (at, key) in keys.iter().enumerate() {
        let secret = key.secret.as_bytes();
        let mut differs = usize::from(secret.is_empty()) | (secret.len() ^ given.len());
        for (place, byte) in given.iter().enumerate() {
            differs |= usize::from(byte ^ secret.get(place).copied().unwrap_or(0));
        }
        if black_box(differs) == 0 {
            found = Some(at);
        }
    }
    found
}

impl Caller {
    /// On whose behalf.
    pub(crate) fn account(&self) -> AccountId {
        self.key().account
    }

    /// The account that a payment is about: another's is for operators.
    pub(crate) fn account_of(&self, given: Option<u32>) -> Result<AccountId, Problem> {
        let own = self.account();
        match given.map(AccountId) {
            Some(other) if other != own && !self.key().operator => {
                let message = format!("key {} may only move what account {own} has", self.key().name);
                Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message))
            }
            Some(other) if other.0 >= AccountId::MAX => {
                let message = format!("account {other} not allowed: below {}", AccountId::MAX);
                Err(Problem::bad_request("bad_value", message))
            }
            given => Ok(given.unwrap_or(own)),
        }
    }

    /// Refuses everyone but operators.
    pub(crate) fn operates(&self, what: &str) -> Result<(), Problem> {
        if self.key().operator {
            return Ok(());
        }
        let message = format!("key {} may not {what}: that takes an operator's key", self.key().name);
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message))
    }

    /// The exchange.
    pub(crate) fn desk(&self) -> &Desk {
        self.state.desk().expect("a caller was let in by it")
    }

    /// The server's state.
    pub(crate) fn state(&self) -> &Shared {
        &self.state
    }

    fn key(&self) -> &ApiKey {
        &self.desk().keys[self.key]
    }

    /// Hands a command to the exchange and waits for what it brings about: at least one execution, none of them a
    /// rejection of the command. Cancels are always let through.
    ///
    /// # Errors
    /// Too many commands, an exchange that does not take them, or the rejection.
    pub(crate) async fn carry_out(
        &self,
        account: AccountId,
        client_order_id: Option<&str>,
        sent_at: Option<&str>,
        body: CommandBody,
    ) -> Result<Answer, Problem> {
        let request: Option<ClientOrderId> = optional("client_order_id", client_order_id)?;
        let sent_at = sent_at.map(|text| time("sent_at", text)).transpose()?.unwrap_or_else(unix_now);
        let limits = &self.state.config.limits;
        if !matches!(body, CommandBody::Cancel { .. } | CommandBody::CancelAll { .. }) {
            self.desk().buckets.admit(self.account(), Instant::now()).map_err(|wait| {
                let message = format!(
                    "account {} sends too much: {} commands a second, {} at once; cancels always pass",
                    self.account(),
                    limits.commands_per_second_max,
                    limits.commands_burst_max
                );
                let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_commands", message).retry_after(seconds.max(1))
            })?;
        }
        let within = ANSWER_WITHIN.min(limits.request_timeout / 2);
        let receipt = self.desk().gateway()?.submit(account, request, sent_at, body).map_err(unanswered)?;
        let answer = receipt.answer(within).await.map_err(unanswered)?;
        match answering(&answer.executions) {
            Some(first) if first.kind == ExecutionKind::Rejected => Err(rejected(first)),
            Some(_) => Ok(answer),
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
        Some(Reason::UnknownOrder) => StatusCode::NOT_FOUND,
        Some(Reason::NotYourOrder | Reason::NotAllowed) => StatusCode::FORBIDDEN,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let code = execution.reason.map_or("REJECTED", Reason::code);
    Problem::new(status, code, execution.text().unwrap_or_else(|| "the command was rejected".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_is_a_key() {
        let key =
            |secret: &str| ApiKey { name: "a".into(), secret: secret.into(), account: AccountId(1), operator: false };
        let keys = [key("0123456789abcdef"), key("fedcba9876543210"), key("")];
        assert_eq!(find(&keys, b"0123456789abcdef"), Some(0));
        assert_eq!(find(&keys, b"fedcba9876543210"), Some(1));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF", "\0"] {
            assert_eq!(find(&keys, wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
