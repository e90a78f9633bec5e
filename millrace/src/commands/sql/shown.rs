//! Rows on the terminal, or wherever they were asked for.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use queries::output::{Encoder, Format, table};

use crate::cli::SqlFormat;

/// Rows that a table for people shows; more are left out, and said so.
const SHOWN_ROWS_MAX: usize = 1_000;

/// How and where rows are shown.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) format: SqlFormat,
    pub(super) to: Option<PathBuf>,
}

/// Rows that are being shown.
pub(super) enum Showing {
    /// A table, which needs all rows to know its widths.
    Table { batches: Vec<RecordBatch>, rows: usize },
    /// Bytes as they come.
    Bytes { encoder: Box<Encoder>, to: Box<dyn Write + Send> },
}

impl Output {
    /// Begins to show rows of this schema.
    pub(super) fn begin(&self, schema: &Schema) -> anyhow::Result<Showing> {
        let format = match self.format {
            SqlFormat::Table => {
                return Ok(Showing::Table { batches: vec![RecordBatch::new_empty(schema.clone().into())], rows: 0 });
            }
            SqlFormat::Csv => Format::Csv { header: true },
            SqlFormat::Json => Format::Ndjson,
            SqlFormat::Arrow => Format::Arrow,
            SqlFormat::Parquet => Format::Parquet,
        };
        let to: Box<dyn Write + Send> = match &self.to {
            Some(path) => Box::new(File::create(path).with_context(|| format!("cannot make {}", path.display()))?),
            None if matches!(format, Format::Arrow | Format::Parquet) && io::stdout().is_terminal() => {
                anyhow::bail!("bytes of Arrow or Parquet are not for a terminal: add --output FILE, or redirect")
            }
            None => Box::new(io::stdout()),
        };
        Ok(Showing::Bytes { encoder: Box::new(Encoder::new(format, schema)?), to })
    }
}

impl Showing {
    /// Shows a batch; false when whoever reads has gone.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> anyhow::Result<bool> {
        match self {
            Self::Table { batches, rows } => {
                let room = SHOWN_ROWS_MAX.saturating_sub(*rows).min(batch.num_rows());
                *rows += batch.num_rows();
                if room > 0 {
                    batches.push(batch.slice(0, room));
                }
                Ok(true)
            }
            Self::Bytes { encoder, to } => written(to.write_all(&encoder.encode(batch)?)),
        }
    }

    /// Ends.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Table { batches, rows } => {
                let mut text = table(&batches)?;
                text.push('\n');
                if rows > SHOWN_ROWS_MAX {
                    text.push_str(&format!("{rows} rows, the first {SHOWN_ROWS_MAX} of them shown\n"));
                } else {
                    text.push_str(&format!("{rows} rows\n"));
                }
                written(io::stdout().write_all(text.as_bytes())).map(drop)
            }
            Self::Bytes { mut encoder, mut to } => {
                let bytes = encoder.finish()?;
                written(to.write_all(&bytes).and_then(|()| to.flush())).map(drop)
            }
        }
    }
}

/// Whoever reads us may stop reading: that is no error.
fn written(result: io::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}
