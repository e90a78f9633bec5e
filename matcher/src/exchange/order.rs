//! What the exchange keeps of an open order besides its place in the book.

use ledger::FeeMeter;
use model::exchange::{OrderKind, SelfTrade, TimeInForce, Trail};
use model::{Side, UnixNanos};

use super::requests::Client;

/// The records of all orders, by slot.
pub(super) type Recs = ledger::Chunks<Rec, { super::REC_CHUNK }>;

/// Never.
pub(super) const NEVER: i64 = i64::MAX;

/// Where an open order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the book.
    Book,
    /// Among the stops, waiting for its trigger.
    Stop,
    /// Among the trailing stops.
    Trailing,
    /// Set off in the running command and not carried out yet.
    Set,
}

/// How long an order stands; until when is in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tif {
    Gtc,
    Ioc,
    Fok,
    Gtd,
    Day,
}

impl From<TimeInForce> for Tif {
    fn from(tif: TimeInForce) -> Self {
        match tif {
            TimeInForce::Gtc => Self::Gtc,
            TimeInForce::Ioc => Self::Ioc,
            TimeInForce::Fok => Self::Fok,
            TimeInForce::Gtd(_) => Self::Gtd,
            TimeInForce::Day => Self::Day,
        }
    }
}

/// An order's record; its id, account and what shows of it are in the book's node of the same slot. The first
/// cache line is what a fill changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Rec {
    /// What the ledger holds for it, in 1e-8 of base (sell) or quote (buy).
    pub(super) hold: i128,
    /// Traded so far, in 1e-8 of quote.
    pub(super) notional: i128,
    /// Lots that are still open, hidden ones included.
    pub(super) open: u64,
    /// Lots traded.
    pub(super) filled: u64,
    /// The limit or protection price in ticks; 0 for none yet.
    pub(super) limit: i64,
    /// Lots in all; 0 for an order by quote amount.
    pub(super) lots: u64,
    // The second line.
    /// When it ends.
    pub(super) expires: i64,
    /// The trigger in ticks; 0 for none.
    pub(super) trigger: i64,
    /// Lots that show at a time; 0 for all.
    pub(super) display: u64,
    /// The account's next open order, newest first.
    pub(super) next: u32,
    /// The account's open order before this one.
    pub(super) prev: u32,
    /// The other order of a pair.
    pub(super) oco: u32,
    pub(super) meter: FeeMeter,
    pub(super) maker_bps: u16,
    pub(super) taker_bps: u16,
    pub(super) market: u16,
    pub(super) side: Side,
    pub(super) kind: OrderKind,
    pub(super) place: Place,
    pub(super) post_only: bool,
    pub(super) self_trade: SelfTrade,
    /// Whether the client named the limit, rather than the market's rules.
    pub(super) limit_given: bool,
    pub(super) tif: Tif,
    // The third line.
    pub(super) trail: Option<Trail>,
    pub(super) client: Option<Client>,
}

impl Rec {
    /// Whether it ends with the day.
    pub(super) fn is_day(&self) -> bool {
        self.tif == Tif::Day
    }

    /// How long it stands, as the client said.
    #[inline]
    pub(super) fn tif(&self) -> TimeInForce {
        match self.tif {
            Tif::Gtc => TimeInForce::Gtc,
            Tif::Ioc => TimeInForce::Ioc,
            Tif::Fok => TimeInForce::Fok,
            Tif::Day => TimeInForce::Day,
            Tif::Gtd => TimeInForce::Gtd(UnixNanos(self.expires)),
        }
    }

    /// Fees that it can be charged at, at most.
    #[inline]
    pub(super) fn bps_max(&self) -> u16 {
        self.maker_bps.max(self.taker_bps)
    }
}
