//! The actions of a log file: one JSON object a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line. Exactly one field is set; a line with none is an action that we have no use for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit_info: Option<CommitInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta_data: Option<MetaData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) txn: Option<Txn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add: Option<Add>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove: Option<Remove>,
}

/// Who committed, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CommitInfo {
    /// Unix milliseconds.
    pub(crate) timestamp: i64,
    /// `WRITE`, `OPTIMIZE`, `CREATE TABLE`, …
    pub(crate) operation: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) operation_parameters: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) engine_info: Option<String>,
    /// A number that only this attempt has: how a writer knows its own commit again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) txn_id: Option<String>,
}

/// What a reader and a writer must be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
    pub(crate) min_writer_version: i32,
}

impl Protocol {
    /// What our tables ask for.
    pub(crate) const OURS: Self = Self { min_reader_version: 1, min_writer_version: 2 };
}

/// What the table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetaData {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    pub(crate) partition_columns: Vec<String>,
    #[serde(default)]
    pub(crate) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<i64>,
}

/// Always Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// How far an application has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_updated: Option<i64>,
}

/// A file becomes part of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    pub(crate) path: String,
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    pub(crate) size: i64,
    pub(crate) modification_time: i64,
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<BTreeMap<String, Option<String>>>,
}

/// A file is part of the table no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_timestamp: Option<i64>,
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<i64>,
}

impl From<CommitInfo> for Action {
    fn from(commit_info: CommitInfo) -> Self {
        Self { commit_info: Some(commit_info), ..Self::default() }
    }
}

impl From<Protocol> for Action {
    fn from(protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..Self::default() }
    }
}

impl From<MetaData> for Action {
    fn from(meta_data: MetaData) -> Self {
        Self { meta_data: Some(meta_data), ..Self::default() }
    }
}

impl From<Txn> for Action {
    fn from(txn: Txn) -> Self {
        Self { txn: Some(txn), ..Self::default() }
    }
}

impl From<Add> for Action {
    fn from(add: Add) -> Self {
        Self { add: Some(add), ..Self::default() }
    }
}

impl From<Remove> for Action {
    fn from(remove: Remove) -> Self {
        Self { remove: Some(remove), ..Self::default() }
    }
}

/// The content of a log file.
pub(crate) fn lines(actions: &[Action]) -> Vec<u8> {
    let mut out = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut out, action).expect("plain data always becomes text");
        out.push(b'\n');
    }
    out
}

/// Reads the content of a log file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Action>, serde_json::Error> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
        .map(serde_json::from_slice)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_foreign_actions_are_passed_over() {
        let actions = vec![
            Protocol::OURS.into(),
            Txn { app_id: "a".into(), version: 7, last_updated: None }.into(),
            Add {
                path: "date=2026-01-02/x.parquet".into(),
                partition_values: BTreeMap::from([("date".into(), Some("2026-01-02".into()))]),
                size: 3,
                modification_time: 4,
                data_change: true,
                stats: None,
                tags: None,
            }
            .into(),
        ];
        let mut bytes = lines(&actions);
        assert!(String::from_utf8_lossy(&bytes).starts_with("{\"protocol\":{\"minReaderVersion\":1,"));
        bytes.extend_from_slice(b"{\"domainMetadata\":{\"domain\":\"x\"}}\n\n");
        let mut read = parse(&bytes).expect("what was written");
        assert_eq!(read.pop(), Some(Action::default()));
        assert_eq!(read, actions);
        assert!(parse(b"{\"add\":{\"path\":").is_err());
    }
}
