//! The clocks we read: `CLOCK_MONOTONIC` for intervals, CPU clocks for cost.

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Nanos, Pid};

/// Now on `CLOCK_MONOTONIC`, the one time base of all rooms. Shared by all processes of this boot.
pub fn monotonic() -> Nanos {
    read(ClockId::Monotonic)
}

/// Since boot, time asleep included: what start times count on.
pub fn boottime() -> Nanos {
    read(ClockId::Boottime)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of the whole process.
pub fn process_cpu() -> Nanos {
    read(ClockId::ProcessCPUTime)
}

/// CPU time of another process, its ended threads included, exact to the nanosecond. `None` when it
/// has ended. Any process may ask for any other's: no rights are needed.
pub fn cpu_of(pid: Pid) -> Option<Nanos> {
    // Source: `MAKE_PROCESS_CPUCLOCK` and `CPUCLOCK_SCHED` of include/linux/posix-timers_types.h:
    // the complement of the pid above three bits that say which clock of that process is meant.
    const SCHED: libc::clockid_t = 2;
    let pid = libc::pid_t::try_from(pid.0)
        .ok()
        .filter(|pid| *pid > 0 && *pid < 1 << 28)?;
    let clock = (!pid << 3) | SCHED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours and lives until the call returns; a clock that doesn't exist is
    // answered with EINVAL.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (outcome == 0).then(|| Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64))
}

fn read(clock: ClockId) -> Nanos {
    let now = clock_gettime(clock);
    Nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_clock_can_be_asked_for_by_pid() {
        let before = process_cpu();
        let asked = cpu_of(Pid(std::process::id())).unwrap();
        assert!(before <= asked && asked <= process_cpu(), "{before:?} {asked:?}");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_clock() {
        for pid in [0, u32::MAX, 1 << 28, i32::MAX as u32] {
            assert_eq!(cpu_of(Pid(pid)), None, "{pid}");
        }
    }
}
