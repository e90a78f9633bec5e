//! Who waits for what became of a command.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::exchange::Execution;
use model::{Origin, Role};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::gateway::{Answer, GatewayError};

/// A command, by its writer's role, epoch and sequence.
pub(super) type Key = (Role, u64, u64);

/// What is sent to who waits.
pub(super) type Waiter = oneshot::Sender<Result<Answer, GatewayError>>;

/// Everyone who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: AtomicUsize,
    by_key: Mutex<FxHashMap<Key, Waiter>>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, FxHashMap<Key, Waiter>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody waits: answers need not be kept otherwise.
    pub(super) fn any(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Adds those who wait for a batch, before the log gets it.
    pub(super) fn add(&self, waiters: impl Iterator<Item = (Key, Waiter)>) {
        let mut by_key = self.lock();
        by_key.extend(waiters);
        self.waiting.store(by_key.len(), Ordering::Release);
    }

    /// Gives each answer to who waits for it.
    pub(super) fn answer(&self, answers: &mut Vec<(Key, Result<Answer, GatewayError>)>) {
        if answers.is_empty() {
            return;
        }
        let mut by_key = self.lock();
        for (key, answer) in answers.drain(..) {
            if let Some(waiter) = by_key.remove(&key) {
                // Who gave up waiting asks again with the same id.
                let _ = waiter.send(answer);
            }
        }
        self.waiting.store(by_key.len(), Ordering::Release);
    }

    /// Tells everyone who waits for a writer's commands from `sequence` on that their fate is not known.
    pub(super) fn give_up(&self, role: &Role, epoch: u64, from: u64, error: &GatewayError) {
        let mut by_key = self.lock();
        let lost: Vec<Key> =
            by_key.keys().filter(|key| key.0 == *role && key.1 == epoch && key.2 >= from).copied().collect();
        for key in lost {
            if let Some(waiter) = by_key.remove(&key) {
                let _ = waiter.send(Err(error.clone()));
            }
        }
        self.waiting.store(by_key.len(), Ordering::Release);
    }

    /// Forgets those who no longer listen.
    pub(super) fn sweep(&self) {
        let mut by_key = self.lock();
        by_key.retain(|_, waiter| !waiter.is_closed());
        self.waiting.store(by_key.len(), Ordering::Release);
    }
}

/// The key of a root record; none for what follows from another record.
pub(super) fn key_of(origin: &Origin) -> Option<Key> {
    match origin {
        Origin::Root { role, epoch, sequence } => Some((*role, *epoch, *sequence)),
        Origin::Derived(_) => None,
    }
}

/// An answer from what a command brought about for its own account.
pub(super) fn answer(offset: u64, executions: impl Iterator<Item = Execution>) -> Answer {
    Answer { offset, executions: executions.collect() }
}
