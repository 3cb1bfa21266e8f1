//! A process' mappings, classified into shared and per-thread. (signatures; being built)

use super::InspectError;
use crate::kernel::ProcRoot;
use crate::model::{MemoryMap, Pid};

/// Reads `smaps` (or `maps` where that is denied) and finds each thread's stack.
pub(crate) fn read(root: &ProcRoot, pid: Pid) -> Result<MemoryMap, InspectError> {
    let _ = (root, pid);
    unimplemented!()
}
