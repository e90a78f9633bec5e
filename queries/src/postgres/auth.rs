//! Who may log in.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use async_trait::async_trait;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, gen_salted_password};
use pgwire::api::auth::{AuthSource, LoginInfo, Password};
use pgwire::error::PgWireResult;

use crate::login::Login;

/// The keys as SCRAM wants them. What costs thousands of hashes is done once, not for everyone who knocks.
pub(super) struct Keys {
    known: Vec<(String, Password)>,
    /// Makes up what there is not.
    made_up: [RandomState; 6],
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Keys({})", self.known.len())
    }
}

impl Keys {
    pub(super) fn new(logins: &[Login]) -> Self {
        let made_up: [RandomState; 6] = std::array::from_fn(|_| RandomState::new());
        let password = |login: &Login| {
            let salt = salt(&made_up, &login.user);
            let salted = gen_salted_password(&login.secret, &salt, SCRAM_ITERATIONS);
            (login.user.clone(), Password::new(Some(salt), salted))
        };
        let known = logins.iter().filter(|login| !login.secret.is_empty()).map(password).collect();
        Self { known, made_up }
    }
}

/// A salt that nobody can foresee, the same for a user as long as the program runs.
fn salt(made_up: &[RandomState; 6], user: &str) -> Vec<u8> {
    made_up[..2].iter().flat_map(|state| state.hash_one(user).to_le_bytes()).collect()
}

#[async_trait]
impl AuthSource for Keys {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let user = login.user().unwrap_or_default();
        if let Some((_, password)) = self.known.iter().find(|(known, _)| known == user) {
            return Ok(password.clone());
        }
        // An unknown user fails at the proof, as a wrong password does, so that the answer does not tell which it was.
        let salted = self.made_up[2..].iter().flat_map(|state| state.hash_one(user).to_le_bytes()).collect();
        Ok(Password::new(Some(salt(&self.made_up, user)), salted))
    }
}
