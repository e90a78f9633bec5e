//! The venues as servers: sockets, the wall clock, and a handle to steer them.

mod handle;
mod http;
mod run;
mod socket;

pub use handle::{Handle, Venues};
