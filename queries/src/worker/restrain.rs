//! What the system holds the worker to.

use std::io;

use rustix::process::{Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit};

/// How nice the worker's threads are at least: the pipeline, usually at 0, comes first.
const NICE: i32 = 10;

/// Lowers the priority of the calling thread, which is one that runs statements. Linux has it by thread: those that are
/// there already keep theirs. A system that refuses has statements that get in the way, which is no reason to have none.
pub fn give_way() {
    // Not by adding: a thread that another of the worker's starts has that one's priority already.
    let lowered = getpriority_process(None).and_then(|now| setpriority_process(None, now.max(NICE)));
    if let Err(error) = lowered {
        tracing::debug!(%error, "statements have the priority of everything else");
    }
}

/// Limits what is mapped to `bytes`: the end of a worker whose own watch comes too late.
///
/// # Errors
/// When the system refuses.
pub(super) fn restrain(bytes: u64) -> io::Result<()> {
    // Data, not address space: files that are mapped and room that is only reserved do not count.
    let known = getrlimit(Resource::Data);
    let limit = known.maximum.map_or(bytes, |maximum| maximum.min(bytes));
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
