//! Reads another process' ledger without stopping it. (signatures; being built)

use crate::kernel::ProcRoot;
use crate::model::{LedgerView, Pid};

/// Why a ledger could not be attached. A process without one is `Ok(None)`.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    #[error(
        "not allowed to look at the descriptors of process {0}; run threadscape as its owner or with CAP_SYS_PTRACE"
    )]
    Denied(Pid),
    #[error("process {0} has ended")]
    Ended(Pid),
    #[error("the ledger of process {pid} has format {found}; this reader knows {known}")]
    Version { pid: Pid, found: u32, known: u32 },
    #[error("the ledger of process {0} is not one: {1}")]
    Garbage(Pid, &'static str),
}

/// A mapped view of one process' ledger.
pub struct Reader(());

impl Reader {
    /// Looks for the ledger among the descriptors of `pid` and maps it read-only.
    pub fn find(root: &ProcRoot, pid: Pid) -> Result<Option<Reader>, ReaderError> {
        let _ = (root, pid);
        unimplemented!()
    }

    /// All slots as they stand; torn or senseless ones are counted, never shown.
    pub fn read(&self) -> LedgerView {
        unimplemented!()
    }
}
