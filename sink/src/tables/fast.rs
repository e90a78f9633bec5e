//! The JSON of our own writer, read field after field in the order in which it writes them.
//!
//! A match is a hundred times more frequent than anything else in JSON, so it does not go through a general
//! parser. Any other text, in another order or with spaces, is `None` here and read by serde.

use model::exchange::{MarketTrade, Stamped};
use model::{Cause, Instrument, Name, Price, Quantity, Side, UnixNanos};

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
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (mut value, mut len) = (0u64, 0);
        while len < 20 {
            let digit = self.0.get(len)?.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // Nineteen digits stay below 2^64; a twentieth is refused below.
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            len += 1;
        }
        if len == 0 || len > 19 || (len > 1 && self.0[0] == b'0') {
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

    fn truth(&mut self) -> Option<bool> {
        if self.skip(b"true").is_some() {
            return Some(true);
        }
        self.skip(b"false").map(|()| false)
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
    let price = Price::parse(text.quoted()?).ok()?;
    text.skip(b",\"quantity\":\"")?;
    let quantity = Quantity::parse(text.quoted()?).ok()?;
    text.skip(b",\"taker_side\":\"")?;
    let taker_side = match text.quoted()? {
        b"buy" => Side::Buy,
        b"sell" => Side::Sell,
        _ => return None,
    };
    text.skip(b",\"maker_order\":")?;
    let maker_order = text.number()?;
    text.skip(b",\"taker_order\":")?;
    let taker_order = text.number()?;
    text.skip(b",\"auction\":")?;
    let auction = text.truth()?;
    text.skip(b",\"busted\":")?;
    let busted = text.truth()?;
    text.skip(b",\"cause\":{\"topic\":\"")?;
    let topic = Name::new(text.quoted()?).ok()?;
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
    use model::topic;

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
