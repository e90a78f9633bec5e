//! The JSON of a composite price, written straight into a buffer.
//!
//! Twenty thousand of these leave the program in a second, so they do not go through serde. The bytes are those
//! that serde_json would write, which a test holds.

use crate::number::put_decimal;
use crate::price::{BestLevel, CompositePrice, Constituent, WindowVwap};

impl CompositePrice {
    /// Appends the JSON of this price: one object, no line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"v\":");
        put_integer(self.v, out);
        put_text(b",\"instrument\":", self.instrument.as_str(), out);
        out.extend_from_slice(b",\"sequence\":");
        put_integer(self.sequence, out);
        put_number(b",\"price\":", self.price.raw().into(), out);
        put_number(b",\"raw\":", self.raw.raw().into(), out);
        put_text(b",\"status\":", self.status.as_str(), out);
        put_optional(b",\"confidence\":", self.confidence.map(|price| price.raw()), out);
        put_text(b",\"reason\":", self.reason.as_str(), out);
        if let Some(refresh) = self.refresh {
            out.extend_from_slice(b",\"refresh\":");
            put_integer(refresh, out);
        }
        out.extend_from_slice(b",\"age_ns\":");
        put_integer(self.age_ns, out);
        put_level(b",\"bid\":", self.bid.as_ref(), out);
        put_level(b",\"ask\":", self.ask.as_ref(), out);
        put_optional(b",\"mid\":", self.mid.map(|price| price.raw()), out);
        put_list(b",\"vwap\":[", &self.vwap, out, put_window);
        put_list(b",\"constituents\":[", &self.constituents, out, put_constituent);
        out.extend_from_slice(b",\"config\":\"");
        for nibble in (0..16).rev() {
            out.push(b"0123456789abcdef"[(self.config.0 >> (nibble * 4) & 15) as usize]);
        }
        put_text(b"\",\"cause\":{\"topic\":", self.cause.topic.as_str(), out);
        out.extend_from_slice(b",\"partition\":");
        put_integer(self.cause.partition, out);
        out.extend_from_slice(b",\"offset\":");
        put_integer(self.cause.offset, out);
        out.extend_from_slice(b",\"index\":");
        put_integer(self.cause.index, out);
        out.extend_from_slice(b"},\"ts_event\":");
        put_integer(self.ts_event.0, out);
        out.extend_from_slice(b",\"ts_recv\":");
        put_integer(self.ts_recv.0, out);
        out.push(b'}');
    }
}

fn put_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `text` holds nothing that JSON escapes: names and the words above are plain ASCII.
fn put_text(before: &[u8], text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(before);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn put_number(before: &[u8], raw: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(before);
    out.push(b'"');
    put_decimal(raw, out);
    out.push(b'"');
}

fn put_optional(before: &[u8], raw: Option<i64>, out: &mut Vec<u8>) {
    match raw {
        Some(raw) => put_number(before, raw.into(), out),
        None => {
            out.extend_from_slice(before);
            out.extend_from_slice(b"null");
        }
    }
}

fn put_level(before: &[u8], level: Option<&BestLevel>, out: &mut Vec<u8>) {
    out.extend_from_slice(before);
    let Some(level) = level else {
        out.extend_from_slice(b"null");
        return;
    };
    put_number(b"{\"price\":", level.price.raw().into(), out);
    put_number(b",\"quantity\":", level.quantity.raw().into(), out);
    put_text(b",\"venue\":", level.venue.as_str(), out);
    out.push(b'}');
}

fn put_list<T>(before: &[u8], items: &[T], out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    out.extend_from_slice(before);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(item, out);
    }
    out.push(b']');
}

fn put_window(window: &WindowVwap, out: &mut Vec<u8>) {
    put_text(b"{\"window\":", window.window.as_str(), out);
    put_optional(b",\"price\":", window.price.map(|price| price.raw()), out);
    put_number(b",\"volume\":", window.volume.raw(), out);
    out.push(b'}');
}

fn put_constituent(one: &Constituent, out: &mut Vec<u8>) {
    put_text(b"{\"venue\":", one.venue.as_str(), out);
    if let Some(instrument) = &one.instrument {
        put_text(b",\"instrument\":", instrument.as_str(), out);
    }
    put_number(b",\"price\":", one.price.raw().into(), out);
    put_number(b",\"weight\":", one.weight.raw().into(), out);
    put_number(b",\"volume\":", one.volume.raw(), out);
    out.extend_from_slice(b",\"age_ns\":");
    put_integer(one.age_ns, out);
    put_text(b",\"state\":", one.state.as_str(), out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use crate::{
        BestLevel, Cause, CompositePrice, Constituent, ConstituentState, Price, PriceStatus, PublishReason, Quantity,
        RulesHash, UnixNanos, Volume, Window, WindowVwap, topic,
    };

    /// Any price at all, the extremes more often than not.
    fn random_price(random: &mut fastrand::Rng) -> CompositePrice {
        fn raw(random: &mut fastrand::Rng) -> i64 {
            let most = Price::MAX.raw();
            match random.u8(0..6) {
                0 => 0,
                1 => most,
                2 => -most,
                3 => random.i64(-200_000_000..200_000_000),
                _ => random.i64(-most..=most) >> random.u32(0..60),
            }
        }
        fn price(random: &mut fastrand::Rng) -> Price {
            Price::from_raw(raw(random)).expect("in range")
        }
        fn quantity(random: &mut fastrand::Rng) -> Quantity {
            Quantity::from_raw(raw(random)).expect("in range")
        }
        fn volume(random: &mut fastrand::Rng) -> Volume {
            Volume::from_raw(if random.bool() { random.i128(..) } else { raw(random).into() })
        }
        fn level(random: &mut fastrand::Rng) -> BestLevel {
            BestLevel { price: price(random), quantity: quantity(random), venue: "okx".parse().expect("a venue") }
        }
        let statuses = [PriceStatus::Ok, PriceStatus::Degraded, PriceStatus::SingleSource, PriceStatus::Stale];
        let reasons =
            [PublishReason::Deviation, PublishReason::Heartbeat, PublishReason::Status, PublishReason::Refresh];
        let states = [
            ConstituentState::Used,
            ConstituentState::Clamped,
            ConstituentState::Outlier,
            ConstituentState::Stale,
            ConstituentState::Thin,
        ];
        let constituent = |random: &mut fastrand::Rng| Constituent {
            venue: "coinbase".parse().expect("a venue"),
            instrument: random.bool().then(|| "BTC-USD".parse().expect("an instrument")),
            price: price(random),
            weight: quantity(random),
            volume: volume(random),
            age_ns: random.i64(..),
            state: states[random.usize(0..5)],
        };
        let window = |random: &mut fastrand::Rng, window| WindowVwap {
            window,
            price: random.bool().then(|| price(random)),
            volume: volume(random),
        };
        CompositePrice {
            v: 1,
            instrument: "BTC-USDT".parse().expect("an instrument"),
            sequence: random.u64(..),
            price: price(random),
            raw: price(random),
            status: statuses[random.usize(0..4)],
            confidence: random.bool().then(|| price(random)),
            reason: reasons[random.usize(0..4)],
            refresh: random.bool().then(|| random.u64(..)),
            age_ns: random.i64(..),
            bid: random.bool().then(|| level(random)),
            ask: random.bool().then(|| level(random)),
            mid: random.bool().then(|| price(random)),
            vwap: Window::ALL.into_iter().take(random.usize(0..6)).map(|one| window(random, one)).collect(),
            constituents: (0..random.usize(0..4)).map(|_| constituent(random)).collect(),
            config: RulesHash(random.u64(..) >> random.u32(0..64)),
            cause: Cause {
                topic: topic::name(topic::TICKS),
                partition: random.u32(..),
                offset: random.u64(..),
                index: random.u32(..),
            },
            ts_event: UnixNanos(random.i64(..)),
            ts_recv: UnixNanos(random.i64(..)),
        }
    }

    #[test]
    fn the_bytes_are_those_of_serde_and_read_back() {
        for seed in 0..2_000 {
            let price = random_price(&mut fastrand::Rng::with_seed(seed));
            let mut ours = b"before".to_vec();
            price.write_json(&mut ours);
            let theirs = serde_json::to_string(&price).expect("serialisable");
            assert_eq!(std::str::from_utf8(&ours).expect("text"), format!("before{theirs}"), "seed {seed}");
            assert_eq!(serde_json::from_str::<CompositePrice>(&theirs).expect("readable"), price, "seed {seed}");
        }
    }
}
