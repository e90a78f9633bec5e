//! Fees in parts of ten thousand, rounded up over an order's whole life.

/// What rounding up has taken from an order ahead of time, in 1e-12 of a quote unit: 0 to 9,999.
///
/// Rounding every fill up by itself could take more than the hold of the order covers. So a fill pays what is
/// still missing to the fee on everything that the order has traded, rounded up once: over its life an order
/// pays `ceil(sum(bps * notional) / 10_000)`, whatever the number of its fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeeMeter(u16);

const WHOLE: i128 = 10_000;

/// `ceil(value / 10_000)` of a value that is not negative.
#[inline]
fn ceil(value: i128) -> i128 {
    match u64::try_from(value) {
        Ok(value) => i128::from(value.div_ceil(WHOLE as u64)),
        Err(_) => (value + (WHOLE - 1)) / WHOLE,
    }
}

/// `notional * bps` where it is small, as it nearly always is: words are many times quicker than wide numbers.
#[inline]
fn narrow(notional: i128, bps: u16) -> Option<i64> {
    let product = i64::try_from(notional).ok()?.checked_mul(i64::from(bps))?;
    (product < i64::MAX - 2 * WHOLE as i64 && product >= 0).then_some(product)
}

impl FeeMeter {
    /// The fee on a fill of `notional` at `bps`, in the units of `notional`.
    #[inline]
    pub fn charge(&mut self, notional: i128, bps: u16) -> i128 {
        if let Some(due) = narrow(notional, bps) {
            let due = due - i64::from(self.0);
            if due <= 0 {
                self.0 = (-due) as u16;
                return 0;
            }
            let fee = (due as u64).div_ceil(WHOLE as u64);
            self.0 = (fee * WHOLE as u64 - due as u64) as u16;
            return i128::from(fee);
        }
        let due = notional * i128::from(bps) - i128::from(self.0);
        let fee = ceil(due);
        self.0 = (fee * WHOLE - due) as u16;
        fee
    }

    /// The most that fills of `notional` in all can still be charged at `bps` or less.
    #[inline]
    pub fn reserve(self, notional: i128, bps: u16) -> i128 {
        match narrow(notional, bps) {
            Some(due) => i128::from(((due - i64::from(self.0)).max(0) as u64).div_ceil(WHOLE as u64)),
            None => ceil((notional * i128::from(bps) - i128::from(self.0)).max(0)),
        }
    }

    /// The meter as a number, for snapshots.
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The meter from its number; none above 9,999.
    pub const fn from_raw(raw: u16) -> Option<Self> {
        if raw < WHOLE as u16 { Some(Self(raw)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_never_pay_more_than_was_reserved_and_in_all_what_is_due() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let (maker, taker) = (random.u16(0..200), random.u16(0..200));
            let most = maker.max(taker);
            let bits = random.u32(2..62);
            let mut open = i128::from(random.i64(1..1 << bits));
            let (mut meter, mut paid, mut due) = (FeeMeter::default(), 0, 0);
            let mut reserve = meter.reserve(open, most);
            while open > 0 {
                let notional = i128::from(random.i64(1..=i64::try_from(open).unwrap_or(i64::MAX)));
                let bps = if random.bool() { maker } else { taker };
                let fee = meter.charge(notional, bps);
                (open, paid, due) = (open - notional, paid + fee, due + notional * i128::from(bps));
                let rest = meter.reserve(open, most);
                assert!(fee >= 0 && fee + rest <= reserve, "fee {fee}, rest {rest}, reserve {reserve}");
                assert!(fee <= notional);
                reserve = rest;
                assert_eq!(paid, (due + 9_999) / 10_000);
            }
        }
    }
}
