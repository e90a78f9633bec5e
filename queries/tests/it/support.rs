//! An engine over small tables in memory.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, TableProvider};
use queries::{Caller, Engine, Limits, Pinned, SqlError, Tables};

/// Tables that never change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fixed(Vec<(String, Arc<dyn TableProvider>)>);

impl Fixed {
    pub(crate) fn with(mut self, name: &str, batches: Vec<RecordBatch>) -> Self {
        let schema = batches[0].schema();
        self.0.push((name.to_owned(), Arc::new(MemTable::try_new(schema, vec![batches]).unwrap())));
        self
    }

    pub(crate) fn with_table(mut self, name: &str, table: Arc<dyn TableProvider>) -> Self {
        self.0.push((name.to_owned(), table));
        self
    }
}

#[async_trait]
impl Tables for Fixed {
    async fn pin(&self) -> Result<Pinned, SqlError> {
        let mut pinned = Pinned::new();
        for (name, table) in &self.0 {
            pinned.add(name, Arc::clone(table));
        }
        Ok(pinned)
    }
}

/// Statements that are to be answered, however busy the machine is.
pub(crate) fn engine() -> Engine {
    Engine::new(Limits { parallelism: 2, time_max: Duration::from_secs(300), ..Limits::default() }).unwrap()
}

/// A decimal's raw value at eight places: `raw("1.5")` is 150000000.
pub(crate) fn raw(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let part: i128 = format!("{part:0<8}").parse().unwrap();
    whole.parse::<i128>().unwrap() * 100_000_000 + sign * part
}

/// Rows of `symbol, ts_event, price, quantity, side`; times are microseconds.
pub(crate) fn trades(rows: &[(&str, i64, &str, &str, &str)]) -> RecordBatch {
    let symbols = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
    let decimal = |values: Vec<i128>| -> ArrayRef {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(18, 8).unwrap())
    };
    let schema = Schema::new(vec![
        Field::new("symbol", DataType::Utf8, false),
        Field::new("ts_event", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("price", DataType::Decimal128(18, 8), false),
        Field::new("quantity", DataType::Decimal128(18, 8), false),
        Field::new("side", DataType::Utf8, false),
        Field::new("account", DataType::Int64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(symbols),
        Arc::new(times),
        decimal(rows.iter().map(|row| raw(row.2)).collect()),
        decimal(rows.iter().map(|row| raw(row.3)).collect()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.4))),
        Arc::new(Int64Array::from_iter_values((0..rows.len()).map(|row| row as i64 % 3))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// The answer as CSV lines without a header.
pub(crate) async fn rows(engine: &Engine, tables: &dyn Tables, sql: &str) -> Vec<String> {
    rows_for(engine, tables, sql, &Caller::Operator).await.unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

pub(crate) async fn rows_for(
    engine: &Engine,
    tables: &dyn Tables,
    sql: &str,
    caller: &Caller,
) -> Result<Vec<String>, SqlError> {
    use queries::output::{Encoder, Format};
    let answer = engine.run(sql, tables, caller).await?;
    let mut encoder = Encoder::new(Format::Csv { header: false }, &answer.schema())?;
    let mut bytes = Vec::new();
    for batch in answer.collect().await? {
        bytes.extend(encoder.encode(&batch)?);
    }
    bytes.extend(encoder.finish()?);
    Ok(String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect())
}
