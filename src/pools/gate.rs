//! Who may enter the queue: the bound, the wait for room, and the closing time.
//!
//! `admitted` counts every task that was let in; the workers count, each for itself, the tasks they
//! took out. Their difference is the queue's depth, so submitters and workers never write the same
//! cache line. A submitter remembers how many had left when somebody last looked (`left_floor`), and
//! sums the workers' counts again only when the queue seems full by that old number: the bound
//! holds exactly, at the price of one word for most submits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::{Backoff, CachePadded};
use parking_lot::{Condvar, Mutex};

/// In the top bit of `admitted`, so that closing and admitting cannot miss each other.
const CLOSED: u64 = 1 << 63;

/// The longest wait that a deadline can be made of.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Admitted,
    Full,
    Closed,
}

pub(super) struct Gate {
    capacity: u64,
    admitted: CachePadded<AtomicU64>,
    left_floor: AtomicU64,
    /// Submitters that sleep and have not been called. Changed under the lock only.
    waiting: CachePadded<AtomicUsize>,
    lock: Mutex<()>,
    room: Condvar,
}

impl Gate {
    pub fn new(capacity: u64) -> Gate {
        Gate {
            capacity,
            admitted: CachePadded::new(AtomicU64::new(0)),
            left_floor: AtomicU64::new(0),
            waiting: CachePadded::new(AtomicUsize::new(0)),
            lock: Mutex::new(()),
            room: Condvar::new(),
        }
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Tasks ever admitted.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::SeqCst) & !CLOSED
    }

    /// Admits one task if there is room. `left` says how many tasks have left the queue, or a
    /// smaller number.
    pub fn try_enter(&self, left: &dyn Fn() -> u64) -> Entry {
        let mut admitted = self.admitted.load(Ordering::Relaxed);
        let mut looked = false;
        loop {
            if admitted & CLOSED != 0 {
                return Entry::Closed;
            }
            // Relaxed: any value it ever had is a true lower bound.
            let floor = self.left_floor.load(Ordering::Relaxed);
            if admitted.saturating_sub(floor) >= self.capacity {
                if looked {
                    return Entry::Full;
                }
                looked = true;
                self.left_floor.fetch_max(left(), Ordering::Relaxed);
                continue;
            }
            // AcqRel: a drain that reads the count afterwards knows of this task.
            match self
                .admitted
                .compare_exchange_weak(admitted, admitted + 1, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Entry::Admitted,
                Err(now) => {
                    admitted = now;
                    looked = false;
                }
            }
        }
    }

    /// As [`Gate::try_enter`], but waits for room at most `patience`.
    pub fn enter(&self, patience: Duration, left: &dyn Fn() -> u64) -> Entry {
        let at_once = self.try_enter(left);
        if at_once != Entry::Full || patience.is_zero() {
            return at_once;
        }
        let deadline = Instant::now() + patience.min(FOREVER);
        // A little patience first: workers that are quick make room for many in this time, where a
        // sleeper would be woken for the first of them, fill it, and sleep again.
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            backoff.snooze();
            match self.try_enter(left) {
                Entry::Full => {}
                other => return other,
            }
        }
        let mut guard = self.lock.lock();
        loop {
            // SeqCst, with the workers' SeqCst count of tasks taken: either our look below sees the
            // room that a worker made, or that worker sees us waiting.
            self.waiting.fetch_add(1, Ordering::SeqCst);
            match self.try_enter(left) {
                Entry::Full => {}
                other => {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    return other;
                }
            }
            if self.room.wait_until(&mut guard, deadline).timed_out() {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                return self.try_enter(left);
            }
            // Whoever called us has counted us off.
        }
    }

    /// A worker has taken a task out and counted it (`SeqCst`): lets one waiting submitter look.
    pub fn made_room(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.let_one_look();
        }
    }

    #[cold]
    fn let_one_look(&self) {
        // The lock: a submitter between its look and its wait holds it, so the call is not lost.
        let _guard = self.lock.lock();
        // Counted off at once: until it has looked, other workers need not call it again. One whose
        // patience has just ended is not called, and counts itself off.
        if self.room.notify_one() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Admits no more.
    pub fn close(&self) {
        self.admitted.fetch_or(CLOSED, Ordering::SeqCst);
        let _guard = self.lock.lock();
        let called = self.room.notify_all();
        self.waiting.fetch_sub(called, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.admitted.load(Ordering::SeqCst) & CLOSED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_exactly_and_room_is_seen() {
        let gate = Gate::new(3);
        let left = AtomicU64::new(0);
        let count = || left.load(Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(gate.try_enter(&count), Entry::Admitted);
        }
        assert_eq!(gate.try_enter(&count), Entry::Full);
        left.store(2, Ordering::SeqCst);
        assert_eq!(gate.try_enter(&count), Entry::Admitted);
        assert_eq!(gate.try_enter(&count), Entry::Admitted);
        assert_eq!(gate.try_enter(&count), Entry::Full);
        assert_eq!(gate.admitted(), 5);
    }

    #[test]
    fn a_closed_gate_says_so_even_when_full() {
        let gate = Gate::new(1);
        assert_eq!(gate.try_enter(&|| 0), Entry::Admitted);
        gate.close();
        gate.close();
        assert_eq!(gate.enter(Duration::from_secs(60), &|| 0), Entry::Closed);
        assert_eq!(gate.admitted(), 1);
    }

    #[test]
    fn a_waiting_submitter_gets_the_room_that_is_made() {
        let gate = Gate::new(1);
        let left = AtomicU64::new(0);
        let count = || left.load(Ordering::SeqCst);
        assert_eq!(gate.try_enter(&count), Entry::Admitted);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.enter(Duration::from_secs(60), &count));
            left.store(1, Ordering::SeqCst);
            gate.made_room();
            assert_eq!(waiter.join().unwrap(), Entry::Admitted);
        });
    }

    #[test]
    fn many_submitters_never_pass_the_bound() {
        let gate = Gate::new(7);
        let left = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let entry = gate.enter(Duration::from_secs(60), &|| left.load(Ordering::SeqCst));
                        assert_eq!(entry, Entry::Admitted);
                        // Leaving can only lag behind entering, so this may under-count the depth.
                        let gone = left.load(Ordering::SeqCst);
                        assert!(gate.admitted() >= gone);
                        left.fetch_add(1, Ordering::SeqCst);
                        gate.made_room();
                    }
                });
            }
        });
        assert_eq!(gate.admitted(), 8000);
    }
}
