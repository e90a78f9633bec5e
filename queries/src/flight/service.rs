//! The calls of the protocol.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError as ArrowFlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc,
    Ticket,
};
use datafusion::common::ScalarValue;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::auth::Doorman;
use super::catalog::{self, CATALOG, SCHEMA, SQL_INFO, TABLE, XDBC_INFO};
use super::prepared::{Kept, Prepared};
use super::status::status;
use crate::error::SqlError;
use crate::host::{Running, SqlHost, Statement};
use crate::login::Login;
use crate::parameters;

type Answer<T> = Result<Response<T>, Status>;
type DataStream = <Service as FlightService>::DoGetStream;
type Handshakes = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

/// The header in which the answer says how far the tables reach, when that is not up to now.
const NOTES: &str = "x-millrace-note";

/// The service behind every connection.
#[derive(Debug, Clone)]
pub(super) struct Service {
    host: SqlHost,
    doorman: Arc<Doorman>,
    kept: Arc<Kept>,
}

impl Service {
    pub(super) fn new(host: SqlHost, doorman: Doorman) -> Self {
        Self { host, doorman: Arc::new(doorman), kept: Arc::default() }
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<&Login, Status> {
        self.doorman.caller(request.metadata())
    }

    /// Runs a statement and streams its rows.
    async fn run(&self, statement: &Statement) -> Answer<DataStream> {
        let running = self.host.run(statement).await.map_err(status)?;
        let (schema, notes) = (running.schema(), running.notes().join("; "));
        let batches = stream::try_unfold(running, |mut running| async move {
            let batch = running.next_batch().await?;
            Ok::<_, SqlError>(batch.map(|batch| (batch, running)))
        });
        let mut response = Response::new(encoded(schema, batches.map_err(status)));
        if !notes.is_empty()
            && let Ok(notes) = MetadataValue::try_from(notes)
        {
            response.metadata_mut().insert(NOTES, notes);
        }
        Ok(response)
    }

    async fn described(&self, statement: &Statement) -> Result<Running, Status> {
        let described = self.host.describe(statement).await.map_err(status)?;
        match described.copy() {
            Some(_) => Err(Status::invalid_argument("COPY is for the Postgres protocol: send the query itself")),
            None => Ok(described),
        }
    }

    /// The prepared statement with its parameters, as something to run for its caller.
    fn prepared(&self, handle: &[u8], login: &Login) -> Result<Statement, Status> {
        self.kept.with(handle, &login.user, |prepared| {
            let mut statement = Statement::new(prepared.sql.clone(), login.caller.clone());
            statement.parameters.clone_from(&prepared.parameters);
            statement
        })
    }
}

/// Batches as messages of the protocol.
fn encoded(schema: SchemaRef, batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static) -> DataStream {
    let batches = batches.map_err(|status| ArrowFlightError::Tonic(Box::new(status)));
    Box::pin(FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(Status::from))
}

/// One batch as an answer.
fn once(schema: SchemaRef, batch: arrow_flight::error::Result<RecordBatch>) -> Answer<DataStream> {
    let batch = batch.map_err(Status::from)?;
    Ok(Response::new(encoded(schema, stream::once(async { Ok(batch) }))))
}

/// Where an answer is to be had: here, with this ticket.
fn info(descriptor: FlightDescriptor, ticket: &impl ProstMessageExt, schema: &Schema) -> Answer<FlightInfo> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

fn schema_message(schema: &Schema) -> Result<bytes::Bytes, Status> {
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|error: arrow::error::ArrowError| Status::internal(error.to_string()))?;
    Ok(bytes)
}

fn reads_only<T>() -> Result<T, Status> {
    Err(Status::permission_denied("nothing can be written here: a statement may only read"))
}

/// The one row of parameters, in the types that the statement expects.
fn bound(batches: &[RecordBatch], expected: &Schema) -> Result<Vec<u8>, Status> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).filter(|_| rows == 1);
    let batch = batch.ok_or_else(|| Status::invalid_argument(format!("{rows} rows of parameters: one is needed")))?;
    if batch.num_columns() != expected.fields().len() {
        let (given, wanted) = (batch.num_columns(), expected.fields().len());
        return Err(Status::invalid_argument(format!("{given} parameters, and the statement has {wanted}")));
    }
    let value = |(column, field): (&arrow::array::ArrayRef, &Arc<arrow::datatypes::Field>)| {
        let value = ScalarValue::try_from_array(column, 0)?;
        match field.data_type() {
            arrow::datatypes::DataType::Null => Ok(value),
            wanted => value.cast_to(wanted),
        }
    };
    let values = batch.columns().iter().zip(expected.fields()).map(value).collect::<Result<Vec<_>, _>>();
    let values = values.map_err(|error| Status::invalid_argument(format!("a parameter does not fit: {error}")))?;
    parameters::write(&values).map_err(status)
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<Handshakes> {
        let login = self.caller(&request)?;
        let answer = HandshakeResponse { protocol_version: 0, payload: login.secret.clone().into() };
        let answers: Handshakes = Box::pin(stream::once(async { Ok(answer) }));
        let mut response = Response::new(answers);
        let token = MetadataValue::try_from(format!("Bearer {}", login.secret));
        let token = token.map_err(|_| Status::internal("no header holds this key"))?;
        response.metadata_mut().insert("authorization", token);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let statement = Statement::new(query.query, self.caller(&request)?.caller.clone());
        let described = self.described(&statement).await?;
        if described.parameters().fields().is_empty() {
            let ticket = TicketStatementQuery { statement_handle: statement.sql.into() };
            return info(request.into_inner(), &ticket, &described.schema());
        }
        Err(Status::invalid_argument("a statement with parameters has to be prepared"))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Answer<DataStream> {
        let caller = self.caller(&request)?.caller.clone();
        let sql = String::from_utf8(ticket.statement_handle.to_vec())
            .map_err(|_| Status::invalid_argument("this ticket was not given here"))?;
        self.run(&Statement::new(sql, caller)).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let login = self.caller(&request)?;
        let described = self.described(&Statement::new(query.query.clone(), login.caller.clone())).await?;
        let expected = described.parameters();
        let (dataset_schema, parameter_schema) = (schema_message(&described.schema())?, schema_message(&expected)?);
        let prepared = Prepared { user: login.user.clone(), sql: query.query, expected, parameters: None };
        let prepared_statement_handle = self.kept.keep(prepared).into();
        Ok(ActionCreatePreparedStatementResult { prepared_statement_handle, dataset_schema, parameter_schema })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.kept.forget(&query.prepared_statement_handle, &self.caller(&request)?.user);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let user = self.caller(&request)?.user.clone();
        let handle = query.prepared_statement_handle;
        let expected = self.kept.with(&handle, &user, |prepared| Arc::clone(&prepared.expected))?;
        // One row is taken, so two batches are too many already.
        let batches: Vec<RecordBatch> =
            FlightRecordBatchStream::new_from_flight_data(request.into_inner().map_err(ArrowFlightError::from))
                .take(2)
                .try_collect()
                .await
                .map_err(Status::from)?;
        let parameters = bound(&batches, &expected)?;
        self.kept.with(&handle, &user, |prepared| prepared.parameters = Some(parameters))?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let statement = self.prepared(&query.prepared_statement_handle, self.caller(&request)?)?;
        let described = self.described(&statement).await?;
        info(request.into_inner(), &query, &described.schema())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Answer<DataStream> {
        let statement = self.prepared(&query.prepared_statement_handle, self.caller(&request)?)?;
        self.run(&statement).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.caller(&request)?;
        info(request.into_inner(), &query, &query.into_builder().schema())
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Answer<DataStream> {
        self.caller(&request)?;
        let mut catalogs = query.into_builder();
        catalogs.append(CATALOG);
        once(catalogs.schema(), catalogs.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.caller(&request)?;
        info(request.into_inner(), &query, &query.clone().into_builder().schema())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Answer<DataStream> {
        self.caller(&request)?;
        let mut schemas = query.into_builder();
        schemas.append(CATALOG, SCHEMA);
        once(schemas.schema(), schemas.build())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.caller(&request)?;
        info(request.into_inner(), &query, &query.clone().into_builder().schema())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Answer<DataStream> {
        self.caller(&request)?;
        let mut tables = query.into_builder();
        for name in catalog::names() {
            let columns = catalog::columns(name);
            tables.append(CATALOG, SCHEMA, name, TABLE, &columns).map_err(Status::from)?;
        }
        once(tables.schema(), tables.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.caller(&request)?;
        info(request.into_inner(), &query, &query.into_builder().schema())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, request: Request<Ticket>) -> Answer<DataStream> {
        self.caller(&request)?;
        let mut types = query.into_builder();
        types.append(TABLE);
        once(types.schema(), types.build())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.caller(&request)?;
        info(request.into_inner(), &query, &query.clone().into_builder(&SQL_INFO).schema())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, request: Request<Ticket>) -> Answer<DataStream> {
        self.caller(&request)?;
        let found = query.into_builder(&SQL_INFO);
        once(found.schema(), found.build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.caller(&request)?;
        info(request.into_inner(), &query, &query.into_builder(&XDBC_INFO).schema())
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<Ticket>,
    ) -> Answer<DataStream> {
        self.caller(&request)?;
        let found = query.into_builder(&XDBC_INFO);
        once(found.schema(), found.build())
    }

    async fn do_put_statement_update(
        &self,
        _query: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.caller(&request)?;
        reads_only()
    }

    async fn do_put_prepared_statement_update(
        &self,
        _query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        self.caller(&request)?;
        reads_only()
    }

    async fn register_sql_info(&self, _id: i32, _info: &SqlInfo) {}
}
