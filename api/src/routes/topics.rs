//! The topics and their records.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use journal::{Bounds, Log, LogError, Offset, Partition, Record, Visibility};
use model::{Tick, topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use crate::problem::{ErrorBody, ErrorDetail, Parameters, Problem, Segment, shown};
use crate::state::Shared;
use crate::view::TickView;

/// Bytes of lines that are sent together.
const CHUNK_BYTES: usize = 64 << 10;

/// The topics of the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Topics)]
pub(super) struct TopicsView {
    topics: Vec<TopicView>,
}

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Topic)]
pub(super) struct TopicView {
    #[schema(example = "prices")]
    topic: String,
    partitions: Vec<PartitionView>,
}

/// What a partition holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Partition)]
pub(super) struct PartitionView {
    partition: u32,
    /// Offset of the oldest record kept.
    start: u64,
    /// Offset that the next record will get.
    end: u64,
}

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordsQuery {
    /// The partition; all of them unless given.
    #[param(value_type = Option<u32>)]
    partition: Option<String>,
    /// An offset, `start`, `end`, or `-N` for the last N of each partition; `end` unless given.
    #[param(example = "-10")]
    from: Option<String>,
    /// Whether to go on with new records once those that are there have been sent: `true` unless given.
    #[param(value_type = Option<bool>)]
    follow: Option<String>,
}

/// A record as a line of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Record)]
pub(super) struct RecordView<'a> {
    #[schema(example = "prices")]
    topic: &'a str,
    partition: u32,
    offset: u64,
    /// The key as text.
    #[schema(value_type = String, example = "BTC-USDT")]
    key: std::borrow::Cow<'a, str>,
    /// The content, where it is JSON or a tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    value: Option<Value<'a>>,
    /// The content in hex digits, where it is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Json(&'a RawValue),
    Tick(Box<TickView>),
}

/// Where in each partition to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Start,
    End,
    Last(u64),
    At(Offset),
}

/// The topics with their partitions.
#[utoipa::path(get, path = "/topics", tag = "topics", responses(
    (status = 200, description = "The topics", body = TopicsView),
    (status = 503, description = "The log does not answer", body = ErrorBody),
))]
pub(super) async fn list_topics(State(state): State<Shared>) -> Result<Json<TopicsView>, Problem> {
    let log = &state.deps.log;
    let mut topics = Vec::new();
    for (topic, count) in log.topics().await.map_err(log_problem)? {
        let mut partitions = Vec::new();
        for partition in 0..count {
            let bounds = log.bounds(&Partition::new(&topic, partition)).await.map_err(log_problem)?;
            partitions.push(PartitionView { partition, start: bounds.start, end: bounds.end });
        }
        topics.push(TopicView { topic: topic.to_string(), partitions });
    }
    Ok(Json(TopicsView { topics }))
}

/// Records of a topic, a JSON line each, as they come.
///
/// Ticks, which are binary in the log, are shown as JSON. Order holds within a partition. An error that ends
/// the stream is its last line: `{"error": {"code", "message"}}`.
#[utoipa::path(get, path = "/topics/{topic}/records", tag = "topics",
    params(("topic" = String, Path, description = "Name of the topic", example = "prices"), RecordsQuery),
    responses(
        (status = 200, description = "The records", body = RecordView, content_type = "application/x-ndjson"),
        (status = 400, description = "A parameter is not as expected", body = ErrorBody),
        (status = 404, description = "No such topic or partition", body = ErrorBody),
        (status = 410, description = "The records from there are no longer kept", body = ErrorBody),
        (status = 503, description = "The log does not answer, or too many read already", body = ErrorBody),
    ))]
pub(super) async fn read_records(
    State(state): State<Shared>,
    Segment(name): Segment,
    Parameters(query): Parameters<RecordsQuery>,
) -> Result<Response, Problem> {
    let from = from(query.from.as_deref().unwrap_or("end"))?;
    let follow = match query.follow.as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(bad("follow", other, "true or false")),
    };
    let partitions = partitions(&state, &name, query.partition.as_deref(), from).await?;
    let place = state.tail_place()?;
    let (sender, receiver) = mpsc::channel(4);
    let stop = state.cancel.child_token();
    for partition in partitions {
        let bounds = state.deps.log.bounds(&partition).await.map_err(log_problem)?;
        let tail = Tail { log: Arc::clone(&state.deps.log), sender: sender.clone(), stop: stop.clone(), partition };
        let begin = begin(&tail.partition, from, bounds)?;
        state.tasks.spawn(tail.run(begin, (!follow).then_some(bounds.end)));
    }
    // Dropped with the body: the readers stop when the client leaves.
    let held = (receiver, stop.drop_guard(), place);
    let lines = stream::unfold(held, |mut held| async move {
        let chunk = held.0.recv().await?;
        Some((Ok::<Bytes, Infallible>(chunk), held))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn partitions(
    state: &Shared,
    name: &str,
    partition: Option<&str>,
    from: From,
) -> Result<Vec<Partition>, Problem> {
    let topics = state.deps.log.topics().await.map_err(log_problem)?;
    let Some((topic, count)) = topics.iter().find(|(topic, _)| &**topic == name) else {
        let names: Vec<&str> = topics.iter().map(|(topic, _)| &**topic).collect();
        let message = format!("topic {:?} does not exist: there are {}", shown(name), names.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_topic", message));
    };
    match partition {
        None if *count > 1 && matches!(from, From::At(_)) => {
            let message = format!("an offset belongs to a partition: {name} has {count}, say which with partition=");
            Err(Problem::bad_request("bad_from", message))
        }
        None => Ok((0..*count).map(|index| Partition::new(topic, index)).collect()),
        Some(text) => match text.parse::<u32>() {
            Ok(index) if index < *count => Ok(vec![Partition::new(topic, index)]),
            Ok(index) => {
                let message = format!("{name} has no partition {index}: 0 to {}", count - 1);
                Err(Problem::new(StatusCode::NOT_FOUND, "unknown_partition", message))
            }
            Err(_) => Err(bad("partition", text, "a number")),
        },
    }
}

fn from(text: &str) -> Result<From, Problem> {
    let refuse = || bad("from", text, "an offset, start, end, or -N for the last N");
    match text {
        "start" => Ok(From::Start),
        "end" => Ok(From::End),
        _ => match text.strip_prefix('-') {
            Some(last) => last.parse().map(From::Last).map_err(|_| refuse()),
            None => text.parse().map(From::At).map_err(|_| refuse()),
        },
    }
}

fn begin(partition: &Partition, from: From, bounds: Bounds) -> Result<Offset, Problem> {
    match from {
        From::Start => Ok(bounds.start),
        From::End => Ok(bounds.end),
        From::Last(count) => Ok(bounds.end.saturating_sub(count).max(bounds.start)),
        From::At(offset) if offset < bounds.start => {
            let message = format!("{partition} starts at offset {}: {offset} is no longer kept", bounds.start);
            Err(Problem::new(StatusCode::GONE, "trimmed", message))
        }
        From::At(offset) if offset > bounds.end => {
            let message = format!("{partition} ends at offset {}: {offset} does not exist yet", bounds.end);
            Err(Problem::bad_request("bad_from", message))
        }
        From::At(offset) => Ok(offset),
    }
}

fn bad(name: &str, value: &str, expected: &str) -> Problem {
    Problem::bad_request("bad_query", format!("{name} {:?} is not allowed: {expected}", shown(value)))
}

fn log_problem(error: LogError) -> Problem {
    Problem::unavailable("log_unavailable", error.to_string())
}

/// Sends the records of one partition as lines.
struct Tail {
    log: Arc<dyn Log>,
    partition: Partition,
    sender: mpsc::Sender<Bytes>,
    stop: CancellationToken,
}

impl Tail {
    /// Runs until `end`, or for ever; ends early when the client leaves or the server stops.
    async fn run(self, begin: Offset, end: Option<Offset>) {
        if let Some(Err(error)) = self.stop.run_until_cancelled(self.send_from(begin, end)).await {
            #[derive(Serialize)]
            struct LastLine {
                error: ErrorDetail,
            }
            let mut line = serde_json::to_vec(&LastLine { error: log_problem(error).into_detail() })
                .expect("an error serialises to memory");
            line.push(b'\n');
            // The client may have left meanwhile.
            let _ = self.sender.send(line.into()).await;
        }
    }

    async fn send_from(&self, begin: Offset, end: Option<Offset>) -> Result<(), LogError> {
        let end = end.unwrap_or(Offset::MAX);
        let mut reader = self.log.reader(&self.partition, begin, Visibility::Durable).await?;
        let (mut records, mut lines) = (Vec::new(), Vec::new());
        while reader.position() < end {
            records.clear();
            reader.read(&mut records).await?;
            for record in records.iter().take_while(|record| record.offset < end) {
                write_line(&self.partition, record, &mut lines);
                if lines.len() >= CHUNK_BYTES && !self.send(&mut lines).await {
                    return Ok(());
                }
            }
            if !lines.is_empty() && !self.send(&mut lines).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the client is still there.
    async fn send(&self, lines: &mut Vec<u8>) -> bool {
        self.sender.send(std::mem::take(lines).into()).await.is_ok()
    }
}

fn write_line(partition: &Partition, record: &Record, out: &mut Vec<u8>) {
    let value = if &*partition.topic == topic::TICKS {
        Tick::decode(&record.value).ok().map(|tick| Value::Tick(Box::new(TickView::from(&tick))))
    } else {
        serde_json::from_slice(&record.value).ok().map(Value::Json)
    };
    let value_hex = value.is_none().then(|| {
        record.value.iter().fold(String::with_capacity(record.value.len() * 2), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).expect("half a byte is a hex digit"));
            text.push(char::from_digit(u32::from(byte & 15), 16).expect("half a byte is a hex digit"));
            text
        })
    });
    let view = RecordView {
        topic: &partition.topic,
        partition: partition.index,
        offset: record.offset,
        key: String::from_utf8_lossy(&record.key),
        value,
        value_hex,
    };
    let at = out.len();
    serde_json::to_writer(&mut *out, &view).expect("a record serialises to memory");
    // Content may be JSON that spans lines; outside of texts, where JSON allows none, a line end is only space.
    for byte in &mut out[at..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.write_all(b"\n").expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(topic: &str, value: &'static [u8]) -> String {
        let record = Record { offset: 7, key: Bytes::from_static(b"k"), value: Bytes::from_static(value) };
        let mut out = Vec::new();
        write_line(&Partition::new(topic, 2), &record, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn content_that_is_no_json_is_shown_in_hex_and_every_record_is_one_line() {
        let head = r#"{"topic":"x","partition":2,"offset":7,"key":"k","#;
        assert_eq!(line("x", b"{\"a\":\n\"\\n\"}"), format!("{head}\"value\":{{\"a\": \"\\n\"}}}}\n"));
        assert_eq!(line("x", b"1.50"), format!("{head}\"value\":1.50}}\n"));
        assert_eq!(line("x", b"\x00\xfe!"), format!("{head}\"value_hex\":\"00fe21\"}}\n"));
        assert_eq!(line("ticks", b"\xff"), line("x", b"\xff").replace("\"x\"", "\"ticks\""));
    }

    #[test]
    fn positions_are_read_and_held_against_what_there_is() {
        let bounds = Bounds { start: 10, end: 20 };
        let at = |text: &str| from(text).and_then(|from| begin(&Partition::new("x", 0), from, bounds));
        for (text, offset) in [("start", 10), ("end", 20), ("-3", 17), ("-300", 10), ("10", 10), ("20", 20)] {
            assert_eq!(at(text), Ok(offset), "{text}");
        }
        for text in ["9", "21", "", "-", "--1", "1.5", "begin", "18446744073709551616"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
