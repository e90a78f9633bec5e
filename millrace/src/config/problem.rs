//! What is wrong with a configuration file: every complaint at once, each with its place and the mend.

use std::fmt;

/// A place in the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    /// Path of the field, as in `sources.binance.channels`.
    pub(crate) path: String,
    /// What is wrong, with the value and what is allowed.
    pub(crate) what: String,
}

/// Everything that is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    pub(crate) file: String,
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        writeln!(out, "{}: {count} problem{}", self.file, if count == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            let Place { line, column } = problem.place;
            write!(out, "  {}:{line}:{column}: ", self.file)?;
            if !problem.path.is_empty() {
                write!(out, "{}: ", problem.path)?;
            }
            writeln!(out, "{}", problem.what)?;
        }
        Ok(())
    }
}
