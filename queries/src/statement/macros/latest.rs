//! `latest(table, by)`: the newest row of each instrument, or of whatever `by` names.

use super::args::Args;
use crate::error::SqlError;

/// The SQL of `latest`.
pub(super) fn expand(args: &mut Args<'_>) -> Result<String, SqlError> {
    let table = args.table("a table")?;
    let by = args.by_or_next(&table)?;
    let ts = args.time(&table)?;
    Ok(format!("SELECT DISTINCT ON ({by}) * FROM {} AS source_ ORDER BY {by}, {ts} DESC", table.from))
}
