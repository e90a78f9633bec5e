//! Those who want to be woken at each change of something.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Those who listen to one thing.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<Arc<Notify>>>);

impl Listeners {
    /// Wakes `listener` at each change from now on.
    pub(crate) fn add(&self, listener: &Arc<Notify>) {
        lock(&self.0).push(Arc::clone(listener));
    }

    /// Takes one [`Self::add`] back.
    pub(crate) fn remove(&self, listener: &Arc<Notify>) {
        let mut listeners = lock(&self.0);
        if let Some(at) = listeners.iter().position(|held| Arc::ptr_eq(held, listener)) {
            listeners.swap_remove(at);
        }
    }

    /// Tells them that there is news.
    pub(crate) fn wake(&self) {
        lock(&self.0).iter().for_each(|listener| listener.notify_one());
    }
}

/// Locks what a panic elsewhere never leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
