//! A file in the store, read a page at a time by Parquet's own reader: only what is being decoded is in memory.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

/// Bytes fetched at once where the reader does not say how many it needs.
const PIECE_BYTES: u64 = 64 << 10;

/// The file. It is read from a thread that may wait, never from one of the runtime's own.
#[derive(Clone)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    runtime: Handle,
}

impl Remote {
    /// The file of `size` bytes at `path`; `runtime` does the fetching.
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: &str, size: u64, runtime: Handle) -> Self {
        Self { store, path: Path::from(path), size, runtime }
    }

    fn fetch(&self, from: u64, to: u64) -> object_store::Result<Bytes> {
        self.runtime.block_on(self.store.get_range(&self.path, from..to))
    }
}

impl Length for Remote {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Remote {
    type T = Pieces;

    fn get_read(&self, start: u64) -> Result<Pieces> {
        Ok(Pieces { file: self.clone(), at: start, piece: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start + length as u64;
        if end > self.size {
            let what = format!("bytes {start} to {end} are asked for, the file has {}", self.size);
            return Err(ParquetError::EOF(what));
        }
        self.fetch(start, end).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// What follows a place in the file, fetched piece by piece.
pub(super) struct Pieces {
    file: Remote,
    at: u64,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let to = (self.at + PIECE_BYTES).min(self.file.size);
            if self.at >= to {
                return Ok(0);
            }
            self.piece = self.file.fetch(self.at, to).map_err(io::Error::other)?;
            self.at = to;
        }
        let count = into.len().min(self.piece.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn it_reads_what_is_there_and_refuses_what_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bytes: Vec<u8> = (0..150_000u32).map(|number| number as u8).collect();
        runtime.block_on(store.put(&Path::from("a/b"), bytes.clone().into())).expect("memory takes it");
        let file = Remote::new(store, "a/b", bytes.len() as u64, runtime.handle().clone());
        let mut rest = Vec::new();
        file.get_read(7).and_then(|mut read| Ok(read.read_to_end(&mut rest)?)).expect("the rest");
        assert_eq!(rest, bytes[7..]);
        assert_eq!(file.get_bytes(149_000, 1_000).expect("the end"), bytes[149_000..]);
        let refused = file.get_bytes(149_000, 1_001).expect_err("one byte too many").to_string();
        assert!(refused.contains("149000 to 150001") && refused.contains("150000"), "{refused}");
    }
}
