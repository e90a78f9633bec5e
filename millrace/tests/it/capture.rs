//! Recorded frames of a real venue through the whole pipeline: decode, log, aggregation, sink, SQL. The tables that come
//! out are read by DuckDB and asked for in our own SQL; both are compared with what Python makes of the frames' JSON, to
//! the last digit.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::stdout;
use crate::program::Place;

/// The captures of one venue; `None`, and a plain line saying so, where they are absent.
fn captures() -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/binance-spot-2024-08-08");
    let names = ["btcusdt_20240808", "btcusdt_20240809", "ethusdt_20240808", "ethusdt_20240809"];
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(format!("{name}.gz"))).collect();
    if files.iter().all(|file| file.is_file()) {
        return Some(files);
    }
    println!("NOT RUN: {} is absent, so no real capture was landed and compared", folder.display());
    None
}

/// The interpreter with the readers, where `cargo xtask setup` has put it.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/readers/bin/python");
    if python.is_file() {
        return Some(python);
    }
    println!("NOT RUN: {} is absent, so no reader of others was asked: cargo xtask setup makes it", python.display());
    None
}

/// What the script found.
#[derive(Debug, serde::Deserialize)]
struct Compared {
    trade_frames: u64,
    trade_rows: u64,
    quote_rows: u64,
    windows: u64,
    candles: u64,
    prices: u64,
    differences: Vec<String>,
}

fn compare(python: &Path, reader: &[&str], lake: &Path, files: &[PathBuf]) -> Compared {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/capture.py");
    let ran = Command::new(python).arg(script).args(reader).arg(lake).args(files).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn a_capture_lands_and_every_reader_agrees_with_the_frames() {
    let (Some(files), Some(python)) = (captures(), python()) else { return };
    let place = Place::new("lake: { type: directory, roll: { rows: 10000, age: 1s } }\n");
    let paths: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let said = stdout(&place.run(&[&["replay", "--data-dir", "replayed"][..], &paths[..]].concat()));
    assert!(said.contains("0 refused, 0 gaps") && said.contains("landed "), "{said}");
    let file = std::fs::read_to_string(place.path("pipeline.yaml")).unwrap();
    std::fs::write(place.path("replayed.yaml"), file.replace("./data", "./replayed")).unwrap();
    let (theirs, ours) = (&["duckdb"][..], &["millrace", env!("CARGO_BIN_EXE_millrace")][..]);
    for (round, reader) in [("as landed", theirs), ("as landed", ours), ("compacted", theirs), ("compacted", ours)] {
        let found = compare(&python, reader, &place.path("replayed/lake"), &files);
        println!("{round}, by {}: {found:?}", reader[0]);
        assert_eq!(found.differences, Vec::<String>::new(), "{round}");
        assert_eq!(found.trade_rows, found.trade_frames, "{round}: every trade frame is one row");
        assert!(found.trade_frames > 30_000 && found.quote_rows > 50_000, "{round}: {found:?}");
        // Eleven minutes of two instruments; of the last ones candles may still be corrected.
        assert!(found.candles >= 14 && found.windows >= 100 && found.prices > 100, "{round}: {found:?}");
        let verified = stdout(&place.run(&["verify", "--file", "replayed.yaml"]));
        let of_ticks = verified.lines().find(|line| line.starts_with("ticks")).unwrap();
        assert!(of_ticks.contains("every offset once"), "{round}: {verified}");
        if (round, reader) == ("as landed", ours) {
            let compacted = stdout(&place.run(&["compact", "--file", "replayed.yaml"]));
            assert!(!compacted.contains("ticks: 0 files"), "the first day is closed: {compacted}");
        }
    }
}
