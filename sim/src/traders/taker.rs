//! Takes what makers quote: now a market order, now a limit order that is immediate or cancelled.

use matcher::shell::GatewayError;
use model::exchange::{CommandBody, MarketRules, NewOrder, OrderKind, TimeInForce};
use model::{Price, Side};

use super::{Desk, Trader, on_tick};

/// A trader without a view.
pub(super) struct Taker;

impl Trader for Taker {
    async fn turn(&mut self, desk: &mut Desk, rules: &MarketRules, fair: Price) -> Result<(), GatewayError> {
        if desk.random.chance_ppm(400_000) {
            return Ok(());
        }
        let side = if desk.random.chance_ppm(500_000) { Side::Buy } else { Side::Sell };
        let share = desk.between(50, 800);
        // Up to 20 basis points through the fair price.
        let through = i128::from(fair.raw()) * i128::from(desk.between(2, 20)) / 10_000;
        let raw = match side {
            Side::Buy => i128::from(fair.raw()) + through,
            Side::Sell => i128::from(fair.raw()) - through,
        };
        let Some(price) = on_tick(rules, raw) else { return Ok(()) };
        let Some(quantity) = desk.quantity(rules, price, share) else { return Ok(()) };
        let kind = if desk.random.chance_ppm(500_000) { OrderKind::Market } else { OrderKind::Limit };
        let order =
            NewOrder { kind, tif: TimeInForce::Ioc, ..NewOrder::limit(rules.instrument, side, quantity, price) };
        desk.send(CommandBody::Place(order)).await?;
        Ok(())
    }
}
