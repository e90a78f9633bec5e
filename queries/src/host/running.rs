//! A statement at work in the worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::child::{Child, ENDED};
use crate::error::{ErrorKind, SqlError};
use crate::parameters;
use crate::statement::CopyFormat;
use crate::worker::protocol::{self, Described, Kind, Request};

/// Time after its deadline in which a statement has to say that it met it.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// Time after its connection was closed in which a statement has to stop by itself.
const GRACE: Duration = Duration::from_millis(500);

/// A statement that was planned and gives rows. Dropping it ends the statement: within a second of its deadline, if need
/// be with the worker.
#[derive(Debug)]
pub struct Running {
    child: Arc<Child>,
    stream: Option<UnixStream>,
    deadline: Instant,
    time_max: Duration,
    schema: SchemaRef,
    parameters: SchemaRef,
    copy: Option<CopyFormat>,
    notes: Vec<String>,
    decoder: StreamDecoder,
    /// What came first: it is waited for, so that a statement whose worker ends before can run again.
    first: Option<(Kind, Vec<u8>)>,
    ready: VecDeque<RecordBatch>,
    done: bool,
}

impl Running {
    /// Hands a statement to the worker and waits until it is planned and, unless only that was asked for, gives
    /// something.
    pub(super) async fn begin(child: Arc<Child>, request: &Request, given: Option<&[u8]>) -> Result<Self, SqlError> {
        let mut stream = child.connect().await?;
        let gone = |_| SqlError::new(ErrorKind::Busy, ENDED);
        protocol::write_json(&mut stream, Kind::Request, request).await.map_err(gone)?;
        if let Some(given) = given {
            protocol::write(&mut stream, Kind::Parameters, given).await.map_err(gone)?;
        }
        let empty = SchemaRef::new(arrow::datatypes::Schema::empty());
        let mut running = Self {
            child,
            stream: Some(stream),
            deadline: Instant::now() + request.time_max + SILENCE_MAX,
            time_max: request.time_max,
            schema: Arc::clone(&empty),
            parameters: empty,
            copy: None,
            notes: Vec::new(),
            decoder: StreamDecoder::new(),
            first: None,
            ready: VecDeque::new(),
            done: false,
        };
        match running.frame().await? {
            (Kind::Described, payload) => {
                let described: Described = protocol::json(&payload).map_err(SqlError::internal)?;
                running.schema = parameters::read_schema(&described.schema)?;
                running.parameters = parameters::read_schema(&described.parameters)?;
                running.copy = described.copy.map(|(csv, header)| match csv {
                    true => CopyFormat::Csv { header },
                    false => CopyFormat::Text,
                });
                running.notes = described.notes;
                match running.frame().await? {
                    (Kind::Failed, payload) => {
                        running.done = true;
                        Err(protocol::json(&payload).unwrap_or_else(SqlError::internal))
                    }
                    first => {
                        running.first = Some(first);
                        Ok(running)
                    }
                }
            }
            (Kind::Failed, payload) => {
                running.done = true;
                Err(protocol::json(&payload).unwrap_or_else(SqlError::internal))
            }
            _ => Err(SqlError::internal("the SQL worker answered out of turn")),
        }
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The parameters `$1`, `$2` and so on, the null type where the statement does not tell.
    pub fn parameters(&self) -> SchemaRef {
        Arc::clone(&self.parameters)
    }

    /// Set when it was `COPY (…) TO STDOUT`.
    pub fn copy(&self) -> Option<CopyFormat> {
        self.copy
    }

    /// What a reader has to know of the answer.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The next frame, in time.
    async fn frame(&mut self) -> Result<(Kind, Vec<u8>), SqlError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let Some(stream) = &mut self.stream else {
            return Err(SqlError::internal("the statement has ended"));
        };
        match tokio::time::timeout_at(self.deadline, protocol::read(stream)).await {
            Ok(Ok(Some(frame))) => Ok(frame),
            // The worker closes a statement whose rows were not taken in time.
            Ok(_) if Instant::now() >= self.deadline - SILENCE_MAX => {
                self.done = true;
                Err(self.too_slow())
            }
            Ok(_) => {
                self.done = true;
                Err(SqlError::new(ErrorKind::Busy, ENDED))
            }
            Err(_) => {
                self.close();
                Err(self.too_slow())
            }
        }
    }

    fn too_slow(&self) -> SqlError {
        SqlError::limit(format!("the statement took longer than {} s", self.time_max.as_secs_f32()))
    }

    /// The next bytes of the answer as an Arrow stream; `None` when it is whole.
    ///
    /// # Errors
    /// Whatever ends the statement early.
    pub async fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        if self.done {
            return Ok(None);
        }
        match self.frame().await? {
            (Kind::Rows, bytes) => Ok(Some(bytes)),
            (Kind::Done, _) => {
                self.done = true;
                Ok(None)
            }
            (Kind::Failed, payload) => {
                self.done = true;
                Err(protocol::json(&payload).unwrap_or_else(SqlError::internal))
            }
            _ => Err(SqlError::internal("the SQL worker answered out of turn")),
        }
    }

    /// The next rows; `None` when the answer is whole.
    ///
    /// # Errors
    /// Whatever ends the statement early.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            let Some(bytes) = self.next_bytes().await? else { return Ok(None) };
            let mut buffer = Buffer::from_vec(bytes);
            while !buffer.is_empty() {
                self.ready.extend(self.decoder.decode(&mut buffer)?);
            }
        }
    }
}

impl Running {
    /// Closes the connection, which ends the statement. The worker has to close its own end within the grace; when it
    /// does not, nothing but its end ends the statement.
    fn close(&mut self) {
        let Some(mut stream) = self.stream.take().filter(|_| !std::mem::replace(&mut self.done, true)) else { return };
        let child = Arc::clone(&self.child);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            use tokio::io::AsyncWriteExt;
            let stopped = async {
                stream.shutdown().await?;
                let mut rest = vec![0; 64 << 10];
                while stream.read(&mut rest).await? > 0 {}
                std::io::Result::Ok(())
            };
            if tokio::time::timeout(GRACE, stopped).await.is_err() {
                child.kill("a statement did not stop");
            }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}
