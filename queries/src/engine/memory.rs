//! What the statements hold, and what the process really does.
//!
//! DataFusion counts what sorts, joins and groups keep, and not what they hold for a moment while they copy it. So the
//! worker looks at itself: near its bound the statements that hold more than their part are refused more, and past that
//! the one that holds most is ended, with a sentence. The others go on. What the system enforces comes after that, and
//! takes the whole process.

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use tokio_util::sync::CancellationToken;

use crate::error::SqlError;

/// Pause between two looks. Two cores fill 20 MiB in it.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time that an ended statement has to let go before the next one is ended.
const LETTING_GO: Duration = Duration::from_millis(100);
/// So far below its bound the process refuses more to whoever holds much.
const REFUSE_BEFORE: usize = 256 << 20;
/// So far below its bound it ends whoever holds most: for what comes between a look and the end.
const END_BEFORE: usize = 128 << 20;
/// Bytes of a page, as the kernel counts them for `statm`.
const PAGE: usize = 4096;

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
pub(super) struct Share {
    memory: Arc<Memory>,
    used: AtomicUsize,
    is_ended: AtomicBool,
    ended: CancellationToken,
}

impl Memory {
    pub(super) fn new(pool: Arc<dyn MemoryPool>, part: usize) -> Self {
        Self { pool, part, bound: AtomicUsize::new(usize::MAX), held: AtomicUsize::new(0), running: Mutex::default() }
    }

    /// A new statement's share.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        let share = Arc::new(Share {
            memory: Arc::clone(self),
            used: AtomicUsize::new(0),
            is_ended: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let mut running = self.running();
        running.retain(|other| other.strong_count() > 0);
        running.push(Arc::downgrade(&share));
        share
    }

    fn running(&self) -> MutexGuard<'_, Vec<Weak<Share>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the process to `bound` bytes of memory of its own, from a thread that looks until the engine is gone.
    ///
    /// # Errors
    /// When the system does not say what the process holds, or gives no thread.
    pub(super) fn watch(self: &Arc<Self>, bound: usize) -> io::Result<()> {
        let statm = File::open("/proc/self/statm")?;
        self.look(held_bytes(&statm)?, bound);
        let memory = Arc::downgrade(self);
        let watching = move || {
            let mut quiet_until = Instant::now();
            while let Some(memory) = memory.upgrade() {
                if let Ok(held) = held_bytes(&statm) {
                    memory.look(held, bound);
                    if held >= bound.saturating_sub(END_BEFORE) && Instant::now() >= quiet_until {
                        memory.end_largest();
                        quiet_until = Instant::now() + LETTING_GO;
                    }
                }
                drop(memory);
                std::thread::sleep(LOOK_EVERY);
            }
        };
        std::thread::Builder::new().name("memory".to_owned()).spawn(watching).map(drop)
    }

    fn look(&self, held: usize, bound: usize) {
        self.held.store(held, Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// Ends the statement that holds most.
    fn end_largest(&self) {
        let running: Vec<Arc<Share>> = self.running().iter().filter_map(Weak::upgrade).collect();
        let alive = running.iter().filter(|share| !share.is_ended.load(Ordering::Relaxed));
        let Some(largest) = alive.max_by_key(|share| share.used.load(Ordering::Relaxed)) else { return };
        largest.is_ended.store(true, Ordering::Relaxed);
        largest.ended.cancel();
        tracing::warn!(
            held_mib = self.held.load(Ordering::Relaxed) >> 20,
            counted_mib = largest.used.load(Ordering::Relaxed) >> 20,
            "memory is short: the statement that holds most is ended"
        );
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

/// Enough digits for what is small.
fn megabytes(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Bytes of memory that is this process's alone: files that are mapped do not count.
fn held_bytes(statm: &File) -> io::Result<usize> {
    let mut text = [0; 128];
    let len = statm.read_at(&mut text, 0)?;
    // "size resident shared text lib data dt", in pages (proc_pid_statm(5)).
    let text = std::str::from_utf8(&text[..len]).map_err(io::Error::other)?;
    let mut numbers = text.split_ascii_whitespace().skip(1).map_while(|number| number.parse::<usize>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(resident), Some(shared)) => Ok(resident.saturating_sub(shared) * PAGE),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Share {
    /// Done once the statement has to end because memory is short.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// What it ends with.
    pub(super) fn error(&self) -> SqlError {
        let bound = self.memory.bound.load(Ordering::Relaxed) >> 20;
        SqlError::limit(format!(
            "the engine came near its {bound} MiB of memory, and this statement held most: ask for fewer rows or columns"
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
    fn the_largest_is_ended_and_then_the_next() {
        let memory = memory();
        let (one, two) = (memory.share(), memory.share());
        let _held = (reserve(&one, MIB).expect("room"), reserve(&two, 2 * MIB).expect("room"));
        drop(memory.share());
        memory.end_largest();
        assert!(two.ended().is_cancelled() && !one.ended().is_cancelled());
        memory.end_largest();
        assert!(one.ended().is_cancelled());
        memory.end_largest();
    }

    #[test]
    fn what_the_process_holds_is_read() {
        let statm = File::open("/proc/self/statm").expect("Linux");
        let before = held_bytes(&statm).expect("numbers");
        let much = vec![1_u8; 64 * MIB];
        let grown = held_bytes(&statm).expect("numbers") - before;
        assert!(grown >= 60 * MIB, "{grown} for {} bytes", much.len());
    }
}
