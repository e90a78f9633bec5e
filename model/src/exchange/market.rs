//! Markets: their rules, their phases, and what is said about them.

use super::order::SelfTrade;
use crate::instrument::Instrument;
use crate::number::{Price, Quantity};

/// What a market does with orders at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Orders are collected and not matched.
    PreOpen,
    /// A call auction: orders are collected, an indicative price is published. It ends, by a change to `open`
    /// or `closed`, with all trades at one price.
    Auction,
    /// Orders are matched as they come.
    Open,
    /// Nothing but cancelling.
    Halted,
    /// As halted; orders for the day are gone.
    Closed,
}

/// The rules of one market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketRules {
    /// What is traded.
    pub instrument: Instrument,
    /// Prices are multiples of it.
    pub tick: Price,
    /// Quantities are multiples of it. Tick times lot is a whole number of 1e-8.
    pub lot: Quantity,
    /// Price times quantity of an order, at least.
    pub min_notional: Quantity,
    /// Price times quantity of an order, at most.
    pub max_notional: Quantity,
    /// Quantity of an order, at most; itself at most 10^12 lots.
    pub max_quantity: Quantity,
    /// Limits stay within this many parts of ten thousand of our last trade; 0 for no band.
    pub band_bps: u32,
    /// Market orders without a protection price of their own go this many parts of ten thousand past the best
    /// price, at most.
    pub protection_bps: u32,
    /// Fee on what an order trades while resting, in parts of ten thousand of the notional.
    pub maker_bps: u16,
    /// Fee on what an order trades on its way in, in parts of ten thousand of the notional.
    pub taker_bps: u16,
    /// What happens when an account would trade with itself, unless the order says otherwise.
    pub self_trade: SelfTrade,
    /// Stands for the last trade's price while there is none.
    pub reference: Price,
}

/// Why rules cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A tick, lot, limit or reference is not above zero.
    #[error("{0} must be above zero")]
    NotPositive(&'static str),
    /// Money would have to be rounded.
    #[error("tick times lot must be a whole number of 0.00000001, below 10^10")]
    TickTimesLot,
    /// More lots than a book takes.
    #[error("max_quantity is more than 10^12 lots")]
    MaxQuantity,
    /// Not a multiple of the tick.
    #[error("reference must be a multiple of tick")]
    Reference,
    /// A fee or a band that makes no sense.
    #[error("{0} must be below 10000")]
    Bps(&'static str),
    /// An asset cannot be priced in itself.
    #[error("base and quote are the same asset")]
    SameAsset,
}

impl MarketRules {
    /// Lots of one order, at most.
    pub const LOTS_MAX: i64 = 1_000_000_000_000;

    /// Checks what the exchange relies on.
    ///
    /// # Errors
    /// The first rule that cannot be.
    pub fn check(&self) -> Result<(), RulesError> {
        let positive = [
            ("tick", self.tick.raw()),
            ("lot", self.lot.raw()),
            ("max_notional", self.max_notional.raw()),
            ("max_quantity", self.max_quantity.raw()),
            ("reference", self.reference.raw()),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, raw)| *raw <= 0) {
            return Err(RulesError::NotPositive(name));
        }
        if self.min_notional.raw() < 0 {
            return Err(RulesError::NotPositive("min_notional"));
        }
        let unit = i128::from(self.tick.raw()) * i128::from(self.lot.raw());
        if unit % 100_000_000 != 0 || unit / 100_000_000 > i128::from(Price::MAX.raw()) {
            return Err(RulesError::TickTimesLot);
        }
        if self.max_quantity.raw() / self.lot.raw() > Self::LOTS_MAX {
            return Err(RulesError::MaxQuantity);
        }
        if self.reference.raw() % self.tick.raw() != 0 {
            return Err(RulesError::Reference);
        }
        let below = [
            ("band_bps", self.band_bps),
            ("protection_bps", self.protection_bps),
            ("maker_bps", u32::from(self.maker_bps)),
            ("taker_bps", u32::from(self.taker_bps)),
        ];
        if let Some((name, _)) = below.into_iter().find(|(_, bps)| *bps >= 10_000) {
            return Err(RulesError::Bps(name));
        }
        if self.instrument.base() == self.instrument.quote() {
            return Err(RulesError::SameAsset);
        }
        Ok(())
    }
}

/// What happened to a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstrumentEventKind {
    /// It was listed.
    Listed,
    /// Its rules changed.
    Rules,
    /// Its phase changed.
    Phase,
    /// An auction's indicative price was computed.
    Indicative,
    /// Its kill switch was thrown or released.
    Kill,
}

/// What an auction would give if it ended now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Indicative {
    /// The one price.
    pub price: Price,
    /// Base units that would trade.
    pub quantity: crate::number::Volume,
    /// Base units left over at that price: positive when buyers are left.
    pub surplus: crate::number::Volume,
}

/// One record of the topic `instruments`: the market as it is after the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InstrumentEvent {
    /// Which market.
    pub instrument: Instrument,
    /// What happened.
    pub kind: InstrumentEventKind,
    /// Its phase.
    pub phase: Phase,
    /// Whether its kill switch is thrown.
    pub killed: bool,
    /// Its last trade's price.
    pub last: Option<Price>,
    /// During an auction, what it would give.
    pub indicative: Option<Indicative>,
    /// Its rules.
    pub rules: MarketRules,
}
