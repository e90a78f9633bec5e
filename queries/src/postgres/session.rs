//! One connection.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::{Sink, SinkExt};
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::ScramAuth;
use pgwire::api::auth::{DefaultServerParameterProvider, StartupHandler};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldFormat, Response};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, ConnectionManager, METADATA_USER, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::auth::Keys;
use super::commands::{self, Command};
use super::statement::{Parser, Prepared};
use super::{parameters, rows};
use crate::engine::Caller;
use crate::error::{Position, SqlError};
use crate::host::{SqlHost, Statement};
use crate::login::Login;

/// A connection and who is at its other end.
pub(super) struct Session {
    host: SqlHost,
    logins: Arc<Vec<Login>>,
    startup: SASLAuthStartupHandler<DefaultServerParameterProvider>,
    manager: Arc<ConnectionManager>,
    /// Set once the other end has proven who it is.
    caller: Arc<OnceLock<Caller>>,
}

/// An error in the protocol's form.
pub(super) fn error(error: SqlError) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".to_owned(), error.kind.sqlstate().to_owned(), error.message.clone());
    if let Some(Position { line, column }) = error.position {
        info.hint = Some(format!("line {line}, column {column}"));
    }
    PgWireError::UserError(Box::new(info))
}

/// An error that ends the connection.
fn fatal(message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".to_owned(), "28000".to_owned(), message.into())))
}

impl Session {
    pub(super) fn new(
        host: SqlHost,
        logins: Arc<Vec<Login>>,
        keys: Arc<Keys>,
        manager: Arc<ConnectionManager>,
    ) -> Self {
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        parameters.time_zone = "UTC".to_owned();
        let scram = ScramAuth::new(keys);
        let startup = SASLAuthStartupHandler::new(Arc::new(parameters))
            .with_scram(scram)
            .with_connection_manager(Arc::clone(&manager));
        Self { host, logins, startup, manager, caller: Arc::default() }
    }

    /// Set once the other end has proven who it is.
    pub(super) fn proof(&self) -> &Arc<OnceLock<Caller>> {
        &self.caller
    }

    pub(super) fn manager(&self) -> &Arc<ConnectionManager> {
        &self.manager
    }

    /// Who is at the other end. Nobody unless it was proven.
    fn caller(&self) -> PgWireResult<&Caller> {
        self.caller.get().ok_or_else(|| fatal("log in first"))
    }

    /// Runs a statement, tells what a reader has to know of it, and begins its answer.
    async fn answer<C>(&self, client: &mut C, statement: &Statement, format: &Format) -> PgWireResult<Response>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let running = self.host.run(statement).await.map_err(error)?;
        for note in running.notes() {
            let notice = ErrorInfo::new("NOTICE".to_owned(), "00000".to_owned(), note.clone());
            client.feed(PgWireBackendMessage::NoticeResponse(notice.into())).await?;
        }
        rows::respond(running, format)
    }
}

#[async_trait]
impl StartupHandler for Session {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let done = self.startup.on_startup(client, message).await;
        if let Err(refused) = done {
            // Whatever it is: before the proof every error is the last.
            return Err(fatal(refused.to_string()));
        }
        if matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            let user = client.metadata().get(METADATA_USER);
            let login = user.and_then(|user| self.logins.iter().find(|login| login.user == *user));
            let login = login.ok_or_else(|| fatal("this user has no key"))?;
            // A second proof on the same connection changes nothing.
            let _ = self.caller.set(login.caller.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl SimpleQueryHandler for Session {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let caller = self.caller()?.clone();
        match commands::of(query) {
            Command::Sql => {
                let statement = Statement::new(query, caller);
                Ok(vec![self.answer(client, &statement, &Format::UnifiedText).await?])
            }
            command => Ok(vec![command.respond(FieldFormat::Text)?]),
        }
    }
}

#[async_trait]
impl ExtendedQueryHandler for Session {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::new(Parser { host: self.host.clone(), caller: Arc::clone(&self.caller) })
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Prepared>, _max_rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let caller = self.caller()?.clone();
        let prepared = &portal.statement.statement;
        match &prepared.command {
            Command::Sql => {
                let mut statement = Statement::new(prepared.sql.clone(), caller);
                let values = parameters::read(portal)?;
                if !values.is_empty() {
                    statement.parameters = Some(crate::parameters::write(&values).map_err(error)?);
                }
                self.answer(client, &statement, &portal.result_column_format).await
            }
            command => command.respond(portal.result_column_format.format_for(0)),
        }
    }
}

/// The caller of a connection, for its parser.
pub(super) fn proven(caller: &OnceLock<Caller>) -> PgWireResult<Caller> {
    caller.get().cloned().ok_or_else(|| fatal("log in first"))
}
