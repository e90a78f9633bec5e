//! What the simulated venues list: instruments with their levels, steps and volumes.

use model::{Instrument, Price, Quantity};

use super::fair::Motion;

/// A listed instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentConfig {
    /// What is traded.
    pub instrument: Instrument,
    /// Fair price at the start.
    pub price: Price,
    /// Price step.
    pub tick: Price,
    /// Quantity step.
    pub lot: Quantity,
    /// Base units traded in 24 h on all venues together.
    pub volume_24h: Quantity,
    /// Trades and quotes per second on each venue.
    pub ticks_per_second: u32,
    /// How the fair price moves.
    pub motion: Motion,
}

/// Why an instrument cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentConfigError {
    /// A figure that must be above zero is not.
    #[error("{field} of {instrument} not allowed: {value}, must be above 0")]
    NotPositive {
        /// The instrument.
        instrument: Instrument,
        /// Which figure.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// Tick times lot has more than 8 decimal places.
    #[error("tick {tick} times lot {lot} of {instrument} not allowed: more than 8 decimal places")]
    TooFine {
        /// The instrument.
        instrument: Instrument,
        /// Its price step.
        tick: Price,
        /// Its quantity step.
        lot: Quantity,
    },
    /// The price is too few steps above zero for a book to be drawn below it.
    #[error("price {price} of {instrument} not allowed: must be at least 1000 ticks of {tick}")]
    TooFewTicks {
        /// The instrument.
        instrument: Instrument,
        /// Its price.
        price: Price,
        /// Its price step.
        tick: Price,
    },
    /// More ticks per second than one instrument is simulated with.
    #[error("ticks_per_second {value} of {instrument} not allowed: 1 to 100000")]
    Rate {
        /// The instrument.
        instrument: Instrument,
        /// Ticks per second asked for.
        value: u32,
    },
}

impl InstrumentConfig {
    /// An instrument with the figures of [`defaults`] when it or its base is listed there, else with a price
    /// of 100, a tick of 0.01 and a lot of 0.001.
    pub fn named(instrument: Instrument) -> Self {
        let known = defaults();
        let found = known
            .iter()
            .find(|known| known.instrument == instrument)
            .or_else(|| known.iter().find(|known| known.instrument.base() == instrument.base()));
        match found {
            Some(found) => Self { instrument, ..found.clone() },
            None => listing(instrument.as_str(), "100", "0.01", "0.001", "100000", 20, COIN),
        }
    }

    /// Every reason why the instrument cannot be simulated.
    pub fn problems(&self) -> Vec<InstrumentConfigError> {
        let instrument = self.instrument;
        let figures = [
            ("price", self.price.raw(), self.price.to_string()),
            ("tick", self.tick.raw(), self.tick.to_string()),
            ("lot", self.lot.raw(), self.lot.to_string()),
            ("volume_24h", self.volume_24h.raw(), self.volume_24h.to_string()),
        ];
        let mut problems: Vec<_> = figures
            .into_iter()
            .filter(|(_, raw, _)| *raw <= 0)
            .map(|(field, _, value)| InstrumentConfigError::NotPositive { instrument, field, value })
            .collect();
        if problems.is_empty() {
            if i128::from(self.tick.raw()) * i128::from(self.lot.raw()) % 100_000_000 != 0 {
                problems.push(InstrumentConfigError::TooFine { instrument, tick: self.tick, lot: self.lot });
            }
            if self.price.raw() / self.tick.raw() < 1_000 {
                problems.push(InstrumentConfigError::TooFewTicks { instrument, price: self.price, tick: self.tick });
            }
        }
        if !(1..=100_000).contains(&self.ticks_per_second) {
            problems.push(InstrumentConfigError::Rate { instrument, value: self.ticks_per_second });
        }
        problems
    }
}

const COIN: Motion = Motion {
    volatility_bps_per_day: 350,
    drift_bps_per_day: 0,
    reversion_ppb: 300,
    jumps_per_day: 24,
    jump_bps_max: 25,
};

/// A coin that keeps to one dollar: small moves, made up within a minute.
const PEGGED: Motion = Motion {
    volatility_bps_per_day: 60,
    drift_bps_per_day: 0,
    reversion_ppb: 115_000,
    jumps_per_day: 2,
    jump_bps_max: 2,
};

/// The ten instruments of the demonstration.
pub fn defaults() -> Vec<InstrumentConfig> {
    vec![
        listing("BTC-USDT", "78850", "0.01", "0.00001", "30000", 60, COIN),
        listing("ETH-USDT", "2650", "0.01", "0.0001", "450000", 40, COIN),
        listing("USDT-USD", "0.9998", "0.0001", "0.01", "150000000", 10, PEGGED),
        listing("XRP-USDT", "2.15", "0.0001", "0.1", "180000000", 20, COIN),
        listing("BNB-USDT", "655", "0.01", "0.001", "250000", 20, COIN),
        listing("SOL-USDT", "142", "0.01", "0.001", "4000000", 20, COIN),
        listing("USDC-USDT", "1.0001", "0.0001", "0.01", "900000000", 10, PEGGED),
        listing("DOGE-USDT", "0.165", "0.00001", "1", "1200000000", 20, COIN),
        listing("ADA-USDT", "0.65", "0.0001", "0.1", "120000000", 20, COIN),
        listing("TRX-USDT", "0.345", "0.0001", "0.1", "600000000", 20, COIN),
    ]
}

fn listing(
    name: &str,
    price: &str,
    tick: &str,
    lot: &str,
    volume_24h: &str,
    ticks_per_second: u32,
    motion: Motion,
) -> InstrumentConfig {
    let wrong = "the figures above are well formed";
    InstrumentConfig {
        instrument: name.parse().expect(wrong),
        price: price.parse().expect(wrong),
        tick: tick.parse().expect(wrong),
        lot: lot.parse().expect(wrong),
        volume_24h: volume_24h.parse().expect(wrong),
        ticks_per_second,
        motion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_simulated() {
        assert_eq!(defaults().len(), 10);
        for listed in defaults() {
            assert_eq!(listed.problems(), [], "{}", listed.instrument);
        }
    }

    #[test]
    fn an_instrument_that_cannot_be_drawn_is_refused() {
        let mut listed = InstrumentConfig::named("BTC-USDT".parse().expect("an instrument"));
        listed.tick = "0.00001".parse().expect("a price");
        listed.ticks_per_second = 0;
        let problems: Vec<String> = listed.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "tick 0.00001 times lot 0.00001 of BTC-USDT not allowed: more than 8 decimal places",
                "ticks_per_second 0 of BTC-USDT not allowed: 1 to 100000"
            ]
        );
    }
}
