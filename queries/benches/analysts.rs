//! Twelve questions of analysts, ours against DuckDB's on the same Parquet files in the same run.
//!
//! `cargo xtask bench analysts -- 1000000` makes so many trades and four times as many quotes. DuckDB comes from PyPI
//! into a virtual environment under the target directory; where that cannot be had, ours run alone and it says so.

#[path = "analysts/data.rs"]
mod data;
#[path = "analysts/duck.rs"]
mod duck;
#[path = "analysts/questions.rs"]
mod questions;

use std::time::Instant;

use queries::{Caller, Engine, Limits};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of each question; the median counts.
const RUNS: usize = 3;

fn main() {
    let trades: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a directory");
    eprintln!("making {trades} trades and {} quotes", trades * 4);
    let tables = data::make(dir.path(), trades);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let limits = Limits {
        parallelism: 2,
        memory_bytes_max: 4 << 30,
        time_max: std::time::Duration::from_secs(600),
        ..Limits::default()
    };
    let engine = Engine::new(limits).expect("an engine");
    engine.register_store(&data::address(), data::store(dir.path()));
    let theirs = duck::run(dir.path(), RUNS);
    println!("{:34} {:>10} {:>10} {:>7}", "question", "ours ms", "duckdb ms", "ratio");
    let (mut ours_sum, mut theirs_sum) = (0.0, 0.0);
    for (at, question) in questions::ALL.iter().enumerate() {
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let begun = Instant::now();
                let rows = runtime.block_on(async {
                    let answer = engine.run(question.ours, &tables, &Caller::Operator).await?;
                    answer.collect().await
                });
                let rows = rows.unwrap_or_else(|error| panic!("{}: {error}", question.name));
                assert!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>() > 0, "{} is empty", question.name);
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let ours = times[RUNS / 2];
        match theirs.as_ref().and_then(|theirs| theirs.get(at)) {
            Some(theirs) => {
                ours_sum += ours;
                theirs_sum += theirs;
                println!("{:34} {ours:>10.1} {theirs:>10.1} {:>7.2}", question.name, ours / theirs);
            }
            None => println!("{:34} {ours:>10.1} {:>10} {:>7}", question.name, "-", "-"),
        }
    }
    if theirs_sum > 0.0 {
        println!("{:34} {ours_sum:>10.1} {theirs_sum:>10.1} {:>7.2}", "sum", ours_sum / theirs_sum);
    }
}
