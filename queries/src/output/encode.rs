//! Batches into bytes, one after the other.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::WriterBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::text::{plain, postgres_text};
use crate::error::SqlError;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line. Decimals are text, so that no digit is lost.
    Ndjson,
    /// Comma separated.
    Csv {
        /// Whether the first line names the columns.
        header: bool,
    },
    /// Postgres' text for COPY: tabs, `\\N` for null.
    PostgresText,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv { .. } => "text/csv; charset=utf-8",
            Self::PostgresText => "text/plain; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl FromStr for Format {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<Self, SqlError> {
        match text {
            "json" | "ndjson" | "jsonl" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv { header: true }),
            "arrow" => Ok(Self::Arrow),
            "parquet" => Ok(Self::Parquet),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(SqlError::meaning(format!("format {shown:?} is not known: ndjson, csv, arrow or parquet")))
            }
        }
    }
}

/// Bytes on their way out, shared between a writer that owns its sink and who takes them.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().expect("no one panics while writing to memory"))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no one panics while writing to memory").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes batches of one schema.
pub struct Encoder {
    bytes: Shared,
    writer: Writer,
}

enum Writer {
    Json(LineDelimitedWriter<Shared>),
    Csv(Box<csv::Writer<Shared>>),
    PostgresText(Shared),
    Arrow(Box<StreamWriter<Shared>>),
    Parquet(Box<ArrowWriter<Shared>>),
    Ended,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Encoder")
    }
}

fn failed(error: impl std::fmt::Display) -> SqlError {
    SqlError::internal(format!("rows cannot be written in this format: {error}"))
}

impl Encoder {
    /// Begins; what a format writes before its first row is in the first [`Self::encode`] or [`Self::finish`].
    ///
    /// # Errors
    /// When the format cannot hold a column's type.
    pub fn new(format: Format, schema: &Schema) -> Result<Self, SqlError> {
        let bytes = Shared::default();
        let sink = bytes.clone();
        let writer = match format {
            Format::Ndjson => Writer::Json(WriterBuilder::new().with_explicit_nulls(true).build(sink)),
            Format::Csv { header } => {
                let mut writer = csv::WriterBuilder::new().with_header(header).build(sink);
                if header {
                    // Names the columns also of an answer without rows.
                    let empty = RecordBatch::new_empty(plain_schema(schema)?);
                    writer.write(&empty).map_err(failed)?;
                }
                Writer::Csv(Box::new(writer))
            }
            Format::PostgresText => Writer::PostgresText(sink),
            Format::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(sink, schema).map_err(failed)?)),
            Format::Parquet => {
                let level = ZstdLevel::try_new(3).expect("3 is a level");
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let schema = Arc::new(schema.clone());
                Writer::Parquet(Box::new(ArrowWriter::try_new(sink, schema, Some(properties)).map_err(failed)?))
            }
        };
        Ok(Self { bytes, writer })
    }

    /// Writes a batch and takes the bytes so far.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
        match &mut self.writer {
            Writer::Json(writer) => writer.write(&plain(batch, true)?).map_err(failed)?,
            Writer::Csv(writer) => writer.write(&plain(batch, false)?).map_err(failed)?,
            Writer::PostgresText(sink) => sink.write_all(&postgres_text(batch)?).map_err(failed)?,
            Writer::Arrow(writer) => writer.write(batch).map_err(failed)?,
            Writer::Parquet(writer) => {
                writer.write(batch).map_err(failed)?;
                // A row group is held in memory: keep it within bounds.
                if writer.in_progress_size() > 32 << 20 {
                    writer.flush().map_err(failed)?;
                }
            }
            Writer::Ended => {}
        }
        Ok(self.bytes.take())
    }

    /// Ends and takes the last bytes.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub fn finish(&mut self) -> Result<Vec<u8>, SqlError> {
        match std::mem::replace(&mut self.writer, Writer::Ended) {
            Writer::Json(mut writer) => writer.finish().map_err(failed)?,
            Writer::Arrow(mut writer) => writer.finish().map_err(failed)?,
            Writer::Parquet(writer) => {
                writer.close().map_err(failed)?;
            }
            Writer::Csv(_) | Writer::PostgresText(_) | Writer::Ended => {}
        }
        Ok(self.bytes.take())
    }
}

fn plain_schema(schema: &Schema) -> Result<Arc<Schema>, SqlError> {
    let empty = RecordBatch::new_empty(Arc::new(schema.clone()));
    Ok(plain(&empty, false)?.schema())
}

impl From<ArrowError> for SqlError {
    fn from(error: ArrowError) -> Self {
        Self::internal(error)
    }
}
