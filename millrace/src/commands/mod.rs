//! One module for each command.

pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod tail;
pub(crate) mod up;
