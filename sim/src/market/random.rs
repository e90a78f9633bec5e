//! The simulator's random numbers.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Kept here rather
/// than taken from a crate, since a seed must give the same run with every later version.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator whose sequence depends on `seed` and on every part of `path`.
    pub(crate) fn new(seed: u64, path: &[&str]) -> Self {
        let mut random = Self(seed);
        for part in path {
            let mixed = random.next_u64() ^ model::topic::fnv1a(part.as_bytes());
            random = Self(mixed);
        }
        random.next_u64();
        random
    }

    /// A version-4 UUID that belongs to a number in a space of its own.
    pub(crate) fn uuid(space: &str, number: u64) -> u128 {
        let mut random = Self::new(number, &[space]);
        let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        bits & !(0xf000 << 64) & !(0xc << 60) | 0x4000 << 64 | 0x8 << 60
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `parts` of a million cases.
    pub(crate) fn chance_ppm(&mut self, parts: u32) -> bool {
        self.below(1_000_000) < u64::from(parts)
    }

    /// Close to normally distributed, with mean 0 and a standard deviation of 1024: four uniform draws summed.
    pub(crate) fn normal_1024(&mut self) -> i64 {
        const MEAN: i64 = 131_070;
        const DEVIATION: i64 = 37_837;
        let bits = self.next_u64();
        let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
        (sum as i64 - MEAN) * 1024 / DEVIATION
    }

    /// At least 1, about `mean` on average, with few large values: the cube of a uniform draw.
    pub(crate) fn size(&mut self, mean: i64) -> i64 {
        let draw = self.next_u64() >> 44;
        let cube = (u128::from(draw) * u128::from(draw) * u128::from(draw)) >> 40;
        1 + ((cube as i128 * i128::from(mean) * 4) >> 20) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        let mut random = Random::new(7, &["BTC", "binance"]);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(drawn, PINNED);
        assert_ne!(Random::new(7, &["BTC", "kraken"]).next_u64(), PINNED[0]);
        assert_ne!(Random::new(8, &["BTC", "binance"]).next_u64(), PINNED[0]);
    }

    const PINNED: [u64; 3] = [6_429_768_814_495_126_880, 15_412_735_682_480_617_637, 10_954_485_787_836_752_534];

    #[test]
    fn draws_have_the_mean_asked_for() {
        let mut random = Random::new(1, &[]);
        let draws = 100_000;
        let sizes: i64 = (0..draws).map(|_| random.size(10_000)).sum::<i64>() / draws;
        assert!((9_500..10_500).contains(&sizes), "{sizes}");
        let squares: i64 = (0..draws).map(|_| random.normal_1024().pow(2)).sum::<i64>() / draws;
        assert!((1_000_000..1_100_000).contains(&squares), "{squares}");
    }
}
