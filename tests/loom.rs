//! The lock-free protocols of the pools under loom: every interleaving within the bound.
//!
//! The files under test are compiled here a second time, with loom's models in place of the standard
//! library's types: they name nothing but their neighbour `sync`. A lost wake-up shows as a model in
//! which every thread sleeps; loom calls it a deadlock. Runs in plain `cargo test`, in seconds.

// What the models do not use is used by the pools.
#![allow(dead_code)]

#[path = "../src/pools/idle.rs"]
mod idle;
#[path = "../src/pools/latch.rs"]
mod latch;

/// The neighbour that `idle.rs` and `latch.rs` ask for everything.
mod sync {
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    pub use loom::thread::{Thread, current, park};

    /// loom's mutex with parking_lot's manners.
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

use idle::{Bed, Idle};
use latch::Latch;
use loom::cell::UnsafeCell;
use loom::thread;
use sync::{Arc, AtomicUsize, Ordering};

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A queue of indistinguishable tasks, as weak as a real one: only its own counters are ordered.
struct Queue {
    tasks: AtomicUsize,
    /// What a worker has taken for later, as its deque: others may take it from there.
    shelf: AtomicUsize,
    idle: Idle,
}

impl Queue {
    fn new() -> Arc<Queue> {
        Arc::new(Queue {
            tasks: AtomicUsize::new(0),
            shelf: AtomicUsize::new(0),
            idle: Idle::new(),
        })
    }

    fn push(&self) {
        self.tasks.fetch_add(1, Ordering::Release);
        self.idle.work_arrived();
    }

    fn is_empty(&self) -> bool {
        self.tasks.load(Ordering::Acquire) == 0 && self.shelf.load(Ordering::Acquire) == 0
    }

    fn take(&self) -> bool {
        [&self.tasks, &self.shelf].into_iter().any(take_one)
    }

    /// What `stealing::find` does for a worker that is not searching: takes all, keeps one in its
    /// hands, and announces the rest once it lies where others can see it.
    fn take_batch(&self) {
        let taken = self.tasks.swap(0, Ordering::AcqRel);
        if taken > 1 {
            self.shelf.store(taken - 1, Ordering::Release);
            self.idle.work_arrived();
        }
    }

    /// The loop of `stealing::next`, without its spinning: a searcher that finds nothing lies down.
    fn next(&self, bed: &Arc<Bed>, workers: usize, dismissed: &AtomicUsize) -> bool {
        let mut searching = false;
        loop {
            if dismissed.load(Ordering::Relaxed) > 0 {
                if searching {
                    self.idle.found(|| !self.is_empty());
                }
                return false;
            }
            if self.take() {
                if searching {
                    self.idle.found(|| !self.is_empty());
                }
                return true;
            }
            if !searching {
                searching = self.idle.search(workers);
                if searching {
                    continue;
                }
            }
            self.idle.lie_down(bed, searching);
            if self.is_empty() && dismissed.load(Ordering::Relaxed) == 0 {
                bed.sleep();
            }
            self.idle.get_up(bed);
            searching = true;
        }
    }
}

fn take_one(from: &AtomicUsize) -> bool {
    let mut tasks = from.load(Ordering::Acquire);
    while tasks > 0 {
        match from.compare_exchange(tasks, tasks - 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return true,
            Err(now) => tasks = now,
        }
    }
    false
}

#[test]
fn a_push_wakes_a_worker_that_is_about_to_sleep() {
    check(3, || {
        let queue = Queue::new();
        let worker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let (bed, stays) = (Bed::mine(), AtomicUsize::new(0));
                assert!(queue.next(&bed, 1, &stays));
                assert!(queue.next(&bed, 1, &stays));
            })
        };
        queue.push();
        queue.push();
        worker.join().unwrap();
    });
}

/// Two workers take one task each, and neither returns before both are taken: the first must have
/// passed the duty on.
#[test]
fn two_tasks_that_need_each_other_get_two_workers() {
    check(2, || {
        let queue = Queue::new();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let (bed, stays) = (Bed::mine(), AtomicUsize::new(0));
                    // Ending without another turn is as good as a task that never ends.
                    assert!(queue.next(&bed, 2, &stays));
                })
            })
            .collect();
        queue.push();
        queue.push();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// Tasks on their way from the queue to a worker's shelf are seen nowhere. The worker then keeps its
/// first one for ever; the other must still be found.
#[test]
fn a_batch_in_transit_is_announced_when_it_has_arrived() {
    check(3, || {
        let queue = Queue::new();
        queue.tasks.store(2, Ordering::Release);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let (bed, stays) = (Bed::mine(), AtomicUsize::new(0));
                assert!(queue.next(&bed, 2, &stays));
            })
        };
        queue.take_batch();
        other.join().unwrap();
    });
}

#[test]
fn a_dismissal_reaches_every_sleeper() {
    check(2, || {
        let queue = Queue::new();
        let dismissed = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, dismissed) = (Arc::clone(&queue), Arc::clone(&dismissed));
                thread::spawn(move || {
                    let bed = Bed::mine();
                    assert!(!queue.next(&bed, 2, &dismissed));
                })
            })
            .collect();
        dismissed.store(1, Ordering::Relaxed);
        queue.idle.wake_all();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// A forker that waits as `stealing::wait` does, while a thief sets the latch and a third thread
/// wakes helpers. Results must be visible, and no bed may be slept in for ever.
#[test]
fn a_forker_sees_the_result_and_never_oversleeps() {
    check(3, || {
        let helpers = Arc::new(Idle::new());
        let (publish, published) = loom::sync::mpsc::channel();
        let forker = {
            let helpers = Arc::clone(&helpers);
            thread::spawn(move || fork_and_wait(&helpers, &publish))
        };
        let thief = thread::spawn(move || {
            let (result, latch): (Arc<UnsafeCell<u32>>, usize) = published.recv().unwrap();
            // SAFETY: nobody reads before the latch is set; loom checks exactly that.
            result.with_mut(|place| unsafe { *place = 42 });
            let latch = std::ptr::with_exposed_provenance(latch);
            // SAFETY: the latch lives until it is set, and is set only here.
            unsafe { Latch::set(latch) };
        });
        helpers.work_arrived();
        forker.join().unwrap();
        thief.join().unwrap();
    });
}

/// Bare pointers, as in `fork.rs`: the forker frees latch and bed as soon as it sees the latch set.
fn fork_and_wait(helpers: &Idle, publish: &loom::sync::mpsc::Sender<(Arc<UnsafeCell<u32>>, usize)>) {
    let result = Arc::new(UnsafeCell::new(0));
    let bed: *mut Arc<Bed> = Box::into_raw(Box::new(Bed::mine()));
    // SAFETY: freed below, after the last use of `ours`.
    let ours: &'static Arc<Bed> = unsafe { &*bed };
    let latch = Box::into_raw(Box::new(Latch::new(ours)));
    publish.send((Arc::clone(&result), latch.expose_provenance())).unwrap();
    // SAFETY: freed below, after the last use of `watched`.
    let watched = unsafe { &*latch };
    let mut searching = false;
    while !watched.is_set() {
        helpers.lie_down(ours, searching);
        if watched.watch() {
            ours.sleep();
            watched.unwatch();
        }
        helpers.get_up(ours);
        searching = true;
    }
    if searching {
        helpers.found(|| false);
    }
    // SAFETY: the latch is set, so the thief has written and is done.
    assert_eq!(result.with(|place| unsafe { *place }), 42);
    // SAFETY: made by `Box::into_raw` above; set, so the thief is done with it.
    drop(unsafe { Box::from_raw(latch) });
    // SAFETY: as above; the thief has its own count of what is inside.
    drop(unsafe { Box::from_raw(bed) });
}
