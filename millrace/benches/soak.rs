//! Memory of the real program under a steady load: `millrace up` with simulated venues at 20,000 ticks a second,
//! its resident memory sampled until the time is over. Arguments after `--`: minutes (60), ticks a second (20000).
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WARM_UP: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The default pipeline on free ports and with this load.
fn pipeline(api: u16, ticks_per_second: u64) -> String {
    let text = include_str!("../../pipeline.yaml");
    let mut text = text.replace("ticks_per_second: 600", &format!("ticks_per_second: {ticks_per_second}"));
    for port in ["8081", "8082", "8083", "5433", "8815"] {
        text = text.replace(port, &free_port().to_string());
    }
    text.replace("8080", &api.to_string())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// CPU seconds that the process has used.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// The sum of a counter's lines on `/metrics`.
fn counter(api: u16, name: &str) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", api)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1:{api}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let of_name = text.lines().filter(|line| line.starts_with(name));
    of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let minutes = numbers.first().copied().unwrap_or(60);
    let ticks_per_second = numbers.get(1).copied().unwrap_or(20_000);
    let (dir, api) = (tempfile::tempdir().unwrap(), free_port());
    std::fs::write(dir.path().join("pipeline.yaml"), pipeline(api, ticks_per_second)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .arg("up")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    std::thread::spawn(move || said.for_each(drop));
    std::thread::sleep(WARM_UP);
    let (begun, first, cpu) = (Instant::now(), counter(api, "millrace_ingest_ticks_total"), cpu_seconds(child.id()));
    let (mut most, mut samples) = (0, Vec::new());
    let report_every = (minutes / 12).max(1);
    for minute in 1..=minutes {
        for _ in 0..6 {
            std::thread::sleep(Duration::from_secs(10));
            most = most.max(resident_kib(child.id()));
        }
        if minute % report_every == 0 {
            let now = resident_kib(child.id());
            samples.push((minute, now));
            println!("minute {minute:3}: {:6.1} MiB resident", now as f64 / 1024.0);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = (counter(api, "millrace_ingest_ticks_total") - first) / seconds;
    println!("ticks a second: {rate:.0} asked {ticks_per_second}");
    println!("CPU: {:.2} cores", (cpu_seconds(child.id()) - cpu) / seconds);
    println!("memory: at most {:.1} MiB resident", most as f64 / 1024.0);
    if let [(from, first), .., (to, last)] = samples[..] {
        let grown = (last as f64 - first as f64) / 1024.0;
        println!("growth: {grown:+.1} MiB from minute {from} to minute {to}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
