//! Passing over values that a decoder does not use, without letting bad JSON through.

use super::{Reader, Result};
use crate::refusal::Refusal;

impl<'a> Reader<'a> {
    /// Passes over one value of any kind.
    ///
    /// # Errors
    /// When it is not valid JSON.
    #[inline]
    pub fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_nested(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.bare_number().map(drop),
        }
    }

    /// Passes over one value and returns its text, to be read again.
    ///
    /// # Errors
    /// When it is not valid JSON.
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Ok(&self.bytes[start..self.at])
    }

    /// A reader over text that [`Self::raw`] returned.
    pub fn over(raw: &'a [u8]) -> Self {
        Self { bytes: raw, at: 0, depth: 0 }
    }

    /// Recursion is bounded by the depth that `open` counts.
    #[inline(never)]
    fn skip_nested(&mut self) -> Result<()> {
        let (opening, closing, expected) = match self.peek()? {
            b'{' => (b'{', b'}', "a comma or the object's end"),
            _ => (b'[', b']', "a comma or the array's end"),
        };
        self.open(opening, "a value")?;
        if self.peek()? == closing {
            self.close();
            return Ok(());
        }
        loop {
            if opening == b'{' {
                self.skip_string()?;
                self.expect(b':', "a colon")?;
            }
            self.skip()?;
            if self.comma_or(closing, expected)? {
                return Ok(());
            }
        }
    }

    fn skip_string(&mut self) -> Result<()> {
        self.expect(b'"', "a string")?;
        loop {
            self.plain_characters();
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.skip_escape()?,
                Some(_) => return Err(self.unexpected("a character of a string")),
                None => return Err(Refusal::Truncated { at: self.at }.into()),
            }
        }
    }

    fn skip_escape(&mut self) -> Result<()> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.unexpected("a hexadecimal digit"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected("an escape")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &str) -> Result<()> {
        let mut reader = Reader::new(text.as_bytes())?;
        reader.skip()?;
        reader.finish()
    }

    #[test]
    fn valid_values_are_passed_over() {
        for text in [
            "{}",
            "[]",
            " [ 1 , -2.5e+3 , \"a\\u00e9\\n\" , null , true , false , { \"k\\\"\" : [ ] } ] ",
            "\"x\"",
            "0",
            "-0.0",
        ] {
            assert!(skipped(text).is_ok(), "{text}: {:?}", skipped(text));
        }
        let nested = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(skipped(&nested).is_ok());
    }

    #[test]
    fn invalid_ones_are_refused() {
        for text in [
            "",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "--1",
            "NaN",
            "Infinity",
            "tru",
            "nulL",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "1 2",
            "[1 2]",
            "1x",
            "'a'",
            "\u{feff}1",
        ] {
            assert!(skipped(text).is_err(), "{text:?} was accepted");
        }
        let nested = format!("{}{}", "[".repeat(33), "]".repeat(33));
        assert!(skipped(&nested).is_err());
        assert!(Reader::new(b"\"\xff\"").is_err());
    }
}
