//! One thread at one tick: what it does, waits for and costs, and what of the process is its own.

use std::sync::Arc;

use super::{Evidence, HeapTally, Nanos, Pid, SignalSet, TaskNow, ThreadKey, Ticks, Tid, Unknown};

/// What the scheduler and, where there is one, the ledger say of a thread.
///
/// The kernel's R means running *or* waiting for a CPU: both are `Runnable`. `Parked` is a worker
/// of ours that the ledger says has gone to sleep for want of work; the kernel calls it sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThreadState {
    Runnable,
    Sleeping,
    DiskSleep,
    Stopped,
    Traced,
    Zombie,
    Dead,
    Idle,
    Parked,
}

impl ThreadState {
    pub const ALL: [ThreadState; 9] = [
        ThreadState::Runnable,
        ThreadState::Sleeping,
        ThreadState::DiskSleep,
        ThreadState::Stopped,
        ThreadState::Traced,
        ThreadState::Zombie,
        ThreadState::Dead,
        ThreadState::Idle,
        ThreadState::Parked,
    ];

    /// The name in the API, in the command line and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ThreadState::Runnable => "runnable",
            ThreadState::Sleeping => "sleeping",
            ThreadState::DiskSleep => "disk_sleep",
            ThreadState::Stopped => "stopped",
            ThreadState::Traced => "traced",
            ThreadState::Zombie => "zombie",
            ThreadState::Dead => "dead",
            ThreadState::Idle => "idle",
            ThreadState::Parked => "parked",
        }
    }

    pub fn from_name(name: &str) -> Option<ThreadState> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What kind of thing a blocked thread waits for, told by its system call or kernel function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitKind {
    Futex,
    Poll,
    Read,
    Write,
    Sleep,
    Child,
    Signal,
    Socket,
    Io,
    Other,
}

impl WaitKind {
    pub fn name(self) -> &'static str {
        match self {
            WaitKind::Futex => "futex",
            WaitKind::Poll => "poll",
            WaitKind::Read => "read",
            WaitKind::Write => "write",
            WaitKind::Sleep => "sleep",
            WaitKind::Child => "child",
            WaitKind::Signal => "signal",
            WaitKind::Socket => "socket",
            WaitKind::Io => "io",
            WaitKind::Other => "other",
        }
    }
}

/// What a system call that blocks is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitObject {
    /// `file`, `files` (several), `pipe`, `socket`, `terminal`, `epoll`, `eventfd`, `timerfd`, `signalfd`, `inotify`,
    /// `device`, `process`, `thread`, `timer`, `signal`, `futex_word`, `message_queue`, `semaphore`, `other`.
    pub kind: &'static str,
    pub fd: Option<u32>,
    /// In words: a path, `tcp 127.0.0.1:5432 <- 127.0.0.1:40112`, `any child`, `until 12.5 s after boot`. Hostile bytes.
    pub name: Arc<str>,
}

/// The state in the words of `java.lang.Thread.State`, for those who come from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JavaState {
    Runnable,
    /// For a lock that another thread holds.
    Blocked,
    Waiting,
    TimedWaiting,
    Terminated,
}

impl JavaState {
    /// As far as a row alone tells: that a futex is a lock that another thread holds, which Java calls
    /// BLOCKED, takes a stack to know, and so is `Waiting` here. Java counts a thread in the kernel's
    /// input and output as runnable; we say that it waits, and for what.
    pub fn of(state: ThreadState, wait: &Evidence<Wait>) -> Evidence<JavaState> {
        match state {
            ThreadState::Zombie | ThreadState::Dead => Ok(JavaState::Terminated),
            // Suspended is a mark of its own there too: it says nothing of what the thread does.
            ThreadState::Runnable | ThreadState::Stopped | ThreadState::Traced => Ok(JavaState::Runnable),
            ThreadState::Sleeping | ThreadState::DiskSleep | ThreadState::Idle | ThreadState::Parked => match wait {
                Ok(wait) if wait.timed == Some(true) => Ok(JavaState::TimedWaiting),
                Ok(_) => Ok(JavaState::Waiting),
                // It woke up between two readings of one row.
                Err(Unknown::Running | Unknown::NotWaiting) => Ok(JavaState::Runnable),
                Err(why) => Err(*why),
            },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            JavaState::Runnable => "RUNNABLE",
            JavaState::Blocked => "BLOCKED",
            JavaState::Waiting => "WAITING",
            JavaState::TimedWaiting => "TIMED_WAITING",
            JavaState::Terminated => "TERMINATED",
        }
    }
}

/// Why a thread stands still though it waits for nothing: kept apart, for each has its own way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspension {
    /// By a signal; SIGCONT ends it.
    Stopped,
    /// By a tracer.
    Traced,
    /// By its control group's freezer.
    Frozen,
}

impl Suspension {
    pub fn name(self) -> &'static str {
        match self {
            Suspension::Stopped => "stopped",
            Suspension::Traced => "traced",
            Suspension::Frozen => "frozen",
        }
    }
}

/// The time-out or the end of a sleep, as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeLimit {
    /// In words: `for 60 s`, `until 12.5 s after boot`, `until 2026-11-30T07:13:04.000Z`.
    pub words: String,
    /// `monotonic`, `realtime`, `boottime`, `other`.
    pub clock: &'static str,
    /// The span that was asked for; of an absolute time what is left, negative when it is over.
    pub seconds: f64,
    /// A moment; else a span that began when the call was made, which nothing records.
    pub absolute: bool,
}

/// The signals of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadSignals {
    /// Sent and not yet taken: to this thread, and to its process.
    pub pending: SignalSet,
    pub pending_shared: SignalSet,
    pub blocked: SignalSet,
    pub ignored: SignalSet,
    pub caught: SignalSet,
}

/// What is read of one thread when it is looked at alone, beside its row.
#[derive(Clone, Debug)]
pub struct ThreadDetails {
    pub signals: Evidence<ThreadSignals>,
    /// Who traces it.
    pub tracer: Evidence<Option<Pid>>,
    /// Its ids from our pid namespace inwards: the last is what it calls itself.
    pub namespace_tids: Evidence<Vec<u32>>,
    /// Threads may have control groups of their own.
    pub cgroup: Evidence<Arc<str>>,
    pub frozen: Evidence<bool>,
    pub time_limit: Evidence<TimeLimit>,
}

/// What a blocked thread waits for, as far as the kernel tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    pub kind: WaitKind,
    /// The system call's name (`futex`, `epoll_wait`); `None` when blocked outside one (a page fault).
    pub syscall: Option<&'static str>,
    /// Its first argument where that is an address (the futex word).
    pub address: Option<u64>,
    /// The kernel function it sleeps in, from `wchan`.
    pub kernel_function: Evidence<Arc<str>>,
    /// What the call is about: a file, a socket, a process… Dear, so rows may lack it.
    pub object: Evidence<WaitObject>,
    /// It ends by itself: a time-out was given with the call. `None` when the call does not tell.
    pub timed: Option<bool>,
    /// The lock behind the address, when the ledger names it.
    pub lock: Option<Arc<str>>,
    /// The thread that holds it, when that can be proved.
    pub owner: Option<Tid>,
}

impl Wait {
    /// `do_freezer_trap` of kernel/signal.c (version 2), `__refrigerator` of kernel/freezer.c (version 1).
    pub fn is_freezer(&self) -> bool {
        let function = self.kernel_function.as_deref();
        function.is_ok_and(|name| matches!(name, "do_freezer_trap" | "__refrigerator" | "get_signal"))
    }
}

/// A thread's stack, in bytes. `resident` is a high-water mark; `used` is its depth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackUse {
    /// Lowest usable address (above the guard).
    pub start: u64,
    /// One past the highest address.
    pub end: u64,
    pub reserved_bytes: u64,
    /// Pages of it that are in memory. Dear (`smaps`): see the memory view.
    pub resident_bytes: Evidence<u64>,
    /// From the stack pointer to the end. Known only while the thread is blocked.
    pub used_bytes: Evidence<u64>,
    /// The inaccessible mapping right below; `None` for the main thread, whose stack grows.
    pub guard_bytes: Option<u64>,
}

impl StackUse {
    /// The same with its depth at this stack pointer. Unknown while the thread stands elsewhere: on
    /// a signal's stack, or on one that the program switched to.
    pub fn at(self, stack_pointer: Evidence<u64>) -> StackUse {
        StackUse {
            used_bytes: stack_pointer.and_then(|address| {
                if (self.start..self.end).contains(&address) {
                    Ok(self.end - address)
                } else {
                    Err(Unknown::NoStackFound)
                }
            }),
            ..self
        }
    }
}

/// One thread at one tick. Times without "since" are totals since the thread's start.
#[derive(Clone, Debug)]
pub struct Thread {
    pub key: ThreadKey,
    /// The name as text, with bytes that are not UTF-8 replaced.
    pub name: Arc<str>,
    /// The name's bytes where they are not the text (hostile or cut names).
    pub name_bytes: Option<Arc<[u8]>>,
    pub state: ThreadState,
    /// The kernel's own letter, as read.
    pub state_letter: u8,
    /// Share of one CPU over the interval, 0.0 to 1.0.
    pub cpu_ratio: Evidence<f64>,
    /// Scaled to ticks by the kernel: resolution 10 ms.
    pub user_time: Evidence<Ticks>,
    pub system_time: Evidence<Ticks>,
    /// `schedstat`: exact, but up to a tick old while the thread runs.
    pub on_cpu: Evidence<Nanos>,
    /// `schedstat`: runnable, but waiting for a CPU. Added when the thread is picked.
    pub run_delay: Evidence<Nanos>,
    pub run_delay_ratio: Evidence<f64>,
    pub timeslices: Evidence<u64>,
    pub voluntary_switches: Evidence<u64>,
    pub involuntary_switches: Evidence<u64>,
    pub minor_faults: Evidence<u64>,
    pub major_faults: Evidence<u64>,
    pub last_cpu: Evidence<u32>,
    pub nice: Evidence<i32>,
    /// `normal`, `fifo`, `rr`, `batch`, `idle`, `deadline`, `ext`.
    pub policy: Evidence<&'static str>,
    pub rt_priority: Evidence<u32>,
    /// As the kernel lists it: `0-1,4`.
    pub allowed_cpus: Evidence<Arc<str>>,
    pub wait: Evidence<Wait>,
    pub stack: Evidence<StackUse>,
    pub heap: Evidence<HeapTally>,
    pub task: Evidence<TaskNow>,
    /// The pool this thread works for, when the ledger says so.
    pub pool: Option<Arc<str>>,
}

impl Thread {
    pub fn tid(&self) -> Tid {
        self.key.tid
    }

    pub fn java_state(&self) -> Evidence<JavaState> {
        JavaState::of(self.state, &self.wait)
    }

    /// Stopped, traced or frozen; a freezer is told by the kernel function, so only where that is.
    pub fn suspended(&self) -> Option<Suspension> {
        match (self.state, &self.wait) {
            (ThreadState::Stopped, _) => Some(Suspension::Stopped),
            (ThreadState::Traced, _) => Some(Suspension::Traced),
            (_, Ok(wait)) if wait.is_freezer() => Some(Suspension::Frozen),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_asked_for_by_its_name() {
        for state in ThreadState::ALL {
            assert_eq!(ThreadState::from_name(state.name()), Some(state));
        }
        assert_eq!(ThreadState::from_name("busy"), None);
    }
}
