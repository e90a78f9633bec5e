//! What each source is doing, for health checks and the terminal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use model::{Channel, FeedPhase, Instrument, UnixNanos, Venue};

/// Live figures of every source. Cheap to read at any time.
#[derive(Debug)]
pub struct Status {
    sources: Vec<Arc<SourceStatus>>,
}

/// A feed's condition and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct FeedReport {
    /// What.
    pub instrument: Instrument,
    /// Which stream.
    pub channel: Channel,
    /// Its condition. `Down` also before its first sign of life.
    pub phase: FeedPhase,
    /// Since when.
    pub since: UnixNanos,
}

/// One source at a moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SourceReport {
    /// The source's name.
    pub venue: Venue,
    /// The venue's kind.
    pub kind: &'static str,
    /// Connections that it should have.
    pub connections: u64,
    /// Connections that are up.
    pub connected: u64,
    /// Frames and REST answers received.
    pub frames: u64,
    /// Ticks given.
    pub ticks: u64,
    /// Gaps told.
    pub gaps: u64,
    /// Silences told. A feed that answers its new subscription lives again within milliseconds: who looks now and
    /// then sees a silence here and not in `feeds`.
    pub silences: u64,
    /// Connections made after the first ones.
    pub reconnects: u64,
    /// Inputs refused.
    pub dead_letters: u64,
    /// When the last frame came; 0 for never.
    pub last_frame: UnixNanos,
    /// Receipt minus event of the last tick with a time, nanoseconds; negative when the venue is ahead.
    pub lag_ns: i64,
    /// The last trouble, where there was one.
    pub trouble: Option<String>,
    /// Every feed.
    pub feeds: Vec<FeedReport>,
}

impl SourceReport {
    /// Whether every feed lives and every connection is up.
    pub fn is_healthy(&self) -> bool {
        self.connected == self.connections && self.feeds.iter().all(|feed| feed.phase == FeedPhase::Live)
    }
}

/// The figures of one source, as its tasks keep them.
#[derive(Debug)]
pub(crate) struct SourceStatus {
    venue: Venue,
    kind: &'static str,
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) ticks: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) silences: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) dead_letters: Arc<AtomicU64>,
    pub(crate) last_frame: AtomicI64,
    pub(crate) lag_ns: AtomicI64,
    slow: Mutex<Slow>,
}

/// What changes seldom.
#[derive(Debug, Default)]
struct Slow {
    trouble: Option<String>,
    feeds: BTreeMap<(Instrument, Channel), (FeedPhase, UnixNanos)>,
}

impl SourceStatus {
    pub(crate) fn new(venue: Venue, kind: &'static str, feeds: impl Iterator<Item = (Instrument, Channel)>) -> Self {
        let feeds = feeds.map(|feed| (feed, (FeedPhase::Down, UnixNanos(0)))).collect();
        Self {
            venue,
            kind,
            connections: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            silences: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            dead_letters: Arc::new(AtomicU64::new(0)),
            last_frame: AtomicI64::new(0),
            lag_ns: AtomicI64::new(0),
            slow: Mutex::new(Slow { trouble: None, feeds }),
        }
    }

    /// Notes a feed's condition and returns how many feeds are silent. A gap is a moment: the feed stays what
    /// it was.
    pub(crate) fn phase(&self, instrument: Instrument, channel: Channel, phase: FeedPhase, now: UnixNanos) -> usize {
        let mut slow = self.slow();
        if phase == FeedPhase::Gap {
            self.gaps.fetch_add(1, Ordering::Relaxed);
        } else {
            slow.feeds.insert((instrument, channel), (phase, now));
        }
        if phase == FeedPhase::Silent {
            self.silences.fetch_add(1, Ordering::Relaxed);
        }
        slow.feeds.values().filter(|(phase, _)| *phase == FeedPhase::Silent).count()
    }

    /// Notes the last trouble.
    pub(crate) fn trouble(&self, what: String) {
        self.slow().trouble = Some(what);
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn report(&self) -> SourceReport {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let slow = self.slow();
        let feeds = slow.feeds.iter().map(|((instrument, channel), (phase, since))| FeedReport {
            instrument: *instrument,
            channel: *channel,
            phase: *phase,
            since: *since,
        });
        SourceReport {
            venue: self.venue,
            kind: self.kind,
            connections: load(&self.connections),
            connected: load(&self.connected),
            frames: load(&self.frames),
            ticks: load(&self.ticks),
            gaps: load(&self.gaps),
            silences: load(&self.silences),
            reconnects: load(&self.reconnects),
            dead_letters: load(&self.dead_letters),
            last_frame: UnixNanos(self.last_frame.load(Ordering::Relaxed)),
            lag_ns: self.lag_ns.load(Ordering::Relaxed),
            trouble: slow.trouble.clone(),
            feeds: feeds.collect(),
        }
    }
}

impl Status {
    pub(crate) fn new(sources: Vec<Arc<SourceStatus>>) -> Self {
        Self { sources }
    }

    /// Every source now, in the order of the configuration.
    pub fn report(&self) -> Vec<SourceReport> {
        self.sources.iter().map(|source| source.report()).collect()
    }
}
