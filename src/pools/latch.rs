//! Tells the thread that forked a job that another thread has finished it.
//!
//! The latch lives on the forker's stack and is gone the moment the forker sees it set: [`Latch::set`]
//! takes what it needs before it sets and touches nothing of the latch afterwards.
//!
//! | state | set by | meaning |
//! |---|---|---|
//! | `OPEN` | the forker | not finished; the forker is awake and will look again |
//! | `WATCHED` | the forker, before it sleeps | not finished; whoever finishes must call the forker's bed |
//! | `SET` | the thief, once | finished; its results are visible to whoever reads this |

use super::idle::Bed;
use super::sync::{Arc, AtomicUsize, Ordering};

const OPEN: usize = 0;
const WATCHED: usize = 1;
const SET: usize = 2;

/// Set once by the thief, watched by the forker, whose bed it names.
pub struct Latch<'a> {
    state: AtomicUsize,
    forker: &'a Arc<Bed>,
}

impl<'a> Latch<'a> {
    pub fn new(forker: &'a Arc<Bed>) -> Latch<'a> {
        Latch {
            state: AtomicUsize::new(OPEN),
            forker,
        }
    }

    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the swap in `set`, so the job's results are visible.
        self.state.load(Ordering::Acquire) == SET
    }

    /// The forker means to sleep. False when the latch is set already.
    pub fn watch(&self) -> bool {
        self.state
            .compare_exchange(OPEN, WATCHED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The forker is awake again. False when the latch has been set meanwhile.
    pub fn unwatch(&self) -> bool {
        self.state
            .compare_exchange(WATCHED, OPEN, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Sets the latch and calls the forker if it sleeps.
    ///
    /// # Safety
    /// `this` must point to a live latch that has not been set. It may be gone when this returns.
    pub unsafe fn set(this: *const Latch<'a>) {
        // SAFETY: the latch lives until it is set, which is below; the bed is borrowed for longer
        // than the latch lives, and our own count keeps it for the call after that.
        let forker = Arc::clone(unsafe { (*this).forker });
        // SAFETY: as above. This is the last access: the forker may leave its frame right after.
        let before = unsafe { (*this).state.swap(SET, Ordering::AcqRel) };
        if before == WATCHED {
            forker.call();
        }
    }
}
