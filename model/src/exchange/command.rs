//! Commands: what the topic `orders` carries, the matcher's inbox.

use super::market::{MarketRules, Phase};
use super::order::{AccountId, Asset, ClientOrderId, OrderId, OrderKind, SelfTrade, TimeInForce};
use crate::instrument::Instrument;
use crate::number::{Price, Quantity};
use crate::record::Origin;
use crate::time::UnixNanos;

pub use super::order::Trail;

/// One record of the topic `orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who wrote the record.
    pub origin: Origin,
    /// When it was taken in. The core's time is the running maximum of these.
    pub ts: UnixNanos,
    /// On whose behalf; the house for what an operator does.
    pub account: AccountId,
    /// What the client calls it. The same again returns the first outcome.
    pub request: Option<ClientOrderId>,
    /// When the client first sent it. A repetition carries the first time.
    pub sent_at: UnixNanos,
    /// What to do.
    pub body: CommandBody,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandBody {
    /// Place an order; the command's `request` becomes its client order id.
    Place(NewOrder),
    /// Place a pair of which one cancels the other: the first a limit order, the second a stop.
    PlaceOco(Box<(NewOrder, NewOrder)>),
    /// Change an open order, a waiting stop or one of a pair. Its place in the queue stays when only the quantity
    /// shrinks.
    Amend {
        /// Which.
        order: OrderRef,
        /// The new limit; none leaves it.
        price: Option<Price>,
        /// The new quantity in all, what was filled included; none leaves it. A pair has one quantity.
        quantity: Option<Quantity>,
        /// A waiting stop's new trigger; none leaves it.
        trigger: Option<Price>,
    },
    /// Cancel an open order.
    Cancel {
        /// Which.
        order: OrderRef,
    },
    /// Cancel all open orders of the account.
    CancelAll {
        /// In this market only.
        instrument: Option<Instrument>,
    },
    /// Cancel all open orders of the account at `deadline` unless this command comes again before.
    CancelAllAfter {
        /// When; none takes it back.
        deadline: Option<UnixNanos>,
    },
    /// Money or coins came in.
    Deposit {
        /// What.
        asset: Asset,
        /// How much.
        amount: Quantity,
    },
    /// Money or coins go out.
    Withdraw {
        /// What.
        asset: Asset,
        /// How much.
        amount: Quantity,
        /// Hold the amount until [`CommandBody::Settle`] posts or voids it.
        pending: bool,
    },
    /// Ends a pending withdrawal.
    Settle {
        /// Its number, from the answer to the withdrawal.
        transfer: u64,
        /// Whether it went out; otherwise the amount is free again.
        post: bool,
    },
    /// From the account to another.
    Transfer {
        /// To whom.
        to: AccountId,
        /// What.
        asset: Asset,
        /// How much.
        amount: Quantity,
    },
    /// Lists a market, or changes the rules of one. Tick and lot never change.
    ListMarket(Box<MarketRules>),
    /// Opens, halts, closes a market, or calls an auction.
    SetPhase {
        /// Which market.
        instrument: Instrument,
        /// The phase from here on.
        phase: Phase,
    },
    /// Throws or releases a kill switch.
    Kill {
        /// Of what.
        scope: KillScope,
        /// Thrown: open orders are cancelled and new ones refused.
        on: bool,
    },
    /// Undoes a trade.
    Bust {
        /// Where.
        instrument: Instrument,
        /// Which.
        trade: u64,
    },
    /// Limits of one account.
    SetAccount {
        /// Whose.
        account: AccountId,
        /// Open orders, at most; none for the exchange's default.
        open_orders_max: Option<u32>,
    },
    /// Limits of the exchange.
    Configure(ExchangeLimits),
    /// Time has passed.
    Clock,
    /// A writer begins; this record's offset is its epoch.
    Claim,
}

/// Number of kinds in [`CommandBody`].
pub const BODY_KINDS: u8 = 18;

/// An order on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOrder {
    /// Where.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: crate::tick::Side,
    /// What kind.
    pub kind: OrderKind,
    /// How long it stands. Market orders are immediate whatever it says, but for fill-or-kill.
    pub tif: TimeInForce,
    /// Base units; zero for a market order by quote amount.
    pub quantity: Quantity,
    /// Market orders only: quote units to spend, fee included, or to sell for; zero for an order by quantity.
    pub quote_amount: Quantity,
    /// The limit; for market orders and plain stops the protection price, where one is wished.
    pub price: Option<Price>,
    /// Stops: the last trade's price that sets it off.
    pub trigger: Option<Price>,
    /// Trailing stops: how far behind.
    pub trail: Option<Trail>,
    /// Icebergs: what shows at a time.
    pub display: Option<Quantity>,
    /// Rejected rather than taking.
    pub post_only: bool,
    /// Otherwise as the market has it.
    pub self_trade: Option<SelfTrade>,
}

impl NewOrder {
    /// A good-till-cancelled limit order.
    pub const fn limit(instrument: Instrument, side: crate::tick::Side, quantity: Quantity, price: Price) -> Self {
        Self {
            instrument,
            side,
            kind: OrderKind::Limit,
            tif: TimeInForce::Gtc,
            quantity,
            quote_amount: Quantity::ZERO,
            price: Some(price),
            trigger: None,
            trail: None,
            display: None,
            post_only: false,
            self_trade: None,
        }
    }
}

/// Names an open order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderRef {
    /// By our number.
    Id(OrderId),
    /// By the client order id that placed it.
    Client(ClientOrderId),
}

/// What a kill switch stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillScope {
    /// One account, everywhere.
    Account(AccountId),
    /// One market, for everybody.
    Market(Instrument),
}

/// Limits of the exchange as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeLimits {
    /// Open orders of one account, at most; itself at most 10,000.
    pub open_orders_max: u32,
    /// Client order ids remembered, at most; 1 to 2^24.
    pub ids_max: u32,
    /// How long a client order id is remembered, in nanoseconds of log time.
    pub ids_ttl_ns: i64,
    /// A snapshot of the book follows every so many deltas; 0 for none.
    pub book_snapshot_every: u32,
    /// Nanoseconds between indicative prices during an auction, at least.
    pub indicative_every_ns: i64,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self {
            open_orders_max: 1_000,
            ids_max: 1_000_000,
            ids_ttl_ns: 24 * 3_600 * 1_000_000_000,
            book_snapshot_every: 1_000,
            indicative_every_ns: 1_000_000_000,
        }
    }
}

impl ExchangeLimits {
    /// No limit on open orders goes past this one, so that cancelling all of an account's fits one command.
    pub const OPEN_ORDERS_MAX: u32 = 10_000;
    /// No memory of client order ids goes past this one.
    pub const IDS_MAX: u32 = 1 << 24;

    /// Whether every limit is inside its range.
    pub const fn are_valid(&self) -> bool {
        self.open_orders_max >= 1
            && self.open_orders_max <= Self::OPEN_ORDERS_MAX
            && self.ids_max >= 1
            && self.ids_max <= Self::IDS_MAX
            && self.ids_ttl_ns > 0
            && self.indicative_every_ns > 0
    }
}
