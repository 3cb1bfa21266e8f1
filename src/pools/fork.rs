//! Forked halves on their way to another thread.
//!
//! [`Join::both`](crate::workloads::Join::both) lends us two closures that borrow from the caller's
//! stack. To let another worker run the second one we hand out a bare pointer to it, and keep the
//! caller in its frame until that worker is done. All of that argument is in this file: the pool
//! kinds decide only who takes a reference and how the forker waits.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use super::idle::Bed;
use super::latch::Latch;

pub(super) type Payload = Box<dyn Any + Send>;

/// A forked half as both kinds see it: something to call, whose lifetime is kept by hand.
pub(super) struct Half<'a>(*mut (dyn FnMut() + Send + 'a));

impl<'a> Half<'a> {
    pub fn new(body: &'a mut (dyn FnMut() + Send)) -> Half<'a> {
        Half(ptr::from_mut(body))
    }

    /// Runs it and gives back its panic, if any.
    ///
    /// # Safety
    /// The closure must be alive, and this must be its only call.
    pub unsafe fn run(&self) -> Result<(), Payload> {
        // SAFETY: alive by contract; the only call, so the only reference.
        let body = unsafe { &mut *self.0 };
        catch_unwind(AssertUnwindSafe(body))
    }
}

/// The address of a [`Half`] on another thread's stack.
#[derive(Clone, Copy)]
pub(super) struct HalfRef(*const Half<'static>);

// SAFETY: the closure behind it is `Send`; that it is alive and called once is the callers' duty.
unsafe impl Send for HalfRef {}
// SAFETY: a shared reference gives nothing but a copy of the address.
unsafe impl Sync for HalfRef {}

impl HalfRef {
    pub fn to(half: &Half<'_>) -> HalfRef {
        HalfRef(ptr::from_ref(half).cast())
    }

    /// # Safety
    /// As [`Half::run`]; the half must be alive too.
    pub unsafe fn run(self) -> Result<(), Payload> {
        // SAFETY: alive by contract.
        let half = unsafe { &*self.0 };
        // SAFETY: by contract.
        unsafe { half.run() }
    }
}

/// A half with a latch and a place for its panic: what lies in a worker's deque of forks.
pub(super) struct Job<'a> {
    half: Half<'a>,
    panic: UnsafeCell<Option<Payload>>,
    pub latch: Latch<'a>,
}

/// The address of a [`Job`] on the forker's stack. Whoever holds one either gives it back to the
/// forker (who popped it from its own deque) or runs it, once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct JobRef(*const Job<'static>);

// SAFETY: the closure is `Send`, the panic's place is handed over through the latch, and the forker
// keeps the job alive until the latch is set.
unsafe impl Send for JobRef {}

impl<'a> Job<'a> {
    pub fn new(body: &'a mut (dyn FnMut() + Send), forker: &'a Arc<Bed>) -> Job<'a> {
        Job {
            half: Half::new(body),
            panic: UnsafeCell::new(None),
            latch: Latch::new(forker),
        }
    }

    pub fn reference(&self) -> JobRef {
        JobRef(ptr::from_ref(self).cast())
    }

    /// Runs the half in the forker, which has its reference back.
    ///
    /// # Safety
    /// No reference to this job may be with anyone else, and it must not have been run.
    pub unsafe fn run_here(&self) -> Result<(), Payload> {
        // SAFETY: `'a` outlives `self`, so the closure is alive; not run before by contract.
        unsafe { self.half.run() }
    }

    /// The panic of a job that another thread has run.
    pub fn outcome(self) -> Result<(), Payload> {
        debug_assert!(self.latch.is_set());
        self.panic.into_inner().map_or(Ok(()), Err)
    }
}

impl JobRef {
    /// Runs a job of another worker and tells that worker.
    ///
    /// # Safety
    /// The reference was taken out of a deque of forks by this thread, so that nobody else has it.
    pub unsafe fn run(self) {
        // SAFETY: the forker does not leave its frame before the latch is set, at the end of this.
        let half = unsafe { ptr::addr_of!((*self.0).half) };
        // SAFETY: alive as above; this is the only reference, so it is the only call.
        if let Err(payload) = unsafe { HalfRef(half).run() } {
            // SAFETY: alive as above.
            let place = unsafe { ptr::addr_of!((*self.0).panic) };
            // SAFETY: the forker reads it after the latch is set, nobody else has the reference.
            unsafe { *UnsafeCell::raw_get(place) = Some(payload) };
        }
        // SAFETY: alive as above; only the address is taken.
        let latch = unsafe { ptr::addr_of!((*self.0).latch) };
        // SAFETY: alive until set, and set only here. Nothing of the job is touched afterwards.
        unsafe { Latch::set(latch) };
    }
}

/// How much of its stack a worker has used, so that waiting workers can help without overflowing.
pub(super) struct StackRoom {
    base: usize,
    bytes: usize,
}

impl StackRoom {
    /// To be called near the start of the thread.
    pub fn here(stack_bytes: usize) -> StackRoom {
        StackRoom {
            base: stack_pointer(),
            // What std makes of a smaller wish.
            bytes: stack_bytes.max(16 * 1024),
        }
    }

    /// Whether less than half of the stack is in use. Helping nests one foreign job upon a waiting
    /// frame, that job may wait and help in turn: a worker that has used half of its stack stops
    /// helping and only waits.
    pub fn allows_helping(&self) -> bool {
        self.base.abs_diff(stack_pointer()) < self.bytes / 2
    }
}

#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0u8;
    std::hint::black_box(ptr::from_ref(&here)).addr()
}
