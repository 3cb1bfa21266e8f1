//! The global allocator wrapper. (signatures; being built)

use std::alloc::{GlobalAlloc, Layout, System};

/// `#[global_allocator] static HEAP: Heap = Heap;` counts each thread's bytes into its slot.
pub struct Heap;

// SAFETY: forwards to the system allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(block, layout) }
    }
}
