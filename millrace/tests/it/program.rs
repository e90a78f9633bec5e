//! Runs the program in a directory of its own, on free ports.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for anything; generous, since the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

const EMBEDDED: &str = "{ type: embedded, sync: every_batch }";
pub(crate) const INSTRUMENTS: [&str; 4] = ["BTC-USDT", "ETH-USDT", "USDT-USD", "SOL-USDT"];

/// A pipeline in a temporary directory.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) api: u16,
}

/// The running program; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) base: String,
}

/// A port for a program that is started later, and perhaps again and again. Below those that the system gives out by
/// itself, so that nobody else draws it meanwhile, and never the same one twice.
pub(crate) fn free_port() -> u16 {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    loop {
        let at = std::process::id() * 100 + DRAWN.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (at % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Place {
    /// Writes a pipeline of three simulated venues on the embedded log, with `more` lines added.
    pub(crate) fn new(more: &str) -> Self {
        Self::with(EMBEDDED, "", more)
    }

    /// The same on another log.
    pub(crate) fn on(log: &str, more: &str) -> Self {
        Self::with(log, "", more)
    }

    /// As [`Self::new`], with more fields of the server's section.
    pub(crate) fn with_server(server: &str, more: &str) -> Self {
        Self::with(EMBEDDED, server, more)
    }

    fn with(log: &str, server: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [api, binance, coinbase, kraken] = [(); 4].map(|()| free_port());
        let file = format!(
            "version: 1\ndata_dir: ./data\nlog: {log}\n\
             instruments: [{}]\n\
             simulate:\n  seed: 7\n  ticks_per_second: 600\n  venues:\n    binance: {{ port: {binance} }}\n    \
             coinbase: {{ port: {coinbase} }}\n    kraken: {{ port: {kraken} }}\n\
             sources:\n  binance: {{ type: binance, websocket: \"ws://127.0.0.1:{binance}\", rest: \"http://127.0.0.1:{binance}\" }}\n  \
             coinbase: {{ type: coinbase, websocket: \"ws://127.0.0.1:{coinbase}\", rest: \"http://127.0.0.1:{coinbase}\" }}\n  \
             kraken: {{ type: kraken, websocket: \"ws://127.0.0.1:{kraken}/v2\", rest: \"http://127.0.0.1:{kraken}\" }}\n\
             server: {{ listen: \"127.0.0.1:{api}\"{server} }}\n{more}",
            INSTRUMENTS.join(", ")
        );
        std::fs::write(dir.path().join("pipeline.yaml"), file).unwrap();
        Self { dir, api }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        command(self.dir.path(), args).output().unwrap()
    }

    /// Starts the program and waits until it answers.
    pub(crate) fn up(&self) -> Running {
        self.start(&["up"]).answering()
    }

    /// Starts the program with a standard error that breaks, and waits until it answers.
    pub(crate) fn up_unheard(&self) -> Running {
        let mut child = command(self.dir.path(), &["up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        Running { child, base: format!("http://127.0.0.1:{}", self.api) }.answering()
    }

    /// Starts one stage.
    pub(crate) fn stage(&self, name: &str) -> Running {
        self.start(&["run", name])
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut child = command(self.dir.path(), args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Somebody must read what it says, or it would wait for room in the pipe.
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(drop));
        Running { child, base: format!("http://127.0.0.1:{}", self.api) }
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(args).current_dir(dir).env_remove("MILLRACE_LOG").stdin(Stdio::null());
    command
}

impl Running {
    /// Itself, once its API answers.
    pub(crate) fn answering(self) -> Self {
        self.wait_for("/healthz", |text| text.contains("\"parts\""));
        self
    }

    /// The body of an answer, whatever its status; `None` when nothing answers.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let address = self.base.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let text = String::from_utf8(answer).ok()?;
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// Status and body of a call with a key; `None` when nothing answers, or the connection breaks before it ends.
    pub(crate) fn call(&self, key: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        call(self.base.strip_prefix("http://").unwrap(), key, method, path, body)
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn wait_for(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.get(path);
            if let Some(text) = answer.as_ref().filter(|text| wanted(text)) {
                return text.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{path} never gave what was wanted: {answer:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// As [`Self::call`], again and again until it is done.
    pub(crate) fn wait_for_call(&self, key: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let begun = Instant::now();
        loop {
            match self.call(key, method, path, body) {
                Some(answer) if answer.0 < 500 => return answer,
                other => assert!(begun.elapsed() < PATIENCE, "{path} is never done: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Bytes of memory that it has at the moment.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The end of a topic's only partition: how many records it has had.
    pub(crate) fn end_of(&self, topic: &str) -> u64 {
        let text = self.get(&format!("/topics/{topic}/records?from=-1&follow=false")).unwrap();
        // The body comes in chunks, whose lengths are lines as well.
        let record = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("offset")?.as_u64();
        text.lines().filter_map(record).next_back().unwrap() + 1
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kill -9: no handler runs, nothing is flushed.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ctrl-C, and the end that follows; whether it was clean.
    pub(crate) fn interrupt(mut self) -> bool {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Status and body of one call.
pub(crate) fn call(address: &str, key: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
