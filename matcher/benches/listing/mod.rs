//! The market that the benchmarks of the exchange list, in as many instruments as they like.

use model::exchange::{MarketRules, SelfTrade};
use model::{Instrument, Price, Quantity};

/// Units of 1e-8 in one.
pub(crate) const ONE: i64 = 100_000_000;

/// So many whole units.
pub(crate) fn amount(units: i64) -> Quantity {
    Quantity::from_raw(units * ONE).unwrap()
}

/// Its rules.
pub(crate) fn rules(instrument: Instrument) -> MarketRules {
    MarketRules {
        instrument,
        tick: Price::from_raw(ONE / 100).unwrap(),
        lot: Quantity::from_raw(ONE / 1_000).unwrap(),
        min_notional: Quantity::from_raw(ONE / 1_000).unwrap(),
        max_notional: amount(1_000_000_000),
        max_quantity: amount(10_000),
        band_bps: 5_000,
        protection_bps: 500,
        maker_bps: 2,
        taker_bps: 5,
        self_trade: SelfTrade::CancelNewest,
        reference: Price::from_raw(100 * ONE).unwrap(),
    }
}
