//! The `stealing` kind: a shared injector, and two deques for each worker.
//!
//! Tasks come in through the injector, first in first out. A worker takes a batch into its own deque
//! of tasks, from where idle workers steal half. Forked jobs lie in a second deque: their owner
//! takes the newest (deepest, smallest, warm in its cache), thieves the oldest (largest).
//!
//! A worker that waits for a stolen half helps meanwhile, but **only with forked jobs**: they belong
//! to tasks already begun, so helping shortens somebody's service time. A new task taken then would
//! sit on top of the waiting one, and hold up its answer for as long as that whole task runs.
//! For the same reason an idle worker looks for forked jobs before it begins a new task.
//!
//! Two sets of sleepers: `idle` workers have empty hands and take anything; `helpers` wait for a
//! stolen half and take forked jobs only. A submit calls the first, a fork the second, then the first.
//!
//! A worker that runs a stolen half between tasks has no task in its hands: it is not `active`, and
//! the time belongs to the service time of the task that forked.
//!
//! **Waiting cannot deadlock.** A worker waits only for a half that another worker has begun. If
//! each of a ring of waiting workers held the half of the one before below its own top frame, each
//! top frame would have begun after the half below it, that half after the frame that forked it, and
//! so on round the ring: every frame younger than itself.

use std::cell::{Cell, OnceCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crossbeam::deque::{Injector, Steal, Stealer, Worker};
use crossbeam::utils::Backoff;

use super::crew::{Crew, Kind, Queued, Seat};
use super::fork::{Job, JobRef, StackRoom};
use super::idle::{Bed, Idle};
use super::latch::Latch;
use super::tally::Desk;
use crate::model::Nanos;
use crate::workloads::{Join, Sequential};

/// What the workers of one pool share.
pub(super) struct Stealing {
    injector: Injector<Queued>,
    idle: Idle,
    helpers: Idle,
}

pub(super) struct Tools {
    tasks: Worker<Queued>,
    forks: Worker<JobRef>,
}

pub(super) struct Reach {
    tasks: Stealer<Queued>,
    forks: Stealer<JobRef>,
}

/// A worker's own end.
pub(super) struct Hand {
    crew: Arc<Crew<Stealing>>,
    number: usize,
    desk: Arc<Desk<Reach>>,
    tasks: Worker<Queued>,
    forks: Worker<JobRef>,
    bed: Arc<Bed>,
    stack: StackRoom,
    /// Whom to ask first, so that thieves do not all try the same victim.
    first_victim: Cell<usize>,
}

thread_local! {
    /// Set once by a worker's thread: how `Join` finds the deque of whoever calls it, since a forked
    /// half carries the `Join` of the worker that forked it.
    static HAND: OnceCell<Rc<Hand>> = const { OnceCell::new() };
}

enum Found {
    Task(Queued),
    Fork(JobRef),
}

impl Stealing {
    pub fn new() -> Stealing {
        Stealing {
            injector: Injector::new(),
            idle: Idle::new(),
            helpers: Idle::new(),
        }
    }
}

impl Kind for Stealing {
    const NAME: &'static str = "stealing";
    type Tools = Tools;
    type Reach = Reach;
    type Hand = Hand;

    fn tools(&self) -> (Tools, Reach) {
        let (tasks, forks) = (Worker::new_fifo(), Worker::new_lifo());
        let reach = Reach {
            tasks: tasks.stealer(),
            forks: forks.stealer(),
        };
        (Tools { tasks, forks }, reach)
    }

    fn seat(crew: &Arc<Crew<Self>>, seat: Seat<Self>, tools: Tools) -> Rc<Hand> {
        let hand = Rc::new(Hand {
            crew: Arc::clone(crew),
            number: seat.number,
            desk: seat.desk,
            tasks: tools.tasks,
            forks: tools.forks,
            bed: Bed::mine(),
            stack: StackRoom::here(crew.stack_bytes),
            first_victim: Cell::new(seat.number + 1),
        });
        HAND.with(|own| {
            let _ = own.set(Rc::clone(&hand));
        });
        hand
    }

    fn push(crew: &Crew<Self>, queued: Queued) {
        crew.kind.injector.push(queued);
        crew.kind.idle.work_arrived();
    }

    fn next(crew: &Crew<Self>, hand: &Hand, last_end: &mut Option<Nanos>) -> Option<Queued> {
        // The usual case by far, apart from the rest: a task is 64 bytes, and each move of it counts.
        if !crew.dismisses(hand.number) {
            let next = hand.tasks.pop();
            if next.is_some() {
                return next;
            }
        }
        let idle = &crew.kind.idle;
        let backoff = Backoff::new();
        let mut searching = false;
        loop {
            if crew.dismisses(hand.number) {
                if searching {
                    idle.found(|| any_work(crew));
                }
                return None;
            }
            if let Some(found) = hand.find(crew, searching) {
                if searching {
                    idle.found(|| any_work(crew));
                    searching = false;
                }
                match found {
                    Found::Task(queued) => return Some(queued),
                    // SAFETY: just stolen from another worker's deque of forks.
                    Found::Fork(job) => unsafe { job.run() },
                }
                *last_end = None;
                backoff.reset();
                continue;
            }
            *last_end = None;
            if !searching {
                searching = idle.search(crew.width());
                if searching {
                    continue;
                }
            } else if !backoff.is_completed() {
                backoff.snooze();
                continue;
            }
            idle.lie_down(&hand.bed, searching);
            if !any_work(crew) && !crew.dismisses(hand.number) {
                hand.desk.parks(true);
                hand.bed.sleep();
                hand.desk.parks(false);
            }
            idle.get_up(&hand.bed);
            searching = true;
            backoff.reset();
        }
    }

    fn give_back(crew: &Crew<Self>, hand: &Hand) {
        while let Some(queued) = hand.tasks.pop() {
            Self::push(crew, queued);
        }
    }

    fn take_any(crew: &Crew<Self>) -> Option<Queued> {
        let roster = crew.roster();
        loop {
            let mut again = false;
            let own = std::iter::once_with(|| crew.kind.injector.steal());
            for attempt in own.chain(roster.iter().map(|desk| desk.reach.tasks.steal())) {
                match attempt {
                    Steal::Success(queued) => return Some(queued),
                    Steal::Retry => again = true,
                    Steal::Empty => {}
                }
            }
            if !again {
                return None;
            }
        }
    }

    fn wake_all(crew: &Crew<Self>) {
        crew.kind.idle.wake_all();
    }
}

/// Whether there is anything that a worker with empty hands could take.
fn any_work(crew: &Crew<Stealing>) -> bool {
    !crew.kind.injector.is_empty()
        || crew
            .roster()
            .iter()
            .any(|desk| !desk.reach.tasks.is_empty() || !desk.reach.forks.is_empty())
}

fn any_fork(crew: &Crew<Stealing>) -> bool {
    crew.roster().iter().any(|desk| !desk.reach.forks.is_empty())
}

impl Hand {
    fn find(&self, crew: &Crew<Stealing>, searching: bool) -> Option<Found> {
        if let Some(queued) = self.tasks.pop() {
            return Some(Found::Task(queued));
        }
        if let Some(job) = self.steal_fork(crew) {
            return Some(Found::Fork(job));
        }
        let queued = retry(|| crew.kind.injector.steal_batch_and_pop(&self.tasks)).or_else(|| {
            let stolen = self.ask_others(crew, |reach| reach.tasks.steal_batch_and_pop(&self.tasks));
            stolen.inspect(|_| self.desk.tally.steals())
        })?;
        // On its way from there to here the rest of the batch was to be seen nowhere: a worker that
        // looked just then has gone to sleep. A searcher does this when it stops searching.
        if !searching && !self.tasks.is_empty() {
            crew.kind.idle.work_arrived();
        }
        Some(Found::Task(queued))
    }

    fn steal_fork(&self, crew: &Crew<Stealing>) -> Option<JobRef> {
        let job = self.ask_others(crew, |reach| {
            // Most often there is none, and `steal` is dearer than a look.
            if reach.forks.is_empty() {
                Steal::Empty
            } else {
                reach.forks.steal()
            }
        })?;
        self.desk.tally.steals();
        Some(job)
    }

    /// Asks every other worker, beginning with whoever had something last time.
    fn ask_others<T>(&self, crew: &Crew<Stealing>, take: impl Fn(&Reach) -> Steal<T>) -> Option<T> {
        let roster = crew.roster();
        let count = roster.len();
        let first = self.first_victim.get();
        for step in 0..count {
            let victim = (first + step) % count;
            if victim == self.number {
                continue;
            }
            if let Some(taken) = retry(|| take(&roster[victim].reach)) {
                self.first_victim.set(victim);
                return Some(taken);
            }
        }
        None
    }

    /// Runs `a` here, and `b` here or elsewhere.
    fn fork(&self, crew: &Crew<Stealing>, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        let job = Job::new(b, &self.bed);
        // From here to the end nothing may unwind: `job` is on our stack, and others may have it.
        self.forks.push(job.reference());
        if !crew.kind.helpers.work_arrived() {
            crew.kind.idle.wake_one();
        }
        let from_a = catch_unwind(AssertUnwindSafe(a));
        let from_b = loop {
            match self.forks.pop() {
                Some(own) if own == job.reference() => {
                    if from_a.is_err() {
                        break Ok(());
                    }
                    // SAFETY: popped from our own deque, so nobody else has it or had it.
                    break unsafe { job.run_here() };
                }
                // Not reached: what was pushed upon our job has been popped or stolen before `a` or
                // a job that we helped with returned. It would still be right to run it.
                // SAFETY: just popped, so nobody else has it.
                Some(other) => unsafe { other.run() },
                None => {
                    self.wait(crew, &job.latch);
                    break job.outcome();
                }
            }
        };
        // Both have ended. Where both panicked, the first one's is told.
        if let Err(payload) = from_a.and(from_b) {
            resume_unwind(payload);
        }
    }

    /// Waits for a stolen half, and helps with others meanwhile.
    fn wait(&self, crew: &Crew<Stealing>, latch: &Latch<'_>) {
        let helpers = &crew.kind.helpers;
        let helps = self.stack.allows_helping();
        let backoff = Backoff::new();
        let mut searching = false;
        while !latch.is_set() {
            if helps && let Some(job) = self.steal_fork(crew) {
                if searching {
                    helpers.found(|| any_fork(crew));
                    searching = false;
                }
                // SAFETY: just stolen from another worker's deque of forks.
                unsafe { job.run() };
                backoff.reset();
                continue;
            }
            if !backoff.is_completed() {
                backoff.snooze();
                continue;
            }
            if helps {
                helpers.lie_down(&self.bed, searching);
            }
            if latch.watch() {
                // Not told as `parks`: it has a task in its hands.
                if !(helps && any_fork(crew)) {
                    self.bed.sleep();
                }
                latch.unwatch();
            }
            if helps {
                helpers.get_up(&self.bed);
                searching = true;
            }
            backoff.reset();
        }
        if searching {
            helpers.found(|| any_fork(crew));
        }
    }
}

/// `Retry` means that someone else got hold of it first: there may be more. A few times, since a
/// searcher comes back anyway.
fn retry<T>(mut take: impl FnMut() -> Steal<T>) -> Option<T> {
    for _ in 0..8 {
        match take() {
            Steal::Success(taken) => return Some(taken),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
    None
}

impl Join for Crew<Stealing> {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        HAND.with(|own| match own.get() {
            // Alone, there is nobody to fork for.
            Some(hand) if std::ptr::eq(Arc::as_ptr(&hand.crew), self) && self.width() > 1 => hand.fork(self, a, b),
            _ => Sequential.both(a, b),
        });
    }

    fn width(&self) -> usize {
        Crew::width(self)
    }
}
