//! Captured frames through the same decoders as live ones.
//!
//! A capture is text, plain or gzip: one frame a line, `recv_unix_ns <frame>`. Several files are merged by time
//! of receipt, so that one file per instrument replays as one stream. Nothing is conflated or dropped: the
//! reading waits for the log.

mod lines;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use journal::Log;
use model::{FeedPhase, FeedState, Origin, Tick, TickBody, TickFlags, UnixNanos};
use rustc_hash::FxHashSet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::lines::{Line, Merged};
use crate::clock;
use crate::config::{IngestConfig, SourceConfig};
use crate::dead_letters::{DeadLetterOffice, DeadLetters};
use crate::decode::{Decoder, Feed, Output, Signal, decode_frame};
use crate::error::IngestError;
use crate::outlet::TickWriters;
use crate::refusal::{DecodeError, Refusal};
use crate::stamp::Stamper;
use crate::supervisor::{Topics, role, source_status};
use crate::telemetry::Telemetry;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as the log takes it.
    Max,
    /// So many times the speed of the capture; above zero.
    Times(f64),
}

/// What to replay.
#[derive(Debug, Clone)]
pub struct ReplayConfig {
    /// The venue the frames are from, and the instruments to take.
    pub source: SourceConfig,
    /// The captures, at most [`ReplayConfig::FILES_MAX`].
    pub files: Vec<PathBuf>,
    /// How fast.
    pub speed: Speed,
    /// Event times further from the recorder's are replaced by it.
    pub max_clock_skew: Duration,
}

impl ReplayConfig {
    /// Files of one replay, at most: each is held open.
    pub const FILES_MAX: usize = 64;
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of the files read so far, as they are on disk.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// Frames decoded.
    pub frames: u64,
    /// Ticks handed to the log.
    pub ticks: u64,
    /// Frames refused.
    pub refused: u64,
    /// Gaps told.
    pub gaps: u64,
    /// Time of receipt of the newest frame.
    pub at: UnixNanos,
}

/// Ticks that travel together from the reading thread.
#[derive(Debug, Default)]
struct Chunk {
    ticks: Vec<Tick>,
    progress: Progress,
}

/// Ticks of a chunk.
const CHUNK: usize = 1_024;
/// Chunks on their way.
const CHUNKS_MAX: usize = 8;

/// Replays captures into the topic `ticks` until their end or `cancel`; everything is durable when it returns.
/// The topics `ticks`, `control` and `dead-letters` must exist. `progress` is called a few hundred times a
/// second at most.
///
/// # Errors
/// When a file cannot be read, a topic is missing, or the log fails.
pub async fn run(
    config: ReplayConfig,
    log: Arc<dyn Log>,
    mut progress: impl FnMut(&Progress),
    cancel: CancellationToken,
) -> Result<Progress, IngestError> {
    IngestConfig::new(vec![config.source.clone()]).validate()?;
    let topics = Topics::of(&*log).await?;
    let instruments: Vec<_> = config.source.instruments.iter().map(|listed| listed.instrument).collect();
    let mut writers = TickWriters::new(role(config.source.venue), topics.ticks, 4);
    writers.claim(&*log, &instruments, clock::now()).await?;
    let office = DeadLetterOffice::new();
    let letters = office.handle(config.source.venue.as_str(), 10_000, Arc::new(AtomicU64::new(0)));
    let letters_written = tokio::spawn(office.write(Arc::clone(&log), topics.dead_letters));

    let (sender, mut chunks) = mpsc::channel(CHUNKS_MAX);
    // Dropped with this call, so that the thread ends when the caller loses interest.
    let stop = cancel.child_token();
    let _guard = stop.clone().drop_guard();
    let reading = tokio::task::spawn_blocking(move || Replay::new(config, letters, sender, stop)?.run());
    let mut last = Progress::default();
    while let Some(chunk) = chunks.recv().await {
        for tick in &chunk.ticks {
            writers.push(tick);
        }
        writers.flush().await?;
        last = chunk.progress;
        progress(&last);
    }
    writers.settle().await?;
    reading.await.map_err(|_| IngestError::Panicked("the replay's reader"))??;
    letters_written.await.map_err(|_| IngestError::Panicked("the writer of dead letters"))??;
    Ok(last)
}

/// The reading thread.
struct Replay {
    speed: Speed,
    merged: Merged,
    decoder: Box<dyn Decoder>,
    config: SourceConfig,
    stamper: Stamper,
    telemetry: Telemetry,
    letters: DeadLetters,
    chunks: mpsc::Sender<Chunk>,
    stop: CancellationToken,
    bytes: Arc<AtomicU64>,
    origin: Origin,
    live: FxHashSet<Feed>,
    chunk: Chunk,
    out: Output,
}

/// The other side is gone, or the replay was cancelled.
struct Stopped;

impl Replay {
    fn new(
        config: ReplayConfig,
        letters: DeadLetters,
        chunks: mpsc::Sender<Chunk>,
        stop: CancellationToken,
    ) -> Result<Self, IngestError> {
        let bytes = Arc::new(AtomicU64::new(0));
        let merged = Merged::open(&config.files, &bytes)?;
        let mut chunk = Chunk::default();
        chunk.progress.bytes_total = merged.bytes_total();
        let source = config.source;
        Ok(Self {
            speed: config.speed,
            merged,
            decoder: source.connector.decoder(&source.plan(&source.instruments)),
            stamper: Stamper::new(config.max_clock_skew),
            telemetry: Telemetry::new(source.venue, source_status(&source)),
            letters,
            chunks,
            stop,
            bytes,
            origin: Origin::Root { role: role(source.venue), epoch: 0, sequence: 0 },
            config: source,
            live: FxHashSet::default(),
            chunk,
            out: Output::default(),
        })
    }

    fn run(mut self) -> Result<(), IngestError> {
        let mut start: Option<(UnixNanos, Instant)> = None;
        let mut line = Line::default();
        while self.merged.next(&mut line)? {
            if let (Speed::Times(times), Some(ts_recv)) = (self.speed, line.ts_recv) {
                let (first, began) = *start.get_or_insert((ts_recv, Instant::now()));
                let offset = Duration::from_nanos(ts_recv.since(first).max(0).unsigned_abs());
                if self.wait_until(began + offset.div_f64(times.max(1e-6))).is_err() {
                    return Ok(());
                }
            }
            self.line(&line);
            if self.chunk.ticks.len() >= CHUNK && self.hand_over().is_err() {
                return Ok(());
            }
        }
        // Nobody is left to hear of it when this fails.
        let _ = self.hand_over();
        Ok(())
    }

    fn line(&mut self, line: &Line) {
        let Some(ts_recv) = line.ts_recv else {
            let refusal = if line.too_long {
                Refusal::TooLarge { bytes: line.bytes, max: Line::BYTES_MAX }
            } else {
                Refusal::UnknownFrame("a line without a time of receipt")
            };
            return self.refuse(line, &refusal.into(), clock::now());
        };
        self.chunk.progress.frames += 1;
        self.chunk.progress.at = ts_recv;
        self.telemetry.frame(ts_recv);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        if let Err(error) = decode_frame(&mut *self.decoder, line.frame(), ts_recv, &mut out) {
            self.refuse(line, &error, ts_recv);
        }
        self.telemetry.duplicates(out.duplicates);
        for feed in &out.seen {
            if self.live.insert(*feed) {
                self.tell(*feed, FeedPhase::Live, 0, ts_recv);
            }
        }
        for signal in &out.signals {
            match signal {
                Signal::Gap { feed, missing } => {
                    self.chunk.progress.gaps += 1;
                    self.telemetry.gaps.increment(1);
                    self.telemetry.missing.increment(*missing);
                    self.tell(*feed, FeedPhase::Gap, *missing, ts_recv);
                }
                Signal::Recovered(feed) => self.tell(*feed, FeedPhase::Live, 0, ts_recv),
                // A capture holds what it holds.
                Signal::NeedSnapshot(_) | Signal::Resubscribe(_) | Signal::Reconnect(_) | Signal::Subscribed(_) => {}
            }
        }
        for decoded in &out.ticks {
            let (tick, clocks) = self.stamper.stamp(decoded, ts_recv, self.origin);
            self.telemetry.tick(&tick.body, clocks);
            self.chunk.ticks.push(tick);
        }
        self.out = out;
    }

    fn tell(&mut self, feed: Feed, phase: FeedPhase, missing: u64, at: UnixNanos) {
        let instrument = self.config.instruments[feed.instrument as usize].instrument;
        let state = FeedState { venue: self.config.venue, instrument, channel: feed.channel, phase, missing };
        let body = TickBody::FeedState(state);
        self.chunk.ticks.push(Tick { origin: self.origin, ts_event: at, ts_recv: at, flags: TickFlags(0), body });
    }

    fn refuse(&mut self, line: &Line, error: &DecodeError, ts_recv: UnixNanos) {
        self.chunk.progress.refused += 1;
        let offset = format!("{}:{}", self.merged.path(line).display(), line.number);
        self.letters.refuse(offset, error, line.frame(), ts_recv);
    }

    fn hand_over(&mut self) -> Result<(), Stopped> {
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        self.telemetry.settle(tokio::time::Instant::now());
        self.chunk.progress.bytes = self.bytes.load(Ordering::Relaxed);
        self.chunk.progress.ticks += self.chunk.ticks.len() as u64;
        let progress = self.chunk.progress;
        let full = std::mem::replace(&mut self.chunk, Chunk { ticks: Vec::with_capacity(CHUNK + 64), progress });
        self.chunks.blocking_send(full).map_err(|_| Stopped)
    }

    /// Sleeps in short steps, so that a cancelled replay ends; what was read before goes on its way first.
    fn wait_until(&mut self, due: Instant) -> Result<(), Stopped> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if left > Duration::from_millis(1) && !self.chunk.ticks.is_empty() {
                self.hand_over()?;
            }
            if self.stop.is_cancelled() {
                return Err(Stopped);
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}
