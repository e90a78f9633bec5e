//! Refresh requests: at most one a second per asset, each answered by a price that repeats its id.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use journal::{Appender, Batch, Log, LogError, Partition, Priority};
use model::Instrument;
use model::topic::{CONTROL, partition_for};
use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::catalog::AssetIndex;
use crate::clock::unix_now;

/// A request in the topic `control`, as its JSON has it.
#[derive(Debug, Serialize)]
struct RefreshRequest {
    /// Format version.
    v: u32,
    kind: &'static str,
    instrument: Instrument,
    /// Repeated in the price that answers.
    id: u64,
}

/// The requests that wait, and what may be asked for again.
pub(crate) struct Refreshes {
    every: Duration,
    admitted: Vec<Mutex<Option<Instant>>>,
    waiting: Mutex<FxHashMap<u64, oneshot::Sender<()>>>,
    /// Length of `waiting`, to be looked at without its lock for each batch of prices.
    waiting_count: AtomicUsize,
    last_id: AtomicU64,
    partitions: OnceLock<u32>,
    appenders: tokio::sync::Mutex<BTreeMap<u32, Box<dyn Appender>>>,
}

/// A request that waits for its price. Dropped, it waits no more.
pub(crate) struct Expected<'a> {
    refreshes: &'a Refreshes,
    pub(crate) id: u64,
    answered: oneshot::Receiver<()>,
}

impl Refreshes {
    pub(crate) fn new(assets: usize, every: Duration) -> Self {
        Self {
            every,
            admitted: (0..assets).map(|_| Mutex::default()).collect(),
            waiting: Mutex::default(),
            waiting_count: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
            partitions: OnceLock::new(),
            appenders: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the asset may be refreshed now; if not, how long to wait.
    pub(crate) fn admit(&self, index: AssetIndex) -> Result<(), Duration> {
        let now = Instant::now();
        let mut last = self.admitted[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = *last {
            let passed = now.duration_since(last);
            if passed < self.every {
                return Err(self.every - passed);
            }
        }
        *last = Some(now);
        Ok(())
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_count.load(Ordering::Acquire) == 0
    }

    /// A new id, and the means to wait for the price that repeats it.
    pub(crate) fn expect(&self) -> Expected<'_> {
        // Microseconds of the day's clock, so that a restarted server does not use an id again, and below 2^53,
        // so that every JSON reader keeps its digits.
        let now = unix_now().0.unsigned_abs() / 1_000;
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_else(|last| last);
        let id = now.max(last + 1);
        let (sender, answered) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(id, sender);
        self.waiting_count.store(waiting.len(), Ordering::Release);
        Expected { refreshes: self, id, answered }
    }

    /// A price repeats the id.
    pub(crate) fn answered(&self, id: u64) {
        if let Some(sender) = self.take(id) {
            // Whoever waited may have gone.
            let _ = sender.send(());
        }
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<()>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = waiting.remove(&id);
        self.waiting_count.store(waiting.len(), Ordering::Release);
        sender
    }

    /// Writes the request and waits until it is durable. An appender that failed is made anew once.
    pub(crate) async fn append(&self, log: &Arc<dyn Log>, instrument: Instrument, id: u64) -> Result<(), LogError> {
        let request = RefreshRequest { v: 1, kind: "refresh", instrument, id };
        let value = serde_json::to_vec(&request).expect("a request serialises to memory");
        let batch = Batch::of(instrument.as_str().as_bytes(), &value);
        let index = partition_for(instrument.as_str().as_bytes(), self.partitions(log).await?);
        let ack = {
            let mut appenders = self.appenders.lock().await;
            // Out of the map while it is used: a call that is cut off must not leave a half-used appender.
            let kept = match appenders.remove(&index) {
                Some(mut appender) => appender.append(batch.clone()).await.ok().map(|ack| (appender, ack)),
                None => None,
            };
            let (appender, ack) = match kept {
                Some(kept) => kept,
                None => {
                    let mut appender = log.appender(&Partition::new(CONTROL, index), Priority::Normal).await?;
                    let ack = appender.append(batch).await?;
                    (appender, ack)
                }
            };
            appenders.insert(index, appender);
            ack
        };
        let written = ack.await;
        if written.is_err() {
            // An appender accepts nothing more after a failure.
            self.appenders.lock().await.remove(&index);
        }
        written.map(|_| ())
    }

    /// Partitions of `control`, a number that never changes.
    async fn partitions(&self, log: &Arc<dyn Log>) -> Result<u32, LogError> {
        if let Some(partitions) = self.partitions.get() {
            return Ok(*partitions);
        }
        let topics = log.topics().await?;
        let found = topics.iter().find(|(name, _)| &**name == CONTROL).map(|(_, partitions)| *partitions);
        let partitions = found.ok_or_else(|| LogError::UnknownPartition(Partition::new(CONTROL, 0)))?;
        Ok(*self.partitions.get_or_init(|| partitions))
    }
}

impl Expected<'_> {
    /// Waits until the price is out.
    pub(crate) async fn answered(&mut self) {
        // The sender is dropped unused only together with the whole server.
        let _ = (&mut self.answered).await;
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.refreshes.take(self.id);
    }
}

impl fmt::Debug for Refreshes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Refreshes").field("waiting", &self.waiting_count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_stay_exact_in_every_reader() {
        let refreshes = Refreshes::new(1, Duration::from_secs(1));
        let ids: Vec<u64> = (0..100).map(|_| refreshes.expect().id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert!(ids[99] < 1 << 53);
        assert!(refreshes.is_empty(), "dropped requests wait no more");
    }

    #[test]
    fn an_asset_is_admitted_once_per_period_and_others_are_not_held_up() {
        let refreshes = Refreshes::new(2, Duration::from_secs(3_600));
        assert!(refreshes.admit(0).is_ok());
        assert!(refreshes.admit(0).expect_err("too soon") > Duration::from_secs(3_500));
        assert!(refreshes.admit(1).is_ok());
    }

    #[tokio::test]
    async fn the_price_with_the_id_ends_the_wait() {
        let refreshes = Refreshes::new(1, Duration::ZERO);
        let mut expected = refreshes.expect();
        refreshes.answered(expected.id + 1);
        assert!(!refreshes.is_empty());
        refreshes.answered(expected.id);
        expected.answered().await;
        assert!(refreshes.is_empty());
    }
}
