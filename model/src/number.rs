//! Exact decimal numbers: fixed point in units of 1e-8 (`Price`, `Quantity`, `Volume`) or 1e-16 (`Notional`).
//!
//! A number that does not fit exactly is refused, never rounded. Text is the only form that crosses a wire.

use std::fmt;
use std::str::FromStr;

/// Decimal places of [`Price`], [`Quantity`] and [`Volume`].
const PLACES: u32 = 8;
/// One, in units of 1e-8.
const ONE: i64 = 100_000_000;
/// Raw values of `Price` and `Quantity` stay below this magnitude, so that they fit Decimal128(18,8).
const RAW_LIMIT: i64 = 1_000_000_000_000_000_000;
/// Longer text is refused unread: no venue sends it and no exact value needs it.
const TEXT_LEN_MAX: usize = 64;

/// Why a text is not an exact number of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not `[-]digits[.digits][e[+-]digits]` in ASCII.
    #[error("{0:?} is not a decimal number")]
    Syntax(String),
    /// More than eight decimal places that are not zero.
    #[error("{0} has more than 8 decimal places")]
    TooPrecise(String),
    /// At or beyond the magnitude limit of the type.
    #[error("{0} is out of range: magnitude must stay below 10^10")]
    OutOfRange(String),
    /// The sign is not allowed here.
    #[error("{0} is negative")]
    Negative(String),
    /// Longer than any number we accept.
    #[error("a number of {0} bytes is too long: at most 64")]
    TooLong(usize),
}

/// What a scan of the text found: `digits` scaled to 1e-8, with its sign.
fn parse_raw(text: &[u8]) -> Result<i64, NumberError> {
    // The form venues send by the million: digits, a point, at most eight digits.
    let (negative, unsigned) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut value: i64 = 0;
    let mut position = 0;
    if unsigned.len() <= 18 {
        while position < unsigned.len() && unsigned[position].is_ascii_digit() {
            value = value * 10 + i64::from(unsigned[position] - b'0');
            position += 1;
        }
        let whole_digits = position;
        if whole_digits > 0 && whole_digits <= 10 {
            if position == unsigned.len() {
                value *= ONE;
                return Ok(if negative { -value } else { value });
            }
            let fraction = &unsigned[position + 1..];
            if unsigned[position] == b'.' && !fraction.is_empty() && fraction.len() <= PLACES as usize {
                let mut ok = true;
                for digit in fraction {
                    ok &= digit.is_ascii_digit();
                    value = value.wrapping_mul(10).wrapping_add(i64::from(digit.wrapping_sub(b'0')));
                }
                if ok {
                    value *= POW10[PLACES as usize - fraction.len()];
                    return Ok(if negative { -value } else { value });
                }
            }
        }
    }
    parse_general(text, negative, unsigned)
}

const POW10: [i64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

#[cold]
fn parse_general(text: &[u8], negative: bool, unsigned: &[u8]) -> Result<i64, NumberError> {
    if text.len() > TEXT_LEN_MAX {
        return Err(NumberError::TooLong(text.len()));
    }
    let shown = || String::from_utf8_lossy(text).into_owned();
    let syntax = || NumberError::Syntax(shown());
    let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..]).ok_or_else(syntax)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => {
            let fraction = &mantissa[at + 1..];
            if fraction.is_empty() {
                return Err(syntax());
            }
            (&mantissa[..at], fraction)
        }
        None => (mantissa, &mantissa[..0]),
    };
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(syntax());
    }
    // value = digits x 10^(exponent - fraction.len()); scaled by 10^8.
    let mut digits = whole.iter().chain(fraction).skip_while(|byte| **byte == b'0').copied().collect::<Vec<u8>>();
    if digits.is_empty() {
        return Ok(0);
    }
    let mut shift = exponent + i64::from(PLACES) - fraction.len() as i64;
    while shift < 0 && digits.last() == Some(&b'0') {
        digits.pop();
        shift += 1;
    }
    if shift < 0 {
        return Err(NumberError::TooPrecise(shown()));
    }
    if digits.len() as i64 + shift > 18 {
        return Err(NumberError::OutOfRange(shown()));
    }
    let value = digits.iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    let value = value * 10i64.pow(shift as u32);
    Ok(if negative { -value } else { value })
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Far past any exponent that could fit; saturating keeps 1e999 a range error, not an overflow.
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(100_000));
    Some(if negative { -value } else { value })
}

/// Writes `raw` x 10^-`places` in its shortest exact form.
fn write_decimal(raw: i128, places: usize, out: &mut impl fmt::Write) -> fmt::Result {
    let mut buffer = [0u8; 60];
    let mut at = buffer.len();
    let mut rest = raw.unsigned_abs();
    let mut written = 0;
    let mut significant = false;
    while written < places {
        let digit = (rest % 10) as u8;
        rest /= 10;
        written += 1;
        if digit != 0 || significant {
            significant = true;
            at -= 1;
            buffer[at] = b'0' + digit;
        }
    }
    if significant {
        at -= 1;
        buffer[at] = b'.';
    }
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if raw < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    out.write_str(std::str::from_utf8(&buffer[at..]).expect("digits are ASCII"))
}

/// Appends `raw` x 1e-8 in its shortest exact form: what [`write_decimal`] writes, faster for common sizes.
pub(crate) fn put_decimal(raw: i128, out: &mut Vec<u8>) {
    let Ok(magnitude) = u64::try_from(raw.unsigned_abs()) else {
        let mut text = String::new();
        write_decimal(raw, PLACES as usize, &mut text).expect("writing to a string");
        out.extend_from_slice(text.as_bytes());
        return;
    };
    if raw < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude / ONE as u64).as_bytes());
    let mut fraction = magnitude % ONE as u64;
    if fraction == 0 {
        return;
    }
    let mut digits = *b".00000000";
    let mut len = 1;
    for (at, digit) in digits.iter_mut().enumerate().skip(1).rev() {
        *digit = b'0' + (fraction % 10) as u8;
        if *digit != b'0' && len == 1 {
            len = at + 1;
        }
        fraction /= 10;
    }
    out.extend_from_slice(&digits[..len]);
}

macro_rules! fixed_point {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        ///
        /// Units of 1e-8 in an `i64`; the magnitude stays below 10^18 units.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i64);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);
            /// One.
            pub const ONE: Self = Self(ONE);
            /// The largest value.
            pub const MAX: Self = Self(RAW_LIMIT - 1);

            /// From units of 1e-8; `None` at a magnitude of 10^18 or more.
            pub const fn from_raw(raw: i64) -> Option<Self> {
                if raw > -RAW_LIMIT && raw < RAW_LIMIT { Some(Self(raw)) } else { None }
            }

            /// The value in units of 1e-8.
            pub const fn raw(self) -> i64 {
                self.0
            }

            /// From decimal text, exactly.
            ///
            /// # Errors
            /// When the text is no number, or one that does not fit exactly.
            pub fn parse(text: &[u8]) -> Result<Self, NumberError> {
                parse_raw(text).map(Self)
            }

            /// As [`Self::parse`], and not below zero.
            ///
            /// # Errors
            /// As [`Self::parse`], and for negative numbers, "-0" included.
            pub fn parse_unsigned(text: &[u8]) -> Result<Self, NumberError> {
                if text.first() == Some(&b'-') {
                    parse_raw(text)?;
                    return Err(NumberError::Negative(String::from_utf8_lossy(text).into_owned()));
                }
                Self::parse(text)
            }

            /// The sum, where it is in range.
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                Self::from_raw(self.0 + other.0)
            }

            /// The difference, where it is in range.
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                Self::from_raw(self.0 - other.0)
            }

            /// Whether it is above zero.
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }
        }

        decimal_text!($name, i64, PLACES);

        impl FromStr for $name {
            type Err = NumberError;

            fn from_str(text: &str) -> Result<Self, NumberError> {
                Self::parse(text.as_bytes())
            }
        }
    };
}

/// Display, Debug and serde as decimal text.
macro_rules! decimal_text {
    ($name:ident, $raw:ty, $places:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_decimal(i128::from(self.0), $places as usize, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fixed_point!(Price, "A price: quote units for one base unit.");
fixed_point!(Quantity, "An amount of one asset.");

/// A sum of quantities, in units of 1e-8: Decimal128(38,8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Volume(i128);

/// A sum of price times quantity, in units of 1e-16: Decimal128(38,16).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Notional(i128);

macro_rules! wide {
    ($name:ident, $places:literal) => {
        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// From raw units.
            pub const fn from_raw(raw: i128) -> Self {
                Self(raw)
            }

            /// The value in raw units.
            pub const fn raw(self) -> i128 {
                self.0
            }

            /// The sum, where it is in range.
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The difference, where it is in range.
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Some(Self(difference)),
                    None => None,
                }
            }
        }

        decimal_text!($name, i128, $places);

        impl FromStr for $name {
            type Err = NumberError;

            fn from_str(text: &str) -> Result<Self, NumberError> {
                parse_wide(text.as_bytes(), $places).map(Self)
            }
        }
    };
}

wide!(Volume, 8);
wide!(Notional, 16);

impl Notional {
    /// Price times quantity: exact, since each magnitude is below 10^18.
    pub const fn of(price: Price, quantity: Quantity) -> Self {
        Self(price.0 as i128 * quantity.0 as i128)
    }

    /// This sum over `volume`: a price rounded half to even at 1e-8. `None` when the volume is not above zero
    /// or the quotient is out of range.
    pub fn over(self, volume: Volume) -> Option<Price> {
        if volume.0 <= 0 {
            return None;
        }
        let quotient = round_half_even(self.0, volume.0);
        i64::try_from(quotient).ok().and_then(Price::from_raw)
    }
}

impl From<Quantity> for Volume {
    fn from(quantity: Quantity) -> Self {
        Self(i128::from(quantity.0))
    }
}

/// `numerator / denominator` rounded half to even; `denominator` is above zero.
fn round_half_even(numerator: i128, denominator: i128) -> i128 {
    let quotient = numerator.div_euclid(denominator);
    let twice = numerator.rem_euclid(denominator).unsigned_abs() * 2;
    match twice.cmp(&denominator.unsigned_abs()) {
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
        std::cmp::Ordering::Less => quotient,
    }
}

impl Price {
    /// Rounded half to even to a multiple of `tick`; unchanged when the tick is not above zero.
    pub fn round_to(self, tick: Price) -> Self {
        if tick.0 <= 0 {
            return self;
        }
        let multiple = round_half_even(i128::from(self.0), i128::from(tick.0));
        i64::try_from(multiple * i128::from(tick.0)).ok().and_then(Self::from_raw).unwrap_or(self)
    }

    /// The mean of two prices, rounded half to even at 1e-8.
    pub fn midpoint(self, other: Self) -> Self {
        Self(round_half_even(i128::from(self.0) + i128::from(other.0), 2) as i64)
    }
}

/// Decimal text without exponent into raw units of 10^-`places`.
fn parse_wide(text: &[u8], places: usize) -> Result<i128, NumberError> {
    let shown = || String::from_utf8_lossy(text).into_owned();
    if text.len() > TEXT_LEN_MAX {
        return Err(NumberError::TooLong(text.len()));
    }
    let (negative, unsigned) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut parts = unsigned.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next();
    if whole.is_empty() || fraction.is_some_and(<[u8]>::is_empty) {
        return Err(NumberError::Syntax(shown()));
    }
    let fraction = fraction.unwrap_or_default();
    let kept = fraction.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    if kept > places {
        return Err(NumberError::TooPrecise(shown()));
    }
    let mut value: i128 = 0;
    let padding = std::iter::repeat_n(&b'0', places - kept);
    for digit in whole.iter().chain(&fraction[..kept]).chain(padding) {
        if !digit.is_ascii_digit() {
            return Err(NumberError::Syntax(shown()));
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or_else(|| NumberError::OutOfRange(shown()))?;
    }
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Result<i64, NumberError> {
        Price::parse(text.as_bytes()).map(Price::raw)
    }

    #[test]
    fn exact_texts_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("0.0", 0),
            ("1", ONE),
            ("61837.63000000", 6_183_763_000_000),
            ("0.00001305", 1_305),
            ("-2679.9", -267_990_000_000),
            ("9999999999.99999999", RAW_LIMIT - 1),
            ("1e-8", 1),
            ("1E+3", 1_000 * ONE),
            ("0.5e1", 5 * ONE),
            ("100e-10", 1),
            ("0.0000000100000", 1),
            ("000000000000000001.5", 150_000_000),
        ] {
            assert_eq!(raw(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_exactly_is_refused() {
        for text in [
            "", "-", ".", "1.", ".5", "+1", "NaN", "Infinity", "1 ", " 1", "1_000", "１", "0x10", "1e", "1e+", "--1",
            "1.2.3",
        ] {
            assert!(matches!(raw(text), Err(NumberError::Syntax(_))), "{text}: {:?}", raw(text));
        }
        for text in ["0.000000001", "1e-9", "1.123456789", "1e-999"] {
            assert!(matches!(raw(text), Err(NumberError::TooPrecise(_))), "{text}");
        }
        for text in ["10000000000", "1e10", "1e999", "99999999999999999999", "-10000000000"] {
            assert!(matches!(raw(text), Err(NumberError::OutOfRange(_))), "{text}: {:?}", raw(text));
        }
        assert!(matches!(raw(&"1".repeat(65)), Err(NumberError::TooLong(65))));
        assert!(matches!(Price::parse_unsigned(b"-0"), Err(NumberError::Negative(_))));
    }

    #[test]
    fn text_round_trips_for_random_values() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let value = random.i64(-(RAW_LIMIT - 1)..RAW_LIMIT) >> random.u32(0..60);
            let text = Price(value).to_string();
            assert_eq!(raw(&text), Ok(value), "{text}");
            let wide = i128::from(value) * i128::from(random.i64(1..RAW_LIMIT));
            let text = Notional(wide).to_string();
            assert_eq!(text.parse::<Notional>().map(Notional::raw), Ok(wide), "{text}");
        }
    }

    #[test]
    fn rounding_is_half_to_even() {
        let price = |text: &str| text.parse::<Price>().expect("a price");
        for (value, tick, expected) in
            [("1.005", "0.01", "1"), ("1.015", "0.01", "1.02"), ("1.0051", "0.01", "1.01"), ("-1.005", "0.01", "-1")]
        {
            assert_eq!(price(value).round_to(price(tick)), price(expected), "{value}");
        }
        assert_eq!(price("1").midpoint(price("1.00000001")), price("1"));
        assert_eq!(price("1").midpoint(price("1.00000003")), price("1.00000002"));
    }
}
