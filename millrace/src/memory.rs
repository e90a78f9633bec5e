//! The program's memory.

use std::ffi::c_long;

/// Memory that comes back: glibc keeps an arena for every thread, and each that had once written a snapshot kept 25 MiB
/// of it, so that resident memory went on growing with two thirds of it free. And in large pages where it is large, since
/// the exchange's tables are touched at random.
#[global_allocator]
static MEMORY: matcher::memory::LargePages<mimalloc::MiMalloc> = matcher::memory::LargePages(mimalloc::MiMalloc);

/// `mi_option_purge_delay` of mimalloc 3, as its header counts options; the binding names only some.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds. By itself mimalloc waits for a second: a compaction, whose buffers come and go, held half as much again as
/// it used.
const DELAY: c_long = 0;

/// Has freed memory given back to the system at once.
pub(crate) fn give_back_at_once() {
    // SAFETY: the option exists, and any thread may set it at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, DELAY) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another version may count its options otherwise, or wait less: then this is to be looked at again.
    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: as above.
        let get = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(get(), 1_000, "what mimalloc 3 waits by itself");
        give_back_at_once();
        assert_eq!(get(), DELAY);
    }
}
