//! Lengths of time as people write them: `250ms`, `1s`, `5m`, `1h`, `1d`.

use std::fmt;

use crate::error::SqlError;

/// A length of time in microseconds; it shows itself as an SQL interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Micros(pub(super) i64);

/// Longest length allowed: a year.
const MAX: i64 = 366 * 86_400 * 1_000_000;

impl fmt::Display for Micros {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "INTERVAL '{} microseconds'", self.0)
    }
}

/// Reads a length of time.
pub(super) fn parse(text: &str) -> Result<Micros, SqlError> {
    let wrong = || SqlError::meaning(format!("{text:?} is no length of time: a whole number and us, ms, s, m, h or d"));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let count: i64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(wrong()),
    };
    match count.checked_mul(unit) {
        Some(micros) if (1..=MAX).contains(&micros) => Ok(Micros(micros)),
        _ => Err(SqlError::meaning(format!("{text} is not allowed: more than nothing and at most 366d"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_carry_their_unit() {
        assert_eq!(parse("1m"), Ok(Micros(60_000_000)));
        assert_eq!(parse("250ms").map(|micros| micros.to_string()), Ok("INTERVAL '250000 microseconds'".to_owned()));
        for bad in ["", "1", "m", "0s", "-1s", "1.5s", "367d", "99999999999999999999d", "1 x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
