//! Opening: finds the segments, checks every frame, cuts what a crash left unfinished and refuses what was
//! damaged afterwards.
//!
//! Every frame says up to which frame the log was synced when it was written. So when a frame is broken, a
//! valid one after it tells the two cases apart: if that later frame knows the broken one as synced, the
//! broken one was acknowledged and is damaged; if not, both were in flight when the machine stopped, the disk
//! kept the later one only, and neither was acknowledged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::catalog::{Catalog, Fields, decode_spec};
use super::disk::{Disk, DiskFile, read_full, write_all};
use super::format::{
    Frame, Kind, SEGMENT_BYTES_MAX, SEGMENT_HEADER, SegmentHeader, find_frame, seed, segment_name, segment_number,
};
use super::index::Place;
use super::room::Spare;
use super::segment::{Segment, Tally};
use super::writer::Position;
use crate::error::LogError;

/// A spare file below this size was being made when the process stopped.
const SPARE_BYTES_MIN: u64 = 64 << 10;

/// What was found on disk.
#[derive(Debug)]
pub(super) struct Recovered<F> {
    /// Topics and partitions.
    pub catalog: Catalog,
    /// Segments that hold frames, oldest first.
    pub segments: Vec<Arc<Segment<F>>>,
    /// Where the writer goes on.
    pub position: Position<F>,
    /// Files that hold nothing.
    pub spares: Vec<Spare<F>>,
    /// Number for the next file.
    pub next_number: u64,
}

/// A segment file.
struct Found<F> {
    number: u64,
    path: PathBuf,
    file: F,
    size: u64,
    /// `None` when no frame was ever written to it under this number.
    header: Option<SegmentHeader>,
}

/// The segments that stay and the files that go.
type Sorted<F> = (Vec<Kept<F>>, Vec<Found<F>>);

/// A segment that was read.
struct Kept<F> {
    found: Found<F>,
    /// Byte position after its last frame.
    at: usize,
    /// Number of the frame after its last.
    end_seq: u64,
    tally: Tally,
}

/// Reads the directory, cuts what a crash left unfinished and makes the rest durable.
///
/// # Errors
/// [`LogError::Damaged`] with file and byte position, and nothing changed; or the system's error.
pub(super) fn recover<D: Disk>(disk: &D, dir: &Path, seal: u128) -> Result<Recovered<D::File>, LogError> {
    let mut scan = Scan { disk, dir, seal, bytes: Vec::new(), catalog: None, seq: 1, durable: 0 };
    let found = scan.list()?;
    let mut next_number = found.last().map_or(1, |last| last.number + 1);
    let (used, unused): (Vec<_>, Vec<_>) = found.into_iter().partition(|file| file.header.is_some());
    let mut spare_numbers = BTreeSet::new();
    for file in &unused {
        if scan.is_spare(file)? {
            spare_numbers.insert(file.number);
        }
    }
    let (mut kept, dropped) = scan.read_used(used)?;
    // Everything was judged; from here on files change.
    for file in dropped.iter().rev() {
        disk.remove(&file.path).map_err(|error| failed("removing", &file.path, &error))?;
    }
    if let Some(last) = kept.last() {
        scan.erase_strays(last)?;
    }
    let newest_used = kept.last().map_or(0, |last| last.found.number);
    let mut spares = Vec::new();
    for file in unused {
        if file.number > newest_used && spare_numbers.contains(&file.number) {
            spares.push(Spare { number: file.number, file: file.file, capacity: file.size });
        } else {
            disk.remove(&file.path).map_err(|error| failed("removing", &file.path, &error))?;
        }
    }
    for segment in kept.iter().filter(|segment| segment.end_seq > scan.durable) {
        segment.found.file.sync().map_err(|error| failed("syncing", &segment.found.path, &error))?;
    }
    disk.sync_dir(dir).map_err(|error| failed("syncing", dir, &error))?;
    next_number = next_number.max(newest_used + 1);
    let tally = kept.last_mut().map(|last| std::mem::take(&mut last.tally)).unwrap_or_default();
    let at = kept.last().map_or(0, |last| last.at as u64);
    let segments = into_segments(kept);
    let position = Position { segment: segments.last().cloned(), at, seq: scan.seq, tally };
    Ok(Recovered { catalog: scan.finish()?, segments, position, spares, next_number })
}

fn into_segments<F>(kept: Vec<Kept<F>>) -> Vec<Arc<Segment<F>>> {
    let last = kept.len().saturating_sub(1);
    let build = |(place, mut kept): (usize, Kept<F>)| {
        let closed = OnceLock::new();
        if place < last {
            let _ = closed.set(kept.tally.take());
        }
        Arc::new(Segment {
            number: kept.found.number,
            file: kept.found.file,
            capacity: kept.found.size,
            used: AtomicU64::new(kept.at as u64),
            durable: AtomicU64::new(kept.at as u64),
            closed,
        })
    };
    kept.into_iter().enumerate().map(build).collect()
}

fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> LogError {
    LogError::Io { what: format!("{what} {}", path.display()), reason: error.to_string() }
}

fn damaged(path: &Path, at: usize, what: impl Into<String>) -> LogError {
    LogError::Damaged { place: format!("{} byte {at}", path.display()), what: what.into() }
}

struct Scan<'a, D> {
    disk: &'a D,
    dir: &'a Path,
    seal: u128,
    /// The file being read.
    bytes: Vec<u8>,
    catalog: Option<Catalog>,
    /// Number of the frame expected next.
    seq: u64,
    /// Frames before this number were synced, as the newest frame says.
    durable: u64,
}

impl<D: Disk> Scan<'_, D> {
    /// The segment files by number.
    fn list(&self) -> Result<Vec<Found<D::File>>, LogError> {
        let names = self.disk.list(self.dir).map_err(|error| failed("listing", self.dir, &error))?;
        let mut numbers: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.open(number)).collect()
    }

    fn open(&self, number: u64) -> Result<Found<D::File>, LogError> {
        let path = self.dir.join(segment_name(number));
        let file = self.disk.open(&path).map_err(|error| failed("opening", &path, &error))?;
        let size = file.size().map_err(|error| failed("opening", &path, &error))?;
        if size > SEGMENT_BYTES_MAX {
            return Err(damaged(&path, 0, format!("{size} bytes long, at most {SEGMENT_BYTES_MAX}")));
        }
        let mut head = [0; SEGMENT_HEADER];
        let count = read_full(&file, &mut head, 0).map_err(|error| failed("reading", &path, &error))?;
        let header = SegmentHeader::decode(&head[..count]);
        if header.is_some_and(|header| header.seal != self.seal) {
            return Err(damaged(&path, 0, "belongs to another log"));
        }
        let header = header.filter(|header| header.segment == number);
        Ok(Found { number, path, file, size, header })
    }

    fn load(&mut self, file: &Found<D::File>) -> Result<(), LogError> {
        // Only what the last file did not fill is zeroed: all of it is read over.
        self.bytes.resize(file.size as usize, 0);
        let count = read_full(&file.file, &mut self.bytes, 0).map_err(|error| failed("reading", &file.path, &error))?;
        self.bytes.truncate(count);
        Ok(())
    }

    /// Whether a file without a header of its own can be written to. One that holds frames of its own cannot:
    /// either its first write was cut short, or the header is damaged, which is refused.
    fn is_spare(&mut self, file: &Found<D::File>) -> Result<bool, LogError> {
        self.load(file)?;
        let (mut first, mut durable) = (None, 0);
        find_frame(seed(self.seal, file.number), &self.bytes, 0, |frame| {
            first = Some(first.unwrap_or(u64::MAX).min(frame.seq));
            durable = durable.max(frame.durable);
            false
        });
        match first {
            None => Ok(file.size >= SPARE_BYTES_MIN),
            Some(first) if durable <= first => Ok(false),
            Some(first) => Err(damaged(
                &file.path,
                0,
                format!("no valid header, yet frames from {first} on, synced up to frame {durable}"),
            )),
        }
    }

    /// Reads the segments up to where the log ends. Returns those that stay and those that go.
    fn read_used(&mut self, used: Vec<Found<D::File>>) -> Result<Sorted<D::File>, LogError> {
        let firsts: Vec<_> = used.iter().filter_map(|file| Some(file.header?.first_seq)).collect();
        self.seq = firsts.first().copied().unwrap_or(1);
        let mut kept: Vec<Kept<D::File>> = Vec::new();
        let mut files = used.into_iter().enumerate();
        while let Some((place, found)) = files.next() {
            self.load(&found)?;
            let mut tally = Tally::default();
            let at = self.frames(&found, &mut tally)?;
            if firsts.get(place + 1) == Some(&self.seq) {
                kept.push(Kept { found, at, end_seq: self.seq, tally });
                continue;
            }
            let later: Vec<_> = files.map(|(_, file)| file).collect();
            self.refuse_damage(&found, at, &later)?;
            let mut dropped = Vec::new();
            if at > SEGMENT_HEADER {
                kept.push(Kept { found, at, end_seq: self.seq, tally });
            } else if place == 0 && self.seq > 1 {
                return Err(damaged(&found.path, at, "the oldest segment has no checkpoint"));
            } else {
                dropped.push(found);
            }
            dropped.extend(later);
            return Ok((kept, dropped));
        }
        Ok((kept, Vec::new()))
    }

    /// Applies the frames of the loaded file in order. Returns where they end.
    fn frames(&mut self, file: &Found<D::File>, tally: &mut Tally) -> Result<usize, LogError> {
        let seed = seed(self.seal, file.number);
        let bytes = std::mem::take(&mut self.bytes);
        let mut at = SEGMENT_HEADER;
        while let Some((frame, payload)) = bytes.get(at..).and_then(|rest| Frame::decode_whole(seed, rest)) {
            if frame.seq != self.seq {
                break;
            }
            let place = Place { segment: file.number, at: at as u32, len: frame.len() as u32 };
            self.apply(&frame, payload, place, tally).map_err(|what| damaged(&file.path, at, what))?;
            self.seq += 1;
            self.durable = frame.durable;
            at += frame.len();
        }
        self.bytes = bytes;
        Ok(at)
    }

    fn apply(&mut self, frame: &Frame, payload: &[u8], place: Place, tally: &mut Tally) -> Result<(), &'static str> {
        if frame.kind == Kind::Checkpoint {
            let catalog = Catalog::decode(payload).ok_or("checkpoint makes no sense")?;
            self.catalog.get_or_insert(catalog);
            return Ok(());
        }
        let catalog = self.catalog.as_mut().ok_or("the oldest segment does not begin with a checkpoint")?;
        let partition = |id: u32| catalog.partitions.get(id as usize).cloned().ok_or("partition is not known");
        match frame.kind {
            Kind::Checkpoint | Kind::Seal => {}
            Kind::Topic => {
                let spec = decode_spec(&mut Fields(payload)).ok_or("topic makes no sense")?;
                catalog.lacks(&spec).map_err(|_| "topic is not allowed")?;
                catalog.apply(&spec);
            }
            Kind::Starts => {
                let mut fields = Fields(payload);
                while !fields.0.is_empty() {
                    let (id, start) = fields.u32().zip(fields.u64()).ok_or("starts are cut")?;
                    partition(id)?.start.fetch_max(start, Ordering::Relaxed);
                }
            }
            Kind::Records => {
                let partition = partition(frame.partition)?;
                if partition.next.load(Ordering::Relaxed) != frame.base {
                    return Err("offsets are not contiguous");
                }
                partition.next.store(frame.end(), Ordering::Relaxed);
                partition.index().push(frame.base, frame.end(), place);
                tally.count(frame.partition, frame.end(), place.len.into(), frame.at_ms);
            }
            Kind::Carried => {
                partition(frame.partition)?.index().relocate(frame.base, frame.end(), place);
                tally.count(frame.partition, frame.end(), place.len.into(), frame.at_ms);
            }
        }
        Ok(())
    }

    /// Refuses when something valid, written after the frame expected at `at` was synced, follows.
    fn refuse_damage(&mut self, file: &Found<D::File>, at: usize, later: &[Found<D::File>]) -> Result<(), LogError> {
        let expected = self.seq;
        let knows_it = |frame: &Frame| frame.durable > expected;
        let mut proof = find_frame(seed(self.seal, file.number), &self.bytes, at, knows_it)
            .map(|(place, _)| format!("{} byte {place}", file.path.display()));
        for next in later {
            if proof.is_some() {
                break;
            }
            self.load(next)?;
            proof = find_frame(seed(self.seal, next.number), &self.bytes, SEGMENT_HEADER, knows_it)
                .map(|(place, _)| format!("{} byte {place}", next.path.display()));
        }
        match proof {
            Some(place) => Err(damaged(
                &file.path,
                at,
                format!("frame {expected} is not valid, and valid data written after its sync follows at {place}"),
            )),
            None => Ok(()),
        }
    }

    /// Overwrites the frames behind the end, which nobody was told of: they must not come back once the gap
    /// before them is filled.
    fn erase_strays(&mut self, last: &Kept<D::File>) -> Result<(), LogError> {
        let file = &last.found;
        self.load(file)?;
        if find_frame(seed(self.seal, file.number), &self.bytes, last.at, |_| true).is_some() {
            let zeros = vec![0; self.bytes.len() - last.at];
            write_all(&file.file, &zeros, last.at as u64)
                .and_then(|()| file.file.sync())
                .map_err(|error| failed("erasing the unfinished end of", &file.path, &error))?;
        }
        Ok(())
    }

    /// The catalog, once every record that should be there is.
    fn finish(self) -> Result<Catalog, LogError> {
        let catalog = self.catalog.unwrap_or_default();
        for partition in &catalog.partitions {
            let end = partition.next.load(Ordering::Relaxed);
            let start = partition.start().min(end);
            partition.start.store(start, Ordering::Relaxed);
            partition.written.store(end, Ordering::Relaxed);
            partition.durable.store(end, Ordering::Relaxed);
            let mut index = partition.index();
            index.trim(start);
            if let Some(missing) = index.missing(start, end) {
                return Err(LogError::Damaged {
                    place: self.dir.display().to_string(),
                    what: format!("offset {missing} of {} is in no segment", partition.name),
                });
            }
        }
        Ok(catalog)
    }
}
