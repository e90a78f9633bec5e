//! Where batches are accepted: a bounded queue in front of the task that produces them.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::cluster::Cluster;
use super::producer::Producer;
use super::wire;
use crate::batch::Batch;
use crate::error::LogError;
use crate::log::{Ack, Appender, Offset, Partition};

/// Bytes accepted and not yet acknowledged, at most; a batch of the largest size fits.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// What a batch costs besides its records.
const BATCH_COST: usize = 64;

const _: () =
    assert!(Batch::BYTES_MAX + Batch::RECORDS_MAX * wire::RECORD_OVERHEAD_MAX + BATCH_COST <= QUEUE_BYTES_MAX);

/// A batch on its way.
pub(super) struct Queued {
    pub(super) batch: Batch,
    pub(super) ack: oneshot::Sender<Result<Offset, LogError>>,
    _room: OwnedSemaphorePermit,
}

/// Accepts batches for one partition.
pub(super) struct FluvioAppender {
    cluster: Arc<Cluster>,
    to: Partition,
    room: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<Queued>,
}

impl FluvioAppender {
    /// Starts the task that writes to `to`, whose records so far end at `end`.
    pub(super) fn start(cluster: &Arc<Cluster>, tasks: &TaskTracker, to: &Partition, end: Offset) -> Self {
        // The semaphore bounds what is in the queue.
        let (queue, accepted) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let producer = Producer::new(cluster.clone(), to.clone(), end);
        tasks.spawn(producer.run(accepted, room.clone()));
        Self { cluster: cluster.clone(), to: to.clone(), room, queue }
    }

    fn refusal(&self) -> LogError {
        if self.cluster.closing.is_cancelled() { LogError::Closed } else { LogError::AppenderFailed(self.to.clone()) }
    }

    fn too_large(&self, what: &'static str, value: usize, max: usize) -> LogError {
        LogError::BatchTooLarge { partition: self.to.clone(), what, value, max }
    }
}

#[async_trait]
impl Appender for FluvioAppender {
    async fn append(&mut self, batch: Batch) -> Result<Ack, LogError> {
        if batch.len() > Batch::RECORDS_MAX {
            return Err(self.too_large("records", batch.len(), Batch::RECORDS_MAX));
        }
        if batch.size() > Batch::BYTES_MAX {
            return Err(self.too_large("bytes", batch.size(), Batch::BYTES_MAX));
        }
        self.cluster.check_open()?;
        let cost = batch.size() + batch.len() * wire::RECORD_OVERHEAD_MAX + BATCH_COST;
        let cost = u32::try_from(cost).expect("a batch within its limits costs less than 4 GiB");
        let room = tokio::select! {
            room = self.room.clone().acquire_many_owned(cost) => room.map_err(|_| self.refusal())?,
            () = self.cluster.closing.cancelled() => return Err(LogError::Closed),
        };
        let (sender, ack) = Ack::pair();
        let queued = Queued { batch, ack: sender, _room: room };
        self.queue.send(queued).map_err(|_| self.refusal())?;
        Ok(ack)
    }
}
