//! The way of one frame: decoded, stamped, pushed, counted; or refused, counted and written down.

use std::sync::atomic::Ordering;

use model::{Channel, FeedPhase, FeedState, Instrument, Tick, TickBody, TickFlags, UnixNanos};

use crate::connector::Plan;
use crate::dead_letters::DeadLetters;
use crate::decode::{Decoder, Feed, Output, decode_frame};
use crate::outlet::{Full, Outlet};
use crate::refusal::DecodeError;
use crate::stamp::Stamper;
use crate::telemetry::Telemetry;

/// Stamps what was decoded and hands it on, for one connection or poller.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) plan: Plan,
    pub(crate) outlet: Outlet,
    pub(crate) telemetry: Telemetry,
    pub(crate) dead_letters: DeadLetters,
    stamper: Stamper,
}

impl Intake {
    pub(crate) fn new(
        plan: Plan,
        outlet: Outlet,
        telemetry: Telemetry,
        dead_letters: DeadLetters,
        stamper: Stamper,
    ) -> Self {
        Self { plan, outlet, telemetry, dead_letters, stamper }
    }

    /// Decodes one frame onto `out`, which is cleared first, and pushes its ticks. A refused frame becomes a
    /// dead letter at `offset`.
    pub(crate) fn frame(
        &mut self,
        decoder: &mut dyn Decoder,
        frame: &[u8],
        ts_recv: UnixNanos,
        out: &mut Output,
        offset: impl FnOnce() -> String,
    ) -> Result<(), Full> {
        out.clear();
        self.telemetry.frame(ts_recv);
        match decode_frame(decoder, frame, ts_recv, out) {
            Ok(_) => self.emit(out, ts_recv),
            Err(error) => {
                self.refuse(offset(), &error, frame, ts_recv);
                Ok(())
            }
        }
    }

    /// Stamps and pushes the ticks of `out`.
    pub(crate) fn emit(&mut self, out: &Output, ts_recv: UnixNanos) -> Result<(), Full> {
        self.telemetry.duplicates(out.duplicates);
        if out.ticks.is_empty() {
            return Ok(());
        }
        let origin = self.outlet.origin();
        let (stamper, telemetry) = (self.stamper, &mut self.telemetry);
        self.outlet.push(out.ticks.iter().map(|decoded| {
            let (tick, clocks) = stamper.stamp(decoded, ts_recv, origin);
            telemetry.tick(&tick.body, clocks);
            tick
        }))
    }

    /// Writes a refused input down.
    pub(crate) fn refuse(&mut self, offset: String, error: &DecodeError, input: &[u8], ts_recv: UnixNanos) {
        self.dead_letters.refuse(offset, error, input, ts_recv);
    }

    /// Tells a feed's condition: in the topic, the metrics and the status.
    pub(crate) fn tell(&mut self, feed: Feed, phase: FeedPhase, missing: u64, now: UnixNanos) {
        let instrument = self.plan.listed(feed.instrument).instrument;
        self.tell_of(instrument, feed.channel, phase, missing, now);
    }

    fn tell_of(&mut self, instrument: Instrument, channel: Channel, phase: FeedPhase, missing: u64, now: UnixNanos) {
        match phase {
            FeedPhase::Gap => {
                self.telemetry.gaps.increment(1);
                self.telemetry.missing.increment(missing);
                tracing::warn!(venue = %self.plan.venue, %instrument, ?channel, missing, "gap");
            }
            FeedPhase::Silent => {
                self.telemetry.silences.increment(1);
                tracing::warn!(venue = %self.plan.venue, %instrument, ?channel, "silent");
            }
            FeedPhase::Live | FeedPhase::Down => {}
        }
        let silent = self.telemetry.status.phase(instrument, channel, phase, now);
        self.telemetry.stale_feeds.set(silent as f64);
        let state = FeedState { venue: self.plan.venue, instrument, channel, phase, missing };
        let body = TickBody::FeedState(state);
        let tick = Tick { origin: self.outlet.origin(), ts_event: now, ts_recv: now, flags: TickFlags(0), body };
        // Feed states always find room.
        let _ = self.outlet.push([tick]);
    }

    /// Notes trouble with the venue in the log and the status.
    pub(crate) fn trouble(&self, what: String) {
        tracing::warn!(venue = %self.plan.venue, "{what}");
        self.telemetry.status.trouble(what);
    }

    /// Counts a connection as up or down.
    pub(crate) fn connected(&self, up: bool) {
        let connected = &self.telemetry.status.connected;
        if up {
            connected.fetch_add(1, Ordering::Relaxed)
        } else {
            connected.fetch_sub(1, Ordering::Relaxed)
        };
    }
}
