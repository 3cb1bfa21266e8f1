//! Who sleeps for want of work, and who is to be woken when some arrives.
//!
//! Two numbers in one word, `searching` and `sleeping`, and a list of the sleepers' beds under a
//! lock. Nobody polls: a parked worker costs no CPU. The rule that keeps wake-ups few: **while
//! someone searches, nobody is woken**; the searcher will find what arrived, and when it has, it
//! wakes one more only if it can see more work. The last searcher to leave therefore carries the
//! duty for everything that was pushed while it searched.
//!
//! | a worker | may do | `searching` | `sleeping` | on the list |
//! |---|---|---|---|---|
//! | busy | take the next task without asking; [`Idle::search`] when it finds none | 0 | 0 | no |
//! | searching | [`Idle::found`] → busy; [`Idle::lie_down`] → sleeping | 1 | 0 | no |
//! | busy, refused by `search` (half the workers search already) | [`Idle::lie_down`] → sleeping | 0 | 0 | no |
//! | sleeping | look at every queue once more, then [`Bed::sleep`]; [`Idle::get_up`] → searching | 0 | 1 | yes |
//! | called ([`Idle::work_arrived`] or `found` took it off the list) | [`Idle::get_up`] → searching | 1 | 0 | no |
//!
//! **Why no wake-up is lost.** A pusher makes work visible, then a `SeqCst` fence, then reads the
//! word. A worker that leaves `searching` or enters `sleeping` changes the word, then a `SeqCst`
//! fence, then looks at the queues. Of two such fences one is first: either the pusher reads the
//! changed word (and sees a sleeper, and no searcher in the way), or the worker sees the work.
//!
//! **Calls are hints, the list is the truth.** [`Bed::sleep`] may return without cause (a late call
//! for an earlier sleep). Whoever wakes calls `get_up`, which looks whether it is still on the
//! list: if so it takes itself off; if not, its waker has counted it as a searcher already.

use super::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, Thread, current, fence, park};

/// Where one thread sleeps. Made by the thread itself.
pub struct Bed {
    called: AtomicBool,
    thread: Thread,
}

impl Bed {
    pub fn mine() -> Arc<Bed> {
        Arc::new(Bed {
            called: AtomicBool::new(false),
            thread: current(),
        })
    }

    /// Wakes the sleeper, or spares it its next sleep.
    pub fn call(&self) {
        // Release: what the caller did before is seen by the sleeper. The second of two calls in
        // a row has nothing to add.
        if !self.called.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }

    /// Sleeps until called. Only for the thread that made the bed. Other code on this thread may
    /// use up or leave behind a park token, hence the flag and the loop.
    pub fn sleep(&self) {
        while !self.called.swap(false, Ordering::AcqRel) {
            park();
        }
    }
}

const SEARCHER: usize = 1;
const SLEEPER: usize = 1 << 16;

fn searching(state: usize) -> usize {
    state & (SLEEPER - 1)
}

fn sleeping(state: usize) -> usize {
    state >> 16
}

/// One set of workers that wait for the same kind of work.
pub struct Idle {
    /// `searching` in the low 16 bits, `sleeping` above. `sleeping` changes under the lock only.
    state: AtomicUsize,
    /// Whoever lay down last is called first: its caches are warmest.
    sleepers: Mutex<Vec<Arc<Bed>>>,
}

impl Idle {
    pub fn new() -> Idle {
        Idle {
            state: AtomicUsize::new(0),
            sleepers: Mutex::new(Vec::new()),
        }
    }

    /// To be called after work was made visible: wakes one sleeper unless someone searches. True
    /// when the work has a taker in sight, so that no other set need be asked.
    pub fn work_arrived(&self) -> bool {
        // Pairs with the fences in `found` and `lie_down`; see the module's story.
        fence(Ordering::SeqCst);
        self.wake_one()
    }

    /// As [`Idle::work_arrived`], where the caller has just put a `SeqCst` fence of its own.
    pub fn wake_one(&self) -> bool {
        // Relaxed: the fence before orders this read.
        let state = self.state.load(Ordering::Relaxed);
        if searching(state) > 0 {
            return true;
        }
        sleeping(state) > 0 && self.call_one()
    }

    #[cold]
    fn call_one(&self) -> bool {
        let called = {
            let mut sleepers = self.sleepers.lock();
            // Another pusher may have woken someone since we looked.
            if searching(self.state.load(Ordering::Relaxed)) > 0 {
                return true;
            }
            let Some(bed) = sleepers.pop() else { return false };
            self.state.fetch_add(SEARCHER.wrapping_sub(SLEEPER), Ordering::AcqRel);
            bed
        };
        called.call();
        true
    }

    /// A busy worker found its own queue empty: may it search the others' queues? At most about
    /// half of the workers search at a time: more only get in each other's way.
    pub fn search(&self, workers: usize) -> bool {
        if 2 * searching(self.state.load(Ordering::Relaxed)) >= workers {
            return false;
        }
        self.state.fetch_add(SEARCHER, Ordering::AcqRel);
        true
    }

    /// A searcher stops searching: it has found work, or has to leave. The last one to stop looks
    /// whether there is `more` and wakes one to fetch it.
    pub fn found(&self, more: impl FnOnce() -> bool) {
        let before = self.state.fetch_sub(SEARCHER, Ordering::AcqRel);
        if searching(before) == 1 {
            // Pairs with the fence in `work_arrived`: a pusher that relied on us is seen by `more`.
            fence(Ordering::SeqCst);
            if more() {
                self.wake_one();
            }
        }
    }

    /// Goes on the list of sleepers. The caller must then look at every queue once more, and either
    /// [`Bed::sleep`] or not, and [`Idle::get_up`] in both cases.
    pub fn lie_down(&self, bed: &Arc<Bed>, was_searching: bool) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(Arc::clone(bed));
            let searcher = if was_searching { SEARCHER } else { 0 };
            self.state.fetch_add(SLEEPER - searcher, Ordering::AcqRel);
        }
        // Pairs with the fence in `work_arrived`: the caller's last look comes after it.
        fence(Ordering::SeqCst);
    }

    /// Off the list, by its own doing or its waker's. The worker is searching afterwards.
    pub fn get_up(&self, bed: &Arc<Bed>) {
        let mut sleepers = self.sleepers.lock();
        if let Some(place) = sleepers.iter().rposition(|other| Arc::ptr_eq(other, bed)) {
            sleepers.remove(place);
            self.state.fetch_add(SEARCHER.wrapping_sub(SLEEPER), Ordering::AcqRel);
        }
    }

    /// Calls every sleeper, for news that concerns all: fewer workers are wanted.
    pub fn wake_all(&self) {
        let called = {
            let mut sleepers = self.sleepers.lock();
            let called = std::mem::take(&mut *sleepers);
            let change = SEARCHER.wrapping_sub(SLEEPER).wrapping_mul(called.len());
            self.state.fetch_add(change, Ordering::AcqRel);
            called
        };
        for bed in called {
            bed.call();
        }
    }
}
