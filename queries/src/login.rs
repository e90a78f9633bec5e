//! Keys as the doors take them.

use std::fmt;

use crate::engine::Caller;

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
