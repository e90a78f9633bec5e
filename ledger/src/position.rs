//! Positions: quantity, average cost and realised profit from an account's trades in one market.

use model::exchange::AccountId;
use model::{Notional, Price, Volume};

use crate::muldiv::mul_div;
use crate::table::Paged;

/// What an account's trades in one market have come to. Deposits and withdrawals are not trades and leave it be;
/// who sells what was deposited is short by these books.
///
/// Average cost: what closes a part of the position takes the same part of its cost, rounded towards zero, and
/// the rest stays with the position, so that nothing is lost: at any time `realised - cost` is what all trades
/// brought in, fees taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Base units bought less sold, in 1e-8; negative when short.
    pub quantity: i128,
    /// What the position cost, fees included, in 1e-8 of the quote asset; when short, what it brought in,
    /// negative.
    pub cost: i128,
    /// Profit of what was closed, in 1e-8 of the quote asset.
    pub realised: i128,
}

impl Position {
    /// Takes a trade in: `quantity` base units, negative for a sale, and `paid` for them, fee included, negative
    /// for what a sale brought in.
    pub fn trade(&mut self, quantity: i128, paid: i128) {
        if quantity == 0 {
            self.realised -= paid;
            return;
        }
        if self.quantity == 0 || (self.quantity > 0) == (quantity > 0) {
            self.quantity += quantity;
            self.cost += paid;
        } else if quantity.abs() <= self.quantity.abs() {
            let part = mul_div(self.cost, quantity.abs(), self.quantity.abs());
            self.realised -= paid + part;
            self.cost -= part;
            self.quantity += quantity;
        } else {
            let closing = mul_div(paid, self.quantity.abs(), quantity.abs());
            self.realised -= closing + self.cost;
            self.cost = paid - closing;
            self.quantity += quantity;
        }
    }

    /// Cost of one base unit, rounded half to even; none without a position or when out of range.
    pub fn average_cost(&self) -> Option<Price> {
        let cost = self.cost.abs().checked_mul(100_000_000)?;
        Notional::from_raw(cost).over(Volume::from_raw(self.quantity.abs()))
    }

    /// Profit if the position were closed at `price`, rounded towards zero; none when out of range.
    pub fn unrealised(&self, price: Price) -> Option<Volume> {
        let value = self.quantity.checked_mul(i128::from(price.raw()))? / 100_000_000;
        Some(Volume::from_raw(value - self.cost))
    }
}

/// The positions of all accounts, by market.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    pub(crate) table: Paged<Position>,
}

impl Positions {
    /// An account's position in a market.
    pub fn get(&self, market: usize, account: AccountId) -> Position {
        self.table.get(market, account.0)
    }

    /// Asks the processor to fetch an account's position before it is needed.
    #[inline]
    pub fn prefetch(&self, market: usize, account: AccountId) {
        self.table.prefetch(market, account.0);
    }

    /// Takes a trade in, as [`Position::trade`] does.
    #[inline]
    pub fn trade(&mut self, market: usize, account: AccountId, quantity: i128, paid: i128) {
        self.table.get_mut(market, account.0).trade(quantity, paid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i128 = 100_000_000;

    #[test]
    fn average_cost_and_profit_follow_the_trades() {
        let mut position = Position::default();
        position.trade(2 * ONE, 200 * ONE);
        position.trade(ONE, 160 * ONE);
        assert_eq!(position.average_cost(), Some("120".parse().expect("a price")));
        position.trade(-ONE, -150 * ONE);
        assert_eq!(position.realised, 30 * ONE);
        assert_eq!(position.average_cost(), Some("120".parse().expect("a price")));
        assert_eq!(position.unrealised("130".parse().expect("a price")), Some(Volume::from_raw(20 * ONE)));
        // Through zero: two are closed at 100, one is sold short at 100.
        position.trade(-3 * ONE, -300 * ONE);
        assert_eq!((position.quantity, position.cost), (-ONE, -100 * ONE));
        assert_eq!(position.realised, 30 * ONE - 40 * ONE);
        position.trade(ONE, 90 * ONE);
        assert_eq!((position.quantity, position.cost, position.realised), (0, 0, 0));
    }

    #[test]
    fn nothing_is_lost_to_rounding() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..500 {
            let (mut position, mut paid_in_all, mut held) = (Position::default(), 0i128, 0i128);
            for _ in 0..100 {
                let quantity = i128::from(random.i64(-1_000_000_007..1_000_000_007)) >> random.u32(0..20);
                let paid = quantity * i128::from(random.i64(1..90_000)) / 7;
                position.trade(quantity, paid);
                paid_in_all += paid;
                held += quantity;
                assert_eq!(position.quantity, held);
                assert_eq!(position.realised - position.cost, -paid_in_all);
                assert!(position.quantity != 0 || position.cost == 0);
            }
        }
    }
}
