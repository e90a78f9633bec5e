//! The JSON of our own writer, read field after field in the order in which it writes them.
//!
//! A match is a hundred times more frequent than anything else in JSON, so it does not go through a general
//! parser. Any other text, in another order or with spaces, is `None` here and read by serde.

use std::sync::LazyLock;

use model::exchange::{MarketTrade, Stamped};
use model::{Cause, Instrument, Name, Price, Quantity, Side, UnixNanos, digits, topic};

struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The length is known where this is called, so the comparison is a few words and no call.
    #[inline(always)]
    fn skip<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        if first != expected {
            return None;
        }
        self.0 = rest;
        Some(())
    }

    /// Digits up to what follows them, without a leading zero.
    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let (value, len) = digits::unsigned(self.0)?;
        if len > 1 && self.0[0] == b'0' {
            return None;
        }
        self.0 = &self.0[len..];
        Some(value)
    }

    /// Text up to the closing quote, which is taken too; none with anything escaped.
    #[inline]
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let len = self.0.iter().take(65).position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at(len);
        self.0 = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// A decimal up to the closing quote, which is taken too, in units of 1e-8.
    #[inline]
    fn decimal(&mut self) -> Option<i64> {
        if let Some((raw, len)) = digits::decimal(self.0)
            && let Some(rest) = self.0[len..].strip_prefix(b"\"")
        {
            self.0 = rest;
            return Some(raw);
        }
        Price::parse(self.quoted()?).ok().map(Price::raw)
    }

    #[inline]
    fn side(&mut self) -> Option<Side> {
        if self.skip(b"buy\"").is_some() {
            return Some(Side::Buy);
        }
        self.skip(b"sell\"").map(|()| Side::Sell)
    }

    #[inline]
    fn truth(&mut self) -> Option<bool> {
        if self.skip(b"false").is_some() {
            return Some(false);
        }
        self.skip(b"true").map(|()| true)
    }

    /// A topic's name up to the closing quote, which is taken too. Commands are the cause of every match.
    #[inline]
    fn topic(&mut self) -> Option<Name<23>> {
        static ORDERS: LazyLock<Name<23>> = LazyLock::new(|| topic::name(topic::ORDERS));
        if self.skip(b"orders\"").is_some() {
            return Some(*ORDERS);
        }
        Name::new(self.quoted()?).ok()
    }
}

/// Reads what [`model::exchange::write_market_trade`] writes.
pub(super) fn market_trade(bytes: &[u8]) -> Option<Stamped<MarketTrade>> {
    let mut text = Text(bytes);
    text.skip(b"{\"v\":1,\"instrument\":\"")?;
    let instrument = Instrument::new(text.quoted()?).ok()?;
    text.skip(b",\"trade_id\":")?;
    let trade_id = text.number()?;
    text.skip(b",\"price\":\"")?;
    let price = Price::from_raw(text.decimal()?)?;
    text.skip(b",\"quantity\":\"")?;
    let quantity = Quantity::from_raw(text.decimal()?)?;
    text.skip(b",\"taker_side\":\"")?;
    let taker_side = text.side()?;
    text.skip(b",\"maker_order\":")?;
    let maker_order = text.number()?;
    text.skip(b",\"taker_order\":")?;
    let taker_order = text.number()?;
    text.skip(b",\"auction\":")?;
    let auction = text.truth()?;
    text.skip(b",\"busted\":")?;
    let busted = text.truth()?;
    text.skip(b",\"cause\":{\"topic\":\"")?;
    let topic = text.topic()?;
    text.skip(b",\"partition\":")?;
    let partition = u32::try_from(text.number()?).ok()?;
    text.skip(b",\"offset\":")?;
    let offset = text.number()?;
    text.skip(b",\"index\":")?;
    let index = u32::try_from(text.number()?).ok()?;
    text.skip(b"},\"ts_event\":")?;
    let ts_event = UnixNanos(i64::try_from(text.number()?).ok()?);
    text.skip(b"}")?;
    if !text.0.is_empty() {
        return None;
    }
    let body =
        MarketTrade { instrument, trade_id, price, quantity, taker_side, maker_order, taker_order, auction, busted };
    Some(Stamped { v: 1, body, cause: Cause { topic, partition, offset, index }, ts_event })
}

#[cfg(test)]
mod tests {
    use model::exchange::write_market_trade;

    use super::*;

    fn random(random: &mut fastrand::Rng) -> Stamped<MarketTrade> {
        let raw = |random: &mut fastrand::Rng| random.i64(1..Price::MAX.raw()) >> random.u32(0..58);
        Stamped {
            v: 1,
            body: MarketTrade {
                instrument: "BTC-USDT".parse().expect("an instrument"),
                trade_id: random.u64(..) >> random.u32(1..64),
                price: Price::from_raw(raw(random)).expect("in range"),
                quantity: Quantity::from_raw(raw(random)).expect("in range"),
                taker_side: if random.bool() { Side::Buy } else { Side::Sell },
                maker_order: random.u64(..) >> random.u32(1..64),
                taker_order: random.u64(..) >> random.u32(1..64),
                auction: random.bool(),
                busted: random.bool(),
            },
            cause: Cause {
                topic: topic::name(topic::ORDERS),
                partition: random.u32(..),
                offset: random.u64(..) >> 1,
                index: random.u32(..),
            },
            ts_event: UnixNanos(random.i64(0..i64::MAX)),
        }
    }

    #[test]
    fn it_reads_what_serde_reads_and_leaves_the_rest_to_it() {
        for seed in 0..3_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let trade = random(&mut rng);
            let mut bytes = Vec::new();
            write_market_trade(&trade.body, &trade.cause, trade.ts_event, &mut bytes);
            let general: Stamped<MarketTrade> = serde_json::from_slice(&bytes).expect("our own form");
            let fast = market_trade(&bytes).unwrap_or_else(|| panic!("seed {seed}: not read"));
            assert_eq!(fast, general, "seed {seed}");
            // A spoilt text is never read as something that the general parser would read otherwise.
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(b' '..b'~');
            if let Some(fast) = market_trade(&bytes) {
                assert_eq!(Some(fast), serde_json::from_slice(&bytes).ok(), "seed {seed}, byte {at}");
            }
            bytes.truncate(at);
            assert_eq!(market_trade(&bytes), None, "seed {seed}, cut at {at}");
        }
    }
}
