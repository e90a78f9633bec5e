//! A file's statistics: from Parquet's own footer into the log, and back.
//!
//! Decimals are written as exact JSON numbers, digit by digit: a float would lose rows in pruning.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use model::{Notional, UnixNanos, Volume};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde_json::value::RawValue;

/// Text in statistics is cut to so many characters; what would have to be cut above has no maximum.
const TEXT_MAX: usize = 64;

/// A column's smallest or largest value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stat {
    /// An integer column.
    Int(i64),
    /// A decimal column: units of its last place.
    Decimal(i128),
    /// A timestamp column: microseconds since 1970.
    Time(i64),
    /// A text column.
    Text(String),
}

/// What is known of a column in one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnStats {
    /// Smallest value, or one below it; none where it is not known or all are null.
    pub min: Option<Stat>,
    /// Largest value, or one above it; none where it is not known or all are null.
    pub max: Option<Stat>,
    /// Rows without a value, where known.
    pub nulls: Option<u64>,
}

fn integer(bytes: &[u8]) -> i128 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    bytes.iter().fold(if negative { -1 } else { 0 }, |value, byte| value << 8 | i128::from(*byte))
}

fn stat(kind: &DataType, stats: &Statistics, max: bool) -> Option<Stat> {
    fn pick<T: Clone>(min: Option<&T>, largest: Option<&T>, max: bool) -> Option<T> {
        if max { largest.cloned() } else { min.cloned() }
    }
    let number = match stats {
        Statistics::Int32(values) => i128::from(pick(values.min_opt(), values.max_opt(), max)?),
        Statistics::Int64(values) => i128::from(pick(values.min_opt(), values.max_opt(), max)?),
        Statistics::FixedLenByteArray(values) => integer(pick(values.min_opt(), values.max_opt(), max)?.data()),
        Statistics::ByteArray(values) => {
            let bytes = pick(values.min_opt(), values.max_opt(), max)?;
            let text = std::str::from_utf8(bytes.data()).ok()?;
            return text_bound(text, max && !values.max_is_exact(), max);
        }
        _ => return None,
    };
    match kind {
        DataType::Decimal128(..) => Some(Stat::Decimal(number)),
        DataType::Timestamp(..) => Some(Stat::Time(i64::try_from(number).ok()?)),
        DataType::Int32 | DataType::Int64 => Some(Stat::Int(i64::try_from(number).ok()?)),
        _ => None,
    }
}

fn text_bound(text: &str, inexact_max: bool, max: bool) -> Option<Stat> {
    let short = text.chars().count() <= TEXT_MAX;
    match (max, short) {
        (_, true) if !inexact_max => Some(Stat::Text(text.to_owned())),
        (false, false) => Some(Stat::Text(text.chars().take(TEXT_MAX).collect())),
        _ => None,
    }
}

/// The statistics of a file by column, out of its footer. Columns of lists have none.
fn from_footer(schema: &Schema, footer: &ParquetMetaData) -> BTreeMap<String, ColumnStats> {
    let mut all: BTreeMap<String, ColumnStats> = BTreeMap::new();
    let mut unknown: Vec<String> = Vec::new();
    for (group_at, group) in footer.row_groups().iter().enumerate() {
        for column in group.columns() {
            let parts = column.column_path().parts();
            let [name] = parts else { continue };
            let Ok(field) = schema.field_with_name(name) else { continue };
            let Some(stats) = column.statistics() else {
                unknown.push(name.clone());
                continue;
            };
            let nulls = stats.null_count_opt();
            let empty = nulls == u64::try_from(group.num_rows()).ok();
            let (min, max) = (stat(field.data_type(), stats, false), stat(field.data_type(), stats, true));
            let known = all.entry(name.clone()).or_default();
            if group_at == 0 {
                *known = ColumnStats { min, max, nulls };
                continue;
            }
            known.nulls = known.nulls.zip(nulls).map(|(sum, more)| sum + more);
            if !empty {
                // A bound that one group does not know is not known of the file; a group of nulls has none.
                let first = known.min.is_none() && known.max.is_none();
                known.min = if first { min } else { known.min.take().zip(min).map(|(a, b)| a.min(b)) };
                known.max = if first { max } else { known.max.take().zip(max).map(|(a, b)| a.max(b)) };
            }
        }
    }
    for name in unknown {
        all.remove(&name);
    }
    all
}

/// The `stats` of an add action.
pub(crate) fn stats_json(schema: &Schema, footer: &ParquetMetaData) -> String {
    let columns = from_footer(schema, footer);
    let scale = |name: &str| match schema.field_with_name(name).map(arrow::datatypes::Field::data_type) {
        Ok(DataType::Decimal128(_, 16)) => 16,
        _ => 8,
    };
    let bounds = |bound: fn(&ColumnStats) -> Option<&Stat>| {
        let fields: Vec<String> = columns
            .iter()
            .filter_map(|(name, stats)| Some(format!("{}:{}", quoted(name), text_of(bound(stats)?, scale(name)))))
            .collect();
        fields.join(",")
    };
    let nulls: Vec<String> =
        columns.iter().filter_map(|(name, stats)| Some(format!("{}:{}", quoted(name), stats.nulls?))).collect();
    format!(
        "{{\"numRecords\":{},\"minValues\":{{{}}},\"maxValues\":{{{}}},\"nullCount\":{{{}}}}}",
        footer.file_metadata().num_rows(),
        bounds(|stats| stats.min.as_ref()),
        bounds(|stats| stats.max.as_ref()),
        nulls.join(","),
    )
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text becomes JSON")
}

fn text_of(stat: &Stat, scale: u32) -> String {
    match stat {
        Stat::Int(value) => value.to_string(),
        Stat::Decimal(raw) if scale == 16 => Notional::from_raw(*raw).to_string(),
        Stat::Decimal(raw) => Volume::from_raw(*raw).to_string(),
        Stat::Time(micros) => match UnixNanos::from_micros(*micros) {
            Ok(time) => quoted(&time.to_string()),
            Err(_) => "null".to_owned(),
        },
        Stat::Text(text) => quoted(text),
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed<'a> {
    num_records: Option<u64>,
    #[serde(borrow, default)]
    min_values: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    max_values: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    null_count: BTreeMap<String, &'a RawValue>,
}

/// Reads an add action's `stats`: rows and what is known of each column. What cannot be read is not known.
pub(crate) fn parse(schema: &Schema, text: &str) -> Option<(u64, BTreeMap<String, ColumnStats>)> {
    let parsed: Parsed<'_> = serde_json::from_str(text).ok()?;
    let mut columns = BTreeMap::new();
    for field in schema.fields() {
        let name = field.name();
        let bound =
            |values: &BTreeMap<String, &RawValue>| values.get(name).and_then(|raw| read(field.data_type(), raw));
        let stats = ColumnStats {
            min: bound(&parsed.min_values),
            max: bound(&parsed.max_values),
            nulls: parsed.null_count.get(name).and_then(|raw| raw.get().parse().ok()),
        };
        if stats != ColumnStats::default() {
            columns.insert(name.clone(), stats);
        }
    }
    Some((parsed.num_records?, columns))
}

fn read(kind: &DataType, raw: &RawValue) -> Option<Stat> {
    let text = raw.get();
    let unquoted = || serde_json::from_str::<String>(text).ok();
    match kind {
        DataType::Int32 | DataType::Int64 => text.parse().ok().map(Stat::Int),
        DataType::Decimal128(_, 16) => text.parse::<Notional>().ok().map(|value| Stat::Decimal(value.raw())),
        DataType::Decimal128(_, 8) => text.parse::<Volume>().ok().map(|value| Stat::Decimal(value.raw())),
        DataType::Timestamp(..) => {
            let time = UnixNanos::parse_rfc3339(unquoted()?.as_bytes()).ok()?;
            Some(Stat::Time(time.0.div_euclid(1_000)))
        }
        DataType::Utf8 => unquoted().map(Stat::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_twos_complement_big_endian() {
        assert_eq!(integer(&[0, 0, 1, 0]), 256);
        assert_eq!(integer(&[0xff, 0xff, 0xff, 0xfe]), -2);
        assert_eq!(integer(&(-5i128).to_be_bytes()), -5);
    }

    #[test]
    fn long_text_has_a_smaller_minimum_and_no_maximum() {
        let long = "x".repeat(80);
        assert_eq!(text_bound(&long, false, false), Some(Stat::Text("x".repeat(64))));
        assert_eq!(text_bound(&long, false, true), None);
        assert_eq!(text_bound("abc", true, true), None, "Parquet cut it already");
        assert_eq!(text_bound("abc", false, true), Some(Stat::Text("abc".into())));
    }
}
