//! A statement's text becomes something that may be planned: measured, parsed, checked, rewritten.
//!
//! Every door goes through [`read`], so what it refuses cannot be reached in another way. It admits one statement
//! that only reads: a query, `EXPLAIN` of one, `SHOW TABLES`, `SHOW COLUMNS`, `DESCRIBE`, and `COPY (query) TO
//! STDOUT`, which is the query with a format.

mod asof;
mod copy;
mod guard;
mod macros;
mod size;

use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{Statement as SqlStatement, VisitMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;

use crate::error::{ErrorKind, SqlError};
use crate::limits::Limits;

pub use copy::CopyFormat;
pub use macros::Columns;

/// The dialect of all statements. It understands `ASOF JOIN … MATCH_CONDITION (…)`, `name => value` and `::`.
pub(crate) const DIALECT: GenericDialect = GenericDialect {};

/// A statement that may be planned.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What DataFusion plans.
    pub(crate) inner: DfStatement,
    /// Set when it was `COPY (…) TO STDOUT`.
    pub copy: Option<CopyFormat>,
}

/// Reads a statement: measures it, parses it, checks that it only reads, and turns our own table functions and
/// `ASOF JOIN` into what the planner can take. `columns` tells the columns of a table.
///
/// # Errors
/// When it is too large, no SQL, more than one statement, or asks for more than reading.
pub fn read(sql: &str, limits: &Limits, columns: &dyn Columns) -> Result<Statement, SqlError> {
    size::check(sql, limits)?;
    if size::starts_with(sql, "COPY") {
        let (query, format) = copy::read(sql, limits)?;
        let inner = DfStatement::Statement(Box::new(SqlStatement::Query(query)));
        return finish(inner, Some(format), columns);
    }
    let mut parser =
        DFParserBuilder::new(sql).with_dialect(&DIALECT).with_recursion_limit(limits.depth_max * 2).build()?;
    let mut statements = parser.parse_statements()?;
    match statements.len() {
        0 => return Err(SqlError::new(ErrorKind::Syntax, "there is no statement here")),
        1 => {}
        many => {
            return Err(SqlError::refused(format!("{many} statements at once are not allowed: send one at a time")));
        }
    }
    let inner = statements.pop_front().expect("there is one");
    finish(inner, None, columns)
}

fn finish(mut inner: DfStatement, copy: Option<CopyFormat>, columns: &dyn Columns) -> Result<Statement, SqlError> {
    guard::check(&inner)?;
    rewrite(&mut inner, columns)?;
    Ok(Statement { inner, copy })
}

/// Rewrites the query inside, however deep it stands.
fn rewrite(statement: &mut DfStatement, columns: &dyn Columns) -> Result<(), SqlError> {
    match statement {
        DfStatement::Statement(inner) => {
            broken(inner.visit(&mut macros::Macros::new(columns)))?;
            broken(inner.visit(&mut asof::Fold))
        }
        DfStatement::Explain(explain) => rewrite(&mut explain.statement, columns),
        _ => Ok(()),
    }
}

fn broken(flow: std::ops::ControlFlow<SqlError>) -> Result<(), SqlError> {
    match flow {
        std::ops::ControlFlow::Break(error) => Err(error),
        std::ops::ControlFlow::Continue(()) => Ok(()),
    }
}
