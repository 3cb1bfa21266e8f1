//! The memory of one process: what its threads share and what is each thread's own.

use std::sync::Arc;

use super::{Evidence, Nanos, ProcessKey, StackUse, Tid};

/// Sizes in bytes, as `smaps` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
    /// Resident, each page divided by how many processes map it (Pss).
    pub proportional_bytes: u64,
    /// Resident and mapped by this process only.
    pub private_bytes: u64,
}

impl Sizes {
    pub fn plus(self, other: Sizes) -> Sizes {
        Sizes {
            virtual_bytes: self.virtual_bytes + other.virtual_bytes,
            resident_bytes: self.resident_bytes + other.resident_bytes,
            proportional_bytes: self.proportional_bytes + other.proportional_bytes,
            private_bytes: self.private_bytes + other.private_bytes,
        }
    }
}

/// What a mapping is for. All but `Stack` and `Guard` are shared by the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RegionKind {
    /// brk heap and anonymous mappings.
    Heap,
    /// Executable file mappings and their read-only data.
    Code,
    /// Writable private file mappings and their zero-filled tails (.data, .bss).
    Globals,
    /// Other mappings of files.
    MappedFile,
    /// Shared anonymous memory, memfd, System V and POSIX shared memory.
    SharedMemory,
    /// vdso, vvar, vsyscall.
    Kernel,
    /// One thread's stack; `owner` says whose.
    Stack,
    /// The inaccessible page below a stack.
    Guard,
    /// What fits nowhere else.
    Other,
}

impl RegionKind {
    pub fn name(self) -> &'static str {
        match self {
            RegionKind::Heap => "heap",
            RegionKind::Code => "code",
            RegionKind::Globals => "globals",
            RegionKind::MappedFile => "mapped_file",
            RegionKind::SharedMemory => "shared_memory",
            RegionKind::Kernel => "kernel",
            RegionKind::Stack => "stack",
            RegionKind::Guard => "guard",
            RegionKind::Other => "other",
        }
    }
}

/// One mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub start: u64,
    pub end: u64,
    pub kind: RegionKind,
    /// `rwxp` as the kernel prints it.
    pub permissions: [u8; 4],
    /// The path or the kernel's bracketed name; empty for anonymous memory.
    pub name: Arc<str>,
    /// The thread whose stack or guard this is.
    pub owner: Option<Tid>,
    /// How the owner was found: the kernel's name or the threads library's control block (`exact`),
    /// a thread's stack pointer in it (`stack_pointer`), or its shape (`guess`).
    pub found_by: Option<&'static str>,
    pub sizes: Sizes,
}

/// One thread and its stack, where that was found, with resident bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadStack {
    pub tid: Tid,
    pub name: Arc<str>,
    pub stack: Evidence<StackUse>,
    /// In the words of [`Region::found_by`]; `None` where there is no stack. Threads may share a
    /// mapping: then each knows its own bounds, and the mapping has no owner.
    pub found_by: Option<&'static str>,
}

/// The kernel's own totals, to hold the sums against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTotals {
    /// `smaps_rollup`.
    pub rollup: Evidence<Sizes>,
    /// `statm`: size and resident, bytes.
    pub statm_virtual_bytes: u64,
    pub statm_resident_bytes: u64,
}

/// A limit of `setrlimit`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    Bytes(u64),
    Unlimited,
}

/// How much a process has had at most, and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Most resident memory since the program was started (`VmHWM`).
    pub peak_resident_bytes: Evidence<u64>,
    /// `RLIMIT_DATA`, soft: brk and private writable mappings.
    pub data_limit: Evidence<MemoryLimit>,
    /// `RLIMIT_AS`, soft: everything that is mapped.
    pub address_space_limit: Evidence<MemoryLimit>,
}

/// All mappings of a process at one moment, classified.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    pub process: ProcessKey,
    pub taken_at: Nanos,
    pub regions: Vec<Region>,
    /// One for each thread, by tid.
    pub stacks: Vec<ThreadStack>,
    pub totals: MemoryTotals,
    pub bounds: MemoryBounds,
    /// False when `smaps` was denied or cut: then only virtual sizes are known.
    pub resident_known: Evidence<()>,
}

impl MemoryMap {
    /// The sum over all regions of these kinds.
    pub fn sum(&self, kinds: &[RegionKind]) -> Sizes {
        self.total_of(|region| kinds.contains(&region.kind))
    }

    /// The sum over all regions.
    pub fn total(&self) -> Sizes {
        self.total_of(|_| true)
    }

    fn total_of(&self, is_meant: impl Fn(&Region) -> bool) -> Sizes {
        self.regions
            .iter()
            .filter(|region| is_meant(region))
            .fold(Sizes::default(), |sum, region| sum.plus(region.sizes))
    }
}
