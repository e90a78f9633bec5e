//! Rows into Parquet.
//!
//! Encodings by what the column holds (measured, `docs/decisions/0012-parquet.md`): times, ids and offsets as
//! packed differences, words and prices by dictionary, all under zstd level 3.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{DEFAULT_DATA_PAGE_ROW_COUNT_LIMIT, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use crate::delta::stats_json;
use crate::tables::Table;

/// Rows of a row group, at most.
const GROUP_ROWS: usize = 1 << 20;
/// Rows of a sorted file's row group, at most: smaller, so that a reader after one symbol skips more.
const SORTED_GROUP_ROWS: usize = 1 << 18;
/// Rows of a page in a sorted file, about. A reader after an hour of one symbol decodes few that it has no use for, and a
/// merge holds a page of every column of every file.
const SORTED_PAGE_ROWS: usize = 8_192;
/// Bytes reserved for a sorted file: as many as it has at most, with the pages that come after it is full.
const SORTED_ROOM: usize = 36 << 20;
/// Rows of a page in a run.
const RUN_PAGE_ROWS: usize = 2_048;

/// How a file's rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they came.
    Arrival,
    /// By [`Table::sort_columns`].
    Sorted,
    /// Sorted too, and read once, soon, by a merge beside others: small pages, packed lightly.
    Run,
}

/// A finished file.
#[derive(Debug)]
pub struct Encoded {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its rows.
    pub rows: u64,
    /// Its statistics, as the table's log has them.
    pub stats: String,
}

/// A file that is being written, in memory.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

impl Encoder {
    /// An empty file of a table.
    ///
    /// # Errors
    /// When Parquet refuses the columns, which it does for none of our tables.
    pub fn new(table: Table, order: Order) -> Result<Self, ParquetError> {
        // The Arrow schema with every comment would take more room than a small file's rows.
        let options =
            ArrowWriterOptions::new().with_properties(properties(table, order)).with_skip_arrow_metadata(true);
        // A compacted file's room is taken at once: it is not backed by memory before it is written, while growing by
        // doubling holds the old buffer beside the new.
        let buffer = Vec::with_capacity(if order == Order::Sorted { SORTED_ROOM } else { 0 });
        let writer = ArrowWriter::try_new_with_options(buffer, table.file_schema(), options)?;
        Ok(Self { table, writer, rows: 0 })
    }

    /// Adds rows; the columns are [`Table::file_schema`].
    ///
    /// # Errors
    /// When the columns are others.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(batch)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// About how many bytes the file has so far.
    pub fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When Parquet cannot write its footer.
    pub fn finish(mut self) -> Result<Encoded, ParquetError> {
        let footer = self.writer.finish()?;
        let stats = stats_json(&self.table.file_schema(), &footer);
        // `into_inner` would finish once more, which is an error.
        let bytes = std::mem::take(self.writer.inner_mut());
        Ok(Encoded { bytes: bytes.into(), rows: self.rows, stats })
    }
}

fn properties(table: Table, order: Order) -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(3).expect("a level that zstd has"));
    let (group, page, compression) = match order {
        Order::Arrival => (GROUP_ROWS, DEFAULT_DATA_PAGE_ROW_COUNT_LIMIT, zstd),
        Order::Sorted => (SORTED_GROUP_ROWS, SORTED_PAGE_ROWS, zstd),
        Order::Run => (SORTED_GROUP_ROWS, RUN_PAGE_ROWS, Compression::UNCOMPRESSED),
    };
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(compression)
        .set_data_page_row_count_limit(page)
        .set_max_row_group_row_count(Some(group));
    if order == Order::Run {
        // A reader holds the dictionary of each column and 160 kB for zstd, of every run at once: more than the rows
        // themselves, of which sorting leaves little where each is written as its difference from the one before.
        builder = builder.set_dictionary_enabled(false);
    }
    for field in table.file_schema().fields() {
        let column = ColumnPath::new(vec![field.name().clone()]);
        let packed = match field.data_type() {
            DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) => true,
            // Sorted by symbol, neighbouring prices lie close together.
            DataType::Decimal128(18, _) => order == Order::Run || order == Order::Sorted && field.name() == "price",
            _ => false,
        };
        if order == Order::Run && *field.data_type() == DataType::Utf8 {
            builder = builder.set_column_encoding(column.clone(), Encoding::DELTA_BYTE_ARRAY);
        }
        if packed {
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    if order != Order::Arrival {
        builder = builder.set_sorting_columns(Some(sorting(table)));
    }
    builder.build()
}

fn sorting(table: Table) -> Vec<SortingColumn> {
    let schema = table.file_schema();
    // Lists come after all these columns or have one leaf before them in no table; leaves are counted to be sure.
    let leaves =
        |before: usize| schema.fields().iter().take(before).map(|field| leaves_of(field.data_type())).sum::<usize>();
    let of = |name: &&str| {
        let at = schema.index_of(name).expect("sort columns are columns");
        SortingColumn {
            column_idx: i32::try_from(leaves(at)).expect("few columns"),
            descending: false,
            nulls_first: true,
        }
    };
    table.sort_columns().iter().map(of).collect()
}

fn leaves_of(kind: &DataType) -> usize {
    match kind {
        DataType::List(item) => leaves_of(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves_of(field.data_type())).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_an_empty_file() {
        for table in Table::all() {
            for order in [Order::Arrival, Order::Sorted, Order::Run] {
                let encoded = Encoder::new(*table, order).and_then(Encoder::finish).expect("columns that Parquet has");
                assert_eq!(encoded.rows, 0);
                assert!(encoded.stats.starts_with("{\"numRecords\":0,"), "{}", encoded.stats);
            }
        }
    }
}
