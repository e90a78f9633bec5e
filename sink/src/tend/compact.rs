//! Rewrites files into fewer, sorted ones: one commit takes the old ones out and puts the new ones in.

use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::merge::{Input, merged};
use super::plan::{Job, Level, jobs};
use super::remote::Remote;
use super::runs::Runs;
use crate::delta::{Action, Add, Committed, DataFile, Remove, Stat};
use crate::encode::Encoded;
use crate::lake::{Lake, LakeError, Place, add_of, commit_info, now_ms, partition_values, uuid_text};
use crate::tables::Table;

/// Attempts at a commit that others get in between.
const COMMIT_ATTEMPTS: usize = 16;
/// Rows that are read at a time.
const SLICE_ROWS: usize = 2_048;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Files taken out.
    pub files_before: usize,
    /// Files put in.
    pub files_after: usize,
    /// Rows in them, before and after.
    pub rows: u64,
    /// Bytes taken out.
    pub bytes_before: u64,
    /// Bytes put in.
    pub bytes_after: u64,
}

/// Compacts what is closed in a table. `progress` is told of every job: done, all.
///
/// # Errors
/// When the store is away or a file cannot be read. What was done before stays done.
pub async fn compact(
    lake: &Lake,
    table: Table,
    mut progress: impl FnMut(usize, usize),
) -> Result<Compacted, LakeError> {
    let mut done = Compacted::default();
    // Dates become due once their hours are done: at most two rounds.
    for _ in 0..2 {
        let snapshot = lake.snapshot(table).await?;
        // Event time decides what is closed: the newest row there is, not a clock.
        let newest = snapshot.files.iter().filter_map(|file| match file.columns.get("ts_event")?.max {
            Some(Stat::Time(micros)) => Some(micros),
            _ => None,
        });
        let due = jobs(&snapshot.files, newest.max().unwrap_or(i64::MIN));
        if due.is_empty() {
            break;
        }
        for (at, job) in due.iter().enumerate() {
            progress(at, due.len());
            if let Some(one) = run(lake, table, job).await? {
                done.files_before += one.files_before;
                done.files_after += one.files_after;
                done.rows += one.rows;
                done.bytes_before += one.bytes_before;
                done.bytes_after += one.bytes_after;
            }
        }
        progress(due.len(), due.len());
    }
    Ok(done)
}

/// One job; none when another compaction took its files.
async fn run(lake: &Lake, table: Table, job: &Job) -> Result<Option<Compacted>, LakeError> {
    let rows = job.files.iter().map(|file| file.rows).sum();
    // Reading, sorting and encoding take seconds of a core, on a thread that may wait. It ends early once nobody waits
    // for it; what it had uploaded by then is part of no table, and the vacuum's.
    let unwanted = CancellationToken::new();
    let _ends = unwanted.clone().drop_guard();
    let mut work = Rewrite {
        lake: lake.clone(),
        table,
        job: job.clone(),
        runtime: Handle::current(),
        unwanted,
        rows: 0,
        bytes: 0,
        adds: Vec::new(),
    };
    let done = tokio::task::spawn_blocking(move || work.run().map(|()| work)).await;
    let Rewrite { rows: landed, bytes, adds, .. } = done.map_err(|error| parquet(table.name(), &error))??;
    if landed != rows {
        return Err(parquet(table.name(), &format!("{landed} rows of {rows} after sorting: nothing was committed")));
    }
    let done = Compacted {
        files_before: job.files.len(),
        files_after: adds.len(),
        rows,
        bytes_before: job.files.iter().map(|file| file.size).sum(),
        bytes_after: bytes,
    };
    let committed = commit(lake, table, job, adds).await?;
    metrics::counter!("millrace_sink_compacted_files_total", "table" => table.name())
        .increment(done.files_before as u64);
    Ok(committed.then_some(done))
}

/// A job at work. In memory are, at a time: the rows of one run, the runs of a job that sorts, a page of each file of one
/// that merges, and the file that is being made.
struct Rewrite {
    lake: Lake,
    table: Table,
    job: Job,
    runtime: Handle,
    unwanted: CancellationToken,
    rows: u64,
    bytes: u64,
    adds: Vec<Add>,
}

impl Rewrite {
    fn run(&mut self) -> Result<(), LakeError> {
        let sorted = match self.job.level {
            Level::Hour => self.sort()?,
            Level::Date => self.job.files.iter().map(|file| self.open(file)).collect::<Result<_, _>>()?,
        };
        let (table, unwanted) = (self.table, self.unwanted.clone());
        merged(table, sorted, &unwanted, &mut |file| self.upload(file))
    }

    fn open(&self, file: &DataFile) -> Result<Input, LakeError> {
        Ok(match self.lake.place() {
            Place::Directory(folder) => {
                Input::Local(File::open(folder.join(&file.path)).map_err(|error| parquet(&file.path, &error))?)
            }
            Place::S3(_) => {
                Input::Remote(Remote::new(self.lake.objects(), &file.path, file.size, self.runtime.clone()))
            }
        })
    }

    fn sort(&self) -> Result<Vec<Input>, LakeError> {
        let table = self.table;
        let whole = |error: &dyn std::fmt::Display| parquet(table.name(), error);
        let mut runs = Runs::new(table).map_err(|error| whole(&error))?;
        for file in &self.job.files {
            for batch in self.open(file)?.rows(SLICE_ROWS).map_err(|error| parquet(&file.path, &error))? {
                let batch = batch.map_err(|error| parquet(&file.path, &error))?;
                runs.push(conform(table, &file.path, &batch)?).map_err(|error| parquet(&file.path, &error))?;
                if self.unwanted.is_cancelled() {
                    return Err(whole(&"no longer wanted"));
                }
            }
        }
        Ok(runs.finish().map_err(|error| whole(&error))?.into_iter().map(Input::Run).collect())
    }

    fn upload(&mut self, file: Encoded) -> Result<(), LakeError> {
        self.rows += file.rows;
        self.bytes += file.bytes.len() as u64;
        let add = self.runtime.block_on(upload(&self.lake, self.table, &self.job, file))?;
        self.adds.push(add);
        Ok(())
    }
}

/// A file's rows, with the columns of the table as they are now.
pub(super) async fn read(lake: &Lake, table: Table, file: &DataFile) -> Result<Vec<RecordBatch>, LakeError> {
    let bytes = lake.objects().get(&Path::from(&*file.path)).await?.bytes().await?;
    let name = file.path.clone();
    let decode = move || -> Result<Vec<RecordBatch>, LakeError> { batches(table, &name, bytes)?.collect() };
    tokio::task::spawn_blocking(decode).await.map_err(|error| parquet(&file.path, &error))?
}

fn batches<'a>(
    table: Table,
    path: &'a str,
    bytes: Bytes,
) -> Result<impl Iterator<Item = Result<RecordBatch, LakeError>> + use<'a>, LakeError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_batch_size(SLICE_ROWS).build())
        .map_err(|error| parquet(path, &error))?;
    Ok(reader.map(move |batch| conform(table, path, &batch.map_err(|error| parquet(path, &error))?)))
}

/// The batch with the columns of the table as they are now: an older file lacks those that came later.
pub(super) fn conform(table: Table, path: &str, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
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

async fn upload(lake: &Lake, table: Table, job: &Job, file: Encoded) -> Result<Add, LakeError> {
    let add = add_of(&file, job.date, job.level.number(), job.log);
    lake.objects().put(&Path::from(format!("{}/{}", table.name(), add.path)), file.bytes.into()).await?;
    Ok(add)
}

/// Takes the old files out and puts the new ones in, at whatever version is free; false when an old file is no
/// longer part of the table.
async fn commit(lake: &Lake, table: Table, job: &Job, adds: Vec<Add>) -> Result<bool, LakeError> {
    let id = uuid_text();
    for _ in 0..COMMIT_ATTEMPTS {
        let snapshot = lake.snapshot(table).await?;
        if lake.knows_commit(table, &id).await {
            return Ok(true);
        }
        let paths = lake.log_paths(table).await;
        let old: Option<Vec<&String>> = job.files.iter().map(|file| paths.get(&file.path)).collect();
        let Some(old) = old else { return Ok(false) };
        let at = now_ms();
        let removes = old.into_iter().zip(&job.files).map(|(path, file)| Remove {
            path: path.clone(),
            deletion_timestamp: Some(at),
            data_change: false,
            extended_file_metadata: Some(true),
            partition_values: Some(partition_values(job.date)),
            size: i64::try_from(file.size).ok(),
        });
        let level = serde_json::Value::from(job.level.number());
        let mut actions: Vec<Action> = vec![commit_info("OPTIMIZE", id.clone(), &[("level", level)]).into()];
        actions.extend(removes.map(Action::from));
        actions.extend(adds.iter().cloned().map(Action::from));
        let version = snapshot.version.map_or(0, |version| version + 1);
        if matches!(lake.commit(table, version, &actions).await, Ok(Committed::Yes)) {
            return Ok(true);
        }
    }
    // A last look: the final attempt's answer may have been lost.
    lake.snapshot(table).await?;
    if lake.knows_commit(table, &id).await {
        return Ok(true);
    }
    Err(parquet(table.name(), &format!("no version was free in {COMMIT_ATTEMPTS} attempts")))
}

pub(super) fn parquet(path: &str, error: &dyn std::fmt::Display) -> LakeError {
    LakeError::Parquet { path: path.to_owned(), what: error.to_string() }
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
