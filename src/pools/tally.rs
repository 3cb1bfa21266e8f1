//! What is counted, and where: each worker writes its own, readers add up.
//!
//! A [`Tally`] belongs to a worker's number and outlives the thread: counts are never lost when a
//! pool shrinks, and whoever sums them needs no lock. A [`Desk`] belongs to one thread that has sat
//! at this number: its tid, its task now, and the way its pool kind reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::histogram::Histogram;
use super::names;
use crate::ledger;
use crate::model::{Nanos, Tid, WorkerStatus};

/// Counts of one worker number. One writer at a time: the next thread with this number is started
/// after the last one was joined.
pub(super) struct Tally {
    counts: CachePadded<Counts>,
    pub queue_wait: Histogram,
    pub service: Histogram,
}

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    done: AtomicU64,
    panicked: AtomicU64,
    stolen: AtomicU64,
}

/// One reading of a tally, consistent in itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub done: u64,
    pub panicked: u64,
    /// 1 while a task is in hand.
    pub active: u64,
}

impl Tally {
    pub fn new() -> Tally {
        Tally {
            counts: CachePadded::default(),
            queue_wait: Histogram::new(),
            service: Histogram::new(),
        }
    }

    /// A task has left the queue.
    fn takes(&self) {
        let taken = self.counts.taken.load(Ordering::Relaxed) + 1;
        // SeqCst: with the gate's count of waiting submitters; see `Gate::enter`. A swap, since on
        // x86-64 that is a store and a fence in one.
        self.counts.taken.swap(taken, Ordering::SeqCst);
    }

    /// The task in hand has ended.
    fn finishes(&self, panicked: bool) {
        let counter = if panicked {
            &self.counts.panicked
        } else {
            &self.counts.done
        };
        // Release: who sees the count sees what the task did.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    pub fn steals(&self) {
        let stolen = &self.counts.stolen;
        stolen.store(stolen.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub fn taken(&self) -> u64 {
        self.counts.taken.load(Ordering::SeqCst)
    }

    pub fn finished(&self) -> u64 {
        self.counts.done.load(Ordering::Acquire) + self.counts.panicked.load(Ordering::Acquire)
    }

    pub fn stolen(&self) -> u64 {
        self.counts.stolen.load(Ordering::Relaxed)
    }

    /// `taken` may have moved on by many tasks since `done` was read. There is one worker, so just
    /// after that reading it held no task or one: that is what we report.
    pub fn read(&self) -> Counted {
        let done = self.counts.done.load(Ordering::Acquire);
        let panicked = self.counts.panicked.load(Ordering::Acquire);
        let active = u64::from(self.taken() > done + panicked);
        Counted { done, panicked, active }
    }
}

/// One thread at work. `R` is what the pool's kind lets others do to this worker.
pub(super) struct Desk<R> {
    pub tally: Arc<Tally>,
    pub name: Arc<str>,
    pub reach: R,
    /// 0 before the thread runs and after it has left.
    tid: AtomicU32,
    parked: AtomicBool,
    /// The workload of the task in hand; 0 for none.
    workload: AtomicU32,
    done_before: u64,
    stolen_before: u64,
}

impl<R> Desk<R> {
    pub fn new(tally: Arc<Tally>, name: Arc<str>, reach: R) -> Desk<R> {
        let (done_before, stolen_before) = (tally.finished(), tally.stolen());
        Desk {
            tally,
            name,
            reach,
            tid: AtomicU32::new(0),
            parked: AtomicBool::new(false),
            workload: AtomicU32::new(0),
            done_before,
            stolen_before,
        }
    }

    pub fn seats(&self, tid: Tid) {
        self.tid.store(tid.0, Ordering::Release);
    }

    pub fn leaves(&self) {
        self.tid.store(0, Ordering::Release);
    }

    pub fn tid(&self) -> Option<Tid> {
        Some(Tid(self.tid.load(Ordering::Acquire))).filter(|tid| tid.0 != 0)
    }

    pub fn begins(&self, workload: u32, id: u64, started: Nanos) {
        self.tally.takes();
        self.workload.store(workload, Ordering::Relaxed);
        ledger::tasks::begins(names::for_ledger(workload), id, started);
    }

    pub fn ends(&self, queue_wait: Nanos, service: Nanos, panicked: bool) {
        ledger::tasks::ends(queue_wait, service);
        self.workload.store(0, Ordering::Relaxed);
        self.tally.queue_wait.record(queue_wait);
        self.tally.service.record(service);
        self.tally.finishes(panicked);
    }

    /// Around a sleep.
    pub fn parks(&self, parked: bool) {
        self.parked.store(parked, Ordering::Relaxed);
        ledger::tasks::parks(parked);
    }

    /// `None` when the thread has left.
    pub fn status(&self) -> Option<WorkerStatus> {
        let tid = self.tid()?;
        let workload = self.workload.load(Ordering::Relaxed);
        Some(WorkerStatus {
            tid,
            name: Arc::clone(&self.name),
            done: self.tally.finished().saturating_sub(self.done_before),
            stolen: self.tally.stolen().saturating_sub(self.stolen_before),
            parked: self.parked.load(Ordering::Relaxed),
            task: names::workload_name(workload),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_holds_at_most_one_task_in_hand() {
        let tally = Tally::new();
        assert_eq!(tally.read(), Counted::default());
        tally.takes();
        assert_eq!(tally.read().active, 1);
        tally.finishes(true);
        tally.takes();
        let expected = Counted {
            done: 0,
            panicked: 1,
            active: 1,
        };
        assert_eq!(tally.read(), expected);
    }

    #[test]
    fn the_next_thread_at_a_number_starts_from_nought() {
        let tally = Arc::new(Tally::new());
        let desk = |tally: &Arc<Tally>| Desk::new(Arc::clone(tally), "ts-a-0".into(), ());
        let first = desk(&tally);
        assert!(first.status().is_none());
        first.seats(Tid(7));
        first.begins(0, 1, Nanos(5));
        first.ends(Nanos(1), Nanos(2), false);
        assert_eq!(first.status().unwrap().done, 1);
        first.leaves();
        let second = desk(&tally);
        second.seats(Tid(8));
        assert_eq!(second.status().unwrap().done, 0);
        assert_eq!(tally.read().done, 1);
    }
}
