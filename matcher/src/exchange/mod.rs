//! The exchange: orders by price and time over a double-entry ledger, as a pure state machine.
//!
//! [`Exchange::apply`] folds the records of the topic `orders`, one after the other, and says what came of each
//! in [`Outputs`]. It reads no clock and draws no random numbers, so the same records give the same state and the
//! same bytes, always.
//!
//! # The order of things within one command
//! 1. The record is dropped when its writer's mark says that it was seen, or its epoch is over.
//! 2. The exchange's time becomes the maximum of itself and the record's.
//! 3. Work left over is done, up to 10,000 steps: an auction being settled, orders being cancelled by a kill
//!    switch or a market's close. Then orders and accounts whose time is over, up to 10,000.
//! 4. A client order id that is remembered is answered with its first outcome, and nothing else happens.
//! 5. The command itself.
//! 6. Stops, in one pass order: whenever an order has finished trading, the stops that its trades reached are set
//!    off and queued: buying stops by trigger price from the lowest, selling stops from the highest, each price
//!    in the order of arrival, then trailing stops in the order of arrival. The first in the queue trades next;
//!    what its trades reach goes to the queue's end. So it goes on until the queue is empty.
//! 7. One delta per book that changed.
//!
//! A command makes at most [`FILLS_MAX`] fills, those of stops included. An order that would make more has its
//! rest cancelled as `SWEEP_LIMIT`, and so have all stops that follow. An auction is never cut: it goes on with
//! the next record.

mod accounts;
mod admin;
mod admit;
mod amend;
mod amend_stop;
mod auction;
mod cancel;
mod fill;
mod fingerprint;
mod market;
mod matching;
mod money;
mod names;
mod order;
mod outputs;
mod pair;
mod place;
mod prefetch;
mod publish;
mod query;
mod report;
mod requests;
mod roles;
mod snapshot;
mod stops;
mod timers;
mod units;
mod verify;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;

use ledger::{AssetId, Chunks, Ledger, Positions};
use model::UnixNanos;
use model::exchange::{AccountId, ClientOrderId, Command, CommandBody, ExchangeLimits, ExecutionKind, Reason};

use crate::book::{IdIndex, Nodes, SlotIndex};

use accounts::AccountRow;
use amend::Change;
use market::Market;
use names::Names;
use order::Recs;
use report::{Detail, Report};
use requests::{Client, Outcome, Remembered, Requests};
use roles::Roles;
use timers::Timers;
use units::Catalog;

pub use outputs::{OutputKey, OutputTopic, Outputs};
pub use query::{BookLevels, MarketView};
pub use snapshot::{FORMAT_VERSION, LOGIC_VERSION};

/// Fills of one command, at most.
pub const FILLS_MAX: u32 = 10_000;
/// Markets of one exchange, at most.
pub const MARKETS_MAX: usize = 1_024;
/// Stops that wait in one market, at most.
pub const STOPS_MAX: u32 = 10_000;
/// Trailing stops that wait in one market, at most.
pub const TRAILING_MAX: usize = 1_000;
/// Orders in the slab before it has to grow, which copies it. Memory is only taken for those that there are.
const SLOTS_ROOM: usize = 1 << 22;
/// Order records in a chunk.
const REC_CHUNK: usize = 32_768;
/// How far ahead of the exchange's time a client's `sent_at` may be.
const SENT_AHEAD_NS: i64 = 5_000_000_000;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was carried out, or rejected with a reason; the outputs say which.
    Done,
    /// It was seen before, or its writer has no valid claim. Nothing happened, not even time passed.
    Skipped,
}

/// Why a command or an order is refused, with the numbers for the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused {
    reason: Reason,
    given: Option<i128>,
    limit: Option<i128>,
}

impl Refused {
    const fn plain(reason: Reason) -> Self {
        Self { reason, given: None, limit: None }
    }

    fn with(reason: Reason, given: impl Into<i128>, limit: impl Into<i128>) -> Self {
        Self { reason, given: Some(given.into()), limit: Some(limit.into()) }
    }
}

/// An order that still has to be cancelled for a reason that concerns many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drained {
    slot: u32,
    id: u64,
    market: u16,
    reason: Reason,
}

/// The state machine. See the module's text for the order of things.
#[derive(Debug, Clone)]
pub struct Exchange {
    seed: u64,
    limits: ExchangeLimits,
    applied: Option<u64>,
    clock: i64,
    roles: Roles,
    ledger: Ledger,
    positions: Positions,
    accounts: Vec<AccountRow>,
    markets: Vec<Market>,
    by_name: Names,
    catalog: Arc<Catalog>,
    nodes: Nodes,
    recs: Recs,
    ids: IdIndex,
    clients: SlotIndex,
    requests: Requests,
    timers: Timers,
    drain: VecDeque<Drained>,
    /// Markets whose auction is being settled.
    settling: u32,
    orders: u64,
    /// What open orders and pending withdrawals reserve, per asset, kept as it changes.
    reserved: Vec<i128>,
    // Of the running command; empty between commands.
    dirty: Vec<u16>,
    set_off: VecDeque<u32>,
    fills_left: u32,
    outcome: Option<Outcome>,
    scratch: Vec<u8>,
}

impl Exchange {
    /// An exchange without markets or money. `seed` keys the hashes of client order ids, so that clients cannot
    /// choose ids that collide; it is part of the state and must be the same in every replica: take it from the
    /// log's incarnation.
    pub fn new(seed: u64) -> Self {
        let limits = ExchangeLimits::default();
        Self {
            seed,
            limits,
            applied: None,
            clock: i64::MIN,
            roles: Roles::default(),
            ledger: Ledger::default(),
            positions: Positions::default(),
            accounts: Vec::new(),
            markets: Vec::new(),
            by_name: Names::default(),
            catalog: Arc::default(),
            nodes: Nodes::with_capacity(SLOTS_ROOM),
            recs: Chunks::default(),
            ids: IdIndex::default(),
            clients: SlotIndex::default(),
            requests: Requests::new(limits.ids_max),
            timers: Timers::default(),
            drain: VecDeque::new(),
            settling: 0,
            orders: 0,
            reserved: Vec::new(),
            dirty: Vec::new(),
            set_off: VecDeque::new(),
            fills_left: 0,
            outcome: None,
            scratch: Vec::new(),
        }
    }

    /// Carries out the record at `offset` of `orders`. `out` is cleared first.
    ///
    /// # Panics
    /// When money would not be conserved or a balance become negative: a fault of this program, after which it
    /// must not go on.
    pub fn apply(&mut self, offset: u64, command: &Command, out: &mut Outputs) -> Applied {
        out.clear();
        out.offset = offset;
        if !Arc::ptr_eq(&out.catalog, &self.catalog) {
            out.catalog = Arc::clone(&self.catalog);
        }
        if self.applied.is_some_and(|applied| offset <= applied) {
            return Applied::Skipped;
        }
        self.applied = Some(offset);
        if matches!(command.body, CommandBody::Claim) {
            if let model::Origin::Root { role, .. } = &command.origin {
                self.roles.claim(*role, offset);
            }
            return Applied::Done;
        }
        if !self.roles.admit(&command.origin) {
            return Applied::Skipped;
        }
        self.clock = self.clock.max(command.ts.0);
        out.ts = UnixNanos(self.clock);
        self.fills_left = FILLS_MAX;
        self.outcome = None;
        self.do_leftover_work(out);
        match command.request {
            Some(id) => self.once(offset, command, id, out),
            None => self.carry_out(command, None, out),
        }
        self.publish_books(out);
        self.assert_reserved();
        Applied::Done
    }

    /// Carries a command out unless its id is remembered, and remembers what came of it.
    fn once(&mut self, offset: u64, command: &Command, id: ClientOrderId, out: &mut Outputs) {
        self.requests.forget(self.clock.saturating_sub(self.limits.ids_ttl_ns));
        let fingerprint = fingerprint::of(&command.body, &mut self.scratch);
        let account = command.account;
        let tag = requests::tag_of(self.seed, account.0, &id);
        if let Some(known) = self.requests.find(tag, account.0, &id) {
            if known.fingerprint == fingerprint {
                let (first, outcome) = (known.offset, known.outcome());
                return self.tell_again(command, first, &outcome, out);
            }
            return self.reject(command, Refused::plain(Reason::IdReused), out);
        }
        let sent_at = command.sent_at.0;
        if sent_at > self.clock.saturating_add(SENT_AHEAD_NS) {
            return self.reject(command, Refused::plain(Reason::SentInFuture), out);
        }
        if sent_at <= self.requests.floor || sent_at < self.clock.saturating_sub(self.limits.ids_ttl_ns) {
            return self.reject(command, Refused::plain(Reason::TooOld), out);
        }
        self.carry_out(command, Some(Client { id, tag }), out);
        if let Some(outcome) = self.outcome.take() {
            let outcome = self.latest(outcome, out);
            let client = Client { id, tag };
            let entry = Remembered::new(account.0, &client, fingerprint, (offset, sent_at, self.clock), &outcome);
            self.requests.remember(entry);
        }
    }

    fn carry_out(&mut self, command: &Command, client: Option<Client>, out: &mut Outputs) {
        if let Err(refused) = self.dispatch(command, client, out) {
            self.reject(command, refused, out);
        }
        self.settle_stops(out);
    }

    fn dispatch(&mut self, command: &Command, client: Option<Client>, out: &mut Outputs) -> Result<(), Refused> {
        let account = command.account;
        if account.0 >= AccountId::MAX {
            return Err(Refused::with(Reason::UnknownAccount, whole(account.0), whole(AccountId::MAX)));
        }
        match &command.body {
            CommandBody::Place(order) => self.place(account, client, order, out),
            CommandBody::Cancel { order } => self.cancel(account, order, out),
            CommandBody::Amend { order, price, quantity, trigger } => {
                let change = Change { price: *price, quantity: *quantity, trigger: *trigger };
                self.amend(account, order, &change, out)
            }
            CommandBody::PlaceOco(pair) => self.place_pair(account, client, &pair.0, &pair.1, out),
            CommandBody::CancelAll { instrument } => self.cancel_all(command, *instrument, out),
            CommandBody::CancelAllAfter { deadline } => self.cancel_all_after(command, *deadline, out),
            CommandBody::Deposit { asset, amount } => self.deposit(command, asset, *amount, out),
            CommandBody::Withdraw { asset, amount, pending } => self.withdraw(command, asset, *amount, *pending, out),
            CommandBody::Settle { transfer, post } => self.settle_withdrawal(command, *transfer, *post, out),
            CommandBody::Transfer { to, asset, amount } => self.transfer(command, *to, asset, *amount, out),
            CommandBody::Clock => {
                self.indicate_all(out);
                Ok(())
            }
            CommandBody::Claim => unreachable!("claims are taken in before"),
            operator => {
                if account != AccountId::HOUSE {
                    return Err(Refused::plain(Reason::NotAllowed));
                }
                self.administer(command, operator, out)
            }
        }
    }

    /// Adds the answer to a command that is about no order.
    fn done(&mut self, command: &Command, out: &mut Outputs) {
        self.done_with(command, Detail::default(), out);
    }

    /// As [`Self::done`], with what else there is to say.
    fn done_with(&mut self, command: &Command, detail: Detail, out: &mut Outputs) {
        let mut report = Report::new(command.account.0, ExecutionKind::Done, command.request);
        self.outcome = Some(Outcome {
            order: detail.transfer.unwrap_or(0),
            notional: detail.amount.unwrap_or(0),
            ..Outcome::new(ExecutionKind::Done)
        });
        if detail != Detail::default() {
            report.detail = out.detail(detail);
        }
        self.report(report, out);
    }

    fn reject(&mut self, command: &Command, refused: Refused, out: &mut Outputs) {
        // An account that cannot exist has no sequence of its own; the house is told.
        let account = if command.account.0 < AccountId::MAX { command.account } else { AccountId::HOUSE };
        let Refused { reason, given, limit } = refused;
        let mut report = Report::new(account.0, ExecutionKind::Rejected, command.request);
        report.reason = Some(reason);
        if given.is_some() || limit.is_some() {
            report.detail = out.detail(Detail { given, limit, ..Detail::default() });
        }
        self.outcome = Some(Outcome { reason: Some(reason), given, limit, ..Outcome::new(ExecutionKind::Rejected) });
        self.report(report, out);
    }

    /// Gives a report its account's next sequence and adds it.
    #[inline]
    fn report(&mut self, mut report: Report, out: &mut Outputs) {
        let row = self.account_mut(report.account);
        row.sequence += 1;
        report.sequence = row.sequence;
        out.reports.push(report);
    }

    /// Brings the names up to date after a market was listed.
    fn recatalog(&mut self) {
        self.catalog = Arc::new(Catalog {
            markets: self.markets.iter().map(|market| market.listing).collect(),
            assets: self.ledger.assets().to_vec(),
        });
    }

    /// Marks a market whose book changes in this command.
    #[inline]
    fn mark_dirty(&mut self, market: u16) {
        if self.dirty.last() != Some(&market) && !self.dirty.contains(&market) {
            self.dirty.push(market);
        }
    }

    #[inline]
    fn reserve(&mut self, asset: AssetId, change: i128) {
        self.reserved[asset.0 as usize] += change;
    }
}

/// A count as it appears in sentences: whole units.
fn whole(count: impl Into<i128>) -> i128 {
    count.into() * 100_000_000
}
