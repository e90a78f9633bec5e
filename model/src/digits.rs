//! Decimal digits out of bytes, eight at a time: the forms that arrive by the million, for readers that have a
//! general way for every other.

/// Eight ASCII zeros.
const ZEROS: u64 = u64::from_le_bytes(*b"00000000");
/// Powers of ten.
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// So many digits always fit 64 bits.
const DIGITS_MAX: usize = 19;

/// Eight bytes less `'0'` each, and how many of them, from the first, are digits. What follows those is of no meaning.
#[inline]
fn scan(bytes: [u8; 8]) -> (u64, usize) {
    let values = u64::from_le_bytes(bytes).wrapping_sub(ZEROS);
    // The high bit of a byte tells that it is none of 0 to 9. What is borrowed or carried goes to later bytes, which
    // matters only after the first that is no digit.
    let other = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    (values, other.trailing_zeros() as usize / 8)
}

/// The number that eight digits make, the first in the lowest byte.
#[inline]
fn eight(values: u64) -> u64 {
    // Pairs, then both pairs of each half by their weights in one multiplication: nothing that is carried counts.
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let outer = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let inner = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    outer.wrapping_add(inner) >> 32
}

/// The number that the first `count` digits make, one to eight of them.
#[inline]
fn first(values: u64, count: usize) -> u64 {
    // Zeros come in front.
    eight(values << (64 - 8 * count))
}

/// The whole number that `bytes` begin with, and how many digits it has: leading zeros count. `None` when they begin
/// with no digit, or with more than nineteen, which may not fit.
#[inline]
pub fn unsigned(bytes: &[u8]) -> Option<(u64, usize)> {
    let Some(chunk) = bytes.first_chunk() else { return one_by_one(bytes, 0, 0) };
    match scan(*chunk) {
        (_, 0) => None,
        (values, 8) => longer(bytes, eight(values)),
        (values, count) => Some((first(values, count), count)),
    }
}

/// As [`unsigned`], after eight digits that make `value`.
#[inline]
fn longer(bytes: &[u8], value: u64) -> Option<(u64, usize)> {
    let Some(chunk) = bytes[8..].first_chunk() else { return one_by_one(bytes, value, 8) };
    match scan(*chunk) {
        (_, 0) => Some((value, 8)),
        // Sixteen digits are far from 2^64.
        (values, 8) => one_by_one(bytes, value * TENS[8] + eight(values), 16),
        (values, count) => Some((value * TENS[count] + first(values, count), 8 + count)),
    }
}

/// As [`unsigned`], after `at` digits that make `value`.
fn one_by_one(bytes: &[u8], mut value: u64, mut at: usize) -> Option<(u64, usize)> {
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        if at == DIGITS_MAX {
            return None;
        }
        value = value * 10 + u64::from(digit);
        at += 1;
    }
    (at > 0).then_some((value, at))
}

/// The decimal that `bytes` begin with, in units of 1e-8, and its length, in the plain form: one to seven digits, a
/// point, one to eight digits. `None` for every other form, and near the end of `bytes`: something has to follow.
#[inline]
pub fn decimal(bytes: &[u8]) -> Option<(i64, usize)> {
    let (values, at) = scan(*bytes.first_chunk()?);
    // Eight digits and more before the point are rare.
    if at == 0 || at == 8 || bytes[at] != b'.' {
        return None;
    }
    let whole = first(values, at);
    let (values, digits) = scan(*bytes.get(at + 1..)?.first_chunk()?);
    if digits == 0 {
        return None;
    }
    // Zeros follow the last digit.
    let fraction = eight(values & u64::MAX >> (64 - 8 * digits));
    Some(((whole * TENS[8] + fraction) as i64, at + 1 + digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Price;

    #[test]
    fn decimals_agree_with_the_general_way() {
        let mut random = fastrand::Rng::with_seed(11);
        let alphabet = b"0123456789.-+eE \"x\xef";
        let mut read = 0;
        for round in 0..300_000 {
            let mut text: Vec<u8> = Vec::new();
            if random.bool() {
                let digits = random.u32(1..12);
                let whole = random.u64(0..10u64.pow(digits));
                let fraction: String = (0..random.usize(0..11)).map(|_| char::from(random.u8(b'0'..=b'9'))).collect();
                text.extend_from_slice(format!("{whole}.{fraction}").as_bytes());
            } else {
                text.extend((0..random.usize(0..14)).map(|_| alphabet[random.usize(..alphabet.len())]));
            }
            let mut padded = text.clone();
            padded.push(b'"');
            padded.extend_from_slice(b"1234567890");
            if let Some((raw, length)) = decimal(&padded) {
                let shown = String::from_utf8_lossy(&padded[..length]);
                assert_eq!(Price::parse(&padded[..length]).map(Price::raw), Ok(raw), "round {round}: {shown:?}");
                read += 1;
            }
        }
        assert!(read > 50_000, "the plain form is read: {read}");
    }

    #[test]
    fn whole_numbers_agree_with_the_general_way() {
        let mut random = fastrand::Rng::with_seed(12);
        for round in 0..300_000 {
            let digits: String = (0..random.usize(0..23)).map(|_| char::from(random.u8(b'0'..=b'9'))).collect();
            let after = &["", ",", "\"", "}x", ":;/", "\u{ff}", "-12345678", ".12345678"][random.usize(..8)];
            let text = format!("{digits}{after}");
            let expected = match digits.len() {
                1..=19 => digits.parse().ok().map(|value| (value, digits.len())),
                _ => None,
            };
            assert_eq!(unsigned(text.as_bytes()), expected, "round {round}: {text:?}");
        }
    }

    #[test]
    fn digits_are_counted_from_the_first() {
        for (text, expected) in [
            (b"00000000", 8),
            (b"99999999", 8),
            (b"1234567\"", 7),
            (b"12\"]09,8", 2),
            (b"\"1234567", 0),
            (b"9:999999", 1),
            (b"9/999999", 1),
            (b"1\xff\xff\xff\xff\xff\xff\xff", 1),
            (b"1\x00000000", 1),
        ] {
            assert_eq!(scan(*text).1, expected, "{text:?}");
        }
        assert_eq!(eight(scan(*b"12345678").0), 12_345_678);
        for count in 1..=8 {
            assert_eq!(first(scan(*b"98765432").0, count), 98_765_432 / 10u64.pow(8 - count as u32));
        }
    }
}
