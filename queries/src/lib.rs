//! SQL over the lake and the live tail.
//!
//! One [`Engine`] plans and runs every statement, whatever door it came through: [`statement`] reads and checks
//! it, [`rewrite`](statement) turns what analysts of markets write into what DataFusion plans, [`table`] serves a
//! pinned snapshot of the lake together with the rows that have not landed yet, and [`functions`] and [`asof`]
//! add what DataFusion has not. `runs` aggregates sorted rows without hashing them, and shifts them for `lag`.

pub mod asof;
pub mod door;
pub mod engine;
pub mod error;
pub mod flight;
pub mod functions;
pub mod host;
pub mod limits;
pub mod live;
pub mod login;
pub mod output;
pub mod parameters;
pub mod postgres;
mod runs;
pub mod statement;
pub mod table;
pub mod worker;

pub use door::{DoorConfig, DoorError};
pub use engine::{Answer, Bounds, Caller, Engine, Pinned, Planned, Tables};
pub use error::SqlError;
pub use limits::Limits;
pub use login::Login;
