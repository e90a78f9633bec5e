//! Where a partition's records are: a sparse index in memory.

use std::collections::VecDeque;

/// Bytes of a segment that one entry may span: what a reader reads at once.
pub(super) const STRETCH_BYTES: u32 = 256 << 10;

/// A stretch of a segment that holds consecutive records of a partition, between frames of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Offset of the first record.
    pub base: u64,
    /// Offset after the last one.
    pub end: u64,
    /// The segment.
    pub segment: u64,
    /// Byte position of the first frame.
    pub from: u32,
    /// Byte position after the last frame.
    pub to: u32,
}

/// A frame's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment.
    pub segment: u64,
    /// Byte position of the frame.
    pub at: u32,
    /// Bytes of the frame.
    pub len: u32,
}

/// The stretches of one partition by offset.
#[derive(Debug, Default)]
pub(super) struct Index(VecDeque<Stretch>);

impl Index {
    /// Adds the frame after the newest.
    pub(super) fn push(&mut self, base: u64, end: u64, place: Place) {
        let to = place.at + place.len;
        if let Some(last) = self.0.back_mut()
            && last.end == base
            && last.segment == place.segment
            && last.from < place.at
            && to - last.from <= STRETCH_BYTES
        {
            last.end = end;
            last.to = to;
        } else {
            self.0.push_back(Stretch { base, end, segment: place.segment, from: place.at, to });
        }
    }

    /// Says that the records `base..end` are at `place` now. Their old stretches may stay as long as their
    /// segment does: of two that hold an offset, the one that begins later or was added later is found.
    pub(super) fn relocate(&mut self, base: u64, end: u64, place: Place) {
        let after = self.0.partition_point(|stretch| stretch.base <= base);
        let stretch = Stretch { base, end, segment: place.segment, from: place.at, to: place.at + place.len };
        self.0.insert(after, stretch);
    }

    /// The stretch that holds `offset`.
    pub(super) fn find(&self, offset: u64) -> Option<Stretch> {
        let after = self.0.partition_point(|stretch| stretch.base <= offset);
        // Relocated stretches may overlap: the nearest one that reaches far enough.
        self.0.range(..after).rev().find(|stretch| offset < stretch.end).copied()
    }

    /// The stretches in `segment` that reach past `start`; some of their records may have been moved.
    pub(super) fn of_segment(&self, segment: u64, start: u64) -> Vec<Stretch> {
        self.0.iter().filter(|stretch| stretch.segment == segment && stretch.end > start).copied().collect()
    }

    /// Forgets what ends at or before `start`.
    pub(super) fn trim(&mut self, start: u64) {
        while self.0.front().is_some_and(|stretch| stretch.end <= start) {
            self.0.pop_front();
        }
    }

    /// Forgets a segment.
    pub(super) fn forget(&mut self, segment: u64) {
        self.0.retain(|stretch| stretch.segment != segment);
    }

    /// The first offset of `start..end` that no stretch holds.
    pub(super) fn missing(&self, start: u64, end: u64) -> Option<u64> {
        let mut next = start;
        while next < end {
            match self.find(next) {
                Some(stretch) => next = stretch.end,
                None => return Some(next),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, at: u32, len: u32) -> Place {
        Place { segment, at, len }
    }

    #[test]
    fn near_frames_share_a_stretch() {
        let mut index = Index::default();
        index.push(0, 10, place(1, 4096, 100));
        index.push(10, 12, place(1, 8000, 100));
        index.push(12, 20, place(1, 8000 + STRETCH_BYTES, 100));
        index.push(20, 21, place(2, 4096, 100));
        assert_eq!(index.0.len(), 3);
        assert_eq!(index.find(11), Some(Stretch { base: 0, end: 12, segment: 1, from: 4096, to: 8100 }));
        assert_eq!(index.find(12).map(|stretch| stretch.from), Some(8000 + STRETCH_BYTES));
        assert_eq!(index.find(21), None);
        assert_eq!(index.missing(0, 21), None);
        assert_eq!(index.missing(0, 22), Some(21));
        index.trim(12);
        assert_eq!(index.find(11), None);
    }

    #[test]
    fn relocated_records_are_found_at_their_new_place() {
        let mut index = Index::default();
        index.push(0, 10, place(1, 4096, 100));
        index.push(10, 20, place(1, 5000, 100));
        index.push(20, 30, place(2, 4096, 100));
        index.relocate(0, 10, place(3, 4096, 100));
        index.relocate(10, 20, place(3, 4196, 100));
        for offset in 0..20 {
            assert_eq!(index.find(offset).map(|stretch| stretch.segment), Some(3), "{offset}");
        }
        index.forget(1);
        assert_eq!(index.missing(0, 30), None);
        assert_eq!(index.find(25).map(|stretch| stretch.segment), Some(2));
    }
}
