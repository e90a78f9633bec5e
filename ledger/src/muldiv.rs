//! Product over divisor without losing the product's upper half.

/// `value * by / over` rounded towards zero; `by` and `over` are not negative.
///
/// # Panics
/// When `over` is zero, `by` exceeds `over`, or one of them is negative.
pub fn mul_div(value: i128, by: i128, over: i128) -> i128 {
    assert!(over > 0 && by >= 0 && by <= over, "a part of {over} cannot be {by}");
    if let (Ok(value), Ok(by), Ok(over)) = (i64::try_from(value), i64::try_from(by), i64::try_from(over)) {
        let product = i128::from(value) * i128::from(by);
        // Mostly it fits a word, whose division is many times quicker.
        return match i64::try_from(product) {
            Ok(product) => i128::from(product / over),
            Err(_) => product / i128::from(over),
        };
    }
    if let Some(product) = value.checked_mul(by) {
        return product / over;
    }
    let part = wide(value.unsigned_abs(), by.unsigned_abs(), over.unsigned_abs()) as i128;
    if value < 0 { -part } else { part }
}

/// `a * b / over` with a product of 256 bits; `b <= over`, so the quotient fits. Schoolbook, bit by bit: taken
/// only past 10^38.
#[cold]
fn wide(a: u128, b: u128, over: u128) -> u128 {
    let half = |value: u128| (value >> 64, value & u128::from(u64::MAX));
    let ((a1, a0), (b1, b0)) = (half(a), half(b));
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 64);
    let (carry, middle) = half(middle);
    let middle = a0 * b1 + middle;
    let mut high = a1 * b1 + carry + (middle >> 64);
    let mut low = middle << 64 | low & u128::from(u64::MAX);
    let mut quotient = 0u128;
    // `high < over` holds throughout, since b <= over and a < 2^127.
    for _ in 0..128 {
        let top = high >> 127;
        high = high << 1 | low >> 127;
        low <<= 1;
        quotient <<= 1;
        if top == 1 || high >= over {
            high = high.wrapping_sub(over);
            quotient |= 1;
        }
    }
    quotient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wide_way_agrees_with_the_narrow_one_and_with_itself() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let value = i128::from(random.i64(..));
            let over = i128::from(random.i64(1..=i64::MAX)) >> random.u32(0..62);
            let over = over.max(1);
            let by = i128::from(random.i64(..)).rem_euclid(over + 1);
            let exact = value * by / over;
            assert_eq!(mul_div(value, by, over), exact);
            assert_eq!(wide(value.unsigned_abs(), by as u128, over as u128) as i128, exact.abs());
        }
        let (value, over) = (i128::MAX - 7, 1i128 << 100);
        assert_eq!(mul_div(value, over, over), value);
        assert_eq!(mul_div(-value, over / 2, over), -(value / 2));
        assert_eq!(mul_div(value, 0, over), 0);
    }
}
