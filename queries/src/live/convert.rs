//! The lake's files as the table takes them.

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::ScalarValue;
use sink::lake::{ColumnStats, DataFile, Stat};

use crate::table::{File, Range};

/// A file with its statistics by column of `schema`.
pub(super) fn file(file: &DataFile, schema: &SchemaRef) -> File {
    let ranges = schema.fields().iter().map(|field| range(field, file.columns.get(field.name())?));
    File {
        path: file.path.clone(),
        bytes: file.size,
        rows: file.rows,
        date: file.date,
        ranges: ranges.collect(),
        sorted: file.sorted,
    }
}

fn range(field: &Field, stats: &ColumnStats) -> Option<Range> {
    let value = |stat: &Option<Stat>| scalar(field.data_type(), stat.as_ref()?);
    Some(Range { min: value(&stats.min)?, max: value(&stats.max)?, nulls: stats.nulls })
}

fn scalar(data_type: &DataType, stat: &Stat) -> Option<ScalarValue> {
    Some(match (data_type, stat) {
        (DataType::Int32, Stat::Int(value)) => ScalarValue::Int32(Some(i32::try_from(*value).ok()?)),
        (DataType::Int64, Stat::Int(value)) => ScalarValue::Int64(Some(*value)),
        (DataType::Decimal128(precision, scale), Stat::Decimal(value)) => {
            ScalarValue::Decimal128(Some(*value), *precision, *scale)
        }
        (DataType::Timestamp(_, zone), Stat::Time(value)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
        }
        (DataType::Utf8View, Stat::Text(text)) => ScalarValue::Utf8View(Some(text.clone())),
        (DataType::Utf8, Stat::Text(text)) => ScalarValue::Utf8(Some(text.clone())),
        _ => return None,
    })
}
