//! REST calls as a venue sees them.

use serde_json::Value;

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestRequest {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// Path, percent-decoded.
    pub path: String,
    /// Query parameters in order, percent-decoded.
    pub query: Vec<(String, String)>,
    /// Body, as it came.
    pub body: Vec<u8>,
}

/// An answer, always JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestReply {
    /// HTTP status.
    pub status: u16,
    /// JSON text.
    pub body: Vec<u8>,
    /// Milliseconds to wait before answering.
    pub delay_ms: u64,
}

impl RestRequest {
    /// A call from its parts as they stand in a request line.
    pub fn new(method: &str, path: &str, query: &str, body: Vec<u8>) -> Self {
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (percent_decoded(key), percent_decoded(value)))
            .collect();
        Self { method: method.into(), path: percent_decoded(path), query, body }
    }

    /// The first parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl RestReply {
    /// An answer with JSON text.
    pub(crate) fn text(status: u16, body: Vec<u8>) -> Self {
        Self { status, body, delay_ms: 0 }
    }

    /// An answer with a JSON value; for errors and other rare answers.
    pub(crate) fn value(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string().into_bytes())
    }
}

/// `%41` and `+` undone; what is not well formed stays as it is, and bytes that are not UTF-8 are replaced.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let request = RestRequest::new("GET", "/a%20b", "symbols=%5B%22BTCUSDT%22%5D&x=%zz&flag", Vec::new());
        assert_eq!(request.path, "/a b");
        assert_eq!(request.parameter("symbols"), Some(r#"["BTCUSDT"]"#));
        assert_eq!(request.parameter("x"), Some("%zz"));
        assert_eq!(request.parameter("flag"), Some(""));
    }
}
