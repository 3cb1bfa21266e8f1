//! The people side of a pool: hiring, dismissing, counting, closing time. The same for all kinds.
//!
//! A [`Kind`] says how tasks travel to workers and how idle workers wait. Everything else is here:
//! numbers 0 to `wanted - 1` have a thread each; a worker whose number is not wanted any more
//! finishes the task in its hands, gives back what it had taken from the queue, and leaves; if it is
//! wanted again before it has left, it simply stays. `drain` closes the gate, waits, abandons what
//! is left at the deadline and names who did not come back. Every wait here has a deadline.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use crossbeam::channel::{self, Sender};
use crossbeam::utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use super::gate::{Entry, Gate};
use super::histogram::Merged;
use super::tally::{Desk, Tally};
use super::{Done, DrainReport, Pool, PoolError, PoolSpec, Refused, Task};
use crate::ledger;
use crate::model::{Nanos, PoolStatus, QueuePolicy, Tid};
use crate::workloads::Join;

/// More threads than this in one pool is taken for a slip of the pen.
pub(super) const MOST_WORKERS: usize = 4096;

/// How long a worker without a task in its hands may take to leave after the deadline.
const LEAVING: Duration = Duration::from_millis(250);
/// How long dropping a pool that was not drained waits for tasks in hand; then threads are detached.
const DROPPING: Duration = Duration::from_secs(1);
/// A drain looks this often. Workers do not call it: the hot path pays nothing for drains.
const LOOK: Duration = Duration::from_millis(2);
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A task in the queue.
pub(super) struct Queued {
    pub task: Task,
    pub enqueued: Nanos,
}

/// How tasks travel and how idle workers wait.
pub(super) trait Kind: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    /// What a worker brings to its thread.
    type Tools: Send;
    /// What others may do to a worker.
    type Reach: Send + Sync;
    /// The worker's own end, on its thread.
    type Hand;

    fn tools(&self) -> (Self::Tools, Self::Reach);
    /// On the worker's own thread: makes its end, and makes it known to [`Join`].
    fn seat(crew: &Arc<Crew<Self>>, seat: Seat<Self>, tools: Self::Tools) -> Rc<Self::Hand>;
    fn push(crew: &Crew<Self>, queued: Queued);
    /// The next task, waited for. `None` when this worker is dismissed. Forked jobs are run inside.
    /// `last_end` is when the last task ended; it is cleared unless the next one was there at once.
    fn next(crew: &Crew<Self>, hand: &Self::Hand, last_end: &mut Option<Nanos>) -> Option<Queued>;
    /// A dismissed worker gives back tasks that it had taken for later.
    fn give_back(crew: &Crew<Self>, hand: &Self::Hand);
    /// Takes a task out from anywhere, to be abandoned.
    fn take_any(crew: &Crew<Self>) -> Option<Queued>;
    /// Fewer workers are wanted: sleepers must look.
    fn wake_all(crew: &Crew<Self>);
}

/// The desks of a crew, by number.
pub(super) type Roster<K> = Vec<Arc<Desk<<K as Kind>::Reach>>>;

/// A worker's number and desk.
pub(super) struct Seat<K: Kind> {
    pub number: usize,
    pub desk: Arc<Desk<K::Reach>>,
}

/// One pool.
pub(super) struct Crew<K: Kind> {
    pub kind: K,
    name: Arc<str>,
    /// The pool's name in the ledger.
    ledger_name: u32,
    policy: QueuePolicy,
    pub stack_bytes: usize,
    gate: Gate,
    wanted: CachePadded<AtomicUsize>,
    /// By number. A number keeps its place, and its tally, when its thread has left.
    roster: ArcSwap<Roster<K>>,
    threads: Mutex<Vec<Option<JoinHandle<()>>>>,
    /// A worker has left; with `threads`.
    somebody_left: Condvar,
    rejected: AtomicU64,
    abandoned: AtomicU64,
}

thread_local! {
    /// Which crew this thread works for (its address) and under which number.
    static EMPLOYER: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

impl<K: Kind> Crew<K>
where
    Crew<K>: Join,
{
    fn new(spec: &PoolSpec, kind: K) -> Crew<K> {
        Crew {
            kind,
            name: Arc::clone(&spec.name),
            ledger_name: ledger::intern(&spec.name),
            policy: spec.policy,
            stack_bytes: spec.stack_bytes,
            gate: Gate::new(spec.queue_capacity as u64),
            wanted: CachePadded::new(AtomicUsize::new(0)),
            roster: ArcSwap::from_pointee(Vec::new()),
            threads: Mutex::new(Vec::new()),
            somebody_left: Condvar::new(),
            rejected: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        }
    }

    /// Starts and dismisses threads until `workers` are wanted and those are there.
    fn staff(self: &Arc<Self>, workers: usize) -> Result<(), PoolError> {
        if workers == 0 {
            return Err(PoolError::NoWorkers(Arc::clone(&self.name)));
        }
        if workers > MOST_WORKERS {
            return Err(PoolError::TooMany {
                name: Arc::clone(&self.name),
                asked: workers,
                most: MOST_WORKERS,
            });
        }
        let mut threads = self.threads.lock();
        // Under the lock: a drain dismisses everybody under it, after it has closed the gate.
        if self.gate.is_closed() {
            return Err(PoolError::Closed(Arc::clone(&self.name)));
        }
        // First of all: a surplus worker that has not left yet finds that it is wanted again.
        let before = self.wanted.swap(workers, Ordering::SeqCst);
        let (started, starts) = channel::unbounded();
        let mut refused = None;
        for number in 0..workers {
            if self.roster.load().get(number).is_some_and(|desk| desk.tid().is_some()) {
                continue;
            }
            if let Err(source) = self.hire(&mut threads, number, &started) {
                // All or nothing: those that did start are dismissed again.
                self.wanted.store(before, Ordering::SeqCst);
                refused = Some(PoolError::Spawn {
                    name: Arc::clone(&self.name),
                    source,
                });
                break;
            }
        }
        drop(started);
        // Ends when each new thread has said that it runs: a started thread has nothing to wait for.
        starts.iter().for_each(drop);
        drop(threads);
        K::wake_all(self);
        refused.map_or(Ok(()), Err)
    }

    fn hire(
        self: &Arc<Self>,
        threads: &mut Vec<Option<JoinHandle<()>>>,
        number: usize,
        started: &Sender<()>,
    ) -> std::io::Result<()> {
        if threads.len() <= number {
            threads.resize_with(number + 1, || None);
        }
        // The last thread with this number has left its desk and is about to end. Waiting for that
        // keeps the count of threads exact, names unique and tallies single-writer.
        if let Some(last) = threads[number].take() {
            let _ = last.join();
        }
        let mut roster = Vec::clone(&self.roster.load());
        let tally = match roster.get(number) {
            Some(desk) => Arc::clone(&desk.tally),
            None => Arc::new(Tally::new()),
        };
        let name: Arc<str> = thread_name(&self.name, number).into();
        let (tools, reach) = self.kind.tools();
        let desk = Arc::new(Desk::new(tally, Arc::clone(&name), reach));
        let seat = Seat {
            number,
            desk: Arc::clone(&desk),
        };
        let (crew, started) = (Arc::clone(self), started.clone());
        if number < roster.len() {
            roster[number] = desk;
        } else {
            roster.push(desk);
        }
        self.roster.store(Arc::new(roster));
        let thread = thread::Builder::new()
            .name(name.to_string())
            .stack_size(self.stack_bytes)
            .spawn(move || crew.live(seat, tools, started))?;
        threads[number] = Some(thread);
        Ok(())
    }

    /// A worker's life.
    fn live(self: Arc<Self>, seat: Seat<K>, tools: K::Tools, started: Sender<()>) {
        let (number, desk) = (seat.number, Arc::clone(&seat.desk));
        EMPLOYER.set(Some((Arc::as_ptr(&self) as usize, number)));
        ledger::tasks::joins_pool(self.ledger_name);
        let hand = K::seat(&self, seat, tools);
        desk.seats(Tid(rustix::thread::gettid().as_raw_nonzero().get() as u32));
        let _ = started.send(());
        drop(started);
        loop {
            let mut last_end = None;
            while let Some(queued) = K::next(&self, &hand, &mut last_end) {
                last_end = Some(self.perform(&desk, queued, last_end));
            }
            K::give_back(&self, &hand);
            if self.may_leave(number, &desk) {
                return;
            }
        }
    }

    /// Under the lock, so that `staff` either still counts on this worker or sees it gone.
    fn may_leave(&self, number: usize, desk: &Desk<K::Reach>) -> bool {
        let _threads = self.threads.lock();
        let leaves = self.dismisses(number);
        if leaves {
            desk.leaves();
            self.somebody_left.notify_all();
        }
        leaves
    }

    /// Runs one task from its taking to its `then`.
    fn perform(&self, desk: &Desk<K::Reach>, queued: Queued, last_end: Option<Nanos>) -> Nanos {
        let Queued { task, enqueued } = queued;
        let Task {
            workload,
            id,
            body,
            then,
        } = task;
        // A clock reading is a sixth of what a task may cost us, so the last one is used again. It
        // may be older than the task itself.
        let started = last_end.unwrap_or_else(super::now).max(enqueued);
        desk.begins(workload, id, started);
        self.gate.made_room();
        let heap = ledger::tasks::marks_heap();
        let outcome = catch_unwind(AssertUnwindSafe(|| body(self)));
        let heap_peak = ledger::tasks::heap_peak(heap);
        let ended = super::now();
        let panicked = outcome.is_err();
        desk.ends(
            started.saturating_sub(enqueued),
            ended.saturating_sub(started),
            panicked,
        );
        if let Err(payload) = outcome {
            drop_quietly(payload);
        }
        if let Some(then) = then {
            let done = Done {
                enqueued,
                started,
                ended,
                panicked,
                heap_peak,
            };
            // It must not panic. If it does, the default hook has said so, and the worker lives on.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| then(done))) {
                drop_quietly(payload);
            }
        }
        ended
    }

    fn finished(&self) -> u64 {
        self.roster.load().iter().map(|desk| desk.tally.finished()).sum()
    }

    /// Tasks that have left the queue, or fewer.
    fn left_queue(&self) -> u64 {
        let taken: u64 = self.roster.load().iter().map(|desk| desk.tally.taken()).sum();
        taken + self.abandoned.load(Ordering::SeqCst)
    }

    /// The number of the calling thread, if it works here.
    fn own_number(&self) -> Option<usize> {
        let (crew, number) = EMPLOYER.get()?;
        (crew == std::ptr::from_ref(self) as usize).then_some(number)
    }

    /// Takes what is queued and drops it. A submitter may be between the gate and the queue: it is
    /// waited for, but not for long.
    fn abandon_queue(&self) {
        for _ in 0..50 {
            while let Some(queued) = K::take_any(self) {
                self.abandoned.fetch_add(1, Ordering::SeqCst);
                drop_quietly(queued);
            }
            if self.left_queue() >= self.gate.admitted() {
                return;
            }
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn close_and_wait(&self, deadline: Duration, leaving: Duration) -> DrainReport {
        let until = Instant::now() + deadline.min(FOREVER);
        let finished_before = self.finished();
        let abandoned_before = self.abandoned.load(Ordering::SeqCst);
        self.gate.close();
        let own = self.own_number();
        // A task that drains its own pool is not waited for: it waits for us.
        let own_task = own.map_or(0, |number| self.roster.load()[number].tally.read().active);
        while self.finished() + self.abandoned.load(Ordering::SeqCst) + own_task < self.gate.admitted() {
            let now = Instant::now();
            if now >= until {
                break;
            }
            thread::sleep(LOOK.min(until - now));
        }

        {
            // Under the lock: `staff` has either seen the gate closed, or stored its number before.
            let _threads = self.threads.lock();
            self.wanted.store(0, Ordering::SeqCst);
        }
        K::wake_all(self);
        // Not under the lock: this drops strangers' closures.
        self.abandon_queue();
        let mut threads = self.threads.lock();
        // Whoever holds a task at the deadline is stuck. The others only have to find the door.
        let until_left = Instant::now().max(until) + leaving;
        let stuck = loop {
            let roster = self.roster.load();
            let inside: Vec<(usize, Tid, bool)> = roster
                .iter()
                .enumerate()
                .filter_map(|(number, desk)| Some((number, desk.tid()?, desk.tally.read().active > 0)))
                .collect();
            let now = Instant::now();
            let waits_for = |&(number, _, busy): &(usize, Tid, bool)| Some(number) != own && (!busy || now < until);
            if now >= until_left || !inside.iter().any(waits_for) {
                break inside.into_iter().map(|(_, tid, _)| tid).collect::<Vec<_>>();
            }
            // Timed: that a task has ended is told to nobody, only that a worker has left.
            self.somebody_left.wait_for(&mut threads, LOOK);
        };
        let roster = self.roster.load();
        for (number, thread) in threads.iter_mut().enumerate() {
            if roster[number].tid().is_none()
                && let Some(left) = thread.take()
            {
                let _ = left.join();
            }
        }
        drop(threads);
        // What the leaving workers gave back.
        self.abandon_queue();
        DrainReport {
            done: self.finished() - finished_before,
            abandoned: self.abandoned.load(Ordering::SeqCst) - abandoned_before,
            stuck,
        }
    }

    fn status(&self) -> PoolStatus {
        let roster = self.roster.load();
        let (mut done, mut panicked, mut active) = (0, 0, 0);
        let (mut queue_wait, mut service) = (Merged::new(), Merged::new());
        for desk in roster.iter() {
            let counted = desk.tally.read();
            done += counted.done;
            panicked += counted.panicked;
            active += counted.active;
            queue_wait.add(&desk.tally.queue_wait);
            service.add(&desk.tally.service);
        }
        // Read last, so it is never behind the others. Tasks that passed through since then must not
        // make the queue look longer than it can be.
        let abandoned = self.abandoned.load(Ordering::SeqCst);
        let rejected = self.rejected.load(Ordering::Relaxed);
        let left = done + panicked + active + abandoned;
        let queued = self.gate.admitted().saturating_sub(left).min(self.gate.capacity());
        PoolStatus {
            name: Arc::clone(&self.name),
            kind: K::NAME,
            size: self.wanted.load(Ordering::Relaxed) as u32,
            active: active as u32,
            queue_depth: queued,
            queue_capacity: self.gate.capacity(),
            policy: self.policy,
            submitted: left + queued + rejected,
            done,
            panicked,
            rejected,
            abandoned,
            queue_wait: queue_wait.spread(),
            service: service.spread(),
            workers: roster.iter().filter_map(|desk| desk.status()).collect(),
        }
    }
}

impl<K: Kind> Crew<K> {
    /// Whether the worker with this number should leave.
    pub fn dismisses(&self, number: usize) -> bool {
        // Relaxed: `wake_all` comes after the store and goes through a lock or a channel.
        number >= self.wanted.load(Ordering::Relaxed)
    }

    pub fn width(&self) -> usize {
        self.wanted.load(Ordering::Relaxed).max(1)
    }

    pub fn roster(&self) -> Guard<Arc<Roster<K>>> {
        self.roster.load()
    }
}

/// Drops what may be a stranger's value with a `Drop` that panics.
fn drop_quietly<T>(value: T) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // A payload whose own drop panics is the end of our patience: leaked.
        std::mem::forget(again);
    }
}

/// `ts-<pool>-<n>`, the pool's part cut so that all fits the kernel's 15 bytes. A zero byte cannot
/// be part of a thread's name.
fn thread_name(pool: &str, number: usize) -> String {
    let number = number.to_string();
    let mut room = 15 - "ts--".len() - number.len();
    room = room.min(pool.len());
    while !pool.is_char_boundary(room) {
        room -= 1;
    }
    format!("ts-{}-{number}", pool[..room].replace('\0', "?"))
}

/// The pool as its owner holds it. Dropping it ends the threads.
pub(super) struct Owner<K: Kind>(Arc<Crew<K>>)
where
    Crew<K>: Join;

impl<K: Kind> Owner<K>
where
    Crew<K>: Join,
{
    pub fn hire(spec: &PoolSpec, kind: K) -> Result<Arc<dyn Pool>, PoolError> {
        let owner = Owner(Arc::new(Crew::new(spec, kind)));
        // On failure the owner is dropped, and with it the threads that did start.
        owner.0.staff(spec.workers)?;
        Ok(Arc::new(owner))
    }
}

impl<K: Kind> Pool for Owner<K>
where
    Crew<K>: Join,
{
    fn submit(&self, task: Task, patience: Duration) -> Result<(), Refused> {
        let crew = &*self.0;
        let patience = match crew.policy {
            QueuePolicy::Block => patience,
            QueuePolicy::Reject => Duration::ZERO,
        };
        let entry = crew.gate.enter(patience, &|| crew.left_queue());
        let refused = match entry {
            Entry::Admitted => {
                let enqueued = super::now();
                K::push(crew, Queued { task, enqueued });
                return Ok(());
            }
            Entry::Full => Refused::Full(task),
            Entry::Closed => Refused::Closed(task),
        };
        crew.rejected.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    fn resize(&self, workers: usize) -> Result<(), PoolError> {
        self.0.staff(workers)
    }

    fn drain(&self, deadline: Duration) -> DrainReport {
        self.0.close_and_wait(deadline, LEAVING)
    }

    fn status(&self) -> PoolStatus {
        self.0.status()
    }
}

impl<K: Kind> Drop for Owner<K>
where
    Crew<K>: Join,
{
    fn drop(&mut self) {
        // The queue is abandoned at once; tasks in hand get a moment. Threads that take longer are
        // left to themselves and end after their task. A worker that drops its own pool (it held
        // the last handle) does not wait for its colleagues: one of them may do the same.
        self.0.gate.close();
        self.0.abandon_queue();
        let patience = if self.0.own_number().is_some() {
            Duration::ZERO
        } else {
            DROPPING
        };
        self.0.close_and_wait(patience, patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_name_fits_the_kernel_and_keeps_its_number() {
        for (pool, number, expected) in [
            ("io", 0, "ts-io-0"),
            ("a-rather-long-name", 7, "ts-a-rather-l-7"),
            ("a-rather-long-name", 4095, "ts-a-rathe-4095"),
            ("äöüäöü", 12, "ts-äöüä-12"),
            ("\0", 1, "ts-?-1"),
            ("", 1, "ts--1"),
        ] {
            let name = thread_name(pool, number);
            assert_eq!(name, expected);
            assert!(name.len() <= 15);
        }
    }
}
