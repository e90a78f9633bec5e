//! A strict, zero-copy JSON reader for the frames of venues.
//!
//! It walks a frame once, hands out slices of it and numbers in exact form, and refuses what is not JSON:
//! bad UTF-8, truncation, trailing bytes, nesting past [`Reader::DEPTH_MAX`]. Two deliberate limits keep it
//! simple: a string that a decoder uses may not hold an escape (no venue escapes a symbol, side, number or
//! time), and neither may a key of an object that a decoder walks, so that `"\u0070"` cannot pass for `"p"`.
//! Skipped values may hold any valid escape. Doubled keys are refused where a decoder fills a slot twice
//! ([`fill`]).

mod number;
mod skip;

use model::{Price, Quantity, UnixNanos, Volume};

use crate::refusal::{DecodeError, Refusal};

type Result<T> = std::result::Result<T, DecodeError>;

/// A cursor over one JSON text.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
}

/// Puts `value` into `slot`; a second value for the same field is refused.
///
/// # Errors
/// [`Refusal::Duplicate`] when the slot is taken.
#[inline]
pub fn fill<T>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<()> {
    if slot.is_some() {
        return Err(Refusal::Duplicate { field }.into());
    }
    *slot = Some(value);
    Ok(())
}

/// The value of a field that the frame must have.
///
/// # Errors
/// [`Refusal::Missing`] when it has not.
#[inline]
pub fn need<T>(slot: Option<T>, field: &'static str) -> Result<T> {
    match slot {
        Some(value) => Ok(value),
        None => Err(Refusal::Missing { field }.into()),
    }
}

impl<'a> Reader<'a> {
    /// Nesting of objects and arrays, at most.
    pub const DEPTH_MAX: u8 = 32;

    /// A reader at the start of `frame`.
    ///
    /// # Errors
    /// [`Refusal::NotUtf8`].
    #[inline]
    pub fn new(frame: &'a [u8]) -> Result<Self> {
        match simdutf8::basic::from_utf8(frame) {
            Ok(_) => Ok(Self { bytes: frame, at: 0, depth: 0 }),
            Err(_) => Err(Self::not_utf8(frame)),
        }
    }

    /// The quick check says only that something is wrong; this one says where.
    #[cold]
    fn not_utf8(frame: &[u8]) -> DecodeError {
        let at = std::str::from_utf8(frame).map_or_else(|error| error.valid_up_to(), |_| frame.len());
        Refusal::NotUtf8 { at }.into()
    }

    /// The next byte that is not white space, left in place.
    ///
    /// # Errors
    /// [`Refusal::Truncated`] at the end of the text.
    #[inline]
    pub fn peek(&mut self) -> Result<u8> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte > b' ' => Ok(*byte),
            _ => self.peek_past_space(),
        }
    }

    fn peek_past_space(&mut self) -> Result<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Refusal::Truncated { at: self.at }.into()),
            }
        }
    }

    /// Whether the next value is `null`; takes it when it is.
    ///
    /// # Errors
    /// When the text ends here or `null` is cut.
    pub fn null(&mut self) -> Result<bool> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.literal(b"null")?;
        Ok(true)
    }

    /// Nothing but white space may follow.
    ///
    /// # Errors
    /// [`Refusal::Unexpected`] when something does.
    #[inline]
    pub fn finish(&mut self) -> Result<()> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        match self.peek_past_space() {
            Ok(_) => Err(self.unexpected("the end")),
            Err(_) => Ok(()),
        }
    }

    /// Walks an object: `field` is called with each key and must take the value.
    ///
    /// # Errors
    /// When the text is no object, or what `field` returns.
    #[inline]
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &'a [u8]) -> Result<()>) -> Result<()> {
        self.open(b'{', "an object")?;
        if self.peek()? == b'}' {
            self.close();
            return Ok(());
        }
        loop {
            let key = self.text()?;
            self.expect(b':', "a colon")?;
            field(self, key)?;
            if self.comma_or(b'}', "a comma or the object's end")? {
                return Ok(());
            }
        }
    }

    /// Walks an array: `element` is called at each element and must take it.
    ///
    /// # Errors
    /// When the text is no array, or what `element` returns.
    #[inline]
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open(b'[', "an array")?;
        if self.peek()? == b']' {
            self.close();
            return Ok(());
        }
        loop {
            element(self)?;
            if self.comma_or(b']', "a comma or the array's end")? {
                return Ok(());
            }
        }
    }

    /// Takes an opening bracket and counts the depth.
    #[inline]
    pub(crate) fn open(&mut self, bracket: u8, expected: &'static str) -> Result<()> {
        self.expect(bracket, expected)?;
        self.depth += 1;
        if self.depth > Self::DEPTH_MAX {
            return Err(Refusal::TooDeep { at: self.at, max: Self::DEPTH_MAX }.into());
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Takes a comma (false) or the closing bracket (true).
    #[inline]
    pub(crate) fn comma_or(&mut self, bracket: u8, expected: &'static str) -> Result<bool> {
        let byte = self.peek()?;
        if byte == b',' {
            self.at += 1;
            Ok(false)
        } else if byte == bracket {
            self.close();
            Ok(true)
        } else {
            Err(self.unexpected(expected))
        }
    }

    /// Takes `byte`, after white space.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<()> {
        if self.peek()? != byte {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// A string without escapes, without its quotes.
    ///
    /// # Errors
    /// When the next value is none.
    #[inline]
    pub fn text(&mut self) -> Result<&'a [u8]> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        // Keys of one letter, and short words: a step a byte is quickest.
        while let Some(byte) = self.bytes.get(self.at)
            && *byte >= b' '
            && !matches!(byte, b'"' | b'\\')
        {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'"') => {}
            Some(b'\\') => return Err(Refusal::Escape { at: self.at }.into()),
            Some(_) => return Err(self.unexpected("a character of a string")),
            None => return Err(Refusal::Truncated { at: self.at }.into()),
        }
        let text = &self.bytes[start..self.at];
        self.at += 1;
        Ok(text)
    }

    /// Passes over characters of a string up to a quote, an escape, a control character or the text's end.
    #[inline]
    fn plain_characters(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
        while let Some(chunk) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            // Each expression has the high bit of the first byte that matches, and none before it.
            let chunk = u64::from_le_bytes(*chunk);
            let quote = chunk ^ (ONES * b'"' as u64);
            let escape = chunk ^ (ONES * b'\\' as u64);
            let marks = quote.wrapping_sub(ONES) & !quote
                | escape.wrapping_sub(ONES) & !escape
                | chunk.wrapping_sub(ONES * b' ' as u64) & !chunk;
            let marks = marks & HIGH_BITS;
            if marks != 0 {
                self.at += marks.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.bytes.get(self.at).is_some_and(|byte| *byte >= b' ' && !matches!(byte, b'"' | b'\\')) {
            self.at += 1;
        }
    }

    /// A number, or a string holding one: the text as it was sent.
    ///
    /// # Errors
    /// When the next value is neither a JSON number nor a string.
    #[inline]
    pub fn number_text(&mut self) -> Result<&'a [u8]> {
        if self.peek()? == b'"' { self.text() } else { self.bare_number() }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When the next value is neither.
    #[inline]
    pub fn bool(&mut self) -> Result<bool> {
        match self.peek()? {
            b't' => self.literal(b"true").map(|()| true),
            b'f' => self.literal(b"false").map(|()| false),
            _ => Err(self.unexpected("true or false")),
        }
    }

    #[inline]
    fn literal(&mut self, word: &'static [u8]) -> Result<()> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        if word.starts_with(rest) {
            return Err(Refusal::Truncated { at: self.bytes.len() }.into());
        }
        Err(self.unexpected("true, false or null"))
    }

    /// A price above zero, from a number or a string.
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is not above zero.
    #[inline]
    pub fn price(&mut self, field: &'static str) -> Result<Price> {
        let raw = self.decimal(field)?;
        match Price::from_raw(raw) {
            Some(price) if raw > 0 => Ok(price),
            _ => Err(Refusal::NotPositive { field }.into()),
        }
    }

    /// A quantity above zero, from a number or a string.
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is not above zero.
    #[inline]
    pub fn quantity(&mut self, field: &'static str) -> Result<Quantity> {
        let raw = self.decimal(field)?;
        match Quantity::from_raw(raw) {
            Some(quantity) if raw > 0 => Ok(quantity),
            _ => Err(Refusal::NotPositive { field }.into()),
        }
    }

    /// A price of zero or more: zero means "none on this side".
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is negative.
    #[inline]
    pub fn price_or_zero(&mut self, field: &'static str) -> Result<Price> {
        // `decimal` keeps the range of `Price`.
        self.decimal(field).map(|raw| Price::from_raw(raw).unwrap_or_default())
    }

    /// A quantity of zero or more.
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is negative.
    #[inline]
    pub fn quantity_or_zero(&mut self, field: &'static str) -> Result<Quantity> {
        self.decimal(field).map(|raw| Quantity::from_raw(raw).unwrap_or_default())
    }

    /// A volume of zero or more, in up to 38 digits. Decimals past the eighth are refused unless they are zero.
    ///
    /// # Errors
    /// When it is no number, does not fit exactly, or is negative.
    pub fn volume(&mut self, field: &'static str) -> Result<Volume> {
        let text = self.number_text()?;
        let text = std::str::from_utf8(text).unwrap_or_default();
        let volume: Volume = text.parse().map_err(|source| Refusal::Number { field, source })?;
        if volume < Volume::ZERO || text.starts_with('-') {
            return Err(Refusal::Negative { field }.into());
        }
        Ok(volume)
    }

    /// Unix milliseconds, from a number or a string.
    ///
    /// # Errors
    /// When it is no whole number or out of range.
    #[inline]
    pub fn millis(&mut self, field: &'static str) -> Result<UnixNanos> {
        let millis = self.unsigned(field)?;
        i64::try_from(millis)
            .ok()
            .and_then(|millis| UnixNanos::from_millis(millis).ok())
            .ok_or_else(|| Refusal::time(field, &millis))
    }

    /// Unix microseconds, from a number or a string.
    ///
    /// # Errors
    /// When it is no whole number or out of range.
    pub fn micros(&mut self, field: &'static str) -> Result<UnixNanos> {
        let micros = self.unsigned(field)?;
        i64::try_from(micros)
            .ok()
            .and_then(|micros| UnixNanos::from_micros(micros).ok())
            .ok_or_else(|| Refusal::time(field, &micros))
    }

    /// An RFC 3339 date-time in a string.
    ///
    /// # Errors
    /// When it is none or out of range.
    pub fn rfc3339(&mut self, field: &'static str) -> Result<UnixNanos> {
        let text = self.text()?;
        UnixNanos::parse_rfc3339(text).map_err(|_| Refusal::time(field, &String::from_utf8_lossy(text)))
    }

    #[cold]
    pub(crate) fn unexpected(&self, expected: &'static str) -> DecodeError {
        match self.bytes.get(self.at) {
            Some(byte) => Refusal::Unexpected { at: self.at, found: char::from(*byte), expected }.into(),
            None => Refusal::Truncated { at: self.at }.into(),
        }
    }
}
