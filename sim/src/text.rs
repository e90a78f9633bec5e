//! Numbers and times as venues write them, straight into a frame's buffer.

/// Raw units of 1e-8 in one.
pub(crate) const ONE: i64 = 100_000_000;

/// An unsigned number in decimal.
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A signed number in decimal.
pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A text that needs no escaping.
pub(crate) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A value in units of 1e-8 with exactly `places` decimals. Digits past them must be zero.
pub(crate) fn put_fixed(out: &mut Vec<u8>, raw: i64, places: u8) {
    debug_assert!(places <= 8 && raw % 10i64.pow(8 - u32::from(places)) == 0, "{raw} does not fit {places} places");
    if raw < 0 {
        out.push(b'-');
    }
    let magnitude = raw.unsigned_abs();
    put_u64(out, magnitude / ONE as u64);
    if places > 0 {
        let digits = fraction(magnitude);
        out.push(b'.');
        out.extend_from_slice(&digits[..places as usize]);
    }
}

/// A value in units of 1e-8 with as many decimals as it needs.
pub(crate) fn put_trimmed(out: &mut Vec<u8>, raw: i64) {
    let digits = fraction(raw.unsigned_abs());
    let places = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    put_fixed(out, raw, places as u8);
}

/// A sum in units of 1e-16 (price times quantity), cut to `places` decimals (at most 8).
pub(crate) fn put_notional(out: &mut Vec<u8>, raw: i128, places: u8) {
    let units = raw.unsigned_abs() / ONE as u128;
    if raw < 0 && units > 0 {
        out.push(b'-');
    }
    let whole = units / ONE as u128;
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if places > 0 {
        let digits = fraction((units % ONE as u128) as u64);
        out.push(b'.');
        out.extend_from_slice(&digits[..places as usize]);
    }
}

/// A UUID in its hyphenated form.
pub(crate) fn put_uuid(out: &mut Vec<u8>, uuid: u128) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for digit in 0..32u32 {
        if matches!(digit, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(HEX[(uuid >> (124 - 4 * digit) & 0xf) as usize]);
    }
}

fn fraction(magnitude: u64) -> [u8; 8] {
    let mut rest = magnitude % ONE as u64;
    let mut digits = [b'0'; 8];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// Writes RFC 3339 times; keeps the text of the last second, since most frames share it.
#[derive(Debug)]
pub(crate) struct TimeWriter {
    second: i64,
    text: [u8; 19],
}

impl Default for TimeWriter {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00" }
    }
}

impl TimeWriter {
    /// `2026-08-24T22:21:58.343688Z` with `digits` (3, 6 or 9) decimals.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, unix_nanos: i64, digits: u8) {
        let second = unix_nanos.div_euclid(1_000_000_000);
        if second != self.second {
            self.second = second;
            self.text = date_time(second);
        }
        out.extend_from_slice(&self.text);
        out.push(b'.');
        let mut rest = unix_nanos.rem_euclid(1_000_000_000);
        let mut nanos = [b'0'; 9];
        for digit in nanos.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&nanos[..digits as usize]);
        out.push(b'Z');
    }
}

/// Civil date and time of a unix second (proleptic Gregorian; the days-to-date algorithm of H. Hinnant's
/// "chrono-compatible low-level date algorithms").
fn date_time(second: i64) -> [u8; 19] {
    let (days, clock) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00";
    let mut two = |at: usize, value: i64| {
        text[at] = b'0' + (value / 10 % 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    };
    two(0, year / 100);
    two(2, year % 100);
    two(5, month);
    two(8, day);
    two(11, clock / 3_600);
    two(14, clock / 60 % 60);
    two(17, clock % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn numbers_have_the_digits_asked_for() {
        assert_eq!(text(|out| put_fixed(out, 6_183_763_000_000, 8)), "61837.63000000");
        assert_eq!(text(|out| put_fixed(out, 6_183_760_000_000, 1)), "61837.6");
        assert_eq!(text(|out| put_fixed(out, 100_000_000, 0)), "1");
        assert_eq!(text(|out| put_fixed(out, -267_990_000_000, 1)), "-2679.9");
        assert_eq!(text(|out| put_trimmed(out, 6_183_760_000_000)), "61837.6");
        assert_eq!(text(|out| put_trimmed(out, 1_305)), "0.00001305");
        assert_eq!(text(|out| put_trimmed(out, 0)), "0");
        assert_eq!(text(|out| put_notional(out, 15 * 10_000_000_000_000_000 + 1, 8)), "15.00000000");
    }

    #[test]
    fn uuids_agree_with_the_models() {
        let uuid = crate::market::random::Random::uuid("trade", 7);
        let written = text(|out| put_uuid(out, uuid));
        assert_eq!(model::TradeId::parse(written.as_bytes()), Ok(model::TradeId::Uuid(uuid)), "{written}");
        assert_eq!((written.as_bytes()[14], written.len()), (b'4', 36));
    }

    #[test]
    fn times_agree_with_the_models() {
        let mut times = TimeWriter::default();
        for nanos in [0, 1_618_677_817_089_723_000, 951_782_399_999_999_000, 4_102_444_800_000_001_000] {
            let written = text(|out| times.put(out, nanos, 6));
            let read = model::UnixNanos::parse_rfc3339(written.as_bytes()).expect("a time");
            assert_eq!(read.0, nanos, "{written}");
        }
    }
}
