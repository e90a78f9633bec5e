//! What one command brings about, in buffers that are reused from command to command.

use model::exchange::{
    AccountId, BookHead, Execution, InstrumentEvent, LevelChange, MarketTrade, Posting, write_book, write_execution,
    write_instrument_event, write_market_trade, write_posting,
};
use model::{Cause, UnixNanos, topic};

/// A change or snapshot of one book; its levels are `levels[start..end]` of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookUpdate {
    /// Everything but the levels.
    pub head: BookHead,
    /// First of its levels.
    pub start: u32,
    /// One past the last of its levels.
    pub end: u32,
}

/// The outputs of one command, per topic, in order. A record's place in its vector is the index of its cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Offset of the command in `orders`.
    pub offset: u64,
    /// The exchange's time.
    pub ts: UnixNanos,
    /// For the topic `executions`.
    pub executions: Vec<Execution>,
    /// For the topic `trades`.
    pub trades: Vec<MarketTrade>,
    /// For the topic `book`.
    pub book: Vec<BookUpdate>,
    /// The levels of `book`.
    pub levels: Vec<LevelChange>,
    /// For the topic `ledger`.
    pub postings: Vec<Posting>,
    /// For the topic `instruments`.
    pub instruments: Vec<InstrumentEvent>,
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
        self.executions.clear();
        self.trades.clear();
        self.book.clear();
        self.levels.clear();
        self.postings.clear();
        self.instruments.clear();
    }

    /// Number of records for a topic.
    pub fn len(&self, of: OutputTopic) -> usize {
        match of {
            OutputTopic::Executions => self.executions.len(),
            OutputTopic::Trades => self.trades.len(),
            OutputTopic::Book => self.book.len(),
            OutputTopic::Ledger => self.postings.len(),
            OutputTopic::Instruments => self.instruments.len(),
        }
    }

    /// Whether there is no record for any topic.
    pub fn is_empty(&self) -> bool {
        OutputTopic::ALL.iter().all(|topic| self.len(*topic) == 0)
    }

    /// The key of the `index`-th record for a topic.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn key(&self, of: OutputTopic, index: usize) -> OutputKey<'_> {
        match of {
            OutputTopic::Executions => OutputKey::Account(self.executions[index].account),
            OutputTopic::Trades => OutputKey::Instrument(self.trades[index].instrument.as_str()),
            OutputTopic::Book => OutputKey::Instrument(self.book[index].head.instrument.as_str()),
            OutputTopic::Ledger => OutputKey::Account(self.postings[index].account),
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
            OutputTopic::Executions => write_execution(&self.executions[index], &cause, self.ts, out),
            OutputTopic::Trades => write_market_trade(&self.trades[index], &cause, self.ts, out),
            OutputTopic::Book => {
                let update = &self.book[index];
                let levels = &self.levels[update.start as usize..update.end as usize];
                write_book(&update.head, levels, &cause, self.ts, out);
            }
            OutputTopic::Ledger => write_posting(&self.postings[index], &cause, self.ts, out),
            OutputTopic::Instruments => write_instrument_event(&self.instruments[index], &cause, self.ts, out),
        }
    }
}
