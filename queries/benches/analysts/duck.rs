//! DuckDB on the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::questions::ALL;

/// The version that is compared with.
const VERSION: &str = "duckdb==2.0.0";
/// It hands out columns through this.
const NUMPY: &str = "numpy";

/// Runs every question and prints the median of each in milliseconds, a line each.
const PROGRAM: &str = r#"
import json, sys, time, duckdb
directory, runs = sys.argv[1], int(sys.argv[2])
connection = duckdb.connect()
connection.execute("SET threads = 2")
# Its bar would stand among the figures.
connection.execute("SET enable_progress_bar = false")
for table in ("trades", "quotes"):
    connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{directory}/{table}/*.parquet')")
for sql in json.load(sys.stdin):
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        # Rows leave the engine as columns, as ours do, and not as Python objects.
        connection.execute(sql).fetchnumpy()
        times.append((time.perf_counter() - begun) * 1e3)
    print(sorted(times)[runs // 2])
"#;

fn environment() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let dir = target.join("duckdb-venv");
    let python = dir.join("bin/python");
    if python.exists() {
        return Some(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).status().ok()?.success();
    let installed = made
        && Command::new(&python).args(["-m", "pip", "install", "--quiet", VERSION, NUMPY]).status().ok()?.success();
    installed.then_some(python)
}

/// Milliseconds of each question; none without DuckDB.
pub(crate) fn run(dir: &Path, runs: usize) -> Option<Vec<f64>> {
    let Some(python) = environment() else {
        println!("not run: DuckDB ({VERSION} cannot be had from PyPI)");
        return None;
    };
    let questions: Vec<&str> = ALL.iter().map(|question| question.theirs).collect();
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .arg(dir)
        .arg(runs.to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .ok()?;
    let text = serde_json::to_string(&questions).expect("texts");
    std::io::Write::write_all(&mut child.stdin.take()?, text.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    if !output.status.success() {
        println!("not run: DuckDB (it failed)");
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(times.len(), ALL.len(), "a time for each question: {text}");
    Some(times)
}
