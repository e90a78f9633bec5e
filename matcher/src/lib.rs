//! Price-time books and the exchange state machine over them and the ledger.

pub mod book;
pub mod exchange;
pub mod memory;
pub mod shell;
