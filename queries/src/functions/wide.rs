//! A sum of 192 bits: room for 2^64 products of 127 bits, so that adding never has to be checked.

use arrow::datatypes::i256;

/// Two's complement in 192 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wide {
    low: u128,
    high: i64,
}

impl Wide {
    /// Adds a number.
    #[inline]
    pub(super) fn add(&mut self, value: i128) {
        let (low, carry) = self.low.overflowing_add(value as u128);
        self.low = low;
        self.high = self.high.wrapping_add(i64::from(carry)).wrapping_add((value >> 127) as i64);
    }

    /// Adds numbers. Up to 2^50, which prices and sizes are, a piece of them adds up in 64 bits.
    pub(super) fn add_all(&mut self, values: &[i128]) {
        for piece in values.chunks(4_096) {
            let (mut sum, mut beyond) = (0_i64, 0_i64);
            for value in piece {
                let (low, high) = (*value as i64, (*value >> 64) as i64);
                sum = sum.wrapping_add(low);
                beyond |= (high ^ (low >> 63)) | ((low ^ (low >> 63)) >> 50);
            }
            match beyond {
                0 => self.add(i128::from(sum)),
                _ => piece.iter().for_each(|value| self.add(*value)),
            }
        }
    }

    /// Takes a number away.
    #[inline]
    pub(super) fn subtract(&mut self, value: i128) {
        let (low, borrow) = self.low.overflowing_sub(value as u128);
        self.low = low;
        self.high = self.high.wrapping_sub(i64::from(borrow)).wrapping_sub((value >> 127) as i64);
    }

    /// Adds another sum; false when the result has more than 192 bits.
    #[inline]
    pub(super) fn merge(&mut self, other: i256) -> bool {
        let (other_low, other_high) = other.to_parts();
        let (low, carry) = self.low.overflowing_add(other_low);
        let Ok(other_high) = i64::try_from(other_high) else { return false };
        let high = self.high.checked_add(other_high).and_then(|high| high.checked_add(i64::from(carry)));
        match high {
            Some(high) => {
                *self = Self { low, high };
                true
            }
            None => false,
        }
    }

    /// The sum in 256 bits.
    pub(super) fn get(self) -> i256 {
        i256::from_parts(self.low, i128::from(self.high))
    }
}

/// 10^`exponent`; `exponent` is at most 76.
pub(super) fn power(exponent: u32) -> i256 {
    let mut power = i256::ONE;
    for _ in 0..exponent {
        power = power.wrapping_mul(i256::from_i128(10));
    }
    power
}

/// `dividend / divisor` rounded half away from zero; `None` for a divisor of zero.
pub(super) fn divide(dividend: i256, divisor: i256) -> Option<i256> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?;
    let magnitude = |value: i256| if value.is_negative() { value.wrapping_neg() } else { value };
    // Twice the rest may not fit, so the other half is compared.
    if magnitude(rest) < magnitude(divisor).wrapping_sub(magnitude(rest)) {
        return Some(quotient);
    }
    let away = if dividend.is_negative() == divisor.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    Some(quotient.wrapping_add(away))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_outgrow_128_bits_and_come_back() {
        let mut sum = Wide::default();
        for _ in 0..1_000 {
            sum.add(i128::MAX);
        }
        assert_eq!(sum.get(), i256::from_i128(i128::MAX).wrapping_mul(i256::from_i128(1_000)));
        for _ in 0..1_999 {
            sum.add(i128::MIN);
        }
        for _ in 0..999 {
            sum.subtract(i128::MIN);
        }
        assert_eq!(sum.get(), i256::from_i128(-1_000));
        let mut other = Wide::default();
        assert!(other.merge(sum.get()) && other.merge(i256::from_i128(1_001)));
        assert_eq!(other.get(), i256::ONE);
        assert!(!other.merge(i256::MAX));
    }

    #[test]
    fn many_at_once_are_one_by_one() {
        let mut random = fastrand::Rng::with_seed(1);
        for bits in 1..128 {
            let values: Vec<i128> = (0..5_000).map(|_| random.i128(..) >> (127 - bits)).collect();
            let (mut one_by_one, mut at_once) = (Wide::default(), Wide::default());
            values.iter().for_each(|value| one_by_one.add(*value));
            at_once.add_all(&values);
            assert_eq!(at_once, one_by_one, "numbers of {bits} bits");
        }
        let edge = vec![(1 << 50) - 1, -(1 << 50), 1 << 50, i128::from(i64::MAX), i128::from(i64::MIN)];
        for value in edge {
            let mut at_once = Wide::default();
            at_once.add_all(&vec![value; 9_000]);
            assert_eq!(at_once.get(), i256::from_i128(value * 9_000));
        }
    }

    #[test]
    fn quotients_round_half_away_from_zero() {
        let of = |a: i128, b: i128| divide(i256::from_i128(a), i256::from_i128(b)).and_then(i256::to_i128);
        assert_eq!(of(7, 2), Some(4));
        assert_eq!(of(-7, 2), Some(-4));
        assert_eq!(of(7, -2), Some(-4));
        assert_eq!(of(-7, -2), Some(4));
        assert_eq!(of(10, 3), Some(3));
        assert_eq!(of(11, 3), Some(4));
        assert_eq!(of(1, 3), Some(0));
        assert_eq!(of(6, 3), Some(2));
        assert_eq!(of(1, 0), None);
        assert_eq!(power(20).to_i128(), Some(10_i128.pow(20)));
    }
}
