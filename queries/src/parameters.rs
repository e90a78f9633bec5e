//! Parameters of a prepared statement as an Arrow stream of one row: columns `$1`, `$2` and so on.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use datafusion::common::{ParamValues, ScalarValue};

use crate::error::SqlError;
use crate::output::{Encoder, Format};

/// The schema of parameters of these types; the null type stands for one that is not known.
pub fn schema(types: &[Option<DataType>]) -> Schema {
    let field = |(at, known): (usize, &Option<DataType>)| {
        Field::new(format!("${}", at + 1), known.clone().unwrap_or(DataType::Null), true)
    };
    Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())
}

/// A schema as an Arrow stream without rows.
///
/// # Errors
/// When a type has no form there.
pub fn schema_bytes(schema: &Schema) -> Result<Vec<u8>, SqlError> {
    Encoder::new(Format::Arrow, schema)?.finish()
}

/// The schema of an Arrow stream.
///
/// # Errors
/// When the bytes are none.
pub fn read_schema(bytes: &[u8]) -> Result<SchemaRef, SqlError> {
    Ok(StreamReader::try_new(Cursor::new(bytes), None)?.schema())
}

/// One row of values as an Arrow stream.
///
/// # Errors
/// When a type has no form there.
pub fn write(values: &[ScalarValue]) -> Result<Vec<u8>, SqlError> {
    let types: Vec<Option<DataType>> = values.iter().map(|value| Some(value.data_type())).collect();
    let columns = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(schema(&types));
    let mut encoder = Encoder::new(Format::Arrow, &schema)?;
    let mut bytes = encoder.encode(&RecordBatch::try_new(schema, columns)?)?;
    bytes.extend(encoder.finish()?);
    Ok(bytes)
}

/// The values of an Arrow stream of one row.
///
/// # Errors
/// When the bytes are none, or not one row.
pub fn read(bytes: &[u8]) -> Result<ParamValues, SqlError> {
    let mut batches = StreamReader::try_new(Cursor::new(bytes), None)?;
    let batch = batches.next().transpose()?;
    match batch {
        Some(batch) if batch.num_rows() == 1 => {
            let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, 0));
            Ok(ParamValues::from(values.collect::<Result<Vec<_>, _>>()?))
        }
        _ => Err(SqlError::meaning("parameters come as one row")),
    }
}
