//! Which mapping is a thread's stack: told by its stack pointer and the guard below. (signatures; being built)

use crate::kernel::ProcRoot;
use crate::model::{Evidence, Pid, StackUse};

/// The mappings of one process in address order, read once for all of its threads.
pub(crate) struct StackMap(());

impl StackMap {
    /// Reads `maps`: cheaper than `smaps` by far, but still dear; do it when stack pointers leave known stacks.
    pub(crate) fn read(root: &ProcRoot, pid: Pid) -> Evidence<StackMap> {
        let _ = (root, pid);
        unimplemented!()
    }

    /// The stack that holds `stack_pointer`: bounds, guard, and how deep it is used. Resident is `NotAsked`.
    pub(crate) fn find(&self, stack_pointer: u64) -> Evidence<StackUse> {
        let _ = stack_pointer;
        unimplemented!()
    }
}
