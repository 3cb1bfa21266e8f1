//! What a worker writes of its work into its own slot. (signatures; being built)
//!
//! All functions speak for the calling thread, claim its slot on first use and cost nanoseconds.

use crate::model::Nanos;

/// The calling thread is a worker of this pool (`intern`ed) from now on.
pub fn joins_pool(pool: u32) {
    let _ = pool;
}

/// It has taken a task in hand.
pub fn begins(workload: u32, id: u64, started: Nanos) {
    let _ = (workload, id, started);
}

/// It has finished the task: how long that sat in the queue and in its hands.
pub fn ends(queue_wait: Nanos, service: Nanos) {
    let _ = (queue_wait, service);
}

/// It goes to sleep for want of work, or has woken.
pub fn parks(parked: bool) {
    let _ = parked;
}
