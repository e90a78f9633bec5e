//! What the system holds the worker to.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// How much nicer than its parent the worker is: the pipeline comes first.
const NICE: i32 = 10;

/// Lowers the priority and limits what is mapped to `bytes`: the end of a worker whose own watch comes too late.
///
/// # Errors
/// When the system refuses.
pub(super) fn restrain(bytes: u64) -> io::Result<()> {
    nice(NICE)?;
    // Data, not address space: files that are mapped and room that is only reserved do not count.
    let known = getrlimit(Resource::Data);
    let limit = known.maximum.map_or(bytes, |maximum| maximum.min(bytes));
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
