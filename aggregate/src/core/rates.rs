//! Conversion rates between quote assets, as `Rate` records bring them.

use model::{Instrument, Price};

use super::bytes::{Malformed, Reader, put_count, put_i64, put_text};
use super::exact::{ONE, as_price, div_half_even};
use crate::config::{Config, Factor};

/// The rates that the configuration needs, ordered by name.
#[derive(Debug)]
pub(super) struct Rates(Vec<Rate>);

#[derive(Debug, Clone, Copy)]
struct Rate {
    instrument: Instrument,
    /// Zero before the first, and when it was taken back.
    price: i64,
    at: i64,
}

/// A factor with its rates by place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Converter {
    up: Option<usize>,
    down: Option<usize>,
}

/// What prices are multiplied by at a moment: `up / down`, both above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    up: i64,
    down: i64,
}

impl Ratio {
    pub(super) const ONE: Self = Self { up: 1, down: 1 };

    /// A price times this, rounded half to even at 1e-8; none when that is no price.
    pub(super) fn apply(self, price: i64) -> Option<i64> {
        if self == Self::ONE {
            return Some(price);
        }
        as_price(div_half_even(i128::from(price) * i128::from(self.up), i128::from(self.down)))
    }
}

impl Rates {
    pub(super) fn new(config: &Config) -> Self {
        Self(config.rates().into_iter().map(|instrument| Rate { instrument, price: 0, at: i64::MIN }).collect())
    }

    fn place(&self, instrument: Instrument) -> Option<usize> {
        self.0.binary_search_by_key(&instrument, |rate| rate.instrument).ok()
    }

    pub(super) fn needs(&self, instrument: Instrument) -> bool {
        self.place(instrument).is_some()
    }

    /// Takes a rate; false when nothing needs it. Zero takes it back, an older one than is known is left.
    pub(super) fn set(&mut self, instrument: Instrument, price: Price, at: i64) -> bool {
        let Some(place) = self.place(instrument) else { return false };
        let rate = &mut self.0[place];
        if at >= rate.at {
            (rate.price, rate.at) = (price.raw().max(0), at);
        }
        true
    }

    pub(super) fn converter(&self, factor: &Factor) -> Converter {
        let place = |rate: Instrument| self.place(rate);
        match *factor {
            Factor::Par => Converter { up: None, down: None },
            Factor::Times(rate) => Converter { up: place(rate), down: None },
            Factor::Over(rate) => Converter { up: None, down: place(rate) },
            Factor::Cross(up, down) => Converter { up: place(up), down: place(down) },
        }
    }

    /// What prices are multiplied by now; none while a rate is missing or stale.
    pub(super) fn ratio(&self, converter: &Converter, stale_after_ns: i64, now: i64) -> Option<Ratio> {
        let value = |place: Option<usize>| {
            let Some(place) = place else { return Some(ONE as i64) };
            let rate = &self.0[place];
            (rate.price > 0 && now.saturating_sub(rate.at) <= stale_after_ns).then_some(rate.price)
        };
        if converter.up.is_none() && converter.down.is_none() {
            return Some(Ratio::ONE);
        }
        Some(Ratio { up: value(converter.up)?, down: value(converter.down)? })
    }

    /// Forgets times that have not come yet.
    pub(super) fn rewind(&mut self, now: i64) {
        self.0.iter_mut().for_each(|rate| rate.at = rate.at.min(now));
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_count(out, self.0.len());
        for rate in &self.0 {
            put_text(out, rate.instrument.as_str().as_bytes());
            put_i64(out, rate.price);
            put_i64(out, rate.at);
        }
    }

    /// Rates that the configuration does not need are left.
    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..from.count(20)? {
            let (instrument, price, at) = (from.instrument()?, from.price()?, from.i64()?);
            let Some(place) = self.place(instrument) else { continue };
            self.0[place] = Rate { instrument, price: price.raw(), at };
        }
        Ok(())
    }
}
