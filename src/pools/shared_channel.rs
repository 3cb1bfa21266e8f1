//! The `shared-channel` kind: all workers receive from one bounded channel.
//!
//! The plain design, and the yardstick for `stealing`. An idle worker waits in a `select` over the
//! tasks, the forked halves on offer, and calls to itself; the channel spins for some microseconds
//! before it parks the thread.
//!
//! A fork is offered through a second channel, and only when a worker waits for one; otherwise both
//! halves run right here. Whoever moves an offer from `OFFERED` to `CLAIMED` runs it, be it a
//! receiver or, after its first half, the forker itself. A forker therefore never waits for a half
//! that nobody has begun, and stale offers in the channel are harmless: their claim fails. Waiting
//! cannot deadlock, by the argument in `stealing`; helping is bound as there.
//!
//! The gate has counted a task in before it is sent, so the channel itself is never full.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel::{self, Receiver, Sender};
use crossbeam::select;
use parking_lot::Mutex;

use super::crew::{Crew, Kind, Queued, Seat};
use super::fork::{Half, HalfRef, Payload, StackRoom};
use super::tally::Desk;
use crate::model::Nanos;
use crate::workloads::{Join, Sequential};

/// Above this a bounded channel's fixed array would cost more memory than queues ever hold; the gate
/// keeps the bound in any case.
const LARGEST_ARRAY: usize = 1 << 16;

/// What the workers of one pool share.
pub(super) struct SharedChannel {
    send_task: Sender<Queued>,
    tasks: Receiver<Queued>,
    send_fork: Sender<Arc<Offer>>,
    forks: Receiver<Arc<Offer>>,
    /// Workers in a `select`: they would take a fork.
    waiting: AtomicUsize,
}

/// Calls wake a worker that waits; one that is pending says all there is to say.
pub(super) struct Reach {
    call: Sender<()>,
}

pub(super) struct Tools {
    calls: Receiver<()>,
}

/// A worker's own end.
pub(super) struct Hand {
    crew: Arc<Crew<SharedChannel>>,
    number: usize,
    desk: Arc<Desk<Reach>>,
    calls: Receiver<()>,
    stack: StackRoom,
}

const OFFERED: usize = 0;
const CLAIMED: usize = 1;
const DONE: usize = 2;

/// A forked half that another worker may run.
struct Offer {
    state: AtomicUsize,
    half: HalfRef,
    panic: Mutex<Option<Payload>>,
    forker: Sender<()>,
}

thread_local! {
    static HAND: OnceCell<Rc<Hand>> = const { OnceCell::new() };
}

impl Offer {
    fn claim(&self) -> bool {
        self.state
            .compare_exchange(OFFERED, CLAIMED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn is_done(&self) -> bool {
        // Acquire: pairs with the store in `run`, so the half's results are visible.
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Runs the half if nobody else does. For receivers.
    fn run(&self) -> bool {
        if !self.claim() {
            return false;
        }
        // SAFETY: claimed by us, so this is the only call; the forker failed to claim it and stays
        // in its frame, where the half lives, until it sees `DONE`.
        if let Err(payload) = unsafe { self.half.run() } {
            *self.panic.lock() = Some(payload);
        }
        self.state.store(DONE, Ordering::Release);
        // Full means that the forker has a call to answer already.
        let _ = self.forker.try_send(());
        true
    }
}

impl SharedChannel {
    pub fn new(capacity: usize) -> SharedChannel {
        let (send_task, tasks) = if capacity <= LARGEST_ARRAY {
            channel::bounded(capacity)
        } else {
            channel::unbounded()
        };
        let (send_fork, forks) = channel::unbounded();
        SharedChannel {
            send_task,
            tasks,
            send_fork,
            forks,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Around a `select` that receives forks.
    fn would_take_a_fork<T>(&self, select: impl FnOnce() -> T) -> T {
        // Relaxed: a hint. A fork that nobody takes is claimed back by its forker.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let woken = select();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        woken
    }
}

impl Kind for SharedChannel {
    const NAME: &'static str = "shared-channel";
    type Tools = Tools;
    type Reach = Reach;
    type Hand = Hand;

    fn tools(&self) -> (Tools, Reach) {
        let (call, calls) = channel::bounded(1);
        (Tools { calls }, Reach { call })
    }

    fn seat(crew: &Arc<Crew<Self>>, seat: Seat<Self>, tools: Tools) -> Rc<Hand> {
        let hand = Rc::new(Hand {
            crew: Arc::clone(crew),
            number: seat.number,
            desk: seat.desk,
            calls: tools.calls,
            stack: StackRoom::here(crew.stack_bytes),
        });
        HAND.with(|own| {
            let _ = own.set(Rc::clone(&hand));
        });
        hand
    }

    fn push(crew: &Crew<Self>, queued: Queued) {
        // Cannot fail: `kind` holds a receiver, and the gate keeps the bound.
        let _ = crew.kind.send_task.send(queued);
    }

    fn next(crew: &Crew<Self>, hand: &Hand, last_end: &mut Option<Nanos>) -> Option<Queued> {
        let kind = &crew.kind;
        loop {
            if crew.dismisses(hand.number) {
                return None;
            }
            if let Ok(offer) = kind.forks.try_recv() {
                hand.help(&offer);
                *last_end = None;
                continue;
            }
            if let Ok(queued) = kind.tasks.try_recv() {
                return Some(queued);
            }
            *last_end = None;
            hand.desk.parks(true);
            let woken_by = kind.would_take_a_fork(|| {
                select! {
                    recv(kind.tasks) -> task => Woken::Task(task.ok()),
                    recv(kind.forks) -> offer => Woken::Fork(offer.ok()),
                    recv(hand.calls) -> _ => Woken::Called,
                }
            });
            hand.desk.parks(false);
            match woken_by {
                Woken::Task(Some(queued)) => return Some(queued),
                Woken::Fork(Some(offer)) => hand.help(&offer),
                _ => {}
            }
        }
    }

    fn give_back(_: &Crew<Self>, _: &Hand) {}

    fn take_any(crew: &Crew<Self>) -> Option<Queued> {
        crew.kind.tasks.try_recv().ok()
    }

    fn wake_all(crew: &Crew<Self>) {
        for desk in crew.roster().iter() {
            let _ = desk.reach.call.try_send(());
        }
    }
}

enum Woken {
    Task(Option<Queued>),
    Fork(Option<Arc<Offer>>),
    Called,
}

impl Hand {
    fn help(&self, offer: &Offer) {
        if offer.run() {
            self.desk.tally.steals();
        }
    }

    /// Runs `a` here, and offers `b` meanwhile.
    fn fork(&self, kind: &SharedChannel, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        let half = Half::new(b);
        let offer = Arc::new(Offer {
            state: AtomicUsize::new(OFFERED),
            half: HalfRef::to(&half),
            panic: Mutex::new(None),
            forker: self.desk.reach.call.clone(),
        });
        // From here to the end nothing may unwind: `half` is on our stack, and others may have it.
        let _ = kind.send_fork.send(Arc::clone(&offer));
        let from_a = catch_unwind(AssertUnwindSafe(a));
        let from_b = if offer.claim() {
            if from_a.is_err() {
                Ok(())
            } else {
                // SAFETY: claimed by us, so this is the only call, and `half` is in our frame.
                unsafe { half.run() }
            }
        } else {
            self.wait(kind, &offer);
            offer.panic.lock().take().map_or(Ok(()), Err)
        };
        if let Err(payload) = from_a.and(from_b) {
            resume_unwind(payload);
        }
    }

    /// Waits for a claimed half, and helps with others meanwhile.
    fn wait(&self, kind: &SharedChannel, offer: &Offer) {
        let helps = self.stack.allows_helping();
        while !offer.is_done() {
            let other = if helps {
                // Not told as `parks`: it has a task in its hands.
                kind.would_take_a_fork(|| {
                    select! {
                        recv(kind.forks) -> other => other.ok(),
                        recv(self.calls) -> _ => None,
                    }
                })
            } else {
                let _ = self.calls.recv();
                None
            };
            if let Some(other) = other {
                self.help(&other);
            }
        }
    }
}

impl Join for Crew<SharedChannel> {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        let kind = &self.kind;
        // Relaxed: a hint; see `would_take_a_fork`.
        if kind.waiting.load(Ordering::Relaxed) <= kind.forks.len() {
            return Sequential.both(a, b);
        }
        HAND.with(|own| match own.get() {
            Some(hand) if std::ptr::eq(Arc::as_ptr(&hand.crew), self) => hand.fork(kind, a, b),
            _ => Sequential.both(a, b),
        });
    }

    fn width(&self) -> usize {
        Crew::width(self)
    }
}
