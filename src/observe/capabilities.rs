//! Each evidence source, tried: works or not, why not, and the fix. (signatures; being built)

use crate::kernel::ProcRoot;
use crate::model::{Pid, Unknown};

/// What came of trying one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Capability {
    /// `stat`, `schedstat`, `syscall`, `wchan`, `smaps`, `ledger`…
    pub source: &'static str,
    /// What it gives, in a few words.
    pub gives: &'static str,
    /// `None`: it works.
    pub unknown: Option<Unknown>,
}

/// Tries every source on `pid`, or on ourselves.
pub(crate) fn probe(root: &ProcRoot, pid: Option<Pid>) -> Vec<Capability> {
    let _ = (root, pid);
    unimplemented!()
}
