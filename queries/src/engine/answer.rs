//! The rows of a statement, within its limits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Bounds, Held, Share};
use crate::error::SqlError;
use crate::statement::CopyFormat;

/// Rows as they come, batch by batch. Dropping it ends the statement.
///
/// It ends with an error when the time or the rows run out; so an answer that ends without one is whole.
pub struct Answer {
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
    copy: Option<CopyFormat>,
    notes: Vec<String>,
    rows: u64,
    rows_max: u64,
    time_max: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Done once memory is short and this statement has to end.
    memory: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    held: Held,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Answer({} rows so far)", self.rows)
    }
}

impl Answer {
    pub(super) fn new(
        stream: SendableRecordBatchStream,
        copy: Option<CopyFormat>,
        notes: Vec<String>,
        deadline: Instant,
        bounds: Bounds,
        held: Held,
    ) -> Self {
        Self {
            schema: stream.schema(),
            stream,
            copy,
            notes,
            rows: 0,
            rows_max: bounds.rows_max,
            time_max: bounds.time_max,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            memory: Box::pin(held.share.ended().clone().cancelled_owned()),
            ended: false,
            held,
        }
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// Set when it was `COPY (…) TO STDOUT`.
    pub fn copy(&self) -> Option<CopyFormat> {
        self.copy
    }

    /// What a reader has to know of the answer: how far the tables reach when that is not up to now.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The statement's share of the memory, for who is busy with its rows while it has to end.
    pub(crate) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.held.share)
    }

    /// All rows at once.
    ///
    /// # Errors
    /// The first error on the way.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// The time has run out.
pub(super) fn too_slow(time: Duration) -> SqlError {
    SqlError::limit(format!("the statement took longer than {} s", time.as_secs_f32()))
}

/// The engine has a mistake that this statement found.
pub(super) fn panicked() -> DataFusionError {
    let message = "the engine failed on this statement: it is a mistake of ours, and another way to ask may work";
    DataFusionError::External(Box::new(SqlError::internal(message)))
}

impl Stream for Answer {
    type Item = Result<RecordBatch, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(too_slow(self.time_max))));
        }
        if self.memory.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(self.held.share.error())));
        }
        // A panic of the engine is this statement's end, and nobody else's.
        let polled = catch_unwind(AssertUnwindSafe(|| self.stream.poll_next_unpin(context)));
        match polled.unwrap_or_else(|_| Poll::Ready(Some(Err(panicked())))) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => {
                self.rows += batch.num_rows() as u64;
                if self.rows > self.rows_max {
                    self.ended = true;
                    let message = format!("the answer has more than {} rows: add a LIMIT", self.rows_max);
                    return Poll::Ready(Some(Err(SqlError::limit(message))));
                }
                Poll::Ready(Some(Ok(batch)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.ended = true;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }
}
