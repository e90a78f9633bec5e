//! The tables of the lake: their columns, and how a record becomes a row.
//!
//! One record of a topic is one row of its table, found again by `partition` and `offset`. Rows are made the same
//! way for the files that land and for the live tail.

mod audit;
mod candles;
mod columns;
mod dead_letters;
mod executions;
mod fast;
mod ledger;
mod marks;
mod orders;
mod prices;
mod rows;
mod ticks;
mod trades;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use model::topic;

pub use columns::COMMENT;
pub use marks::{Mark, Marks};
pub use rows::{RowError, Rows};

/// Name of the partition column: the UTC day of the event time.
pub const DATE: &str = "date";

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Market data of the venues.
    Ticks,
    /// Composite prices.
    Prices,
    /// Candles, once no correction can follow.
    Candles,
    /// Commands to the exchange.
    Orders,
    /// Matches on our own books.
    Trades,
    /// What became of each command and order.
    Executions,
    /// Every movement of a balance.
    Ledger,
    /// Who called what, and the outcome.
    Audit,
    /// What could not be used, and why.
    DeadLetters,
}

/// A name that no table has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a table: one of ticks, prices, candles, orders, trades, executions, ledger, audit, dead_letters")]
pub struct UnknownTable(String);

impl Table {
    const ALL: [Self; 9] = [
        Self::Ticks,
        Self::Prices,
        Self::Candles,
        Self::Orders,
        Self::Trades,
        Self::Executions,
        Self::Ledger,
        Self::Audit,
        Self::DeadLetters,
    ];

    /// Every table.
    pub const fn all() -> &'static [Self] {
        &Self::ALL
    }

    /// Its name in SQL and its folder in the lake.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ticks => "ticks",
            Self::Prices => "prices",
            Self::Candles => "candles",
            Self::Orders => "orders",
            Self::Trades => "trades",
            Self::Executions => "executions",
            Self::Ledger => "ledger",
            Self::Audit => "audit",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// The topic it is made from.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Ticks => topic::TICKS,
            Self::Prices => topic::PRICES,
            Self::Candles => topic::CANDLES,
            Self::Orders => topic::ORDERS,
            Self::Trades => topic::TRADES,
            Self::Executions => topic::EXECUTIONS,
            Self::Ledger => topic::LEDGER,
            Self::Audit => topic::AUDIT,
            Self::DeadLetters => topic::DEAD_LETTERS,
        }
    }

    /// What a row is, in a sentence.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Ticks => "Trades, quotes and 24 h figures of every venue, and all else that the aggregation folds",
            Self::Prices => "Composite prices with what they were made of",
            Self::Candles => "Open, high, low, close and volume of each interval, once no correction can follow",
            Self::Orders => "Every command the exchange was given, in the order of its inbox",
            Self::Trades => "Every match on our own books",
            Self::Executions => "What became of each command and of each order",
            Self::Ledger => "Every movement of a balance",
            Self::Audit => "Who called what, and the outcome",
            Self::DeadLetters => "Input that could not be used, and why",
        }
    }

    /// The columns. Each field's metadata has a [`COMMENT`]. The last column is [`DATE`], by which files are kept
    /// apart; it is in the rows that [`Rows`] makes and not in the Parquet files.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<Vec<SchemaRef>> = LazyLock::new(|| {
            let of = |table: &Table| {
                let mut fields = rows::fields(*table);
                fields.push(columns::field(DATE, DataType::Date32, false, "UTC day of the event time"));
                Arc::new(Schema::new(fields.into_iter().map(Arc::new).collect::<Vec<Arc<Field>>>()))
            };
            Table::ALL.iter().map(of).collect()
        });
        Arc::clone(&SCHEMAS[self as usize])
    }

    /// The columns of its Parquet files: [`Self::schema`] without the last.
    pub fn file_schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<Vec<SchemaRef>> = LazyLock::new(|| {
            let of = |table: &Table| {
                let schema = table.schema();
                let kept: Vec<usize> = (0..schema.fields().len() - 1).collect();
                Arc::new(schema.project(&kept).expect("columns of this schema"))
            };
            Table::ALL.iter().map(of).collect()
        });
        Arc::clone(&SCHEMAS[self as usize])
    }

    /// The columns by which compacted files are sorted, the first one most significant.
    pub const fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Self::Ticks | Self::Prices | Self::Candles | Self::Orders | Self::Trades | Self::Executions => {
                &["symbol", "ts_event", "partition", "offset"]
            }
            Self::Ledger => &["account", "ts_event", "partition", "offset"],
            Self::Audit => &["actor", "ts_event", "partition", "offset"],
            Self::DeadLetters => &["source", "ts_event", "partition", "offset"],
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Table {
    type Err = UnknownTable;

    fn from_str(text: &str) -> Result<Self, UnknownTable> {
        let found = Self::ALL.into_iter().find(|table| table.name() == text);
        found.ok_or_else(|| UnknownTable(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained_and_every_table_has_its_identity() {
        for (place, table) in Table::all().iter().enumerate() {
            assert_eq!((*table as usize, table.name().parse()), (place, Ok(*table)));
            let schema = table.schema();
            for field in schema.fields() {
                assert!(field.metadata().get(COMMENT).is_some_and(|text| text.len() > 3), "{table}.{}", field.name());
            }
            for name in ["partition", "offset", "ts_event", "ts_event_ns", "ts_recv", "ts_recv_ns", "date"] {
                assert!(schema.field_with_name(name).is_ok(), "{table} has no {name}");
            }
            for name in table.sort_columns() {
                assert!(schema.field_with_name(name).is_ok(), "{table} has no {name}");
            }
            assert_eq!(table.file_schema().fields().len() + 1, schema.fields().len());
        }
    }
}
