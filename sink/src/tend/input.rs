//! Files as tending reads them: from memory, a directory or S3, a number of rows at a time, with the columns that the table
//! has now.

use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::ChunkReader;
use tokio::runtime::Handle;

use super::compact::parquet;
use super::remote::Remote;
use crate::delta::DataFile;
use crate::lake::{Lake, LakeError, Place};
use crate::tables::Table;

/// Rows that are read at a time where all of a file is.
const SLICE_ROWS: usize = 65_536;

/// Where a file is read from.
pub(super) enum Input {
    /// All of it, in memory.
    Memory(Bytes),
    /// A file in a directory. Not through the store: its reads are made by threads that then wait for work, and the
    /// allocator keeps in their name what is freed here.
    Local(File),
    /// A file in S3.
    Remote(Remote),
}

impl Input {
    /// A file of the lake, of which nothing is in memory; to be read on a thread that may wait.
    pub(super) fn open(lake: &Lake, file: &DataFile, runtime: &Handle) -> Result<Self, LakeError> {
        Ok(match lake.place() {
            Place::Directory(folder) => {
                Self::Local(File::open(folder.join(&file.path)).map_err(|error| parquet(&file.path, &error))?)
            }
            Place::S3(_) => Self::Remote(Remote::new(lake.objects(), &file.path, file.size, runtime.clone())),
        })
    }

    /// Its rows, so many at a time. `path` is what errors name.
    pub(super) fn batches(self, table: Table, path: &str, rows: usize) -> Result<Batches, LakeError> {
        let reader = match self {
            Self::Memory(bytes) => reader(bytes, rows),
            Self::Local(file) => reader(file, rows),
            Self::Remote(file) => reader(file, rows),
        };
        let reader = reader.map_err(|error| parquet(path, &error))?;
        Ok(Batches { table, path: path.to_owned(), reader })
    }
}

fn reader<R: ChunkReader + 'static>(file: R, rows: usize) -> Result<ParquetRecordBatchReader, ParquetError> {
    // With the index of its pages a file is asked for what is needed and no more.
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?.with_batch_size(rows).build()
}

/// The rows of a file.
pub(super) struct Batches {
    table: Table,
    path: String,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.map_err(|error| parquet(&self.path, &error));
        Some(batch.and_then(|batch| conform(self.table, &self.path, &batch)))
    }
}

/// A file's rows, all of them.
pub(super) async fn read(lake: &Lake, table: Table, file: &DataFile) -> Result<Vec<RecordBatch>, LakeError> {
    let bytes = lake.objects().get(&Path::from(&*file.path)).await?.bytes().await?;
    let path = file.path.clone();
    let decode = move || Input::Memory(bytes).batches(table, &path, SLICE_ROWS)?.collect();
    tokio::task::spawn_blocking(decode).await.map_err(|error| parquet(&file.path, &error))?
}

/// The batch with the columns of the table as they are now: an older file lacks those that came later.
fn conform(table: Table, path: &str, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let schema = table.file_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
        // Types are compared with the comments of nested fields, which a file does not have: a cast gives them back.
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => arrow::compute::cast(column, field.data_type()).map_err(|error| parquet(path, &error)),
        None if field.is_nullable() => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
        None => Err(parquet(path, &format!("column {} is missing", field.name()))),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns).map_err(|error| parquet(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Encoder, Order};

    #[test]
    fn what_a_file_of_any_table_gives_back_fits_the_table() {
        for table in Table::all() {
            let file =
                Encoder::new(*table, Order::Arrival).and_then(Encoder::finish).expect("columns that Parquet has");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes).expect("our own file");
            let batch = RecordBatch::new_empty(Arc::clone(reader.schema()));
            let fits = conform(*table, "a file", &batch).unwrap_or_else(|error| panic!("{table}: {error}"));
            assert_eq!(fits.schema(), table.file_schema(), "{table}");
        }
    }
}
