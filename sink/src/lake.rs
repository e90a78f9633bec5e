//! The lake as its readers and writers see it: tables, pinned snapshots, commits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::{Mutex, watch};

use crate::delta::Format;
use crate::delta::{
    Action, Add, CommitInfo, Committed, DeltaLog, Entry, MetaData, OUR_LOG_KEPT, Protocol, State, TAG_LEVEL, TAG_LOG,
    date_text, expired, log_kept, removals_kept, schema_string,
};
pub use crate::delta::{ColumnStats, DataFile, Stat};
use crate::encode::Encoded;
use crate::store::Store;
pub use crate::store::{Place, S3Config, S3Keys};
use crate::tables::{DATE, Mark, Marks, Table};

/// What begins the application ids of our positions.
const APP: &str = "millrace";
/// A checkpoint follows every so many versions.
const CHECKPOINT_EVERY: u64 = 50;

/// What can go wrong with a lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The store is away, full, or refuses.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The place cannot be used.
    #[error("{place}: {what}")]
    Place {
        /// Where.
        place: String,
        /// Why not, and what to do.
        what: String,
    },
    /// A file of a table's log holds what it may not.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        what: String,
    },
    /// A table is not as we made it.
    #[error("{0}")]
    Unusable(String),
    /// A data file cannot be read or written as Parquet.
    #[error("{path}: {what}")]
    Parquet {
        /// The file.
        path: String,
        /// What was found.
        what: String,
    },
}

impl LakeError {
    pub(crate) fn unusable(why: crate::delta::Unusable) -> Self {
        Self::Unusable(why.0)
    }

    /// Whether the same call may succeed later without anybody mending the tables: the store is away, slow or full,
    /// or credentials ran out.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

/// How far a source partition has landed in a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// Offset of the first record that has not landed. The live tail begins here.
    pub next: u64,
    /// What is known of the partition's writers there, for [`crate::tables::Rows::resume`].
    pub marks: Marks,
}

/// A table at a version. Everything in it stays as it is, whatever is committed later; its files are kept for at
/// least the vacuum's grace.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    /// The version; none where the table has not been made yet.
    pub version: Option<u64>,
    /// Its files, ordered by date, then by path.
    pub files: Vec<Arc<DataFile>>,
    positions: BTreeMap<u128, BTreeMap<u32, Position>>,
    removed: BTreeMap<String, i64>,
}

impl Snapshot {
    fn none(table: Table) -> Self {
        Self { table, version: None, files: Vec::new(), positions: BTreeMap::new(), removed: BTreeMap::new() }
    }

    fn of(table: Table, state: &State) -> Self {
        let mut files: Vec<Arc<DataFile>> = state.adds.values().map(|add| Arc::new(add.1.clone())).collect();
        files.sort_by(|a, b| (a.date, &a.path).cmp(&(b.date, &b.path)));
        let mut positions = BTreeMap::new();
        for (app, version) in &state.txns {
            read_position(table, app, *version, &mut positions);
        }
        let removed = state.removed.iter().map(|(path, at)| (format!("{}/{path}", table.name()), *at)).collect();
        Self { table, version: Some(state.version), files, positions, removed }
    }

    /// How far each source partition of the log with this incarnation has landed; partitions of which nothing has
    /// are missing.
    pub fn positions(&self, log: u128) -> &BTreeMap<u32, Position> {
        static NONE: BTreeMap<u32, Position> = BTreeMap::new();
        self.positions.get(&log).unwrap_or(&NONE)
    }

    /// Offset of the first record of a source partition that has not landed: 0 where nothing has.
    pub fn next(&self, log: u128, partition: u32) -> u64 {
        self.positions(log).get(&partition).map_or(0, |position| position.next)
    }

    /// The logs that have landed here, by incarnation.
    pub fn logs(&self) -> impl Iterator<Item = u128> {
        self.positions.keys().copied()
    }

    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Files that were part of the table and are no longer: path, since when in unix milliseconds.
    pub(crate) const fn removed(&self) -> &BTreeMap<String, i64> {
        &self.removed
    }
}

/// The application id of a source partition, under which its next offset is committed.
pub(crate) fn app_id(table: Table, log: u128, partition: u32) -> String {
    format!("{APP}/{log:032x}/{}/{partition}", table.topic())
}

/// Application ids under which a mark is committed, with their numbers.
pub(crate) fn mark_ids(app: &str, name: &str, mark: Mark) -> [(String, u64); 2] {
    [(format!("{app}/{name}/major"), mark.major), (format!("{app}/{name}/minor"), mark.minor)]
}

fn read_position(table: Table, app: &str, version: i64, into: &mut BTreeMap<u128, BTreeMap<u32, Position>>) {
    let Some(rest) = app.strip_prefix(APP).and_then(|rest| rest.strip_prefix('/')) else { return };
    let Some((log, rest)) = rest.split_once('/') else { return };
    let Ok(log) = u128::from_str_radix(log, 16) else { return };
    let Some(rest) = rest.strip_prefix(table.topic()).and_then(|rest| rest.strip_prefix('/')) else { return };
    let (partition, name) = rest.split_once('/').map_or((rest, None), |(number, name)| (number, Some(name)));
    let (Ok(partition), Ok(value)) = (partition.parse::<u32>(), u64::try_from(version)) else { return };
    let position = into.entry(log).or_default().entry(partition).or_default();
    let Some(name) = name else {
        position.next = value;
        return;
    };
    let Some((name, half)) = name.rsplit_once('/') else { return };
    let known = position.marks.iter().find(|(known, _)| known == name).map(|(_, mark)| mark).unwrap_or_default();
    let mark = match half {
        "major" => Mark { major: value, ..known },
        "minor" => Mark { minor: value, ..known },
        _ => return,
    };
    position.marks.set(name, mark);
}

/// Who commits, for the table's history.
pub(crate) fn commit_info(operation: &str, id: String, parameters: &[(&str, serde_json::Value)]) -> CommitInfo {
    CommitInfo {
        timestamp: now_ms(),
        operation: operation.to_owned(),
        operation_parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        engine_info: Some(concat!("millrace/", env!("CARGO_PKG_VERSION")).to_owned()),
        txn_id: Some(id),
    }
}

/// The partition values of a date, as the log has them.
pub(crate) fn partition_values(date: i32) -> BTreeMap<String, Option<String>> {
    BTreeMap::from([(DATE.to_owned(), Some(date_text(date)))])
}

/// How a finished file becomes part of its table, and under which new path. Level 0 is as it landed; what a
/// compaction writes changes no data.
pub(crate) fn add_of(file: &Encoded, date: i32, level: u8, log: Option<u128>) -> Add {
    let kind = if level == 0 { "land" } else { "sorted" };
    let mut tags = BTreeMap::from([(TAG_LEVEL.to_owned(), Some(level.to_string()))]);
    if let Some(log) = log {
        tags.insert(TAG_LOG.to_owned(), Some(format!("{log:032x}")));
    }
    Add {
        path: format!("{DATE}={}/{kind}-{}.parquet", date_text(date), uuid_text()),
        partition_values: partition_values(date),
        size: i64::try_from(file.bytes.len()).unwrap_or(i64::MAX),
        modification_time: now_ms(),
        data_change: level == 0,
        stats: Some(file.stats.clone()),
        tags: Some(tags),
    }
}

/// Unix milliseconds by our clock. Only for what people read and for the vacuum's grace: no decision about rows
/// depends on it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A table in the lake.
struct Slot {
    log: DeltaLog,
    state: Mutex<Option<State>>,
    latest: watch::Sender<Arc<Snapshot>>,
}

/// A lake. Clones share one.
#[derive(Clone)]
pub struct Lake {
    place: Arc<Place>,
    store: Store,
    slots: Arc<Vec<Slot>>,
}

impl fmt::Debug for Lake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Lake").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Lake {
    /// Opens the lake at `place`. A directory is made where it is missing; a bucket is not asked anything yet.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub async fn open(place: &Place) -> Result<Self, LakeError> {
        let store = Store::open(place).await?;
        let slot = |table: &Table| Slot {
            log: DeltaLog::new(Arc::clone(&store.objects), table.name(), table.schema()),
            state: Mutex::new(None),
            latest: watch::Sender::new(Arc::new(Snapshot::none(*table))),
        };
        let slots = Table::all().iter().map(slot).collect();
        Ok(Self { place: Arc::new(place.clone()), store, slots: Arc::new(slots) })
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The store in which every [`DataFile::path`] is found.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store.objects)
    }

    /// The table as it is now: one small read where nothing was committed since the last time.
    ///
    /// # Errors
    /// When the store is away, or the table is not as we made it.
    pub async fn snapshot(&self, table: Table) -> Result<Arc<Snapshot>, LakeError> {
        let slot = &self.slots[table as usize];
        let mut state = slot.state.lock().await;
        let refreshed = match state.as_mut() {
            Some(state) => slot.log.refresh(state).await,
            None => slot.log.load().await.map(|loaded| *state = loaded),
        };
        if let Err(error) = refreshed {
            if !error.is_transient() {
                // What was applied half is read again.
                *state = None;
            }
            return Err(error);
        }
        // Compared with what was told last, not with where this look began: one that failed halfway got on as well.
        let told = slot.latest.borrow().version;
        if let Some(state) = state.as_ref().filter(|state| told != Some(state.version)) {
            slot.latest.send_replace(Arc::new(Snapshot::of(table, state)));
        }
        drop(state);
        Ok(Arc::clone(&slot.latest.borrow()))
    }

    /// Asks the store for something small: whether it answers.
    ///
    /// # Errors
    /// When it is away.
    pub async fn look(&self) -> Result<(), LakeError> {
        match self.store.objects.head(&Path::from("_probe/look")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest snapshot that this process knows, without asking the store; version none before the first look.
    /// What this process commits is in it at once.
    pub fn known(&self, table: Table) -> watch::Receiver<Arc<Snapshot>> {
        self.slots[table as usize].latest.subscribe()
    }

    /// Makes sure that the place can be used: a bucket that is missing is made.
    ///
    /// # Errors
    /// When the store is away or refuses.
    pub async fn ensure(&self) -> Result<(), LakeError> {
        self.store.ensure().await
    }

    /// Makes the place and the table, where they are missing.
    ///
    /// # Errors
    /// When the store is away or refuses, or the table is not as we make it.
    pub async fn prepare(&self, table: Table) -> Result<Arc<Snapshot>, LakeError> {
        self.ensure().await?;
        loop {
            let snapshot = self.snapshot(table).await?;
            if let Some(version) = snapshot.version {
                let state = self.slots[table as usize].state.lock().await;
                let outdated = state.as_ref().and_then(State::outdated);
                drop(state);
                let Some(metadata) = outdated else { return Ok(snapshot) };
                let actions = [commit_info("ADD COLUMNS", uuid_text(), &[]).into(), metadata.into()];
                self.commit(table, version + 1, &actions).await?;
                continue;
            }
            let metadata = MetaData {
                id: uuid_text(),
                name: Some(table.name().to_owned()),
                description: Some(table.comment().to_owned()),
                format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
                schema_string: schema_string(&table.schema()),
                partition_columns: vec![DATE.to_owned()],
                configuration: BTreeMap::from([(OUR_LOG_KEPT.0.to_owned(), OUR_LOG_KEPT.1.to_owned())]),
                created_time: Some(now_ms()),
            };
            let actions =
                [commit_info("CREATE TABLE", uuid_text(), &[]).into(), Protocol::OURS.into(), metadata.into()];
            // Whoever made it first made it: the next look shows it.
            self.commit(table, 0, &actions).await?;
        }
    }

    /// Makes `actions` the given version of the table. On an error it is not known whether they are.
    pub(crate) async fn commit(&self, table: Table, version: u64, actions: &[Action]) -> Result<Committed, LakeError> {
        let slot = &self.slots[table as usize];
        // Versions of long ago may have been cleaned up: one of them made anew would be read by nobody.
        let stale = slot.state.lock().await.as_ref().is_some_and(|state| state.is_stale(now_ms()));
        if stale && self.snapshot(table).await?.version.map_or(0, |newest| newest + 1) != version {
            return Ok(Committed::Taken);
        }
        // Nobody who looks at the table waits for this.
        let committed = slot.log.commit(version, actions).await?;
        if matches!(committed, Committed::Taken) {
            return Ok(committed);
        }
        let mut state = slot.state.lock().await;
        if state.as_ref().map_or(version == 0, |state| state.version + 1 == version) {
            let mut next = state.take().unwrap_or_else(|| State::new(table.name(), table.schema()));
            next.apply(version, actions);
            next.looked_ms = now_ms();
            slot.latest.send_replace(Arc::new(Snapshot::of(table, &next)));
            *state = Some(next);
        }
        let due = version > 0 && version.is_multiple_of(CHECKPOINT_EVERY);
        if let Some(state) = state.as_mut().filter(|_| due) {
            let kept = i64::try_from(removals_kept(state.configuration()).as_millis()).unwrap_or(i64::MAX);
            state.forget_removed(now_ms().saturating_sub(kept));
        }
        let whole = state.as_ref().filter(|state| due && state.version == version).cloned();
        drop(state);
        if let Some(whole) = whole
            && let Err(error) = slot.log.write_checkpoint(&whole).await
        {
            // Only a shortcut for readers: the next one makes up for it.
            tracing::warn!(%table, version, %error, "no checkpoint was written");
        }
        Ok(committed)
    }

    /// Deletes those of the table's log entries that are older than its retention and behind a checkpoint. Says how
    /// many went.
    pub(crate) async fn clean_up(&self, table: Table, entries: &[Entry]) -> Result<usize, LakeError> {
        let slot = &self.slots[table as usize];
        let kept = slot.state.lock().await.as_ref().and_then(|state| log_kept(state.configuration()));
        let Some(kept) = kept.and_then(|kept| i64::try_from(kept.as_millis()).ok()) else { return Ok(0) };
        match expired(entries, now_ms().saturating_sub(kept)) {
            Some(expired) => slot.log.clean_up(&expired).await,
            None => Ok(0),
        }
    }

    /// Whether the commit with this id is in a snapshot, among the newest ones there. Somebody may have looked further
    /// meanwhile: what came after the snapshot does not count.
    pub(crate) async fn has_commit(&self, snapshot: &Snapshot, id: &str) -> bool {
        let Some(version) = snapshot.version else { return false };
        let state = self.slots[snapshot.table as usize].state.lock().await;
        state.as_ref().is_some_and(|state| state.commits.range(..=version).any(|(_, known)| known == id))
    }

    /// Add actions of the files at these paths, as they stand in the log, for the removal of each.
    pub(crate) async fn log_paths(&self, table: Table) -> BTreeMap<String, String> {
        let state = self.slots[table as usize].state.lock().await;
        let adds = state.iter().flat_map(|state| &state.adds);
        adds.map(|(path, add)| (add.1.path.clone(), path.clone())).collect()
    }
}

/// A random number in the form of a UUID, version 4.
pub(crate) fn uuid_text() -> String {
    let random = fastrand::u128(..);
    let value = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{value:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

#[cfg(test)]
mod cleaned;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_travel_through_application_ids() {
        let (table, log) = (Table::DeadLetters, 0xabc);
        let app = app_id(table, log, 3);
        let mut positions = BTreeMap::new();
        read_position(table, &app, 70, &mut positions);
        for (id, number) in mark_ids(&app, "role/ingest/okx", Mark { major: 5, minor: 9 }) {
            read_position(table, &id, i64::try_from(number).expect("small"), &mut positions);
        }
        read_position(table, "somebody/else", 1, &mut positions);
        read_position(Table::Ticks, &app, 1, &mut positions);
        let position = &positions[&log][&3];
        assert_eq!(position.next, 70);
        let marks: Vec<_> = position.marks.iter().collect();
        assert_eq!(marks, [("role/ingest/okx".to_owned(), Mark { major: 5, minor: 9 })]);
        assert_eq!(positions.len(), 1);
    }

    #[test]
    fn ids_are_uuids() {
        let id = uuid_text();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
    }
}
