//! SQL on a running pipeline, through every door.

mod abuse;
mod clients;
mod closed;
mod command;
mod exact;
mod tail;
mod worker;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::program::{PATIENCE, Place, Running, free_port};

const MARKETS: &str = "matcher:\n  markets:\n    BTC-USDT: { tick: \"0.01\", lot: \"0.00001\" }\n  \
                       simulate_traders: { seed: 1, makers: 2, takers: 2 }\n";
/// Lands every half second, so that tests see rows of both kinds.
const LAKE: &str = "lake: { type: directory, path: ./lake, roll: { rows: 2000, age: 500ms }, compact_every: never }\n";

/// In the place of a status: an error came after the first rows, and the body ends without its end.
const BROKEN_OFF: u16 = 0;

/// A running pipeline with SQL, its key and its doors.
struct Market {
    running: Running,
    place: Place,
    key: String,
    postgres: u16,
    flight: u16,
}

impl Market {
    /// With `more` lines in the pipeline's file and these limits.
    fn open(limits: &str, more: &str) -> Self {
        let (postgres, flight) = (free_port(), free_port());
        let doors = format!("postgres: \"127.0.0.1:{postgres}\", flight: \"127.0.0.1:{flight}\"");
        let place = Place::with_server(&format!(", sql: {{ {limits}, {doors} }}"), more);
        let running = place.up();
        let key = std::fs::read_to_string(place.path("data/trader.key")).unwrap().trim().to_owned();
        Self { running, place, key, postgres, flight }
    }

    /// Status and body of a statement's answer.
    fn sql(&self, sql: &str, format: &str) -> (u16, String) {
        self.sql_with(sql, format, &format!("x-api-key: {}\r\n", self.key))
    }

    fn sql_with(&self, sql: &str, format: &str, headers: &str) -> (u16, String) {
        let mut stream = self.begin(sql, format, headers);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") && !body.ends_with("0\r\n\r\n") {
            return (BROKEN_OFF, unchunked(head, body));
        }
        (head.split(' ').nth(1).unwrap().parse().unwrap(), unchunked(head, body))
    }

    /// Sends a statement and does not wait for its answer.
    fn begin(&self, sql: &str, format: &str, headers: &str) -> TcpStream {
        let address = self.running.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "POST /sql?format={format} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\
             content-type: text/plain\r\ncontent-length: {}\r\n\r\n{sql}",
            sql.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The lines of an answer that has to come, without the names of its columns.
    fn lines(&self, sql: &str) -> Vec<String> {
        let (status, body) = self.sql(sql, "csv");
        assert_eq!(status, 200, "{sql}: {body}");
        body.lines().skip(1).map(str::to_owned).collect()
    }

    /// Asks until the one number of the answer is as wanted.
    fn wait_for(&self, sql: &str, wanted: impl Fn(i64) -> bool) -> i64 {
        let begun = Instant::now();
        loop {
            let (status, body) = self.sql(sql, "csv");
            let number = body.lines().nth(1).and_then(|line| line.parse().ok());
            match number {
                Some(number) if status == 200 && wanted(number) => return number,
                _ => assert!(begun.elapsed() < PATIENCE, "{sql}: {status} {body}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The body of an answer that came in chunks.
fn unchunked(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || size > after.len() {
            break;
        }
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    whole
}
