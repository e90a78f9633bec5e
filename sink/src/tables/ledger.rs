//! `ledger`: every movement of a balance.

use model::exchange::{Posting, Stamped};

use super::Table;
use super::columns::columns;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long, wide};
use super::ticks::cause_partition;

columns! {
    /// Columns of `ledger`.
    Columns {
        transfer: Long = "Counts movements from 1; postings that belong together share it";
        account: Long = "Whose balance";
        asset: Text = "In what";
        kind: Text = "deposit, withdrawal, hold, release, trade, fee, transfer or bust";
        amount: Wide = "Change of available and held together";
        held_change: Wide = "Change of what is held";
        available: Wide = "Available afterwards";
        held: Wide = "Held afterwards";
        order_id: Long = "The order behind it, 0 for none";
        trade_id: Long = "The trade behind it, 0 for none";
        cause_partition: Int = "Partition of the command in orders that led to it";
        cause_offset: Long = "Offset of that command";
        cause_index: Long = "Place among that command's postings, from 0";
    }
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let record: Stamped<Posting> =
            serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::Ledger, &error))?;
        let body = &record.body;
        for (field, value) in [
            ("amount", body.amount),
            ("held_change", body.held_change),
            ("available", body.available),
            ("held", body.held),
        ] {
            wide(field, value)?;
        }
        let transfer = long("transfer", body.transfer)?;
        let (order_id, trade_id) = (long("order_id", body.order_id)?, long("trade_id", body.trade_id)?);
        let partition = cause_partition(&record.cause)?;
        let cause_offset = long("cause offset", record.cause.offset)?;
        if !marks.admit_cause(&record.cause) {
            return Ok(None);
        }
        self.transfer.put(transfer);
        self.account.put(i64::from(body.account.0));
        self.asset.put(body.asset.as_str());
        self.kind.put(body.kind.as_str());
        self.amount.put(body.amount);
        self.held_change.put(body.held_change);
        self.available.put(body.available);
        self.held.put(body.held);
        self.order_id.put(order_id);
        self.trade_id.put(trade_id);
        self.cause_partition.put(partition);
        self.cause_offset.put(cause_offset);
        self.cause_index.put(i64::from(record.cause.index));
        Ok(Some(Stamp { event: record.ts_event, received: None }))
    }
}
