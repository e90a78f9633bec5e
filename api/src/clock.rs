//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use model::UnixNanos;

/// Now. A clock set before 1970 or after 2262 counts as at the nearer end.
pub(crate) fn unix_now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
