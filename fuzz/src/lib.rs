//! What the targets share: one decoder, many frames, and what must hold whatever they are.

use ingest::connector::{Connector, Plan, QuotesFrom, RestRequest};
use ingest::decode::{Listed, Output, decode_frame};
use ingest::venues;
use model::{Channel, TickBody, UnixNanos};

/// When every frame is received.
const RECV: UnixNanos = UnixNanos(1_787_612_486_500_000_000);

/// Feeds `data`, one frame a line, to the decoder of the venue with this name. The first byte chooses the
/// source of quotes, and whether every eighth line is a book snapshot or the answer to a poll.
///
/// # Panics
/// When the venue does not exist, or a decoder breaks its promises: that is what the fuzzer looks for.
pub fn drive(venue: &str, data: &[u8]) {
    let connector = venues::by_name(venue).expect("a target names a venue");
    let Some((choice, frames)) = data.split_first() else { return };
    let plan = plan(connector, *choice);
    let mut decoder = connector.decoder(&plan);
    let mut out = Output::default();
    for (number, frame) in frames.split(|byte| *byte == b'\n').enumerate() {
        out.clear();
        let refused = match (number % 8, choice & 4 != 0) {
            (7, true) => decoder.snapshot(0, frame, RECV, &mut out).is_err(),
            (6, true) => {
                let request = RestRequest { url: String::new(), instruments: vec![0, 1] };
                let refused = connector.decode_ticker(&plan, &request, frame, RECV, &mut out).is_err();
                if refused {
                    out.ticks.clear();
                }
                refused
            }
            _ => decode_frame(&mut *decoder, frame, RECV, &mut out).is_err(),
        };
        assert!(!refused || out.ticks.is_empty(), "a refused frame left a tick");
        for tick in &out.ticks {
            match tick.body {
                TickBody::Trade(trade) => assert!(trade.price.is_positive() && trade.quantity.is_positive()),
                TickBody::Quote(quote) => {
                    let both = quote.bid.is_positive() && quote.ask.is_positive();
                    assert!(!both || quote.bid <= quote.ask, "a crossed quote: {quote:?}");
                }
                TickBody::Ticker(ticker) => assert!(ticker.last.is_positive()),
                other => panic!("a venue cannot say {other:?}"),
            }
        }
    }
}

fn plan(connector: &dyn Connector, choice: u8) -> Plan {
    let listed = |name: &str| {
        let instrument = name.parse().expect("an instrument");
        Listed { instrument, symbol: connector.symbol(&instrument).into() }
    };
    Plan {
        venue: "x".parse().expect("a venue"),
        instruments: ["BTC-USDT", "ETH-USDT", "BTC-USD"].map(listed).into(),
        channels: vec![Channel::Trades, Channel::Quotes, Channel::Ticker],
        quotes_from: [QuotesFrom::BestBidAsk, QuotesFrom::Book, QuotesFrom::Both][choice as usize % 3],
    }
}
