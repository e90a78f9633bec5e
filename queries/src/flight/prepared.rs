//! Prepared statements with their parameters: so many at a time, each for its own caller.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use arrow::datatypes::SchemaRef;
use tonic::Status;

/// Statements that are kept; the one that was used longest ago makes room.
const KEPT_MAX: usize = 1_024;

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) user: String,
    pub(super) sql: String,
    /// The types of its parameters, the null type where the statement does not tell.
    pub(super) expected: SchemaRef,
    /// The values that were bound, as [`crate::parameters::write`] makes them.
    pub(super) parameters: Option<Vec<u8>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    inside: Mutex<Inside>,
    names: RandomState,
}

#[derive(Debug, Default)]
struct Inside {
    count: u64,
    /// By handle: when it was last used, and the statement.
    statements: BTreeMap<u64, (u64, Prepared)>,
}

impl Kept {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no one panics while holding the statements")
    }

    /// Keeps a statement and says its handle, which nobody can foresee.
    pub(super) fn keep(&self, statement: Prepared) -> Vec<u8> {
        let mut inside = self.inside();
        if inside.statements.len() >= KEPT_MAX
            && let Some(oldest) = inside.statements.iter().min_by_key(|(_, (used, _))| *used).map(|(handle, _)| *handle)
        {
            inside.statements.remove(&oldest);
        }
        inside.count += 1;
        let (count, handle) = (inside.count, self.names.hash_one(inside.count));
        inside.statements.insert(handle, (count, statement));
        handle.to_be_bytes().to_vec()
    }

    /// Uses a statement of a user's.
    ///
    /// # Errors
    /// When this user has none with this handle.
    pub(super) fn with<R>(&self, handle: &[u8], user: &str, of: impl FnOnce(&mut Prepared) -> R) -> Result<R, Status> {
        let gone = || Status::not_found("this prepared statement is not known: prepare it again");
        let handle = u64::from_be_bytes(handle.try_into().map_err(|_| gone())?);
        let mut inside = self.inside();
        inside.count += 1;
        let now = inside.count;
        let (used, statement) = inside.statements.get_mut(&handle).ok_or_else(gone)?;
        if statement.user != user {
            return Err(gone());
        }
        *used = now;
        Ok(of(statement))
    }

    /// Forgets a statement of a user's.
    pub(super) fn forget(&self, handle: &[u8], user: &str) {
        if self.with(handle, user, |_| ()).is_ok()
            && let Ok(handle) = handle.try_into()
        {
            self.inside().statements.remove(&u64::from_be_bytes(handle));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    fn statement(user: &str, sql: &str) -> Prepared {
        let expected = Arc::new(Schema::empty());
        Prepared { user: user.to_owned(), sql: sql.to_owned(), expected, parameters: None }
    }

    #[test]
    fn statements_are_their_callers_own_and_bounded() {
        let kept = Kept::default();
        let first = kept.keep(statement("alice", "SELECT 1"));
        assert_eq!(kept.with(&first, "alice", |found| found.sql.clone()).expect("hers"), "SELECT 1");
        assert!(kept.with(&first, "bob", |_| ()).is_err());
        assert!(kept.with(b"", "alice", |_| ()).is_err());
        kept.forget(&first, "bob");
        assert!(kept.with(&first, "alice", |_| ()).is_ok(), "another cannot take it away");
        let second = kept.keep(statement("alice", "SELECT 2"));
        for _ in 0..KEPT_MAX - 1 {
            kept.with(&first, "alice", |_| ()).expect("used again and again");
            kept.keep(statement("bob", "SELECT 3"));
        }
        assert!(kept.with(&first, "alice", |_| ()).is_ok());
        assert!(kept.with(&second, "alice", |_| ()).is_err(), "the one not used makes room");
        kept.forget(&first, "alice");
        assert!(kept.with(&first, "alice", |_| ()).is_err());
    }
}
