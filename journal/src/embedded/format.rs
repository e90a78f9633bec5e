//! The bytes on disk; `docs/formats/log.md` describes them.
//!
//! A segment file is a header block and then frames, each at a multiple of 8 bytes. Frames are numbered over
//! the whole log without a gap. Their checksums are seeded with the log's seal and the segment's number, so
//! that what an earlier use of a recycled file left behind never passes for data.

use crate::batch::Batch;

/// Bytes before the first frame of a segment.
pub(super) const SEGMENT_HEADER: usize = 4096;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEADER: usize = 64;
/// Bytes of a record's entry in the table at the end of the payload.
pub(super) const TABLE_ENTRY: usize = 8;
/// Largest frame.
pub(super) const FRAME_BYTES_MAX: usize = FRAME_HEADER + PAYLOAD_MAX;
/// Largest segment file.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const PAYLOAD_MAX: usize = Batch::BYTES_MAX + TABLE_ENTRY * Batch::RECORDS_MAX;

const SEGMENT_MAGIC: [u8; 8] = *b"MILLRSEG";
const FRAME_MAGIC: u32 = 0x4d52_4c46;
/// Version 1 had no packed payloads and is read as it is.
const VERSION: u32 = 2;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records of one partition.
    Records,
    /// Every topic and partition as it was when the segment began.
    Checkpoint,
    /// A topic created, or its retention changed.
    Topic,
    /// Partitions whose start moved.
    Starts,
    /// Nothing; ends a log that was closed in good order.
    Seal,
    /// Old records of one partition, moved here so that an older segment can go.
    Carried,
}

impl Kind {
    const ALL: [(Self, u32); 6] = [
        (Self::Records, 1),
        (Self::Checkpoint, 2),
        (Self::Topic, 3),
        (Self::Starts, 4),
        (Self::Seal, 5),
        (Self::Carried, 6),
    ];

    fn code(self) -> u32 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, code)| *code)
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == code).map(|(kind, _)| *kind)
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its number in the log, from 1.
    pub seq: u64,
    /// Every frame before this number was synced when this one was written.
    pub durable: u64,
    /// Offset of the first record.
    pub base: u64,
    /// When it was written, unix milliseconds.
    pub at_ms: u64,
    /// Bytes of payload.
    pub payload_len: u32,
    /// CRC-32 of the payload, as it is stored.
    pub payload_crc: u32,
    /// Bytes of the payload once unpacked; 0 where it is stored as it is.
    pub unpacked_len: u32,
    /// Number of the partition within the log.
    pub partition: u32,
    /// Records.
    pub count: u32,
}

/// The head of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The log's seal: random, chosen at creation.
    pub seal: u128,
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Number of its first frame.
    pub first_seq: u64,
}

/// Bytes that a frame with this payload takes.
pub(super) const fn frame_len(payload: usize) -> usize {
    (FRAME_HEADER + payload).next_multiple_of(8)
}

/// Seed of the header checksums in one use of a segment file.
pub(super) fn seed(seal: u128, segment: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seal.to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

fn seeded(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// CRC-32 of a payload.
pub(super) fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

impl Frame {
    /// Bytes that it takes.
    pub(super) fn len(&self) -> usize {
        frame_len(self.payload_len as usize)
    }

    /// Offset after its last record.
    pub(super) fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }

    /// Whether the partition's record at `offset` is in it.
    pub(super) fn holds(&self, partition: u32, offset: u64) -> bool {
        matches!(self.kind, Kind::Records | Kind::Carried)
            && self.partition == partition
            && (self.base..self.end()).contains(&offset)
    }

    /// Appends the frame, padded.
    pub(super) fn encode(&self, seed: u32, payload: &[u8], out: &mut Vec<u8>) {
        let mut head = [0_u8; FRAME_HEADER];
        head[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        head[8..16].copy_from_slice(&self.seq.to_le_bytes());
        head[16..24].copy_from_slice(&self.durable.to_le_bytes());
        head[24..32].copy_from_slice(&self.base.to_le_bytes());
        head[32..40].copy_from_slice(&self.at_ms.to_le_bytes());
        head[40..44].copy_from_slice(&self.payload_len.to_le_bytes());
        head[44..48].copy_from_slice(&self.payload_crc.to_le_bytes());
        head[48..52].copy_from_slice(&self.partition.to_le_bytes());
        head[52..56].copy_from_slice(&self.count.to_le_bytes());
        head[56..60].copy_from_slice(&self.kind.code().to_le_bytes());
        head[60..64].copy_from_slice(&self.unpacked_len.to_le_bytes());
        let crc = seeded(seed, &head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.resize(out.len().next_multiple_of(8), 0);
    }

    /// Reads a frame's head; `None` when the bytes are none of this use of the segment.
    pub(super) fn decode(seed: u32, bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<FRAME_HEADER>()?;
        if u32_at(head, 0) != FRAME_MAGIC || u32_at(head, 4) != seeded(seed, &head[8..]) {
            return None;
        }
        let frame = Self {
            kind: Kind::from_code(u32_at(head, 56))?,
            seq: u64_at(head, 8),
            durable: u64_at(head, 16),
            base: u64_at(head, 24),
            at_ms: u64_at(head, 32),
            payload_len: u32_at(head, 40),
            payload_crc: u32_at(head, 44),
            partition: u32_at(head, 48),
            count: u32_at(head, 52),
            unpacked_len: u32_at(head, 60),
        };
        let sound = frame.payload_len.max(frame.unpacked_len) as usize <= PAYLOAD_MAX
            && frame.count as usize <= Batch::RECORDS_MAX
            && frame.base.checked_add(u64::from(frame.count)).is_some();
        sound.then_some(frame)
    }

    /// Reads a whole frame; `None` when head or payload fail their checksum or the bytes end early.
    pub(super) fn decode_whole(seed: u32, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let frame = Self::decode(seed, bytes)?;
        let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + frame.payload_len as usize)?;
        (payload_crc(payload) == frame.payload_crc).then_some((frame, payload))
    }
}

impl SegmentHeader {
    /// The header block.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.seal.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        let crc = crc32fast::hash(&out[from..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(from + SEGMENT_HEADER, 0);
    }

    /// Reads a header block; `None` when it is none, or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<48>()?;
        let sound = head[..8] == SEGMENT_MAGIC
            && (1..=VERSION).contains(&u32_at(head, 8))
            && crc32fast::hash(&head[..44]) == u32_at(head, 44);
        sound.then(|| Self {
            seal: u128::from_le_bytes(*head[12..].first_chunk().expect("36 bytes follow")),
            segment: u64_at(head, 28),
            first_seq: u64_at(head, 36),
        })
    }
}

/// Position of the first whole frame at or after `from` for which `wanted` holds.
pub(super) fn find_frame(
    seed: u32,
    bytes: &[u8],
    from: usize,
    mut wanted: impl FnMut(&Frame) -> bool,
) -> Option<(usize, Frame)> {
    let magic = FRAME_MAGIC.to_le_bytes();
    let mut at = from.next_multiple_of(8);
    while let Some(word) = bytes.get(at..at + 4) {
        if word == magic
            && let Some((frame, _)) = Frame::decode_whole(seed, &bytes[at..])
            && wanted(&frame)
        {
            return Some((at, frame));
        }
        at += 8;
    }
    None
}

/// Name of a segment file.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:016}.seg")
}

/// Number of the segment that a file name stands for.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| digits.parse().ok()).flatten().filter(|number| *number > 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("callers stay inside the head"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("callers stay inside the head"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Frame {
        Frame {
            kind: Kind::Records,
            seq: 7,
            durable: 5,
            base: 100,
            at_ms: 1_700_000_000_000,
            payload_len: payload.len() as u32,
            payload_crc: payload_crc(payload),
            unpacked_len: 0,
            partition: 3,
            count: 2,
        }
    }

    #[test]
    fn a_frame_is_read_back_and_every_flipped_byte_noticed() {
        let payload = b"seventeen bytes, ";
        let mut bytes = Vec::new();
        frame(payload).encode(9, payload, &mut bytes);
        assert_eq!(bytes.len(), frame(payload).len());
        assert_eq!(Frame::decode_whole(9, &bytes), Some((frame(payload), &payload[..])));
        for at in 0..FRAME_HEADER + payload.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Frame::decode_whole(9, &changed), None, "byte {at}");
            assert_eq!(Frame::decode_whole(9, &bytes[..at]), None, "cut at byte {at}");
        }
    }

    #[test]
    fn another_use_of_the_file_does_not_pass() {
        let mut bytes = vec![0; 40];
        frame(b"old").encode(seed(1, 4), b"old", &mut bytes);
        assert!(find_frame(seed(1, 4), &bytes, 0, |_| true).is_some_and(|(at, _)| at == 40));
        for other in [seed(1, 5), seed(2, 4)] {
            assert!(find_frame(other, &bytes, 0, |_| true).is_none());
        }
    }

    #[test]
    fn a_segment_header_is_read_back_and_every_flipped_byte_noticed() {
        let header = SegmentHeader { seal: 1 << 100, segment: 12, first_seq: 34 };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), SEGMENT_HEADER);
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..48 {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            assert_eq!(SegmentHeader::decode(&changed), None, "byte {at}");
        }
        assert_eq!(segment_number(&segment_name(12)), Some(12));
        for name in ["12.seg", "0000000000000000.seg", "000000000000001x.seg", "0000000000000012", "LOCK"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
