//! Quotes both sides, a few levels deep, and moves its quotes when the composite price moves.

use std::collections::BTreeMap;

use matcher::shell::GatewayError;
use model::exchange::{CommandBody, MarketRules, NewOrder};
use model::{Instrument, Price, Side};

use super::{Desk, Trader, on_tick, short_of_funds};

/// Levels of each side.
const LEVELS: i128 = 3;
/// Distance of the first level from the fair price, and between levels, in hundredths of a basis point.
const STEP: i128 = 300;
/// The fair price must move this far, in hundredths of a basis point, before quotes follow it.
const MOVE: i128 = 150;

/// A market maker.
pub(super) struct Maker {
    quoted: BTreeMap<Instrument, Price>,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self { quoted: BTreeMap::new() }
    }
}

impl Trader for Maker {
    async fn turn(&mut self, desk: &mut Desk, rules: &MarketRules, fair: Price) -> Result<(), GatewayError> {
        let instrument = rules.instrument;
        let account = desk.account;
        let open = desk
            .gateway
            .view(|exchange| exchange.open_orders(account).filter(|(order, _)| order.instrument == instrument).count());
        let moved = |quoted: &Price| {
            let distance = i128::from(fair.raw() - quoted.raw()).abs();
            distance * 1_000_000 > i128::from(fair.raw()) * MOVE
        };
        let whole = open.is_some_and(|open| open as i128 >= LEVELS);
        if whole && !self.quoted.get(&instrument).is_none_or(moved) {
            return Ok(());
        }
        desk.send(CommandBody::CancelAll { instrument: Some(instrument) }).await?;
        self.quoted.insert(instrument, fair);
        for level in 1..=LEVELS {
            let jitter = i128::from(desk.between(0, 100));
            let away = i128::from(fair.raw()) * (STEP * level + jitter) / 1_000_000;
            for (side, raw) in [(Side::Buy, i128::from(fair.raw()) - away), (Side::Sell, i128::from(fair.raw()) + away)]
            {
                let share = desk.between(500, 3_000);
                let Some(price) = on_tick(rules, raw) else { continue };
                let Some(quantity) = desk.quantity(rules, price, share) else { continue };
                let order = NewOrder { post_only: true, ..NewOrder::limit(instrument, side, quantity, price) };
                let answer = desk.send(CommandBody::Place(order)).await?;
                if short_of_funds(&answer) {
                    break;
                }
            }
        }
        Ok(())
    }
}
