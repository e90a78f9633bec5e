//! Finds a market by its name: a few words of the name, a multiplication, a comparison.

use model::Instrument;

/// An instrument's text, padded with zeros, as words.
type Words = [u64; 3];

/// Marks an empty place of the table.
const EMPTY: u16 = u16::MAX;

/// Markets by name, numbered in the order of their listing. A table of twice as many places as names, open
/// addressing with linear probing.
#[derive(Debug, Clone)]
pub(super) struct Names {
    words: Vec<Words>,
    table: Vec<u16>,
}

impl Default for Names {
    fn default() -> Self {
        Self { words: Vec::new(), table: vec![EMPTY; 16] }
    }
}

#[inline]
pub(super) fn words_of(instrument: &Instrument) -> Words {
    let bytes = instrument.padded();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    // The last two overlap in one byte, which costs nothing.
    [word(0), word(8), word(15)]
}

impl Names {
    #[inline]
    fn home(&self, words: &Words) -> usize {
        let mixed =
            (words[0] ^ words[1].rotate_left(21) ^ words[2].rotate_left(42)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize & (self.table.len() - 1)
    }

    /// The number of the market with this name.
    #[inline]
    pub(super) fn get(&self, instrument: &Instrument) -> Option<u16> {
        let words = words_of(instrument);
        let mut at = self.home(&words);
        loop {
            let number = self.table[at];
            if number == EMPTY {
                return None;
            }
            if self.words[number as usize] == words {
                return Some(number);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    /// Adds a name that is not there, with the next number.
    pub(super) fn insert(&mut self, instrument: &Instrument) {
        self.words.push(words_of(instrument));
        if self.words.len() * 2 > self.table.len() {
            self.table = vec![EMPTY; self.table.len() * 2];
            (0..self.words.len()).for_each(|number| self.place(number));
        } else {
            self.place(self.words.len() - 1);
        }
    }

    fn place(&mut self, number: usize) {
        let mut at = self.home(&self.words[number]);
        while self.table[at] != EMPTY {
            at = (at + 1) & (self.table.len() - 1);
        }
        self.table[at] = number as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_names_are_kept_apart() {
        let name = |at: usize| format!("C{at}-USDT").parse::<Instrument>().expect("an instrument");
        let mut names = Names::default();
        for at in 0..1_024 {
            assert_eq!(names.get(&name(at)), None);
            names.insert(&name(at));
        }
        for at in 0..1_024 {
            assert_eq!(names.get(&name(at)), Some(at as u16));
        }
        assert_eq!(names.get(&"C1-USD".parse().expect("an instrument")), None);
    }
}
