//! What a process says of itself, one row a thread, after the reader has checked it.

use std::sync::Arc;

use super::{Nanos, Tid};

/// Bytes and calls this thread gave to the allocator. A block freed by another thread counts as
/// freed there, so `freed` may exceed `allocated`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapTally {
    pub allocated_bytes: u64,
    pub freed_bytes: u64,
    pub allocations: u64,
    pub frees: u64,
}

impl HeapTally {
    /// Live bytes that this thread's ledger accounts for. Negative when it frees what others made.
    pub fn net_bytes(&self) -> i64 {
        self.allocated_bytes.wrapping_sub(self.freed_bytes) as i64
    }

    pub fn plus(&self, other: &HeapTally) -> HeapTally {
        HeapTally {
            allocated_bytes: self.allocated_bytes.wrapping_add(other.allocated_bytes),
            freed_bytes: self.freed_bytes.wrapping_add(other.freed_bytes),
            allocations: self.allocations.wrapping_add(other.allocations),
            frees: self.frees.wrapping_add(other.frees),
        }
    }
}

/// What a worker is at, and what it has done so far.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskNow {
    pub pool: Arc<str>,
    /// The task's workload; `None` between tasks.
    pub workload: Option<Arc<str>>,
    pub id: Option<u64>,
    /// How long it has been at this task.
    pub age: Option<Nanos>,
    /// Tasks finished by this thread.
    pub done: u64,
    /// Time its tasks spent in the queue and in its hands, totals.
    pub queue_wait: Nanos,
    pub service: Nanos,
    /// Whether the worker has gone to sleep for want of work.
    pub parked: bool,
}

/// One slot of a ledger, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// The tid in the namespace of the process that writes it.
    pub tid: Tid,
    pub heap: HeapTally,
    pub task: Option<TaskNow>,
}

/// One reading of a whole ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerView {
    /// In tid order, one row a tid.
    pub rows: Vec<LedgerRow>,
    /// Totals of threads that have ended: nothing they did is lost.
    pub ended_threads: u64,
    pub ended_heap: HeapTally,
    pub ended_tasks: u64,
    /// Threads that ever took a slot (exact, unlike what polling sees).
    pub started_total: u64,
    /// Slots that stayed torn or held nonsense.
    pub unreadable_slots: u32,
    /// Threads for which there was no slot.
    pub overflow: u64,
    /// What those did, all together, and what threads did after they had given their slot back.
    /// With `rows` and `ended_heap` this is the whole process.
    pub overflow_heap: HeapTally,
    pub overflow_tasks: u64,
}
