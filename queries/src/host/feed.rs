//! The live tail on its way to the worker: one connection a table, one reader a partition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::{Log, LogError, Offset, Partition, Record, Visibility};
use sink::tables::{Mark, Marks, Rows, Table};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::connect;
use crate::error::SqlError;
use crate::live::Begin;
use crate::output::{Encoder, Format};
use crate::worker::protocol::{self, Ends, Kind, LogEnds, Piece};

/// Reads of a partition that wait to be sent.
const WAITING_MAX: usize = 4;
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often the worker is told where a quiet partition ends.
const ENDS_EVERY: Duration = Duration::from_secs(1);

/// Feeds every table until `ended` fires.
pub(super) fn start(log: &Arc<dyn Log>, socket: &Path, ended: &CancellationToken) {
    for table in Table::all() {
        let feed = Feed { log: Arc::clone(log), socket: socket.to_owned(), table: *table };
        again(ended, move || {
            let feed = feed.clone();
            async move {
                if let Err(error) = feed.follow().await {
                    tracing::warn!(table = feed.table.name(), %error, "the tail of a table begins anew");
                }
            }
        });
    }
    let (log, socket) = (Arc::clone(log), socket.to_owned());
    again(ended, move || {
        let (log, socket) = (Arc::clone(&log), socket.clone());
        async move {
            if let Err(error) = tell_ends(&*log, &socket).await {
                tracing::warn!(%error, "the SQL worker is not told where the log ends");
            }
        }
    });
}

/// Does something again and again, with a pause in between, until `ended` fires.
fn again<F: Future<Output = ()> + Send + 'static>(
    ended: &CancellationToken,
    work: impl Fn() -> F + Send + Sync + 'static,
) {
    let ended = ended.clone();
    tokio::spawn(async move {
        let working = async {
            loop {
                work().await;
                tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        ended.run_until_cancelled(working).await
    });
}

/// Tells the worker where the log ends, so that `watermark` knows it also of a tail that has no room.
async fn tell_ends(log: &dyn Log, socket: &Path) -> Result<(), SqlError> {
    let mut stream = connect(socket).await?;
    loop {
        let topics = log.topics().await.map_err(failed)?;
        let mut ends = LogEnds::new();
        for table in Table::all() {
            let Some((_, partitions)) = topics.iter().find(|(name, _)| &**name == table.topic()) else { continue };
            let of_table = ends.entry(table.name().to_owned()).or_default();
            for index in 0..*partitions {
                of_table.insert(index, log.bounds(&Partition::new(table.topic(), index)).await.map_err(failed)?.end);
            }
        }
        protocol::write_json(&mut stream, Kind::LogEnds, &ends).await.map_err(failed)?;
        tokio::time::sleep(ENDS_EVERY).await;
    }
}

#[derive(Clone)]
struct Feed {
    log: Arc<dyn Log>,
    socket: PathBuf,
    table: Table,
}

/// Records of a partition that follow each other.
struct Read {
    partition: u32,
    first: Offset,
    end: Offset,
    records: Vec<Record>,
}

impl Feed {
    /// Follows the topic's partitions from where the worker says, until something fails.
    async fn follow(&self) -> Result<(), SqlError> {
        let topics = self.log.topics().await.map_err(failed)?;
        // A pipeline without this topic has none; its table is empty.
        let partitions =
            topics.into_iter().find(|(name, _)| &**name == self.table.topic()).map_or(0, |(_, count)| count);
        let mut stream = connect(&self.socket).await?;
        protocol::write(&mut stream, Kind::Tail, self.table.name().as_bytes()).await.map_err(failed)?;
        let Some((Kind::Tail, payload)) = protocol::read(&mut stream).await.map_err(failed)? else {
            return Err(SqlError::internal("the worker takes no tail"));
        };
        let begin: Begin = protocol::json(&payload).map_err(failed)?;
        let mut ends = Ends::new();
        for index in 0..partitions {
            let bounds = self.log.bounds(&Partition::new(self.table.topic(), index)).await.map_err(failed)?;
            let newest = begin.newest.map_or(0, |count| bounds.end.saturating_sub(count));
            let from = begin.next.get(&index).copied().unwrap_or(newest).max(bounds.start);
            ends.insert(index, (from, bounds.end));
        }
        protocol::write_json(&mut stream, Kind::Begun, &ends).await.map_err(failed)?;
        if ends.is_empty() {
            return std::future::pending().await;
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut readers = tokio::task::JoinSet::new();
        for (index, (from, _)) in ends {
            let partition = Partition::new(self.table.topic(), index);
            readers.spawn(read(Arc::clone(&self.log), partition, from, sender.clone()));
        }
        drop(sender);
        tokio::select! {
            sent = self.send(&mut stream, receiver, begin.marks) => sent,
            Some(ended) = readers.join_next() => match ended {
                Ok(result) => result.map_err(failed),
                Err(error) => Err(failed(error)),
            },
        }
    }

    /// Turns records into rows and sends them.
    async fn send(
        &self,
        stream: &mut UnixStream,
        mut reads: mpsc::Receiver<Read>,
        marks: BTreeMap<u32, Vec<(String, u64, u64)>>,
    ) -> Result<(), SqlError> {
        let mut rows = Rows::resume(self.table, marks.into_iter().map(|(at, known)| (at, restored(known))).collect());
        let mut encoder = Encoder::new(Format::Arrow, &self.table.schema())?;
        let refused = metrics::counter!("millrace_sql_tail_refused_total", "table" => self.table.name());
        while let Some(read) = reads.recv().await {
            for record in &read.records {
                // The sink puts it into dead letters; here it only has no row.
                if rows.push(read.partition, record.offset, &record.value).is_err() {
                    refused.increment(1);
                }
            }
            let piece =
                Piece { partition: read.partition, first: read.first, end: read.end, rows: read.end > read.first };
            protocol::write_json(stream, Kind::Piece, &piece).await.map_err(failed)?;
            if piece.rows {
                let bytes = encoder.encode(&rows.finish())?;
                protocol::write(stream, Kind::Rows, &bytes).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn restored(known: Vec<(String, u64, u64)>) -> Marks {
    let mut marks = Marks::default();
    for (name, major, minor) in known {
        marks.set(&name, Mark { major, minor });
    }
    marks
}

/// Reads one partition for ever.
async fn read(log: Arc<dyn Log>, partition: Partition, from: Offset, to: mpsc::Sender<Read>) -> Result<(), LogError> {
    let mut reader = log.reader(&partition, from, Visibility::Durable).await?;
    let index = partition.index;
    loop {
        let mut records = Vec::new();
        let first = reader.position();
        reader.read(&mut records).await?;
        let read = Read { partition: index, first, end: reader.position(), records };
        if to.send(read).await.is_err() {
            return Ok(());
        }
    }
}

fn failed(error: impl std::fmt::Display) -> SqlError {
    SqlError::internal(error)
}
