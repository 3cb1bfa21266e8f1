//! A value with the reason why it is missing: unknown is not zero.

/// What was read, or why it could not be. The reason travels to the screen.
pub type Evidence<T> = Result<T, Unknown>;

/// Why a value is missing. One byte, so that ten thousand rows stay small; the words are methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unknown {
    /// The kernel refused: reading this of another user's process needs ptrace access.
    PtraceDenied,
    /// The kernel refused for another reason (hidepid, a security module, a missing capability).
    Denied,
    /// The thread or process ended while it was being read.
    Gone,
    /// The kernel was built without this file (`CONFIG_SCHED_INFO`, `CONFIG_HAVE_ARCH_TRACEHOOK`).
    NoKernelSupport,
    /// The captured `/proc` tree does not hold this file.
    NotCaptured,
    /// The kernel's text could not be understood; the log names the file.
    Unreadable,
    /// A rate needs two readings and there has been one.
    SeenOnce,
    /// The kernel tells stack pointer and system call only of a blocked thread; this one was running.
    Running,
    /// A kernel thread has no user memory.
    KernelThread,
    /// The process keeps no ledger, so only the kernel speaks for it.
    NoLedger,
    /// The ledger had no free slot for this thread, or its slot could not be read.
    NoSlot,
    /// The ledger knows the thread, but it works for no pool.
    NoPool,
    /// A zombie has given its memory and clocks back.
    Zombie,
    /// The thread is not blocked, so it waits for nothing.
    NotWaiting,
    /// It was not asked for on this pass because it is dear; the single-thread view reads it.
    NotAsked,
    /// The wait is for nothing that has a name: a moment in the kernel, or a call that is about no object.
    NoObject,
    /// No mapping of the process holds the thread's stack pointer.
    NoStackFound,
    /// There was no time left for it.
    Late,
    /// The kernel refused a `perf_event` sample of a running thread.
    SamplingDenied,
    /// Another debugger or tracer has the thread.
    TracedByOther,
    /// It is stopped (by a signal) and is left so: nothing is read by stopping it again.
    Stopped,
    /// A thread of our own process, or one whose end we wait for: a process can't stop itself and look.
    Ourselves,
    /// The control group has no such file here: its controller is off, it is the root, or it lies outside our view.
    NoGroupFile,
    /// No symbol table names this address.
    NoSymbols,
    /// Code of another architecture or word size than ours.
    ForeignCode,
    /// A lock of this kind does not say who holds it.
    OwnerNotRecorded,
    /// Nobody holds it: it is on its way from one thread to another, or is no lock.
    NotHeld,
    /// What waits here is not a lock that we know, so its memory is not read as one.
    NoLockShape,
}

/// The four reasons that the API promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    Denied,
    Gone,
    Unsupported,
    NotApplicable,
}

/// What it would take to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub need: &'static str,
    pub fix: &'static str,
}

impl Unknown {
    pub const ALL: [Unknown; 28] = [
        Unknown::PtraceDenied,
        Unknown::Denied,
        Unknown::Gone,
        Unknown::NoKernelSupport,
        Unknown::NotCaptured,
        Unknown::Unreadable,
        Unknown::SeenOnce,
        Unknown::Running,
        Unknown::KernelThread,
        Unknown::NoLedger,
        Unknown::NoSlot,
        Unknown::NoPool,
        Unknown::Zombie,
        Unknown::NotWaiting,
        Unknown::NotAsked,
        Unknown::NoObject,
        Unknown::NoStackFound,
        Unknown::Late,
        Unknown::SamplingDenied,
        Unknown::TracedByOther,
        Unknown::Stopped,
        Unknown::Ourselves,
        Unknown::NoGroupFile,
        Unknown::NoSymbols,
        Unknown::ForeignCode,
        Unknown::OwnerNotRecorded,
        Unknown::NotHeld,
        Unknown::NoLockShape,
    ];

    pub fn reason(self) -> Reason {
        match self {
            Unknown::PtraceDenied | Unknown::Denied | Unknown::SamplingDenied | Unknown::TracedByOther => {
                Reason::Denied
            }
            Unknown::Gone => Reason::Gone,
            Unknown::NoKernelSupport | Unknown::NotCaptured | Unknown::Unreadable | Unknown::ForeignCode => {
                Reason::Unsupported
            }
            Unknown::SeenOnce
            | Unknown::Running
            | Unknown::KernelThread
            | Unknown::NoLedger
            | Unknown::NoSlot
            | Unknown::NoPool
            | Unknown::Zombie
            | Unknown::NotWaiting
            | Unknown::NotAsked
            | Unknown::NoObject
            | Unknown::NoStackFound
            | Unknown::Late
            | Unknown::Stopped
            | Unknown::Ourselves
            | Unknown::NoGroupFile
            | Unknown::NoSymbols
            | Unknown::OwnerNotRecorded
            | Unknown::NotHeld
            | Unknown::NoLockShape => Reason::NotApplicable,
        }
    }

    /// A short stable name for the API and for tests.
    pub fn code(self) -> &'static str {
        match self {
            Unknown::PtraceDenied => "ptrace_denied",
            Unknown::Denied => "denied",
            Unknown::Gone => "gone",
            Unknown::NoKernelSupport => "no_kernel_support",
            Unknown::NotCaptured => "not_captured",
            Unknown::Unreadable => "unreadable",
            Unknown::SeenOnce => "seen_once",
            Unknown::Running => "running",
            Unknown::KernelThread => "kernel_thread",
            Unknown::NoLedger => "no_ledger",
            Unknown::NoSlot => "no_slot",
            Unknown::NoPool => "no_pool",
            Unknown::Zombie => "zombie",
            Unknown::NotWaiting => "not_waiting",
            Unknown::NotAsked => "not_asked",
            Unknown::NoObject => "no_object",
            Unknown::NoStackFound => "no_stack_found",
            Unknown::Late => "late",
            Unknown::SamplingDenied => "sampling_denied",
            Unknown::TracedByOther => "traced_by_other",
            Unknown::Stopped => "stopped",
            Unknown::Ourselves => "ourselves",
            Unknown::NoGroupFile => "no_group_file",
            Unknown::NoSymbols => "no_symbols",
            Unknown::ForeignCode => "foreign_code",
            Unknown::OwnerNotRecorded => "owner_not_recorded",
            Unknown::NotHeld => "not_held",
            Unknown::NoLockShape => "no_lock_shape",
        }
    }

    /// One sentence for a person.
    pub fn why(self) -> &'static str {
        match self {
            Unknown::PtraceDenied => "the kernel lets only the owner or a tracer read this",
            Unknown::Denied => "the kernel refused to tell",
            Unknown::Gone => "it ended while it was being read",
            Unknown::NoKernelSupport => "this kernel was built without it",
            Unknown::NotCaptured => "the captured tree does not hold this file",
            Unknown::Unreadable => "the kernel's text was not understood",
            Unknown::SeenOnce => "a rate needs two readings and there has been one",
            Unknown::Running => "the kernel tells this only of a blocked thread, and it was running",
            Unknown::KernelThread => "a kernel thread has no user memory",
            Unknown::NoLedger => "the process keeps no ledger of its own",
            Unknown::NoSlot => "the ledger has no readable slot for this thread",
            Unknown::NoPool => "the thread works for no pool",
            Unknown::Zombie => "it has ended and waits to be reaped",
            Unknown::NotWaiting => "the thread is not waiting",
            Unknown::NotAsked => "read on request only, because it is dear",
            Unknown::NoObject => "the wait is for nothing that has a name",
            Unknown::NoStackFound => "no mapping holds the thread's stack pointer",
            Unknown::Late => "the time for this reading was over",
            Unknown::SamplingDenied => "the kernel does not let us sample running threads",
            Unknown::TracedByOther => "another debugger already traces this thread",
            Unknown::Stopped => "it is stopped, and is left as it is",
            Unknown::Ourselves => "threadscape does not stop itself or its own children",
            Unknown::NoGroupFile => "its control group does not account for this, or lies outside our view",
            Unknown::NoSymbols => "no symbol table names this address",
            Unknown::ForeignCode => "the program's code is for another architecture than ours",
            Unknown::OwnerNotRecorded => "locks of this kind do not record who holds them",
            Unknown::NotHeld => "nobody holds it",
            Unknown::NoLockShape => "this is not a lock whose shape is known",
        }
    }

    /// What would make it known, where something would.
    pub fn need(self) -> Option<Need> {
        match self {
            Unknown::PtraceDenied => Some(Need {
                need: "CAP_SYS_PTRACE or the same user",
                fix: "run threadscape as the owner of the process, as root, or with CAP_SYS_PTRACE",
            }),
            Unknown::Denied => Some(Need {
                need: "more rights",
                fix: "run `threadscape doctor PID`: it tries each source and names the missing right",
            }),
            Unknown::NoKernelSupport => Some(Need {
                need: "a kernel with CONFIG_SCHED_INFO and CONFIG_HAVE_ARCH_TRACEHOOK",
                fix: "use a distribution kernel; most have both",
            }),
            Unknown::NotCaptured => Some(Need {
                need: "the file in the captured tree",
                fix: "capture the tree again with this file, or read the live /proc",
            }),
            Unknown::NoLedger => Some(Need {
                need: "a ledger in the program",
                fix: "build the program with threadscape's allocator and task wrappers",
            }),
            Unknown::SamplingDenied => Some(Need {
                need: "CAP_PERFMON, or kernel.perf_event_paranoid of 2 or less for own processes",
                fix: "run threadscape as root or with CAP_PERFMON, or ask for a pause",
            }),
            Unknown::TracedByOther => Some(Need {
                need: "the other tracer to let go",
                fix: "detach the debugger, or read the stack in it",
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_unknown_has_its_own_code_and_says_why() {
        let codes: HashSet<_> = Unknown::ALL.iter().map(|u| u.code()).collect();
        assert_eq!(codes.len(), Unknown::ALL.len());
        assert!(Unknown::ALL.iter().all(|u| !u.why().is_empty()));
    }

    #[test]
    fn what_was_denied_says_how_to_be_allowed() {
        for unknown in Unknown::ALL.iter().filter(|u| u.reason() == Reason::Denied) {
            assert!(unknown.need().is_some(), "{unknown:?} names no way out");
        }
    }

    #[test]
    fn an_evidence_of_a_word_stays_two_words() {
        assert_eq!(size_of::<Evidence<u64>>(), 16);
    }
}
