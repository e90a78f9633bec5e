//! Payloads are packed on their way to the disk where that makes them smaller: most records are JSON of a few shapes,
//! which shrinks to a fifth, and bytes are what a sync takes its time for. In memory they stay as they are.

use bytes::Bytes;

use super::format::payload_crc;

/// Payloads below this size have too little in them that repeats.
const WORTH_BYTES: usize = 256;

/// A payload as it goes to the disk.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// The bytes.
    pub bytes: Bytes,
    /// Bytes once unpacked; 0 where they are not packed.
    pub unpacked_len: u32,
    /// CRC-32 of the bytes.
    pub crc: u32,
}

impl Stored {
    /// As it is.
    pub(super) fn plain(payload: Bytes) -> Self {
        let crc = payload_crc(&payload);
        Self { bytes: payload, unpacked_len: 0, crc }
    }

    /// Packed as an LZ4 block, where that saves an eighth or more.
    pub(super) fn packed(payload: &Bytes) -> Self {
        if payload.len() >= WORTH_BYTES {
            let packed = lz4_flex::block::compress(payload);
            if packed.len() < payload.len() - payload.len() / 8 {
                let crc = payload_crc(&packed);
                return Self { bytes: packed.into(), unpacked_len: payload.len() as u32, crc };
            }
        }
        Self::plain(payload.clone())
    }
}

/// A payload as it was before it was stored; `None` when it cannot be unpacked to just that many bytes, which one
/// that passed its checksum never shows.
pub(super) fn unpacked(stored: Bytes, unpacked_len: u32) -> Option<Bytes> {
    if unpacked_len == 0 {
        return Some(stored);
    }
    let mut payload = vec![0; unpacked_len as usize];
    let len = lz4_flex::block::decompress_into(&stored, &mut payload).ok()?;
    (len == payload.len()).then(|| payload.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back() {
        let mut random = fastrand::Rng::with_seed(5);
        for len in [0, 1, 255, 256, 257, 4_000, 100_000] {
            let text: Bytes = (0..len).map(|at| b"{\"price\":\"1.25\"}"[at % 16]).collect();
            let noise: Bytes = (0..len).map(|_| random.u8(..)).collect();
            for payload in [text, noise] {
                let stored = Stored::packed(&payload);
                assert!(stored.bytes.len() <= payload.len());
                assert_eq!(stored.crc, payload_crc(&stored.bytes));
                assert_eq!(unpacked(stored.bytes, stored.unpacked_len), Some(payload));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let mut random = fastrand::Rng::with_seed(6);
        let payload: Bytes = [7; 2_000].into_iter().collect();
        let stored = Stored::packed(&payload);
        assert!(stored.unpacked_len == 2_000 && stored.bytes.len() < 100);
        for other in [1, 1_999, 2_001, 1 << 20] {
            assert_eq!(unpacked(stored.bytes.clone(), other), None, "{other} bytes asked for");
        }
        for _ in 0..10_000 {
            let mut spoilt = stored.bytes.to_vec();
            let at = random.usize(0..spoilt.len());
            spoilt[at] = random.u8(..);
            spoilt.truncate(random.usize(0..=spoilt.len()));
            if let Some(read) = unpacked(spoilt.into(), 2_000) {
                assert_eq!(read.len(), 2_000);
            }
        }
    }
}
