//! Who a log is: the file `IDENTITY`, written once.

use std::hash::BuildHasher;
use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile, read_full, write_all};
use super::format::payload_crc;
use crate::error::LogError;

/// Its name.
pub(super) const IDENTITY_FILE: &str = "IDENTITY";
const UNFINISHED: &str = "IDENTITY.new";
const HEADING: &str = "millrace log 1";
const BYTES_MAX: usize = 512;

/// Who a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Chosen at creation and when a backup is restored.
    pub incarnation: u128,
    /// Seeds the checksums; the same in the backups of a log.
    pub seal: u128,
}

impl Identity {
    /// That of a new log.
    pub(super) fn random() -> Self {
        Self { incarnation: random(), seal: random() }
    }

    /// Reads it; `None` where there is no log.
    pub(super) fn read<D: Disk>(disk: &D, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(IDENTITY_FILE);
        let failed = |what: &str, error: io::Error| LogError::Io {
            what: format!("{what} {}", path.display()),
            reason: error.to_string(),
        };
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opening", error)),
        };
        let mut bytes = vec![0; BYTES_MAX];
        let count = read_full(&file, &mut bytes, 0).map_err(|error| failed("reading", error))?;
        let identity = Self::parse(&bytes[..count]).ok_or_else(|| LogError::Damaged {
            place: format!("{} byte 0", path.display()),
            what: "not the identity of a log that this program knows".into(),
        })?;
        Ok(Some(identity))
    }

    /// Writes it, whole or not at all.
    pub(super) fn write<D: Disk>(&self, disk: &D, dir: &Path) -> io::Result<()> {
        let unfinished = dir.join(UNFINISHED);
        if disk.list(dir)?.iter().any(|name| name == UNFINISHED) {
            disk.remove(&unfinished)?;
        }
        let file = disk.create(&unfinished)?;
        write_all(&file, self.text().as_bytes(), 0)?;
        file.sync()?;
        disk.rename(&unfinished, &dir.join(IDENTITY_FILE))?;
        disk.sync_dir(dir)
    }

    fn text(&self) -> String {
        let body = format!("{HEADING}\nincarnation {:032x}\nseal {:032x}\n", self.incarnation, self.seal);
        format!("{body}crc {:08x}\n", payload_crc(body.as_bytes()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines().skip(1);
        let mut field = |name: &str| u128::from_str_radix(lines.next()?.strip_prefix(name)?, 16).ok();
        let identity = Self { incarnation: field("incarnation ")?, seal: field("seal ")? };
        (identity.text() == text).then_some(identity)
    }
}

/// Random bits from the operating system, by way of the hasher's keys.
fn random() -> u128 {
    let bits = || u128::from(std::hash::RandomState::new().hash_one(std::process::id()));
    bits() << 64 | bits()
}
