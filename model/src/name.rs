//! Short names held inline, so that records copy without allocation.

use std::fmt;
use std::str::FromStr;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than the type holds.
    #[error("a name of {len} bytes is not allowed: 1 to {max}")]
    Length {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character outside ASCII letters, digits and `- _ . / :`.
    #[error("{0:?} has a character that names may not have: ASCII letters, digits and -_./: only")]
    Character(String),
}

/// Bytes that names may have.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        allowed[at] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':');
        at += 1;
    }
    allowed
};

/// A text of 1 to `N` bytes: ASCII letters, digits and `- _ . / :`. Ordered as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<const N: usize> {
    // Zero-padded, which keeps the derived order that of the text.
    bytes: [u8; N],
    len: u8,
}

/// A venue, by the name its source has in `pipeline.yaml`.
pub type Venue = Name<23>;

/// Who writes a root record: `ingest/binance`, `api/1`. One writer per role and partition.
pub type Role = Name<31>;

impl<const N: usize> Name<N> {
    /// Bytes of the longest name.
    pub const LEN_MAX: usize = N;

    /// Checks and holds the text.
    ///
    /// # Errors
    /// When it is empty, too long, or has other characters.
    pub fn new(text: &[u8]) -> Result<Self, NameError> {
        if text.len() <= N && !text.iter().fold(true, |fine, byte| fine & ALLOWED[*byte as usize]) {
            return Err(NameError::Character(String::from_utf8_lossy(text).into_owned()));
        }
        Self::of_allowed(text)
    }

    /// Holds a text whose characters are known to be allowed.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub(crate) fn of_allowed(text: &[u8]) -> Result<Self, NameError> {
        const { assert!(N < 256) };
        if text.is_empty() || text.len() > N {
            return Err(NameError::Length { len: text.len(), max: N });
        }
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Self { bytes, len: text.len() as u8 })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every byte was found in `ALLOWED` when the name was made, so all are ASCII.
        unsafe { std::str::from_utf8_unchecked(self.as_bytes()) }
    }

    /// The text's bytes, followed by zeros: for hashing without looking at the length.
    pub const fn padded(&self) -> &[u8; N] {
        &self.bytes
    }

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

impl<const N: usize> FromStr for Name<N> {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text.as_bytes())
    }
}

impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl<const N: usize> serde::Serialize for Name<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Name<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_ordered_as_text() {
        assert!(Venue::new(b"").is_err());
        assert!(Venue::new(b"twenty-four-letters-long").is_err());
        assert!(Venue::new("bïnance".as_bytes()).is_err());
        assert!(Venue::new(b"a b").is_err());
        let mut venues: Vec<Venue> =
            ["okx", "binance", "ok"].iter().map(|text| text.parse().expect("a venue")).collect();
        venues.sort();
        assert_eq!(venues.iter().map(Venue::as_str).collect::<Vec<_>>(), ["binance", "ok", "okx"]);
    }
}
