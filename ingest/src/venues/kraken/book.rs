//! The ten best levels of each side, and the checksum that proves them.
//!
//! The checksum is the CRC-32 of a text: the ten best asks, then the ten best bids, of each the price and the
//! quantity as they were sent, without the point and without leading zeros. That text is each number's digits
//! read as a whole number, so that is what is kept.

use model::{NumberError, Price};

use super::DEPTH;
use crate::book::Top;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

/// A number as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    /// Units of 1e-8.
    raw: i64,
    /// Its digits as a whole number.
    digits: u64,
}

/// One level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    price: Sent,
    quantity: Sent,
}

/// Updates or a whole book, as a frame has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    pub(super) bids: Vec<Line>,
    pub(super) asks: Vec<Line>,
}

#[derive(Debug, Default)]
pub(super) struct ProvenBook {
    // Best first.
    bids: Vec<Line>,
    asks: Vec<Line>,
    /// A snapshot was taken and every checksum since was right.
    whole: bool,
    text: Vec<u8>,
}

impl ProvenBook {
    /// Takes a snapshot or an update; whether the book then has this checksum. Updates before a snapshot leave
    /// it as it is: not whole.
    pub(super) fn apply(&mut self, lines: &Lines, is_snapshot: bool, checksum: u64) -> bool {
        if is_snapshot {
            self.bids.clear();
            self.asks.clear();
        } else if !self.whole {
            return false;
        }
        for line in &lines.bids {
            set(&mut self.bids, *line, |ours, new| ours > new);
        }
        for line in &lines.asks {
            set(&mut self.asks, *line, |ours, new| ours < new);
        }
        self.bids.truncate(DEPTH);
        self.asks.truncate(DEPTH);
        self.whole = u64::from(self.checksum()) == checksum && !self.top().crossed();
        self.whole
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn reset(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.whole = false;
    }

    pub(super) fn top(&self) -> Top {
        let mut top = Top::default();
        if let Some(bid) = self.bids.first() {
            (top.bid, top.bid_quantity) = (bid.price.raw, bid.quantity.raw);
        }
        if let Some(ask) = self.asks.first() {
            (top.ask, top.ask_quantity) = (ask.price.raw, ask.quantity.raw);
        }
        top
    }

    fn checksum(&mut self) -> u32 {
        self.text.clear();
        for line in self.asks.iter().chain(&self.bids) {
            put_digits(&mut self.text, line.price.digits);
            put_digits(&mut self.text, line.quantity.digits);
        }
        crc32fast::hash(&self.text)
    }
}

/// Sets one level; `before` says whether our price comes before the new one.
fn set(side: &mut Vec<Line>, line: Line, before: impl Fn(i64, i64) -> bool) {
    let at = side.partition_point(|ours| before(ours.price.raw, line.price.raw));
    let is_there = side.get(at).is_some_and(|ours| ours.price.raw == line.price.raw);
    match (is_there, line.quantity.raw) {
        (true, 0) => drop(side.remove(at)),
        (true, _) => side[at] = line,
        (false, 0) => {}
        (false, _) => side.insert(at, line),
    }
}

fn put_digits(out: &mut Vec<u8>, mut value: u64) {
    if value == 0 {
        return;
    }
    let start = out.len();
    while value > 0 {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
    }
    out[start..].reverse();
}

/// Levels of one side in a frame, at most: the venue's deepest book has 1,000.
const LINES_MAX: usize = 10_000;

/// Reads `[{"price":…,"qty":…},…]`.
pub(super) fn read_lines(reader: &mut Reader<'_>, out: &mut Vec<Line>) -> Result<(), DecodeError> {
    reader.array(|reader| {
        let (mut price, mut quantity) = (None, None);
        reader.object(|reader, key| match key {
            b"price" => fill(&mut price, "price", sent(reader, "price")?),
            b"qty" => fill(&mut quantity, "qty", sent(reader, "qty")?),
            _ => reader.skip(),
        })?;
        let (price, quantity) = (need(price, "price")?, need(quantity, "qty")?);
        if price.raw == 0 {
            return Err(Refusal::NotPositive { field: "price" }.into());
        }
        if out.len() >= LINES_MAX {
            return Err(Refusal::TooMany { what: "levels", count: out.len() + 1, max: LINES_MAX }.into());
        }
        out.push(Line { price, quantity });
        Ok(())
    })
}

fn sent(reader: &mut Reader<'_>, field: &'static str) -> Result<Sent, DecodeError> {
    let text = reader.number_text()?;
    let number = Price::parse_unsigned(text).map_err(|source| Refusal::Number { field, source })?;
    let mut digits: u64 = 0;
    for byte in text.iter().filter(|byte| **byte != b'.') {
        // An exponent would leave the checksum's text open.
        let digit = u64::from(byte.wrapping_sub(b'0'));
        let longer = (digit <= 9).then(|| digits.checked_mul(10)?.checked_add(digit)).flatten();
        digits = longer.ok_or_else(|| Refusal::Number { field, source: NumberError::Syntax(Refusal::shown(text)) })?;
    }
    Ok(Sent { raw: number.raw(), digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        let mut out = Vec::new();
        read_lines(&mut Reader::new(text.as_bytes()).expect("text"), &mut out).expect("levels");
        out
    }

    #[test]
    fn digits_are_those_of_the_text() {
        let line = lines(r#"[{"price":0.05005,"qty":0.00000500}]"#)[0];
        assert_eq!((line.price.digits, line.quantity.digits), (5_005, 500));
        assert_eq!((line.price.raw, line.quantity.raw), (5_005_000, 500));
    }

    #[test]
    fn the_documented_example_of_the_guide_holds() {
        // "45283.5", "0.10000000" gives "452835" and "10000000": CRC-32 of their concatenation.
        let mut book = ProvenBook::default();
        let asks = lines(r#"[{"price":45283.5,"qty":0.10000000}]"#);
        let expected = u64::from(crc32fast::hash(b"45283510000000"));
        assert!(book.apply(&Lines { bids: vec![], asks }, true, expected));
        assert!(!book.apply(&Lines::default(), false, expected + 1), "another checksum breaks it");
        assert!(!book.apply(&Lines::default(), false, expected), "and it stays broken until a snapshot");
    }
}
