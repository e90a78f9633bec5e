//! How far each writer's records were taken in, so that none counts twice.

use model::{Cause, Name, Origin, Role};

/// A writer's claim and its newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) role: Role,
    pub(super) epoch: u64,
    pub(super) sequence: u64,
}

/// The newest record derived from one input partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceMark {
    pub(super) topic: Name<23>,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) index: u32,
}

/// High-water marks per role and per source partition. There are few of either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) writers: Vec<Writer>,
    pub(super) sources: Vec<SourceMark>,
    /// Where the last writer was found.
    last: usize,
}

/// Writers and sources, at most: who may write is decided by the operator.
const MAX: usize = 4_096;

impl Roles {
    pub(super) fn new(writers: Vec<Writer>, sources: Vec<SourceMark>) -> Self {
        Self { writers, sources, last: 0 }
    }

    /// Takes a claim in: the role speaks with this epoch from here on.
    pub(super) fn claim(&mut self, role: Role, epoch: u64) {
        let fresh = Writer { role, epoch, sequence: 0 };
        let room = self.writers.len() < MAX;
        match self.writers.iter_mut().find(|writer| writer.role == role) {
            Some(writer) => *writer = fresh,
            None if room => self.writers.push(fresh),
            None => {}
        }
    }

    /// Whether a record is new; if so it is the newest of its writer from here on.
    #[inline]
    pub(super) fn admit(&mut self, origin: &Origin) -> bool {
        match origin {
            Origin::Root { role, epoch, sequence } => {
                if self.writers.get(self.last).is_none_or(|writer| writer.role != *role) {
                    match self.writers.iter().position(|writer| writer.role == *role) {
                        Some(at) => self.last = at,
                        None => return false,
                    }
                }
                let writer = &mut self.writers[self.last];
                if writer.epoch != *epoch || *sequence <= writer.sequence {
                    return false;
                }
                writer.sequence = *sequence;
                true
            }
            Origin::Derived(cause) => self.admit_derived(cause),
        }
    }

    fn admit_derived(&mut self, cause: &Cause) -> bool {
        let Cause { topic, partition, offset, index } = *cause;
        let room = self.sources.len() < MAX;
        match self.sources.iter_mut().find(|mark| mark.topic == topic && mark.partition == partition) {
            Some(mark) if (offset, index) <= (mark.offset, mark.index) => false,
            Some(mark) => {
                (mark.offset, mark.index) = (offset, index);
                true
            }
            None if room => {
                self.sources.push(SourceMark { topic, partition, offset, index });
                true
            }
            None => false,
        }
    }

    /// Epoch and newest sequence of a role.
    pub(super) fn mark(&self, role: &Role) -> Option<(u64, u64)> {
        self.writers.iter().find(|writer| writer.role == *role).map(|writer| (writer.epoch, writer.sequence))
    }
}
