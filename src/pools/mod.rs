//! The threads that run the work: named pools of workers behind one trait.
//!
//! A [`Task`] enters a bounded queue, a worker takes it, runs it with a [`Join`] that forks onto
//! the same pool, and hands the caller a [`Done`] with the task's clock readings. A panic is caught,
//! counted and told; the worker lives on. Workers write what they are at into their ledger slot.
//!
//! Two kinds, a file each ([`stealing`], [`shared_channel`]), stand on the same parts: [`gate`] bounds
//! the queue, [`crew`] hires, dismisses and drains, [`fork`] carries forked halves, [`idle`] says who
//! sleeps and who is woken, [`tally`] and [`histogram`] count. Forked halves are not tasks: they
//! take no room in the queue and are not counted as done.
//!
//! Left out on purpose: priorities (the order is first in, first out, as far as stealing allows),
//! and pinning (the scheduler's choices are what we observe). A panic in a task prints through the
//! process' panic hook like any other; the hook is not ours to change.

mod crew;
mod fork;
mod gate;
mod histogram;
mod idle;
mod latch;
mod names;
mod shared_channel;
mod stealing;
mod sync;
mod tally;

pub use names::workload_id;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crew::Owner;
use shared_channel::SharedChannel;
use stealing::Stealing;

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
    /// The most heap the worker had in use at once for it, in bytes: pieces that other workers took
    /// over are not in it. `None` where the process counts no heap.
    pub heap_peak: Option<u64>,
}

/// What a task does. It may fork through the [`Join`].
pub type Body = Box<dyn FnOnce(&dyn Join) + Send>;

/// What is called when a task has ended.
pub type Then = Box<dyn FnOnce(Done) + Send>;

/// One unit of work. `body` runs on a worker; `then` runs right after it on the same worker, also
/// when the body panicked, and must be short and must not panic. The task is counted as done before
/// `then` runs. A task that is abandoned is dropped, both closures with it, and neither is called:
/// what must happen in any case belongs into the `Drop` of something that `then` owns.
pub struct Task {
    /// Which workload (a number from [`workload_id`]), which task: for the ledger and the status.
    pub workload: u32,
    pub id: u64,
    pub body: Body,
    pub then: Option<Then>,
}

/// A task that was not taken, handed back. Both count as `rejected`.
pub enum Refused {
    /// The queue is full and the policy is `reject`, or the deadline of a blocking submit passed.
    Full(Task),
    Closed(Task),
}

impl Refused {
    pub fn into_task(self) -> Task {
        match self {
            Refused::Full(task) | Refused::Closed(task) => task,
        }
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, task) = match self {
            Refused::Full(task) => ("Full", task),
            Refused::Closed(task) => ("Closed", task),
        };
        write!(f, "{why}(task {})", task.id)
    }
}

/// What was left when a pool was drained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Tasks finished between the close and the deadline.
    pub done: u64,
    /// Tasks that were still queued at the deadline and will never run.
    pub abandoned: u64,
    /// Workers that did not come back by the deadline. They end when their task does.
    pub stuck: Vec<Tid>,
}

/// A pool of worker threads.
pub trait Pool: Send + Sync {
    /// Puts a task into the queue; when it is full, waits at most `patience` under `block`.
    fn submit(&self, task: Task, patience: Duration) -> Result<(), Refused>;

    /// Changes the number of workers. New ones run when this returns; surplus ones finish the task
    /// in their hands, which is not waited for. May be called from a task of this pool.
    fn resize(&self, workers: usize) -> Result<(), PoolError>;

    /// Takes no more tasks, waits for those inside, at most until `deadline`; then abandons the rest
    /// and ends the threads. A task that drains its own pool is not waited for and is reported as
    /// stuck.
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
    #[error("pool {0} needs room for at least one task in its queue")]
    NoQueue(Arc<str>),
    #[error("pool {0} is closed")]
    Closed(Arc<str>),
}

/// Makes a pool with exactly `spec.workers` threads, all started when this returns. Dropping the
/// last handle of a pool that was not drained abandons its queue and ends its threads; a thread
/// whose task runs on for more than a second is left to end by itself.
pub fn build(spec: PoolSpec) -> Result<Arc<dyn Pool>, PoolError> {
    if spec.queue_capacity == 0 {
        return Err(PoolError::NoQueue(spec.name));
    }
    match spec.kind {
        PoolKind::Stealing => Owner::hire(&spec, Stealing::new()),
        PoolKind::SharedChannel => Owner::hire(&spec, SharedChannel::new(spec.queue_capacity)),
    }
}

/// Now on `CLOCK_MONOTONIC`: the clock that task times are told in.
pub fn now() -> Nanos {
    crate::ledger::now()
}

#[cfg(test)]
mod tests;
