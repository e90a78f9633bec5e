//! Records on their way in and out of a log.

use bytes::Bytes;

use crate::log::Offset;

/// Records that are appended together: they get consecutive offsets, and after a crash all of them are there
/// or none.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<RecordEnd>,
}

#[derive(Debug, Clone, Copy)]
struct RecordEnd {
    key_end: u32,
    value_end: u32,
}

/// A record of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The key; it may be empty.
    pub key: &'a [u8],
    /// The content.
    pub value: &'a [u8],
}

/// A record as a reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// The key; it may be empty.
    pub key: Bytes,
    /// The content.
    pub value: Bytes,
}

impl Batch {
    /// Records in a batch, at most.
    pub const RECORDS_MAX: usize = 65_536;
    /// Bytes of keys and values in a batch, at most.
    pub const BYTES_MAX: usize = 8 << 20;

    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of one record.
    pub fn of(key: &[u8], value: &[u8]) -> Self {
        let mut batch = Self::new();
        batch.push(key, value);
        batch
    }

    /// Adds a record. A batch over [`Self::RECORDS_MAX`] or [`Self::BYTES_MAX`] is refused when appended.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.push_with(key, |out| out.extend_from_slice(value));
    }

    /// Adds a record whose content `write` appends to the buffer it is given, which saves a copy. `write`
    /// only ever appends.
    pub fn push_with(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        write(&mut self.bytes);
        debug_assert!(self.bytes.len() >= key_end);
        // Batches past 4 GiB cannot be told apart here, and are refused by their size long before.
        self.ends.push(RecordEnd { key_end: key_end as u32, value_end: self.bytes.len() as u32 });
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of keys and values.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The records' bytes and after them, per record, where its key and its value end (two `u32`,
    /// little-endian).
    pub(crate) fn into_payload(mut self) -> Vec<u8> {
        self.bytes.reserve_exact(self.ends.len() * 8);
        for end in &self.ends {
            self.bytes.extend_from_slice(&end.key_end.to_le_bytes());
            self.bytes.extend_from_slice(&end.value_end.to_le_bytes());
        }
        self.bytes
    }

    /// The records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let (key_end, value_end) = (end.key_end as usize, end.value_end as usize);
            let record = RecordRef { key: &self.bytes[start..key_end], value: &self.bytes[key_end..value_end] };
            start = value_end;
            record
        })
    }
}
