//! One process, on request. (signatures; being built)

use std::sync::Arc;
use std::time::Duration;

use super::{Capability, SamplerCost};
use crate::model::{Census, MemoryMap, Pid, ProcessKey, Snapshot, Thread, Tid};

/// Why a process or a thread could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("there is no process {0}; GET /api/v1/processes lists those that can be seen")]
    NoProcess(Pid),
    #[error("process {pid} has no thread {tid}")]
    NoThread { pid: Pid, tid: Tid },
    #[error("process {0} ended while it was being read")]
    Ended(Pid),
    #[error("not allowed to read process {0}; run threadscape as its owner or with CAP_SYS_PTRACE")]
    Denied(Pid),
    #[error("process {0} could not be read within {1:?}")]
    Late(Pid, Duration),
    #[error("the sampler has stopped")]
    Stopped,
    #[error("could not read {path}")]
    Unreadable { path: String, source: std::io::Error },
}

/// While it lives its process is sampled at least at the interval it was asked for.
pub struct Watch(());

/// A close look at one process. Blocking and bounded; clones share everything.
#[derive(Clone)]
pub struct Inspector(Arc<()>);

impl Inspector {
    /// The latest list of all processes; at most one census interval old.
    pub fn census(&self) -> Arc<Census> {
        let _ = &self.0;
        unimplemented!()
    }

    /// Reads the list now and waits for it.
    pub fn fresh_census(&self) -> Arc<Census> {
        unimplemented!()
    }

    /// The key of the process that has this pid now.
    pub fn resolve(&self, pid: Pid) -> Result<ProcessKey, InspectError> {
        let _ = pid;
        unimplemented!()
    }

    /// The latest snapshot. Renews the lease (10 s); a process not yet watched is read at once.
    pub fn snapshot(&self, pid: Pid) -> Result<Arc<Snapshot>, InspectError> {
        let _ = pid;
        unimplemented!()
    }

    /// Keeps `pid` watched at `interval` (100 ms at least) for as long as the guard lives.
    pub fn watch(&self, pid: Pid, interval: Duration) -> Result<Watch, InspectError> {
        let _ = (pid, interval);
        unimplemented!()
    }

    /// One thread with everything, dear fields too, read now; rates are those of the snapshot given back.
    pub fn thread(&self, pid: Pid, tid: Tid) -> Result<(Arc<Snapshot>, Thread), InspectError> {
        let _ = (pid, tid);
        unimplemented!()
    }

    /// All mappings, classified, read now.
    pub fn memory(&self, pid: Pid) -> Result<MemoryMap, InspectError> {
        let _ = pid;
        unimplemented!()
    }

    /// Each evidence source, tried on `pid` or on ourselves.
    pub fn capabilities(&self, pid: Option<Pid>) -> Vec<Capability> {
        let _ = pid;
        unimplemented!()
    }

    /// What sampling has cost so far.
    pub fn cost(&self) -> SamplerCost {
        unimplemented!()
    }
}
