//! One thread's slot: who may write which word when, and how a reader tells a whole copy from a torn one.
//!
//! `mod.rs` has the state table. Nothing here knows of processes, mappings or thread-locals: this
//! file is also compiled under loom (`tests/loom_ledger.rs`), which tries every interleaving.
//!
//! The seqlock follows H.-J. Boehm, "Can seqlocks get along with programming language memory
//! models?" (MSPC 2012): all payload words are atomics, read and written relaxed, and two fences
//! keep them between the readings of the sequence. There is no data race, so there is no undefined
//! behaviour, whatever the interleaving.

use super::sync::{AtomicU64, Ordering, fence, spin_loop};

/// The word that says who holds the slot and what it is at: tid in bits 0..32, pool name in 32..46,
/// workload name in 46..60, then the three flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(pub u64);

impl Owner {
    /// Names have 14 bits here; the name table is far smaller.
    pub const NAME_LIMIT: u32 = 1 << 14;
    const POOL_SHIFT: u32 = 32;
    const WORKLOAD_SHIFT: u32 = 46;
    const NAME_MASK: u64 = Self::NAME_LIMIT as u64 - 1;
    /// It has joined a pool.
    const WORKER: u64 = 1 << 60;
    /// It has a task in hand: task id, workload and start mean something.
    const BUSY: u64 = 1 << 61;
    /// It sleeps for want of work.
    const PARKED: u64 = 1 << 62;

    pub fn new(tid: u32) -> Owner {
        Owner(u64::from(tid))
    }

    /// 0: the slot is free.
    pub fn tid(self) -> u32 {
        self.0 as u32
    }

    pub fn pool(self) -> u32 {
        (self.0 >> Self::POOL_SHIFT & Self::NAME_MASK) as u32
    }

    pub fn workload(self) -> u32 {
        (self.0 >> Self::WORKLOAD_SHIFT & Self::NAME_MASK) as u32
    }

    pub fn is_worker(self) -> bool {
        self.0 & Self::WORKER != 0
    }

    pub fn is_busy(self) -> bool {
        self.0 & Self::BUSY != 0
    }

    pub fn is_parked(self) -> bool {
        self.0 & Self::PARKED != 0
    }

    pub fn joined(self, pool: u32) -> Owner {
        let cleared = self.0 & !(Self::NAME_MASK << Self::POOL_SHIFT);
        Owner(cleared | (u64::from(pool) & Self::NAME_MASK) << Self::POOL_SHIFT | Self::WORKER)
    }

    /// In hand: `workload`. A thread with a task in hand is not parked.
    pub fn begun(self, workload: u32) -> Owner {
        let cleared = self.0 & !(Self::NAME_MASK << Self::WORKLOAD_SHIFT | Self::PARKED);
        Owner(cleared | (u64::from(workload) & Self::NAME_MASK) << Self::WORKLOAD_SHIFT | Self::BUSY)
    }

    pub fn ended(self) -> Owner {
        Owner(self.0 & !(Self::NAME_MASK << Self::WORKLOAD_SHIFT | Self::BUSY))
    }

    pub fn parked(self, parked: bool) -> Owner {
        Owner(if parked {
            self.0 | Self::PARKED
        } else {
            self.0 & !Self::PARKED
        })
    }
}

/// Everything countable in a slot, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub done: u64,
    pub queue_wait_ns: u64,
    pub service_ns: u64,
    pub allocated_bytes: u64,
    pub freed_bytes: u64,
    pub allocations: u64,
    pub frees: u64,
}

impl Totals {
    /// What came after `earlier`. `None` when a counter runs backwards: then the slot holds nonsense.
    pub fn since(&self, earlier: &Totals) -> Option<Totals> {
        Some(Totals {
            done: self.done.checked_sub(earlier.done)?,
            queue_wait_ns: self.queue_wait_ns.checked_sub(earlier.queue_wait_ns)?,
            service_ns: self.service_ns.checked_sub(earlier.service_ns)?,
            allocated_bytes: self.allocated_bytes.checked_sub(earlier.allocated_bytes)?,
            freed_bytes: self.freed_bytes.checked_sub(earlier.freed_bytes)?,
            allocations: self.allocations.checked_sub(earlier.allocations)?,
            frees: self.frees.checked_sub(earlier.frees)?,
        })
    }
}

/// A whole copy of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub owner: Owner,
    pub task_id: u64,
    pub started_ns: u64,
    /// Of all threads that ever held the slot.
    pub totals: Totals,
    /// `totals` as they were when the present thread took the slot.
    pub base: Totals,
    /// How often the slot was taken.
    pub claims: u64,
}

/// Where a thread's heap stood when a watch of its peak began.
#[derive(Clone, Copy, Debug)]
pub struct HeapMark {
    net: i64,
    before: i64,
}

/// Three cache lines: what the thread is at, what it counts all the time, what changes once a thread.
#[repr(C, align(64))]
pub struct Slot {
    // Under the seqlock.
    sequence: AtomicU64,
    owner: AtomicU64,
    task_id: AtomicU64,
    started_ns: AtomicU64,
    done: AtomicU64,
    queue_wait_ns: AtomicU64,
    service_ns: AtomicU64,
    spare: AtomicU64,

    // Not under the seqlock: each tally stands alone.
    allocated_bytes: AtomicU64,
    freed_bytes: AtomicU64,
    allocations: AtomicU64,
    frees: AtomicU64,
    /// The greatest `allocated - freed` since the last mark, as the bits of an i64.
    net_peak: AtomicU64,
    spare_tallies: [AtomicU64; 3],

    // Under the seqlock, written when the slot is taken.
    claims: AtomicU64,
    base_done: AtomicU64,
    base_queue_wait_ns: AtomicU64,
    base_service_ns: AtomicU64,
    base_allocated_bytes: AtomicU64,
    base_freed_bytes: AtomicU64,
    base_allocations: AtomicU64,
    base_frees: AtomicU64,
}

impl Slot {
    /// A free slot. In a segment slots are not made: fresh pages are zero, which is the same.
    #[allow(dead_code)]
    pub fn new() -> Slot {
        let zero = || AtomicU64::new(0);
        Slot {
            sequence: zero(),
            owner: zero(),
            task_id: zero(),
            started_ns: zero(),
            done: zero(),
            queue_wait_ns: zero(),
            service_ns: zero(),
            spare: zero(),
            allocated_bytes: zero(),
            freed_bytes: zero(),
            allocations: zero(),
            frees: zero(),
            net_peak: zero(),
            spare_tallies: [zero(), zero(), zero()],
            claims: zero(),
            base_done: zero(),
            base_queue_wait_ns: zero(),
            base_service_ns: zero(),
            base_allocated_bytes: zero(),
            base_freed_bytes: zero(),
            base_allocations: zero(),
            base_frees: zero(),
        }
    }

    /// Takes the slot for `tid` if it is free. After `true` the caller is its only writer.
    ///
    /// Whoever moves the sequence from even to odd may write; a free slot has nobody who would, so
    /// any thread may try with a compare-exchange. The sequence only grows, so the exchange fails
    /// when the slot was taken between our look at `owner` and now.
    pub fn try_claim(&self, tid: u32) -> bool {
        // Acquire: pairs with the release in `write` by the previous owner, so its last tallies are
        // what we copy into the base.
        let sequence = self.sequence.load(Ordering::Acquire);
        if sequence % 2 == 1 || Owner(self.owner.load(Ordering::Relaxed)).tid() != 0 {
            return false;
        }
        if self
            .sequence
            .compare_exchange(sequence, sequence + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        fence(Ordering::Release);
        let relaxed = Ordering::Relaxed;
        let at_claim = self.totals();
        self.base_done.store(at_claim.done, relaxed);
        self.base_queue_wait_ns.store(at_claim.queue_wait_ns, relaxed);
        self.base_service_ns.store(at_claim.service_ns, relaxed);
        self.base_allocated_bytes.store(at_claim.allocated_bytes, relaxed);
        self.base_freed_bytes.store(at_claim.freed_bytes, relaxed);
        self.base_allocations.store(at_claim.allocations, relaxed);
        self.base_frees.store(at_claim.frees, relaxed);
        self.claims.store(self.claims.load(relaxed).wrapping_add(1), relaxed);
        self.task_id.store(0, relaxed);
        self.started_ns.store(0, relaxed);
        self.owner.store(Owner::new(tid).0, relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
        true
    }

    /// Gives the slot back. The owner only, and its last act on it: the totals stay where they are
    /// and from now on count as those of ended threads.
    pub fn release(&self) {
        self.write(|slot| slot.owner.store(0, Ordering::Relaxed));
    }

    /// The owner only: is a worker of `pool` from now on.
    pub fn joins_pool(&self, pool: u32) {
        self.change_owner(|owner| owner.joined(pool));
    }

    /// The owner only: has a task in hand.
    #[inline]
    pub fn begins(&self, workload: u32, task_id: u64, started_ns: u64) {
        self.write(|slot| {
            let owner = Owner(slot.owner.load(Ordering::Relaxed)).begun(workload);
            slot.owner.store(owner.0, Ordering::Relaxed);
            slot.task_id.store(task_id, Ordering::Relaxed);
            slot.started_ns.store(started_ns, Ordering::Relaxed);
        });
    }

    /// The owner only: has finished its task.
    #[inline]
    pub fn ends(&self, queue_wait_ns: u64, service_ns: u64) {
        self.write(|slot| {
            let owner = Owner(slot.owner.load(Ordering::Relaxed)).ended();
            slot.owner.store(owner.0, Ordering::Relaxed);
            add_alone(&slot.done, 1);
            add_alone(&slot.queue_wait_ns, queue_wait_ns);
            add_alone(&slot.service_ns, service_ns);
        });
    }

    /// The owner only: goes to sleep for want of work, or has woken.
    pub fn parks(&self, parked: bool) {
        self.change_owner(|owner| owner.parked(parked));
    }

    /// The owner only. Relaxed and outside the seqlock: each tally stands alone, the reader wants a
    /// recent value of each, not a moment common to all, and this must cost a nanosecond.
    #[inline(always)]
    pub fn allocated(&self, bytes: u64) {
        add_alone(&self.allocated_bytes, bytes);
        add_alone(&self.allocations, 1);
        let net = self.net_bytes();
        if net > self.net_peak.load(Ordering::Relaxed) as i64 {
            self.net_peak.store(net as u64, Ordering::Relaxed);
        }
    }

    /// The owner only. As `allocated`.
    #[inline(always)]
    pub fn freed(&self, bytes: u64) {
        add_alone(&self.freed_bytes, bytes);
        add_alone(&self.frees, 1);
    }

    /// The owner only: from here on the greatest heap in use is watched, until the mark is handed
    /// back. Marks nest.
    pub fn marks_heap(&self) -> HeapMark {
        let net = self.net_bytes();
        let before = self.net_peak.load(Ordering::Relaxed) as i64;
        self.net_peak.store(net as u64, Ordering::Relaxed);
        HeapMark { net, before }
    }

    /// The owner only: the most bytes that the thread had in use at once since `mark`, above what it
    /// had then. `None` when nothing counts its heap: no thread of a counted process has never allocated.
    pub fn heap_peak_since(&self, mark: HeapMark) -> Option<u64> {
        let peak = self.net_peak.load(Ordering::Relaxed) as i64;
        self.net_peak.store(peak.max(mark.before) as u64, Ordering::Relaxed);
        (self.allocations.load(Ordering::Relaxed) > 0).then(|| peak.saturating_sub(mark.net).max(0) as u64)
    }

    /// Negative in a thread that frees what others made.
    #[inline(always)]
    fn net_bytes(&self) -> i64 {
        let allocated = self.allocated_bytes.load(Ordering::Relaxed);
        allocated.wrapping_sub(self.freed_bytes.load(Ordering::Relaxed)) as i64
    }

    /// A whole copy, or `None` when the slot stayed torn. Every retry is taken from `patience`.
    pub fn copy(&self, patience: &mut u32) -> Option<Copied> {
        loop {
            // Acquire: what was written before this sequence was published is seen below.
            let before = self.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let relaxed = Ordering::Relaxed;
                let copied = Copied {
                    owner: Owner(self.owner.load(relaxed)),
                    task_id: self.task_id.load(relaxed),
                    started_ns: self.started_ns.load(relaxed),
                    totals: self.totals(),
                    base: Totals {
                        done: self.base_done.load(relaxed),
                        queue_wait_ns: self.base_queue_wait_ns.load(relaxed),
                        service_ns: self.base_service_ns.load(relaxed),
                        allocated_bytes: self.base_allocated_bytes.load(relaxed),
                        freed_bytes: self.base_freed_bytes.load(relaxed),
                        allocations: self.base_allocations.load(relaxed),
                        frees: self.base_frees.load(relaxed),
                    },
                    claims: self.claims.load(relaxed),
                };
                // If any load above saw a word of a later write, this fence pairs with that
                // writer's release fence, and the load below sees its odd sequence or a later one.
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return Some(copied);
                }
            }
            *patience = patience.checked_sub(1)?;
            spin_loop();
        }
    }

    fn change_owner(&self, change: impl FnOnce(Owner) -> Owner) {
        self.write(|slot| {
            let owner = change(Owner(slot.owner.load(Ordering::Relaxed)));
            slot.owner.store(owner.0, Ordering::Relaxed);
        });
    }

    /// One write section. Only the owner gets here, so a plain store makes the sequence odd.
    #[inline(always)]
    fn write(&self, change: impl FnOnce(&Slot)) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Release fence: a reader that sees any word of `change` also sees the odd sequence.
        fence(Ordering::Release);
        change(self);
        // Release: a reader (or the next owner) that sees this sequence sees the words too.
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    fn totals(&self) -> Totals {
        let relaxed = Ordering::Relaxed;
        Totals {
            done: self.done.load(relaxed),
            queue_wait_ns: self.queue_wait_ns.load(relaxed),
            service_ns: self.service_ns.load(relaxed),
            allocated_bytes: self.allocated_bytes.load(relaxed),
            freed_bytes: self.freed_bytes.load(relaxed),
            allocations: self.allocations.load(relaxed),
            frees: self.frees.load(relaxed),
        }
    }
}

/// Adds to a word that nobody else writes: a load and a store, no locked instruction.
#[inline(always)]
fn add_alone(word: &AtomicU64, amount: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
