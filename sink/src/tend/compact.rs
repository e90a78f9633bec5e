//! Rewrites files into fewer, sorted ones: one commit takes the old ones out and puts the new ones in.

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::input::Input;
use super::merge::merged;
use super::plan::{Job, Level, jobs};
use super::runs::Runs;
use crate::delta::{Action, Add, Committed, DataFile, Remove, Stat};
use crate::encode::Encoded;
use crate::lake::{Lake, LakeError, add_of, commit_info, now_ms, partition_values, uuid_text};
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
    // It ends early once nobody waits for it; what it had uploaded by then is part of no table, and the vacuum's.
    let unwanted = CancellationToken::new();
    let _ends = unwanted.clone().drop_guard();
    let mut work = Rewrite {
        lake: lake.clone(),
        table,
        job: job.clone(),
        runtime: Handle::current(),
        unwanted,
        rows: 0,
        adds: Vec::new(),
    };
    let Rewrite { rows: landed, adds, .. } = on_own_thread(table, move || work.run().map(|()| work)).await?;
    if landed != rows {
        return Err(parquet(table.name(), &format!("{landed} rows of {rows} after sorting: nothing was committed")));
    }
    let done = Compacted {
        files_before: job.files.len(),
        files_after: adds.len(),
        rows,
        bytes_before: job.files.iter().map(|file| file.size).sum(),
        bytes_after: adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum(),
    };
    let committed = commit(lake, table, job, adds).await?;
    metrics::counter!("millrace_sink_compacted_files_total", "table" => table.name())
        .increment(done.files_before as u64);
    Ok(committed.then_some(done))
}

/// Reading, sorting and encoding take seconds of a core and hundreds of megabytes in passing. The thread ends with the
/// work, and its part of the heap goes back: each thread of a pool would keep some, and jobs meet another every time.
async fn on_own_thread<T: Send + 'static>(
    table: Table,
    work: impl FnOnce() -> Result<T, LakeError> + Send + 'static,
) -> Result<T, LakeError> {
    let (done, result) = oneshot::channel();
    // Nobody waits for the result of a job that is no longer wanted.
    let body = move || drop(done.send(work()));
    let spawned = std::thread::Builder::new().name("compact".to_owned()).spawn(body);
    spawned.map_err(|error| parquet(table.name(), &format!("no thread to compact on: {error}")))?;
    result.await.map_err(|_| parquet(table.name(), &"compaction panicked"))?
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
        Input::open(&self.lake, file, &self.runtime)
    }

    fn sort(&self) -> Result<Vec<Input>, LakeError> {
        let table = self.table;
        let whole = |error: &dyn std::fmt::Display| parquet(table.name(), error);
        let mut runs = Runs::new(table).map_err(|error| whole(&error))?;
        for file in &self.job.files {
            for batch in self.open(file)?.batches(table, &file.path, SLICE_ROWS)? {
                runs.push(batch?).map_err(|error| parquet(&file.path, &error))?;
                if self.unwanted.is_cancelled() {
                    return Err(whole(&"no longer wanted"));
                }
            }
        }
        Ok(runs.finish().map_err(|error| whole(&error))?.into_iter().map(Input::Memory).collect())
    }

    fn upload(&mut self, file: Encoded) -> Result<(), LakeError> {
        let (table, job) = (self.table, &self.job);
        let add = add_of(&file, job.date, job.level.number(), job.log);
        let path = Path::from(format!("{}/{}", table.name(), add.path));
        self.rows += file.rows;
        self.runtime.block_on(self.lake.objects().put(&path, file.bytes.into()))?;
        self.adds.push(add);
        Ok(())
    }
}

/// Takes the old files out and puts the new ones in, at whatever version is free; false when an old file is no
/// longer part of the table.
async fn commit(lake: &Lake, table: Table, job: &Job, adds: Vec<Add>) -> Result<bool, LakeError> {
    let id = uuid_text();
    for _ in 0..COMMIT_ATTEMPTS {
        let snapshot = lake.snapshot(table).await?;
        if lake.has_commit(&snapshot, &id).await {
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
    let snapshot = lake.snapshot(table).await?;
    if lake.has_commit(&snapshot, &id).await {
        return Ok(true);
    }
    Err(parquet(table.name(), &format!("no version was free in {COMMIT_ATTEMPTS} attempts")))
}

pub(super) fn parquet(path: &str, error: &dyn std::fmt::Display) -> LakeError {
    LakeError::Parquet { path: path.to_owned(), what: error.to_string() }
}
