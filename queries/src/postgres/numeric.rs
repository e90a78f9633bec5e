//! Decimals of all 38 digits: `arrow-pg` takes those that fit 96 bits only.

use std::error::Error;
use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use pgwire::types::ToSqlText;
use pgwire::types::format::FormatOptions;
use postgres_types::{IsNull, ToSql, to_sql_checked};

/// A decimal, or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numeric {
    pub(super) value: Option<i128>,
    /// Digits after the point.
    pub(super) scale: u8,
}

/// Decimal digits in a group of the binary form.
const GROUP: usize = 4;

impl Numeric {
    /// Digits before and after the point.
    fn parts(value: i128, scale: usize) -> (String, String) {
        let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        (whole.to_owned(), part.to_owned())
    }

    /// Postgres' binary form: groups of four digits, how far the first stands before the point, sign, scale.
    fn binary(value: i128, scale: usize) -> Vec<u8> {
        let (whole, part) = Self::parts(value, scale);
        let whole = format!("{}{whole}", "0".repeat(whole.len().next_multiple_of(GROUP) - whole.len()));
        let part = format!("{part}{}", "0".repeat(part.len().next_multiple_of(GROUP) - part.len()));
        let mut weight = (whole.len() / GROUP) as i16 - 1;
        let all = whole + &part;
        let mut groups: Vec<i16> = all
            .as_bytes()
            .chunks(GROUP)
            .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
            .collect();
        while groups.first() == Some(&0) {
            groups.remove(0);
            weight -= 1;
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        let sign = if value < 0 { 0x4000 } else { 0 };
        let head = [groups.len() as i16, weight, sign, scale as i16];
        head.into_iter().chain(groups).flat_map(i16::to_be_bytes).collect()
    }
}

impl ToSqlText for Numeric {
    fn to_sql_text(
        &self,
        _type: &Type,
        out: &mut BytesMut,
        _options: &FormatOptions,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(value) = self.value else { return Ok(IsNull::Yes) };
        let (whole, part) = Self::parts(value, usize::from(self.scale));
        let sign = if value < 0 { "-" } else { "" };
        write!(out, "{sign}{whole}")?;
        if !part.is_empty() {
            write!(out, ".{part}")?;
        }
        Ok(IsNull::No)
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(value) = self.value else { return Ok(IsNull::Yes) };
        out.put_slice(&Self::binary(value, usize::from(self.scale)));
        Ok(IsNull::No)
    }

    fn accepts(data_type: &Type) -> bool {
        *data_type == Type::NUMERIC
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: i128, scale: u8) -> String {
        let mut out = BytesMut::new();
        let numeric = Numeric { value: Some(value), scale };
        numeric.to_sql_text(&Type::NUMERIC, &mut out, &FormatOptions::default()).expect("it is written");
        String::from_utf8(out.to_vec()).expect("digits")
    }

    #[test]
    fn all_digits_are_there() {
        assert_eq!(text(125_000_000, 8), "1.25000000");
        assert_eq!(text(-1, 8), "-0.00000001");
        assert_eq!(text(7, 0), "7");
        assert_eq!(text(10_i128.pow(38) - 1, 16), format!("{}.{}", "9".repeat(22), "9".repeat(16)));
        let words = |value, scale| -> Vec<i16> {
            Numeric::binary(value, scale).chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect()
        };
        // 12345.678
        assert_eq!(words(12_345_678, 3), [3, 1, 0, 3, 1, 2345, 6780]);
        assert_eq!(words(-1, 8), [1, -2, 0x4000, 8, 1]);
        assert_eq!(words(0, 8), [0, 0, 0, 8]);
        assert_eq!(words(10_000, 0), [1, 1, 0, 0, 1]);
    }
}
