//! GET requests within a venue's budget, with limits on time and size.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::UnixNanos;
use tokio::time::Instant;

use crate::budget::Allowance;
use crate::clock;
use crate::connector::Budget;
use crate::error::IngestError;
use crate::refusal::{DecodeError, Refusal};

/// Bytes of an answer, at most.
const BODY_MAX: usize = 16 << 20;
/// How long a venue that says "too many requests" is left alone, when it does not say.
const PAUSE: Duration = Duration::from_secs(60);
/// And at most.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The client that all sources share.
pub(super) fn client() -> Result<reqwest::Client, IngestError> {
    reqwest::Client::builder()
        .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| IngestError::Http(error.to_string()))
}

/// Asks one venue. Clones share its budget.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    client: reqwest::Client,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Debug)]
struct Gate {
    allowance: Allowance,
    paused_until: Option<Instant>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The venue could not be reached, was too slow, or is left alone for a while.
    Unreachable(String),
    /// It answered something that is no answer: to be written down.
    Refused(DecodeError),
}

impl Rest {
    pub(super) fn new(client: reqwest::Client, budget: Budget) -> Self {
        Self { client, gate: Arc::new(Mutex::new(Gate { allowance: Allowance::new(budget), paused_until: None })) }
    }

    /// GETs `url`, waiting for the budget first. The body, and when it was received.
    pub(super) async fn get(&self, url: &str) -> Result<(Vec<u8>, UnixNanos), NoAnswer> {
        while let Err(later) = self.admit(Instant::now()) {
            tokio::time::sleep_until(later).await;
        }
        let unreachable = |error: reqwest::Error| NoAnswer::Unreachable(format!("{url}: {}", root_cause(&error)));
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        let status = response.status();
        if status.as_u16() == 429 || status.as_u16() == 418 {
            let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            self.pause(after.map_or(PAUSE, Duration::from_secs).min(PAUSE_MAX));
            return Err(NoAnswer::Unreachable(format!("{url}: too many requests ({status})")));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_MAX {
                let refusal = Refusal::TooLarge { bytes: body.len() + chunk.len(), max: BODY_MAX };
                return Err(NoAnswer::Refused(refusal.into()));
            }
            body.extend_from_slice(&chunk);
        }
        let ts_recv = clock::now();
        if !status.is_success() {
            let refusal = Refusal::Status { url: url.into(), status: status.as_u16() };
            return Err(NoAnswer::Refused(refusal.into()));
        }
        Ok((body, ts_recv))
    }

    fn admit(&self, now: Instant) -> Result<(), Instant> {
        let mut gate = self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match gate.paused_until {
            Some(until) if until > now => Err(until),
            _ => {
                gate.paused_until = None;
                gate.allowance.take(now)
            }
        }
    }

    fn pause(&self, pause: Duration) {
        let mut gate = self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        gate.paused_until = Some(Instant::now() + pause);
    }
}

/// The innermost reason: the outer ones repeat the address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
