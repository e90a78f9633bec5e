//! Reads the cause back out of what the aggregation wrote.

use model::{Cause, Origin, Tick};

#[derive(serde::Deserialize)]
struct Caused {
    cause: Cause,
}

/// Of a price, a candle or a dead letter; none for a record without one.
pub(super) fn of_json(value: &[u8]) -> Option<Cause> {
    serde_json::from_slice(value).ok().map(|Caused { cause }| cause)
}

/// Of a conversion rate among the ticks; none for what came from outside.
pub(super) fn of_tick(value: &[u8]) -> Option<Cause> {
    match Tick::decode(value).ok()?.origin {
        Origin::Derived(cause) => Some(cause),
        Origin::Root { .. } => None,
    }
}
