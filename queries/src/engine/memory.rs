//! What the statements hold, and what the process really does.
//!
//! DataFusion counts what sorts, joins and groups keep, and not what they hold for a moment while they copy it. So the
//! worker looks at itself: near its bound the statements that hold more than their part are refused more, and past that
//! one is ended, with a sentence: of those that are counted above their part the largest, else the oldest. The others go
//! on. Where that does not help the process ends, and the system enforces a bound above that.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use tokio_util::sync::CancellationToken;

use crate::error::SqlError;

/// Pause between two looks. Two cores fill 20 MiB in it.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Pause while there is no statement.
const LOOK_IDLE: Duration = Duration::from_millis(25);
/// Time that an ended statement has to let go, before the next one is ended.
const LETTING_GO: Duration = Duration::from_secs(1);
/// Time in which ending statements has to help; then the process ends.
const STUCK: Duration = Duration::from_secs(5);
/// So far below its bound the process refuses more to whoever holds much.
const REFUSE_BEFORE: usize = 256 << 20;
/// So far below its bound it ends whoever holds most: for what comes between a look and the end.
const END_BEFORE: usize = 128 << 20;
/// Kind of the entry of `/proc/self/auxv` that has the size of a page (getauxval(3)).
const AT_PAGESZ: usize = 6;

/// The memory that all statements of an engine share.
#[derive(Debug)]
pub(super) struct Memory {
    pool: Arc<dyn MemoryPool>,
    /// Bytes that a statement may hold whatever the others do.
    part: usize,
    /// Bytes that the process may hold; `usize::MAX` where nobody looks.
    bound: AtomicUsize,
    /// Bytes that it holds, at the last look.
    held: AtomicUsize,
    running: Mutex<Vec<Weak<Share>>>,
}

/// What one statement holds of it.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    used: AtomicUsize,
    ended: CancellationToken,
}

impl Memory {
    pub(super) fn new(pool: Arc<dyn MemoryPool>, part: usize) -> Self {
        Self { pool, part, bound: AtomicUsize::new(usize::MAX), held: AtomicUsize::new(0), running: Mutex::default() }
    }

    /// A new statement's share.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        let share =
            Arc::new(Share { memory: Arc::clone(self), used: AtomicUsize::new(0), ended: CancellationToken::new() });
        let mut running = self.running();
        running.retain(|other| other.strong_count() > 0);
        running.push(Arc::downgrade(&share));
        share
    }

    fn running(&self) -> MutexGuard<'_, Vec<Weak<Share>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the process to `bound` bytes of memory of its own, from a thread that looks until the engine is gone. It ends
    /// the process where ending statements does not help.
    ///
    /// # Errors
    /// When the system does not say what the process holds, or gives no thread.
    pub(super) fn watch(self: &Arc<Self>, bound: usize) -> io::Result<()> {
        let statm = File::open("/proc/self/statm")?;
        let page = page_bytes()?;
        self.look(held_bytes(&statm, page)?, bound);
        let memory = Arc::downgrade(self);
        let watching = move || {
            let mut watch = Watch::default();
            while let Some(memory) = memory.upgrade() {
                if let Ok(held) = held_bytes(&statm, page) {
                    memory.look(held, bound);
                    watch.act(&memory, held, bound, Instant::now());
                }
                let is_idle = memory.running().iter().all(|share| share.strong_count() == 0);
                drop(memory);
                std::thread::sleep(if is_idle { LOOK_IDLE } else { LOOK_EVERY });
            }
        };
        std::thread::Builder::new().name("memory".to_owned()).spawn(watching).map(drop)
    }

    fn look(&self, held: usize, bound: usize) {
        self.held.store(held, Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// Ends a statement: of those above their part the largest, else the oldest, since not everything is counted.
    fn end_one(&self) -> Option<Arc<Share>> {
        let running: Vec<Arc<Share>> = self.running().iter().filter_map(Weak::upgrade).collect();
        let above = |share: &Arc<Share>| {
            let used = share.used.load(Ordering::Relaxed);
            if used > self.part { used } else { 0 }
        };
        // Of equals the last one is taken: the oldest, in this order.
        let alive = running.iter().rev().filter(|share| !share.ended.is_cancelled());
        let chosen = Arc::clone(alive.max_by_key(|share| above(share))?);
        chosen.ended.cancel();
        tracing::warn!(
            held_mib = self.held.load(Ordering::Relaxed) >> 20,
            counted_mib = chosen.used.load(Ordering::Relaxed) >> 20,
            "memory is short: a statement is ended"
        );
        Some(chosen)
    }

    /// Why a statement may not hold more now.
    fn refusal(&self, used: usize, additional: usize) -> Option<String> {
        let (held, bound) = (self.held.load(Ordering::Relaxed), self.bound.load(Ordering::Relaxed));
        let is_short = held.saturating_add(additional) > bound.saturating_sub(REFUSE_BEFORE);
        (is_short && used.saturating_add(additional) > self.part).then(|| {
            format!(
                "the engine holds {} of its {} MiB, {} of them for this statement, which asked for {} more",
                held >> 20,
                bound >> 20,
                used >> 20,
                megabytes(additional)
            )
        })
    }
}

/// What the watching thread remembers.
#[derive(Debug, Default)]
struct Watch {
    /// The statement that was ended last, while it lets go, and when that was.
    ending: Option<(Weak<Share>, Instant)>,
    /// Since when memory is short.
    short_since: Option<Instant>,
}

impl Watch {
    fn act(&mut self, memory: &Memory, held: usize, bound: usize, now: Instant) {
        if held < bound.saturating_sub(END_BEFORE) {
            self.short_since = None;
            return;
        }
        let since = *self.short_since.get_or_insert(now);
        if now.duration_since(since) >= STUCK {
            tracing::error!(held_mib = held >> 20, bound_mib = bound >> 20, "memory stays short: the worker ends");
            std::process::exit(1);
        }
        // Until it has let go, what it held is no reason to end another one, unless there is no time left.
        let is_letting_go = self.ending.as_ref().is_some_and(|(share, at)| {
            share.strong_count() > 0 && now.duration_since(*at) < LETTING_GO && held < bound
        });
        if !is_letting_go {
            self.ending = memory.end_one().map(|share| (Arc::downgrade(&share), now));
        }
    }
}

/// Enough digits for what is small.
fn megabytes(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Bytes of a page.
fn page_bytes() -> io::Result<usize> {
    let entries = fs::read("/proc/self/auxv")?;
    let (words, _) = entries.as_chunks::<{ size_of::<usize>() }>();
    let mut pairs = words.chunks_exact(2).map(|pair| (usize::from_ne_bytes(pair[0]), usize::from_ne_bytes(pair[1])));
    let found = pairs.find_map(|(kind, value)| (kind == AT_PAGESZ).then_some(value));
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Bytes of memory that is this process's alone: files that are mapped do not count.
fn held_bytes(statm: &File, page: usize) -> io::Result<usize> {
    let mut text = [0; 128];
    let len = statm.read_at(&mut text, 0)?;
    // "size resident shared text lib data dt", in pages (proc_pid_statm(5)).
    let text = std::str::from_utf8(&text[..len]).map_err(io::Error::other)?;
    let mut numbers = text.split_ascii_whitespace().skip(1).map_while(|number| number.parse::<usize>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(resident), Some(shared)) => Ok(resident.saturating_sub(shared) * page),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Share {
    /// Done once the statement has to end because memory is short.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// What it ends with.
    pub(crate) fn error(&self) -> SqlError {
        let bound = self.memory.bound.load(Ordering::Relaxed) >> 20;
        SqlError::limit(format!(
            "the engine came near its {bound} MiB of memory, and this statement, the largest or the oldest, was ended: ask \
             for fewer rows or columns"
        ))
    }
}

impl Display for Share {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.memory.pool.fmt(out)
    }
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.memory.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.memory.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.memory.pool.grow(reservation, additional);
        self.used.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.memory.pool.shrink(reservation, shrink);
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        if let Some(refusal) = self.memory.refusal(self.used.load(Ordering::Relaxed), additional) {
            return Err(DataFusionError::ResourcesExhausted(refusal));
        }
        self.memory.pool.try_grow(reservation, additional)?;
        self.used.fetch_add(additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.memory.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.memory.pool.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    const MIB: usize = 1 << 20;

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(Arc::new(GreedyMemoryPool::new(1_000 * MIB)), 100 * MIB))
    }

    fn reserve(share: &Arc<Share>, bytes: usize) -> DfResult<MemoryReservation> {
        let pool: Arc<dyn MemoryPool> = Arc::clone(share) as Arc<dyn MemoryPool>;
        let reservation = MemoryConsumer::new("test").register(&pool);
        reservation.try_grow(bytes)?;
        Ok(reservation)
    }

    #[test]
    fn near_the_bound_only_those_that_hold_much_are_refused() {
        let memory = memory();
        let (large, small) = (memory.share(), memory.share());
        let held = reserve(&large, 300 * MIB).expect("nobody looks yet");
        memory.look(800 * MIB, 1_152 * MIB);
        let more = reserve(&large, 90 * MIB).expect("there is room below the last 256 MiB");
        memory.look(890 * MIB, 1_152 * MIB);
        let refused = reserve(&large, 10 * MIB).expect_err("memory is short").to_string();
        assert!(refused.contains("holds 890 of its 1152 MiB, 390 of them for this statement"), "{refused}");
        reserve(&small, 100 * MIB).expect("its part");
        reserve(&small, 101 * MIB).expect_err("more than its part");
        drop((held, more));
        assert_eq!(large.used.load(Ordering::Relaxed), 0);
        assert_eq!(memory.pool.reserved(), 0);
    }

    #[test]
    fn one_is_ended_and_no_other_while_it_lets_go() {
        let memory = memory();
        let (old, large, small) = (memory.share(), memory.share(), memory.share());
        let _held = (reserve(&large, 101 * MIB).expect("room"), reserve(&small, 2 * MIB).expect("room"));
        let (mut watch, begun, bound) = (Watch::default(), Instant::now(), 1_152 * MIB);
        let mut act = |held: usize, ms: u64| {
            watch.act(&memory, held * MIB, bound, begun + Duration::from_millis(ms));
            [&old, &large, &small].map(|share| share.ended().is_cancelled())
        };
        assert_eq!(act(1_023, 0), [false; 3], "there is room");
        assert_eq!(act(1_024, 5), [false, true, false], "the one above its part");
        assert_eq!(act(1_030, 100), [false, true, false], "it lets go");
        assert_eq!(act(1_152, 105), [true, true, false], "there is no time left: the oldest");
        assert_eq!(act(1_024, 1_000), [true, true, false]);
        assert_eq!(act(1_024, 1_105), [true; 3], "it has had its second");
        assert_eq!(act(1_024, 3_000), [true; 3], "nobody is left");
    }

    #[test]
    fn what_the_process_holds_is_read() {
        let statm = File::open("/proc/self/statm").expect("Linux");
        let page = page_bytes().expect("a size");
        assert!(page.is_power_of_two() && (4_096..=1 << 20).contains(&page), "{page}");
        let before = held_bytes(&statm, page).expect("numbers");
        let much = std::hint::black_box(vec![1_u8; 256 * MIB]);
        let grown = held_bytes(&statm, page).expect("numbers").saturating_sub(before);
        // Other tests take and give back meanwhile.
        assert!(grown >= 128 * MIB, "{grown} for {} bytes", much.len());
    }
}
