//! `candles`.

use model::Candle;

use super::Table;
use super::columns::columns;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long, wide};
use super::ticks::cause_partition;

columns! {
    /// Columns of `candles`.
    Columns {
        symbol: Text = "Instrument, BASE-QUOTE";
        interval: Text = "1s, 1m, 5m, 15m, 1h or 1d";
        start: Time = "Start of the interval";
        start_ns: Long = "Start of the interval, in unix nanoseconds";
        revision: Long = "Corrections by late trades that it contains";
        open: Money = "Price of the earliest trade, by event time, venue and trade id";
        high: Money = "Highest price";
        low: Money = "Lowest price";
        close: Money = "Price of the latest trade";
        volume: Wide = "Base units traded";
        notional: Product = "Quote units traded: the exact sum of price times quantity";
        vwap: Money = "Volume-weighted average price";
        trades: Long = "Trades counted";
        cause_topic: Text = "Topic of the record that closed or corrected it";
        cause_partition: Int = "Its partition";
        cause_offset: Long = "Its offset";
        cause_index: Long = "Place among that record's outputs, from 0";
    }
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let candle: Candle = serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::Candles, &error))?;
        let trades = long("trades", candle.trades)?;
        let partition = cause_partition(&candle.cause)?;
        let cause_offset = long("cause offset", candle.cause.offset)?;
        wide("volume", candle.volume)?;
        wide("notional", model::Volume::from_raw(candle.notional.raw()))?;
        if !marks.admit_cause(&candle.cause) {
            return Ok(None);
        }
        self.symbol.put(candle.instrument.as_str());
        self.interval.put(candle.interval.as_str());
        self.start.put(candle.start);
        self.start_ns.put(candle.start.0);
        self.revision.put(i64::from(candle.revision));
        self.open.put(candle.open);
        self.high.put(candle.high);
        self.low.put(candle.low);
        self.close.put(candle.close);
        self.volume.put(candle.volume);
        self.notional.put(candle.notional);
        self.vwap.put(candle.vwap);
        self.trades.put(trades);
        self.cause_topic.put(candle.cause.topic.as_str());
        self.cause_partition.put(partition);
        self.cause_offset.put(cause_offset);
        self.cause_index.put(i64::from(candle.cause.index));
        Ok(Some(Stamp { event: candle.ts_event, received: Some(candle.ts_recv) }))
    }
}
