//! The words of records: what each value of a plain enum is called. They stand in one place, so that hand-written
//! JSON, tables and displays cannot differ; a test holds them to what serde reads and writes.

use crate::exchange::{ExecutionKind, Liquidity, OrderKind, Phase, PostingKind, SelfTrade};
use crate::price::{ConstituentState, PriceStatus, PublishReason};
use crate::tick::{Channel, FeedPhase, Side};

macro_rules! words {
    ($($of:ident { $($value:ident: $word:literal),* $(,)? })*) => {
        $(impl $of {
            /// Every word with what it stands for, in the order in which they are declared.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$value)),*];

            /// Its word in records, answers and tables.
            #[inline]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        })*

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn words_are_those_that_serde_reads_and_writes() {
                $($({
                    let text = format!("\"{}\"", $of::$value.as_str());
                    assert_eq!(serde_json::to_string(&$of::$value).expect("a plain enum"), text);
                    assert_eq!(serde_json::from_str::<$of>(&text).expect("its own word"), $of::$value);
                })*)*
            }
        }
    };
}

words! {
    Side { Buy: "buy", Sell: "sell" }
    Channel { Trades: "trades", Quotes: "quotes", Ticker: "ticker" }
    FeedPhase { Live: "live", Silent: "silent", Gap: "gap", Down: "down" }
    PriceStatus { Ok: "OK", Degraded: "DEGRADED", SingleSource: "SINGLE_SOURCE", Stale: "STALE" }
    PublishReason { Deviation: "deviation", Heartbeat: "heartbeat", Status: "status", Refresh: "refresh" }
    ConstituentState { Used: "USED", Clamped: "CLAMPED", Outlier: "OUTLIER", Stale: "STALE", Thin: "THIN" }
    OrderKind {
        Limit: "limit", Market: "market", Stop: "stop", StopLimit: "stop_limit", TrailingStop: "trailing_stop",
    }
    SelfTrade {
        Allow: "allow", CancelNewest: "cancel_newest", CancelOldest: "cancel_oldest", CancelBoth: "cancel_both",
        Decrement: "decrement",
    }
    Phase { PreOpen: "pre_open", Auction: "auction", Open: "open", Halted: "halted", Closed: "closed" }
    ExecutionKind {
        Accepted: "accepted", Rejected: "rejected", Trade: "trade", Cancelled: "cancelled", Amended: "amended",
        Triggered: "triggered", Decremented: "decremented", Busted: "busted", Done: "done",
    }
    Liquidity { Maker: "maker", Taker: "taker", Auction: "auction" }
    PostingKind {
        Deposit: "deposit", Withdrawal: "withdrawal", Hold: "hold", Release: "release", Trade: "trade", Fee: "fee",
        Transfer: "transfer", Bust: "bust",
    }
}
