//! Memory in large pages: an allocator for programs that run the exchange.
//!
//! Its tables are hundreds of megabytes, touched at random. In pages of 4 KiB nearly every touch first misses the
//! processor's page tables, which costs more than the touch itself, most of all in a virtual machine. Linux gives
//! pages of 2 MiB where it is asked to.

use std::alloc::{GlobalAlloc, Layout, System};

/// A large page of x86-64 and of most others, in bytes.
const LARGE: usize = 2 << 20;

/// An allocator, by default the system's, with a request for large pages for every table of at least one large page.
///
/// ```
/// #[global_allocator]
/// static MEMORY: matcher::memory::LargePages = matcher::memory::LargePages(std::alloc::System);
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LargePages<A = System>(
    /// Where the memory comes from.
    pub A,
);

/// Whether this is a large table. Buffers of bytes are none: they come and go, and clearing two megabytes each time
/// costs more than the pages save.
#[inline]
const fn is_table(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() > 1
}

/// The layout that the allocator is asked for: a table begins at a large page.
#[inline]
fn placed(layout: Layout) -> Layout {
    if is_table(layout) { layout.align_to(LARGE).unwrap_or(layout) } else { layout }
}

/// Says whether a range should lie in large pages. The advice stays with the addresses, so it has to be taken back
/// before they serve for something else: small things strewn over large pages keep all of each.
#[cfg(target_os = "linux")]
fn advise(at: *mut u8, size: usize, large: bool) {
    // The numbers are part of the kernel's interface: <linux/mman.h>.
    const MADV_HUGEPAGE: i32 = 14;
    const MADV_NOHUGEPAGE: i32 = 15;
    unsafe extern "C" {
        fn madvise(at: *mut std::ffi::c_void, size: usize, advice: i32) -> i32;
    }
    let advice = if large { MADV_HUGEPAGE } else { MADV_NOHUGEPAGE };
    // SAFETY: the range was given out and is ours. Advice changes no content; a kernel that does not take it
    // leaves everything as it is, which is fine.
    unsafe { madvise(at.cast(), size / LARGE * LARGE, advice) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize, _: bool) {}

// SAFETY: every call goes to the same allocator, each time with the same layout for the same memory, since
// `placed` depends on the layout alone.
unsafe impl<A: GlobalAlloc> GlobalAlloc for LargePages<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`; a greater alignment is still a valid layout.
        let at = unsafe { self.0.alloc(placed(layout)) };
        if is_table(layout) && !at.is_null() {
            advise(at, layout.size(), true);
        }
        at
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Not by `alloc`: fresh memory is zero without being touched, which mimalloc knows.
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`; a greater alignment is still a valid layout.
        let at = unsafe { self.0.alloc_zeroed(placed(layout)) };
        if is_table(layout) && !at.is_null() {
            advise(at, layout.size(), true);
        }
        at
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if is_table(layout) {
            advise(at, layout.size(), false);
        }
        // SAFETY: `at` came from one of the others with this layout.
        unsafe { self.0.dealloc(at, placed(layout)) };
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size fits the alignment.
        let fresh = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_table(layout) && !is_table(fresh) {
            // SAFETY: neither is moved to a large page, so the layouts are the caller's own.
            return unsafe { self.0.realloc(at, layout, size) };
        }
        // SAFETY: as above; both ranges are at least as long as what is copied, and do not overlap.
        unsafe {
            let to = self.alloc(fresh);
            if !to.is_null() {
                std::ptr::copy_nonoverlapping(at, to, layout.size().min(size));
                self.dealloc(at, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_over_a_large_page_and_back_keeps_its_content() {
        let mut size = 1_000;
        let mut layout = Layout::from_size_align(size, 8).expect("a layout");
        // SAFETY: each size is positive, each pointer is used with its own layout and within its size.
        unsafe {
            let mut at = LargePages(System).alloc(layout);
            at.write(7);
            for next in [LARGE - 1, LARGE, 3 * LARGE + 5, LARGE + 1, 100] {
                at.add(size - 1).write(9);
                at = LargePages(System).realloc(at, layout, next);
                assert_eq!(at.read(), 7);
                assert!(next < LARGE || at.addr().is_multiple_of(LARGE));
                assert!(next < size || at.add(size - 1).read() == 9);
                size = next;
                layout = Layout::from_size_align(size, 8).expect("a layout");
            }
            LargePages(System).dealloc(at, layout);
        }
    }
}
