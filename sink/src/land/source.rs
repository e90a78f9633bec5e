//! Reads the partitions of a topic side by side into one bounded channel.

use std::sync::Arc;
use std::time::Duration;

use journal::{Log, LogError, Partition, Record, Visibility};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Reads that wait to be encoded, over all partitions.
const READS_MAX: usize = 2;
/// A read of fewer records is followed by a pause: landing is in no hurry, and each wake-up costs.
const SMALL_READ: usize = 256;
/// That pause.
const LINGER: Duration = Duration::from_millis(50);
/// Between attempts while the log is away.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What came of a read.
pub(super) type Read = Result<(u32, Vec<Record>), LogError>;

/// Starts one reader for each partition and position. They end when the receiver is dropped, at `stop`, or with
/// an error that they send.
pub(super) fn read(
    log: &Arc<dyn Log>,
    topic: &str,
    from: &[(u32, u64)],
    stop: &CancellationToken,
) -> mpsc::Receiver<Read> {
    let (sender, receiver) = mpsc::channel(READS_MAX);
    for (index, offset) in from {
        let (log, sender, stop) = (Arc::clone(log), sender.clone(), stop.clone());
        let (partition, offset) = (Partition::new(topic, *index), *offset);
        tokio::spawn(async move {
            let reading = one(log, partition, offset, sender.clone());
            if let Some(Err(error)) = stop.run_until_cancelled(reading).await {
                // Nobody waits for it after the end.
                let _ = sender.send(Err(error)).await;
            }
        });
    }
    receiver
}

async fn one(
    log: Arc<dyn Log>,
    partition: Partition,
    mut offset: u64,
    sender: mpsc::Sender<Read>,
) -> Result<(), LogError> {
    let mut reader = None;
    loop {
        let attempt = async {
            let reader = match &mut reader {
                Some(reader) => reader,
                none => none.insert(log.reader(&partition, offset, Visibility::Durable).await?),
            };
            let mut records = Vec::new();
            reader.read(&mut records).await?;
            Ok::<_, LogError>((records, reader.position()))
        };
        match attempt.await {
            Ok((records, position)) => {
                offset = position;
                let small = records.len() < SMALL_READ;
                if sender.send(Ok((partition.index, records))).await.is_err() {
                    return Ok(());
                }
                if small {
                    tokio::time::sleep(LINGER).await;
                }
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, %partition, "landing waits for the log");
                reader = None;
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    }
}
