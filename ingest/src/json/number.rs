//! Numbers: the forms that venues send by the million in a few instructions, every other through `model`.

use model::Price;

use super::{Reader, Result};
use crate::refusal::Refusal;

/// Eight ASCII digits.
const ZEROS: u64 = u64::from_le_bytes(*b"00000000");
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// Powers of ten.
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// How many of the eight bytes, from the first, are ASCII digits.
#[inline]
fn leading_digits(chunk: u64) -> u32 {
    // A digit's high nibble is 3 and stays 3 when 6 is added: anything else differs in one of the two.
    let other = (chunk & 0xf0f0_f0f0_f0f0_f0f0) ^ 0x3030_3030_3030_3030
        | ((chunk.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0) ^ 0x3030_3030_3030_3030;
    // Carries from a byte reach only later ones, which matters only after the first that is no digit.
    let marks = (other & 0x7f7f_7f7f_7f7f_7f7f).wrapping_add(0x7f7f_7f7f_7f7f_7f7f) | other;
    (marks & HIGH_BITS).trailing_zeros() / 8
}

/// The value of eight ASCII digits, the first in the lowest byte.
#[inline]
fn eight_digits(chunk: u64) -> u64 {
    let tens = (chunk - ZEROS).wrapping_mul(10).wrapping_add((chunk - ZEROS) >> 8) & 0x00ff_00ff_00ff_00ff;
    let hundreds = (tens.wrapping_mul(100).wrapping_add(tens >> 16)) & 0x0000_ffff_0000_ffff;
    (hundreds.wrapping_mul(10_000).wrapping_add(hundreds >> 32)) & 0xffff_ffff
}

/// `digits.digits` with at most seven before the point and one to eight after it: units of 1e-8 and the
/// length read. `None` for every other form.
#[inline]
fn plain_decimal(bytes: &[u8]) -> Option<(i64, usize)> {
    let chunk = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    let at = leading_digits(chunk) as usize;
    // Eight digits and more before the point are rare.
    if at == 0 || at == 8 || bytes[at] != b'.' {
        return None;
    }
    let whole = eight_digits(chunk << (64 - 8 * at) | ZEROS >> (8 * at));
    let chunk = u64::from_le_bytes(*bytes.get(at + 1..)?.first_chunk::<8>()?);
    let digits = leading_digits(chunk);
    if digits == 0 {
        return None;
    }
    let kept = u64::MAX >> (64 - 8 * digits);
    let fraction = eight_digits(chunk & kept | ZEROS & !kept);
    Some(((whole * 100_000_000 + fraction) as i64, at + 1 + digits as usize))
}

impl<'a> Reader<'a> {
    /// A number of zero or more, exactly, in units of 1e-8 and below 10^18 of them; from a number or a string.
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is negative ("-0" included).
    #[inline]
    pub fn decimal(&mut self, field: &'static str) -> Result<i64> {
        if self.peek()? == b'"' {
            let start = self.at + 1;
            if let Some((raw, length)) = plain_decimal(&self.bytes[start..])
                && self.bytes.get(start + length) == Some(&b'"')
            {
                self.at = start + length + 1;
                return Ok(raw);
            }
        }
        self.any_decimal(field)
    }

    /// `["price","quantity"]` in its plain form, or nothing taken.
    #[inline]
    pub(crate) fn plain_pair(&mut self) -> Option<(i64, i64)> {
        let rest = self.bytes.get(self.at..)?.strip_prefix(b"[\"")?;
        let (price, price_length) = plain_decimal(rest)?;
        let after = rest.get(price_length..)?.strip_prefix(b"\",\"")?;
        let (quantity, quantity_length) = plain_decimal(after)?;
        if !after.get(quantity_length..)?.starts_with(b"\"]") {
            return None;
        }
        self.at += 2 + price_length + 3 + quantity_length + 2;
        Some((price, quantity))
    }

    #[inline(never)]
    fn any_decimal(&mut self, field: &'static str) -> Result<i64> {
        let text = self.number_text()?;
        match Price::parse_unsigned(text) {
            Ok(price) => Ok(price.raw()),
            Err(source) => Err(Refusal::Number { field, source }.into()),
        }
    }

    /// A whole number of zero or more, from a number or a string.
    ///
    /// # Errors
    /// When it has another form or does not fit `u64`.
    #[inline]
    pub fn unsigned(&mut self, field: &'static str) -> Result<u64> {
        let quoted = self.peek()? == b'"';
        let start = self.at + usize::from(quoted);
        let (mut value, mut at): (u64, usize) = (0, start);
        // Ids and times have 10 to 16 digits: eight at a time, then what is left.
        while at - start < 16
            && let Some(chunk) = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)
        {
            let chunk = u64::from_le_bytes(*chunk);
            let digits = leading_digits(chunk);
            if digits > 0 {
                let aligned = if digits == 8 { chunk } else { chunk << (64 - 8 * digits) | ZEROS >> (8 * digits) };
                value = value * TENS[digits as usize] + eight_digits(aligned);
                at += digits as usize;
            }
            if digits < 8 {
                break;
            }
        }
        while let Some(digit) = self.bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
            && digit <= 9
        {
            // Twenty digits may overflow: the general way sorts those out.
            if at - start == 19 {
                return self.any_unsigned(field);
            }
            value = value * 10 + u64::from(digit);
            at += 1;
        }
        let length = at - start;
        let ends = match self.bytes.get(at) {
            Some(b'"') if quoted => true,
            Some(b',' | b'}' | b']') if !quoted => length == 1 || self.bytes[start] != b'0',
            _ => false,
        };
        if length == 0 || !ends {
            return self.any_unsigned(field);
        }
        self.at = at + usize::from(quoted);
        Ok(value)
    }

    #[inline(never)]
    fn any_unsigned(&mut self, field: &'static str) -> Result<u64> {
        let text = self.number_text()?;
        let whole = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        whole
            .then(|| std::str::from_utf8(text).ok()?.parse().ok())
            .flatten()
            .ok_or_else(|| Refusal::Integer { field, shown: Refusal::shown(text) }.into())
    }

    /// A JSON number that is not in quotes: its text, checked against the grammar.
    pub(super) fn bare_number(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("a number")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        match self.bytes.get(self.at) {
            // A number at the very end may be cut.
            None if self.depth > 0 => Err(Refusal::Truncated { at: self.at }.into()),
            None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') => Ok(&self.bytes[start..self.at]),
            Some(_) => Err(self.unexpected("the number's end")),
        }
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<()> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_way_agrees_with_the_model() {
        let mut random = fastrand::Rng::with_seed(11);
        let alphabet = b"0123456789.-+eE \"x\xef";
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
            if let Some((raw, length)) = plain_decimal(&padded) {
                let read = &padded[..length];
                assert_eq!(
                    Price::parse(read).map(Price::raw),
                    Ok(raw),
                    "seed 11 round {round}: {:?}",
                    String::from_utf8_lossy(read)
                );
            }
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
            assert_eq!(leading_digits(u64::from_le_bytes(*text)), expected, "{text:?}");
        }
        assert_eq!(eight_digits(u64::from_le_bytes(*b"12345678")), 12_345_678);
    }
}
