//! The clocks we read: `CLOCK_MONOTONIC` for intervals, CPU clocks for cost.

use rustix::time::{ClockId, clock_gettime};

use crate::model::Nanos;

/// Now on `CLOCK_MONOTONIC`, the one time base of all rooms. Shared by all processes of this boot.
pub fn monotonic() -> Nanos {
    read(ClockId::Monotonic)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of the whole process.
pub fn process_cpu() -> Nanos {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Nanos {
    let now = clock_gettime(clock);
    Nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
