//! The state as bytes, and back.
//!
//! ```text
//! magic "MRAG" | format u32 | logic u32 | configuration hash u64 | length u64 | content | CRC-32 of all before
//! ```

use std::sync::Arc;

use model::topic::fnv1a;

use super::Aggregator;
use super::bytes::{Malformed, Reader, put_count, put_section, put_text, put_u64};
use super::time::Time;
use crate::config::Config;

const MAGIC: &[u8; 4] = b"MRAG";
/// How snapshots are laid out.
const FORMAT_VERSION: u32 = 1;
/// What the core makes of its inputs. It changes with every change of an output or of the state's meaning; then
/// a snapshot of the older logic, taken at the log's end, is where the newer one starts.
pub const LOGIC_VERSION: u32 = 1;
const HEADER_LEN: usize = 28;

/// Why a snapshot is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Not a snapshot, or a damaged one.
    #[error("snapshot of {len} bytes is damaged: {what}")]
    Damaged {
        /// What was found.
        what: &'static str,
        /// Bytes given.
        len: usize,
    },
    /// Laid out by a newer program.
    #[error("snapshot format {found} is not known: at most {FORMAT_VERSION}")]
    Format {
        /// Its format.
        found: u32,
    },
    /// Made by another version of the core.
    #[error("snapshot is of logic version {found}, this program has {LOGIC_VERSION}")]
    Logic {
        /// Its version.
        found: u32,
    },
    /// Made under other rules.
    #[error("snapshot was made under configuration {found:016x}, {wanted:016x} is in force")]
    Config {
        /// Its configuration.
        found: u64,
        /// The one in force.
        wanted: u64,
    },
}

impl Aggregator {
    /// The state as bytes. Equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * 1024);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&LOGIC_VERSION.to_le_bytes());
        out.extend_from_slice(&self.config.hash().to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        self.save(&mut out);
        let length = (out.len() - HEADER_LEN) as u64;
        out[HEADER_LEN - 8..HEADER_LEN].copy_from_slice(&length.to_le_bytes());
        let check = crc32fast::hash(&out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// Stable hash of the state: equal states, equal hashes, in every build.
    pub fn state_hash(&self) -> u64 {
        let mut content = Vec::with_capacity(64 * 1024);
        self.save(&mut content);
        fnv1a(&content)
    }

    /// The state that [`Self::snapshot`] wrote under the same configuration.
    ///
    /// # Errors
    /// When the bytes are damaged, or were made under another format, logic or configuration.
    pub fn restore(config: Arc<Config>, bytes: &[u8]) -> Result<Self, RestoreError> {
        let (found, content) = open(bytes)?;
        if found != config.hash() {
            return Err(RestoreError::Config { found, wanted: config.hash() });
        }
        Self::read(config, content, bytes.len())
    }

    /// The state that [`Self::snapshot`] wrote, under a configuration that may be another: instruments that both
    /// know keep what they know, windows that became longer fill up, the rest begins empty. Meant for a snapshot
    /// taken at the log's end, before the `Configure` record of the new configuration.
    ///
    /// # Errors
    /// When the bytes are damaged, or were made under another format or logic.
    pub fn adopt(config: Arc<Config>, bytes: &[u8]) -> Result<Self, RestoreError> {
        let (_, content) = open(bytes)?;
        Self::read(config, content, bytes.len())
    }

    fn read(config: Arc<Config>, content: &[u8], len: usize) -> Result<Self, RestoreError> {
        let mut aggregator = Self::new(config);
        aggregator.load(&mut Reader(content)).map_err(|Malformed(what)| RestoreError::Damaged { what, len })?;
        Ok(aggregator)
    }

    fn save(&self, out: &mut Vec<u8>) {
        put_u64(out, self.position);
        self.time.save(out);
        self.marks.save(out);
        self.rates.save(out);
        put_count(out, self.books.len());
        for book in &self.books {
            put_text(out, book.instrument.as_str().as_bytes());
            put_section(out, |out| book.save(out, self.time.now()));
        }
        put_count(out, self.indices.len());
        for index in &self.indices {
            put_text(out, index.instrument().as_str().as_bytes());
            put_section(out, |out| index.save(&self.books, out));
        }
    }

    fn load(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        self.position = from.u64()?;
        self.time = Time::load(from)?;
        self.marks = super::Marks::load(from)?;
        self.rates.load(from)?;
        for _ in 0..from.count(12)? {
            let (instrument, mut section) = (from.instrument()?, from.section()?);
            let Some(at) = self.book_of.get(&instrument).copied() else { continue };
            let rules = &self.indices[self.ruled_by[at]].priced.rules;
            self.books[at].load(&mut section, rules, self.time.now())?;
            used_up(&section)?;
            for place in 0..self.books[at].venues.len() {
                for index in &self.counted_by[at] {
                    self.indices[*index].add_member(&self.books, at, place);
                }
            }
        }
        for _ in 0..from.count(12)? {
            let (instrument, mut section) = (from.instrument()?, from.section()?);
            if let Some(index) = self.indices.iter_mut().find(|index| index.instrument() == instrument) {
                index.load(&self.books, &mut section)?;
                used_up(&section)?;
            }
        }
        used_up(from)
    }
}

/// Checks everything around the content, and gives the hash of the configuration and the content.
fn open(bytes: &[u8]) -> Result<(u64, &[u8]), RestoreError> {
    let damaged = |what| RestoreError::Damaged { what, len: bytes.len() };
    let (checked, check) = bytes.split_last_chunk::<4>().ok_or(damaged("too short"))?;
    if checked.len() < HEADER_LEN || &checked[..4] != MAGIC {
        return Err(damaged("no snapshot header"));
    }
    if crc32fast::hash(checked) != u32::from_le_bytes(*check) {
        return Err(damaged("the checksum does not match"));
    }
    let malformed = |Malformed(what)| damaged(what);
    let mut header = Reader(&checked[4..HEADER_LEN]);
    let format = header.u32().map_err(malformed)?;
    if format != FORMAT_VERSION {
        return Err(RestoreError::Format { found: format });
    }
    let logic = header.u32().map_err(malformed)?;
    if logic != LOGIC_VERSION {
        return Err(RestoreError::Logic { found: logic });
    }
    let config = header.u64().map_err(malformed)?;
    let content = &checked[HEADER_LEN..];
    if header.u64().map_err(malformed)? != content.len() as u64 {
        return Err(damaged("the length does not match"));
    }
    Ok((config, content))
}

const fn used_up(reader: &Reader<'_>) -> Result<(), Malformed> {
    if reader.0.is_empty() { Ok(()) } else { Err(Malformed("bytes are left over")) }
}
