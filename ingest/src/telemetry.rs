//! A source's counters, registered once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::{Counter, Gauge};
use model::{TickBody, Venue};
use tokio::time::{Duration, Instant};

use crate::stamp::Clocks;
use crate::status::SourceStatus;

/// Metrics and status of one source, as one connection feeds them.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) status: Arc<SourceStatus>,
    frames: Counter,
    trades: Counter,
    quotes: Counter,
    tickers: Counter,
    duplicates: Counter,
    pub(crate) gaps: Counter,
    pub(crate) missing: Counter,
    pub(crate) reconnects: Counter,
    pub(crate) silences: Counter,
    pub(crate) stale_feeds: Gauge,
    replaced: Counter,
    lag: Gauge,
    skew: Gauge,
    lags: Lags,
}

impl Telemetry {
    pub(crate) fn new(venue: Venue, status: Arc<SourceStatus>) -> Self {
        let venue = venue.to_string();
        let ticks = |kind: &'static str| metrics::counter!("millrace_ingest_ticks_total", "venue" => venue.clone(), "kind" => kind);
        Self {
            status,
            frames: metrics::counter!("millrace_ingest_frames_total", "venue" => venue.clone()),
            trades: ticks("trade"),
            quotes: ticks("quote"),
            tickers: ticks("ticker"),
            duplicates: metrics::counter!("millrace_ingest_duplicates_total", "venue" => venue.clone()),
            gaps: metrics::counter!("millrace_ingest_gaps_total", "venue" => venue.clone()),
            missing: metrics::counter!("millrace_ingest_missing_total", "venue" => venue.clone()),
            reconnects: metrics::counter!("millrace_ingest_reconnects_total", "venue" => venue.clone()),
            silences: metrics::counter!("millrace_ingest_silences_total", "venue" => venue.clone()),
            stale_feeds: metrics::gauge!("millrace_ingest_stale_feeds", "venue" => venue.clone()),
            replaced: metrics::counter!("millrace_ingest_times_replaced_total", "venue" => venue.clone()),
            lag: metrics::gauge!("millrace_ingest_lag_seconds", "venue" => venue.clone()),
            skew: metrics::gauge!("millrace_ingest_clock_skew_seconds", "venue" => venue),
            lags: Lags::default(),
        }
    }

    /// One frame or answer came.
    pub(crate) fn frame(&self, ts_recv: model::UnixNanos) {
        self.frames.increment(1);
        self.status.frames.fetch_add(1, Ordering::Relaxed);
        self.status.last_frame.store(ts_recv.0, Ordering::Relaxed);
    }

    /// Repeats were dropped.
    pub(crate) fn duplicates(&self, count: u64) {
        if count > 0 {
            self.duplicates.increment(count);
        }
    }

    /// One tick was given.
    pub(crate) fn tick(&mut self, body: &TickBody, clocks: Clocks) {
        match body {
            TickBody::Trade(_) => self.trades.increment(1),
            TickBody::Quote(_) => self.quotes.increment(1),
            TickBody::Ticker(_) => self.tickers.increment(1),
            _ => {}
        }
        self.status.ticks.fetch_add(1, Ordering::Relaxed);
        let lag = match clocks {
            Clocks::Lag(lag) => lag,
            Clocks::Replaced(lag) => {
                self.replaced.increment(1);
                lag
            }
            Clocks::NoTime => return,
        };
        self.status.lag_ns.store(lag, Ordering::Relaxed);
        self.lags.note(lag);
    }

    /// Sets the gauges of lag and skew; a few times a second is plenty.
    pub(crate) fn settle(&mut self, now: Instant) {
        let seconds = |nanos: i64| nanos as f64 / 1e9;
        if let Some(lag) = self.lags.last {
            self.lag.set(seconds(lag));
        }
        if let Some(skew) = self.lags.smallest(now) {
            self.skew.set(seconds(skew));
        }
    }
}

/// The newest lag, and the smallest of the last ten seconds: the transport only ever adds, so the smallest is
/// the best guess at how far the clocks are apart.
#[derive(Debug, Default)]
struct Lags {
    last: Option<i64>,
    /// The smallest since the last look.
    current: Option<i64>,
    /// The smallest of each look.
    looks: VecDeque<(Instant, i64)>,
}

impl Lags {
    const SPAN: Duration = Duration::from_secs(10);

    fn note(&mut self, lag: i64) {
        self.last = Some(lag);
        self.current = Some(self.current.map_or(lag, |smallest| smallest.min(lag)));
    }

    fn smallest(&mut self, now: Instant) -> Option<i64> {
        while self.looks.front().is_some_and(|(at, _)| now.duration_since(*at) > Self::SPAN) {
            self.looks.pop_front();
        }
        if let Some(current) = self.current.take() {
            self.looks.push_back((now, current));
        }
        self.looks.iter().map(|(_, lag)| *lag).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_the_smallest_lag_of_ten_seconds() {
        let mut lags = Lags::default();
        let start = Instant::now();
        for (second, lag) in [(0, -900), (1, -800), (9, -700)] {
            lags.note(lag);
            assert_eq!(lags.smallest(start + Duration::from_secs(second)), Some(-900), "{second}");
        }
        assert_eq!(lags.smallest(start + Duration::from_secs(11)), Some(-800));
        assert_eq!(lags.smallest(start + Duration::from_secs(30)), None);
        assert_eq!(lags.last, Some(-700));
    }
}
