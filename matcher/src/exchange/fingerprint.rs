//! What a command's content is remembered by, to tell a repetition from an id that is used anew.

use model::exchange::{CommandBody, NewOrder, OrderRef, TimeInForce, Trail};
use model::{Price, Quantity};

use super::names::words_of;

/// Both halves of the 128-bit product, folded.
#[inline]
pub(super) const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul((b | 1) as u128);
    product as u64 ^ (product >> 64) as u64
}

/// Takes words in, one after the other.
struct Mixer(u64);

impl Mixer {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0x5895_65a3_d73c_9b17).wrapping_add(self.0.rotate_left(23));
    }

    /// Presence and value; the caller mixes a mark of presence into what comes before.
    #[inline]
    fn some(&mut self, value: Option<i64>) {
        if let Some(value) = value {
            self.mix(value as u64);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0u8; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    #[inline]
    fn order_ref(&mut self, order: &OrderRef) {
        match order {
            OrderRef::Id(id) => self.mix(*id),
            OrderRef::Client(id) => self.bytes(id.padded()),
        }
    }
}

const fn begin(kind: u8) -> Mixer {
    Mixer(0x8ebc_6af0_9c88_c6e3 ^ kind as u64)
}

/// Fingerprint of bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    let mut mixer = Mixer(bytes.len() as u64 ^ 0x8ebc_6af0_9c88_c6e3);
    mixer.bytes(bytes);
    mixer.0
}

/// Fingerprint of a command's content. The frequent kinds are taken field by field, the others by their encoding,
/// for which `scratch` is used.
#[inline]
pub(super) fn of(body: &CommandBody, scratch: &mut Vec<u8>) -> u64 {
    match body {
        CommandBody::Place(order) => of_order(body.number(), order),
        CommandBody::Cancel { order } => {
            let mut mixer = begin(body.number());
            mixer.mix(u64::from(matches!(order, OrderRef::Client(_))));
            mixer.order_ref(order);
            mixer.0
        }
        CommandBody::Amend { order, price, quantity, trigger } => {
            let mut mixer = begin(body.number());
            let client = u64::from(matches!(order, OrderRef::Client(_)));
            let has = u64::from(price.is_some()) | u64::from(quantity.is_some()) << 8;
            mixer.mix(client | has << 8 | u64::from(trigger.is_some()) << 24);
            mixer.order_ref(order);
            mixer.some(price.map(Price::raw));
            mixer.some(quantity.map(Quantity::raw));
            mixer.some(trigger.map(Price::raw));
            mixer.0
        }
        other => {
            scratch.clear();
            scratch.push(other.number());
            other.encode(scratch);
            of_bytes(scratch)
        }
    }
}

#[inline]
fn of_order(number: u8, order: &NewOrder) -> u64 {
    let NewOrder { instrument, side, kind, tif, quantity, quote_amount, .. } = *order;
    let NewOrder { price, trigger, trail, display, post_only, self_trade, .. } = *order;
    let (tif, until) = match tif {
        TimeInForce::Gtc => (0, None),
        TimeInForce::Ioc => (1, None),
        TimeInForce::Fok => (2, None),
        TimeInForce::Day => (3, None),
        TimeInForce::Gtd(until) => (4, Some(until.0)),
    };
    let (trailing, trail) = match trail {
        None => (0, None),
        Some(Trail::Price(distance)) => (1, Some(distance.raw())),
        Some(Trail::Bps(bps)) => (2, Some(i64::from(bps))),
    };
    let [first, second, third] = words_of(&instrument);
    let mut mixer = begin(number);
    let has = u64::from(price.is_some())
        | u64::from(trigger.is_some()) << 1
        | u64::from(display.is_some()) << 2
        | u64::from(post_only) << 3;
    let small = [side as u64, kind as u64, tif, trailing, self_trade.map_or(255, |mode| mode as u64), has];
    mixer.mix(small.into_iter().fold(0, |all, part| all << 8 | part));
    mixer.mix(first);
    mixer.mix(second ^ third.rotate_left(8));
    mixer.mix(quantity.raw() as u64);
    mixer.mix(quote_amount.raw() as u64);
    for value in [until, price.map(Price::raw), trigger.map(Price::raw), display.map(Quantity::raw), trail] {
        mixer.some(value);
    }
    mixer.0
}

#[cfg(test)]
mod tests {
    use model::{Side, UnixNanos};

    use super::*;

    #[test]
    fn every_field_of_an_order_counts() {
        let one = |raw: i64| Price::from_raw(raw).expect("in range");
        let some = |raw: i64| Quantity::from_raw(raw).expect("in range");
        let plain = NewOrder::limit("BTC-USDT".parse().expect("an instrument"), Side::Buy, some(5), one(7));
        let others = [
            NewOrder { instrument: "BTC-USDC".parse().expect("an instrument"), ..plain },
            NewOrder { instrument: "ABCDEFGHIJ-KLMNOPQRSTUV".parse().expect("an instrument"), ..plain },
            NewOrder { instrument: "ABCDEFGHIJ-KLMNOPQRSTUW".parse().expect("an instrument"), ..plain },
            NewOrder { side: Side::Sell, ..plain },
            NewOrder { kind: model::exchange::OrderKind::Market, ..plain },
            NewOrder { tif: TimeInForce::Ioc, ..plain },
            NewOrder { tif: TimeInForce::Gtd(UnixNanos(7)), ..plain },
            NewOrder { tif: TimeInForce::Gtd(UnixNanos(8)), ..plain },
            NewOrder { quantity: some(6), ..plain },
            NewOrder { quote_amount: some(1), ..plain },
            NewOrder { price: Some(one(8)), ..plain },
            NewOrder { price: None, ..plain },
            NewOrder { price: None, trigger: Some(one(7)), ..plain },
            NewOrder { trigger: Some(one(7)), ..plain },
            NewOrder { trail: Some(Trail::Price(one(7))), ..plain },
            NewOrder { trail: Some(Trail::Bps(7)), ..plain },
            NewOrder { display: Some(some(7)), ..plain },
            NewOrder { post_only: true, ..plain },
            NewOrder { self_trade: Some(model::exchange::SelfTrade::Allow), ..plain },
            plain,
        ];
        let mut scratch = vec![];
        let mut seen: Vec<u64> = others.iter().map(|order| of(&CommandBody::Place(*order), &mut scratch)).collect();
        let again = of(&CommandBody::Place(plain), &mut scratch);
        assert_eq!(seen.last(), Some(&again));
        for order in [OrderRef::Id(7), OrderRef::Client("7".parse().expect("a name"))] {
            seen.push(of(&CommandBody::Cancel { order }, &mut scratch));
            for price in [None, Some(one(9)), Some(one(7))] {
                for quantity in [None, Some(some(9)), Some(some(7))] {
                    seen.push(of(&CommandBody::Amend { order, price, quantity, trigger: None }, &mut scratch));
                }
            }
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all, "two contents share a fingerprint");
    }
}
