//! Who may log in.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, gen_salted_password};
use pgwire::api::auth::{AuthSource, LoginInfo, Password};
use pgwire::error::PgWireResult;

use crate::engine::Caller;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// A key that may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub secret: String,
    /// On whose behalf its statements run.
    pub caller: Caller,
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Login({})", self.user)
    }
}

/// The keys as SCRAM wants them.
#[derive(Debug)]
pub(super) struct Keys(pub(super) Arc<Vec<Login>>);

/// A salt that nobody can foresee.
fn salt() -> [u8; SALT_BYTES] {
    use std::hash::{BuildHasher, RandomState};
    // Two hashers with random keys give what is needed of a salt: it differs each time.
    let mut salt = [0; SALT_BYTES];
    for (place, half) in salt.chunks_mut(8).enumerate() {
        half.copy_from_slice(&RandomState::new().hash_one(place).to_le_bytes());
    }
    salt
}

#[async_trait]
impl AuthSource for Keys {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let salt = salt();
        let known = login.user().and_then(|user| self.0.iter().find(|known| known.user == user));
        // An unknown user fails at the proof, as a wrong password does, so that the answer does not tell which it was.
        let secret = match known {
            Some(known) if !known.secret.is_empty() => known.secret.clone(),
            _ => salt.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let salted = gen_salted_password(&secret, &salt, SCRAM_ITERATIONS);
        Ok(Password::new(Some(salt.to_vec()), salted))
    }
}
