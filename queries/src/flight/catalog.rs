//! What there is, for tools that ask: tables, types, and what this server can do.

use std::sync::LazyLock;

use arrow::datatypes::Schema;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, SqlSupportedCaseSensitivity, XdbcDataType};
use sink::tables::Table;

use crate::live::WATERMARK;
use crate::table::sql_schema;

/// The one catalog and its one schema.
pub(super) const CATALOG: &str = "millrace";
pub(super) const SCHEMA: &str = "public";
/// The one kind of table.
pub(super) const TABLE: &str = "TABLE";

/// Names of all tables.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Table::all().iter().map(|table| table.name()).chain([WATERMARK])
}

/// The columns of a table.
pub(super) fn columns(name: &str) -> Schema {
    match name.parse::<Table>() {
        Ok(table) => Schema::clone(&sql_schema(&table.schema())),
        Err(_) => Schema::clone(&crate::live::watermark_schema()),
    }
}

/// What this server is and can do.
pub(super) static SQL_INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Millrace");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64);
    info.build().expect("constants that fit")
});

/// The types of the tables' columns.
pub(super) static XDBC_INFO: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let known = [
        ("boolean", XdbcDataType::XdbcUnknownType, None),
        ("integer", XdbcDataType::XdbcInteger, Some(32)),
        ("bigint", XdbcDataType::XdbcBigint, Some(64)),
        ("double", XdbcDataType::XdbcDouble, Some(64)),
        ("decimal", XdbcDataType::XdbcDecimal, Some(38)),
        ("varchar", XdbcDataType::XdbcVarchar, None),
        ("date", XdbcDataType::XdbcDate, None),
        ("timestamp", XdbcDataType::XdbcTimestamp, None),
    ];
    for (name, data_type, column_size) in known {
        let is_text = data_type == XdbcDataType::XdbcVarchar;
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size,
            literal_prefix: is_text.then(|| "'".to_owned()),
            literal_suffix: is_text.then(|| "'".to_owned()),
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: is_text,
            searchable: Searchable::Full,
            unsigned_attribute: Some(false),
            fixed_prec_scale: false,
            auto_increment: Some(false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: None,
            maximum_scale: None,
            sql_data_type: data_type,
            datetime_subcode: None,
            num_prec_radix: column_size.map(|_| 10),
            interval_precision: None,
        });
    }
    types.build().expect("constants that fit")
});
