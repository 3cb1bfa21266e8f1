//! The threads that run the work: named pools of workers behind one trait.
//!
//! A [`Task`] enters a bounded queue, a worker takes it, runs it with a [`Join`] that forks onto
//! the same pool, and hands the caller a [`Done`] with the task's clock readings. A panic is caught,
//! counted and told; the worker lives on. Workers write what they are at into their ledger slot.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Nanos, PoolStatus, QueuePolicy, Tid};
use crate::workloads::Join;

/// What a pool is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    /// Threads are named `ts-<name>-<n>`, cut to the kernel's 15 bytes from the pool's side.
    pub name: Arc<str>,
    pub kind: PoolKind,
    pub workers: usize,
    pub queue_capacity: usize,
    pub policy: QueuePolicy,
    pub stack_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    Stealing,
    SharedChannel,
}

/// What is told of a task when it ends. Points on `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub enqueued: Nanos,
    pub started: Nanos,
    pub ended: Nanos,
    pub panicked: bool,
}

/// One unit of work. `body` runs on a worker; `then` runs right after it on the same worker, also
/// when the body panicked, and must be short and must not panic.
pub struct Task {
    /// For the ledger: which workload (an interned name, see `ledger`), which task.
    pub workload: u32,
    pub id: u64,
    pub body: Box<dyn FnOnce(&dyn Join) + Send>,
    pub then: Option<Box<dyn FnOnce(Done) + Send>>,
}

/// A task that was not taken, handed back.
pub enum Refused {
    /// The queue is full and the policy is `reject`, or the deadline of a blocking submit passed.
    Full(Task),
    Closed(Task),
}

/// What was left when a pool was drained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Tasks finished between the close and the deadline.
    pub done: u64,
    /// Tasks that were still queued at the deadline and will never run.
    pub abandoned: u64,
    /// Workers that did not come back by the deadline.
    pub stuck: Vec<Tid>,
}

/// A pool of worker threads.
pub trait Pool: Send + Sync {
    /// Puts a task into the queue; when it is full, waits at most `patience` under `block`.
    fn submit(&self, task: Task, patience: Duration) -> Result<(), Refused>;

    /// Changes the number of workers. Surplus workers finish the task in their hands.
    fn resize(&self, workers: usize) -> Result<(), PoolError>;

    /// Takes no more tasks, waits for those inside, at most until `deadline`; then abandons the rest.
    fn drain(&self, deadline: Duration) -> DrainReport;

    fn status(&self) -> PoolStatus;
}

/// Why a pool could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("pool {0} needs at least one worker")]
    NoWorkers(Arc<str>),
    #[error("pool {name} asks for {asked} workers; at most {most} are allowed")]
    TooMany { name: Arc<str>, asked: usize, most: usize },
    #[error("could not start a worker of pool {name}; lower its workers or its stack_size")]
    Spawn { name: Arc<str>, source: std::io::Error },
    #[error("pool {0} is closed")]
    Closed(Arc<str>),
}

/// Makes a pool with exactly `spec.workers` threads, all started when this returns.
pub fn build(spec: PoolSpec) -> Result<Arc<dyn Pool>, PoolError> {
    let _ = spec;
    unimplemented!()
}

/// Now on `CLOCK_MONOTONIC`: the clock that task times are told in.
pub fn now() -> Nanos {
    crate::ledger::now()
}
