//! Columns: typed Arrow builders with a name, a type and a comment.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanBuilder, NullBufferBuilder, PrimitiveArray, StringBuilder};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use model::{Notional, Price, Quantity, UnixNanos, Volume};

/// Key of a column's explanation in its field's metadata.
pub const COMMENT: &str = "comment";

/// A field with its comment.
pub(crate) fn field(name: &str, kind: DataType, nullable: bool, comment: &str) -> Field {
    Field::new(name, kind, nullable).with_metadata(HashMap::from([(COMMENT.to_owned(), comment.to_owned())]))
}

/// A column that is being filled.
pub(super) trait Column: Default {
    /// Its Arrow type.
    fn kind() -> DataType;

    /// Takes what was put in.
    fn finish(&mut self) -> ArrayRef;
}

/// What a column of numbers is filled with: a plain vector, which is quicker than Arrow's own builder and, filled again
/// and again, takes at once the room that it needed last.
#[derive(Debug)]
struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    /// From the first row without a value on.
    nulls: Option<NullBufferBuilder>,
    kind: DataType,
    /// Values of the last array.
    room: usize,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    fn new(kind: DataType) -> Self {
        Self { values: Vec::new(), nulls: None, kind, room: 0 }
    }

    #[inline(always)]
    fn push(&mut self, value: T::Native) {
        if self.values.len() == self.values.capacity() {
            self.grow();
        }
        self.values.push(value);
    }

    #[cold]
    fn grow(&mut self) {
        self.values.reserve(self.room.saturating_sub(self.values.len()).max(1));
    }

    #[inline(always)]
    fn append_value(&mut self, value: T::Native) {
        self.push(value);
        if let Some(nulls) = &mut self.nulls {
            nulls.append_non_null();
        }
    }

    fn append_null(&mut self) {
        let before = self.values.len();
        self.push(T::Native::default());
        let nulls = self.nulls.get_or_insert_with(|| {
            let mut nulls = NullBufferBuilder::new(before + 1);
            nulls.append_n_non_nulls(before);
            nulls
        });
        nulls.append_null();
    }

    fn finish(&mut self) -> PrimitiveArray<T> {
        self.room = self.values.len();
        let mut values = std::mem::take(&mut self.values);
        // Rows that are kept keep no more than they are.
        if values.len() < values.capacity() / 2 {
            values.shrink_to_fit();
        }
        let nulls = self.nulls.take().and_then(|mut nulls| nulls.finish());
        PrimitiveArray::new(values.into(), nulls).with_data_type(self.kind.clone())
    }
}

/// A column of which each row has one value or none.
macro_rules! column {
    ($(#[$doc:meta])* $name:ident($builder:ty = $make:expr), $kind:expr, $value:ty, |$from:ident| $raw:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name($builder);

        impl Default for $name {
            fn default() -> Self {
                Self($make)
            }
        }

        #[allow(dead_code, reason = "not every table uses both")]
        impl $name {
            /// A row's value.
            #[inline]
            pub(super) fn put(&mut self, $from: $value) {
                self.0.append_value($raw);
            }

            /// A row's value, or none.
            #[inline]
            pub(super) fn maybe(&mut self, value: Option<$value>) {
                match value {
                    Some(value) => self.put(value),
                    None => self.0.append_null(),
                }
            }
        }

        impl Column for $name {
            fn kind() -> DataType {
                $kind
            }

            fn finish(&mut self) -> ArrayRef {
                Arc::new(self.0.finish())
            }
        }
    };
}

/// Microseconds since 1970, UTC.
const TIME: fn() -> DataType = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));

column!(
    /// Text.
    Text(StringBuilder = StringBuilder::new()), DataType::Utf8, &str, |value| value
);
column!(
    /// A small number.
    Int(Numbers<Int32Type> = Numbers::new(DataType::Int32)), DataType::Int32, i32, |value| value
);
column!(
    /// A number.
    Long(Numbers<Int64Type> = Numbers::new(DataType::Int64)), DataType::Int64, i64, |value| value
);
column!(
    /// Yes or no.
    Flag(BooleanBuilder = BooleanBuilder::new()), DataType::Boolean, bool, |value| value
);
column!(
    /// A point in time, the microsecond that it lies in.
    Time(Numbers<TimestampMicrosecondType> = Numbers::new(TIME())),
    TIME(), UnixNanos, |value| value.0.div_euclid(1_000)
);
column!(
    /// A price.
    Money(Numbers<Decimal128Type> = Numbers::new(DataType::Decimal128(18, 8))),
    DataType::Decimal128(18, 8), Price, |value| i128::from(value.raw())
);
column!(
    /// An amount.
    Amount(Numbers<Decimal128Type> = Numbers::new(DataType::Decimal128(18, 8))),
    DataType::Decimal128(18, 8), Quantity, |value| i128::from(value.raw())
);
column!(
    /// A sum of amounts.
    Wide(Numbers<Decimal128Type> = Numbers::new(DataType::Decimal128(38, 8))),
    DataType::Decimal128(38, 8), Volume, |value| value.raw()
);
column!(
    /// A sum of products.
    Product(Numbers<Decimal128Type> = Numbers::new(DataType::Decimal128(38, 16))),
    DataType::Decimal128(38, 16), Notional, |value| value.raw()
);

/// Defines the columns of a table: `name: Kind = "comment";`, with `null` after the kind where rows may have none.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ident $($null:ident)? = $comment:expr;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name { $(pub(super) $field: $crate::tables::columns::$kind,)* }

        impl $name {
            /// The columns, in order.
            pub(super) fn fields() -> Vec<arrow::datatypes::Field> {
                use $crate::tables::columns::Column as _;
                vec![$($crate::tables::columns::field(
                    stringify!($field),
                    $crate::tables::columns::$kind::kind(),
                    $crate::tables::columns::nullable!($($null)?),
                    $comment,
                ),)*]
            }

            /// Takes what was put in, column by column.
            pub(super) fn finish(&mut self) -> Vec<arrow::array::ArrayRef> {
                use $crate::tables::columns::Column as _;
                vec![$(self.$field.finish(),)*]
            }
        }
    };
}

macro_rules! nullable {
    () => {
        false
    };
    (null) => {
        true
    };
}

pub(super) use super::prices::Constituents;
pub(super) use {columns, nullable};

columns! {
    /// What every table begins with: which record the row is, and when.
    Identity {
        partition: Int = "Partition of the source topic";
        offset: Long = "Offset of the record in its partition: with `partition`, the row's identity";
        ts_event: Time = "When it happened, to the microsecond";
        ts_event_ns: Long = "When it happened, in unix nanoseconds";
        ts_recv: Time null = "When we received it, to the microsecond";
        ts_recv_ns: Long null = "When we received it, in unix nanoseconds";
    }
}

impl Identity {
    /// Puts one row's identity.
    pub(super) fn put(&mut self, partition: i32, offset: i64, event: UnixNanos, received: Option<UnixNanos>) {
        self.partition.put(partition);
        self.offset.put(offset);
        self.ts_event.put(event);
        self.ts_event_ns.put(event.0);
        self.ts_recv.maybe(received);
        self.ts_recv_ns.maybe(received.map(|time| time.0));
    }
}
