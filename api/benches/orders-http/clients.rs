//! The load: threads with a few plain sockets each.
//!
//! One thread polls its sockets in turn, so that the load generator costs little beside the server on the same
//! cores. Each socket has one request under way at a time; latency is from when the request was due, so a server
//! that falls behind cannot hide it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::floor::{ACCOUNTS, key};

/// How fast orders are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    AsFastAsPossible,
    PerSecond(u64),
}

/// What came of it.
pub(crate) struct Load {
    pub(crate) orders_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    pub(crate) refused: u64,
    pub(crate) cpu_us: f64,
}

struct Client {
    stream: TcpStream,
    key: String,
    number: u64,
    serial: u64,
    /// When the request under way was due.
    due: Option<Instant>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, number: usize) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let account = number as u32 % ACCOUNTS + 1;
        Self {
            stream,
            key: key(account),
            number: number as u64,
            serial: 0,
            due: None,
            answer: Vec::with_capacity(8 << 10),
        }
    }

    /// Sends the next order: every other one crosses the spread and trades with the one before.
    fn send(&mut self, due: Instant, run: u64, out: &mut Vec<u8>) {
        self.serial += 1;
        let side = if (self.serial + self.number).is_multiple_of(2) { "buy" } else { "sell" };
        let tick = (self.serial * 7 + self.number) % 50;
        let body = format!(
            "{{\"client_order_id\":\"{run:x}-{}-{}\",\"instrument\":\"BTC-USDT\",\"side\":\"{side}\",\
             \"type\":\"limit\",\"tif\":\"{}\",\"quantity\":\"0.1\",\"price\":\"{}.{tick:02}\"}}",
            self.number,
            self.serial,
            if self.serial.is_multiple_of(3) { "ioc" } else { "gtc" },
            if side == "buy" { 100 } else { 99 },
        );
        out.clear();
        write!(
            out,
            "POST /orders HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        )
        .unwrap();
        self.stream.write_all(out).unwrap();
        self.due = Some(due);
        self.answer.clear();
    }

    /// The status, once the whole answer is there.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<u16> {
        match self.stream.read(buffer) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
        let head = self.answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&self.answer[..head]).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        (self.answer.len() >= head + length.parse::<usize>().unwrap()).then(|| text[9..12].parse().unwrap())
    }
}

/// Waits until one of the sockets can be read, at most so long.
fn wait(fds: &mut [PollFd], within: Duration) {
    // SAFETY: the slice is valid for its length, and the layout is that of poll(2).
    unsafe { poll(fds.as_mut_ptr(), fds.len() as u64, within.as_millis() as i32) };
}

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

const POLLIN: i16 = 1;

unsafe extern "C" {
    fn poll(fds: *mut PollFd, count: u64, timeout_ms: i32) -> i32;
}

/// Microseconds of CPU that this process has used.
fn cpu_us() -> f64 {
    // proc(5): user and system time, in hundredths of a second; the second field may hold spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10_000.0
}

pub(crate) fn run(address: SocketAddr, connections: usize, pace: Pace, time: Duration) -> Load {
    let run = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let mut clients: Vec<Client> = (0..connections).map(|number| Client::connect(address, number)).collect();
    let mut fds: Vec<PollFd> =
        clients.iter().map(|client| PollFd { fd: client.stream.as_raw_fd(), events: POLLIN, revents: 0 }).collect();
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let (mut buffer, mut out) = (vec![0; 64 << 10], Vec::new());
    let (begun, cpu) = (Instant::now(), cpu_us());
    let every = match pace {
        Pace::AsFastAsPossible => Duration::ZERO,
        Pace::PerSecond(rate) => Duration::from_nanos(1_000_000_000 / rate),
    };
    let (mut next, mut idle): (Instant, Vec<usize>) = (begun, (0..connections).collect());
    let mut under_way = 0;
    while begun.elapsed() < time || under_way > 0 {
        let now = Instant::now();
        while now - begun < time && next <= now {
            let Some(at) = idle.pop() else { break };
            let due = if every.is_zero() { Instant::now() } else { next };
            clients[at].send(due, run, &mut out);
            next += every;
            under_way += 1;
        }
        wait(&mut fds, Duration::from_millis(1));
        for at in 0..connections {
            if fds[at].revents == 0 {
                continue;
            }
            let Some(status) = clients[at].receive(&mut buffer) else { continue };
            let due = clients[at].due.take().unwrap();
            latencies.push(due.elapsed().as_micros() as u64);
            refused += u64::from(status != 201);
            under_way -= 1;
            idle.push(at);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_us = (cpu_us() - cpu) / latencies.len() as f64;
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Load {
        orders_per_second: latencies.len() as f64 / seconds,
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
        refused,
        cpu_us,
    }
}
