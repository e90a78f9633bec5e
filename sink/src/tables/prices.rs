//! `prices`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Builder, Int64Builder, ListArray, StringBuilder, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use model::{CompositePrice, Constituent, Window};

use super::Table;
use super::columns::{Column, columns, field};
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long, wide};
use super::ticks::cause_partition;

columns! {
    /// Columns of `prices`.
    Columns {
        symbol: Text = "Instrument, BASE-QUOTE";
        sequence: Long = "Counts an instrument's publications from 1, without gaps";
        price: Money = "The composite price, rounded half to even to the published tick";
        raw: Money = "The same before that rounding, at 1e-8";
        status: Text = "OK, DEGRADED, SINGLE_SOURCE or STALE";
        confidence: Money null = "Distance to the farther quartile of the venues' votes";
        reason: Text = "Why it was published: deviation, heartbeat, status or refresh";
        refresh: Long null = "Id of the refresh that it answers, modulo 2^64 as a signed number";
        age_ns: Long = "Nanoseconds from the newest event behind it to ts_event";
        bid: Money null = "Best bid across venues";
        bid_quantity: Amount null = "Base units there";
        bid_venue: Text null = "Who bids it";
        ask: Money null = "Best ask across venues";
        ask_quantity: Amount null = "Base units there";
        ask_venue: Text null = "Who asks it";
        mid: Money null = "Mean of best bid and best ask";
        vwap_1s: Money null = "Volume-weighted average of the last second, all venues pooled";
        volume_1s: Wide null = "Base units traded in that second";
        vwap_1m: Money null = "Volume-weighted average of the last minute";
        volume_1m: Wide null = "Base units traded in that minute";
        vwap_5m: Money null = "Volume-weighted average of the last five minutes";
        volume_5m: Wide null = "Base units traded in them";
        vwap_1h: Money null = "Volume-weighted average of the last hour";
        volume_1h: Wide null = "Base units traded in that hour";
        vwap_24h: Money null = "Volume-weighted average of the last 24 h";
        volume_24h: Wide null = "Base units traded in them";
        constituents: Constituents = "Every venue that was considered, ordered by name: price, weight, volume, age, state";
        config: Text = "Hash of the rules in force, 16 hex digits";
        cause_topic: Text = "Topic of the record that led to it";
        cause_partition: Int = "Its partition";
        cause_offset: Long = "Its offset";
        cause_index: Long = "Place among that record's outputs, from 0";
    }
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let price: CompositePrice =
            serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::Prices, &error))?;
        let sequence = long("sequence", price.sequence)?;
        let partition = cause_partition(&price.cause)?;
        let cause_offset = long("cause offset", price.cause.offset)?;
        for window in &price.vwap {
            wide("volume", window.volume)?;
        }
        for one in &price.constituents {
            wide("volume", one.volume)?;
        }
        if !marks.admit_cause(&price.cause) {
            return Ok(None);
        }
        self.symbol.put(price.instrument.as_str());
        self.sequence.put(sequence);
        self.price.put(price.price);
        self.raw.put(price.raw);
        self.status.put(price.status.as_str());
        self.confidence.maybe(price.confidence);
        self.reason.put(price.reason.as_str());
        self.refresh.maybe(price.refresh.map(|id| id as i64));
        self.age_ns.put(price.age_ns);
        self.levels(&price);
        self.windows(&price);
        self.constituents.put(&price.constituents);
        self.config.put(&price.config.to_string());
        self.cause_topic.put(price.cause.topic.as_str());
        self.cause_partition.put(partition);
        self.cause_offset.put(cause_offset);
        self.cause_index.put(i64::from(price.cause.index));
        Ok(Some(Stamp { event: price.ts_event, received: Some(price.ts_recv) }))
    }
}

impl Columns {
    fn levels(&mut self, price: &CompositePrice) {
        self.bid.maybe(price.bid.map(|level| level.price));
        self.bid_quantity.maybe(price.bid.map(|level| level.quantity));
        self.bid_venue.maybe(price.bid.as_ref().map(|level| level.venue.as_str()));
        self.ask.maybe(price.ask.map(|level| level.price));
        self.ask_quantity.maybe(price.ask.map(|level| level.quantity));
        self.ask_venue.maybe(price.ask.as_ref().map(|level| level.venue.as_str()));
        self.mid.maybe(price.mid);
    }

    fn windows(&mut self, price: &CompositePrice) {
        let of = |window| price.vwap.iter().find(|one| one.window == window);
        for window in Window::ALL {
            let (vwap, volume) = match window {
                Window::S1 => (&mut self.vwap_1s, &mut self.volume_1s),
                Window::M1 => (&mut self.vwap_1m, &mut self.volume_1m),
                Window::M5 => (&mut self.vwap_5m, &mut self.volume_5m),
                Window::H1 => (&mut self.vwap_1h, &mut self.volume_1h),
                Window::H24 => (&mut self.vwap_24h, &mut self.volume_24h),
            };
            vwap.maybe(of(window).and_then(|one| one.price));
            volume.maybe(of(window).map(|one| one.volume));
        }
    }
}

/// A list of venues per row.
#[derive(Debug)]
pub(in crate::tables) struct Constituents {
    ends: Vec<i32>,
    venue: StringBuilder,
    instrument: StringBuilder,
    price: Decimal128Builder,
    weight: Decimal128Builder,
    volume: Decimal128Builder,
    age_ns: Int64Builder,
    state: StringBuilder,
}

impl Default for Constituents {
    fn default() -> Self {
        let decimal = |precision| Decimal128Builder::new().with_data_type(DataType::Decimal128(precision, 8));
        Self {
            ends: vec![0],
            venue: StringBuilder::new(),
            instrument: StringBuilder::new(),
            price: decimal(18),
            weight: decimal(18),
            volume: decimal(38),
            age_ns: Int64Builder::new(),
            state: StringBuilder::new(),
        }
    }
}

impl Constituents {
    fn item() -> Fields {
        vec![
            field("venue", DataType::Utf8, false, "The venue"),
            field("instrument", DataType::Utf8, true, "What it trades, where that is not the priced instrument"),
            field("price", DataType::Decimal128(18, 8), false, "Its price, converted, before any clamp"),
            field("weight", DataType::Decimal128(18, 8), false, "The weight it was counted with, parts of 1"),
            field("volume", DataType::Decimal128(38, 8), false, "What the weight comes from, base units"),
            field("age_ns", DataType::Int64, false, "Nanoseconds from its newest event to the price's"),
            field("state", DataType::Utf8, false, "USED, CLAMPED, OUTLIER, STALE or THIN"),
        ]
        .into()
    }

    fn list_item() -> Arc<Field> {
        Arc::new(Field::new("element", DataType::Struct(Self::item()), false))
    }

    fn put(&mut self, list: &[Constituent]) {
        for one in list {
            self.venue.append_value(one.venue.as_str());
            self.instrument.append_option(one.instrument.as_ref().map(model::Instrument::as_str));
            self.price.append_value(i128::from(one.price.raw()));
            self.weight.append_value(i128::from(one.weight.raw()));
            self.volume.append_value(one.volume.raw());
            self.age_ns.append_value(one.age_ns);
            self.state.append_value(one.state.as_str());
        }
        let end = self.ends[self.ends.len() - 1] as usize + list.len();
        self.ends.push(i32::try_from(end).expect("a batch of rows has fewer than 2^31 constituents"));
    }
}

impl Column for Constituents {
    fn kind() -> DataType {
        DataType::List(Self::list_item())
    }

    fn finish(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.venue.finish()),
            Arc::new(self.instrument.finish()),
            Arc::new(self.price.finish()),
            Arc::new(self.weight.finish()),
            Arc::new(self.volume.finish()),
            Arc::new(self.age_ns.finish()),
            Arc::new(self.state.finish()),
        ];
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let items = StructArray::try_new(Self::item(), columns, None).expect("columns of one length");
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        Arc::new(ListArray::try_new(Self::list_item(), offsets, Arc::new(items), None).expect("ends that rise"))
    }
}
