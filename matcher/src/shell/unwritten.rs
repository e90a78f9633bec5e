//! What commands brought about, kept as numbers until it is written beside the fold.

use std::sync::{Arc, Mutex, PoisonError};

use journal::Offset;
use journal::stage::{Outputs as StageOutputs, Unwritten};

use crate::exchange::{OutputKey, OutputTopic, Outputs};

/// Commands of one piece, about.
const COMMANDS: usize = 256;
/// Output records of one piece, about: one command may bring about tens of thousands.
const RECORDS: usize = 4_096;

/// Buffers that come back once they are written.
type Pool = Arc<Mutex<Vec<Outputs>>>;

/// Keeps outputs until a piece of them has come together.
#[derive(Default)]
pub(super) struct Keeper {
    kept: Vec<Outputs>,
    records: usize,
    spare: Vec<Outputs>,
    pool: Pool,
}

impl Keeper {
    /// A buffer to apply the next command with.
    pub(super) fn buffer(&mut self) -> Outputs {
        if self.spare.is_empty() {
            std::mem::swap(&mut self.spare, &mut self.pool.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back of which nothing is to be written.
    pub(super) fn put_back(&mut self, mut outputs: Outputs) {
        outputs.trim();
        self.spare.push(outputs);
    }

    /// Keeps what came of a command.
    pub(super) fn keep(&mut self, outputs: Outputs) {
        self.records += OutputTopic::ALL.into_iter().map(|topic| outputs.len(topic)).sum::<usize>();
        self.kept.push(outputs);
    }

    /// What is kept, if that is enough or `all` is asked for.
    pub(super) fn take(&mut self, all: bool, partition: u32) -> Option<Box<dyn Unwritten>> {
        if self.kept.is_empty() || !all && self.kept.len() < COMMANDS && self.records < RECORDS {
            return None;
        }
        self.records = 0;
        // The next piece is likely to be as long.
        let next = Vec::with_capacity(self.kept.len());
        let kept = std::mem::replace(&mut self.kept, next);
        Some(Box::new(Piece { kept, next: 0, partition, pool: Arc::clone(&self.pool) }))
    }
}

struct Piece {
    kept: Vec<Outputs>,
    next: usize,
    partition: u32,
    pool: Pool,
}

impl Unwritten for Piece {
    fn write_next(&mut self, outputs: &mut StageOutputs) -> Option<Offset> {
        let of = self.kept.get(self.next)?;
        self.next += 1;
        if let Some(next) = self.kept.get(self.next) {
            next.prefetch();
        }
        outputs.begin(of.offset);
        let mut account = [0u8; 10];
        for (place, topic) in OutputTopic::ALL.into_iter().enumerate() {
            if outputs.has_all(place) {
                continue;
            }
            for index in 0..of.len(topic) {
                let key = match of.key(topic, index) {
                    OutputKey::Account(id) => decimal(id.0, &mut account),
                    OutputKey::Instrument(name) => name.as_bytes(),
                };
                outputs.push(place, key, |_, out| of.write(topic, index, self.partition, out));
            }
        }
        Some(of.offset + 1)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.kept.iter_mut().for_each(Outputs::trim);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.kept);
    }
}

/// An account's number as decimal digits, without allocation.
fn decimal(mut value: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[at..];
        }
    }
}
