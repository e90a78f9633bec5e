//! The program as its users run it: the real binary, real sockets, a real disk.

#![allow(clippy::unwrap_used)]

mod browser;
mod cluster;
mod commands;
mod fold;
mod kill;
mod orders;
mod page;
mod program;
mod refusals;
mod sql;
