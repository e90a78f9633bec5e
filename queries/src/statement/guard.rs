//! Only what reads registered tables gets past here.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    ObjectName, Query, SetExpr, Spanned, Statement as SqlStatement, TableFactor, Visit, Visitor,
};

use super::macros;
use crate::error::SqlError;

/// Table functions that may be called beside our own.
const TABLE_FUNCTIONS: [&str; 3] = ["generate_series", "range", "unnest"];
/// What a path or address has, and a table's name has not.
const PATH_MARKS: [&str; 8] = ["/", "\\", ":", "*", ".csv", ".json", ".parquet", ".arrow"];

/// Refuses everything but one statement that reads.
pub(super) fn check(statement: &DfStatement) -> Result<(), SqlError> {
    match statement {
        DfStatement::Statement(inner) => check_sql(inner),
        DfStatement::Explain(explain) => match &*explain.statement {
            DfStatement::Statement(inner) if matches!(**inner, SqlStatement::Query(_)) => check_sql(inner),
            other => Err(refused(&other.to_string())),
        },
        other => Err(refused(&other.to_string())),
    }
}

fn check_sql(statement: &SqlStatement) -> Result<(), SqlError> {
    match statement {
        SqlStatement::Query(query) => match query.visit(&mut Reader) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        },
        SqlStatement::ShowTables { .. } | SqlStatement::ShowColumns { .. } | SqlStatement::ExplainTable { .. } => {
            Ok(())
        }
        other => Err(refused(&other.to_string())),
    }
}

/// Names what was asked by its first words.
fn refused(statement: &str) -> SqlError {
    let words: Vec<&str> = statement.split_whitespace().take(2).collect();
    let words: String = words.join(" ").chars().take(60).collect();
    SqlError::refused(format!(
        "{words} is not allowed: a statement may only read, with SELECT, EXPLAIN, SHOW TABLES, SHOW COLUMNS, DESCRIBE or COPY (query) TO STDOUT"
    ))
}

/// Walks a query and stops at what does more than read.
struct Reader;

impl Visitor for Reader {
    type Break = SqlError;

    /// A statement inside a query writes: `WITH x AS (INSERT …)`.
    fn pre_visit_statement(&mut self, statement: &SqlStatement) -> ControlFlow<SqlError> {
        ControlFlow::Break(refused(&statement.to_string()))
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(SqlError::refused(
                "FOR UPDATE and FOR SHARE are not allowed: nothing is locked",
            ));
        }
        body(&query.body)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<SqlError> {
        let start = factor.span().start;
        let place = |error: SqlError| ControlFlow::Break(error.at(start.line, start.column));
        match factor {
            TableFactor::Table { name, args: Some(_), .. } => {
                let called = name.to_string().to_ascii_lowercase();
                if TABLE_FUNCTIONS.contains(&called.as_str()) || macros::NAMES.contains(&called.as_str()) {
                    return ControlFlow::Continue(());
                }
                let known = [macros::NAMES.as_slice(), TABLE_FUNCTIONS.as_slice()].concat().join(", ");
                place(SqlError::refused(format!("table function {called} is not available: there are {known}")))
            }
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => ControlFlow::Continue(()),
            other => {
                let what: String = other.to_string().chars().take(60).collect();
                place(SqlError::refused(format!("{what} is not available in FROM: tables, subqueries and joins are")))
            }
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<SqlError> {
        let name = relation.to_string();
        if name.to_ascii_lowercase().ends_with("df_settings") {
            return ControlFlow::Break(SqlError::refused("the settings of the engine are not for reading"));
        }
        if PATH_MARKS.iter().any(|mark| name.to_ascii_lowercase().contains(mark)) {
            let start = relation.span().start;
            let shown: String = name.chars().take(80).collect();
            let message = format!("{shown} is not a table: files and addresses are out of reach");
            return ControlFlow::Break(SqlError::refused(message).at(start.line, start.column));
        }
        ControlFlow::Continue(())
    }
}

/// Refuses bodies that write. Queries inside are visited by themselves.
fn body(set: &SetExpr) -> ControlFlow<SqlError> {
    match set {
        SetExpr::Select(select) if select.into.is_some() => {
            ControlFlow::Break(SqlError::refused("SELECT INTO is not allowed: a statement may only read"))
        }
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { left, right, .. } => {
            body(left)?;
            body(right)
        }
        other => ControlFlow::Break(refused(&other.to_string())),
    }
}
