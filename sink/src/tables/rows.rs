//! Records into rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Builder, RecordBatch};
use arrow::datatypes::Field;
use model::{CodecError, UnixNanos, Volume};

use super::Table;
use super::columns::Identity;
use super::marks::Marks;
use super::{audit, candles, dead_letters, executions, ledger, orders, prices, ticks, trades};

/// 10^38: a Decimal128 of 38 digits stays below.
const WIDE_LIMIT: u128 = 10u128.pow(38);
/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// Why a record is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The bytes are no binary record that we know.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The bytes are no JSON record that we know.
    #[error("not a record of {table}: {reason}")]
    Json {
        /// The table.
        table: Table,
        /// What the parser found, with its place.
        reason: String,
    },
    /// A number that the column does not hold.
    #[error("{field} {value} not allowed: at most {max}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What the column holds.
        max: String,
    },
}

impl RowError {
    pub(super) fn json(table: Table, error: &serde_json::Error) -> Self {
        Self::Json { table, reason: error.to_string() }
    }
}

/// A number as the 64 bits with a sign that tables have.
#[inline]
pub(super) fn long(field: &'static str, value: u64) -> Result<i64, RowError> {
    i64::try_from(value).map_err(|_| too_large(field, value.to_string(), i64::MAX.to_string()))
}

#[cold]
fn too_large(field: &'static str, value: String, max: String) -> RowError {
    RowError::TooLarge { field, value, max }
}

/// A sum as the 38 digits that tables have.
pub(super) fn wide(field: &'static str, value: Volume) -> Result<Volume, RowError> {
    if value.raw().unsigned_abs() < WIDE_LIMIT {
        return Ok(value);
    }
    Err(too_large(field, value.to_string(), "38 digits".to_owned()))
}

/// Where a record stands and when it happened, as its decoder found it.
pub(super) struct Stamp {
    pub(super) event: UnixNanos,
    pub(super) received: Option<UnixNanos>,
}

/// What a table's columns do with a record's bytes.
pub(super) trait Reads {
    /// Appends a row; `None` when the record repeats what was there. On an error nothing was appended.
    fn read(&mut self, offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError>;
}

macro_rules! tables {
    ($($table:ident: $columns:path,)*) => {
        /// The columns of one table that are its own.
        #[derive(Debug)]
        enum Body {
            $($table(Box<$columns>),)*
        }

        impl Body {
            fn new(table: Table) -> Self {
                match table {
                    $(Table::$table => Self::$table(Box::default()),)*
                }
            }

            fn read(&mut self, offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
                match self {
                    $(Self::$table(columns) => columns.read(offset, bytes, marks),)*
                }
            }

            fn finish(&mut self) -> Vec<ArrayRef> {
                match self {
                    $(Self::$table(columns) => columns.finish(),)*
                }
            }
        }

        /// The fields of a table but for the date.
        pub(super) fn fields(table: Table) -> Vec<Field> {
            let mut fields = Identity::fields();
            fields.extend(match table {
                $(Table::$table => <$columns>::fields(),)*
            });
            fields
        }
    };
}

tables! {
    Ticks: ticks::Columns,
    Prices: prices::Columns,
    Candles: candles::Columns,
    Orders: orders::Columns,
    Trades: trades::Columns,
    Executions: executions::Columns,
    Ledger: ledger::Columns,
    Audit: audit::Columns,
    DeadLetters: dead_letters::Columns,
}

/// Makes rows of a table out of the records of its topic.
///
/// The same records, from the same marks on, make the same rows.
#[derive(Debug)]
pub struct Rows {
    table: Table,
    identity: Identity,
    date: Date32Builder,
    body: Body,
    len: usize,
    marks: BTreeMap<u32, Marks>,
    repeated: u64,
}

impl Rows {
    /// Rows from the beginning of the topic: nothing is known of its writers yet.
    pub fn new(table: Table) -> Self {
        Self::resume(table, BTreeMap::new())
    }

    /// Rows from a position at which `marks` hold, by source partition: a snapshot's.
    pub fn resume(table: Table, marks: BTreeMap<u32, Marks>) -> Self {
        Self {
            table,
            identity: Identity::default(),
            date: Date32Builder::new(),
            body: Body::new(table),
            len: 0,
            marks,
            repeated: 0,
        }
    }

    /// Adds the record at `offset` of `partition`. A record that repeats one that was there adds no row.
    ///
    /// # Errors
    /// When the bytes are no record of the table; then no row was added.
    pub fn push(&mut self, partition: u32, offset: u64, bytes: &[u8]) -> Result<(), RowError> {
        let number = i32::try_from(partition)
            .map_err(|_| too_large("partition", partition.to_string(), i32::MAX.to_string()))?;
        let at = long("offset", offset)?;
        match self.body.read(offset, bytes, self.marks.entry(partition).or_default())? {
            Some(stamp) => {
                self.identity.put(number, at, stamp.event, stamp.received);
                self.date.append_value(day(stamp.event));
                self.len += 1;
            }
            None => self.repeated += 1,
        }
        Ok(())
    }

    /// The table.
    pub const fn table(&self) -> Table {
        self.table
    }

    /// Rows since the last [`Self::finish`].
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Records that made no row because they repeat others, in all.
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }

    /// What is known of the writers, by partition.
    pub const fn marks(&self) -> &BTreeMap<u32, Marks> {
        &self.marks
    }

    /// Takes the rows, in the order in which they were added; the columns are [`Table::schema`].
    pub fn finish(&mut self) -> RecordBatch {
        let mut columns = self.identity.finish();
        columns.extend(self.body.finish());
        columns.push(Arc::new(self.date.finish()));
        self.len = 0;
        RecordBatch::try_new(self.table.schema(), columns).expect("columns are built by the schema, a value a row")
    }
}

/// Days since 1970, UTC.
fn day(event: UnixNanos) -> i32 {
    i32::try_from(event.0.div_euclid(DAY_NS)).expect("nanoseconds in 64 bits are at most 106,751 days")
}
