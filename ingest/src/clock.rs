//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use model::UnixNanos;

/// Unix time now. It may step in either direction: only stamps use it, never a wait.
pub(crate) fn now() -> UnixNanos {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
        Err(before) => UnixNanos(i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)),
    }
}
