//! Numbers that wear their unit, and the keys that survive the reuse of pids and tids.

use std::fmt;

/// A process id in our pid namespace. Reused after the process ends: [`ProcessKey`] adds its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

/// A thread's id in our pid namespace. Reused after the thread ends: [`ThreadKey`] adds its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A span of time in nanoseconds, or a point on `CLOCK_MONOTONIC` where a field says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    pub fn from_seconds(seconds: f64) -> Nanos {
        Nanos((seconds.max(0.0) * 1e9) as u64)
    }

    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    pub fn saturating_sub(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// How much of `whole` this span is: 0.0 to 1.0 for one thread. `None` when no time has passed.
    pub fn share_of(self, whole: Nanos) -> Option<f64> {
        (whole.0 > 0).then(|| self.0 as f64 / whole.0 as f64)
    }
}

/// A time in kernel clock ticks (`USER_HZ`, 100 a second on every Linux that `/proc` speaks of),
/// since boot where it names a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticks(pub u64);

impl Ticks {
    pub const PER_SECOND: u64 = 100;

    pub fn seconds(self) -> f64 {
        self.0 as f64 / Self::PER_SECOND as f64
    }
}

/// Which process, for good: pids are reused, a pid with its start time on this boot is not.
/// The boot id is the same for all that one daemon sees, so it is kept once, in [`super::Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    pub pid: Pid,
    /// `/proc/<pid>/stat` field 22, clock ticks since boot.
    pub start: Ticks,
}

/// Which thread, for good: the process, the tid and the thread's own start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadKey {
    pub process: ProcessKey,
    pub tid: Tid,
    /// `/proc/<pid>/task/<tid>/stat` field 22, clock ticks since boot.
    pub start: Ticks,
}
