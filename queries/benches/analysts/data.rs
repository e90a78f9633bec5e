//! Trades and quotes of a day, as compaction leaves them: one file a table and ten symbols, sorted.

use std::collections::BTreeMap;
use std::fs::File as OsFile;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use queries::table::{File, MarketTable, Range, Source, TailStore, sql_schema};
use queries::{Pinned, SqlError, Tables};

/// Symbols, the first ones traded most.
const SYMBOLS: usize = 100;
/// 2026-01-01 in microseconds and in days since 1970.
const START_US: i64 = 1_767_225_600_000_000;
const DATE: i32 = 20_454;
const DAY_US: i64 = 86_400_000_000;
const FILES: usize = 10;

/// Both tables.
pub(crate) struct Market(BTreeMap<&'static str, Arc<MarketTable>>);

#[async_trait]
impl Tables for Market {
    async fn pin(&self) -> Result<Pinned, SqlError> {
        let mut pinned = Pinned::new();
        for (name, table) in &self.0 {
            pinned.add(name, Arc::clone(table) as _);
        }
        Ok(pinned)
    }
}

pub(crate) fn address() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("lake://bench/").expect("an address")
}

pub(crate) fn store(dir: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(LocalFileSystem::new_with_prefix(dir).expect("a directory"))
}

fn schema(prices: &[&str]) -> SchemaRef {
    let decimal = |name: &str| Field::new(name, DataType::Decimal128(18, 8), false);
    let mut fields = vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("ts_event", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ];
    fields.extend(prices.iter().map(|name| decimal(name)));
    fields.push(Field::new("date", DataType::Date32, false));
    Arc::new(Schema::new(fields))
}

/// Makes both tables.
pub(crate) fn make(dir: &Path, trades: usize) -> Market {
    let tables = [("trades", trades, ["price", "quantity"]), ("quotes", trades * 4, ["bid", "ask"])];
    Market(tables.into_iter().map(|(name, rows, prices)| (name, table(dir, name, rows, &prices))).collect())
}

fn table(dir: &Path, name: &'static str, rows: usize, prices: &[&str]) -> Arc<MarketTable> {
    std::fs::create_dir_all(dir.join(name)).expect("a directory");
    let schema = schema(prices);
    let mut rng = fastrand::Rng::with_seed(rows as u64);
    // Half of the rows are of the first tenth of the symbols.
    let weights: Vec<f64> = (1..=SYMBOLS).map(|rank| 1.0 / rank as f64).collect();
    let sum: f64 = weights.iter().sum();
    let mut offset = 0;
    let mut files = Vec::new();
    for part in 0..FILES {
        let mut columns = Columns::default();
        let symbols = part * SYMBOLS / FILES..(part + 1) * SYMBOLS / FILES;
        for (symbol, weight) in symbols.clone().zip(&weights[symbols]) {
            let count = (rows as f64 * weight / sum) as usize;
            columns.fill(symbol, count, &mut offset, &mut rng, name == "quotes");
        }
        files.push(columns.write(dir, &format!("{name}/{part:02}.parquet"), &schema));
    }
    let view = sql_schema(&schema);
    let source = Source {
        sort_columns: ["symbol", "ts_event", "partition", "offset"].map(str::to_owned).into(),
        store: address(),
        files,
        next: BTreeMap::from([(0, offset as u64)]),
        tail: TailStore::new(Arc::clone(&view)).pin(),
        revisions: None,
        schema: view,
    };
    Arc::new(MarketTable::new(source).expect("a table"))
}

#[derive(Default)]
struct Columns {
    offsets: Vec<i64>,
    symbols: Vec<String>,
    times: Vec<i64>,
    first: Vec<i128>,
    second: Vec<i128>,
}

impl Columns {
    fn fill(&mut self, symbol: usize, count: usize, offset: &mut i64, rng: &mut fastrand::Rng, quotes: bool) {
        let mut times: Vec<i64> = (0..count).map(|_| START_US + rng.i64(0..DAY_US)).collect();
        times.sort_unstable();
        let mut price: i128 = 10_000_000_000 + symbol as i128 * 1_000_000_000;
        for time in times {
            price = (price + i128::from(rng.i64(-100..=100)) * 1_000_000).max(1_000_000_000);
            self.offsets.push(*offset);
            self.symbols.push(format!("S{symbol:04}-USDT"));
            self.times.push(time);
            self.first.push(price);
            self.second.push(if quotes { price + 1_000_000 } else { i128::from(rng.i64(1..1_000)) * 1_000_000 });
            *offset += 1;
        }
    }

    fn write(self, dir: &Path, path: &str, schema: &SchemaRef) -> Arc<File> {
        let rows = self.times.len();
        let decimal = |values: Vec<i128>| -> ArrayRef {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(18, 8).expect("small"))
        };
        let text = |value: &String| ScalarValue::Utf8View(Some(value.clone()));
        let time = |value: i64| ScalarValue::TimestampMicrosecond(Some(value), Some("UTC".into()));
        let range = |min: ScalarValue, max: ScalarValue| Some(Range { min, max, nulls: Some(0) });
        let (earliest, latest) = (self.times.iter().min().expect("rows"), self.times.iter().max().expect("rows"));
        let mut ranges = vec![
            range(ScalarValue::Int32(Some(0)), ScalarValue::Int32(Some(0))),
            range(ScalarValue::Int64(self.offsets.first().copied()), ScalarValue::Int64(self.offsets.last().copied())),
            range(text(self.symbols.first().expect("rows")), text(self.symbols.last().expect("rows"))),
            range(time(*earliest), time(*latest)),
        ];
        ranges.resize(schema.fields().len(), None);
        let inside: SchemaRef =
            Arc::new(schema.project(&(0..schema.fields().len() - 1).collect::<Vec<_>>()).expect("columns"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![0; rows])),
            Arc::new(Int64Array::from(self.offsets)),
            Arc::new(StringArray::from(self.symbols)),
            Arc::new(TimestampMicrosecondArray::from(self.times).with_timezone("UTC")),
            decimal(self.first),
            decimal(self.second),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&inside), columns).expect("columns fit");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level")))
            .set_max_row_group_row_count(Some(256 << 10))
            .build();
        let to = OsFile::create(dir.join(path)).expect("a file");
        let mut writer = ArrowWriter::try_new(to, inside, Some(properties)).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("written");
        let bytes = std::fs::metadata(dir.join(path)).expect("the file").len();
        Arc::new(File { path: path.to_owned(), bytes, rows: rows as u64, date: DATE, ranges, sorted: true })
    }
}
