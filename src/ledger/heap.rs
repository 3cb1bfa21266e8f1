//! The global allocator wrapper: counts what each thread takes from and gives back to the heap.
//!
//! It forwards to the system allocator and adds to two words of the thread's own slot: no lock, no
//! locked instruction, no clock. A block counts where it is allocated and again where it is freed,
//! so a thread that frees what others made has freed more than it allocated. Blocks from before
//! [`super::install`] are counted only when they are freed. A moved or resized block (`realloc`) counts
//! as one freed and one allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::Ordering;

use super::own::{self, Place};

/// `#[global_allocator] static HEAP: Heap = Heap;` counts each thread's bytes into its slot.
pub struct Heap;

// SAFETY: every call is the system allocator's, with the caller's own arguments, and its answer is
// handed on as it is; the counting touches no block and neither allocates nor unwinds.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            count_allocated(layout.size());
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            count_allocated(layout.size());
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(block, layout) };
        count_freed(layout.size());
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        if !moved.is_null() {
            count_freed(layout.size());
            count_allocated(new_size);
        }
        moved
    }
}

#[inline(always)]
fn count_allocated(bytes: usize) {
    match own::slot() {
        Some(slot) => slot.allocated(bytes as u64),
        None if own::is_made() => count_elsewhere(bytes, true),
        None => {}
    }
}

#[inline(always)]
fn count_freed(bytes: usize) {
    match own::slot() {
        Some(slot) => slot.freed(bytes as u64),
        None if own::is_made() => count_elsewhere(bytes, false),
        None => {}
    }
}

/// The thread has no slot, not yet or not any more.
#[cold]
#[inline(never)]
fn count_elsewhere(bytes: usize, allocated: bool) {
    let bytes = bytes as u64;
    match (own::place(), allocated) {
        (Place::Slot(slot), true) => slot.allocated(bytes),
        (Place::Slot(slot), false) => slot.freed(bytes),
        (Place::Shared(header), true) => {
            header.overflow_allocated_bytes.fetch_add(bytes, Ordering::Relaxed);
            header.overflow_allocations.fetch_add(1, Ordering::Relaxed);
        }
        (Place::Shared(header), false) => {
            header.overflow_freed_bytes.fetch_add(bytes, Ordering::Relaxed);
            header.overflow_frees.fetch_add(1, Ordering::Relaxed);
        }
        (Place::Nowhere, _) => {}
    }
}
