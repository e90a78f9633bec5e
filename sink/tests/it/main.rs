//! Landing against real logs and real stores.
#![allow(clippy::unwrap_used, reason = "tests")]

mod landing;
mod support;
