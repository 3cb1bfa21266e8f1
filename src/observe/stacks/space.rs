//! Which file is mapped where in a process, and what was read of those files.
//!
//! Files are read, never mapped: one that is cut while we look would kill us by SIGBUS.

use std::sync::Arc;

use crate::kernel::ProcRoot;
use crate::model::{Evidence, Pid, Unknown};

/// What is kept of modules for all threads and processes, bounded in bytes; least recently used go first.
#[derive(Debug, Default)]
pub(in crate::observe) struct ModuleCache {}

/// One file of code as it was read: the same for every process that maps it.
#[derive(Debug)]
pub(in crate::observe) struct Module {
    /// As the process' `maps` name it, or `[vdso]`.
    pub name: Arc<str>,
    pub build_id: Option<Vec<u8>>,
    /// `.eh_frame` and `.eh_frame_hdr` with the addresses that the file gives them.
    pub eh_frame: Option<Section>,
    pub eh_frame_hdr: Option<Section>,
    /// `.debug_frame`, for code without the above.
    pub debug_frame: Option<Section>,
    pub text: Option<(u64, u64)>,
    pub got: Option<(u64, u64)>,
}

/// A section's bytes, and the range of addresses that the file gives it.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Section {
    pub start: u64,
    pub bytes: Arc<[u8]>,
}

/// One mapping.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Mapped {
    pub start: u64,
    pub end: u64,
    pub executable: bool,
    pub writable: bool,
    pub shared: bool,
    /// The path or the kernel's bracketed name; empty for anonymous memory.
    pub name: Arc<str>,
    /// Of mappings of ELF files. What the file says is `address - bias`.
    pub module: Evidence<Arc<Module>>,
    pub bias: u64,
}

/// All mappings of one process at one moment, in address order.
#[derive(Clone, Debug)]
pub(in crate::observe) struct AddressSpace {
    pub mappings: Vec<Mapped>,
}

impl AddressSpace {
    pub fn read(_root: &ProcRoot, _pid: Pid, _modules: &ModuleCache) -> Evidence<AddressSpace> {
        Err(Unknown::NotAsked)
    }

    /// The mapping that holds an address.
    pub fn find(&self, address: u64) -> Option<&Mapped> {
        let at = self.mappings.partition_point(|mapped| mapped.end <= address);
        self.mappings.get(at).filter(|mapped| mapped.start <= address)
    }
}
