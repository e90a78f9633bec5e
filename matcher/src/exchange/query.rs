//! Reading the state: what an API answers from.

use ledger::{Balance, Position};
use model::exchange::{
    AccountId, Asset, BookHead, ClientOrderId, ExchangeLimits, LevelChange, MarketRules, OrderId, OrderView, Phase,
    write_book,
};
use model::{Cause, Instrument, Price, Role, Side, UnixNanos, Volume, topic};

use super::{Exchange, OutputTopic};
use crate::book::NONE;

/// A market as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketView {
    /// Its rules.
    pub rules: MarketRules,
    /// Its phase.
    pub phase: Phase,
    /// Whether its kill switch is thrown.
    pub killed: bool,
    /// Last trade's price.
    pub last: Option<Price>,
    /// Best bid with what shows there.
    pub bid: Option<(Price, Volume)>,
    /// Best ask with what shows there.
    pub ask: Option<(Price, Volume)>,
    /// Changes of its book so far.
    pub sequence: u64,
    /// Trades so far.
    pub trades: u64,
}

/// A book's best levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookLevels {
    /// Changes of the book so far: a delta with the next sequence follows this state.
    pub sequence: u64,
    /// The whole book's checksum, as deltas have it.
    pub checksum: u64,
    /// Price and what shows, from the best.
    pub bids: Vec<(Price, Volume)>,
    /// Price and what shows, from the best.
    pub asks: Vec<(Price, Volume)>,
}

impl Exchange {
    /// Offset of the last record taken in.
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// The exchange's time.
    pub fn clock(&self) -> UnixNanos {
        UnixNanos(self.clock)
    }

    /// The limits in force.
    pub fn limits(&self) -> ExchangeLimits {
        self.limits
    }

    /// Epoch and newest sequence of a writer.
    pub fn mark(&self, role: &Role) -> Option<(u64, u64)> {
        self.roles.mark(role)
    }

    /// Open orders of all accounts, waiting stops included.
    pub fn open_orders_count(&self) -> usize {
        self.nodes.len()
    }

    /// Client order ids remembered.
    pub fn remembered_ids(&self) -> usize {
        self.requests.len()
    }

    /// The listed markets in the order of their listing.
    pub fn markets(&self) -> impl Iterator<Item = MarketView> + '_ {
        (0..self.markets.len()).map(|number| self.market_view(number))
    }

    /// One market.
    pub fn market(&self, instrument: &Instrument) -> Option<MarketView> {
        self.by_name.get(instrument).map(|number| self.market_view(number as usize))
    }

    fn market_view(&self, number: usize) -> MarketView {
        let market = &self.markets[number];
        let top = |side| match market.depth.best(side) {
            NONE => None,
            level => Some((market.price(market.depth.ticks(level)), market.volume(market.depth.lots(level)))),
        };
        MarketView {
            rules: market.rules,
            phase: market.phase,
            killed: market.killed,
            last: (market.last > 0).then(|| market.price(market.last)),
            bid: top(Side::Buy),
            ask: top(Side::Sell),
            sequence: market.sequence,
            trades: market.trades,
        }
    }

    /// A book's best `depth` levels of each side.
    pub fn book(&self, instrument: &Instrument, depth: usize) -> Option<BookLevels> {
        let market = &self.markets[self.by_name.get(instrument)? as usize];
        let levels = |side| {
            let best = market.depth.iter(side).take(depth);
            best.map(|level| (market.price(market.depth.ticks(level)), market.volume(market.depth.lots(level))))
                .collect()
        };
        Some(BookLevels {
            sequence: market.sequence,
            checksum: market.checksum,
            bids: levels(Side::Buy),
            asks: levels(Side::Sell),
        })
    }

    /// Appends a book as a snapshot of the topic `book`, with the best `levels_max` of each side, and returns its
    /// sequence. None, and nothing is appended, where the market is not listed.
    pub fn write_book(&self, instrument: &Instrument, levels_max: usize, out: &mut Vec<u8>) -> Option<u64> {
        let book = self.book(instrument, levels_max + 1)?;
        let (sequence, checksum) = (book.sequence, book.checksum);
        let complete = book.bids.len() <= levels_max && book.asks.len() <= levels_max;
        let mut levels = Vec::with_capacity(book.bids.len() + book.asks.len());
        for (side, all) in [(Side::Buy, &book.bids), (Side::Sell, &book.asks)] {
            let best = all.iter().take(levels_max);
            levels.extend(best.map(|(price, quantity)| LevelChange { side, price: *price, quantity: *quantity }));
        }
        let head = BookHead { instrument: *instrument, sequence, snapshot: true, complete, checksum };
        write_book(&head, &levels, &self.cause(), self.clock(), out);
        Some(sequence)
    }

    /// The last command that the state has in it: the cause of whatever is told of the state.
    pub fn cause(&self) -> Cause {
        Cause { topic: topic::name(topic::ORDERS), partition: 0, offset: self.applied().unwrap_or(0), index: 0 }
    }

    /// An account's balances, by asset in the order of their first listing.
    pub fn balances(&self, account: AccountId) -> impl Iterator<Item = (Asset, Balance)> + '_ {
        self.ledger.balances(account)
    }

    /// An account's positions, by market in the order of their listing.
    pub fn positions(&self, account: AccountId) -> impl Iterator<Item = (Instrument, Position)> + '_ {
        let all = self.markets.iter().enumerate();
        let all = all.map(move |(number, market)| (market.rules.instrument, self.positions.get(number, account)));
        all.filter(|(_, position)| *position != Position::default())
    }

    fn view(&self, slot: u32) -> OrderView {
        let state = self.state(slot);
        state.view(&self.markets[state.market as usize].listing)
    }

    /// An account's open orders, newest first.
    pub fn open_orders(&self, account: AccountId) -> impl Iterator<Item = (OrderView, Option<ClientOrderId>)> + '_ {
        let mut at = self.account_row(account.0).head;
        std::iter::from_fn(move || {
            if at == NONE {
                return None;
            }
            let slot = at;
            let rec = &self.recs[slot as usize];
            at = rec.next;
            Some((self.view(slot), rec.client.map(|client| client.id)))
        })
    }

    /// An open order, with its account.
    pub fn order(&self, id: OrderId) -> Option<(AccountId, OrderView)> {
        let slot = self.ids.find(&self.nodes, id)?;
        Some((self.account_of(slot), self.view(slot)))
    }

    /// What its client calls an open order.
    pub fn client_order_id(&self, id: OrderId) -> Option<ClientOrderId> {
        let slot = self.ids.find(&self.nodes, id)?;
        self.recs[slot as usize].client.map(|client| client.id)
    }

    /// The open order that an account placed under this client order id.
    pub fn order_by_client(&self, account: AccountId, client: &ClientOrderId) -> Option<OrderView> {
        self.open_by_client(account.0, client).map(|slot| self.view(slot))
    }

    /// Executions of an account so far.
    pub fn execution_sequence(&self, account: AccountId) -> u64 {
        self.account_row(account.0).sequence
    }

    /// The topics that it writes.
    pub const fn topics() -> [OutputTopic; 5] {
        OutputTopic::ALL
    }

    /// Bytes of memory held by the large tables.
    pub fn bytes(&self) -> usize {
        let books: usize = self.markets.iter().map(|market| market.depth.bytes() + market.stops.bytes()).sum();
        self.nodes.bytes()
            + self.recs.bytes()
            + self.ids.bytes()
            + self.clients.bytes()
            + self.requests.bytes()
            + self.ledger.bytes()
            + books
    }
}
