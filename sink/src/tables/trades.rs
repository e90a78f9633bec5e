//! `trades`: matches on our own books.

use model::exchange::{MarketTrade, Stamped};

use super::Table;
use super::columns::columns;
use super::fast;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long};
use super::ticks::cause_partition;

columns! {
    /// Columns of `trades`.
    Columns {
        symbol: Text = "Instrument, BASE-QUOTE";
        trade_id: Long = "Counted from 1 in each market";
        price: Money = "The resting order's price, or the auction's";
        quantity: Amount = "Base units";
        taker_side: Text = "buy or sell: the side of the order that came in; in an auction of the younger one";
        maker_order: Long = "The order that rested; in an auction the older one";
        taker_order: Long = "The order that came in; in an auction the younger one";
        auction: Flag = "Whether it is an auction's";
        busted: Flag = "Whether this row takes the trade back";
        cause_partition: Int = "Partition of the command in orders that led to it";
        cause_offset: Long = "Offset of that command";
        cause_index: Long = "Place among that command's trades, from 0";
    }
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        // The form that our own writer gives them; whatever differs goes the general way.
        let trade: Stamped<MarketTrade> = match fast::market_trade(bytes) {
            Some(trade) => trade,
            None => serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::Trades, &error))?,
        };
        let Stamped { body, cause, ts_event, .. } = trade;
        let trade_id = long("trade_id", body.trade_id)?;
        let maker = long("maker_order", body.maker_order)?;
        let taker = long("taker_order", body.taker_order)?;
        let partition = cause_partition(&cause)?;
        let cause_offset = long("cause offset", cause.offset)?;
        if !marks.admit_cause(&cause) {
            return Ok(None);
        }
        self.symbol.put(body.instrument.as_str());
        self.trade_id.put(trade_id);
        self.price.put(body.price);
        self.quantity.put(body.quantity);
        self.taker_side.put(body.taker_side.as_str());
        self.maker_order.put(maker);
        self.taker_order.put(taker);
        self.auction.put(body.auction);
        self.busted.put(body.busted);
        self.cause_partition.put(partition);
        self.cause_offset.put(cause_offset);
        self.cause_index.put(i64::from(cause.index));
        Ok(Some(Stamp { event: ts_event, received: None }))
    }
}
