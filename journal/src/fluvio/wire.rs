//! Our records in Fluvio's batches.
//!
//! A Fluvio batch is a header and, uncompressed, a count and that many records:
//!
//! ```text
//! count i32 big-endian | record...
//! record: length varint | attributes i8 | time delta varint | offset delta varint
//!         | has key i8 [length varint, key] | length varint, value | headers varint (0)
//! ```
//! Varints are zigzag. The published codec moves contents byte by byte and copies each of them; here they are
//! written once and read as slices of the message they came in. Batches of other producers may be compressed:
//! those go through the published codec.

use bytes::{Buf, Bytes};
use fluvio::Compression;
use fluvio::dataplane::record::{BATCH_HEADER_SIZE, Batch as FluvioBatch, RawRecords};

use crate::batch::{Batch, Record};
use crate::log::Offset;

/// What marks a batch as ours, whatever it contains: Fluvio stores these header fields and does not use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Random, one per appender.
    pub(super) producer: i64,
    /// Counts the batches of that appender.
    pub(super) sequence: i32,
}

/// Packs records in order into one Fluvio batch.
pub(super) fn pack<'a>(
    parts: impl Iterator<Item = &'a Batch> + Clone,
    stamp: Stamp,
    now_ms: i64,
) -> FluvioBatch<RawRecords> {
    let (count, size) = parts.clone().fold((0, 0), |(count, size), part| (count + part.len(), size + part.size()));
    let mut bytes = Vec::with_capacity(4 + size + count * RECORD_OVERHEAD_MAX);
    // A batch holds at most a few times 65,536 records.
    bytes.extend_from_slice(&(count as i32).to_be_bytes());
    for (delta, record) in parts.flat_map(Batch::iter).enumerate() {
        let delta = delta as u64;
        let key_len = if record.key.is_empty() { 0 } else { varint_len(record.key.len() as u64) + record.key.len() };
        let len =
            1 + 1 + varint_len(delta) + 1 + key_len + varint_len(record.value.len() as u64) + record.value.len() + 1;
        put_varint(&mut bytes, len as u64);
        bytes.extend_from_slice(&[0, 0]);
        put_varint(&mut bytes, delta);
        bytes.push(u8::from(!record.key.is_empty()));
        if !record.key.is_empty() {
            put_varint(&mut bytes, record.key.len() as u64);
            bytes.extend_from_slice(record.key);
        }
        put_varint(&mut bytes, record.value.len() as u64);
        bytes.extend_from_slice(record.value);
        bytes.push(0);
    }
    let mut batch = FluvioBatch::<RawRecords>::default();
    let header = batch.get_mut_header();
    header.last_offset_delta = count as i32 - 1;
    header.first_timestamp = now_ms;
    header.max_time_stamp = now_ms;
    header.producer_id = stamp.producer;
    header.producer_epoch = 0;
    header.first_sequence = stamp.sequence;
    *batch.mut_records() = RawRecords(Bytes::from(bytes));
    batch
}

/// Bytes around a record's key and value, at most.
pub(super) const RECORD_OVERHEAD_MAX: usize = 24;

/// Whether `stored` is the batch that [`pack`] made: same stamp, same bytes.
pub(super) fn is_same(stored: &FluvioBatch<RawRecords>, sent: &FluvioBatch<RawRecords>) -> bool {
    stored.header.producer_id == sent.header.producer_id
        && stored.header.first_sequence == sent.header.first_sequence
        && stored.records().0 == sent.records().0
}

/// The batches that arrived whole, and whether a cut one followed. A fetch ends at a number of bytes, and the
/// published decoder gives a cut batch out as if it were whole.
pub(super) fn whole(batches: Vec<FluvioBatch<RawRecords>>) -> (Vec<FluvioBatch<RawRecords>>, bool) {
    let count = batches.len();
    let whole: Vec<_> = batches.into_iter().take_while(is_whole).collect();
    let cut = whole.len() < count;
    (whole, cut)
}

fn is_whole(batch: &FluvioBatch<RawRecords>) -> bool {
    let schema = if batch.header.has_schema() { 4 } else { 0 };
    usize::try_from(batch.batch_len).is_ok_and(|len| len == BATCH_HEADER_SIZE + schema + batch.records().0.len())
}

/// Why a stored batch cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BatchDamage {
    #[error("checksum is {stored:08x}, the content has {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("record {0} cannot be decoded")]
    Record(usize),
    #[error("{0} records announced, {1} found")]
    Count(usize, usize),
    #[error("compressed content cannot be unpacked: {0}")]
    Compression(String),
}

/// Appends the records from offset `from` on to `into`.
pub(super) fn unpack(batch: &FluvioBatch<RawRecords>, from: Offset, into: &mut Vec<Record>) -> Result<(), BatchDamage> {
    verify(batch)?;
    let compression = Compression::try_from((batch.header.attributes & 7) as i8);
    if !matches!(compression, Ok(Compression::None)) || batch.header.has_schema() {
        return unpack_foreign(batch, from, into);
    }
    let base = batch.base_offset as u64;
    let mut rest = batch.records().0.clone();
    let count = (rest.len() >= 4).then(|| rest.get_i32()).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(BatchDamage::Record(0))?;
    if count != batch.records_len() {
        return Err(BatchDamage::Count(batch.records_len(), count));
    }
    for index in 0..count {
        let (key, value) = take_record(&mut rest).ok_or(BatchDamage::Record(index))?;
        let offset = base + index as u64;
        if offset >= from {
            into.push(Record { offset, key, value });
        }
    }
    Ok(())
}

fn unpack_foreign(batch: &FluvioBatch<RawRecords>, from: Offset, into: &mut Vec<Record>) -> Result<(), BatchDamage> {
    let records = batch.memory_records().map_err(|error| BatchDamage::Compression(error.to_string()))?;
    if records.len() != batch.records_len() {
        return Err(BatchDamage::Count(batch.records_len(), records.len()));
    }
    for (offset, record) in (batch.base_offset as u64..).zip(records) {
        if offset >= from {
            let key = record.key.map(|key| Bytes::clone(&key)).unwrap_or_default();
            into.push(Record { offset, key, value: Bytes::clone(&record.value) });
        }
    }
    Ok(())
}

/// Compares the checksum (CRC-32C over the header from its attributes on, and the records), which the
/// published consumer does not do.
fn verify(batch: &FluvioBatch<RawRecords>) -> Result<(), BatchDamage> {
    let header = &batch.header;
    let mut covered = Vec::with_capacity(40);
    covered.extend_from_slice(&header.attributes.to_be_bytes());
    covered.extend_from_slice(&header.last_offset_delta.to_be_bytes());
    covered.extend_from_slice(&header.first_timestamp.to_be_bytes());
    covered.extend_from_slice(&header.max_time_stamp.to_be_bytes());
    covered.extend_from_slice(&header.producer_id.to_be_bytes());
    covered.extend_from_slice(&header.producer_epoch.to_be_bytes());
    covered.extend_from_slice(&header.first_sequence.to_be_bytes());
    if header.has_schema() {
        // The schema id's number is private to the published crate; no producer of ours sets one.
        return Ok(());
    }
    let computed = crc32c::crc32c_append(crc32c::crc32c(&covered), &batch.records().0);
    if computed == header.crc { Ok(()) } else { Err(BatchDamage::Checksum { stored: header.crc, computed }) }
}

fn take_record(rest: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let len = take_varint(rest)?;
    if len > rest.len() {
        return None;
    }
    let mut record = rest.split_to(len);
    take(&mut record, 1)?;
    skip_varint(&mut record)?;
    skip_varint(&mut record)?;
    let key = match take(&mut record, 1)?[0] {
        0 => Bytes::new(),
        _ => take_sized(&mut record)?,
    };
    let value = take_sized(&mut record)?;
    Some((key, value))
}

fn take_sized(bytes: &mut Bytes) -> Option<Bytes> {
    let len = take_varint(bytes)?;
    take(bytes, len)
}

fn take(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

fn skip_varint(bytes: &mut Bytes) -> Option<()> {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    take(bytes, len).map(drop)
}

/// A zigzag varint that is not negative.
fn take_varint(bytes: &mut Bytes) -> Option<usize> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        if bytes.is_empty() || shift > 56 {
            return None;
        }
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    (value & 1 == 0).then(|| usize::try_from(value >> 1).ok())?
}

fn put_varint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

const fn varint_len(value: u64) -> usize {
    let bits = 64 - ((value << 1) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use fluvio::dataplane::core::{Decoder, Encoder};
    use fluvio::dataplane::record::RecordSet;

    use super::*;

    const STAMP: Stamp = Stamp { producer: 7, sequence: 3 };

    fn parts() -> Vec<Batch> {
        let mut first = Batch::new();
        first.push(b"BTC", b"one");
        first.push(b"", b"");
        let mut second = Batch::new();
        for len in [1, 63, 64, 8191, 8192, 100_000] {
            second.push(&vec![b'k'; len.min(70)], &vec![b'v'; len]);
        }
        vec![first, second]
    }

    /// Through the published codec, as an SPU stores and sends it.
    fn sent(batch: FluvioBatch<RawRecords>, base: i64, cut_to: Option<usize>) -> Vec<FluvioBatch<RawRecords>> {
        let mut bytes = Vec::new();
        RecordSet::default().add(batch.base_offset(base)).encode(&mut bytes, 0).expect("encodes");
        if let Some(len) = cut_to {
            bytes.truncate(len);
            let announced = (len - 4) as i32;
            bytes[..4].copy_from_slice(&announced.to_be_bytes());
        }
        RecordSet::<RawRecords>::decode_from(&mut Bytes::from(bytes), 0).expect("decodes").batches
    }

    #[test]
    fn what_is_packed_is_unpacked_and_the_published_codec_agrees() {
        let parts = parts();
        let packed = pack(parts.iter(), STAMP, 1_700_000_000_000);
        let (arrived, cut) = whole(sent(packed.clone(), 1000, None));
        assert!(!cut && arrived.len() == 1);
        assert!(is_same(&arrived[0], &packed));
        let mut records = Vec::new();
        unpack(&arrived[0], 0, &mut records).expect("unpacks");
        let expected: Vec<_> = parts.iter().flat_map(Batch::iter).collect();
        assert_eq!(records.len(), expected.len());
        let published = arrived[0].memory_records().expect("the published codec reads it");
        for (index, (record, expected)) in records.iter().zip(&expected).enumerate() {
            assert_eq!(record.offset, 1000 + index as u64);
            assert_eq!((&record.key[..], &record.value[..]), (expected.key, expected.value), "record {index}");
            assert_eq!(published[index].value.as_ref(), expected.value);
            assert_eq!(published[index].key.as_ref().map_or(&[][..], |key| key.as_ref()), expected.key);
            assert_eq!(published[index].preamble.offset_delta(), index as i64);
        }
        let mut tail = Vec::new();
        unpack(&arrived[0], 1003, &mut tail).expect("unpacks");
        assert_eq!(tail, records[3..]);
    }

    #[test]
    fn a_batch_cut_anywhere_is_never_taken_for_whole() {
        let packed = pack(parts()[..1].iter(), STAMP, 0);
        let mut full = Vec::new();
        RecordSet::default().add(packed.clone()).encode(&mut full, 0).expect("encodes");
        for len in 5..full.len() {
            let (arrived, _) = whole(sent(packed.clone(), 0, Some(len)));
            assert!(arrived.is_empty(), "cut to {len} of {} bytes", full.len());
        }
    }

    #[test]
    fn a_flipped_byte_is_damage() {
        let packed = pack(parts().iter(), STAMP, 0);
        let stored = sent(packed, 0, None).remove(0);
        for at in (0..stored.records().0.len()).step_by(997) {
            let mut flipped = stored.clone();
            let mut bytes = flipped.records().0.to_vec();
            bytes[at] ^= 0x20;
            *flipped.mut_records() = RawRecords(Bytes::from(bytes));
            let damage = unpack(&flipped, 0, &mut Vec::new());
            assert!(matches!(damage, Err(BatchDamage::Checksum { .. })), "byte {at}: {damage:?}");
        }
    }

    #[test]
    fn hostile_records_are_refused() {
        for bytes in [&[][..], &[0xff; 12], &[2, 0], &[0x80; 10], &[20, 0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 1]] {
            assert_eq!(take_record(&mut Bytes::from_static(bytes)), None, "{bytes:?}");
        }
    }
}
