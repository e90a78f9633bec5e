//! Room ahead of the writer: segment files whose every block is written before they are needed, so that a
//! sync on the hot path never has to commit the file system's metadata. One thread prepares them, more of
//! them while the rate is high; files that retention freed are used again.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::EmbeddedConfig;
use super::disk::{Disk, DiskFile, write_all};
use super::format::{FRAME_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_HEADER, segment_name};
use super::partition::lock;
use super::segment::usable;
use crate::error::LogError;

/// Bytes filled and synced at once: little, so that the writer's own sync hardly ever waits for them.
const FILL_BYTES: usize = 256 << 10;
/// Bytes filled per second at least, once something is ready.
const FILL_RATE_MIN: u64 = 32 << 20;
/// Seconds of writing at the present rate to keep prepared.
const AHEAD_SECONDS: u64 = 4;
/// How long to wait before trying a full disk again.
const RETRY: Duration = Duration::from_millis(200);
/// How often the rate is measured.
const SAMPLE: Duration = Duration::from_millis(250);

/// A segment file that holds nothing yet.
#[derive(Debug)]
pub(super) struct Spare<F> {
    /// Its number.
    pub number: u64,
    /// The file.
    pub file: F,
    /// Its length.
    pub capacity: u64,
}

/// A segment that is no longer needed.
#[derive(Debug)]
pub(super) enum Freed<F> {
    /// To be used again.
    Reusable(Spare<F>),
    /// To be removed: a reader still has it open.
    Busy(u64),
}

#[derive(Debug)]
struct State<F> {
    /// In the order they will be used.
    ready: VecDeque<Spare<F>>,
    /// Freed by retention, still under their old number, oldest first: a reopened log must find no hole.
    freed: VecDeque<Freed<F>>,
    /// Number for the next file.
    next: u64,
    /// Bytes that the writer waits for in one file.
    wanted: Option<u64>,
    /// Why nothing more can be prepared.
    full: Option<String>,
    /// Tries so far.
    tries: u64,
    /// When to try a full disk again.
    retry_at: Instant,
    stopping: bool,
}

/// The prepared files and what is known of the disk.
#[derive(Debug)]
pub(super) struct Room<D: Disk> {
    disk: D,
    dir: PathBuf,
    config: EmbeddedConfig,
    state: Mutex<State<D::File>>,
    changed: Condvar,
    is_full: AtomicBool,
    ready_bytes: AtomicU64,
    /// Bytes left in the segment that is being written.
    pub current_left: AtomicU64,
    /// Bytes written since the start, for the rate.
    pub written: AtomicU64,
    /// The rate, bytes per second.
    rate: AtomicU64,
}

enum Job<F> {
    Stop,
    Extend(Spare<F>, u64),
    Reuse(Spare<F>),
    Fill { number: u64, bytes: u64 },
    Remove(u64),
    Wait(Duration),
}

impl<D: Disk> Room<D> {
    pub(super) fn new(disk: D, dir: PathBuf, config: EmbeddedConfig, ready: Vec<Spare<D::File>>, next: u64) -> Self {
        let ready_bytes = ready.iter().map(|spare| room_in(spare.capacity)).sum();
        let state = State {
            ready: ready.into(),
            freed: VecDeque::new(),
            next,
            wanted: None,
            full: None,
            tries: 0,
            retry_at: Instant::now(),
            stopping: false,
        };
        Self {
            disk,
            dir,
            config,
            state: Mutex::new(state),
            changed: Condvar::new(),
            is_full: AtomicBool::new(false),
            ready_bytes: AtomicU64::new(ready_bytes),
            current_left: AtomicU64::new(0),
            written: AtomicU64::new(0),
            rate: AtomicU64::new(0),
        }
    }

    /// Refuses a batch when the disk is full and too little prepared room is left for it. `ahead` bytes are
    /// accepted and not yet written.
    pub(super) fn admit(&self, bytes: u64, ahead: u64, keep_reserve: bool) -> Result<(), LogError> {
        if !self.is_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = self.ready_bytes.load(Ordering::Relaxed) + self.current_left.load(Ordering::Relaxed);
        let reserve = if keep_reserve { self.config.reserve_bytes } else { 0 };
        if bytes + ahead + reserve <= left {
            return Ok(());
        }
        match &lock(&self.state).full {
            Some(reason) => {
                Err(LogError::Full(format!("{left} bytes of prepared room left, {reserve} reserved: {reason}")))
            }
            None => Ok(()),
        }
    }

    /// Why nothing can be prepared, once the room left does not surely take the next batch.
    pub(super) fn shortage(&self) -> Option<LogError> {
        self.admit(FRAME_BYTES_MAX as u64, 0, true).err()
    }

    /// A file of at least `need` bytes; waits for it.
    pub(super) fn take(&self, need: u64) -> Result<Spare<D::File>, LogError> {
        let mut state = lock(&self.state);
        let tries = state.tries;
        loop {
            if state.ready.front().is_some_and(|spare| spare.capacity >= need) {
                state.wanted = None;
                let spare = state.ready.pop_front().expect("there is a front");
                self.count(&state);
                self.changed.notify_all();
                return Ok(spare);
            }
            if let Some(reason) = &state.full
                && state.tries > tries
            {
                let refusal = LogError::Full(reason.clone());
                state.wanted = None;
                return Err(refusal);
            }
            if state.stopping {
                return Err(LogError::Closed);
            }
            state.wanted = Some(need);
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives back a file that holds nothing that is still needed; the oldest first.
    pub(super) fn free(&self, freed: Freed<D::File>) {
        lock(&self.state).freed.push_back(freed);
        self.changed.notify_all();
    }

    /// Ends the preparing thread.
    pub(super) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }

    fn count(&self, state: &State<D::File>) {
        self.ready_bytes.store(state.ready.iter().map(|spare| room_in(spare.capacity)).sum(), Ordering::Relaxed);
        metrics::gauge!("millrace_log_prepared_bytes").set(self.ready_bytes.load(Ordering::Relaxed) as f64);
    }

    /// The preparing thread.
    pub(super) fn run(self: Arc<Self>) {
        let mut rate = Rate::new();
        loop {
            let job = {
                let mut state = lock(&self.state);
                rate.sample(self.written.load(Ordering::Relaxed));
                self.rate.store(rate.per_second, Ordering::Relaxed);
                self.next_job(&mut state, rate.per_second)
            };
            match job {
                Job::Stop => return,
                Job::Wait(time) => {
                    let state = lock(&self.state);
                    if !state.stopping && state.wanted.is_none() {
                        drop(self.changed.wait_timeout(state, time));
                    }
                }
                Job::Remove(number) => {
                    if let Err(error) = self.disk.remove(&self.path(number)) {
                        tracing::warn!(segment = number, %error, "cannot remove a freed segment");
                    }
                    // There is room now that a full disk had not.
                    lock(&self.state).retry_at = Instant::now();
                }
                Job::Extend(spare, need) => self.finish(self.extend(spare, need), true),
                Job::Reuse(spare) => self.finish(self.reuse(spare), false),
                Job::Fill { number, bytes } => self.finish(self.fill(number, bytes), true),
            }
        }
    }

    fn next_job(&self, state: &mut State<D::File>, rate: u64) -> Job<D::File> {
        if state.stopping {
            return Job::Stop;
        }
        let size =
            (rate * 2).next_multiple_of(1 << 20).clamp(self.config.segment_bytes_min, self.config.segment_bytes_max);
        let ahead = (rate * AHEAD_SECONDS).clamp(size, self.config.ahead_bytes_max.max(size));
        let target = self.config.reserve_bytes + ahead;
        let ready: u64 = state.ready.iter().map(|spare| spare.capacity).sum();
        if let Some(need) = state.wanted {
            match state.ready.front() {
                Some(front) if front.capacity < need => {
                    let front = state.ready.pop_front().expect("there is a front");
                    return Job::Extend(front, need);
                }
                Some(_) => {}
                None => {
                    return match state.freed.pop_front() {
                        Some(Freed::Reusable(spare)) => Job::Reuse(spare),
                        Some(Freed::Busy(number)) => Job::Remove(number),
                        None => Job::Fill { number: state.next, bytes: need.max(size) },
                    };
                }
            }
        }
        let most = target + self.config.segment_bytes_max;
        match state.freed.pop_front() {
            Some(Freed::Reusable(spare)) if ready < most => return Job::Reuse(spare),
            Some(Freed::Reusable(Spare { number, .. }) | Freed::Busy(number)) => return Job::Remove(number),
            None => {}
        }
        if ready < target && (state.full.is_none() || Instant::now() >= state.retry_at) {
            return Job::Fill { number: state.next, bytes: size };
        }
        if ready > 2 * most {
            let newest = state.ready.pop_back().expect("more is ready than wanted");
            self.count(state);
            return Job::Remove(newest.number);
        }
        Job::Wait(if state.full.is_some() { RETRY } else { SAMPLE })
    }

    /// `proves_room`: whether success says that the disk has room again.
    fn finish(&self, result: io::Result<Spare<D::File>>, proves_room: bool) {
        let mut state = lock(&self.state);
        match result {
            Ok(spare) => {
                state.next = state.next.max(spare.number + 1);
                // An extended file keeps its place in the order.
                let at = state.ready.partition_point(|ready| ready.number < spare.number);
                state.ready.insert(at, spare);
                if proves_room && state.full.take().is_some() {
                    tracing::info!("room can be prepared for the log again");
                }
            }
            Err(_) if state.stopping => {}
            Err(error) => {
                if state.full.is_none() {
                    tracing::warn!(%error, "no more room can be prepared for the log");
                }
                state.full = Some(format!("preparing a segment: {error}"));
                state.retry_at = Instant::now() + RETRY;
            }
        }
        state.tries += 1;
        self.count(&state);
        self.is_full.store(state.full.is_some(), Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(segment_name(number))
    }

    fn reuse(&self, spare: Spare<D::File>) -> io::Result<Spare<D::File>> {
        let number = lock(&self.state).next;
        self.disk.rename(&self.path(spare.number), &self.path(number))?;
        self.disk.sync_dir(&self.dir)?;
        Ok(Spare { number, ..spare })
    }

    fn extend(&self, spare: Spare<D::File>, need: u64) -> io::Result<Spare<D::File>> {
        let from = spare.capacity;
        match self.zero(&spare.file, from, need, need) {
            Ok(capacity) => Ok(Spare { capacity, ..spare }),
            Err(error) => {
                // Keep the smaller file: other batches fit.
                spare.file.truncate(from)?;
                let mut state = lock(&self.state);
                state.ready.push_front(spare);
                Err(error)
            }
        }
    }

    fn fill(&self, number: u64, bytes: u64) -> io::Result<Spare<D::File>> {
        let path = self.path(number);
        let file = self.disk.create(&path)?;
        // A quarter of a second of writing, so that files are not changed all the time.
        let least = self.config.segment_bytes_min;
        let enough = (self.rate.load(Ordering::Relaxed) / 4).clamp(least, self.config.segment_bytes_max);
        let filled = self
            .zero(&file, 0, bytes.min(SEGMENT_BYTES_MAX), enough)
            .and_then(|capacity| self.disk.sync_dir(&self.dir).map(|()| capacity));
        match filled {
            Ok(capacity) => Ok(Spare { number, file, capacity }),
            Err(error) => {
                // What is there may be all the room there was.
                let _ = file.truncate(0);
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }

    /// Writes zeros from `from` to `to`, piece by piece. Stops early, from `enough` on, when the writer waits.
    ///
    /// In a hurry nothing is synced: the room is taken, and the writer's own sync makes the file durable.
    fn zero(&self, file: &D::File, from: u64, to: u64, enough: u64) -> io::Result<u64> {
        let zeros = vec![0_u8; FILL_BYTES.min((to - from) as usize)];
        let (mut at, mut unsynced) = (from, false);
        while at < to {
            let (wanted, stopping) = {
                let state = lock(&self.state);
                (state.wanted, state.stopping)
            };
            if stopping {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if wanted.is_some_and(|wanted| at >= enough.max(wanted)) {
                return Ok(at);
            }
            let hurried = wanted.is_some() || self.ready_bytes.load(Ordering::Relaxed) == 0;
            let begun = Instant::now();
            let piece = (to - at).min(zeros.len() as u64);
            write_all(file, &zeros[..piece as usize], at)?;
            at += piece;
            unsynced = hurried;
            if !hurried {
                file.sync()?;
                self.pause(piece, begun.elapsed());
            }
        }
        if unsynced && lock(&self.state).wanted.is_none() {
            file.sync()?;
        }
        Ok(at)
    }

    /// Leaves the disk to the writer for a while: filling goes twice as fast as the log is written.
    fn pause(&self, filled: u64, took: Duration) {
        let rate = (2 * self.rate.load(Ordering::Relaxed)).max(FILL_RATE_MIN);
        let rest = Duration::from_nanos(filled * 1_000_000_000 / rate).saturating_sub(took);
        let state = lock(&self.state);
        if !rest.is_zero() && state.wanted.is_none() && !state.stopping {
            drop(self.changed.wait_timeout(state, rest));
        }
    }
}

/// Bytes that records may take in a segment file, after its header and a checkpoint of usual size.
fn room_in(capacity: u64) -> u64 {
    usable(capacity).saturating_sub(2 * SEGMENT_HEADER as u64)
}

/// Bytes written per second, smoothed; rises at once and falls slowly.
#[derive(Debug)]
struct Rate {
    at: Instant,
    written: u64,
    per_second: u64,
}

impl Rate {
    fn new() -> Self {
        Self { at: Instant::now(), written: 0, per_second: 0 }
    }

    fn sample(&mut self, written: u64) {
        let passed = self.at.elapsed();
        if passed < SAMPLE {
            return;
        }
        let now = (written - self.written) * 1000 / (passed.as_millis() as u64).max(1);
        self.per_second = now.max(self.per_second - self.per_second / 16);
        self.written = written;
        self.at = Instant::now();
    }
}
