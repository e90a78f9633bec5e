//! Landing against real logs and real stores.
#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod landing;
mod readers;
mod s3;
mod s3_server;
mod seaweed;
mod support;
mod tending;
