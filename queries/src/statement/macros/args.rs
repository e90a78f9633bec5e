//! The arguments of a table function.

use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Value};

use super::Columns;
use super::duration::{self, Micros};
use crate::error::SqlError;

/// Usual names of the column with a record's time.
const TIMES: [&str; 4] = ["ts_event", "ts", "time", "bar"];
/// Usual names of the column with the instrument.
const INSTRUMENTS: [&str; 3] = ["symbol", "instrument", "market"];
/// Usual names of the column with a price.
const PRICES: [&str; 3] = ["price", "close", "mid"];
/// Usual names of the column with a size.
const SIZES: [&str; 4] = ["quantity", "size", "qty", "volume"];

/// Arguments by position and by name.
pub(super) struct Args<'a> {
    function: String,
    positional: std::vec::IntoIter<Expr>,
    named: Vec<(String, Expr)>,
    columns: &'a dyn Columns,
}

/// A table among the arguments.
pub(super) struct Table {
    /// As it goes into FROM.
    pub(super) from: String,
    /// Its columns, when it is a registered table.
    known: Option<Vec<String>>,
}

impl<'a> Args<'a> {
    pub(super) fn read(function: &str, args: &[FunctionArg], columns: &'a dyn Columns) -> Result<Self, SqlError> {
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => positional.push(value.clone()),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                    named.push((name.value.to_ascii_lowercase(), value.clone()));
                }
                other => return Err(SqlError::meaning(format!("argument {other} of {function} is not understood"))),
            }
        }
        Ok(Self { function: function.to_owned(), positional: positional.into_iter(), named, columns })
    }

    fn error(&self, what: &str) -> SqlError {
        SqlError::meaning(format!("{} needs {what}", self.function))
    }

    /// The next table by position: a name, or a query in parentheses.
    pub(super) fn table(&mut self, what: &str) -> Result<Table, SqlError> {
        match self.positional.next() {
            Some(Expr::Subquery(query)) => Ok(Table { from: format!("({query})"), known: None }),
            Some(name @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) => {
                let from = name.to_string();
                let known = self.columns.columns(&from.replace('"', ""));
                Ok(Table { from, known })
            }
            _ => Err(self.error(&format!("{what}: a table's name, or (SELECT …)"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Expr> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    /// A length of time, by name or the next by position.
    pub(super) fn duration(&mut self, name: &str) -> Result<Micros, SqlError> {
        let value = self.take(name).or_else(|| self.positional.next());
        match value {
            Some(Expr::Value(value)) => match &value.value {
                Value::SingleQuotedString(text) => duration::parse(text),
                _ => Err(self.error(&format!("{name} as text, as in '1m'"))),
            },
            _ => Err(self.error(&format!("{name}, as in '1m'"))),
        }
    }

    /// A length of time that may be left out.
    pub(super) fn duration_or(&mut self, name: &str, default: Micros) -> Result<Micros, SqlError> {
        let given = self.named.iter().any(|(known, _)| known == name) || self.positional.len() > 0;
        if given { self.duration(name) } else { Ok(default) }
    }

    /// One of a few words, by name only.
    pub(super) fn word(&mut self, name: &str, choices: &[&'static str]) -> Result<Option<&'static str>, SqlError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = value.to_string();
        let text = text.trim_matches('\'');
        let found = choices.iter().find(|choice| choice.eq_ignore_ascii_case(text));
        found
            .map(|found| Some(*found))
            .ok_or_else(|| self.error(&format!("{name} to be one of {}", choices.join(", "))))
    }

    /// A column by name, or what it is usually called.
    fn column(&mut self, name: &str, table: &Table, usual: &[&str]) -> Result<String, SqlError> {
        if let Some(value) = self.take(name) {
            return Ok(value.to_string());
        }
        match &table.known {
            None => Ok(usual[0].to_owned()),
            Some(columns) => {
                let found = usual.iter().find(|usual| columns.iter().any(|column| column == *usual));
                found.map(|found| (*found).to_owned()).ok_or_else(|| {
                    self.error(&format!("{name} => column, since {} has none of {}", table.from, usual.join(", ")))
                })
            }
        }
    }

    /// The column with the time.
    pub(super) fn time(&mut self, table: &Table) -> Result<String, SqlError> {
        self.column("ts", table, &TIMES)
    }

    /// The column with the instrument.
    pub(super) fn by(&mut self, table: &Table) -> Result<String, SqlError> {
        self.column("by", table, &INSTRUMENTS)
    }

    /// The column with the instrument, which may also stand by position.
    pub(super) fn by_or_next(&mut self, table: &Table) -> Result<String, SqlError> {
        match self.positional.next() {
            Some(column) => Ok(column.to_string()),
            None => self.by(table),
        }
    }

    /// The column with the price.
    pub(super) fn price(&mut self, table: &Table) -> Result<String, SqlError> {
        self.column("price", table, &PRICES)
    }

    /// The column with the size.
    pub(super) fn size(&mut self, table: &Table) -> Result<String, SqlError> {
        self.column("size", table, &SIZES)
    }

    /// A column or expression by name only.
    pub(super) fn expression(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|value| value.to_string())
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(&mut self) -> Result<(), SqlError> {
        if let Some((name, _)) = self.named.first() {
            return Err(SqlError::meaning(format!("{} has no argument {name}", self.function)));
        }
        match self.positional.next() {
            Some(extra) => Err(SqlError::meaning(format!("{} does not take {extra}", self.function))),
            None => Ok(()),
        }
    }
}

impl Table {
    /// Whether a registered table has a column; unknown tables are taken to have none of the optional ones.
    pub(super) fn has(&self, column: &str) -> bool {
        self.known.as_ref().is_some_and(|columns| columns.iter().any(|known| known == column))
    }
}
