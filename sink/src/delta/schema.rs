//! A table's schema in Delta's form.

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use serde_json::{Value, json};

/// The `schemaString` of a table's metadata.
///
/// # Panics
/// On a type that none of our tables has.
pub(crate) fn schema_string(schema: &Schema) -> String {
    fields(schema.fields()).to_string()
}

fn fields(fields: &Fields) -> Value {
    json!({ "type": "struct", "fields": fields.iter().map(|field| one(field)).collect::<Vec<_>>() })
}

fn one(field: &Field) -> Value {
    json!({
        "name": field.name(),
        "type": kind(field.data_type()),
        "nullable": field.is_nullable(),
        "metadata": field.metadata(),
    })
}

fn kind(kind_of: &DataType) -> Value {
    match kind_of {
        DataType::Utf8 => json!("string"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Boolean => json!("boolean"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamp"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision},{scale})")),
        DataType::List(item) => json!({
            "type": "array",
            "elementType": kind(item.data_type()),
            "containsNull": item.is_nullable(),
        }),
        DataType::Struct(of) => fields(of),
        other => unreachable!("no table has a column of type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Table;

    #[test]
    fn every_table_has_a_delta_schema() {
        for table in Table::all() {
            let text = schema_string(&table.schema());
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["fields"].as_array().map(Vec::len), Some(table.schema().fields().len()));
        }
        let text = schema_string(&Table::Trades.schema());
        assert!(text.contains(r#""type":"decimal(18,8)""#) && text.contains(r#""name":"date""#), "{text}");
    }
}
