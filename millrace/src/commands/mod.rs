//! One module for each command.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod lake;
pub(crate) mod replay;
pub(crate) mod sql;
pub(crate) mod sql_worker;
pub(crate) mod tail;
pub(crate) mod up;
