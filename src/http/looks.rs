//! What the routes ask of `observe` and `history`, as traits, so that a test can stand in for a
//! machine: the handles themselves are the only ones outside tests.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::history::{self, Columns, HistoryError, Query};
use crate::model::{
    Census, Dump, Evidence, Finding, LockReport, MemoryMap, Pid, ProcessDetails, ProcessKey, Snapshot, Tid,
};
use crate::observe::{Capability, InspectError, Inspector, SamplerCost, StackOptions, ThreadLook};

/// While it lives its process is watched at the interval that was asked for.
pub type Guard = Box<dyn Any + Send + Sync>;

/// A close look at processes. Blocking and bounded.
pub trait Looks: Send + Sync {
    fn census(&self) -> Arc<Census>;
    fn fresh_census(&self) -> Arc<Census>;
    fn resolve(&self, pid: Pid) -> Result<ProcessKey, InspectError>;
    fn snapshot(&self, pid: Pid) -> Result<Arc<Snapshot>, InspectError>;
    fn watch(&self, pid: Pid, interval: Duration) -> Result<Guard, InspectError>;
    fn closely(&self, pid: Pid, tid: Tid) -> Result<ThreadLook, InspectError>;
    fn process_details(&self, key: ProcessKey) -> ProcessDetails;
    fn memory(&self, pid: Pid) -> Result<MemoryMap, InspectError>;
    fn stacks(&self, pid: Pid, options: &StackOptions) -> Result<Dump, InspectError>;
    fn locks(&self, pid: Pid, options: &StackOptions) -> Result<LockReport, InspectError>;
    fn findings(&self, pid: Pid) -> Result<Vec<Finding>, InspectError>;
    fn all_findings(&self) -> Vec<Finding>;
    fn capabilities(&self, pid: Option<Pid>) -> Vec<Capability>;
    fn cost(&self) -> SamplerCost;
}

impl Looks for Inspector {
    fn census(&self) -> Arc<Census> {
        Inspector::census(self)
    }

    fn fresh_census(&self) -> Arc<Census> {
        Inspector::fresh_census(self)
    }

    fn resolve(&self, pid: Pid) -> Result<ProcessKey, InspectError> {
        Inspector::resolve(self, pid)
    }

    fn snapshot(&self, pid: Pid) -> Result<Arc<Snapshot>, InspectError> {
        Inspector::snapshot(self, pid)
    }

    fn watch(&self, pid: Pid, interval: Duration) -> Result<Guard, InspectError> {
        Ok(Box::new(Inspector::watch(self, pid, interval)?))
    }

    fn closely(&self, pid: Pid, tid: Tid) -> Result<ThreadLook, InspectError> {
        Inspector::closely(self, pid, tid)
    }

    fn process_details(&self, key: ProcessKey) -> ProcessDetails {
        Inspector::process_details(self, key)
    }

    fn memory(&self, pid: Pid) -> Result<MemoryMap, InspectError> {
        Inspector::memory(self, pid)
    }

    fn stacks(&self, pid: Pid, options: &StackOptions) -> Result<Dump, InspectError> {
        Inspector::stacks(self, pid, options)
    }

    fn locks(&self, pid: Pid, options: &StackOptions) -> Result<LockReport, InspectError> {
        Inspector::locks(self, pid, options)
    }

    fn findings(&self, pid: Pid) -> Result<Vec<Finding>, InspectError> {
        Inspector::findings(self, pid)
    }

    fn all_findings(&self) -> Vec<Finding> {
        Inspector::all_findings(self)
    }

    fn capabilities(&self, pid: Option<Pid>) -> Vec<Capability> {
        Inspector::capabilities(self, pid)
    }

    fn cost(&self) -> SamplerCost {
        Inspector::cost(self)
    }
}

/// What is kept over time.
pub trait Past: Send + Sync {
    fn query(&self, query: &Query) -> Result<Columns, HistoryError>;
    fn sparklines(&self, process: ProcessKey, threads: &[Tid], points: usize) -> Vec<Vec<Evidence<f32>>>;
    fn memory_bytes(&self) -> usize;
}

impl Past for history::Reader {
    fn query(&self, query: &Query) -> Result<Columns, HistoryError> {
        history::Reader::query(self, query)
    }

    fn sparklines(&self, process: ProcessKey, threads: &[Tid], points: usize) -> Vec<Vec<Evidence<f32>>> {
        history::Reader::sparklines(self, process, threads, points)
    }

    fn memory_bytes(&self) -> usize {
        history::Reader::memory_bytes(self)
    }
}
