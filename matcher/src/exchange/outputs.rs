//! What one command brings about, in buffers that are reused from command to command.
//!
//! The core leaves fixed-size rows of numbers here; whoever reads them gets the model's words, made on the way
//! out. [`Outputs::write`] makes the text of a topic from a row, straight into the batch that takes it.

use std::sync::Arc;

use ledger::Entry;
use model::exchange::{
    AccountId, BookHead, Execution, InstrumentEvent, LevelChange, MarketTrade, Posting, write_book, write_execution,
    write_instrument_event, write_market_trade, write_posting,
};
use model::{Cause, Side, UnixNanos, topic};

use super::report::{Detail, Match, Report};
use super::units::Catalog;
use crate::book::prefetch;

/// A change or snapshot of one book; its levels are `levels[start..end]` of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BookUpdate {
    pub(super) sequence: u64,
    pub(super) checksum: u64,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) market: u16,
    pub(super) snapshot: bool,
    pub(super) complete: bool,
}

/// A level as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelRow {
    pub(super) ticks: i64,
    pub(super) lots: u64,
    pub(super) sell: bool,
}

/// Rows of a kind that a buffer keeps room for when it is trimmed.
const KEPT_ROWS: usize = 32;

/// The outputs of one command, per topic, in order. A record's place in its topic is the index of its cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Offset of the command in `orders`.
    pub offset: u64,
    /// The exchange's time.
    pub ts: UnixNanos,
    pub(super) catalog: Arc<Catalog>,
    pub(super) reports: Vec<Report>,
    pub(super) details: Vec<Detail>,
    pub(super) matches: Vec<Match>,
    pub(super) book: Vec<BookUpdate>,
    pub(super) levels: Vec<LevelRow>,
    pub(super) entries: Vec<Entry>,
    pub(super) instruments: Vec<InstrumentEvent>,
}

/// A topic that the exchange writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputTopic {
    /// What became of each command.
    Executions,
    /// Matches.
    Trades,
    /// Changes of the books.
    Book,
    /// Postings.
    Ledger,
    /// Markets and their phases.
    Instruments,
}

impl OutputTopic {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Executions, Self::Trades, Self::Book, Self::Ledger, Self::Instruments];

    /// The topic's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Executions => topic::EXECUTIONS,
            Self::Trades => topic::TRADES,
            Self::Book => topic::BOOK,
            Self::Ledger => topic::LEDGER,
            Self::Instruments => topic::INSTRUMENTS,
        }
    }
}

/// What a record is keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKey<'a> {
    /// An account's number.
    Account(AccountId),
    /// An instrument's name.
    Instrument(&'a str),
}

impl Outputs {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.reports.clear();
        self.details.clear();
        self.matches.clear();
        self.book.clear();
        self.levels.clear();
        self.entries.clear();
        self.instruments.clear();
    }

    /// Forgets everything, and gives memory back that few commands need, so that many buffers can be kept.
    pub fn trim(&mut self) {
        self.clear();
        self.reports.shrink_to(KEPT_ROWS);
        self.details.shrink_to(KEPT_ROWS);
        self.matches.shrink_to(KEPT_ROWS);
        self.book.shrink_to(KEPT_ROWS);
        self.levels.shrink_to(KEPT_ROWS);
        self.entries.shrink_to(KEPT_ROWS);
        self.instruments.shrink_to(KEPT_ROWS);
    }

    /// Asks the processor to fetch the first rows of each kind, which another core may have made.
    pub(crate) fn prefetch(&self) {
        prefetch::read(&self.reports, 0);
        prefetch::read_at(&self.reports, 0, 64);
        prefetch::read(&self.book, 0);
        prefetch::read(&self.levels, 0);
        prefetch::read(&self.entries, 0);
        prefetch::read_at(&self.entries, 0, 64);
        prefetch::read_at(&self.entries, 0, 128);
        prefetch::read(&self.matches, 0);
    }

    /// Keeps what few executions say; its place.
    pub(super) fn detail(&mut self, detail: Detail) -> u32 {
        self.details.push(detail);
        (self.details.len() - 1) as u32
    }

    /// Number of records for a topic.
    pub fn len(&self, of: OutputTopic) -> usize {
        match of {
            OutputTopic::Executions => self.reports.len(),
            OutputTopic::Trades => self.matches.len(),
            OutputTopic::Book => self.book.len(),
            OutputTopic::Ledger => self.entries.len(),
            OutputTopic::Instruments => self.instruments.len(),
        }
    }

    /// Whether there is no record for any topic.
    pub fn is_empty(&self) -> bool {
        OutputTopic::ALL.iter().all(|topic| self.len(*topic) == 0)
    }

    /// The `index`-th execution.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn execution(&self, index: usize) -> Execution {
        self.reports[index].execution(&self.catalog, &self.matches, &self.details)
    }

    /// The executions in order.
    pub fn executions(&self) -> impl DoubleEndedIterator<Item = Execution> + ExactSizeIterator + '_ {
        (0..self.reports.len()).map(|index| self.execution(index))
    }

    /// The executions of one account in order.
    pub fn executions_of(&self, account: AccountId) -> impl Iterator<Item = Execution> + '_ {
        let own = self.reports.iter().filter(move |report| report.account == account.0);
        own.map(|report| report.execution(&self.catalog, &self.matches, &self.details))
    }

    /// The `index`-th trade.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn trade(&self, index: usize) -> MarketTrade {
        let matched = &self.matches[index];
        matched.trade(&self.catalog.markets[matched.market as usize])
    }

    /// The trades in order.
    pub fn trades(&self) -> impl ExactSizeIterator<Item = MarketTrade> + '_ {
        (0..self.matches.len()).map(|index| self.trade(index))
    }

    /// The `index`-th posting.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn posting(&self, index: usize) -> Posting {
        let entry = &self.entries[index];
        entry.posting(self.catalog.assets[entry.asset.0 as usize])
    }

    /// The postings in order.
    pub fn postings(&self) -> impl ExactSizeIterator<Item = Posting> + '_ {
        (0..self.entries.len()).map(|index| self.posting(index))
    }

    /// The `index`-th change or snapshot of a book, with its levels.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn book(&self, index: usize) -> (BookHead, impl Iterator<Item = LevelChange> + Clone + '_) {
        let update = &self.book[index];
        let listing = &self.catalog.markets[update.market as usize];
        let head = BookHead {
            instrument: listing.instrument,
            sequence: update.sequence,
            snapshot: update.snapshot,
            complete: update.complete,
            checksum: update.checksum,
        };
        let levels = self.levels[update.start as usize..update.end as usize].iter().map(|row| LevelChange {
            side: if row.sell { Side::Sell } else { Side::Buy },
            price: listing.price(row.ticks),
            quantity: listing.volume(row.lots),
        });
        (head, levels)
    }

    /// Events of markets in order.
    pub fn instruments(&self) -> &[InstrumentEvent] {
        &self.instruments
    }

    /// The key of the `index`-th record for a topic.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn key(&self, of: OutputTopic, index: usize) -> OutputKey<'_> {
        let market = |number: u16| OutputKey::Instrument(self.catalog.markets[number as usize].instrument.as_str());
        match of {
            OutputTopic::Executions => OutputKey::Account(AccountId(self.reports[index].account)),
            OutputTopic::Trades => market(self.matches[index].market),
            OutputTopic::Book => market(self.book[index].market),
            OutputTopic::Ledger => OutputKey::Account(self.entries[index].account),
            OutputTopic::Instruments => OutputKey::Instrument(self.instruments[index].instrument.as_str()),
        }
    }

    /// Appends the `index`-th record for a topic as JSON, with its cause: this command in partition `partition` of
    /// `orders`.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn write(&self, of: OutputTopic, index: usize, partition: u32, out: &mut Vec<u8>) {
        let cause = Cause { topic: topic::name(topic::ORDERS), partition, offset: self.offset, index: index as u32 };
        match of {
            OutputTopic::Executions => write_execution(&self.execution(index), &cause, self.ts, out),
            OutputTopic::Trades => write_market_trade(&self.trade(index), &cause, self.ts, out),
            OutputTopic::Book => {
                let (head, levels) = self.book(index);
                write_book(&head, levels, &cause, self.ts, out);
            }
            OutputTopic::Ledger => write_posting(&self.posting(index), &cause, self.ts, out),
            OutputTopic::Instruments => write_instrument_event(&self.instruments[index], &cause, self.ts, out),
        }
    }

    /// Folds what came of the command into `state`: cheap, and different at the first command of which two
    /// replicas made different things.
    pub fn chain(&self, state: u64) -> u64 {
        // The constant is 2^64 over the golden ratio: it spreads nearby values.
        let mix = |state: u64, value: u64| (state.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut state = mix(state, self.offset);
        for report in &self.reports {
            let order = report.order.map_or(0, |order| order.id ^ order.open.rotate_left(32));
            state = mix(state, report.sequence ^ u64::from(report.account).rotate_left(40) ^ order);
        }
        for entry in &self.entries {
            state = mix(state, entry.available as u64 ^ (entry.held as u64).rotate_left(32));
        }
        state
    }
}
