//! High-water marks: which records of a role or source were seen, so that a repeated one changes nothing.

use model::{Cause, Name, Origin, Role};

use super::bytes::{Malformed, Reader, put_count, put_text, put_u32, put_u64};

/// Roles and sources that are remembered, at most. Both come from our own stages, so this is never reached.
const MARKS_MAX: usize = 4_096;

/// Rule 3 of the house: delivery is at least once, the effect exactly once.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Ordered by role.
    roles: Vec<(Role, u64, u64)>,
    /// Ordered by topic and partition.
    sources: Vec<(Name<23>, u32, u64, u32)>,
    /// Where the last role was found; only a short cut.
    last: usize,
}

impl Marks {
    /// Whether a record is new; it is marked as seen. `claim` tells that it opens an epoch, its own offset.
    pub(super) fn accept(&mut self, origin: &Origin, offset: u64, claim: bool) -> bool {
        match origin {
            Origin::Root { role, epoch, sequence } => {
                let (epoch, sequence) = if claim { (offset, 0) } else { (*epoch, *sequence) };
                self.accept_root(role, epoch, sequence)
            }
            Origin::Derived(cause) => self.accept_derived(cause),
        }
    }

    fn accept_root(&mut self, role: &Role, epoch: u64, sequence: u64) -> bool {
        let at = match self.roles.get(self.last) {
            Some((known, ..)) if known == role => self.last,
            _ => match self.roles.binary_search_by(|(known, ..)| known.cmp(role)) {
                Ok(at) => at,
                Err(at) => {
                    if self.roles.len() < MARKS_MAX {
                        self.roles.insert(at, (*role, epoch, sequence));
                        return true;
                    }
                    return false;
                }
            },
        };
        self.last = at;
        let (_, last_epoch, last_sequence) = &mut self.roles[at];
        let new = (epoch, sequence) > (*last_epoch, *last_sequence);
        if new {
            (*last_epoch, *last_sequence) = (epoch, sequence);
        }
        new
    }

    fn accept_derived(&mut self, cause: &Cause) -> bool {
        let key = (cause.topic, cause.partition);
        match self.sources.binary_search_by(|(topic, partition, ..)| (*topic, *partition).cmp(&key)) {
            Ok(at) => {
                let (_, _, offset, index) = &mut self.sources[at];
                let new = (cause.offset, cause.index) > (*offset, *index);
                if new {
                    (*offset, *index) = (cause.offset, cause.index);
                }
                new
            }
            Err(at) if self.sources.len() < MARKS_MAX => {
                self.sources.insert(at, (cause.topic, cause.partition, cause.offset, cause.index));
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_count(out, self.roles.len());
        for (role, epoch, sequence) in &self.roles {
            put_text(out, role.as_bytes());
            put_u64(out, *epoch);
            put_u64(out, *sequence);
        }
        put_count(out, self.sources.len());
        for (topic, partition, offset, index) in &self.sources {
            put_text(out, topic.as_bytes());
            put_u32(out, *partition);
            put_u64(out, *offset);
            put_u32(out, *index);
        }
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut marks = Self::default();
        for _ in 0..from.count(18)? {
            marks.roles.push((from.name()?, from.u64()?, from.u64()?));
        }
        for _ in 0..from.count(18)? {
            marks.sources.push((from.name()?, from.u32()?, from.u64()?, from.u32()?));
        }
        if !marks.roles.is_sorted_by_key(|(role, ..)| *role) || !marks.sources.is_sorted() {
            return Err(Malformed("marks out of order"));
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_epochs_and_repeats_are_refused() {
        let mut marks = Marks::default();
        let root = |epoch, sequence| Origin::Root { role: "ingest/a".parse().expect("a role"), epoch, sequence };
        assert!(marks.accept(&root(0, 0), 10, true));
        assert!(marks.accept(&root(10, 1), 11, false));
        assert!(!marks.accept(&root(10, 1), 12, false), "a repeat");
        assert!(marks.accept(&root(10, 2), 13, false));
        assert!(marks.accept(&root(0, 0), 20, true), "a new claim");
        assert!(!marks.accept(&root(10, 3), 21, false), "the older writer goes on");
        assert!(marks.accept(&root(20, 1), 22, false));
        let mut bytes = Vec::new();
        marks.save(&mut bytes);
        let mut again = Marks::load(&mut Reader(&bytes)).expect("what was saved");
        assert!(!again.accept(&root(20, 1), 23, false));
        assert!(again.accept(&root(20, 2), 23, false));
    }
}
