//! Frames per second and core: the real Binance capture decoded and normalised, depth frames applied to the
//! venue book. `cargo bench -p ingest --bench decode`.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ingest::connector::{Connector, Plan, QuotesFrom};
use ingest::decode::{Listed, Output, decode_frame};
use ingest::stamp::Stamper;
use ingest::venues::binance::Binance;
use model::{Channel, Origin, UnixNanos};

/// Runs, unless `-- --runs N` says otherwise.
const RUNS: usize = 9;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--runs").skip(1);
    let runs: usize = arguments.next().map_or(Ok(RUNS), |runs| runs.parse()).context("--runs takes a number")?.max(1);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/binance-spot-2024-08-08");
    if !folder.is_dir() {
        println!("decode: not run, the captures are not in {}", folder.display());
        return Ok(());
    }
    let mut files = Vec::new();
    for name in ["btcusdt_20240808", "btcusdt_20240809", "ethusdt_20240808", "ethusdt_20240809"] {
        let path = folder.join(name).with_extension("gz");
        let mut text = Vec::new();
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text)?;
        files.push(text);
    }
    let frames = files.iter().map(|text| split(text)).collect::<Result<Vec<_>>>()?.concat();
    let bytes: usize = frames.iter().map(|(_, frame)| frame.len()).sum();

    let mut rates = Vec::new();
    let mut summary = None;
    for _ in 0..runs {
        let (cpu, found) = run(&frames)?;
        rates.push(frames.len() as f64 / cpu.as_secs_f64());
        assert!(summary.is_none_or(|earlier| earlier == found), "runs differ: {summary:?} and {found:?}");
        summary = Some(found);
    }
    rates.sort_by(f64::total_cmp);
    let (ticks, gaps) = summary.context("no run")?;
    println!("decode: {} frames, {bytes} bytes, {ticks} ticks, {gaps} gaps", frames.len());
    println!(
        "decode: {:.2} M frames per CPU second, median of {runs} (worst {:.2}, best {:.2}); must reach 2",
        rates[runs / 2] / 1e6,
        rates[0] / 1e6,
        rates[runs - 1] / 1e6
    );
    Ok(())
}

/// One pass over all frames with fresh state: CPU time, ticks and signals.
fn run(frames: &[(UnixNanos, &[u8])]) -> Result<(Duration, (u64, usize))> {
    let instruments = ["BTC-USDT", "ETH-USDT"]
        .map(|name| name.parse().map(|instrument| Listed { instrument, symbol: Binance.symbol(&instrument).into() }))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let plan = Plan {
        venue: "binance".parse()?,
        instruments: instruments.into(),
        channels: vec![Channel::Trades, Channel::Quotes],
        quotes_from: QuotesFrom::Both,
    };
    let mut decoder = Binance.decoder(&plan);
    let stamper = Stamper::new(Duration::from_secs(5));
    let origin = Origin::Root { role: "ingest/binance".parse()?, epoch: 0, sequence: 1 };
    let mut out = Output::default();
    let (mut ticks, mut signals) = (0u64, 0);
    let started = cpu_time();
    let wall = Instant::now();
    for (ts_recv, frame) in frames {
        out.clear();
        decode_frame(&mut *decoder, frame, *ts_recv, &mut out)?;
        for decoded in &out.ticks {
            let (tick, _) = stamper.stamp(decoded, *ts_recv, origin);
            std::hint::black_box(&tick);
            ticks += 1;
        }
        signals += out.signals.iter().filter(|signal| matches!(signal, ingest::decode::Signal::Gap { .. })).count();
    }
    let cpu = cpu_time().map_or_else(|| wall.elapsed(), |now| now.saturating_sub(started.unwrap_or_default()));
    Ok((cpu, (ticks, signals)))
}

fn split(text: &[u8]) -> Result<Vec<(UnixNanos, &[u8])>> {
    let mut frames = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let space = line.iter().position(|byte| *byte == b' ').context("a line without a time")?;
        let recv: i64 = std::str::from_utf8(&line[..space])?.parse()?;
        frames.push((UnixNanos(recv), &line[space + 1..]));
    }
    Ok(frames)
}

/// CPU time of this thread's process so far, from the scheduler's own counter.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
