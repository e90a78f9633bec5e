//! Prepared statements.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, field_into_pg_type};
use async_trait::async_trait;
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::api::stmt::QueryParser;
use pgwire::api::{ClientInfo, Type};
use pgwire::error::PgWireResult;

use super::commands::{self, Command};
use super::session::{error, proven};
use crate::engine::Caller;
use crate::host::{SqlHost, Statement};

/// A statement whose columns and parameters are known. What it reads is pinned when it runs, each time anew.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) sql: String,
    pub(super) command: Command,
    pub(super) parameters: SchemaRef,
    schema: SchemaRef,
    copies: bool,
}

/// Plans statements for their columns and parameters.
pub(super) struct Parser {
    pub(super) host: SqlHost,
    pub(super) caller: Arc<OnceLock<Caller>>,
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(&self, _client: &C, sql: &str, _types: &[Option<Type>]) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let caller = proven(&self.caller)?;
        let command = commands::of(sql);
        let sql = sql.to_owned();
        if !matches!(command, Command::Sql) {
            let schema = command.schema();
            let parameters = SchemaRef::new(arrow::datatypes::Schema::empty());
            return Ok(Some(Prepared { sql, command, parameters, schema, copies: false }));
        }
        let described = self.host.describe(&Statement::new(sql.clone(), caller)).await.map_err(error)?;
        Ok(Some(Prepared {
            sql,
            command,
            parameters: described.parameters(),
            schema: described.schema(),
            copies: described.copy().is_some(),
        }))
    }

    fn get_parameter_types(&self, statement: &Prepared) -> PgWireResult<Vec<Type>> {
        let types = statement.parameters.fields().iter().map(|field| match field.data_type() {
            DataType::Null => Ok(Type::TEXT),
            _ => field_into_pg_type(field),
        });
        types.collect()
    }

    fn get_result_schema(&self, statement: &Prepared, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        if statement.copies {
            return Ok(Vec::new());
        }
        arrow_schema_to_pg_fields(&statement.schema, format.unwrap_or(&Format::UnifiedText), None)
    }
}
