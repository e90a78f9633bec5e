//! Benchmarks are programs; each prints its own figures after the machine's.

use anyhow::{Context, Result, bail};

use crate::shell;

/// The benchmarks with the crate each belongs to, from the manifests.
fn benchmarks() -> Result<Vec<(String, String)>> {
    let text = shell::output(&shell::cargo(), &["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists packages")? {
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench")) {
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                found.push((text(&target["name"]), text(&package["name"])));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Lists the benchmarks.
pub(crate) fn list() -> Result<()> {
    for (name, package) in benchmarks()? {
        println!("{name:12} {package}/benches/{name}.rs");
    }
    Ok(())
}

/// Prints the machine, then runs one benchmark.
pub(crate) fn run(name: &str, args: &[&str]) -> Result<()> {
    let all = benchmarks()?;
    if !all.iter().any(|(known, _)| known == name) {
        let names: Vec<&str> = all.iter().map(|(known, _)| known.as_str()).collect();
        bail!("no benchmark {name}: one of {}", names.join(", "));
    }
    machine();
    // The features of all members, whichever is measured: what one benchmark had built serves the next.
    let mut command = vec!["bench", "--quiet", "--locked", "--workspace", "--bench", name, "--"];
    command.extend(args);
    shell::run(&shell::cargo(), &command)
}

/// What a figure means nothing without.
fn machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_kib = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:").map(|rest| rest.trim().trim_end_matches(" kB").to_owned()))
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    println!(
        "machine: {}, {cores} cores, {} GiB, Linux {}, load {}",
        model.trim_start_matches([' ', '\t', ':']).trim(),
        memory_kib >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").trim(),
    );
}
