//! What is traded: a base asset priced in a quote asset.

use std::fmt;
use std::str::FromStr;

use crate::name::{Name, NameError};

/// Why a text names no instrument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentError {
    /// Not `BASE-QUOTE`.
    #[error("{0:?} is not an instrument: BASE-QUOTE in capital letters and digits, as in BTC-USDT")]
    Form(String),
    /// Too long, or with other characters.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Bytes that assets' names may have. A table, since instruments are read by the million.
const IN_ASSETS: [bool; 256] = {
    let mut all = [false; 256];
    let mut at = 0;
    while at < 256 {
        all[at] = (at as u8).is_ascii_uppercase() || (at as u8).is_ascii_digit();
        at += 1;
    }
    all
};

/// A spot instrument, `BASE-QUOTE`. USD, USDT and USDC are different quotes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instrument {
    name: Name<23>,
    dash: u8,
}

impl Instrument {
    /// Reads `BASE-QUOTE`: capital ASCII letters and digits, each side 1 to 20 of them, 23 in all with the dash.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn new(text: &[u8]) -> Result<Self, InstrumentError> {
        let form = || InstrumentError::Form(String::from_utf8_lossy(text).chars().take(40).collect());
        let dash = text.iter().position(|byte| *byte == b'-').ok_or_else(form)?;
        let fine = |asset: &[u8]| asset.iter().fold(!asset.is_empty(), |fine, byte| fine & IN_ASSETS[*byte as usize]);
        if !fine(&text[..dash]) || !fine(&text[dash + 1..]) {
            return Err(form());
        }
        Ok(Self { name: Name::of_allowed(text)?, dash: dash as u8 })
    }

    /// `BASE-QUOTE`.
    pub fn as_str(&self) -> &str {
        self.name.as_str()
    }

    /// The text's bytes, followed by zeros: for hashing and comparing without looking at the length.
    pub const fn padded(&self) -> &[u8; 23] {
        self.name.padded()
    }

    /// The asset that is priced.
    pub fn base(&self) -> &str {
        &self.as_str()[..self.dash as usize]
    }

    /// The asset that the price is in.
    pub fn quote(&self) -> &str {
        &self.as_str()[self.dash as usize + 1..]
    }
}

impl FromStr for Instrument {
    type Err = InstrumentError;

    fn from_str(text: &str) -> Result<Self, InstrumentError> {
        Self::new(text.as_bytes())
    }
}

impl fmt::Display for Instrument {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl fmt::Debug for Instrument {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl serde::Serialize for Instrument {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Instrument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_read() {
        let instrument: Instrument = "BTC-USDT".parse().expect("an instrument");
        assert_eq!((instrument.base(), instrument.quote()), ("BTC", "USDT"));
        for bad in [
            "",
            "-",
            "BTC",
            "BTC-",
            "-USDT",
            "btc-usdt",
            "BTC-USD-T",
            "BTC/USDT",
            "BTC-ＵSD",
            "ABCDEFGHIJKLMNOPQRST-USDT",
        ] {
            assert!(bad.parse::<Instrument>().is_err(), "{bad}");
        }
    }
}
