//! What the books and the exchange promise, tried from the outside.
#![allow(clippy::unwrap_used)]

mod book_cases;
mod book_differential;
mod naive;
