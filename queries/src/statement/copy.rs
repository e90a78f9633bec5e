//! `COPY (query) TO STDOUT`.

use datafusion::sql::sqlparser::ast::{CopyOption, CopySource, CopyTarget, Query, Statement as SqlStatement};
use datafusion::sql::sqlparser::parser::Parser;

use super::DIALECT;
use crate::error::{ErrorKind, SqlError};
use crate::limits::Limits;

/// How `COPY … TO STDOUT` writes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// Postgres' own text: tabs, `\N` for null.
    Text,
    /// Comma separated.
    Csv {
        /// Whether the first line names the columns.
        header: bool,
    },
}

/// Takes the query and the format out of a `COPY` statement.
pub(super) fn read(sql: &str, limits: &Limits) -> Result<(Box<Query>, CopyFormat), SqlError> {
    let parsed = Parser::new(&DIALECT)
        .with_recursion_limit(limits.depth_max * 2)
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| SqlError::from(datafusion::error::DataFusionError::SQL(Box::new(error), None)))?;
    let mut statements = parsed.into_iter();
    let (Some(SqlStatement::Copy { source, to, target, options, .. }), None) = (statements.next(), statements.next())
    else {
        return Err(SqlError::new(ErrorKind::Syntax, "one statement COPY (query) TO STDOUT is needed here"));
    };
    if !to {
        return Err(SqlError::refused("COPY FROM is not allowed: statements may only read"));
    }
    if !matches!(target, CopyTarget::Stdout) {
        return Err(SqlError::refused("COPY is only allowed TO STDOUT: files and programs are out of reach"));
    }
    let CopySource::Query(query) = source else {
        return Err(SqlError::refused("COPY of a table is not allowed: write COPY (SELECT * FROM table) TO STDOUT"));
    };
    Ok((query, format(&options)?))
}

fn format(options: &[CopyOption]) -> Result<CopyFormat, SqlError> {
    let (mut csv, mut header) = (false, false);
    for option in options {
        match option {
            CopyOption::Format(name) if name.value.eq_ignore_ascii_case("csv") => csv = true,
            CopyOption::Format(name) if name.value.eq_ignore_ascii_case("text") => csv = false,
            CopyOption::Header(wanted) => header = *wanted,
            CopyOption::Delimiter(',') if csv => {}
            other => {
                let message = format!("COPY option {other} is not known here: FORMAT csv or text, and HEADER");
                return Err(SqlError::meaning(message));
            }
        }
    }
    match (csv, header) {
        (true, header) => Ok(CopyFormat::Csv { header }),
        (false, false) => Ok(CopyFormat::Text),
        (false, true) => Err(SqlError::meaning("COPY with HEADER needs FORMAT csv")),
    }
}
