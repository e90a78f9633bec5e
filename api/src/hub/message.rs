//! What a subscriber is sent, serialised once for all of them.

use std::fmt;
use std::io::Write;

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use model::Interval;
use serde::Serialize;

/// A stream of one kind that clients subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Channel {
    /// Composite prices: the newest of an asset wins.
    Prices,
    /// Candles and their corrections.
    Candles,
    /// Market data of the venues: quotes and tickers are conflated per venue, trades are not.
    Ticks,
    /// Matches on our own books.
    Trades,
    /// Our own books: the whole first, then each change.
    Book,
    /// Our own markets: phases, halts, indicative prices.
    Instruments,
}

impl Channel {
    /// Those of our own markets.
    pub(crate) const MARKETS: [Self; 3] = [Self::Trades, Self::Book, Self::Instruments];

    /// Whether it is about our own markets rather than about priced assets.
    pub(crate) const fn is_of_markets(self) -> bool {
        matches!(self, Self::Trades | Self::Book | Self::Instruments)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Prices => "prices",
            Self::Candles => "candles",
            Self::Ticks => "ticks",
            Self::Trades => "trades",
            Self::Book => "book",
            Self::Instruments => "instruments",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One message in the three forms that it is sent in. All three are slices of one buffer, so a clone copies
/// no content.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    event: Bytes,
    text: Utf8Bytes,
    data: Bytes,
}

impl Message {
    /// Serialises `data`, with channel, asset and interval around it.
    pub(crate) fn new(channel: Channel, asset: &str, interval: Option<Interval>, data: &impl Serialize) -> Self {
        let mut buffer = Vec::with_capacity(2_048);
        let written = "writing to memory does not fail";
        write!(buffer, "event: {channel}\ndata: ").expect(written);
        let text_at = buffer.len();
        write!(buffer, r#"{{"channel":"{channel}","asset":"{asset}""#).expect(written);
        if let Some(interval) = interval {
            write!(buffer, r#","interval":"{interval}""#).expect(written);
        }
        buffer.extend_from_slice(br#","data":"#);
        let data_at = buffer.len();
        serde_json::to_writer(&mut buffer, data).expect("views serialise to memory");
        let data_end = buffer.len();
        buffer.push(b'}');
        let text_end = buffer.len();
        buffer.extend_from_slice(b"\n\n");
        // Copied to its length: thousands are kept, and each would keep the room that it was written in.
        let event = Bytes::copy_from_slice(&buffer);
        let text = Utf8Bytes::try_from(event.slice(text_at..text_end)).expect("JSON is UTF-8");
        let data = event.slice(data_at..data_end);
        Self { event, text, data }
    }

    /// Bytes of the longest form.
    pub(crate) fn event_len(&self) -> usize {
        self.event.len()
    }

    /// As a server-sent event.
    pub(crate) fn event(&self) -> Bytes {
        self.event.clone()
    }

    /// As a WebSocket text.
    pub(crate) fn text(&self) -> Utf8Bytes {
        self.text.clone()
    }

    /// The content alone, as REST answers it.
    pub(crate) fn data(&self) -> Bytes {
        self.data.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_buffer_holds_every_form() {
        let message = Message::new(Channel::Candles, "BTCUSDT", Some(Interval::M1), &serde_json::json!({"a": 1}));
        let text = r#"{"channel":"candles","asset":"BTCUSDT","interval":"1m","data":{"a":1}}"#;
        assert_eq!(message.text().as_str(), text);
        assert_eq!(message.event(), format!("event: candles\ndata: {text}\n\n"));
        assert_eq!(message.data(), r#"{"a":1}"#);
    }
}
