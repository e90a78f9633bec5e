//! Lines of several captures, merged by time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::UnixNanos;

use super::ReplayConfig;
use crate::error::IngestError;

/// One line of a capture.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
    frame_at: usize,
    /// Time of receipt; none when the line does not begin with one or is too long.
    pub(super) ts_recv: Option<UnixNanos>,
    /// Its number in the file, from 1.
    pub(super) number: u64,
    /// Its length, as far as it was read.
    pub(super) bytes: usize,
    pub(super) too_long: bool,
    file: usize,
}

impl Line {
    /// Bytes of a line, at most.
    pub(super) const BYTES_MAX: usize = crate::decode::FRAME_BYTES_MAX;

    pub(super) fn frame(&self) -> &[u8] {
        &self.text[self.frame_at..]
    }

    /// Finds `recv_ns <frame>`.
    fn split(&mut self) {
        self.frame_at = 0;
        self.ts_recv = None;
        let Some(space) = self.text.iter().take(21).position(|byte| *byte == b' ') else { return };
        let digits = self.text[..space].iter().all(u8::is_ascii_digit);
        let parsed = std::str::from_utf8(&self.text[..space]).ok().and_then(|text| text.parse().ok());
        if digits && let Some(nanos) = parsed {
            self.ts_recv = Some(UnixNanos(nanos));
            self.frame_at = space + 1;
        }
    }
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

struct Source {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    next: Line,
    lines: u64,
    ended: bool,
}

impl Source {
    fn open(path: &Path, file: usize, bytes: &Arc<AtomicU64>) -> Result<(Self, u64), IngestError> {
        let fail = |error: std::io::Error| failure(path, &error);
        let opened = File::open(path).map_err(fail)?;
        let size = opened.metadata().map_err(fail)?.len();
        let mut plain = BufReader::with_capacity(1 << 16, Counted { file: opened, bytes: Arc::clone(bytes) });
        let packed = plain.fill_buf().map_err(fail)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        let next = Line { file, ..Line::default() };
        let mut source = Self { path: path.into(), reader, next, lines: 0, ended: false };
        source.advance()?;
        Ok((source, size))
    }

    /// Reads the next line that holds something into `next`.
    fn advance(&mut self) -> Result<(), IngestError> {
        loop {
            self.next.text.clear();
            let limit = Line::BYTES_MAX as u64 + 1;
            let read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.next.text);
            let read = read.map_err(|error| failure(&self.path, &error))?;
            if read == 0 {
                self.ended = true;
                return Ok(());
            }
            self.lines += 1;
            self.next.number = self.lines;
            self.next.too_long = read > Line::BYTES_MAX && self.next.text.last() != Some(&b'\n');
            self.next.bytes = read;
            if self.next.too_long {
                self.next.text.truncate(4_096);
                self.next.frame_at = 0;
                self.next.ts_recv = None;
                self.pass_over()?;
                return Ok(());
            }
            while self.next.text.last().is_some_and(u8::is_ascii_whitespace) {
                self.next.text.pop();
            }
            if !self.next.text.is_empty() {
                self.next.split();
                return Ok(());
            }
        }
    }

    /// Drops the rest of a line that is too long, a buffer at a time.
    fn pass_over(&mut self) -> Result<(), IngestError> {
        loop {
            let buffer = self.reader.fill_buf().map_err(|error| failure(&self.path, &error))?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.next.bytes += used;
            self.reader.consume(used);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

fn failure(path: &Path, error: &std::io::Error) -> IngestError {
    IngestError::Capture { path: path.display().to_string(), reason: error.to_string() }
}

/// Several captures as one, by time of receipt; the earlier file first where times are equal.
pub(super) struct Merged {
    sources: Vec<Source>,
    bytes_total: u64,
}

impl Merged {
    pub(super) fn open(files: &[PathBuf], bytes: &Arc<AtomicU64>) -> Result<Self, IngestError> {
        if files.len() > ReplayConfig::FILES_MAX {
            let reason = format!("{} files, at most {}", files.len(), ReplayConfig::FILES_MAX);
            return Err(IngestError::Capture { path: "replay".into(), reason });
        }
        let mut sources = Vec::new();
        let mut bytes_total = 0;
        for (number, path) in files.iter().enumerate() {
            let (source, size) = Source::open(path, number, bytes)?;
            sources.push(source);
            bytes_total += size;
        }
        Ok(Self { sources, bytes_total })
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    pub(super) fn path(&self, line: &Line) -> &Path {
        &self.sources[line.file].path
    }

    /// The next line; false at the end. A line without a time comes as soon as its file is at it.
    pub(super) fn next(&mut self, into: &mut Line) -> Result<bool, IngestError> {
        let live = self.sources.iter_mut().filter(|source| !source.ended);
        let Some(source) = live.min_by_key(|source| source.next.ts_recv) else { return Ok(false) };
        std::mem::swap(into, &mut source.next);
        source.next.file = into.file;
        source.advance()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn files_merge_by_time_and_bad_lines_are_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("a.txt");
        std::fs::write(&plain, "5 {\"a\":5}\n\n9 {\"a\":9}\r\nnonsense\n12 last").expect("written");
        let packed = folder.path().join("b.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"1 one\n7 seven\n-3 minus\n").expect("packed");
        std::fs::write(&packed, encoder.finish().expect("packed")).expect("written");
        let bytes = Arc::new(AtomicU64::new(0));
        let mut merged = Merged::open(&[plain.clone(), packed], &bytes).expect("both open");
        let mut found = Vec::new();
        let mut line = Line::default();
        while merged.next(&mut line).expect("readable") {
            found.push((line.ts_recv.map(|at| at.0), line.number, String::from_utf8_lossy(line.frame()).into_owned()));
        }
        let expected = [
            (Some(1), 1, "one"),
            (Some(5), 1, "{\"a\":5}"),
            (Some(7), 2, "seven"),
            (None, 3, "-3 minus"),
            (Some(9), 3, "{\"a\":9}"),
            (None, 4, "nonsense"),
            (Some(12), 5, "last"),
        ];
        assert_eq!(found, expected.map(|(at, number, text)| (at, number, text.to_owned())));
        assert_eq!(bytes.load(Ordering::Relaxed), merged.bytes_total());
        assert!(Merged::open(&[folder.path().join("none")], &bytes).is_err());
    }

    #[test]
    fn a_line_without_end_is_cut_and_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("long");
        let mut text = b"1 ".to_vec();
        text.resize(Line::BYTES_MAX * 2, b'x');
        text.extend_from_slice(b"\n2 two\n");
        std::fs::write(&path, &text).expect("written");
        let mut merged = Merged::open(&[path], &Arc::new(AtomicU64::new(0))).expect("open");
        let mut line = Line::default();
        assert!(merged.next(&mut line).expect("readable"));
        assert!(line.too_long && line.ts_recv.is_none() && line.bytes == Line::BYTES_MAX * 2 + 1);
        assert!(merged.next(&mut line).expect("readable"));
        assert_eq!((line.ts_recv, line.frame()), (Some(UnixNanos(2)), &b"two"[..]));
        assert!(!merged.next(&mut line).expect("readable"));
    }
}
