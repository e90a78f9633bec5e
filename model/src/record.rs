//! What every record says of its origin, so that no consumer counts anything twice.

use crate::name::{Name, Role};

/// Where a derived record comes from: one input record, and the place among the outputs it made in that topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cause {
    /// Topic of the input.
    pub topic: Name<23>,
    /// Partition of the input.
    pub partition: u32,
    /// Offset of the input.
    pub offset: u64,
    /// Index within the outputs of that input in the topic that holds the derived record, from 0.
    pub index: u32,
}

/// The origin of a record in a stage's inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Came into the system here: the `sequence`-th record, from 1, of this role in this partition since its
    /// `Claim`.
    Root {
        /// The writer.
        role: Role,
        /// Offset of the role's `Claim` in this partition; 0 in the claim itself, which has sequence 0.
        epoch: u64,
        /// Position since the claim.
        sequence: u64,
    },
    /// Follows from another record.
    Derived(Cause),
}
