//! Rows that have not landed: kept in memory, evicted once a snapshot has them, bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};

use crate::output::without_strangers;

/// The column with a record's offset in its partition.
const OFFSET: &str = "offset";
/// Rows of a piece that is made of smaller ones.
const JOINED_ROWS_MAX: usize = 8_192;

/// Rows of one source partition that follow each other.
#[derive(Debug, Clone)]
struct Piece {
    /// Offset of the first record read for it.
    first: u64,
    /// Offset after the last one; records that made no row lie in between too.
    end: u64,
    rows: RecordBatch,
}

/// Rows of one table from some offset on, by source partition. Cloning shares the rows.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    pieces: BTreeMap<u32, VecDeque<Arc<Piece>>>,
}

impl Tail {
    /// The rows from `next` on. A partition without an offset in `next` has not landed at all.
    ///
    /// # Errors
    /// When rows between `next` and the tail are missing: then the answer would have a hole.
    pub(super) fn from(&self, next: &BTreeMap<u32, u64>) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for (partition, pieces) in &self.pieces {
            let next = next.get(partition).copied().unwrap_or(0);
            if let Some(first) = pieces.front()
                && first.first > next
            {
                return exec_err!(
                    "partition {partition} has landed up to offset {next} and the tail begins at {}: try again",
                    first.first
                );
            }
            for piece in pieces.iter().filter(|piece| piece.end > next) {
                let rows = cut(&piece.rows, next)?;
                if rows.num_rows() > 0 {
                    batches.push(rows);
                }
            }
        }
        Ok(batches)
    }
}

/// The rows with buffers of their own: joined ones would keep those of every piece that they are made of.
fn own(rows: RecordBatch) -> Result<RecordBatch> {
    without_strangers(rows).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// Whether a piece joins the one after it.
fn joins(before: &Piece, after: &Piece) -> bool {
    let (before, after) = (before.rows.num_rows(), after.rows.num_rows());
    before <= after && before + after <= JOINED_ROWS_MAX
}

/// The rows from offset `next` on. Rows of a piece stand in the order of their offsets.
fn cut(rows: &RecordBatch, next: u64) -> Result<RecordBatch> {
    let Some(offsets) = rows.column_by_name(OFFSET) else {
        return exec_err!("the tail has no column {OFFSET}");
    };
    let offsets = offsets.as_primitive::<Int64Type>().values();
    let from = offsets.partition_point(|offset| u64::try_from(*offset).is_ok_and(|offset| offset < next));
    Ok(rows.slice(from, rows.num_rows() - from))
}

/// The tail of one table as it grows and is evicted.
#[derive(Debug)]
pub struct TailStore {
    schema: SchemaRef,
    tail: Tail,
    ends: BTreeMap<u32, u64>,
    bytes: usize,
}

impl TailStore {
    /// An empty tail of a table with these columns.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, tail: Tail::default(), ends: BTreeMap::new(), bytes: 0 }
    }

    /// Adds the rows made of the records from `first` up to `end`, which follows the last.
    ///
    /// # Errors
    /// When they do not follow what is there, or have other columns.
    pub fn push(&mut self, partition: u32, first: u64, end: u64, rows: RecordBatch) -> Result<()> {
        if let Some(known) = self.ends.get(&partition)
            && *known != first
        {
            return exec_err!("the tail of partition {partition} ends at {known} and goes on at {first}");
        }
        let columns = rows
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| Ok(cast(column, field.data_type())?))
            .collect::<Result<Vec<_>>>()?;
        let rows = own(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        self.bytes += rows.get_array_memory_size();
        self.ends.insert(partition, end);
        let pieces = self.tail.pieces.entry(partition).or_default();
        let mut piece = Arc::new(Piece { first, end, rows });
        // Small pieces join into larger ones, each row at most a dozen times: few batches are quicker to read.
        while let Some(before) = pieces.pop_back_if(|before| joins(before, &piece)) {
            let rows = own(concat_batches(&self.schema, [&before.rows, &piece.rows])?)?;
            self.bytes -= before.rows.get_array_memory_size() + piece.rows.get_array_memory_size();
            self.bytes += rows.get_array_memory_size();
            piece = Arc::new(Piece { first: before.first, end: piece.end, rows });
        }
        pieces.push_back(piece);
        Ok(())
    }

    /// Notes where a partition begins, before its first rows.
    pub fn begin(&mut self, partition: u32, first: u64) {
        self.ends.entry(partition).or_insert(first);
    }

    /// Lets go of what a snapshot with these next offsets has. Statements that run keep what they pinned.
    pub fn evict(&mut self, next: &BTreeMap<u32, u64>) {
        for (partition, pieces) in &mut self.tail.pieces {
            let next = next.get(partition).copied().unwrap_or(0);
            while let Some(piece) = pieces.pop_front_if(|piece| piece.end <= next) {
                self.bytes -= piece.rows.get_array_memory_size();
            }
        }
    }

    /// Lets go of the oldest rows of the partition that has the most; its number and where it begins now.
    pub fn let_go(&mut self) -> Option<(u32, u64)> {
        let rows = |pieces: &VecDeque<Arc<Piece>>| pieces.iter().map(|piece| piece.rows.num_rows()).sum::<usize>();
        let (partition, pieces) = self.tail.pieces.iter_mut().max_by_key(|(_, pieces)| rows(pieces))?;
        let piece = pieces.pop_front()?;
        self.bytes -= piece.rows.get_array_memory_size();
        Some((*partition, piece.end))
    }

    /// Begins anew at these offsets.
    pub fn reset(&mut self) {
        self.tail = Tail::default();
        self.ends.clear();
        self.bytes = 0;
    }

    /// The rows as they are now.
    pub fn pin(&self) -> Tail {
        self.tail.clone()
    }

    /// Offset after the last record read, by partition.
    pub fn ends(&self) -> &BTreeMap<u32, u64> {
        &self.ends
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
