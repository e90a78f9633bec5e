//! The program as its users run it: the real binary, real sockets, a real disk.

#![allow(clippy::unwrap_used)]

mod browser;
mod capture;
mod cluster;
mod commands;
mod fold;
mod kill;
mod lake;
mod orders;
mod page;
mod program;
mod refusals;
#[allow(dead_code, reason = "the sink's own tests use all of it")]
#[path = "../../../sink/tests/it/s3_server.rs"]
mod s3_server;
mod sql;
