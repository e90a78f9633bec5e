//! Ticks and lots as prices and quantities, and the names behind the numbers that outputs carry.

use model::exchange::Asset;
use model::{Instrument, Price, Quantity, Volume};

/// A market's name and what its tick and lot are worth. None of it ever changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) instrument: Instrument,
    /// Raw price of a tick.
    pub(super) tick: i64,
    /// Raw quantity of a lot.
    pub(super) lot: i64,
}

impl Listing {
    #[inline]
    pub(super) fn price(&self, ticks: i64) -> Price {
        ticks.checked_mul(self.tick).and_then(Price::from_raw).unwrap_or(Price::MAX)
    }

    #[inline]
    pub(super) fn quantity(&self, lots: u64) -> Quantity {
        (lots as i64).checked_mul(self.lot).and_then(Quantity::from_raw).unwrap_or(Quantity::MAX)
    }

    #[inline]
    pub(super) fn volume(&self, lots: u64) -> Volume {
        Volume::from_raw(i128::from(lots) * i128::from(self.lot))
    }
}

/// Markets and assets by number: all that outputs need to be read without the exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    pub(super) markets: Vec<Listing>,
    pub(super) assets: Vec<Asset>,
}
