//! A reader as its user sees it, in front of the task that tails the partition.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::cluster::Cluster;
use super::tail::Tail;
use crate::batch::Record;
use crate::error::LogError;
use crate::log::{LogReader, Offset, Partition, Visibility};

/// Chunks read ahead of the user, at most; each about as large as one read.
const AHEAD: usize = 2;

/// What a tailing task hands over.
pub(super) type Chunk = Result<Vec<Record>, LogError>;

/// Reads one partition.
pub(super) struct FluvioReader {
    cluster: Arc<Cluster>,
    of: Partition,
    sees: Visibility,
    position: Offset,
    tailing: Option<Tailing>,
}

struct Tailing {
    chunks: mpsc::Receiver<Chunk>,
    _task: AbortOnDropHandle<()>,
}

impl FluvioReader {
    pub(super) fn new(cluster: Arc<Cluster>, of: Partition, from: Offset, sees: Visibility) -> Self {
        Self { cluster, of, sees, position: from, tailing: None }
    }

    /// Starts tailing at the position; also anew, after an error ended it.
    fn tail(&self) -> Tailing {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let tail = Tail::new(self.cluster.clone(), self.of.clone(), self.position, self.sees, sender);
        Tailing { chunks, _task: AbortOnDropHandle::new(tokio::spawn(tail.run())) }
    }
}

#[async_trait]
impl LogReader for FluvioReader {
    async fn read(&mut self, into: &mut Vec<Record>) -> Result<(), LogError> {
        loop {
            self.cluster.check_open()?;
            let tailing = match &mut self.tailing {
                Some(tailing) => tailing,
                None => {
                    let tailing = self.tail();
                    self.tailing.insert(tailing)
                }
            };
            match tailing.chunks.recv().await {
                Some(Ok(chunk)) => {
                    self.position += chunk.len() as u64;
                    into.extend(chunk);
                    return Ok(());
                }
                Some(Err(error)) => {
                    self.tailing = None;
                    return Err(error);
                }
                None => self.tailing = None,
            }
        }
    }

    fn position(&self) -> Offset {
        self.position
    }
}
