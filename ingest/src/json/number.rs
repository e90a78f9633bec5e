//! Numbers: the forms that venues send by the million in a few instructions, every other through `model`.

use model::{Price, digits};

use super::{Reader, Result};
use crate::refusal::Refusal;

impl<'a> Reader<'a> {
    /// A number of zero or more, exactly, in units of 1e-8 and below 10^18 of them; from a number or a string.
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is negative ("-0" included).
    #[inline]
    pub fn decimal(&mut self, field: &'static str) -> Result<i64> {
        if self.peek()? == b'"' {
            let start = self.at + 1;
            if let Some((raw, length)) = digits::decimal(&self.bytes[start..])
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
        let (price, price_length) = digits::decimal(rest)?;
        let after = rest.get(price_length..)?.strip_prefix(b"\",\"")?;
        let (quantity, quantity_length) = digits::decimal(after)?;
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
        // More digits than surely fit: the general way sorts those out.
        let Some((value, length)) = digits::unsigned(&self.bytes[start..]) else { return self.any_unsigned(field) };
        let at = start + length;
        let ends = match self.bytes.get(at) {
            Some(b'"') if quoted => true,
            Some(b',' | b'}' | b']') if !quoted => length == 1 || self.bytes[start] != b'0',
            _ => false,
        };
        if !ends {
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
