//! An S3 server in this process that misbehaves on cue: errors before and after the fact, lost answers, stalls,
//! a full disk, absence, and a commit held until the test lets it go. Its conditional PUTs are atomic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sink::lake::{Place, S3Config, S3Keys};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How it misbehaves at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Percent of requests that are answered 503 and not carried out.
    pub(crate) errors: u8,
    /// Percent of writes that are carried out and answered 500.
    pub(crate) lost: u8,
    /// Percent of requests that take this much longer.
    pub(crate) stalls: (u8, Duration),
    /// Nothing is answered but 503.
    pub(crate) down: bool,
    /// Writes find no room.
    pub(crate) full: bool,
    /// Every conditional write wins: what a store must not do.
    pub(crate) careless: bool,
    /// Conditional writes of tables' logs are not answered before this is taken back.
    pub(crate) hold_commits: bool,
    /// The bucket may not be made or used.
    pub(crate) forbidden: bool,
}

#[derive(Default)]
struct State {
    buckets: Vec<String>,
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    faults: Faults,
    random: Option<fastrand::Rng>,
    requests: u64,
    refused: u64,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    pub(crate) endpoint: String,
}

impl Server {
    pub(crate) async fn start(seed: u64) -> Self {
        let state = Arc::new(Mutex::new(State { random: Some(fastrand::Rng::with_seed(seed)), ..State::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&shared), stream));
            }
        });
        Self { state, endpoint }
    }

    pub(crate) fn place(&self) -> Place {
        Place::S3(S3Config {
            bucket: "test-lake".into(),
            prefix: "v1".into(),
            endpoint: Some(self.endpoint.clone()),
            region: Some("us-east-1".into()),
            keys: Some(S3Keys { access: "test".into(), secret: "not a secret".into() }),
        })
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    /// Requests answered, and those refused on purpose.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap();
        (state.requests, state.refused)
    }

    /// Data files that were uploaded.
    pub(crate) fn data_files(&self) -> usize {
        self.keys().iter().filter(|key| key.ends_with(".parquet") && key.contains("date=")).count()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }
}

fn chance(state: &mut State, percent: u8) -> bool {
    percent > 0 && state.random.as_mut().is_some_and(|random| random.u8(0..100) < percent)
}

/// A request, whole.
struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    /// By their names in small letters.
    headers: BTreeMap<String, String>,
    body: Bytes,
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// Length told, where the body itself is not sent.
    length: Option<usize>,
}

fn respond(status: u16, body: impl Into<Bytes>) -> Response {
    let headers = vec![("content-type", "application/xml".to_owned()), ("etag", "\"tag\"".to_owned())];
    Response { status, headers, body: body.into(), length: None }
}

fn refuse(status: u16, code: &str) -> Response {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>");
    respond(status, text)
}

/// Answers one request after another on a connection. Dropped when the other side goes away: what it asked for and
/// was not done yet is then never done.
async fn serve(state: Arc<Mutex<State>>, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let head = request.method == "HEAD";
        let answered = tokio::select! {
            answered = answer(&state, request) => answered,
            _ = stream.fill_buf() => return,
        };
        let length = answered.length.unwrap_or(answered.body.len());
        let mut text = format!("HTTP/1.1 {} X\r\ncontent-length: {length}\r\n", answered.status);
        for (name, value) in &answered.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !head {
            bytes.extend_from_slice(&answered.body);
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|value| value == "100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let chunked = headers.get("content-encoding").is_some_and(|value| value.contains("aws-chunked"));
    let body = if chunked { unchunk(&body.into()) } else { body.into() };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(pair).collect();
    Some(Request { method, path: unescape(path).trim_matches('/').to_owned(), query, headers, body })
}

async fn answer(state: &Mutex<State>, request: Request) -> Response {
    let (stall, early) = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        let faults = state.faults.clone();
        let failing = faults.down || chance(&mut state, faults.errors);
        state.refused += u64::from(failing);
        (chance(&mut state, faults.stalls.0).then_some(faults.stalls.1), failing)
    };
    if let Some(stall) = stall {
        tokio::time::sleep(stall).await;
    }
    if early {
        return refuse(503, "SlowDown");
    }
    // Version 0 makes the table, before there is any data file.
    let commit = request.headers.contains_key("if-none-match")
        && request.path.contains("_delta_log/")
        && !request.path.ends_with("/00000000000000000000.json");
    while commit && state.lock().unwrap().faults.hold_commits {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut state = state.lock().unwrap();
    if state.faults.forbidden {
        return refuse(403, "AccessDenied");
    }
    let writes = matches!(&*request.method, "PUT" | "POST" | "DELETE");
    if writes && state.faults.full && request.method != "DELETE" {
        state.refused += 1;
        return refuse(507, "InsufficientStorage");
    }
    let answer = act(&mut state, &request);
    let lost = state.faults.lost;
    if writes && answer.status < 300 && chance(&mut state, lost) {
        state.refused += 1;
        return refuse(500, "InternalError");
    }
    answer
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (!name.is_empty()).then(|| (name.to_owned(), unescape(value)))
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap()
}

/// The content of `LENGTH;extension\r\nbytes\r\n…0\r\ntrailers`.
fn unchunk(body: &Bytes) -> Bytes {
    let mut out = Vec::new();
    let mut rest = &body[..];
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let len = usize::from_str_radix(head.split(';').next().unwrap(), 16).unwrap();
        if len == 0 {
            return out.into();
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 4 + len..];
    }
}

fn act(state: &mut State, request: &Request) -> Response {
    let (bucket, key) = request.path.split_once('/').unwrap_or((&request.path, ""));
    let known = state.buckets.iter().any(|known| known == bucket);
    match (&*request.method, key) {
        ("PUT", "") => {
            state.buckets.push(bucket.to_owned());
            respond(200, "")
        }
        (_, "") if !known => refuse(404, "NoSuchBucket"),
        ("GET", "") => list(state, &request.query),
        (_, "") => respond(200, ""),
        _ if !known => refuse(404, "NoSuchBucket"),
        ("GET" | "HEAD", _) => get(state, key, request),
        ("DELETE", _) => {
            state.objects.remove(key);
            if let Some(id) = request.query.get("uploadId") {
                state.uploads.remove(id);
            }
            respond(204, "")
        }
        ("PUT", _) => put(state, key, request),
        ("POST", _) => upload(state, key, &request.query),
        _ => refuse(405, "MethodNotAllowed"),
    }
}

fn put(state: &mut State, key: &str, request: &Request) -> Response {
    if let (Some(id), Some(number)) = (request.query.get("uploadId"), request.query.get("partNumber")) {
        let Some(parts) = state.uploads.get_mut(id) else { return refuse(404, "NoSuchUpload") };
        parts.insert(number.parse().unwrap(), request.body.clone());
        return respond(200, "");
    }
    let conditional = request.headers.get("if-none-match").is_some_and(|value| value == "*");
    if conditional && !state.faults.careless && state.objects.contains_key(key) {
        return refuse(412, "PreconditionFailed");
    }
    state.objects.insert(key.to_owned(), request.body.clone());
    respond(200, "")
}

fn upload(state: &mut State, key: &str, query: &BTreeMap<String, String>) -> Response {
    let Some(id) = query.get("uploadId") else {
        let id = format!("upload-{}", state.requests);
        state.uploads.insert(id.clone(), BTreeMap::new());
        let text = format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
        return respond(200, text);
    };
    let Some(parts) = state.uploads.remove(id) else { return refuse(404, "NoSuchUpload") };
    let whole: Vec<u8> = parts.values().flatten().copied().collect();
    state.objects.insert(key.to_owned(), whole.into());
    respond(200, "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>")
}

fn get(state: &State, key: &str, request: &Request) -> Response {
    let Some(object) = state.objects.get(key) else { return refuse(404, "NoSuchKey") };
    let size = object.len();
    let range = request.headers.get("range").and_then(|value| value.strip_prefix("bytes=")?.split_once('-'));
    let (start, end) = match range {
        Some(("", suffix)) => (size - suffix.parse::<usize>().unwrap().min(size), size),
        Some((start, "")) => (start.parse().unwrap(), size),
        Some((start, last)) => (start.parse().unwrap(), (last.parse::<usize>().unwrap() + 1).min(size)),
        None => (0, size),
    };
    let mut headers =
        vec![("etag", "\"tag\"".to_owned()), ("last-modified", "Wed, 25 Nov 2026 12:00:00 GMT".to_owned())];
    if range.is_some() {
        headers.push(("content-range", format!("bytes {start}-{}/{size}", end - 1)));
    }
    let status = if range.is_some() { 206 } else { 200 };
    Response { status, headers, body: object.slice(start..end), length: Some(end - start) }
}

/// Pages of ten keys, so that every listing of the tests has several.
fn list(state: &State, query: &BTreeMap<String, String>) -> Response {
    let empty = String::new();
    let prefix = query.get("prefix").unwrap_or(&empty);
    let after = query.get("continuation-token").or(query.get("start-after")).unwrap_or(&empty);
    let mut found = state.objects.iter().filter(|(key, _)| key.starts_with(prefix) && *key > after);
    let page: Vec<_> = found.by_ref().take(10).collect();
    let more = found.next().is_some();
    let mut text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    if let (true, Some((last, _))) = (more, page.last()) {
        text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    for (key, object) in page {
        text.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-25T12:00:00.000Z</LastModified><Size>{}</Size></Contents>",
            object.len()
        ));
    }
    text.push_str("</ListBucketResult>");
    respond(200, text)
}
