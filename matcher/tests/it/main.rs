//! What the books and the exchange promise, tried from the outside.
#![allow(clippy::unwrap_used)]

mod auditor;
mod book_cases;
mod book_differential;
mod cases;
mod conservation;
mod naive;
mod replay;
mod requests;
mod sweep;
mod workload;
