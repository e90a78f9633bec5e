//! The topics and which partition a key belongs to.

use crate::instrument::Instrument;
use crate::name::Name;

/// Market data of the venues and all else that the aggregation folds. Key: base asset.
pub const TICKS: &str = "ticks";
/// Composite prices. Key: instrument.
pub const PRICES: &str = "prices";
/// Final candles and their corrections. Key: instrument and interval.
pub const CANDLES: &str = "candles";
/// Requests to stages: refresh. Key: instrument.
pub const CONTROL: &str = "control";
/// The matcher's inbox. Key: shard.
pub const ORDERS: &str = "orders";
/// What became of each command. Key: account.
pub const EXECUTIONS: &str = "executions";
/// Every posting. Key: account.
pub const LEDGER: &str = "ledger";
/// Listings and phases. Key: instrument.
pub const INSTRUMENTS: &str = "instruments";
/// Matches on our own book. Key: instrument.
pub const TRADES: &str = "trades";
/// Level deltas of our own book. Key: instrument.
pub const BOOK: &str = "book";
/// Who called what, and the outcome. Key: actor.
pub const AUDIT: &str = "audit";
/// What could not be used, and why. Key: source.
pub const DEAD_LETTERS: &str = "dead-letters";

/// The key of a record about `instrument` in [`TICKS`]: its base asset, so that an instrument and those
/// converted into it meet in one partition.
pub fn ticks_key(instrument: &Instrument) -> &str {
    instrument.base()
}

/// A topic's name as causes carry it.
///
/// # Panics
/// When `topic` is longer than 23 bytes; every topic above is shorter.
pub fn name(topic: &str) -> Name<23> {
    topic.parse().expect("topic names are short")
}

/// 64-bit FNV-1a: small, stable and the same everywhere. Not for untrusted keys in a hash map.
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// The partition of `key` among `partitions`, the same on every back end and for ever.
///
/// # Panics
/// When `partitions` is 0.
pub const fn partition_for(key: &[u8], partitions: u32) -> u32 {
    assert!(partitions > 0);
    (fnv1a(key) % partitions as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_never_move() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let placed = ["BTC", "ETH", "USDT", "SOL"].map(|key| partition_for(key.as_bytes(), 4));
        assert_eq!(placed, [0, 0, 1, 1]);
    }
}
