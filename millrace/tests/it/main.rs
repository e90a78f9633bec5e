//! The program as its users run it: the real binary, real sockets, a real disk.

#![allow(clippy::unwrap_used)]

mod commands;
mod kill;
mod program;
mod refusals;
