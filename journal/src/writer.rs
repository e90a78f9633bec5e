//! The one writer of a role in a partition.
//!
//! A role begins with a claim record; the claim's offset is the role's epoch there. Every record after it
//! carries the role, that epoch and its position since the claim, from 1. Readers ignore a role's older
//! epochs and whatever is at or below the position they know, so a second writer of the same role, a standby
//! that takes over, or a batch that a broker stores twice leaves no mark.

use std::collections::VecDeque;

use futures_util::FutureExt;

use crate::batch::Batch;
use crate::error::LogError;
use crate::log::{Ack, Appender, Log, Offset, Partition, Priority};

/// What a root record says of its place among its role's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Offset of the role's claim.
    pub epoch: Offset,
    /// Position since the claim, from 1.
    pub sequence: u64,
}

/// Writes one role's records to one partition.
///
/// Fail-stop: after any error, or a [`Self::flush`] that was dropped while the log had its batch, every later
/// call is refused. Whoever goes on claims anew.
pub struct ClaimedWriter {
    partition: Partition,
    appender: Box<dyn Appender>,
    epoch: Offset,
    /// Sequence of the newest record pushed.
    pushed: u64,
    /// Sequence of the newest record known to be durable.
    acknowledged: u64,
    pending: Batch,
    outstanding: VecDeque<Outstanding>,
    outstanding_max: usize,
    failed: bool,
}

struct Outstanding {
    ack: Ack,
    last_sequence: u64,
}

impl ClaimedWriter {
    /// Bytes from which [`Self::is_full`] asks for a flush: large enough to pay for a sync.
    const PENDING_BYTES: usize = 1 << 20;

    /// Claims the role: appends the record that `claim` encodes, under `key`, and waits until it is durable.
    /// Later, at most `outstanding_max` batches wait for their acknowledgement at a time.
    ///
    /// # Errors
    /// When the partition does not exist or the claim cannot be written.
    ///
    /// # Panics
    /// When `outstanding_max` is 0.
    pub async fn claim(
        log: &dyn Log,
        to: &Partition,
        priority: Priority,
        outstanding_max: usize,
        key: &[u8],
        claim: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Self, LogError> {
        assert!(outstanding_max > 0, "a writer needs room for one batch");
        let mut batch = Batch::new();
        batch.push_with(key, claim);
        let mut appender = log.appender(to, priority).await?;
        let epoch = appender.append(batch).await?.await?;
        Ok(Self {
            partition: to.clone(),
            appender,
            epoch,
            pushed: 0,
            acknowledged: 0,
            pending: Batch::new(),
            outstanding: VecDeque::with_capacity(outstanding_max),
            outstanding_max,
            failed: false,
        })
    }

    /// Offset of the claim.
    pub const fn epoch(&self) -> Offset {
        self.epoch
    }

    /// Where it writes.
    pub const fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Adds a record to the batch that the next [`Self::flush`] hands over. `encode` appends the content,
    /// which carries the stamp it is given. Returns that stamp.
    pub fn push(&mut self, key: &[u8], encode: impl FnOnce(Stamp, &mut Vec<u8>)) -> Stamp {
        self.pushed += 1;
        let stamp = Stamp { epoch: self.epoch, sequence: self.pushed };
        self.pending.push_with(key, |out| encode(stamp, out));
        stamp
    }

    /// Records pushed and not yet handed over.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether the pending batch is large enough to be flushed before more is pushed.
    pub fn is_full(&self) -> bool {
        self.pending.size() >= Self::PENDING_BYTES || self.pending.len() >= Batch::RECORDS_MAX
    }

    /// Batches handed over and not yet known to be durable.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Sequence of the newest record known to be durable; 0 for none.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Hands the pending records to the log as one batch, without waiting for their sync; waits while
    /// `outstanding_max` batches are on their way. Does nothing when nothing is pending.
    ///
    /// # Errors
    /// When this batch is refused or an earlier one failed.
    pub async fn flush(&mut self) -> Result<(), LogError> {
        self.collect()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        while self.outstanding.len() >= self.outstanding_max {
            self.oldest().await?;
        }
        let batch = std::mem::take(&mut self.pending);
        // Stays set when this call is dropped below: whether the log has the batch is then unknown.
        self.failed = true;
        let ack = self.appender.append(batch).await?;
        self.failed = false;
        self.outstanding.push_back(Outstanding { ack, last_sequence: self.pushed });
        Ok(())
    }

    /// Waits until the oldest outstanding batch is durable; at once when there is none. Cancel safe.
    ///
    /// # Errors
    /// When it failed.
    pub async fn progress(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.outstanding.is_empty() { Ok(()) } else { self.oldest().await }
    }

    /// Flushes and waits until everything pushed is durable.
    ///
    /// # Errors
    /// When a batch is refused or failed.
    pub async fn settle(&mut self) -> Result<(), LogError> {
        self.flush().await?;
        while !self.outstanding.is_empty() {
            self.oldest().await?;
        }
        Ok(())
    }

    /// Takes the acknowledgements that are there, without waiting.
    fn collect(&mut self) -> Result<(), LogError> {
        self.check()?;
        while let Some(oldest) = self.outstanding.front_mut() {
            let Some(result) = (&mut oldest.ack).now_or_never() else { break };
            self.acknowledge(result)?;
        }
        Ok(())
    }

    async fn oldest(&mut self) -> Result<(), LogError> {
        let oldest = self.outstanding.front_mut().expect("callers look first");
        let result = (&mut oldest.ack).await;
        self.acknowledge(result)
    }

    fn acknowledge(&mut self, result: Result<Offset, LogError>) -> Result<(), LogError> {
        let batch = self.outstanding.pop_front().expect("the acknowledgement is the oldest batch's");
        match result {
            Ok(_) => self.acknowledged = batch.last_sequence,
            Err(error) => {
                self.failed = true;
                return Err(error);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), LogError> {
        if self.failed { Err(LogError::AppenderFailed(self.partition.clone())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use tokio::sync::oneshot;

    use super::*;

    type Given = Arc<Mutex<Vec<(Batch, oneshot::Sender<Result<Offset, LogError>>)>>>;

    /// Keeps what it is given and leaves the acknowledgements to the test, in the order and with the outcome
    /// that no real log produces on demand.
    struct Scripted(Given);

    #[async_trait]
    impl Appender for Scripted {
        async fn append(&mut self, batch: Batch) -> Result<Ack, LogError> {
            let (sender, ack) = Ack::pair();
            self.0.lock().expect("one test thread").push((batch, sender));
            Ok(ack)
        }
    }

    fn writer(outstanding_max: usize) -> (ClaimedWriter, Given) {
        let given = Given::default();
        let writer = ClaimedWriter {
            partition: Partition::new("ticks", 0),
            appender: Box::new(Scripted(Arc::clone(&given))),
            epoch: 7,
            pushed: 0,
            acknowledged: 0,
            pending: Batch::new(),
            outstanding: VecDeque::new(),
            outstanding_max,
            failed: false,
        };
        (writer, given)
    }

    fn push(writer: &mut ClaimedWriter) -> u64 {
        writer.push(b"BTC", |stamp, out| out.extend_from_slice(&stamp.sequence.to_le_bytes())).sequence
    }

    fn answer(given: &Given, result: Result<Offset, LogError>) {
        let (_, sender) = given.lock().expect("one test thread").remove(0);
        sender.send(result).expect("the writer waits for it");
    }

    #[tokio::test]
    async fn sequences_count_up_and_acknowledgements_are_bounded() {
        let (mut writer, given) = writer(2);
        assert_eq!([push(&mut writer), push(&mut writer)], [1, 2]);
        writer.flush().await.expect("the first batch");
        writer.flush().await.expect("nothing is pending");
        push(&mut writer);
        writer.flush().await.expect("the second batch");
        assert_eq!((given.lock().expect("one test thread").len(), writer.outstanding()), (2, 2));
        push(&mut writer);
        assert!(writer.flush().now_or_never().is_none(), "a third batch has to wait");
        assert_eq!(writer.pending(), 1, "and is kept while it waits");
        answer(&given, Ok(8));
        writer.flush().await.expect("there is room now");
        assert_eq!((writer.outstanding(), writer.acknowledged()), (2, 2));
        answer(&given, Ok(10));
        answer(&given, Ok(11));
        writer.settle().await.expect("all acknowledged");
        assert_eq!((writer.outstanding(), writer.acknowledged()), (0, 4));
    }

    #[tokio::test]
    async fn after_a_failed_batch_everything_is_refused() {
        let (mut writer, given) = writer(4);
        push(&mut writer);
        writer.flush().await.expect("accepted");
        answer(&given, Err(LogError::Poisoned("sync failed".into())));
        push(&mut writer);
        assert!(matches!(writer.flush().await, Err(LogError::Poisoned(_))));
        for _ in 0..2 {
            assert!(matches!(writer.flush().await, Err(LogError::AppenderFailed(_))));
        }
        assert!(writer.settle().await.is_err() && writer.progress().await.is_err());
        assert_eq!(writer.acknowledged(), 0);
        assert!(given.lock().expect("one test thread").is_empty(), "nothing was handed over after the failure");
    }
}
