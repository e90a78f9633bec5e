//! What could not be used, and why: JSON records in the topic `dead-letters`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::{Batch, Log, LogError, Partition, Priority};
use model::UnixNanos;
use model::topic::{DEAD_LETTERS, partition_for};
use tokio::sync::mpsc;

use crate::budget::{Allowance, Backoff};
use crate::connector::Budget;
use crate::refusal::DecodeError;

/// Bytes of the refused input that a letter keeps, at most.
const KEPT_BYTES_MAX: usize = 2_048;
/// Letters that wait for the log, at most.
const QUEUE_MAX: usize = 1_024;

/// One letter, as the topic has it.
#[derive(Debug, serde::Serialize)]
struct Letter {
    /// Format version, 1.
    v: u32,
    /// The source in `pipeline.yaml`, `control`, or the replayed venue.
    source: String,
    /// Where in the source: connection and frame, both from 1; request; or file and line.
    offset: String,
    /// Why it was refused.
    reason: String,
    /// Its size in bytes.
    length: usize,
    /// Its first bytes; what is not UTF-8 shows as U+FFFD.
    input: String,
    /// When it was received.
    ts_recv: UnixNanos,
}

/// Takes refused input of one source. Never waits: beyond the rate, and while the log is behind, letters are
/// counted and not written.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    source: String,
    queue: mpsc::Sender<Letter>,
    rate: Allowance,
    total: metrics::Counter,
    suppressed: metrics::Counter,
    counted: Arc<AtomicU64>,
}

impl DeadLetters {
    /// Notes a refused input.
    pub(crate) fn refuse(&mut self, offset: String, error: &DecodeError, input: &[u8], ts_recv: UnixNanos) {
        self.total.increment(1);
        self.counted.fetch_add(1, Ordering::Relaxed);
        if self.rate.take(tokio::time::Instant::now()).is_err() {
            return self.suppressed.increment(1);
        }
        tracing::debug!(source = self.source, offset, %error, "refused");
        let kept = &input[..input.len().min(KEPT_BYTES_MAX)];
        let letter = Letter {
            v: 1,
            source: self.source.clone(),
            offset,
            reason: error.to_string(),
            length: input.len(),
            input: String::from_utf8_lossy(kept).into_owned(),
            ts_recv,
        };
        if self.queue.try_send(letter).is_err() {
            self.suppressed.increment(1);
        }
    }

    /// Another handle for the same source, with a rate of its own.
    pub(crate) fn another(&self, per_second: u32) -> Self {
        Self {
            source: self.source.clone(),
            queue: self.queue.clone(),
            rate: rate(per_second),
            total: self.total.clone(),
            suppressed: self.suppressed.clone(),
            counted: Arc::clone(&self.counted),
        }
    }
}

/// Bursts of ten seconds' worth are let through.
fn rate(per_second: u32) -> Allowance {
    Allowance::new(Budget { count: per_second.saturating_mul(10), per: Duration::from_secs(10) })
}

/// Makes the handles and holds the queue until the writing task takes it.
#[derive(Debug)]
pub(crate) struct DeadLetterOffice {
    sender: mpsc::Sender<Letter>,
    receiver: mpsc::Receiver<Letter>,
}

impl DeadLetterOffice {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        Self { sender, receiver }
    }

    /// A handle for a source; `counted` counts every letter, written or not.
    pub(crate) fn handle(&self, source: &str, per_second: u32, counted: Arc<AtomicU64>) -> DeadLetters {
        DeadLetters {
            source: source.into(),
            queue: self.sender.clone(),
            rate: rate(per_second),
            total: metrics::counter!("millrace_ingest_dead_letters_total", "venue" => source.to_owned()),
            suppressed: metrics::counter!("millrace_ingest_dead_letters_suppressed_total", "venue" => source.to_owned()),
            counted,
        }
    }

    /// Writes letters until every handle is gone. A log that is away for a while only delays them.
    pub(crate) async fn write(self, log: Arc<dyn Log>, partitions: u32) -> Result<(), LogError> {
        let Self { sender, mut receiver } = self;
        drop(sender);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut letters = Vec::new();
        while receiver.recv_many(&mut letters, 256).await > 0 {
            // After a failure the letters are tried again, so one may be there twice.
            while let Err(error) = append(&*log, partitions, &letters).await {
                if !error.is_transient() || receiver.is_closed() {
                    return Err(error);
                }
                tracing::warn!(%error, "dead letters wait for the log");
                tokio::time::sleep(backoff.next()).await;
            }
            backoff.reset();
            letters.clear();
        }
        Ok(())
    }
}

async fn append(log: &dyn Log, partitions: u32, letters: &[Letter]) -> Result<(), LogError> {
    let mut batches = std::collections::BTreeMap::<u32, Batch>::new();
    for letter in letters {
        let text = serde_json::to_vec(letter).expect("a letter is plain data");
        let home = partition_for(letter.source.as_bytes(), partitions);
        batches.entry(home).or_default().push(letter.source.as_bytes(), &text);
    }
    for (home, batch) in batches {
        let mut appender = log.appender(&Partition::new(DEAD_LETTERS, home), Priority::Normal).await?;
        appender.append(batch).await?.await?;
    }
    Ok(())
}
