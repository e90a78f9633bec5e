//! Why a command was rejected or an order cancelled.

use crate::number::Volume;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a command was rejected or an order cancelled.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code that clients can act on.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            const fn template(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    UnknownMarket = "UNKNOWN_MARKET", "no such market is listed";
    UnknownAccount = "UNKNOWN_ACCOUNT", "account {given} is not known: numbers are below {limit}";
    UnknownAsset = "UNKNOWN_ASSET", "no listed market has this asset";
    UnknownOrder = "UNKNOWN_ORDER", "the order is not open: never placed, filled or cancelled";
    NotYourOrder = "NOT_YOUR_ORDER", "the order belongs to another account";
    UnknownTransfer = "UNKNOWN_TRANSFER", "no such withdrawal is pending";
    UnknownTrade = "UNKNOWN_TRADE", "the trade is not known, is busted already, or is older than the last {limit}";
    NotAllowed = "NOT_ALLOWED", "the command is for the house only";
    PriceNotPositive = "PRICE_NOT_POSITIVE", "price {given} not allowed: it must be above zero";
    PriceMissing = "PRICE_MISSING", "this order needs a limit price";
    PriceOffTick = "PRICE_OFF_TICK", "price {given} not allowed: the tick is {limit}";
    PriceBand = "PRICE_BAND", "price {given} is outside the band around the last trade: its edge is {limit}";
    QuantityNotPositive = "QUANTITY_NOT_POSITIVE", "quantity {given} not allowed: it must be above zero";
    QuantityOffLot = "QUANTITY_OFF_LOT", "quantity {given} not allowed: the lot is {limit}";
    QuantityTooLarge = "QUANTITY_TOO_LARGE", "quantity {given} not allowed: at most {limit}";
    NotionalTooSmall = "NOTIONAL_TOO_SMALL", "price times quantity {given} not allowed: at least {limit}";
    NotionalTooLarge = "NOTIONAL_TOO_LARGE", "price times quantity {given} not allowed: at most {limit}";
    DisplayInvalid = "DISPLAY_INVALID", "display quantity {given} not allowed: whole lots of {limit}, above zero, at least a thousandth of and no more than the quantity";
    TriggerInvalid = "TRIGGER_INVALID", "trigger price or distance {given} not allowed: above zero and a multiple of the tick {limit}";
    StopWouldTrigger = "STOP_WOULD_TRIGGER", "trigger {given} would set the stop off at once: the last trade is at {limit}";
    OrderInvalid = "ORDER_INVALID", "the fields of the order do not go together";
    OcoInvalid = "OCO_INVALID", "a pair needs the same market, side and quantity, a resting limit order and a stop beyond it";
    ExpiredAlready = "EXPIRED_ALREADY", "the order's time is over before it begins";
    MarketHalted = "MARKET_HALTED", "the market is halted";
    MarketClosed = "MARKET_CLOSED", "the market is closed";
    MarketSettling = "MARKET_SETTLING", "the market's auction is being settled";
    NotInAuction = "NOT_IN_AUCTION", "only limit orders that may rest are collected for an auction";
    AccountKilled = "ACCOUNT_KILLED", "the account's kill switch is on";
    MarketKilled = "MARKET_KILLED", "the market's kill switch is on";
    InsufficientFunds = "INSUFFICIENT_FUNDS", "{given} needed, {limit} available";
    TooManyOrders = "TOO_MANY_ORDERS", "{given} open orders not allowed: at most {limit}";
    TooManyStops = "TOO_MANY_STOPS", "the market has {limit} waiting stops of this kind already";
    BookFull = "BOOK_FULL", "the exchange holds {limit} orders already";
    PostOnlyWouldTake = "POST_ONLY_WOULD_TAKE", "the order would take at {limit} and may only rest";
    FokUnfillable = "FOK_UNFILLABLE", "the whole quantity cannot be filled at once";
    NoLiquidity = "NO_LIQUIDITY", "the other side of the book is empty";
    AmendInvalid = "AMEND_INVALID", "the change is not possible for this order";
    AmountNotPositive = "AMOUNT_NOT_POSITIVE", "amount {given} not allowed: it must be above zero";
    TooManyTransfers = "TOO_MANY_TRANSFERS", "{limit} withdrawals are pending already";
    RulesInvalid = "RULES_INVALID", "the rules cannot be, or tick or lot would change";
    TooManyMarkets = "TOO_MANY_MARKETS", "{limit} markets are listed already";
    LimitsInvalid = "LIMITS_INVALID", "a limit is outside its range";
    BustFunds = "BUST_FUNDS", "an account no longer has what the trade gave it";
    TooOld = "TOO_OLD", "sent too long ago: what became of it is no longer remembered";
    IdReused = "ID_REUSED", "the client order id was used for another command";
    SentInFuture = "SENT_IN_FUTURE", "sent_at is more than five seconds ahead of the exchange's time";
    Requested = "REQUESTED", "cancelled on request";
    IocRemainder = "IOC_REMAINDER", "an immediate order's rest";
    SweepLimit = "SWEEP_LIMIT", "one command makes at most {limit} fills; the rest is cancelled";
    SelfTradePrevented = "SELF_TRADE", "it would have traded with the same account";
    Expired = "EXPIRED", "the order's time is over";
    OcoDone = "OCO", "the other order of the pair traded or was set off";
    MassCancel = "MASS_CANCEL", "all orders were cancelled on request";
    KillSwitch = "KILL_SWITCH", "a kill switch was thrown";
    DeadMan = "DEAD_MAN", "the account's deadline passed without a sign of life";
    DayOver = "DAY_OVER", "the market closed";
}

impl Reason {
    /// The reason as a sentence with its numbers.
    pub fn sentence(self, given: Option<Volume>, limit: Option<Volume>) -> String {
        let mut text = self.template().to_owned();
        for (mark, value) in [("{given}", given), ("{limit}", limit)] {
            if text.contains(mark) {
                text = text.replace(mark, &value.map_or_else(|| "?".to_owned(), |value| value.to_string()));
            }
        }
        text
    }

    /// From its number: `reason as u8`; none for a number that no reason has.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sentences_have_their_numbers() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_u8(at as u8), Some(*reason));
            assert!(Reason::ALL[..at].iter().all(|other| other.code() != reason.code()), "{reason:?}");
            let plain = |character: char| (' '..='~').contains(&character) && character != '"' && character != '\\';
            assert!(reason.sentence(None, None).chars().all(plain), "{reason:?} would need escaping");
        }
        let text =
            Reason::PriceOffTick.sentence(Some(Volume::from_raw(10_050_000_000)), Some(Volume::from_raw(1_000_000)));
        assert_eq!(text, "price 100.5 not allowed: the tick is 0.01");
    }
}
