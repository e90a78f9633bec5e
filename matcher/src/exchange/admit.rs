//! Whether a new order may come in, and as what.

use ledger::FeeMeter;
use model::exchange::{AccountId, ClientOrderId, MarketRules, NewOrder, OrderKind, Phase, Reason, TimeInForce, Trail};
use model::{Price, Quantity, Side};

use super::market::Market;
use super::order::{NEVER, Place, Rec};
use super::requests::Client;
use super::{Exchange, Refused, STOPS_MAX, TRAILING_MAX, requests, whole};
use crate::book::{NONE, SLOTS_MAX};

const DAY_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// An order that may come in: its record, without a hold yet.
pub(super) struct Admitted {
    pub(super) market: u16,
    pub(super) rec: Rec,
    /// Quote units to spend or to sell for, in 1e-8; none for an order by quantity.
    pub(super) quote: Option<i128>,
}

impl Exchange {
    pub(super) fn market_of(&self, instrument: &model::Instrument) -> Result<u16, Refused> {
        self.by_name.get(instrument).ok_or(Refused::plain(Reason::UnknownMarket))
    }

    /// Checks an order against everything but the account's money and the other side of the book.
    pub(super) fn admit(
        &self,
        account: AccountId,
        client: Option<Client>,
        order: &NewOrder,
    ) -> Result<Admitted, Refused> {
        let number = self.market_of(&order.instrument)?;
        let market = &self.markets[number as usize];
        self.admit_to(account, market)?;
        check_fields(order)?;
        check_phase(market, order)?;
        let lots = lots_of(market, order)?;
        let (limit, trigger) = self.prices_of(market, order)?;
        let quote = (order.quote_amount != Quantity::ZERO).then(|| i128::from(order.quote_amount.raw()));
        check_notional(market, limit, lots, quote)?;
        let display = display_of(market, order, lots)?;
        let may_stay = matches!(order.kind, OrderKind::Stop | OrderKind::StopLimit | OrderKind::TrailingStop)
            || order.kind == OrderKind::Limit && rests(order.tif);
        // Every order has a slot while it trades.
        if self.nodes.len() + 2 > SLOTS_MAX {
            return Err(Refused::with(Reason::BookFull, 0, whole(SLOTS_MAX as i64)));
        }
        if may_stay {
            self.check_room(account, market, order.kind)?;
        }
        if let Some(client) = client
            && self.open_by_tag(account.0, &client).is_some()
        {
            return Err(Refused::plain(Reason::IdReused));
        }
        let rules = &market.rules;
        let rec = Rec {
            hold: 0,
            notional: 0,
            open: lots,
            filled: 0,
            limit,
            lots,
            expires: self.end_of(order.tif)?,
            trigger,
            display,
            next: NONE,
            prev: NONE,
            oco: NONE,
            meter: FeeMeter::default(),
            maker_bps: rules.maker_bps,
            taker_bps: rules.taker_bps,
            market: number,
            side: order.side,
            kind: order.kind,
            place: Place::Set,
            post_only: order.post_only,
            self_trade: order.self_trade.unwrap_or(rules.self_trade),
            limit_given: order.price.is_some(),
            tif: order.tif.into(),
            trail: order.trail,
            client,
        };
        Ok(Admitted { market: number, rec, quote })
    }

    /// Whether the account may do anything new in the market.
    pub(super) fn admit_to(&self, account: AccountId, market: &Market) -> Result<(), Refused> {
        if self.account_row(account.0).killed {
            return Err(Refused::plain(Reason::AccountKilled));
        }
        if market.killed {
            return Err(Refused::plain(Reason::MarketKilled));
        }
        if market.settling.is_some() {
            return Err(Refused::plain(Reason::MarketSettling));
        }
        match market.phase {
            Phase::Halted => Err(Refused::plain(Reason::MarketHalted)),
            Phase::Closed => Err(Refused::plain(Reason::MarketClosed)),
            Phase::PreOpen | Phase::Auction | Phase::Open => Ok(()),
        }
    }

    fn check_room(&self, account: AccountId, market: &Market, kind: OrderKind) -> Result<(), Refused> {
        let row = self.account_row(account.0);
        let most = if row.open_max == 0 { self.limits.open_orders_max } else { row.open_max };
        if row.open >= most {
            return Err(Refused::with(Reason::TooManyOrders, whole(row.open + 1), whole(most)));
        }
        match kind {
            OrderKind::TrailingStop if market.trailing.len() >= TRAILING_MAX => {
                Err(Refused::with(Reason::TooManyStops, 0, whole(TRAILING_MAX as i64)))
            }
            OrderKind::Stop | OrderKind::StopLimit if market.stop_count >= STOPS_MAX => {
                Err(Refused::with(Reason::TooManyStops, 0, whole(STOPS_MAX)))
            }
            _ => Ok(()),
        }
    }

    /// When an order ends.
    fn end_of(&self, tif: TimeInForce) -> Result<i64, Refused> {
        match tif {
            TimeInForce::Gtd(until) if until.0 <= self.clock => Err(Refused::plain(Reason::ExpiredAlready)),
            TimeInForce::Gtd(until) => Ok(until.0),
            TimeInForce::Day => Ok((self.clock.div_euclid(DAY_NS) + 1).saturating_mul(DAY_NS)),
            TimeInForce::Gtc | TimeInForce::Ioc | TimeInForce::Fok => Ok(NEVER),
        }
    }

    /// Limit and trigger in ticks, 0 where there is none.
    fn prices_of(&self, market: &Market, order: &NewOrder) -> Result<(i64, i64), Refused> {
        let given = order.price.map(|price| ticks_of(market, price)).transpose()?;
        match order.kind {
            OrderKind::Limit => {
                let limit = given.ok_or(Refused::plain(Reason::PriceMissing))?;
                check_band(market, limit)?;
                Ok((limit, 0))
            }
            OrderKind::Market => {
                if let Some(limit) = given {
                    check_band(market, limit)?;
                    return Ok((limit, 0));
                }
                let best = market.depth.best_ticks(order.side.opposite()).ok_or(Refused::plain(Reason::NoLiquidity))?;
                Ok((market.protection(order.side, best), 0))
            }
            OrderKind::Stop | OrderKind::StopLimit => {
                let trigger = trigger_of(market, order)?;
                let limit = given.unwrap_or_else(|| market.protection(order.side, trigger));
                Ok((limit, trigger))
            }
            OrderKind::TrailingStop => {
                let trigger = trailing_trigger(market, order)?;
                let limit = given.unwrap_or_else(|| market.protection(order.side, trigger));
                Ok((limit, trigger))
            }
        }
    }

    /// The open order that an account placed under this client order id.
    pub(super) fn open_by_client(&self, account: u32, client: &ClientOrderId) -> Option<u32> {
        self.open_by_tag(account, &Client { id: *client, tag: requests::tag_of(self.seed, account, client) })
    }

    fn open_by_tag(&self, account: u32, client: &Client) -> Option<u32> {
        self.clients.find(client.tag, |slot| {
            self.nodes.get(slot).tag == account && self.recs[slot as usize].client.as_ref() == Some(client)
        })
    }
}

/// Whether what does not trade at once may rest.
pub(super) const fn rests(tif: TimeInForce) -> bool {
    matches!(tif, TimeInForce::Gtc | TimeInForce::Gtd(_) | TimeInForce::Day)
}

/// Fields that do not go together.
fn check_fields(order: &NewOrder) -> Result<(), Refused> {
    let NewOrder { kind, tif, quantity, quote_amount, trigger, trail, display, post_only, .. } = *order;
    let by_quote = quote_amount != Quantity::ZERO;
    let stays = rests(tif);
    let fits = match kind {
        OrderKind::Limit => {
            trigger.is_none() && trail.is_none() && !by_quote && (stays || display.is_none() && !post_only)
        }
        OrderKind::Market => {
            trigger.is_none()
                && trail.is_none()
                && display.is_none()
                && !post_only
                && !matches!(tif, TimeInForce::Gtd(_))
                && (!by_quote || quantity == Quantity::ZERO && !matches!(tif, TimeInForce::Fok))
        }
        OrderKind::Stop => trail.is_none() && display.is_none() && !post_only && stays && !by_quote,
        OrderKind::StopLimit => trail.is_none() && stays && !by_quote,
        OrderKind::TrailingStop => {
            trigger.is_none() && trail.is_some() && display.is_none() && !post_only && stays && !by_quote
        }
    };
    if !fits {
        return Err(Refused::plain(Reason::OrderInvalid));
    }
    if kind == OrderKind::StopLimit && order.price.is_none() {
        return Err(Refused::plain(Reason::PriceMissing));
    }
    if by_quote && !quote_amount.is_positive() {
        return Err(Refused::with(Reason::AmountNotPositive, quote_amount.raw(), 0));
    }
    Ok(())
}

/// What is collected for an auction may have to rest.
fn check_phase(market: &Market, order: &NewOrder) -> Result<(), Refused> {
    let immediate = order.kind == OrderKind::Market || !rests(order.tif);
    if market.collects() && (immediate || order.post_only) {
        return Err(Refused::plain(Reason::NotInAuction));
    }
    Ok(())
}

fn lots_of(market: &Market, order: &NewOrder) -> Result<u64, Refused> {
    if order.quote_amount != Quantity::ZERO {
        return Ok(0);
    }
    quantity_lots(&market.rules, order.quantity)
}

/// A quantity in lots.
pub(super) fn quantity_lots(rules: &MarketRules, quantity: Quantity) -> Result<u64, Refused> {
    let raw = quantity.raw();
    if raw <= 0 {
        return Err(Refused::with(Reason::QuantityNotPositive, raw, 0));
    }
    if raw % rules.lot.raw() != 0 {
        return Err(Refused::with(Reason::QuantityOffLot, raw, rules.lot.raw()));
    }
    if raw > rules.max_quantity.raw() {
        return Err(Refused::with(Reason::QuantityTooLarge, raw, rules.max_quantity.raw()));
    }
    Ok((raw / rules.lot.raw()) as u64)
}

/// A price in ticks.
pub(super) fn ticks_of(market: &Market, price: Price) -> Result<i64, Refused> {
    let raw = price.raw();
    if raw <= 0 {
        return Err(Refused::with(Reason::PriceNotPositive, raw, 0));
    }
    if raw % market.listing.tick != 0 {
        return Err(Refused::with(Reason::PriceOffTick, raw, market.listing.tick));
    }
    Ok(raw / market.listing.tick)
}

/// Whether a limit is inside the band.
pub(super) fn check_band(market: &Market, ticks: i64) -> Result<(), Refused> {
    let Some((low, high)) = market.band() else { return Ok(()) };
    let edge = if ticks < low {
        low
    } else if ticks > high {
        high
    } else {
        return Ok(());
    };
    Err(Refused::with(Reason::PriceBand, market.price(ticks).raw(), market.price(edge).raw()))
}

pub(super) fn check_notional(market: &Market, ticks: i64, lots: u64, quote: Option<i128>) -> Result<(), Refused> {
    let notional = quote.unwrap_or_else(|| market.notional(ticks, lots));
    let (least, most) = (market.rules.min_notional.raw(), market.rules.max_notional.raw());
    if notional < i128::from(least) {
        return Err(Refused::with(Reason::NotionalTooSmall, notional, least));
    }
    if notional > i128::from(most) {
        return Err(Refused::with(Reason::NotionalTooLarge, notional, most));
    }
    Ok(())
}

fn display_of(market: &Market, order: &NewOrder, lots: u64) -> Result<u64, Refused> {
    let Some(display) = order.display else { return Ok(0) };
    let (raw, lot) = (display.raw(), market.rules.lot.raw());
    let shown = (raw / lot) as u64;
    if raw <= 0 || raw % lot != 0 || shown > lots || shown.saturating_mul(1_000) < lots {
        return Err(Refused::with(Reason::DisplayInvalid, raw, lot));
    }
    Ok(if shown == lots { 0 } else { shown })
}

fn trigger_of(market: &Market, order: &NewOrder) -> Result<i64, Refused> {
    trigger_ticks(market, order.side, order.trigger.ok_or(Refused::plain(Reason::OrderInvalid))?)
}

/// A trigger in ticks, which the last trade must not have reached.
pub(super) fn trigger_ticks(market: &Market, side: Side, trigger: Price) -> Result<i64, Refused> {
    let raw = trigger.raw();
    if raw <= 0 || raw % market.listing.tick != 0 {
        return Err(Refused::with(Reason::TriggerInvalid, raw, market.listing.tick));
    }
    let trigger = raw / market.listing.tick;
    let reached = match side {
        Side::Buy => trigger <= market.last,
        Side::Sell => trigger >= market.last,
    };
    if market.last > 0 && reached {
        return Err(Refused::with(Reason::StopWouldTrigger, raw, market.price(market.last).raw()));
    }
    Ok(trigger)
}

fn trailing_trigger(market: &Market, order: &NewOrder) -> Result<i64, Refused> {
    let invalid = |raw: i64| Refused::with(Reason::TriggerInvalid, raw, market.listing.tick);
    let trail = order.trail.ok_or(Refused::plain(Reason::OrderInvalid))?;
    match trail {
        Trail::Price(distance) if distance.raw() <= 0 || distance.raw() % market.listing.tick != 0 => {
            return Err(invalid(distance.raw()));
        }
        Trail::Bps(bps) if bps == 0 || bps >= 10_000 => return Err(invalid(i64::from(bps))),
        _ => {}
    }
    let trigger = behind(market, order.side, trail, market.reference());
    let highest = Price::MAX.raw() / market.listing.tick;
    if trigger < 1 || trigger > highest { Err(invalid(market.reference())) } else { Ok(trigger) }
}

/// Where a trailing stop's trigger is when the last trade is at `ticks`.
pub(super) fn behind(market: &Market, side: Side, trail: Trail, ticks: i64) -> i64 {
    let distance = match trail {
        Trail::Price(distance) => distance.raw() / market.listing.tick,
        Trail::Bps(bps) => ((i128::from(ticks) * i128::from(bps) + 9_999) / 10_000) as i64,
    };
    if side == Side::Buy { ticks.saturating_add(distance) } else { ticks - distance }
}
