//! What the tests of every venue share: captures, decoders on a plan, and bad input in general form.

use std::io::Read;
use std::path::PathBuf;

use ingest::connector::{Connector, Plan, QuotesFrom};
use ingest::decode::{Decoder, FrameKind, Listed, Output, decode_frame};
use ingest::refusal::DecodeError;
use model::{Channel, TickBody, UnixNanos};

/// When test frames are received, unless they say otherwise.
pub(crate) const RECV: UnixNanos = UnixNanos(1_787_612_486_500_000_000);

/// A capture's text, unpacked. `None`, and a plain line saying so, where the captures are absent.
pub(crate) fn capture(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.is_file() {
        println!("NOT RUN: there is no capture {}", path.display());
        return None;
    }
    let bytes = std::fs::read(&path).unwrap();
    if !name.ends_with(".gz") {
        return Some(bytes);
    }
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap();
    Some(text)
}

/// The lines that hold something.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// A line `recv_ns frame`.
pub(crate) fn timed(line: &[u8]) -> (UnixNanos, &[u8]) {
    let space = line.iter().position(|byte| *byte == b' ').expect("a time and a frame");
    let recv = std::str::from_utf8(&line[..space]).unwrap().parse().unwrap();
    (UnixNanos(recv), &line[space + 1..])
}

/// A plan with every channel for these instruments.
pub(crate) fn plan(connector: &dyn Connector, instruments: &[&str], quotes_from: QuotesFrom) -> Plan {
    let listed = |name: &&str| {
        let instrument = name.parse().expect("an instrument");
        Listed { instrument, symbol: connector.symbol(&instrument).into() }
    };
    Plan {
        venue: connector.name().parse().expect("a venue"),
        instruments: instruments.iter().map(listed).collect(),
        channels: vec![Channel::Trades, Channel::Quotes, Channel::Ticker],
        quotes_from,
    }
}

/// Decodes one frame into a fresh output.
pub(crate) fn decode(decoder: &mut dyn Decoder, frame: &[u8]) -> (Result<FrameKind, DecodeError>, Output) {
    let mut out = Output::default();
    let result = decode_frame(decoder, frame, RECV, &mut out);
    (result, out)
}

/// The bodies of the ticks.
pub(crate) fn bodies(out: &Output) -> Vec<TickBody> {
    out.ticks.iter().map(|tick| tick.body).collect()
}

/// One row of a venue's table of bad input.
pub(crate) struct Bad {
    /// What is wrong with it.
    pub(crate) what: &'static str,
    /// The frame.
    pub(crate) frame: Vec<u8>,
    /// What the refusal says, in part; empty for a frame that is not refused but must give no tick.
    pub(crate) says: &'static str,
}

/// A row from text.
pub(crate) fn bad(what: &'static str, frame: &str, says: &'static str) -> Bad {
    Bad { what, frame: frame.as_bytes().to_vec(), says }
}

/// Puts every row through a fresh decoder: refused with the reason it names (or, where it names none, used
/// without giving a tick), and the good frame afterwards decodes as if nothing had been.
pub(crate) fn refuses(make: &dyn Fn() -> Box<dyn Decoder>, rows: &[Bad], good: &[u8]) {
    for row in rows {
        let mut decoder = make();
        let (result, out) = decode(&mut *decoder, &row.frame);
        assert!(out.ticks.is_empty(), "{}: gave {:?}", row.what, out.ticks);
        match &result {
            Ok(kind) => assert!(row.says.is_empty(), "{}: used as {kind:?}, {:?} expected", row.what, row.says),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !row.says.is_empty() && text.contains(row.says),
                    "{}: {text:?}, {:?} expected",
                    row.what,
                    row.says
                );
            }
        }
        let (expected, fresh) = decode(&mut *make(), good);
        let (after, again) = decode(&mut *decoder, good);
        assert_eq!((after, bodies(&again)), (expected, bodies(&fresh)), "{}: the next frame suffers", row.what);
    }
}

/// Refusals that hold for the frame of any venue, made from a good one: cut at every byte, nested too deeply,
/// wrong UTF-8, trailing bytes, no JSON at all.
pub(crate) fn bad_inputs(good: &str) -> Vec<Bad> {
    let mut rows: Vec<Bad> = (0..good.len())
        .map(|at| Bad { what: "cut", frame: good.as_bytes()[..at].to_vec(), says: "truncated" })
        .collect();
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    rows.push(bad("deep", &nested(100_000), "nested deeper"));
    rows.push(bad("trailing bytes", &format!("{good}{good}"), "the end expected"));
    rows.push(bad("no JSON", "hello", "expected"));
    rows.push(bad("a byte order mark", &format!("\u{feff}{good}"), "expected"));
    let mut wrong = good.as_bytes().to_vec();
    wrong.insert(good.len() - 1, 0xff);
    rows.push(bad("64 MiB", &format!("{good}{}", " ".repeat(64 << 20)), "at most 16777216"));
    rows.push(Bad { what: "bad UTF-8", frame: wrong, says: "not UTF-8" });
    rows.push(Bad { what: "a zero byte", frame: good.replacen(':', ":\0", 1).into_bytes(), says: "expected" });
    rows
}

/// Mutations of good frames: nothing panics, and what is refused gives no tick.
pub(crate) fn survives_mutations(make: &dyn Fn() -> Box<dyn Decoder>, frames: &[Vec<u8>], rounds: u32, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut decoder = make();
    let mut refused = 0u32;
    for round in 0..rounds {
        if round % 1_000 == 0 {
            decoder = make();
        }
        let mut frame = frames[random.usize(..frames.len())].clone();
        for _ in 0..random.u32(1..4) {
            mutate(&mut frame, &mut random);
        }
        let (result, out) = decode(&mut *decoder, &frame);
        if result.is_err() {
            refused += 1;
            assert!(out.ticks.is_empty(), "seed {seed} round {round}: {:?}", String::from_utf8_lossy(&frame));
        }
    }
    assert!(refused > rounds / 10, "seed {seed}: only {refused} of {rounds} mutations were refused");
}

fn mutate(frame: &mut Vec<u8>, random: &mut fastrand::Rng) {
    const PIECES: &[&[u8]] = &[
        b"-",
        b"0",
        b"9999999999999999999999",
        b"1e999",
        b"NaN",
        b"null",
        b"\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u0000",
        b"\xff",
        b"-0",
        b"0.000000001",
        b"true",
        b"{}",
        b"[]",
        "\u{ff11}".as_bytes(),
    ];
    let at = random.usize(..=frame.len());
    match random.u8(0..5) {
        0 => frame.truncate(at),
        1 if at < frame.len() => frame[at] = random.u8(..),
        2 if at < frame.len() => {
            let end = (at + random.usize(1..20)).min(frame.len());
            frame.drain(at..end);
        }
        3 => {
            let end = (at + random.usize(1..40)).min(frame.len());
            let copy = frame[at..end].to_vec();
            let to = random.usize(..=frame.len());
            frame.splice(to..to, copy);
        }
        _ => {
            let piece = PIECES[random.usize(..PIECES.len())];
            frame.splice(at..at, piece.iter().copied());
        }
    }
}
