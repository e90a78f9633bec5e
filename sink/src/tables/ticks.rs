//! `ticks`.

use model::{Origin, Tick, TickBody, TickFlags, TradeId};

use super::columns::columns;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long, wide};

columns! {
    /// Columns of `ticks`.
    Columns {
        kind: Text = "trade, quote, ticker, feed_state, rate, refresh, clock, configure or claim";
        symbol: Text null = "Instrument, BASE-QUOTE";
        venue: Text null = "Where it comes from, by its name in pipeline.yaml";
        price: Money null = "Trade: its price. Ticker: the last price. Rate: quote units for one base unit";
        quantity: Amount null = "Trade: base units";
        taker_side: Text null = "Trade: buy or sell, the side that took liquidity";
        trade_id: Long null = "Trade: the venue's id, where it is a number below 2^63";
        trade_uid: Text null = "Trade: the venue's id, where it is no such number";
        bid: Money null = "Quote: best bid; zero where nobody bids";
        bid_quantity: Amount null = "Quote: base units at the best bid";
        ask: Money null = "Quote: best ask; zero where nobody asks";
        ask_quantity: Amount null = "Quote: base units at the best ask";
        venue_sequence: Long null = "Quote: the venue's own sequence, modulo 2^64 as a signed number; 0 where it has none";
        volume_24h: Wide null = "Ticker: base units traded in 24 h";
        quote_volume_24h: Wide null = "Ticker: quote units traded in 24 h, where the venue says";
        channel: Text null = "Feed state: trades, quotes or ticker";
        phase: Text null = "Feed state: live, silent, gap or down";
        missing: Long null = "Feed state: records known to be missing; 0 where unknown";
        request: Long null = "Refresh: its id. Configure: hash of the rules; both modulo 2^64 as a signed number";
        time_replaced: Flag = "The venue gave no usable time; ts_event is ts_recv";
        off_book: Flag = "A block trade, liquidation or the like: outside VWAP and candles";
        historic: Flag = "From before the subscription: outside VWAP and candles";
        polled: Flag = "Fetched by REST rather than streamed";
        from_book: Flag = "A quote from the top of a maintained book";
        role: Text null = "Who wrote a root record";
        epoch: Long null = "Offset of the writer's claim";
        sequence: Long null = "Position since the claim";
        cause_topic: Text null = "Topic of the record that a derived one follows from";
        cause_partition: Int null = "Its partition";
        cause_offset: Long null = "Its offset";
    }
}

/// The columns that only some kinds have.
#[derive(Default)]
struct Cells<'a> {
    kind: &'static str,
    price: Option<model::Price>,
    quantity: Option<model::Quantity>,
    taker_side: Option<&'static str>,
    trade_id: Option<i64>,
    trade_uid: Option<&'a str>,
    quote: Option<&'a model::Quote>,
    volume_24h: Option<model::Volume>,
    quote_volume_24h: Option<model::Volume>,
    channel: Option<&'static str>,
    phase: Option<&'static str>,
    missing: Option<i64>,
    request: Option<i64>,
}

fn cells(body: &TickBody) -> Result<Cells<'_>, RowError> {
    Ok(match body {
        TickBody::Trade(trade) => {
            let trade_id = match trade.id {
                TradeId::Number(number) => i64::try_from(number).ok(),
                TradeId::Uuid(_) => None,
            };
            Cells {
                kind: "trade",
                price: Some(trade.price),
                quantity: Some(trade.quantity),
                taker_side: Some(trade.taker_side.as_str()),
                trade_id,
                ..Cells::default()
            }
        }
        TickBody::Quote(quote) => Cells { kind: "quote", quote: Some(quote), ..Cells::default() },
        TickBody::Ticker(ticker) => Cells {
            kind: "ticker",
            price: Some(ticker.last),
            volume_24h: Some(wide("volume_24h", ticker.volume_24h)?),
            quote_volume_24h: ticker.quote_volume_24h.map(|volume| wide("quote_volume_24h", volume)).transpose()?,
            ..Cells::default()
        },
        TickBody::FeedState(state) => Cells {
            kind: "feed_state",
            channel: Some(state.channel.as_str()),
            phase: Some(state.phase.as_str()),
            missing: Some(long("missing", state.missing)?),
            ..Cells::default()
        },
        TickBody::Rate(rate) => Cells { kind: "rate", price: Some(rate.price), ..Cells::default() },
        TickBody::Refresh(refresh) => Cells { kind: "refresh", request: Some(refresh.id as i64), ..Cells::default() },
        TickBody::Configure(configure) => {
            Cells { kind: "configure", request: Some(configure.hash as i64), ..Cells::default() }
        }
        TickBody::Clock(_) => Cells { kind: "clock", ..Cells::default() },
        TickBody::Claim(_) => Cells { kind: "claim", ..Cells::default() },
    })
}

impl Reads for Columns {
    fn read(&mut self, offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let tick = Tick::decode(bytes)?;
        let mut uid = String::new();
        let mut cells = cells(&tick.body)?;
        if let TickBody::Trade(trade) = &tick.body
            && cells.trade_id.is_none()
        {
            uid = trade.id.to_string();
        }
        cells.trade_uid = (!uid.is_empty()).then_some(&*uid);
        let root = match &tick.origin {
            Origin::Root { epoch, sequence, .. } => Some((long("epoch", *epoch)?, long("sequence", *sequence)?)),
            Origin::Derived(_) => None,
        };
        let cause = match &tick.origin {
            Origin::Root { .. } => None,
            Origin::Derived(cause) => Some((cause_partition(cause)?, long("cause offset", cause.offset)?)),
        };
        if !marks.admit(offset, &tick.origin) {
            return Ok(None);
        }
        self.symbol.maybe(tick.instrument().as_ref().map(model::Instrument::as_str));
        self.venue.maybe(tick.venue().as_ref().map(model::Venue::as_str));
        self.put(&cells);
        self.mark(tick.flags);
        let (role, topic) = match &tick.origin {
            Origin::Root { role, .. } => (Some(role.as_str()), None),
            Origin::Derived(cause) => (None, Some(cause.topic.as_str())),
        };
        self.role.maybe(role);
        self.epoch.maybe(root.map(|(epoch, _)| epoch));
        self.sequence.maybe(root.map(|(_, sequence)| sequence));
        self.cause_topic.maybe(topic);
        self.cause_partition.maybe(cause.map(|(partition, _)| partition));
        self.cause_offset.maybe(cause.map(|(_, offset)| offset));
        Ok(Some(Stamp { event: tick.ts_event, received: Some(tick.ts_recv) }))
    }
}

/// A cause's partition as tables have it.
pub(super) fn cause_partition(cause: &model::Cause) -> Result<i32, RowError> {
    i32::try_from(cause.partition).map_err(|_| RowError::TooLarge {
        field: "cause partition",
        value: cause.partition.to_string(),
        max: i32::MAX.to_string(),
    })
}

impl Columns {
    fn put(&mut self, cells: &Cells<'_>) {
        self.kind.put(cells.kind);
        self.price.maybe(cells.price);
        self.quantity.maybe(cells.quantity);
        self.taker_side.maybe(cells.taker_side);
        self.trade_id.maybe(cells.trade_id);
        self.trade_uid.maybe(cells.trade_uid);
        self.bid.maybe(cells.quote.map(|quote| quote.bid));
        self.bid_quantity.maybe(cells.quote.map(|quote| quote.bid_quantity));
        self.ask.maybe(cells.quote.map(|quote| quote.ask));
        self.ask_quantity.maybe(cells.quote.map(|quote| quote.ask_quantity));
        self.venue_sequence.maybe(cells.quote.map(|quote| quote.sequence as i64));
        self.volume_24h.maybe(cells.volume_24h);
        self.quote_volume_24h.maybe(cells.quote_volume_24h);
        self.channel.maybe(cells.channel);
        self.phase.maybe(cells.phase);
        self.missing.maybe(cells.missing);
        self.request.maybe(cells.request);
    }

    fn mark(&mut self, flags: TickFlags) {
        self.time_replaced.put(flags.any(TickFlags::TIME_REPLACED));
        self.off_book.put(flags.any(TickFlags::OFF_BOOK));
        self.historic.put(flags.any(TickFlags::HISTORIC));
        self.polled.put(flags.any(TickFlags::POLLED));
        self.from_book.put(flags.any(TickFlags::FROM_BOOK));
    }
}
