//! Rows in the protocol's form.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type};
use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use arrow_pg::encoder::encode_value;
use futures_util::stream;
use pgwire::api::portal::Format;
use pgwire::api::results::{CopyResponse, DataRowEncoder, FieldInfo, QueryResponse, Response};
use pgwire::error::PgWireResult;
use pgwire::messages::copy::CopyData;
use pgwire::messages::data::DataRow;

use super::numeric::Numeric;
use super::session::error;
use crate::error::SqlError;
use crate::host::Running;
use crate::output::{self, Encoder};
use crate::statement::CopyFormat;

/// The answer of a statement; its rows are fetched as they are taken.
pub(super) fn respond(running: Running, format: &Format) -> PgWireResult<Response> {
    if let Some(copy) = running.copy() {
        return copied(running, copy);
    }
    let fields = Arc::new(arrow_schema_to_pg_fields(&running.schema(), format, None)?);
    let columns = Arc::clone(&fields);
    let rows = stream::try_unfold((running, VecDeque::new()), move |(mut running, mut ready)| {
        let columns = Arc::clone(&columns);
        async move {
            loop {
                if let Some(row) = ready.pop_front() {
                    return Ok(Some((row, (running, ready))));
                }
                let Some(batch) = running.next_batch().await.map_err(error)? else { return Ok(None) };
                encode(&columns, &batch, &mut ready)?;
            }
        }
    });
    Ok(Response::Query(QueryResponse::new(fields, rows)))
}

/// Encodes the rows of a batch.
fn encode(columns: &Arc<Vec<FieldInfo>>, batch: &RecordBatch, into: &mut VecDeque<DataRow>) -> PgWireResult<()> {
    let schema = batch.schema();
    let mut encoder = DataRowEncoder::new(Arc::clone(columns));
    for row in 0..batch.num_rows() {
        for (at, array) in batch.columns().iter().enumerate() {
            match array.data_type() {
                DataType::Decimal128(_, scale @ 0..) => {
                    let values = array.as_primitive::<Decimal128Type>();
                    let value = values.is_valid(row).then(|| values.value(row));
                    encoder.encode_field(&Numeric { value, scale: scale.unsigned_abs() })?;
                }
                _ => encode_value(&mut encoder, array, row, schema.field(at), &columns[at])?,
            }
        }
        into.push_back(encoder.take_row());
    }
    Ok(())
}

/// The answer of `COPY (…) TO STDOUT`.
fn copied(running: Running, copy: CopyFormat) -> PgWireResult<Response> {
    let format = match copy {
        CopyFormat::Csv { header } => output::Format::Csv { header },
        CopyFormat::Text => output::Format::PostgresText,
    };
    let schema = running.schema();
    let encoder = Encoder::new(format, &schema).map_err(error)?;
    let bytes = stream::try_unfold((running, encoder, false), |(mut running, mut encoder, ended)| async move {
        if ended {
            return Ok(None);
        }
        let next: Result<_, SqlError> = async {
            Ok(match running.next_batch().await? {
                Some(batch) => (encoder.encode(&batch)?, false),
                None => (encoder.finish()?, true),
            })
        }
        .await;
        let (bytes, ended) = next.map_err(error)?;
        Ok(Some((CopyData::new(bytes.into()), (running, encoder, ended))))
    });
    Ok(Response::CopyOut(CopyResponse::new(0, schema.fields().len(), bytes)))
}
