//! Integer arithmetic that neither rounds by accident nor overflows.

/// `numerator / denominator` rounded half to even; `denominator` is above zero.
pub(super) const fn div_half_even(numerator: i128, denominator: i128) -> i128 {
    if numerator < 0 {
        return -div_half_even(-numerator, denominator);
    }
    let (numerator, denominator) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    // Most fit, and 64 bits divide several times as fast as 128.
    let quotient = if numerator <= u64::MAX as u128 && denominator <= u64::MAX as u128 {
        (numerator as u64 / denominator as u64) as u128
    } else {
        numerator / denominator
    };
    let rest = numerator - quotient * denominator;
    // Compared by what is missing, since twice the rest might not fit.
    let missing = denominator - rest;
    let up = rest > missing || (rest == missing && quotient & 1 == 1);
    (quotient + up as u128) as i128
}

/// A raw price, where the value is one: above zero and in range.
pub(super) fn as_price(value: i128) -> Option<i64> {
    let raw = i64::try_from(value).ok()?;
    (raw > 0 && model::Price::from_raw(raw).is_some()).then_some(raw)
}

/// The mean of two prices, rounded half to even.
pub(super) const fn midpoint(a: i64, b: i64) -> i64 {
    div_half_even(a as i128 + b as i128, 2) as i64
}

/// One, in units of 1e-8.
pub(super) const ONE: i128 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour() {
        for (numerator, denominator, expected) in
            [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (8, 3, 3), (7, 3, 2), (i128::MAX, i128::MAX, 1), (0, 9, 0)]
        {
            assert_eq!(div_half_even(numerator, denominator), expected, "{numerator} / {denominator}");
        }
    }
}
