//! What a table consists of at a version: a fold of its log's actions. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::action::{Action, Add, MetaData, Protocol};
use super::stats::{self, ColumnStats};
use crate::tables::DATE;

/// A state that was compared with the log longer ago than this may stand at a version that is gone. Far less than any
/// retention.
const STALE_AFTER_MS: i64 = 60_000;
/// Commits whose ids are remembered.
const COMMITS_MAX: usize = 1_024;
/// Tag of an add action: the log that its rows come from, 32 hex digits.
pub(crate) const TAG_LOG: &str = "millrace.log";
/// Tag of an add action: whether its rows are sorted, and how far compacted.
pub(crate) const TAG_LEVEL: &str = "millrace.level";

/// A Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its path in the lake: the table's folder included, as the object store takes it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// The UTC day of all its rows' event times, in days since 1970.
    pub date: i32,
    /// What is known of its columns.
    pub columns: BTreeMap<String, ColumnStats>,
    /// Whether the rows are sorted by [`crate::tables::Table::sort_columns`].
    pub sorted: bool,
    /// How far it is compacted: 0 as it landed, 1 within its hour, 2 within its date.
    pub level: u8,
    /// Incarnation of the log that its rows come from, where known.
    pub log: Option<u128>,
    /// When it was written, unix milliseconds, by its writer's clock.
    pub modified_ms: i64,
}

/// Why actions do not make a table of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(pub(crate) String);

/// A table at a version.
#[derive(Debug, Clone)]
pub(crate) struct State {
    schema: Arc<Schema>,
    /// The table's folder, to make whole paths.
    folder: String,
    pub(crate) version: u64,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<MetaData>,
    /// By their path in the log.
    pub(crate) adds: BTreeMap<String, Arc<(Add, DataFile)>>,
    /// Files of others that say too little, by their path in the log.
    unusable: BTreeMap<String, Unusable>,
    pub(crate) txns: BTreeMap<String, i64>,
    /// Files that are part of the table no longer: path in the log, since when in unix milliseconds.
    pub(crate) removed: BTreeMap<String, i64>,
    /// Ids of the newest commits by version, by which a writer knows its own.
    pub(crate) commits: BTreeMap<u64, String>,
    /// When the log was last asked for more, in unix milliseconds by our clock.
    pub(crate) looked_ms: i64,
}

impl State {
    pub(crate) fn new(folder: &str, schema: Arc<Schema>) -> Self {
        Self {
            schema,
            folder: folder.to_owned(),
            version: 0,
            protocol: None,
            metadata: None,
            adds: BTreeMap::new(),
            unusable: BTreeMap::new(),
            txns: BTreeMap::new(),
            removed: BTreeMap::new(),
            commits: BTreeMap::new(),
            looked_ms: 0,
        }
    }

    /// Whether it was compared with the log so long ago that the log may have been cleaned up since.
    pub(crate) fn is_stale(&self, now_ms: i64) -> bool {
        !(0..STALE_AFTER_MS).contains(&now_ms.saturating_sub(self.looked_ms))
    }

    /// What the table's owner set.
    pub(crate) fn configuration(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata.as_ref().map_or(&NONE, |metadata| &metadata.configuration)
    }

    /// Forgets files that were removed before a time: their vacuum is over, and checkpoints would grow for ever.
    pub(crate) fn forget_removed(&mut self, before_ms: i64) {
        self.removed.retain(|_, at| *at >= before_ms);
    }

    /// Whether the table is one of ours as it stands; what somebody altered and put back does no harm.
    pub(crate) fn check(&self) -> Result<(), Unusable> {
        self.protocol.as_ref().map_or(Ok(()), readable)?;
        self.metadata.as_ref().map_or(Ok(()), |metadata| self.fits(metadata))?;
        self.unusable.values().next().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Applies the actions of one version.
    pub(crate) fn apply(&mut self, version: u64, actions: &[Action]) {
        self.version = version;
        for action in actions {
            if let Some(protocol) = &action.protocol {
                self.protocol = Some(protocol.clone());
            }
            if let Some(metadata) = &action.meta_data {
                self.metadata = Some(metadata.clone());
            }
            if let Some(txn) = &action.txn {
                self.txns.insert(txn.app_id.clone(), txn.version);
            }
            if let Some(remove) = &action.remove {
                self.adds.remove(&remove.path);
                self.unusable.remove(&remove.path);
                self.removed.insert(remove.path.clone(), remove.deletion_timestamp.unwrap_or(0));
            }
            if let Some(add) = &action.add {
                self.removed.remove(&add.path);
                match self.file(add) {
                    Ok(file) => drop(self.adds.insert(add.path.clone(), Arc::new((add.clone(), file)))),
                    Err(why) => drop(self.unusable.insert(add.path.clone(), why)),
                }
            }
            if let Some(id) = action.commit_info.as_ref().and_then(|info| info.txn_id.clone()) {
                self.commits.insert(version, id);
                if self.commits.len() > COMMITS_MAX {
                    self.commits.pop_first();
                }
            }
        }
    }

    /// Whether the metadata has every column of ours with its type, and our partition column.
    fn fits(&self, metadata: &MetaData) -> Result<(), Unusable> {
        let columns = |text: &str| -> Option<BTreeMap<String, String>> {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            let of = |field: &serde_json::Value| {
                Some((field["name"].as_str()?.to_owned(), bare(&field["type"]).to_string()))
            };
            value["fields"].as_array()?.iter().map(of).collect()
        };
        let refuse = |what: String| Unusable(format!("table {} was altered: {what}", self.folder));
        if metadata.partition_columns != [DATE] {
            return Err(refuse(format!("it is partitioned by {:?}, not by date", metadata.partition_columns)));
        }
        let there = columns(&metadata.schema_string).ok_or_else(|| refuse("its schema cannot be read".to_owned()))?;
        let ours = columns(&super::schema_string(&self.schema)).expect("our own schema");
        for (name, kind) in &ours {
            match there.get(name) {
                Some(found) if found == kind => {}
                Some(found) => return Err(refuse(format!("column {name} is {found}, not {kind}"))),
                // A column that a newer program of ours has: older files give null there.
                None if self.schema.field_with_name(name).is_ok_and(arrow::datatypes::Field::is_nullable) => {}
                None => return Err(refuse(format!("column {name} is missing"))),
            }
        }
        Ok(())
    }

    /// The metadata with our newest columns after those that are there, where some are missing: an older program
    /// made the table. Its files give null in them.
    pub(crate) fn outdated(&self) -> Option<MetaData> {
        let metadata = self.metadata.as_ref()?;
        let mut there: serde_json::Value = serde_json::from_str(&metadata.schema_string).ok()?;
        let fields = there["fields"].as_array_mut()?;
        let ours: serde_json::Value = serde_json::from_str(&super::schema_string(&self.schema)).ok()?;
        let missing: Vec<serde_json::Value> = ours["fields"]
            .as_array()?
            .iter()
            .filter(|field| !fields.iter().any(|known| known["name"] == field["name"]))
            .cloned()
            .collect();
        if missing.is_empty() {
            return None;
        }
        fields.extend(missing);
        Some(MetaData { schema_string: there.to_string(), ..metadata.clone() })
    }

    fn file(&self, add: &Add) -> Result<DataFile, Unusable> {
        let refuse = |what: &str| Unusable(format!("table {}: file {} {what}", self.folder, add.path));
        let date = add.partition_values.get(DATE).and_then(|value| parse_date(value.as_deref()?));
        let (rows, columns) = match add.stats.as_deref().and_then(|text| stats::parse(&self.schema, text)) {
            Some(known) => known,
            None => return Err(refuse("has no count of rows")),
        };
        let tag = |name: &str| add.tags.as_ref().and_then(|tags| tags.get(name)?.as_deref());
        let level = tag(TAG_LEVEL).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(DataFile {
            path: format!("{}/{}", self.folder, unescaped(&add.path)),
            size: u64::try_from(add.size).map_err(|_| refuse("has a negative size"))?,
            rows,
            date: date.ok_or_else(|| refuse("has no date"))?,
            columns,
            sorted: level > 0,
            level,
            log: tag(TAG_LOG).and_then(|text| u128::from_str_radix(text, 16).ok()),
            modified_ms: add.modification_time,
        })
    }
}

/// A type without the comments of its fields, which are no part of it.
fn bare(kind: &serde_json::Value) -> serde_json::Value {
    match kind {
        serde_json::Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "metadata");
            kept.map(|(name, value)| (name.clone(), bare(value))).collect()
        }
        serde_json::Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

fn readable(protocol: &Protocol) -> Result<(), Unusable> {
    if protocol.min_reader_version > 1 || protocol.min_writer_version > 2 {
        return Err(Unusable(format!(
            "the table asks for Delta reader version {} and writer version {}: 1 and 2 are understood",
            protocol.min_reader_version, protocol.min_writer_version
        )));
    }
    Ok(())
}

/// Days since 1970 of `YYYY-MM-DD`.
fn parse_date(text: &str) -> Option<i32> {
    let time = model::UnixNanos::parse_rfc3339(format!("{text}T00:00:00Z").as_bytes()).ok()?;
    i32::try_from(time.0.div_euclid(86_400_000_000_000)).ok()
}

/// `YYYY-MM-DD` of days since 1970.
pub(crate) fn date_text(days: i32) -> String {
    let time = model::UnixNanos(i64::from(days) * 86_400_000_000_000);
    time.to_string().chars().take(10).collect()
}

/// Delta escapes paths as URLs do; ours have nothing to escape.
fn unescaped(path: &str) -> String {
    if !path.contains('%') {
        return path.to_owned();
    }
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days() {
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(date_text(1), "1970-01-02");
        for days in [-20_000, -1, 0, 20_000, 60_000] {
            assert_eq!(parse_date(&date_text(days)), Some(days));
        }
        assert_eq!(parse_date("2026-13-01"), None);
    }

    #[test]
    fn escaped_paths_are_read() {
        assert_eq!(unescaped("date=2026-01-01/a%20b%3D.parquet"), "date=2026-01-01/a b=.parquet");
        assert_eq!(unescaped("100%"), "100%");
    }
}
