//! Hints to the processor's cache.

/// Fetches the first cache line of `items[at]` for reading; past the end that of the last item. Without a branch on
/// `at`, since what is unpredictable would cost more than the fetch saves.
#[inline(always)]
pub(crate) fn read<T>(items: &[T], at: usize) {
    read_at(items, at, 0);
}

/// Fetches the cache line `offset` bytes into `items[at]`, as [`read`] does.
#[inline(always)]
pub(crate) fn read_at<T>(items: &[T], at: usize, offset: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = at.min(items.len().wrapping_sub(1));
        // SAFETY: a prefetch has no effect but on the cache, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(items.as_ptr().wrapping_add(at).cast::<i8>().wrapping_add(offset)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, at, offset);
}
