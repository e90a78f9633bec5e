//! The hidden fair price of an asset, which no venue shows and every venue follows.

use super::random::Random;

/// Nanoseconds between two steps of the walk.
pub(crate) const STEP_NANOS: u64 = 10_000_000;
const STEPS_PER_DAY: i128 = 8_640_000;
/// Square root of the steps in a day: volatility grows with the square root of time.
const STEPS_PER_DAY_ROOT: i128 = 2_939;
/// Sub-units of a raw price, so that the small steps of a cheap asset do not round away.
const FINE: i128 = 1 << 16;

/// How a fair price moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Motion {
    /// Standard deviation of a day's move, in basis points.
    pub volatility_bps_per_day: u32,
    /// Steady move of the level to which the price reverts, in basis points per day.
    pub drift_bps_per_day: i32,
    /// Share of the distance to its level that the price makes up in 10 ms, in parts per billion.
    pub reversion_ppb: u32,
    /// Jumps per day on average.
    pub jumps_per_day: u32,
    /// Largest jump, in basis points.
    pub jump_bps_max: u32,
}

/// A random walk in steps of 10 ms, in integers throughout.
#[derive(Debug, Clone)]
pub(crate) struct FairPrice {
    random: Random,
    motion: Motion,
    step: u64,
    price: i128,
    level: i128,
    origin: i128,
}

impl FairPrice {
    /// The walk of `asset` from `price` (units of 1e-8), the same for everybody who asks with this seed.
    pub(crate) fn new(seed: u64, asset: &str, price: i64, motion: Motion) -> Self {
        let price = i128::from(price) * FINE;
        Self { random: Random::new(seed, &["fair", asset]), motion, step: 0, price, level: price, origin: price }
    }

    /// The price at a time since the start, in units of 1e-8. Times never go back.
    pub(crate) fn at(&mut self, nanos: u64) -> i64 {
        let step = nanos / STEP_NANOS;
        while self.step < step {
            self.step += 1;
            self.advance();
        }
        (self.price / FINE) as i64
    }

    fn advance(&mut self) {
        let motion = self.motion;
        // One basis point is 10^5 parts per billion; the draw has 10 fractional bits.
        let shock = i128::from(self.random.normal_1024());
        let sigma_ppb = i128::from(motion.volatility_bps_per_day) * 100_000 / STEPS_PER_DAY_ROOT;
        let mut price = self.price + self.price * sigma_ppb * shock / (1_000_000_000 << 10);
        price -= (price - self.level) * i128::from(motion.reversion_ppb) / 1_000_000_000;
        self.level += self.level * i128::from(motion.drift_bps_per_day) / (10_000 * STEPS_PER_DAY);
        if self.random.below(STEPS_PER_DAY as u64) < u64::from(motion.jumps_per_day) {
            let span = u64::from(motion.jump_bps_max) * 2 + 1;
            let bps = self.random.below(span) as i128 - i128::from(motion.jump_bps_max);
            price += price * bps / 10_000;
            self.level += self.level * bps / 10_000;
        }
        let (low, high) = (self.origin / 8, self.origin * 8);
        self.price = price.clamp(low, high);
        self.level = self.level.clamp(low, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOTION: Motion = Motion {
        volatility_bps_per_day: 300,
        drift_bps_per_day: 0,
        reversion_ppb: 300,
        jumps_per_day: 20,
        jump_bps_max: 30,
    };

    #[test]
    fn everybody_sees_the_same_walk() {
        let mut coarse = FairPrice::new(3, "BTC", 7_885_000_000_000, MOTION);
        let mut fine = coarse.clone();
        for second in 1..=600u64 {
            for part in 0..7 {
                fine.at(second * 1_000_000_000 - 999_999_999 + part * 100_000_000);
            }
            assert_eq!(coarse.at(second * 1_000_000_000), fine.at(second * 1_000_000_000));
        }
    }

    #[test]
    fn a_walk_moves_and_stays_in_range() {
        let mut fair = FairPrice::new(1, "DOGE", 16_500_000, MOTION);
        let prices: Vec<i64> = (0..3_600).map(|second| fair.at(second * 1_000_000_000)).collect();
        let (low, high) = (prices.iter().min().expect("some"), prices.iter().max().expect("some"));
        assert!(low < high && *low > 14_000_000 && *high < 19_000_000, "{low} {high}");
    }
}
