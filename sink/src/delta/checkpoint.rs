//! Checkpoints: a state as one Parquet file, in the form that the protocol gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames,
    RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Fields, Int32Type, Int64Type, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::action::{Action, Add, Format, MetaData, Protocol, Remove, Txn};
use super::state::State;

type Tags = BTreeMap<String, Option<String>>;

/// The state's actions, in the order of the checkpoint.
fn actions(state: &State) -> Vec<Action> {
    let mut all = Vec::with_capacity(2 + state.txns.len() + state.adds.len() + state.removed.len());
    all.extend(state.protocol.clone().map(Action::from));
    all.extend(state.metadata.clone().map(Action::from));
    let txns = state.txns.iter();
    all.extend(
        txns.map(|(app_id, version)| {
            Action::from(Txn { app_id: app_id.clone(), version: *version, last_updated: None })
        }),
    );
    all.extend(state.adds.values().map(|add| Action::from(Add { data_change: false, ..add.0.clone() })));
    let removed = state.removed.iter();
    all.extend(removed.map(|(path, at)| {
        Action::from(Remove {
            path: path.clone(),
            deletion_timestamp: Some(*at),
            data_change: false,
            extended_file_metadata: None,
            partition_values: None,
            size: None,
        })
    }));
    all
}

/// The checkpoint's bytes and its number of actions.
pub(super) fn write(state: &State) -> Result<(Bytes, u64), String> {
    let actions = actions(state);
    let columns = [protocol(&actions), metadata(&actions), txn(&actions), add(&actions), remove(&actions)];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| error.to_string())?;
    let level = ZstdLevel::try_new(3).map_err(|error| error.to_string())?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let written = (|| {
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
        writer.write(&batch)?;
        writer.into_inner()
    })();
    let bytes = written.map_err(|error: parquet::errors::ParquetError| error.to_string())?;
    Ok((bytes.into(), actions.len() as u64))
}

/// A struct column: null where `present` is not.
fn structure<T>(
    name: &str,
    actions: &[Action],
    get: impl Fn(&Action) -> Option<&T>,
    columns: impl FnOnce(&[Option<&T>]) -> Vec<(&'static str, ArrayRef)>,
) -> (Field, ArrayRef) {
    let rows: Vec<Option<&T>> = actions.iter().map(get).collect();
    let present: Vec<bool> = rows.iter().map(Option::is_some).collect();
    let columns = columns(&rows);
    let fields: Fields =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let array = StructArray::new(fields.clone(), arrays, Some(NullBuffer::from(present)));
    (Field::new(name, arrow::datatypes::DataType::Struct(fields), true), Arc::new(array))
}

fn texts<T>(rows: &[Option<&T>], get: impl Fn(&T) -> Option<&str>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.and_then(&get)).collect::<StringArray>())
}

fn longs<T>(rows: &[Option<&T>], get: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.and_then(&get)).collect::<Int64Array>())
}

fn ints<T>(rows: &[Option<&T>], get: impl Fn(&T) -> i32) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.map(&get)).collect::<Int32Array>())
}

fn flags<T>(rows: &[Option<&T>], get: impl Fn(&T) -> Option<bool>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| row.and_then(&get)).collect::<BooleanArray>())
}

fn maps<T>(rows: &[Option<&T>], get: impl Fn(&T) -> Option<Tags>) -> ArrayRef {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        let map = row.and_then(&get);
        for (key, value) in map.iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(value.as_deref());
        }
        builder.append(map.is_some()).expect("as many keys as values");
    }
    Arc::new(builder.finish())
}

fn lists<T>(rows: &[Option<&T>], get: impl Fn(&T) -> &[String]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        for item in row.map(&get).unwrap_or_default() {
            builder.values().append_value(item);
        }
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

fn some(map: &BTreeMap<String, String>) -> Tags {
    map.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
}

fn protocol(actions: &[Action]) -> (Field, ArrayRef) {
    structure(
        "protocol",
        actions,
        |action| action.protocol.as_ref(),
        |rows| {
            vec![
                ("minReaderVersion", ints(rows, |one: &Protocol| one.min_reader_version)),
                ("minWriterVersion", ints(rows, |one| one.min_writer_version)),
            ]
        },
    )
}

fn metadata(actions: &[Action]) -> (Field, ArrayRef) {
    structure(
        "metaData",
        actions,
        |action| action.meta_data.as_ref(),
        |rows| {
            let formats: Vec<Option<&Format>> = rows.iter().map(|row| row.map(|one: &MetaData| &one.format)).collect();
            let format: Vec<(&str, ArrayRef)> = vec![
                ("provider", texts(&formats, |one| Some(&one.provider))),
                ("options", maps(&formats, |one| Some(some(&one.options)))),
            ];
            let fields: Fields =
                format.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
            let present: Vec<bool> = rows.iter().map(Option::is_some).collect();
            let arrays = format.into_iter().map(|(_, array)| array).collect();
            let format: ArrayRef = Arc::new(StructArray::new(fields, arrays, Some(NullBuffer::from(present))));
            vec![
                ("id", texts(rows, |one| Some(&one.id))),
                ("name", texts(rows, |one| one.name.as_deref())),
                ("description", texts(rows, |one| one.description.as_deref())),
                ("format", format),
                ("schemaString", texts(rows, |one| Some(&one.schema_string))),
                ("partitionColumns", lists(rows, |one| &one.partition_columns)),
                ("configuration", maps(rows, |one| Some(some(&one.configuration)))),
                ("createdTime", longs(rows, |one| one.created_time)),
            ]
        },
    )
}

fn txn(actions: &[Action]) -> (Field, ArrayRef) {
    structure(
        "txn",
        actions,
        |action| action.txn.as_ref(),
        |rows| {
            vec![
                ("appId", texts(rows, |one: &Txn| Some(&one.app_id))),
                ("version", longs(rows, |one| Some(one.version))),
                ("lastUpdated", longs(rows, |one| one.last_updated)),
            ]
        },
    )
}

fn add(actions: &[Action]) -> (Field, ArrayRef) {
    structure(
        "add",
        actions,
        |action| action.add.as_ref(),
        |rows| {
            vec![
                ("path", texts(rows, |one: &Add| Some(&one.path))),
                ("partitionValues", maps(rows, |one| Some(one.partition_values.clone()))),
                ("size", longs(rows, |one| Some(one.size))),
                ("modificationTime", longs(rows, |one| Some(one.modification_time))),
                ("dataChange", flags(rows, |one| Some(one.data_change))),
                ("stats", texts(rows, |one| one.stats.as_deref())),
                ("tags", maps(rows, |one| one.tags.clone())),
            ]
        },
    )
}

fn remove(actions: &[Action]) -> (Field, ArrayRef) {
    structure(
        "remove",
        actions,
        |action| action.remove.as_ref(),
        |rows| {
            vec![
                ("path", texts(rows, |one: &Remove| Some(&one.path))),
                ("deletionTimestamp", longs(rows, |one| one.deletion_timestamp)),
                ("dataChange", flags(rows, |one| Some(one.data_change))),
            ]
        },
    )
}

/// Reads a checkpoint's actions, ours or another program's.
pub(super) fn read(bytes: Bytes) -> Result<Vec<Action>, String> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| error.to_string())?;
    let mut actions = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        for row in 0..batch.num_rows() {
            let of = |name: &str| Row::of(batch.column_by_name(name), row);
            if let Some(row) = of("protocol") {
                actions.push(read_protocol(&row)?.into());
            }
            if let Some(row) = of("metaData") {
                actions.push(read_metadata(&row)?.into());
            }
            if let Some(row) = of("txn") {
                let txn = Txn { app_id: row.text("appId")?, version: row.long("version")?, last_updated: None };
                actions.push(txn.into());
            }
            if let Some(row) = of("add") {
                actions.push(read_add(&row)?.into());
            }
            if let Some(row) = of("remove") {
                actions.push(
                    Remove {
                        path: row.text("path")?,
                        deletion_timestamp: row.long("deletionTimestamp").ok(),
                        data_change: false,
                        extended_file_metadata: None,
                        partition_values: None,
                        size: None,
                    }
                    .into(),
                );
            }
        }
    }
    Ok(actions)
}

fn read_protocol(row: &Row<'_>) -> Result<Protocol, String> {
    let version = |name: &str| row.int(name).ok_or_else(|| format!("the checkpoint has no {name}"));
    Ok(Protocol { min_reader_version: version("minReaderVersion")?, min_writer_version: version("minWriterVersion")? })
}

fn read_metadata(row: &Row<'_>) -> Result<MetaData, String> {
    let plain = |tags: Option<Tags>| {
        let pairs = tags.unwrap_or_default().into_iter();
        pairs.filter_map(|(key, value)| Some((key, value?))).collect()
    };
    Ok(MetaData {
        id: row.text("id")?,
        name: row.text("name").ok(),
        description: row.text("description").ok(),
        format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: row.text("schemaString")?,
        partition_columns: row.list("partitionColumns"),
        configuration: plain(row.map("configuration")),
        created_time: row.long("createdTime").ok(),
    })
}

fn read_add(row: &Row<'_>) -> Result<Add, String> {
    Ok(Add {
        path: row.text("path")?,
        partition_values: row.map("partitionValues").unwrap_or_default(),
        size: row.long("size")?,
        modification_time: row.long("modificationTime")?,
        data_change: false,
        stats: row.text("stats").ok(),
        tags: row.map("tags"),
    })
}

/// One row of a struct column.
struct Row<'a> {
    columns: &'a StructArray,
    at: usize,
}

impl<'a> Row<'a> {
    fn of(column: Option<&'a ArrayRef>, at: usize) -> Option<Self> {
        let columns = column?.as_struct_opt()?;
        columns.is_valid(at).then_some(Self { columns, at })
    }

    fn column(&self, name: &str) -> Option<&'a ArrayRef> {
        self.columns.column_by_name(name).filter(|column| column.is_valid(self.at))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        let column = self.column(name).and_then(|column| column.as_string_opt::<i32>());
        column.map(|column| column.value(self.at).to_owned()).ok_or_else(|| format!("the checkpoint has no {name}"))
    }

    fn long(&self, name: &str) -> Result<i64, String> {
        let column = self.column(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
        column.map(|column| column.value(self.at)).ok_or_else(|| format!("the checkpoint has no {name}"))
    }

    fn int(&self, name: &str) -> Option<i32> {
        Some(self.column(name)?.as_primitive_opt::<Int32Type>()?.value(self.at))
    }

    fn list(&self, name: &str) -> Vec<String> {
        let items = self.column(name).and_then(|column| column.as_list_opt::<i32>()).map(|list| list.value(self.at));
        let texts = items.as_ref().and_then(|items| items.as_string_opt::<i32>());
        texts.map(|texts| texts.iter().flatten().map(str::to_owned).collect()).unwrap_or_default()
    }

    fn map(&self, name: &str) -> Option<Tags> {
        let entries = self.column(name)?.as_map_opt()?.value(self.at);
        let keys = entries.column(0).as_string_opt::<i32>()?;
        let values = entries.column(1).as_string_opt::<i32>()?;
        Some(
            keys.iter()
                .zip(values)
                .filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned))))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::schema_string;
    use crate::tables::Table;

    #[test]
    fn a_state_survives_its_checkpoint() {
        let table = Table::Trades;
        let mut state = State::new("trades", table.schema());
        let metadata = MetaData {
            id: "an id".into(),
            name: Some("trades".into()),
            description: None,
            format: Format { provider: "parquet".into(), options: BTreeMap::new() },
            schema_string: schema_string(&table.schema()),
            partition_columns: vec!["date".into()],
            configuration: BTreeMap::from([("a".into(), "b".into())]),
            created_time: Some(5),
        };
        let add = |path: &str| Add {
            path: path.into(),
            partition_values: BTreeMap::from([("date".into(), Some("2026-11-25".into()))]),
            size: 10,
            modification_time: 11,
            data_change: true,
            stats: Some("{\"numRecords\":3,\"minValues\":{\"price\":0.00000001},\"maxValues\":{}}".into()),
            tags: Some(BTreeMap::from([("millrace.level".into(), Some("1".into())), ("x".into(), None)])),
        };
        let remove = Remove {
            path: "b".into(),
            deletion_timestamp: Some(77),
            data_change: true,
            extended_file_metadata: None,
            partition_values: None,
            size: None,
        };
        let actions = [
            Protocol::OURS.into(),
            metadata.into(),
            Txn { app_id: "me".into(), version: 12, last_updated: None }.into(),
            add("a").into(),
            add("b").into(),
            remove.into(),
        ];
        state.apply(0, &actions[..5]);
        state.apply(41, &actions[5..]);
        state.check().expect("a table of ours");
        let (bytes, size) = write(&state).expect("written");
        assert_eq!(size, 5);
        let mut again = State::new("trades", table.schema());
        again.apply(41, &read(bytes).expect("read"));
        again.check().expect("a table of ours");
        assert_eq!((again.protocol, again.metadata), (state.protocol, state.metadata));
        assert_eq!((again.txns, again.removed), (state.txns, state.removed));
        assert_eq!(again.adds["a"].1, state.adds["a"].1);
        assert_eq!(again.adds["a"].1.columns["price"].min, Some(crate::lake::Stat::Decimal(1)));
        assert_eq!(again.adds.len(), 1);
    }
}
