//! Which records of a partition are repetitions: a broker may store a batch twice, and a role's earlier writer may
//! write after its successor began.
//!
//! A root record counts when its epoch and sequence lie above its role's mark, a derived one when its cause lies
//! above the mark of the cause's partition (see `docs/lake.md`, Identity).

use std::collections::BTreeMap;

use model::{Cause, Name, Origin, Role};

/// The newest record known of a role (epoch, sequence) or of a cause's partition (offset, index).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Epoch, or offset of the cause.
    pub major: u64,
    /// Sequence, or index within the cause's outputs.
    pub minor: u64,
}

/// What is known of one partition's writers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    roles: BTreeMap<Role, Mark>,
    causes: BTreeMap<(Name<23>, u32), Mark>,
}

impl Marks {
    /// Takes note of the record at `offset`; false when it repeats what was there.
    pub fn admit(&mut self, offset: u64, origin: &Origin) -> bool {
        match origin {
            // A claim: sequence 0, and its own offset is the epoch.
            Origin::Root { role, sequence: 0, .. } => {
                raise(self.roles.entry(*role).or_default(), Mark { major: offset, minor: 0 });
                true
            }
            Origin::Root { role, epoch, sequence } => {
                raise(self.roles.entry(*role).or_default(), Mark { major: *epoch, minor: *sequence })
            }
            Origin::Derived(cause) => self.admit_cause(cause),
        }
    }

    /// As [`Self::admit`], for a record that names its cause.
    pub fn admit_cause(&mut self, cause: &Cause) -> bool {
        // The first output of the first record is (0, 0): marks count from one there.
        let mark = Mark { major: cause.offset, minor: u64::from(cause.index) + 1 };
        raise(self.causes.entry((cause.topic, cause.partition)).or_default(), mark)
    }

    /// Every mark by a name that [`Self::set`] reads back.
    pub fn iter(&self) -> impl Iterator<Item = (String, Mark)> {
        let roles = self.roles.iter().map(|(role, mark)| (format!("role/{role}"), *mark));
        let causes = self.causes.iter().map(|((topic, at), mark)| (format!("cause/{topic}/{at}"), *mark));
        roles.chain(causes)
    }

    /// Sets the mark of a name; false when the name is none.
    pub fn set(&mut self, name: &str, mark: Mark) -> bool {
        if let Some(role) = name.strip_prefix("role/")
            && let Ok(role) = role.parse()
        {
            self.roles.insert(role, mark);
            return true;
        }
        if let Some(cause) = name.strip_prefix("cause/")
            && let Some((topic, at)) = cause.rsplit_once('/')
            && let (Ok(topic), Ok(at)) = (topic.parse(), at.parse())
        {
            self.causes.insert((topic, at), mark);
            return true;
        }
        false
    }
}

fn raise(known: &mut Mark, mark: Mark) -> bool {
    let newer = mark > *known;
    if newer {
        *known = mark;
    }
    newer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(epoch: u64, sequence: u64) -> Origin {
        Origin::Root { role: "ingest/okx".parse().expect("a role"), epoch, sequence }
    }

    fn derived(offset: u64, index: u32) -> Origin {
        Origin::Derived(Cause { topic: model::topic::name("ticks"), partition: 3, offset, index })
    }

    #[test]
    fn repetitions_and_deposed_writers_are_told() {
        let mut marks = Marks::default();
        assert!(marks.admit(0, &root(0, 0)));
        assert!(marks.admit(1, &root(0, 1)) && marks.admit(2, &root(0, 2)));
        assert!(!marks.admit(3, &root(0, 2)), "stored twice");
        assert!(marks.admit(4, &root(0, 0)), "a successor claims");
        assert!(!marks.admit(5, &root(0, 3)), "the predecessor writes on");
        assert!(marks.admit(6, &root(4, 1)));
        assert!(marks.admit(7, &derived(0, 0)) && marks.admit(8, &derived(0, 1)) && marks.admit(9, &derived(2, 0)));
        assert!(!marks.admit(10, &derived(2, 0)) && !marks.admit(11, &derived(1, 7)));
    }

    #[test]
    fn marks_travel_by_name() {
        let mut marks = Marks::default();
        marks.admit(0, &root(7, 9));
        marks.admit(1, &derived(5, 2));
        let mut again = Marks::default();
        for (name, mark) in marks.iter() {
            assert!(again.set(&name, mark), "{name}");
        }
        assert_eq!(marks, again);
        assert!(!again.set("cause/ticks", Mark::default()) && !again.set("else", Mark::default()));
    }
}
