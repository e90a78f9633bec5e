//! The two times of a tick, and the rule for clocks that disagree.

use std::time::Duration;

use model::{Origin, Tick, TickFlags, UnixNanos};

use crate::decode::Decoded;

/// Stamps decoded ticks with both times: an event time further than `max_clock_skew` from the time of receipt
/// is replaced by it and flagged, and so is one that the venue did not give.
#[derive(Debug, Clone, Copy)]
pub struct Stamper {
    max_skew_ns: i64,
}

/// What stamping found, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// Receipt minus event, in nanoseconds: negative when the venue's clock is ahead of ours.
    Lag(i64),
    /// The same, but too far apart: the event time was replaced.
    Replaced(i64),
    /// The venue gave no time.
    NoTime,
}

impl Stamper {
    /// With the largest difference that is believed.
    pub fn new(max_clock_skew: Duration) -> Self {
        Self { max_skew_ns: i64::try_from(max_clock_skew.as_nanos()).unwrap_or(i64::MAX) }
    }

    /// Stamps a tick. Its origin is given when it is written.
    #[inline]
    pub fn stamp(&self, decoded: &Decoded, ts_recv: UnixNanos, origin: Origin) -> (Tick, Clocks) {
        let clocks = match decoded.ts_event {
            None => Clocks::NoTime,
            Some(ts_event) => {
                let lag = ts_recv.since(ts_event);
                if lag.unsigned_abs() > self.max_skew_ns.unsigned_abs() {
                    Clocks::Replaced(lag)
                } else {
                    Clocks::Lag(lag)
                }
            }
        };
        let (ts_event, flag) = match (clocks, decoded.ts_event) {
            (Clocks::Lag(_), Some(ts_event)) => (ts_event, 0),
            // A snapshot's old trades are old, not skewed: they keep their time, and nothing counts them.
            (Clocks::Replaced(1..), Some(ts_event)) if decoded.flags & TickFlags::HISTORIC != 0 => (ts_event, 0),
            _ => (ts_recv, TickFlags::TIME_REPLACED),
        };
        let flags = TickFlags(decoded.flags | flag);
        (Tick { origin, ts_event, ts_recv, flags, body: decoded.body }, clocks)
    }
}

#[cfg(test)]
mod tests {
    use model::{Clock, TickBody};

    use super::*;

    #[test]
    fn times_too_far_apart_are_replaced() {
        let stamper = Stamper::new(Duration::from_secs(5));
        let origin = Origin::Root { role: "ingest/x".parse().expect("a role"), epoch: 1, sequence: 1 };
        let recv = UnixNanos(1_700_000_000_000_000_000);
        for (ts_event, flags, expected_event, expected_flags, clocks) in [
            (Some(recv.plus(-1_000)), 0, recv.plus(-1_000), 0, Clocks::Lag(1_000)),
            (Some(recv.plus(5_000_000_000)), 0, recv.plus(5_000_000_000), 0, Clocks::Lag(-5_000_000_000)),
            (Some(recv.plus(5_000_000_001)), 0, recv, 1, Clocks::Replaced(-5_000_000_001)),
            (Some(UnixNanos(0)), 2, recv, 3, Clocks::Replaced(recv.0)),
            (Some(UnixNanos(i64::MIN)), 0, recv, 1, Clocks::Replaced(i64::MAX)),
            (Some(recv.plus(6_000_000_000)), 4, recv, 5, Clocks::Replaced(-6_000_000_000)),
            (Some(UnixNanos(7)), 4, UnixNanos(7), 4, Clocks::Replaced(recv.0 - 7)),
            (None, 0, recv, 1, Clocks::NoTime),
        ] {
            let decoded = Decoded { ts_event, flags, body: TickBody::Clock(Clock) };
            let (tick, found) = stamper.stamp(&decoded, recv, origin);
            assert_eq!((tick.ts_event, tick.flags.0, found), (expected_event, expected_flags, clocks), "{ts_event:?}");
        }
    }
}
