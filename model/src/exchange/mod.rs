//! The words of the exchange: commands, orders, executions, trades and book of our own markets, postings.

mod codec;
mod command;
mod execution;
mod json;
mod market;
mod order;
mod output;
mod reason;
#[cfg(test)]
mod tests;

pub use command::{BODY_KINDS, Command, CommandBody, ExchangeLimits, KillScope, NewOrder, OrderRef, Trail};
pub use execution::{Execution, ExecutionKind, Fill, Liquidity, OrderView};
pub use json::{write_book, write_execution, write_instrument_event, write_market_trade, write_posting};
pub use market::{Indicative, InstrumentEvent, InstrumentEventKind, MarketRules, Phase, RulesError};
pub use order::{AccountId, Asset, ClientOrderId, OrderId, OrderKind, SelfTrade, TimeInForce};
pub use output::{BookDelta, BookHead, LevelChange, MarketTrade, Posting, PostingKind, Stamped, level_hash};
pub use reason::Reason;
