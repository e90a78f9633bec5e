//! What a book reports.

use model::Side;

/// Why a book refuses a command. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The order does not rest here: never placed, filled or cancelled.
    #[error("the order does not rest in this book")]
    Unknown,
    /// An order with this id rests here already.
    #[error("an order with this id rests in this book already")]
    Duplicate,
    /// Lots outside 1 to 10^12.
    #[error("lots are outside 1 to 10^12")]
    Lots,
    /// Ticks outside 1 to 10^18.
    #[error("the price is outside 1 to 10^18 ticks")]
    Ticks,
    /// The book holds as many orders as it can: 2^24.
    #[error("the book is full: 16777216 orders")]
    Full,
}

/// One report of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A new order came in. Its trades follow.
    Accepted {
        /// The order.
        id: u64,
        /// Its side.
        side: Side,
        /// Its limit.
        ticks: i64,
        /// Its quantity.
        lots: u64,
    },
    /// Two orders met, at the resting one's price.
    Trade {
        /// The resting order.
        maker: u64,
        /// The incoming order.
        taker: u64,
        /// The price.
        ticks: i64,
        /// The quantity.
        lots: u64,
    },
    /// An order left without trading the rest: cancelled, or the rest of an immediate order.
    Cancelled {
        /// The order.
        id: u64,
        /// Its side.
        side: Side,
        /// Its limit.
        ticks: i64,
        /// What did not trade.
        lots: u64,
    },
    /// An order was replaced at the end of the queue of its new price. Its trades come before.
    Modified {
        /// The order.
        id: u64,
        /// Its side.
        side: Side,
        /// Its new limit.
        ticks: i64,
        /// Its new quantity.
        lots: u64,
    },
    /// A command was refused.
    Refused {
        /// The order it names.
        id: u64,
        /// Why.
        why: Refusal,
    },
}

/// Takes reports as they arise. A `Vec<Report>` that is cleared and reused is one; so is a closure.
pub trait Reports {
    /// Takes one report.
    fn report(&mut self, report: Report);
}

impl Reports for Vec<Report> {
    #[inline]
    fn report(&mut self, report: Report) {
        self.push(report);
    }
}

impl<F: FnMut(Report)> Reports for F {
    #[inline]
    fn report(&mut self, report: Report) {
        self(report);
    }
}
