//! One table's landing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use journal::{Log, LogError, Partition, Record};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::hold::Hold;
use super::letters::Letters;
use super::rules::{Backoff, Moved, Open, Start, Verdict, moved, resolve, start};
use super::source::{self, Read};
use super::status::{Phase, TableStatus};
use super::{SinkConfig, SinkError};
use crate::delta::{Action, Add, Committed, Txn};
use crate::encode::Encoded;
use crate::lake::{Lake, LakeError, Position, Snapshot, add_of, app_id, commit_info, mark_ids, now_ms, uuid_text};
use crate::tables::Table;

/// Lands one table.
pub(super) struct Lander {
    table: Table,
    log: Arc<dyn Log>,
    lake: Lake,
    config: SinkConfig,
    status: watch::Sender<TableStatus>,
    stop: CancellationToken,
    incarnation: u128,
    files: Files,
    letters: Letters,
    /// Candles only: what may still be corrected, by partition.
    holds: BTreeMap<u32, Hold>,
    /// Next offset of each partition as committed.
    left_at: BTreeMap<u32, u64>,
    /// Next offset of each partition as read into open files.
    reached: BTreeMap<u32, u64>,
    /// Positions as committed, with their marks.
    committed: BTreeMap<u32, Position>,
    /// When the first record of the open files was read.
    since: Option<Instant>,
    meters: Meters,
}

struct Meters {
    rows: metrics::Counter,
    commits: metrics::Counter,
    bytes: metrics::Counter,
    retries: metrics::Counter,
    refused: metrics::Counter,
    repeated: metrics::Counter,
    lost: metrics::Counter,
    superseded: metrics::Counter,
    landing: metrics::Histogram,
    open_rows: metrics::Gauge,
}

impl Meters {
    fn new(table: Table) -> Self {
        let table = table.name();
        Self {
            rows: metrics::counter!("millrace_sink_rows_total", "table" => table),
            commits: metrics::counter!("millrace_sink_commits_total", "table" => table),
            bytes: metrics::counter!("millrace_sink_bytes_total", "table" => table),
            retries: metrics::counter!("millrace_sink_retries_total", "table" => table),
            refused: metrics::counter!("millrace_sink_refused_total", "table" => table),
            repeated: metrics::counter!("millrace_sink_repeated_total", "table" => table),
            lost: metrics::counter!("millrace_sink_lost_total", "table" => table),
            superseded: metrics::counter!("millrace_sink_superseded_total", "table" => table),
            landing: metrics::histogram!("millrace_sink_landing_seconds", "table" => table),
            open_rows: metrics::gauge!("millrace_sink_open_rows", "table" => table),
        }
    }
}

impl Lander {
    pub(super) fn new(
        table: Table,
        log: Arc<dyn Log>,
        lake: Lake,
        config: SinkConfig,
        status: watch::Sender<TableStatus>,
        stop: CancellationToken,
    ) -> Self {
        let incarnation = log.incarnation();
        Self {
            table,
            log,
            lake,
            config,
            status,
            stop,
            incarnation,
            files: Files::new(table, BTreeMap::new()),
            letters: Letters::default(),
            holds: BTreeMap::new(),
            left_at: BTreeMap::new(),
            reached: BTreeMap::new(),
            committed: BTreeMap::new(),
            since: None,
            meters: Meters::new(table),
        }
    }

    /// Lands until the stop or an error that waiting does not mend. What is open at the stop lands if the store
    /// takes it soon; otherwise all of it is read again after the next start.
    pub(super) async fn run(mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        let status = self.status.clone();
        let stop_within = self.config.stop_within;
        let grace = async {
            stop.cancelled().await;
            tokio::time::sleep(stop_within).await;
        };
        // Landing that is dropped halfway has committed all or nothing, and this lander does no more.
        let result = tokio::select! {
            ended = self.land() => ended,
            () = grace => Ok(()),
        };
        let why = result.as_ref().err().map(ToString::to_string);
        status.send_modify(|status| status.enter(Phase::Stopped(why)));
        result
    }

    async fn land(&mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        let Some(begun) = stop.run_until_cancelled(self.begin()).await else { return Ok(()) };
        let Some(from) = begun? else {
            // No such topic in this pipeline: nothing will ever come.
            self.status.send_modify(|status| status.enter(Phase::Landing));
            stop.cancelled().await;
            return Ok(());
        };
        let mut reads = source::read(&self.log, self.table.topic(), &from, &stop);
        self.status.send_modify(|status| status.enter(Phase::Landing));
        loop {
            match stop.run_until_cancelled(self.take(&mut reads)).await.transpose()? {
                Some(true) => {}
                // The readers end with the stop too.
                _ if stop.is_cancelled() => return self.roll().await,
                _ => return Err(LogError::Closed.into()),
            }
            let open = self.open();
            self.meters.open_rows.set(open.rows as f64);
            if self.config.roll.is_due(&open) || self.letters.is_full() {
                self.roll().await?;
            }
        }
    }

    /// Waits for the next read, at most until the open files are due, and takes it in; false when the readers have
    /// ended.
    async fn take(&mut self, reads: &mut mpsc::Receiver<Read>) -> Result<bool, SinkError> {
        let due = self.since.map(|since| since + self.config.roll.age);
        let read = match due {
            Some(due) => match tokio::time::timeout_at(due.into(), reads.recv()).await {
                Ok(read) => read,
                Err(_) => return Ok(true),
            },
            None => reads.recv().await,
        };
        let Some(read) = read else { return Ok(false) };
        let (partition, records) = read?;
        if records.is_empty() {
            return Ok(true);
        }
        self.since.get_or_insert_with(Instant::now);
        let next = records.last().map_or(0, |record| record.offset + 1);
        if self.table == Table::Candles {
            self.take_candles(partition, records, next)?;
        } else {
            self.push(partition, &records)?;
            self.reached.insert(partition, next);
        }
        self.status.send_modify(|status| {
            status.read.insert(partition, next);
        });
        Ok(true)
    }

    fn take_candles(&mut self, partition: u32, records: Vec<Record>, next: u64) -> Result<(), SinkError> {
        let settle = self.config.settle_ns;
        let hold = self.holds.entry(partition).or_insert_with(|| Hold::new(settle));
        for record in records {
            hold.push(record);
        }
        let mut released = Vec::new();
        hold.release(&mut released);
        self.meters.superseded.absolute(hold.superseded());
        let reached = hold.oldest().unwrap_or(next);
        self.push(partition, &released)?;
        self.reached.insert(partition, reached);
        Ok(())
    }

    fn push(&mut self, partition: u32, records: &[Record]) -> Result<(), SinkError> {
        let repeated = self.files.repeated();
        for record in records {
            if let Err(error) = self.files.push(partition, record.offset, &record.value) {
                self.meters.refused.increment(1);
                self.status.send_modify(|status| status.refused += 1);
                tracing::warn!(table = %self.table, partition, offset = record.offset, %error, "no row");
                // A letter that is no letter would come back for ever: it is counted and passed over.
                if self.table != Table::DeadLetters {
                    self.letters.refuse(self.table, partition, record.offset, &error, &record.value);
                }
            }
            if self.files.is_full() {
                self.files.encode().map_err(|error| parquet_error(self.table, &error))?;
            }
        }
        self.meters.repeated.increment(self.files.repeated() - repeated);
        Ok(())
    }

    fn open(&self) -> Open {
        Open {
            rows: self.files.rows(),
            bytes: self.files.bytes(),
            dates: self.files.dates(),
            age: self.since.map(|since| since.elapsed()),
        }
    }

    /// Where each partition goes on; none without a topic.
    async fn begin(&mut self) -> Result<Option<Vec<(u32, u64)>>, SinkError> {
        let snapshot = self.ready().await?;
        let topics = self.log.topics().await?;
        let Some((_, partitions)) = topics.iter().find(|(name, _)| &**name == self.table.topic()) else {
            return Ok(None);
        };
        let positions = snapshot.positions(self.incarnation);
        if positions.is_empty()
            && let Some(found) = snapshot.logs().next()
        {
            return Err(SinkError::OtherLog { table: self.table, found });
        }
        let mut from = Vec::new();
        for partition in 0..*partitions {
            let landed = positions.get(&partition).map(|position| position.next);
            let place = Partition::new(self.table.topic(), partition);
            let bounds = self.log.bounds(&place).await?;
            let at = match start(landed, bounds.start, bounds.end) {
                Start::At(at) => at,
                Start::Lost { from, to } => {
                    tracing::error!(table = %self.table, partition, from, to, "records were trimmed before they landed");
                    self.meters.lost.increment(to - from);
                    self.status.send_modify(|status| status.lost += to - from);
                    to
                }
                Start::Truncated { end, landed } => {
                    return Err(SinkError::Truncated { topic: self.table.topic(), partition, end, landed });
                }
            };
            self.log.hold(&place, at).await?;
            self.status.send_modify(|status| {
                status.read.insert(partition, at);
            });
            from.push((partition, at));
            self.left_at.insert(partition, landed.unwrap_or(0));
        }
        self.committed = positions.clone();
        let marks = positions.iter().map(|(partition, position)| (*partition, position.marks.clone())).collect();
        self.files = Files::new(self.table, marks);
        self.tell(&snapshot);
        Ok(Some(from))
    }

    /// The table, made where it is missing; waits for a store that is away.
    async fn ready(&mut self) -> Result<Arc<Snapshot>, SinkError> {
        let mut backoff = Backoff::new();
        loop {
            match self.lake.prepare(self.table).await {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => self.wait(error, &mut backoff).await?,
            }
        }
    }

    /// After a failure that may pass: says so and pauses.
    async fn wait(&mut self, error: LakeError, backoff: &mut Backoff) -> Result<(), SinkError> {
        if !error.is_transient() {
            return Err(error.into());
        }
        self.meters.retries.increment(1);
        tracing::warn!(table = %self.table, %error, "landing waits for the store");
        self.status.send_modify(|status| status.enter(Phase::Waiting(error.to_string())));
        tokio::time::sleep(backoff.pause()).await;
        Ok(())
    }

    /// Uploads and commits what is open, however long it takes.
    async fn roll(&mut self) -> Result<(), SinkError> {
        let begun = Instant::now();
        let moved = self.reached.iter().any(|(partition, next)| self.left_at.get(partition) != Some(next));
        if !moved {
            // Candles that are all held back.
            self.since = None;
            return Ok(());
        }
        self.letters.send(&self.log).await?;
        let files = self.files.finish().map_err(|error| parquet_error(self.table, &error))?;
        let rows: u64 = files.iter().map(|(_, file)| file.rows).sum();
        let mut actions =
            vec![commit_info("WRITE", uuid_text(), &[("mode", "Append".into()), ("rows", rows.into())]).into()];
        actions.extend(self.positions());
        for (date, file) in files {
            actions.push(self.upload(date, file).await?.into());
        }
        let version = self.commit(&actions).await?;
        self.settle(version, rows).await?;
        self.meters.landing.record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// The positions that have moved.
    fn positions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut put = |app_id: String, version: u64| {
            // Offsets, epochs and counts are far below 2^63: rows with larger ones were refused.
            let version = i64::try_from(version).unwrap_or(i64::MAX);
            actions.push(Txn { app_id, version, last_updated: Some(now_ms()) }.into());
        };
        for (partition, next) in &self.reached {
            let app = app_id(self.table, self.incarnation, *partition);
            let known = self.committed.get(partition);
            put(app.clone(), *next);
            let Some(marks) = self.files.marks().get(partition) else { continue };
            for (name, mark) in marks.iter() {
                let same =
                    known.is_some_and(|known| known.marks.iter().any(|(other, old)| other == name && old == mark));
                if !same {
                    for (id, value) in mark_ids(&app, &name, mark) {
                        put(id, value);
                    }
                }
            }
        }
        actions
    }

    async fn upload(&mut self, date: i32, file: Encoded) -> Result<Add, SinkError> {
        let add = add_of(&file, date, 0, Some(self.incarnation));
        let whole = Path::from(format!("{}/{}", self.table.name(), add.path));
        let mut backoff = Backoff::new();
        while let Err(error) = self.lake.objects().put(&whole, file.bytes.clone().into()).await {
            self.wait(error.into(), &mut backoff).await?;
        }
        self.meters.bytes.increment(file.bytes.len() as u64);
        Ok(add)
    }

    /// Commits the actions at whatever version is free; the version they got.
    async fn commit(&mut self, actions: &[Action]) -> Result<u64, SinkError> {
        let id = actions.first().and_then(|action| action.commit_info.as_ref()?.txn_id.clone()).unwrap_or_default();
        let mut backoff = Backoff::new();
        // Only the version after one at which our positions are as we left them may be ours. Others in this process
        // look at the table too, so what is known may be past a rival's commit; after a look that failed, behind ours.
        let mut snapshot = Arc::clone(&self.lake.known(self.table).borrow());
        if moved(&self.left_at, snapshot.positions(self.incarnation)).is_some() {
            snapshot = self.look(&mut backoff).await?;
            if let Some(moved) = moved(&self.left_at, snapshot.positions(self.incarnation)) {
                return Err(self.fenced(moved));
            }
        }
        let mut version = snapshot.version.map_or(0, |version| version + 1);
        loop {
            match self.lake.commit(self.table, version, actions).await {
                Ok(Committed::Yes) => return Ok(version),
                Ok(Committed::Taken) => {}
                Err(error) => self.wait(error, &mut backoff).await?,
            }
            // Whatever went wrong, the table itself says what became of it.
            let snapshot = self.look(&mut backoff).await?;
            let now = snapshot.version.unwrap_or(0);
            let ours = self.lake.has_commit(&snapshot, &id).await;
            match resolve(now, ours, &self.left_at, &self.reached, snapshot.positions(self.incarnation)) {
                Verdict::Ours => return Ok(now),
                Verdict::Again(next) => version = next,
                Verdict::Fenced(moved) => return Err(self.fenced(moved)),
            }
        }
    }

    /// The table as it is now, however long it takes.
    async fn look(&mut self, backoff: &mut Backoff) -> Result<Arc<Snapshot>, SinkError> {
        loop {
            match self.lake.snapshot(self.table).await {
                Ok(snapshot) => return Ok(snapshot),
                Err(error) => self.wait(error, backoff).await?,
            }
        }
    }

    fn fenced(&self, Moved { partition, expected, found }: Moved) -> SinkError {
        SinkError::Fenced { table: self.table, topic: self.table.topic(), partition, expected, found }
    }

    /// After a commit: the log may forget what has landed.
    async fn settle(&mut self, version: u64, rows: u64) -> Result<(), SinkError> {
        for (partition, next) in std::mem::take(&mut self.reached) {
            self.left_at.insert(partition, next);
            let marks = self.files.marks().get(&partition).cloned().unwrap_or_default();
            self.committed.insert(partition, Position { next, marks });
            self.log.hold(&Partition::new(self.table.topic(), partition), next).await?;
        }
        self.since = None;
        self.meters.rows.increment(rows);
        self.meters.commits.increment(1);
        self.status.send_modify(|status| {
            status.enter(Phase::Landing);
            status.version = Some(version);
            status.rows += rows;
            status.landed.clone_from(&self.left_at);
        });
        Ok(())
    }

    fn tell(&self, snapshot: &Snapshot) {
        self.status.send_modify(|status| {
            status.version = snapshot.version;
            status.landed.clone_from(&self.left_at);
        });
    }
}

fn parquet_error(table: Table, error: &parquet::errors::ParquetError) -> SinkError {
    LakeError::Parquet { path: table.name().to_owned(), what: error.to_string() }.into()
}
