//! Values as text.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;

use crate::error::SqlError;

/// Times without the offset, since all are UTC.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

fn options() -> FormatOptions<'static> {
    FormatOptions::new().with_null("").with_timestamp_tz_format(Some(TIME)).with_timestamp_format(Some(TIME))
}

/// Batches as a table for people.
///
/// # Errors
/// When a type cannot be shown.
pub fn table(batches: &[RecordBatch]) -> Result<String, SqlError> {
    let options = options();
    let shown = pretty_format_batches_with_options(batches, &options).map_err(SqlError::internal)?;
    Ok(shown.to_string())
}

/// The batch with what JSON or CSV cannot hold turned into text: decimals and times, and for CSV whatever is nested.
pub(super) fn plain(batch: &RecordBatch, json: bool) -> Result<RecordBatch, SqlError> {
    let schema = batch.schema();
    let texts = |data_type: &DataType| match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Decimal32(..) | DataType::Decimal64(..) => true,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Interval(_) => true,
        DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => true,
        DataType::List(_) | DataType::Struct(_) | DataType::Map(..) | DataType::LargeList(_) => !json,
        _ => false,
    };
    if !schema.fields().iter().any(|field| texts(field.data_type())) {
        return Ok(batch.clone());
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if texts(field.data_type()) {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(as_text(column)?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(SqlError::internal)
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let options = options();
    let formatter = ArrayFormatter::try_new(column, &options).map_err(SqlError::internal)?;
    let values: StringArray =
        (0..column.len()).map(|row| column.is_valid(row).then(|| shown(formatter.value(row)))).collect();
    Ok(Arc::new(values))
}

fn shown(value: impl Display) -> String {
    value.to_string()
}

/// Rows as `COPY … TO STDOUT` has them.
pub(super) fn postgres_text(batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
    let columns = batch.columns().iter().map(as_text).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                text.push('\t');
            }
            if column.is_null(row) {
                text.push_str("\\N");
                continue;
            }
            for c in column.as_string::<i32>().value(row).chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '\t' => text.push_str("\\t"),
                    '\n' => text.push_str("\\n"),
                    '\r' => text.push_str("\\r"),
                    c => text.push(c),
                }
            }
        }
        text.push('\n');
    }
    Ok(text.into_bytes())
}
