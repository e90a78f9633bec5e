//! Requests per second.

fn main() {}
