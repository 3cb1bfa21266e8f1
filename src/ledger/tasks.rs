//! What a worker writes of its work into its own slot.
//!
//! All functions speak for the calling thread, claim its slot on first use and cost nanoseconds.
//! None reads a clock: the caller has the times in hand anyway. Without a ledger they do nothing.
//! A slot tells one task at a time: a task that begins within another takes its place. Heap marks nest.

use std::sync::atomic::Ordering;

use super::own::{Place, place};
pub use super::slot::HeapMark;
use crate::model::Nanos;

/// The calling thread is a worker of this pool (`intern`ed) from now on.
pub fn joins_pool(pool: u32) {
    if let Place::Slot(slot) = place() {
        slot.joins_pool(pool);
    }
}

/// It has taken a task in hand. `started` is a point on `CLOCK_MONOTONIC`.
#[inline]
pub fn begins(workload: u32, id: u64, started: Nanos) {
    if let Place::Slot(slot) = place() {
        slot.begins(workload, id, started.0);
    }
}

/// It has finished the task: how long that sat in the queue and in its hands.
#[inline]
pub fn ends(queue_wait: Nanos, service: Nanos) {
    match place() {
        Place::Slot(slot) => slot.ends(queue_wait.0, service.0),
        Place::Shared(header) => {
            header.overflow_done.fetch_add(1, Ordering::Relaxed);
        }
        Place::Nowhere => {}
    }
}

/// A watch of the calling thread's heap, from now on; hand it to [`heap_peak`].
#[inline]
pub fn marks_heap() -> Option<HeapMark> {
    match place() {
        Place::Slot(slot) => Some(slot.marks_heap()),
        Place::Shared(_) | Place::Nowhere => None,
    }
}

/// The most heap the calling thread had in use at once since the mark, above what it had then, in
/// bytes. `None` without a slot, or when nothing counts this process' heap.
#[inline]
pub fn heap_peak(since: Option<HeapMark>) -> Option<u64> {
    match (place(), since) {
        (Place::Slot(slot), Some(mark)) => slot.heap_peak_since(mark),
        _ => None,
    }
}

/// It goes to sleep for want of work, or has woken.
pub fn parks(parked: bool) {
    if let Place::Slot(slot) = place() {
        slot.parks(parked);
    }
}
