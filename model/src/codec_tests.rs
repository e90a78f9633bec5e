//! Every released version of the binary form stays readable: `fixtures/ticks-v1.txt` was written by the first.

use super::*;

const FIXTURES: &str = include_str!("../fixtures/ticks-v1.txt");

fn root() -> Origin {
    Origin::Root { role: "ingest/binance".parse().expect("a role"), epoch: 7, sequence: 1_000_000 }
}

fn samples() -> Vec<(&'static str, Tick)> {
    let venue = "binance".parse().expect("a venue");
    let instrument: Instrument = "BTC-USDT".parse().expect("an instrument");
    let price = |text: &str| text.parse::<Price>().expect("a price");
    let quantity = |text: &str| text.parse::<Quantity>().expect("a quantity");
    let tick = |origin, flags, body| Tick {
        origin,
        ts_event: UnixNanos(1_723_161_255_342_000_000),
        ts_recv: UnixNanos(1_723_161_254_087_896_568),
        flags: TickFlags(flags),
        body,
    };
    let derived = Origin::Derived(Cause { topic: crate::topic::name("prices"), partition: 3, offset: 42, index: 1 });
    let trade = |id, taker_side| {
        TickBody::Trade(Trade {
            venue,
            instrument,
            id,
            price: price("61837.63"),
            quantity: quantity("0.02"),
            taker_side,
        })
    };
    let uuid = TradeId::Uuid(0x20f4_3950_d8dd_5b31_9112_a178_eb60_23af);
    vec![
        ("trade", tick(root(), 0, trade(TradeId::Number(3_735_683_259), Side::Sell))),
        ("trade_uuid", tick(root(), TickFlags::OFF_BOOK | TickFlags::HISTORIC, trade(uuid, Side::Buy))),
        (
            "quote",
            tick(
                root(),
                TickFlags::TIME_REPLACED,
                TickBody::Quote(Quote {
                    venue,
                    instrument,
                    sequence: 50_093_239_212,
                    bid: price("61837.63"),
                    bid_quantity: quantity("3.78826"),
                    ask: price("61837.64"),
                    ask_quantity: quantity("1.54698"),
                }),
            ),
        ),
        (
            "ticker",
            tick(
                root(),
                TickFlags::POLLED,
                TickBody::Ticker(Ticker {
                    venue,
                    instrument,
                    last: price("61837.63"),
                    volume_24h: Volume::from_raw(3_512_345_678_901),
                    quote_volume_24h: Some(Volume::from_raw(217_000_000_000_000_000_000)),
                }),
            ),
        ),
        (
            "feed_state",
            tick(
                root(),
                0,
                TickBody::FeedState(FeedState {
                    venue,
                    instrument,
                    channel: Channel::Quotes,
                    phase: FeedPhase::Gap,
                    missing: 12,
                }),
            ),
        ),
        (
            "rate",
            tick(
                derived,
                0,
                TickBody::Rate(Rate { instrument: "USDT-USD".parse().expect("an instrument"), price: price("0.9998") }),
            ),
        ),
        ("refresh", tick(root(), 0, TickBody::Refresh(Refresh { instrument, id: 99 }))),
        ("clock", tick(root(), 0, TickBody::Clock(Clock))),
        ("configure", tick(root(), 0, TickBody::Configure(Configure { hash: 0x8594_4171_f739_67e8 }))),
        (
            "claim",
            tick(
                Origin::Root { role: "api/1".parse().expect("a role"), epoch: 0, sequence: 0 },
                0,
                TickBody::Claim(Claim),
            ),
        ),
    ]
}

fn encoded(tick: &Tick) -> Vec<u8> {
    let mut out = Vec::new();
    tick.encode(&mut out);
    out
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn version_1_stays_readable_and_is_what_we_write() {
    let lines: Vec<(&str, &str)> = FIXTURES.lines().filter_map(|line| line.split_once(' ')).collect();
    let samples = samples();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written: Vec<String> = samples.iter().map(|(name, tick)| format!("{name} {}", hex(&encoded(tick)))).collect();
    assert_eq!(lines.len(), samples.len(), "written now:\n{}", written.join("\n"));
    for ((name, tick), (fixture, bytes)) in samples.iter().zip(lines) {
        assert_eq!(*name, fixture);
        assert_eq!(Tick::decode(&unhex(bytes)), Ok(*tick), "{name}");
        assert_eq!(hex(&encoded(tick)), bytes, "{name}");
    }
}

#[test]
fn cut_longer_newer_and_flipped_records_do_no_harm() {
    for (name, tick) in samples() {
        let bytes = encoded(&tick);
        for end in 0..bytes.len() {
            assert!(Tick::decode(&bytes[..end]).is_err(), "{name} cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.extend_from_slice(b"a field of tomorrow");
        assert_eq!(Tick::decode(&longer), Ok(tick), "{name} with a field more");
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(Tick::decode(&newer), Err(CodecError::NewerVersion(2)), "{name}");
        let mut unknown = bytes.clone();
        unknown[1] = 200;
        assert_eq!(Tick::decode(&unknown), Err(CodecError::UnknownKind(200)), "{name}");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                // Some flips give another valid record; what counts is that it is valid or refused.
                if let Ok(read) = Tick::decode(&flipped) {
                    assert!(Tick::decode(&encoded(&read)) == Ok(read), "{name} byte {at} bit {bit}");
                }
            }
        }
    }
}
