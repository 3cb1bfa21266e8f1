//! The slot protocol under loom: every interleaving and every reordering that the memory model allows.
//!
//! The protocol file itself is compiled here, with loom's atomics in the place of std's. The models
//! are small on purpose: one slot, two writers or one, one reader.

#[path = "../src/ledger/slot.rs"]
#[allow(dead_code)]
mod slot;

mod sync {
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

use loom::sync::Arc;
use loom::thread;
use slot::{Copied, Slot};

/// What ended threads did and what the present owner did, tasks only: the two must always add up.
fn split(copied: &Copied) -> (u64, Option<u64>) {
    if copied.owner.tid() == 0 {
        (copied.totals.done, None)
    } else {
        let own = copied.totals.since(&copied.base).expect("counters never run backwards");
        (copied.base.done, Some(own.done))
    }
}

/// A thread that takes one copy and checks it. Every contender is a thread of its own: loom does not
/// try all orders against what the model's first thread does.
fn reads(slot: &Arc<Slot>, check: impl FnOnce(Copied) + 'static) -> thread::JoinHandle<()> {
    let slot = Arc::clone(slot);
    thread::spawn(move || {
        if let Some(copied) = slot.copy(&mut 0) {
            check(copied);
        }
    })
}

fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

#[test]
fn a_copy_is_never_torn() {
    model(2, || {
        let slot = Arc::new(Slot::new());
        assert!(slot.try_claim(5));
        let writer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                slot.begins(1, 10, 100);
                slot.ends(3, 7);
            })
        };
        let reader = reads(&slot, |copied| {
            assert_eq!(copied.owner.tid(), 5);
            assert_eq!(copied.totals.queue_wait_ns, copied.totals.done * 3);
            assert_eq!(copied.totals.service_ns, copied.totals.done * 7);
            if copied.owner.is_busy() {
                let task = (copied.owner.workload(), copied.task_id, copied.started_ns);
                assert_eq!(task, (1, 10, 100));
                assert_eq!(copied.totals.done, 0);
            }
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_slot_is_taken_by_one_thread_only() {
    model(2, || {
        let slot = Arc::new(Slot::new());
        let other = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.try_claim(5))
        };
        let mine = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.try_claim(6))
        };
        let (theirs, mine) = (other.join().unwrap(), mine.join().unwrap());
        // One has it; the other either saw that or lost the exchange.
        assert!(mine ^ theirs);
        let copied = slot.copy(&mut 0).unwrap();
        assert_eq!(copied.owner.tid(), if mine { 6 } else { 5 });
        assert_eq!(copied.claims, 1);
    });
}

/// The first owner's end against the next owner's beginning: the base is everything the first did.
#[test]
fn a_slot_that_changes_hands_loses_nothing_and_counts_nothing_twice() {
    model(2, || {
        let slot = Arc::new(Slot::new());
        assert!(slot.try_claim(5));
        let first = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                slot.allocated(100);
                slot.ends(1, 1);
                slot.release();
            })
        };
        let second = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let taken = slot.try_claim(6);
                if taken {
                    slot.allocated(7);
                }
                taken
            })
        };
        first.join().unwrap();
        let taken = second.join().unwrap();
        let copied = slot.copy(&mut 0).unwrap();
        assert_eq!(split(&copied), (1, taken.then_some(0)));
        assert_eq!(copied.totals.allocated_bytes, if taken { 107 } else { 100 });
        assert_eq!(copied.base.allocated_bytes, if taken { 100 } else { 0 });
        assert_eq!(copied.claims, 1 + u64::from(taken));
    });
}

/// A reader against a thread's end.
#[test]
fn a_reader_sees_the_tasks_of_a_thread_that_ends_as_its_own_or_as_ended() {
    model(2, || {
        let slot = Arc::new(Slot::new());
        assert!(slot.try_claim(5));
        slot.ends(1, 1);
        let ending = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                slot.allocated(100);
                slot.release();
            })
        };
        let reader = reads(&slot, |copied| match (copied.owner.tid(), split(&copied)) {
            (5, (0, Some(1))) => {}
            (0, (1, None)) => assert_eq!(copied.totals.allocated_bytes, 100),
            (tid, parts) => panic!("owner {tid} with {parts:?}"),
        });
        ending.join().unwrap();
        reader.join().unwrap();
    });
}

/// A reader against a thread that takes a used slot.
#[test]
fn a_reader_never_gives_a_new_owner_what_the_old_one_did() {
    model(1, || {
        let slot = Arc::new(Slot::new());
        assert!(slot.try_claim(5));
        slot.ends(1, 1);
        slot.allocated(100);
        slot.release();
        let next = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || assert!(slot.try_claim(6)))
        };
        let reader = reads(&slot, |copied| match (copied.owner.tid(), split(&copied)) {
            (0, (1, None)) => assert_eq!(copied.claims, 1),
            (6, (1, Some(0))) => {
                assert_eq!((copied.base.allocated_bytes, copied.claims), (100, 2));
                assert!(matches!(copied.totals.allocated_bytes, 100 | 107));
            }
            (tid, parts) => panic!("owner {tid} with {parts:?}"),
        });
        next.join().unwrap();
        reader.join().unwrap();
    });
}
