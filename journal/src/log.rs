//! The log as its users see it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::batch::{Batch, Record};
use crate::error::LogError;

/// A record's place in its partition, counted from 0 without gaps.
pub type Offset = u64;

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Topic name: ASCII lower case, digits and hyphens, at most 23 bytes.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub index: u32,
}

impl Partition {
    /// Names a partition.
    pub fn new(topic: &str, index: u32) -> Self {
        Self { topic: topic.into(), index }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.topic, self.index)
    }
}

/// How long a topic's records are kept: the first bound reached counts. `None` is no bound of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Oldest age.
    pub age: Option<Duration>,
    /// Bytes per partition.
    pub bytes: Option<u64>,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Number of partitions, at least 1; fixed at creation.
    pub partitions: u32,
    /// Copies kept by a cluster; the embedded log keeps one.
    pub replication: u32,
    /// How long records are kept.
    pub retention: Retention,
}

/// What a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Only what is synced. For every reader that stores an offset or acts on what it read.
    Durable,
    /// Also what is written and not yet synced. For showing derived records that can be recomputed.
    Written,
}

/// What an appender may still write when room runs short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Refused with [`LogError::Full`] before the reserve is touched.
    Normal,
    /// May use the reserve, so that orders can still be cancelled on a full disk.
    Reserve,
}

/// The offsets a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Oldest record kept; equal to `end` when there is none.
    pub start: Offset,
    /// Offset that the next durable record will get.
    pub end: Offset,
}

/// A durable, ordered, replayable set of partitions.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug + 'static {
    /// Makes sure that the topic exists. Retention follows `spec` also where the topic is there already.
    ///
    /// # Errors
    /// When it exists with another number of partitions, or cannot be created.
    async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError>;

    /// The topics that exist with their number of partitions, by name.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    async fn topics(&self) -> Result<Vec<(Arc<str>, u32)>, LogError>;

    /// A handle for appending to one partition. What one appender accepts is stored in that order.
    ///
    /// # Errors
    /// When the partition does not exist or the broker cannot be reached.
    async fn appender(&self, to: &Partition, priority: Priority) -> Result<Box<dyn Appender>, LogError>;

    /// A reader whose first record is the one at `from`; it may equal the end.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] before the start, [`LogError::Truncated`] past the end.
    async fn reader(&self, of: &Partition, from: Offset, sees: Visibility) -> Result<Box<dyn LogReader>, LogError>;

    /// Start and durable end.
    ///
    /// # Errors
    /// When the partition does not exist or the broker cannot be reached.
    async fn bounds(&self, of: &Partition) -> Result<Bounds, LogError>;

    /// Allows the records before `before` to be dropped. What is freed, and when, is the back end's matter.
    ///
    /// # Errors
    /// When the partition does not exist or the broker cannot be reached.
    async fn trim(&self, of: &Partition, before: Offset) -> Result<(), LogError>;

    /// Asks retention to keep the records from `from` on, whatever their age and bytes, until it is asked anew:
    /// somebody has yet to read them. Holds last as long as the process; a bound on the log as a whole still
    /// counts, and so does [`Self::trim`]. A back end that cannot do it does nothing.
    ///
    /// # Errors
    /// When the partition does not exist.
    async fn hold(&self, of: &Partition, from: Offset) -> Result<(), LogError> {
        let _ = (of, from);
        Ok(())
    }

    /// Identifies this log among all there ever were: chosen at creation, kept for its lifetime.
    fn incarnation(&self) -> u128;

    /// Why the log cannot accept records at the moment, for health checks; `None` when it can.
    async fn unavailable(&self) -> Option<LogError>;

    /// Writes out what was accepted and stops. Later calls answer [`LogError::Closed`].
    ///
    /// # Errors
    /// When the last records could not be made durable.
    async fn close(&self) -> Result<(), LogError>;
}

/// Appends to one partition.
///
/// Fail-stop: once an accepted batch fails, every later batch of the same appender fails too, those already
/// accepted included. (A batch that is refused at the call was never accepted and changes nothing.) So the records of an appender are always a prefix of what was given to it, and whoever goes on
/// after a failure first reads back how far it got.
#[async_trait]
pub trait Appender: Send {
    /// Accepts a batch, waiting while the queue is full. The records get consecutive offsets; the
    /// acknowledgement comes once they are durable. An empty batch is acknowledged with the next offset.
    /// Cancel safe: a dropped call has accepted either nothing or the whole batch.
    ///
    /// # Errors
    /// When the batch breaks a limit, or the appender, the log or the broker has failed.
    async fn append(&mut self, batch: Batch) -> Result<Ack, LogError>;
}

/// Resolves to the offset of the batch's first record once the batch is durable. Dropping it does not take
/// the batch back.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<Offset, LogError>>);

impl Ack {
    /// One that is there already, for logs that wrap another.
    pub fn ready(result: Result<Offset, LogError>) -> Self {
        let (sender, ack) = Self::pair();
        // The receiver is right here.
        let _ = sender.send(result);
        ack
    }

    /// An acknowledgement and the means to give it.
    pub(crate) fn pair() -> (oneshot::Sender<Result<Offset, LogError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Ack {
    type Output = Result<Offset, LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| received.unwrap_or(Err(LogError::Closed)))
    }
}

/// Reads one partition from a position on, for ever.
#[async_trait]
pub trait LogReader: Send {
    /// Appends the next records to `into`: at least one, in order, without a gap; waits while there is none.
    /// At most about 1 MiB or one batch, whichever is more. Cancel safe: a dropped call has taken nothing.
    ///
    /// # Errors
    /// When the position was trimmed away, the log is damaged there, or the broker stays away.
    async fn read(&mut self, into: &mut Vec<Record>) -> Result<(), LogError>;

    /// Offset of the next record that [`Self::read`] gives.
    fn position(&self) -> Offset;
}
