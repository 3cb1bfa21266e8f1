//! Who waits for what, held by whom: the locks that threads of a process wait for, and what follows.
//!
//! A lock's kind is told by the stack (which function waits) together with the memory's shape, never
//! by shape alone; `told_by` says what spoke for it. An owner is given only with its proof. A deadlock
//! needs owners that are proved; what is only likely makes chains, never deadlocks.

use std::sync::Arc;

use super::{Dump, Evidence, Nanos, Tid};

/// What a thread waits at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockKind {
    PthreadMutex,
    PthreadRwlock,
    PthreadCond,
    PthreadBarrier,
    Semaphore,
    PthreadOnce,
    /// `pthread_join`: the thread waited for is the "owner".
    Join,
    /// A lock inside the C library (allocator arena, stdio stream, loader).
    LibcInternal,
    RustMutex,
    RustRwlock,
    RustCondvar,
    RustOnce,
    /// `std::thread::park`, channels and whatever is built on them.
    RustPark,
    /// A thread of parking_lot that sleeps in its parker; the lock itself may be named.
    ParkingLot,
    /// C++ `atomic::wait`, `std::latch`, `std::counting_semaphore`.
    CppAtomicWait,
    MuslMutex,
    Go,
    Java,
    /// A lock that the process' own ledger names.
    Ledger,
    /// `flock` or `fcntl` on a file.
    FileLock,
    Unknown,
}

impl LockKind {
    pub const ALL: [LockKind; 21] = [
        LockKind::PthreadMutex,
        LockKind::PthreadRwlock,
        LockKind::PthreadCond,
        LockKind::PthreadBarrier,
        LockKind::Semaphore,
        LockKind::PthreadOnce,
        LockKind::Join,
        LockKind::LibcInternal,
        LockKind::RustMutex,
        LockKind::RustRwlock,
        LockKind::RustCondvar,
        LockKind::RustOnce,
        LockKind::RustPark,
        LockKind::ParkingLot,
        LockKind::CppAtomicWait,
        LockKind::MuslMutex,
        LockKind::Go,
        LockKind::Java,
        LockKind::Ledger,
        LockKind::FileLock,
        LockKind::Unknown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            LockKind::PthreadMutex => "pthread_mutex",
            LockKind::PthreadRwlock => "pthread_rwlock",
            LockKind::PthreadCond => "pthread_cond",
            LockKind::PthreadBarrier => "pthread_barrier",
            LockKind::Semaphore => "semaphore",
            LockKind::PthreadOnce => "pthread_once",
            LockKind::Join => "join",
            LockKind::LibcInternal => "libc_internal",
            LockKind::RustMutex => "rust_mutex",
            LockKind::RustRwlock => "rust_rwlock",
            LockKind::RustCondvar => "rust_condvar",
            LockKind::RustOnce => "rust_once",
            LockKind::RustPark => "rust_park",
            LockKind::ParkingLot => "parking_lot",
            LockKind::CppAtomicWait => "cpp_atomic_wait",
            LockKind::MuslMutex => "musl_mutex",
            LockKind::Go => "go",
            LockKind::Java => "java",
            LockKind::Ledger => "ledger",
            LockKind::FileLock => "file_lock",
            LockKind::Unknown => "unknown",
        }
    }

    /// Whether somebody outside can prove who holds a lock of this kind, and by what or why not.
    pub fn owner_proof(self) -> (bool, &'static str) {
        match self {
            LockKind::PthreadMutex => (
                true,
                "the mutex records its owner's tid; robust and PI ones in the futex word",
            ),
            LockKind::PthreadRwlock => (true, "the current writer is recorded; readers are only counted"),
            LockKind::Join => (true, "the call waits on the tid of the thread that is joined"),
            LockKind::MuslMutex => (
                true,
                "recursive, error-checking and robust ones hold the tid; normal ones do not",
            ),
            LockKind::Ledger => (true, "the process' own ledger says who holds it"),
            LockKind::FileLock => (true, "/proc/locks names the process that holds it"),
            LockKind::PthreadCond | LockKind::RustCondvar => {
                (false, "a condition is told by whoever changes it: nobody holds it")
            }
            LockKind::PthreadBarrier => (
                false,
                "a barrier waits for threads that have not arrived; it records only how many",
            ),
            LockKind::Semaphore => (false, "a semaphore counts; it does not record who took from it"),
            LockKind::PthreadOnce | LockKind::RustOnce => (false, "the word says that it runs, not in which thread"),
            LockKind::LibcInternal => (false, "the C library's internal locks are one word without an owner"),
            LockKind::RustMutex => (false, "the standard library's mutex is one word: held or not"),
            LockKind::RustRwlock => (
                false,
                "the standard library's lock counts readers and writers; it records nobody",
            ),
            LockKind::RustPark => (false, "a parked thread waits for any other to unpark it"),
            LockKind::ParkingLot => (
                false,
                "the lock is one byte without an owner; threads sleep in their own parker",
            ),
            LockKind::CppAtomicWait => (false, "an atomic's waiters wait for a value, which anybody may store"),
            LockKind::Go => (
                false,
                "the runtime's locks record no owner, and sync.Mutex parks goroutines: ask Go's own profile",
            ),
            LockKind::Java => (false, "monitors are the JVM's own: ask jstack"),
            LockKind::Unknown => (false, "what waits here is not a lock that we know"),
        }
    }
}

/// Where a lock lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockPlace {
    /// A variable of a module: its name and how far into it.
    Global {
        module: Arc<str>,
        symbol: Arc<str>,
        offset: u64,
    },
    /// In a mapping of a file, or one that the kernel names, without a symbol there.
    Mapping {
        name: Arc<str>,
        offset: u64,
    },
    Heap,
    Stack {
        tid: Tid,
    },
    SharedMemory {
        name: Arc<str>,
        offset: u64,
    },
    /// The control block or thread-locals of this thread.
    ThreadBlock {
        tid: Tid,
    },
    Unknown,
}

/// What proves an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The lock's own field, in a lock of this kind.
    Recorded,
    /// The futex word holds the tid (priority inheritance, robust).
    FutexWord,
    /// The thread that is joined.
    JoinTarget,
    /// The process' ledger says so.
    Ledger,
    /// `/proc/locks`.
    KernelLock,
    /// A thread's stack makes it likely. Never enough for a deadlock.
    Likely,
}

impl Proof {
    pub fn name(self) -> &'static str {
        match self {
            Proof::Recorded => "recorded",
            Proof::FutexWord => "futex_word",
            Proof::JoinTarget => "join_target",
            Proof::Ledger => "ledger",
            Proof::KernelLock => "kernel_lock",
            Proof::Likely => "likely",
        }
    }

    pub fn is_proved(self) -> bool {
        self != Proof::Likely
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A living thread of this process.
    Thread { tid: Tid, proof: Proof },
    /// A thread of this process that has ended with the lock held; its tid in its own namespace.
    Ended { own_tid: u32 },
    /// The word names a thread that is not of this process: taken before a fork, or of another process
    /// that shares the lock.
    Foreign { own_tid: u32 },
}

impl Owner {
    /// The living thread of this process.
    pub fn thread(&self) -> Option<Tid> {
        match self {
            Owner::Thread { tid, .. } => Some(*tid),
            Owner::Ended { .. } | Owner::Foreign { .. } => None,
        }
    }
}

/// One lock that somebody waits for.
#[derive(Clone, Debug)]
pub struct Lock {
    /// Of the object; the futex word may lie within it.
    pub address: u64,
    pub kind: LockKind,
    /// `recursive`, `error_checking`, `adaptive`, `robust`, `priority_inheritance`, `process_shared`…
    pub flags: Vec<&'static str>,
    pub place: LockPlace,
    pub owner: Evidence<Owner>,
    /// How many readers hold it, where the lock counts them or a ledger names them. 0: none does.
    pub readers: Option<u32>,
    /// What spoke for the kind: `stack and memory`, `stack`, `call` (the futex operation), `ledger`, `nothing`.
    pub told_by: &'static str,
    /// The object's state in a few words: `held, with waiters`, `3 readers`, `count 0`.
    pub state: String,
    /// In tid order.
    pub waiters: Vec<Tid>,
}

/// How a thread wants a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitMode {
    Exclusive,
    Shared,
    /// For something to be told or to happen: conditions, semaphores, barriers, parked threads.
    Signal,
    /// For a thread to end.
    End,
}

impl WaitMode {
    pub fn name(self) -> &'static str {
        match self {
            WaitMode::Exclusive => "exclusive",
            WaitMode::Shared => "shared",
            WaitMode::Signal => "signal",
            WaitMode::End => "end",
        }
    }
}

/// One thread's wait for one lock.
#[derive(Clone, Debug)]
pub struct LockWait {
    pub tid: Tid,
    /// Its place in [`LockReport::locks`].
    pub lock: usize,
    pub mode: WaitMode,
    /// A time-out was given: it will end by itself.
    pub timed: bool,
    /// The function that waits, as the stack names it: `pthread_mutex_lock`.
    pub function: Option<Arc<str>>,
}

/// One thread of a cycle: it holds what the one before it wants, and wants what the next one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleStep {
    pub tid: Tid,
    /// The lock it holds, a place in [`LockReport::locks`]. For a join: the join at which it is awaited.
    pub holds: usize,
    pub wants: usize,
}

/// Threads that wait for each other in a circle. One step alone waits for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// In cycle order, beginning with the lowest tid.
    pub steps: Vec<CycleStep>,
    /// Seen twice with unchanged switch counts of every thread in it. Only then is it one.
    pub confirmed: bool,
}

/// What the thread at the end of a chain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootDoing {
    OnCpu,
    /// Runnable, or on a CPU: the kernel does not tell them apart from outside.
    Runnable,
    Sleeping,
    DiskSleep,
    InputOutput,
    WaitingForSignal,
    Stopped,
    InCycle,
    /// It waits for a lock whose owner is not known.
    OwnerUnknown,
    Ended,
}

impl RootDoing {
    pub fn name(self) -> &'static str {
        match self {
            RootDoing::OnCpu => "on_cpu",
            RootDoing::Runnable => "runnable",
            RootDoing::Sleeping => "sleeping",
            RootDoing::DiskSleep => "disk_sleep",
            RootDoing::InputOutput => "input_output",
            RootDoing::WaitingForSignal => "waiting_for_signal",
            RootDoing::Stopped => "stopped",
            RootDoing::InCycle => "in_cycle",
            RootDoing::OwnerUnknown => "owner_unknown",
            RootDoing::Ended => "ended",
        }
    }
}

/// One step of a wait chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink {
    pub waiter: Tid,
    pub lock: usize,
    /// `None` at the end of a chain whose last owner is not known.
    pub owner: Option<Tid>,
    pub proof: Option<Proof>,
}

/// From a thread that waits to the one that all of it comes down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub links: Vec<ChainLink>,
    /// `None` when the last lock's owner is not known.
    pub root: Option<Tid>,
    pub root_doing: RootDoing,
    /// How many threads wait behind this root, through this chain or another.
    pub behind_root: u32,
}

/// All lock waits of a process at one moment.
#[derive(Clone, Debug)]
pub struct LockReport {
    /// The stacks that spoke for the kinds: one moment for both.
    pub dump: Arc<Dump>,
    /// Most waiters first.
    pub locks: Vec<Lock>,
    /// In tid order.
    pub waits: Vec<LockWait>,
    pub deadlocks: Vec<Deadlock>,
    /// The longest for each root, most threads behind it first.
    pub chains: Vec<Chain>,
    /// Between the two readings that confirm a deadlock; `None` when nothing needed a second one.
    pub confirmed_after: Option<Nanos>,
}
