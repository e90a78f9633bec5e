//! The lake against the log: every offset once.
//!
//! What has landed is compared with what the log still holds, record by record: each makes one row, or none when it
//! repeats another, was superseded or is in `dead-letters`. Of older offsets, which the log no longer has, it is
//! checked that none is there twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use journal::{Log, Partition, Visibility};

use super::compact::parquet;
use super::input::read;
use crate::lake::{Lake, Snapshot};
use crate::land::SinkError;
use crate::tables::{Rows, Table};

/// Examples that a report keeps of each kind.
const EXAMPLES_MAX: usize = 10;
/// Rows between two compactions of the check's own memory.
const ROWS_A_DRAIN: usize = 65_536;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Rows looked at.
    pub rows: u64,
    /// Records of the log looked at.
    pub records: u64,
    /// Records that are more than one row.
    pub doubled: u64,
    /// Records below the landed offset that are no row and should be one.
    pub missing: u64,
    /// Rows whose record has not landed, or repeats another.
    pub invented: u64,
    /// Records that could not become rows and are in `dead-letters`.
    pub refused: u64,
    /// Some partitions and offsets of what is wrong.
    pub examples: Vec<(u32, u64)>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub const fn is_sound(&self) -> bool {
        self.doubled == 0 && self.missing == 0 && self.invented == 0
    }

    fn example(&mut self, partition: u32, offset: u64) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push((partition, offset));
        }
    }
}

/// Offsets as bits, from a first one on.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Sets a bit; false when it was set.
    fn set(&mut self, at: u64) -> bool {
        let word = (at / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let mask = 1 << (at % 64);
        let fresh = self.words[word] & mask == 0;
        self.words[word] |= mask;
        fresh
    }

    fn has(&self, at: u64) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word & 1 << (at % 64) != 0)
    }
}

/// Compares a table with its topic. `progress` is told of rows and records looked at.
///
/// # Errors
/// When the store or the log is away, or a file cannot be read.
pub async fn verify(
    lake: &Lake,
    log: &Arc<dyn Log>,
    table: Table,
    mut progress: impl FnMut(u64),
) -> Result<Verified, SinkError> {
    let snapshot = lake.snapshot(table).await?;
    let mut found = Verified::default();
    let rows = landed(lake, &snapshot, log.incarnation(), &mut found, &mut progress).await?;
    for (partition, position) in snapshot.positions(log.incarnation()) {
        let place = Partition::new(table.topic(), *partition);
        let bounds = log.bounds(&place).await?;
        let end = position.next.min(bounds.end);
        let bits = rows.get(partition);
        if bounds.start < end {
            let range = bounds.start..end;
            check(log, table, *partition, range, bits, &mut found, &mut progress).await?;
        }
    }
    for (partition, bits) in &rows {
        let next = snapshot.next(log.incarnation(), *partition);
        let beyond = (next..bits.words.len() as u64 * 64).filter(|offset| bits.has(*offset));
        for offset in beyond {
            found.invented += 1;
            found.example(*partition, offset);
        }
    }
    Ok(found)
}

/// The rows of this log, by partition and offset.
async fn landed(
    lake: &Lake,
    snapshot: &Snapshot,
    log: u128,
    found: &mut Verified,
    progress: &mut impl FnMut(u64),
) -> Result<BTreeMap<u32, Bits>, SinkError> {
    let mut rows: BTreeMap<u32, Bits> = BTreeMap::new();
    for file in snapshot.files.iter().filter(|file| file.log.is_none_or(|of| of == log)) {
        for batch in read(lake, snapshot.table, file).await? {
            let column = |name: &str| batch.column_by_name(name).expect("every table has it");
            let partitions = column("partition").as_primitive::<Int32Type>();
            let offsets = column("offset").as_primitive::<Int64Type>();
            for (partition, offset) in partitions.values().iter().zip(offsets.values()) {
                let (Ok(partition), Ok(offset)) = (u32::try_from(*partition), u64::try_from(*offset)) else {
                    return Err(parquet(&file.path, &"a negative partition or offset").into());
                };
                if !rows.entry(partition).or_default().set(offset) {
                    found.doubled += 1;
                    found.example(partition, offset);
                }
            }
            found.rows += batch.num_rows() as u64;
            progress(found.rows);
        }
    }
    Ok(rows)
}

/// Reads the log's records again and compares.
async fn check(
    log: &Arc<dyn Log>,
    table: Table,
    partition: u32,
    range: std::ops::Range<u64>,
    bits: Option<&Bits>,
    found: &mut Verified,
    progress: &mut impl FnMut(u64),
) -> Result<(), SinkError> {
    let mut reader = log.reader(&Partition::new(table.topic(), partition), range.start, Visibility::Durable).await?;
    let mut rows = Rows::new(table);
    let mut records = Vec::new();
    while reader.position() < range.end {
        records.clear();
        reader.read(&mut records).await?;
        for record in records.iter().filter(|record| record.offset < range.end) {
            found.records += 1;
            let before = rows.len();
            let refused = rows.push(partition, record.offset, &record.value).is_err();
            let expected = rows.len() > before;
            let there = bits.is_some_and(|bits| bits.has(record.offset));
            found.refused += u64::from(refused);
            // A candle may be superseded by a later revision, so its absence proves nothing.
            let may_lack = refused || table == Table::Candles;
            if expected && !there && !may_lack {
                found.missing += 1;
                found.example(partition, record.offset);
            }
            if !expected && there {
                found.invented += 1;
                found.example(partition, record.offset);
            }
            if rows.len() >= ROWS_A_DRAIN {
                drop(rows.finish());
            }
        }
        progress(found.rows + found.records);
    }
    Ok(())
}
