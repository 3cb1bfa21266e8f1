//! A pool of worker threads as it stands now.

use std::sync::Arc;

use super::{Nanos, Tid};

/// What a full queue does to a submitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePolicy {
    Block,
    Reject,
}

/// A distribution, summed up. Times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub count: u64,
    pub mean: Nanos,
    pub p50: Nanos,
    pub p90: Nanos,
    pub p99: Nanos,
    pub max: Nanos,
}

/// One worker thread.
#[derive(Clone, Debug)]
pub struct WorkerStatus {
    pub tid: Tid,
    pub name: Arc<str>,
    pub done: u64,
    pub stolen: u64,
    pub parked: bool,
    /// The workload of the task in its hands.
    pub task: Option<Arc<str>>,
}

/// One pool. Counts are totals since the pool was made; they keep the identity
/// `submitted = done + panicked + rejected + queued + active + abandoned`.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    pub name: Arc<str>,
    /// `stealing` or `shared-channel`.
    pub kind: &'static str,
    pub size: u32,
    pub active: u32,
    pub queue_depth: u64,
    pub queue_capacity: u64,
    pub policy: QueuePolicy,
    pub submitted: u64,
    pub done: u64,
    pub panicked: u64,
    pub rejected: u64,
    pub abandoned: u64,
    pub queue_wait: Spread,
    pub service: Spread,
    pub workers: Vec<WorkerStatus>,
}
