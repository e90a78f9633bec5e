//! Who calls.

use std::hint::black_box;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use model::exchange::AccountId;

use super::{ApiKey, Desk};
use crate::problem::Problem;
use crate::state::Shared;

/// The header that holds the key.
pub(crate) const HEADER: &str = "x-api-key";

/// A caller whose key is known.
#[derive(Clone)]
pub(crate) struct Caller {
    state: Shared,
    key: usize,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        state.desk()?;
        Self::with_key(state, given(parts)?)
    }
}

fn refused(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// What a request gives as its key.
///
/// # Errors
/// When it gives none.
pub(crate) fn given(parts: &Parts) -> Result<&[u8], Problem> {
    let given = parts.headers.get(HEADER).ok_or_else(|| refused("the header X-Api-Key is missing"))?;
    Ok(given.as_bytes())
}

/// The place of the key that was given.
///
/// # Errors
/// When there is no such key.
pub(crate) fn known(keys: &[ApiKey], given: &[u8]) -> Result<usize, Problem> {
    find(keys, given).ok_or_else(|| refused("X-Api-Key holds no key of this server"))
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
    /// The caller with this key.
    ///
    /// # Errors
    /// When there is no exchange, or no such key.
    pub(crate) fn with_key(state: &Shared, given: &[u8]) -> Result<Self, Problem> {
        let key = known(&state.desk()?.keys, given)?;
        Ok(Self { state: Shared::clone(state), key })
    }

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

    /// What the key is called.
    pub(crate) fn name(&self) -> &str {
        &self.key().name
    }

    /// The house for operators, others on their own behalf.
    pub(crate) fn house_or_own(&self) -> AccountId {
        if self.key().operator { AccountId::HOUSE } else { self.account() }
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
