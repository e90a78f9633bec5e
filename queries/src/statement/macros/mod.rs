//! Table functions of ours that are short for longer SQL: `bars`, `latest`, `markout`, `window_join`.
//!
//! Each becomes a subquery before planning, so the optimiser sees all of it and a caller's rights hold inside. A
//! table is given by name or as `(SELECT …)`; its columns for time, instrument, price and size are found by their
//! usual names, or named: `bars(t, '1m', price => mid)`.

mod args;
mod bars;
mod duration;
mod latest;
mod markout;
mod window;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, SetExpr, TableAlias, TableFactor, VisitorMut};
use datafusion::sql::sqlparser::parser::Parser;

use super::DIALECT;
use crate::error::SqlError;
use args::Args;

/// The names of these functions.
pub(super) const NAMES: [&str; 4] = ["bars", "latest", "markout", "window_join"];

/// Bytes of SQL that a call may stand for. Some name a table twice, so nested ones would double again and again.
const EXPANDED_BYTES_MAX: usize = 128 << 10;

/// Tells the columns of tables.
pub trait Columns {
    /// The names of a table's columns; `None` when there is no such table, as for a CTE.
    fn columns(&self, table: &str) -> Option<Vec<String>>;
}

impl<F: Fn(&str) -> Option<Vec<String>>> Columns for F {
    fn columns(&self, table: &str) -> Option<Vec<String>> {
        self(table)
    }
}

/// Replaces calls of these functions, from the inside out.
pub(super) struct Macros<'a> {
    columns: &'a dyn Columns,
}

impl<'a> Macros<'a> {
    pub(super) fn new(columns: &'a dyn Columns) -> Self {
        Self { columns }
    }
}

/// The SQL that a call stands for.
fn expand(name: &str, args: &mut Args<'_>) -> Result<String, SqlError> {
    let text = match name {
        "bars" => bars::expand(args)?,
        "latest" => latest::expand(args)?,
        "markout" => markout::expand(args)?,
        _ => window::expand(args)?,
    };
    args.finish()?;
    if text.len() > EXPANDED_BYTES_MAX {
        let message = format!(
            "{name} stands for {} bytes of SQL, which is not allowed: at most {EXPANDED_BYTES_MAX}; nest fewer table functions",
            text.len()
        );
        return Err(SqlError::limit(message));
    }
    Ok(text)
}

impl VisitorMut for Macros<'_> {
    type Break = SqlError;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        let TableFactor::Table { name, alias, args: Some(arguments), .. } = factor else {
            return ControlFlow::Continue(());
        };
        let called = name.to_string().to_ascii_lowercase();
        if !NAMES.contains(&called.as_str()) {
            return ControlFlow::Continue(());
        }
        let expanded = Args::read(&called, &arguments.args, self.columns)
            .and_then(|mut args| expand(&called, &mut args))
            .and_then(|text| parse(&text));
        match expanded {
            Ok(query) => {
                *factor = derived(query, alias.take());
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn parse(text: &str) -> Result<Query, SqlError> {
    let parsed = Parser::new(&DIALECT).try_with_sql(text).and_then(|mut parser| parser.parse_query());
    parsed.map(|query| *query).map_err(|error| SqlError::meaning(format!("an argument is not understood: {error}")))
}

/// `(query) AS alias`, around a table factor that the parser made, which keeps us out of its other fields.
fn derived(query: Query, alias: Option<TableAlias>) -> TableFactor {
    let mut shell = parse("SELECT * FROM (SELECT 1)").expect("a constant that parses");
    let SetExpr::Select(select) = &mut *shell.body else { unreachable!("it is a SELECT") };
    let mut factor = select.from.pop().expect("it has a FROM").relation;
    if let TableFactor::Derived { subquery, alias: name, .. } = &mut factor {
        **subquery = query;
        *name = alias;
    }
    factor
}
