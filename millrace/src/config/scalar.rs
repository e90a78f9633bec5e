//! Readers of single values: durations, sizes, counts, addresses, names.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// `250ms`, `5s`, `2m`, `1h`, `1d`, within `range`.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let wrong = || format!("{text:?} is not a duration: a whole number and ms, s, m, h or d, as in 250ms");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit_ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let value = count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)?;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(format!("{text} not allowed: {} to {}", show(*range.start()), show(*range.end())))
        }
    }
}

/// A duration in the form that [`duration`] reads.
pub(crate) fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let (unit, name) = units.into_iter().find(|(unit, _)| ms.is_multiple_of(*unit)).expect("one divides all");
    if ms == 0 { "0s".to_owned() } else { format!("{}{name}", ms / unit) }
}

/// `512MiB`, `2GiB`, `64KiB`, `100B`: bytes, within `range`.
pub(crate) fn size(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let wrong = || format!("{text:?} is not a size: a whole number and B, KiB, MiB or GiB, as in 512MiB");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match &text[digits..] {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1u64 << 30,
            _ => return Err(wrong()),
        };
        let value = count.checked_mul(unit).ok_or_else(wrong)?;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(format!("{text} not allowed: {} B to {} B", range.start(), range.end()))
        }
    }
}

/// A whole number within `range`.
pub(crate) fn count<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let value: T = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(format!("{text} not allowed: {} to {}", range.start(), range.end()))
        }
    }
}

/// Whatever [`FromStr`] reads, with its own message.
pub(crate) fn parsed<T>(text: &str) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(choices: &[(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not known: one of {}", names.join(", "))
        })
    }
}

/// Any text of 1 to 1,024 bytes.
pub(crate) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 1024 {
        return Err(format!("a text of {} bytes is not allowed: 1 to 1024", text.len()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_carry_their_unit() {
        let any = duration(Duration::ZERO..=Duration::from_secs(86_400));
        assert_eq!(any("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(any("1d"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "5", "s", "-1s", "1.5s", "2d", "99999999999999999999s", "5 s"] {
            assert!(any(bad).is_err(), "{bad}");
        }
        assert_eq!(any("2d"), Err("2d not allowed: 0s to 1d".into()));
        assert_eq!(size(0..=u64::MAX)("512MiB"), Ok(512 << 20));
        assert!(size(0..=u64::MAX)("512MB").is_err());
        assert_eq!(count(1..=4)("9"), Err("9 not allowed: 1 to 4".to_string()));
        assert_eq!(show(Duration::from_millis(1_500)), "1500ms");
    }
}
