//! The tables of a running pipeline, or of a lake alone: snapshots that are looked up again and again, and tails
//! that grow meanwhile.

mod convert;
mod watermark;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::datasource::object_store::ObjectStoreUrl;
use sink::lake::{Lake, Snapshot};
use sink::tables::Table;
use tokio::sync::Notify;

use crate::engine::{Pinned, Tables};
use crate::error::SqlError;
use crate::table::{File, MarketTable, Revisions, Source, TailStore, sql_schema};

pub use watermark::{NAME as WATERMARK, schema as watermark_schema};

/// A statement waits so long for tails that are being read from their beginnings, as after a start of the worker.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(5);
/// Records of a partition that a tail begins with where there is no lake.
const NEWEST_RECORDS: u64 = 200_000;

/// A candle is corrected by a later one until it lands.
const CANDLES: Revisions = Revisions { of: &["cause_partition", "symbol", "interval", "start_ns"], number: "revision" };

/// Where the lake's files are, for DataFusion.
pub const LAKE: &str = "lake://lake/";

/// What is known of one table.
struct Entry {
    snapshot: Option<Arc<Snapshot>>,
    files: Vec<Arc<File>>,
    tail: TailStore,
    /// Where the log ends, by partition, as its owner last said.
    ends: BTreeMap<u32, u64>,
    /// Offsets at which a tail began whose earlier records no snapshot has.
    begun: BTreeMap<u32, u64>,
    /// Where the log ended when the tail began; none before it has.
    caught_up_at: Option<BTreeMap<u32, u64>>,
}

/// Every table, live.
pub struct LiveTables {
    lake: Option<Lake>,
    /// Incarnation of the log that the tail comes from; none without one.
    log: Option<u128>,
    tail_bytes_max: usize,
    entries: Mutex<BTreeMap<Table, Entry>>,
    /// Wakes statements that wait for a tail to begin.
    progress: Notify,
}

impl std::fmt::Debug for LiveTables {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "LiveTables({:?})", self.lake)
    }
}

/// Where a tail has to begin: what of a partition the snapshot has not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Begin {
    /// Offset by partition; one that is missing begins where the log does.
    pub next: BTreeMap<u32, u64>,
    /// What is known of each partition's writers there: name, major, minor.
    pub marks: BTreeMap<u32, Vec<(String, u64, u64)>>,
    /// Set where no lake has the older records: how many of a partition's newest are wanted.
    pub newest: Option<u64>,
}

impl LiveTables {
    /// The tables of a lake, a log's tail, or both.
    pub fn new(lake: Option<Lake>, log: Option<u128>, tail_bytes_max: usize) -> Self {
        let entry = |table: &Table| {
            let tail = TailStore::new(sql_schema(&table.schema()));
            let (ends, begun) = (BTreeMap::new(), BTreeMap::new());
            (*table, Entry { snapshot: None, files: Vec::new(), tail, ends, begun, caught_up_at: None })
        };
        let entries = Mutex::new(Table::all().iter().map(entry).collect());
        Self { lake, log, tail_bytes_max, entries, progress: Notify::new() }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Table, Entry>> {
        self.entries.lock().expect("no one panics while holding the tables")
    }

    /// Looks at the lake again: every table's newest snapshot, and lets go of tail rows that landed.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn refresh(&self) -> Result<(), SqlError> {
        let Some(lake) = &self.lake else { return Ok(()) };
        for table in Table::all() {
            let snapshot = lake.snapshot(*table).await.map_err(SqlError::internal)?;
            let mut entries = self.entries();
            let entry = entries.get_mut(table).expect("every table is there");
            if entry.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, &snapshot)) {
                continue;
            }
            let schema = sql_schema(&table.schema());
            entry.files = snapshot.files.iter().map(|file| Arc::new(convert::file(file, &schema))).collect();
            if let Some(log) = self.log {
                let next = next_offsets(&snapshot, log);
                entry.tail.evict(&next);
            }
            entry.snapshot = Some(snapshot);
        }
        Ok(())
    }

    /// Looks at the lake again and again, until dropped.
    pub async fn refresh_every(&self, pause: Duration) {
        loop {
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "the lake cannot be read at the moment: answers come from what is known");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Where the tail of a table has to begin.
    pub fn begin(&self, table: Table) -> Begin {
        let mut entries = self.entries();
        let entry = entries.get_mut(&table).expect("every table is there");
        entry.tail.reset();
        entry.begun.clear();
        entry.caught_up_at = None;
        let (mut next, mut marks) = (BTreeMap::new(), BTreeMap::new());
        if let (Some(snapshot), Some(log)) = (&entry.snapshot, self.log) {
            for (partition, position) in snapshot.positions(log) {
                next.insert(*partition, position.next);
                let known = position.marks.iter().map(|(name, mark)| (name, mark.major, mark.minor));
                marks.insert(*partition, known.collect());
            }
        }
        Begin { next, marks, newest: self.lake.is_none().then_some(NEWEST_RECORDS) }
    }

    /// Notes where the partitions of a tail begin, and where the log ends as it does.
    pub fn begun(&self, table: Table, ends: &BTreeMap<u32, (u64, u64)>) {
        let mut entries = self.entries();
        let entry = entries.get_mut(&table).expect("every table is there");
        for (partition, (first, end)) in ends {
            entry.begun.entry(*partition).or_insert(*first);
            entry.tail.begin(*partition, *first);
            entry.ends.insert(*partition, *end);
        }
        entry.caught_up_at = Some(ends.iter().map(|(partition, (_, end))| (*partition, *end)).collect());
        self.progress.notify_waiters();
    }

    /// Adds tail rows made of a partition's records from `first` up to `end`.
    ///
    /// # Errors
    /// When they do not follow what is there.
    pub fn push(&self, table: Table, partition: u32, first: u64, end: u64, rows: RecordBatch) -> Result<(), SqlError> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&table).expect("every table is there");
        entry.tail.push(partition, first, end, rows)?;
        let known = entry.ends.entry(partition).or_default();
        *known = end.max(*known);
        self.progress.notify_waiters();
        Ok(())
    }

    /// Notes where the log ends.
    pub fn note_ends(&self, ends: &BTreeMap<String, BTreeMap<u32, u64>>) {
        let mut entries = self.entries();
        for (name, ends) in ends {
            let Some(entry) = name.parse().ok().and_then(|table: Table| entries.get_mut(&table)) else { continue };
            for (partition, end) in ends {
                let known = entry.ends.entry(*partition).or_default();
                *known = (*known).max(*end);
            }
        }
    }

    /// Whether there is room for more tail rows of a table: half of all room is the most for one. Where no lake has
    /// what the tail lets go of, the oldest rows make room for newer ones.
    pub fn has_room(&self, table: Table) -> bool {
        let mut entries = self.entries();
        loop {
            let all: usize = entries.values().map(|entry| entry.tail.bytes()).sum();
            if all < self.tail_bytes_max && entries[&table].tail.bytes() < self.tail_bytes_max / 2 {
                return true;
            }
            if self.lake.is_some() {
                return false;
            }
            let largest = entries.values_mut().max_by_key(|entry| entry.tail.bytes()).expect("there are tables");
            let Some((partition, first)) = largest.tail.let_go() else { return false };
            largest.begun.insert(partition, first);
        }
    }

    /// Waits until every tail has reached the end that the log had when it began, as long as that takes at most.
    async fn caught_up(&self, patience: Duration) {
        let waiting = async {
            loop {
                let progress = self.progress.notified();
                if self.entries().values().all(Entry::is_caught_up) {
                    return;
                }
                progress.await;
            }
        };
        // What has not come by then is told by a note.
        let _ = tokio::time::timeout(patience, waiting).await;
    }

    /// Bytes of all tails.
    pub fn tail_bytes(&self) -> usize {
        self.entries().values().map(|entry| entry.tail.bytes()).sum()
    }
}

fn next_offsets(snapshot: &Snapshot, log: u128) -> BTreeMap<u32, u64> {
    snapshot.positions(log).iter().map(|(partition, position)| (*partition, position.next)).collect()
}

impl Entry {
    fn is_caught_up(&self) -> bool {
        let reached = |(partition, end): (&u32, &u64)| self.tail.ends().get(partition).is_some_and(|at| at >= end);
        self.caught_up_at.as_ref().is_some_and(|ends| ends.iter().all(reached))
    }

    /// Offset per partition at which the tail takes over from the files.
    fn next(&self, log: Option<u128>) -> BTreeMap<u32, u64> {
        let mut next = self.begun.clone();
        if let (Some(snapshot), Some(log)) = (&self.snapshot, log) {
            next.extend(next_offsets(snapshot, log));
        }
        next
    }
}

#[async_trait]
impl Tables for LiveTables {
    async fn pin(&self) -> Result<Pinned, SqlError> {
        // Without a tail the newest snapshot is the newest row; with one, who follows the log refreshes.
        if self.log.is_none() || self.entries().values().any(|entry| entry.snapshot.is_none()) {
            self.refresh().await?;
        }
        if self.log.is_some() {
            self.caught_up(CATCH_UP_WITHIN).await;
        }
        let entries = self.entries();
        let mut pinned = Pinned::new();
        let store = ObjectStoreUrl::parse(LAKE)?;
        for (table, entry) in entries.iter() {
            let source = Source {
                schema: sql_schema(&table.schema()),
                sort_columns: table.sort_columns().iter().map(|name| (*name).to_owned()).collect(),
                store: store.clone(),
                files: entry.files.clone(),
                next: entry.next(self.log),
                tail: entry.tail.pin(),
                revisions: (*table == Table::Candles).then_some(CANDLES),
            };
            pinned.add(table.name(), Arc::new(MarketTable::new(source)?));
        }
        let rows = watermark::rows(&entries, self.log);
        let is_full = |table| entries[&table].tail.bytes() >= self.tail_bytes_max / 2;
        let is_waiting = |table| self.log.is_some() && !entries[&table].is_caught_up();
        for note in watermark::notes(&rows, is_full, is_waiting, self.lake.is_some()) {
            pinned.note(note);
        }
        pinned.add(watermark::NAME, watermark::table(&rows)?);
        Ok(pinned)
    }
}
