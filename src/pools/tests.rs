//! Both kinds of pool as their users see them: counts, names, panics, refusals, drains, forks.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};
use proptest::prelude::*;

use super::*;
use crate::model::PoolStatus;
use crate::workloads::for_each_piece;

const KINDS: [PoolKind; 2] = [PoolKind::Stealing, PoolKind::SharedChannel];
const LONG: Duration = Duration::from_secs(60);

fn spec(name: &str, kind: PoolKind, workers: usize) -> PoolSpec {
    PoolSpec {
        name: name.into(),
        kind,
        workers,
        queue_capacity: 1000,
        policy: QueuePolicy::Block,
        stack_bytes: 1 << 20,
    }
}

fn pool(name: &str, kind: PoolKind, workers: usize) -> Arc<dyn Pool> {
    build(spec(name, kind, workers)).unwrap()
}

fn task(body: impl FnOnce(&dyn Join) + Send + 'static) -> Task {
    Task {
        workload: 0,
        id: 0,
        body: Box::new(body),
        then: None,
    }
}

/// A task that adds one to `ran`.
fn counts(ran: &Arc<AtomicU64>) -> Task {
    let ran = Arc::clone(ran);
    task(move |_| {
        ran.fetch_add(1, Ordering::SeqCst);
    })
}

/// Polls, with a deadline: for what happens soon but is told to nobody.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// A task that says when it has begun and ends when it is let go.
fn held() -> (Task, Receiver<()>, Sender<()>) {
    let (begun, begins) = channel::bounded(1);
    let (lets_go, let_go) = channel::bounded::<()>(1);
    let body = move |_: &dyn Join| {
        let _ = begun.send(());
        // An error is the other end's drop: let go too.
        let _ = let_go.recv_timeout(LONG);
    };
    (task(body), begins, lets_go)
}

/// Runs `work` as a task and gives back what it returned.
fn on<R: Send + 'static>(pool: &dyn Pool, work: impl FnOnce(&dyn Join) -> R + Send + 'static) -> R {
    let (send, receive) = channel::bounded(1);
    pool.submit(task(move |join| drop(send.send(work(join)))), LONG)
        .unwrap();
    receive.recv_timeout(LONG).expect("the task did not end")
}

fn threads_called(prefix: &str) -> BTreeSet<String> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// The kernel's letter for each thread of this name.
fn states_of(name: &str) -> Vec<String> {
    let head = format!("({name}) ");
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| Some(stat.split_once(&head)?.1[..1].to_owned()))
        .collect()
}

fn names(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

fn balanced(status: &PoolStatus) -> bool {
    let inside = status.queue_depth + u64::from(status.active);
    status.submitted == status.done + status.panicked + status.rejected + inside + status.abandoned
}

#[test]
fn a_pool_of_n_has_exactly_n_threads_with_its_name() {
    for (kind, prefix) in KINDS.into_iter().zip(["ts-exs-", "ts-exc-"]) {
        let pool = pool(&prefix[3..6], kind, 5);
        assert_eq!(threads_called(prefix), names(prefix, 5));
        let status = pool.status();
        assert_eq!((status.size, status.workers.len()), (5, 5));
        for worker in &status.workers {
            let comm = fs::read_to_string(format!("/proc/self/task/{}/comm", worker.tid)).unwrap();
            assert_eq!(comm.trim_end(), &*worker.name);
        }
        assert_eq!(pool.drain(LONG), DrainReport::default());
        assert!(threads_called(prefix).is_empty());
    }
}

#[test]
fn what_cannot_be_built_is_refused_with_a_reason() {
    for kind in KINDS {
        let refusal = |change: fn(&mut PoolSpec)| {
            let mut spec = spec("bad", kind, 2);
            change(&mut spec);
            build(spec).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refusal(|spec| spec.workers = 0).contains("at least one worker"));
        assert!(refusal(|spec| spec.workers = 1 << 40).contains("at most 4096"));
        assert!(refusal(|spec| spec.queue_capacity = 0).contains("room for at least one"));
        assert!(refusal(|spec| spec.stack_bytes = 1 << 60).contains("could not start a worker"));
    }
}

#[test]
fn a_panic_is_counted_and_told_and_the_worker_lives_on() {
    for kind in KINDS {
        let pool = pool("panic", kind, 1);
        let (tell, told) = channel::unbounded();
        for id in 0..4 {
            let tell = tell.clone();
            let body = move |_: &dyn Join| assert!(id % 2 == 0, "a panic that this test makes");
            let then = move |done: Done| {
                tell.send(done).unwrap();
                assert!(id != 2, "a panic in `then` that this test makes");
            };
            let task = Task {
                workload: 0,
                id,
                body: Box::new(body),
                then: Some(Box::new(then)),
            };
            pool.submit(task, LONG).unwrap();
        }
        for id in 0..4 {
            let done = told.recv_timeout(LONG).unwrap();
            assert_eq!(done.panicked, id % 2 == 1);
            assert!(done.enqueued <= done.started && done.started <= done.ended);
        }
        let status = pool.status();
        assert_eq!((status.done, status.panicked, status.active), (2, 2, 0));
        assert_eq!((status.service.count, status.queue_wait.count), (4, 4));
        assert_eq!(pool.drain(LONG).stuck, []);
    }
}

#[test]
fn a_full_queue_rejects_or_makes_wait_and_hands_the_task_back() {
    for kind in KINDS {
        for policy in [QueuePolicy::Reject, QueuePolicy::Block] {
            let pool = build(PoolSpec {
                queue_capacity: 2,
                policy,
                ..spec("full", kind, 1)
            })
            .unwrap();
            let (first, begins, let_go) = held();
            pool.submit(first, LONG).unwrap();
            begins.recv_timeout(LONG).unwrap();
            pool.submit(task(|_| ()), LONG).unwrap();
            pool.submit(task(|_| ()), LONG).unwrap();
            let patience = match policy {
                QueuePolicy::Reject => LONG,
                QueuePolicy::Block => Duration::from_millis(5),
            };
            let refused = pool.submit(Task { id: 77, ..task(|_| ()) }, patience).unwrap_err();
            assert!(matches!(&refused, Refused::Full(task) if task.id == 77));
            let status = pool.status();
            assert_eq!((status.queue_depth, status.active, status.rejected), (2, 1, 1));
            assert!(balanced(&status));
            if policy == QueuePolicy::Block {
                std::thread::scope(|scope| {
                    let waiter = scope.spawn(|| pool.submit(refused.into_task(), LONG).is_ok());
                    let_go.send(()).unwrap();
                    assert!(waiter.join().unwrap());
                });
            } else {
                let_go.send(()).unwrap();
            }
            assert_eq!(pool.drain(LONG).abandoned, 0);
            let refused = pool.submit(task(|_| ()), LONG).unwrap_err();
            assert!(matches!(refused, Refused::Closed(_)));
            assert!(balanced(&pool.status()));
        }
    }
}

/// One that sleeps for room is called when there is some, long before its patience ends.
#[test]
fn a_sleeping_submitter_is_called_when_there_is_room() {
    for (kind, name) in KINDS.into_iter().zip(["submitter-s", "submitter-c"]) {
        let pool = build(PoolSpec {
            queue_capacity: 1,
            ..spec("room", kind, 1)
        })
        .unwrap();
        let (first, begins, let_go) = held();
        pool.submit(first, LONG).unwrap();
        begins.recv_timeout(LONG).unwrap();
        pool.submit(task(|_| ()), LONG).unwrap();
        let submitter = {
            let pool = Arc::clone(&pool);
            let submit = move || pool.submit(task(|_| ()), 100 * LONG).is_ok();
            std::thread::Builder::new().name(name.into()).spawn(submit).unwrap()
        };
        until("the submitter sleeps", || states_of(name) == ["S"]);
        let_go.send(()).unwrap();
        until("the submitter is let in", || submitter.is_finished());
        assert!(submitter.join().unwrap());
        assert_eq!(pool.drain(LONG).stuck, []);
        assert_eq!(pool.status().done, 3);
    }
}

#[test]
fn a_drain_names_the_stuck_and_counts_the_abandoned() {
    for (kind, prefix) in KINDS.into_iter().zip(["ts-drs-", "ts-drc-"]) {
        let pool = pool(&prefix[3..6], kind, 2);
        let (stuck, begins, let_go) = held();
        pool.submit(stuck, LONG).unwrap();
        begins.recv_timeout(LONG).unwrap();
        let (also_stuck, begins, also_let_go) = held();
        pool.submit(also_stuck, LONG).unwrap();
        begins.recv_timeout(LONG).unwrap();
        let dropped = Arc::new(());
        for _ in 0..10 {
            let witness = Arc::clone(&dropped);
            pool.submit(task(move |_| drop(witness)), LONG).unwrap();
        }
        let tids: BTreeSet<_> = pool.status().workers.iter().map(|worker| worker.tid).collect();

        let report = pool.drain(Duration::from_millis(20));
        assert_eq!((report.done, report.abandoned), (0, 10));
        assert_eq!(report.stuck.iter().copied().collect::<BTreeSet<_>>(), tids);
        assert_eq!(Arc::strong_count(&dropped), 1);
        let status = pool.status();
        assert_eq!((status.active, status.queue_depth, status.abandoned), (2, 0, 10));
        assert!(balanced(&status));

        let_go.send(()).unwrap();
        also_let_go.send(()).unwrap();
        let report = pool.drain(LONG);
        assert_eq!((report.abandoned, report.stuck.len()), (0, 0));
        assert_eq!(pool.status().done, 2);
        assert!(threads_called(prefix).is_empty());
    }
}

#[test]
fn a_drain_finishes_what_is_queued() {
    for kind in KINDS {
        let pool = pool("finish", kind, 2);
        let ran = Arc::new(AtomicU64::new(0));
        let (first, begins, let_go) = held();
        pool.submit(first, LONG).unwrap();
        begins.recv_timeout(LONG).unwrap();
        for _ in 0..100 {
            pool.submit(counts(&ran), LONG).unwrap();
        }
        let_go.send(()).unwrap();
        let report = pool.drain(LONG);
        assert_eq!((report.abandoned, report.stuck.len()), (0, 0));
        assert_eq!(ran.load(Ordering::SeqCst), 100);
        assert_eq!(pool.status().done, 101);
    }
}

#[test]
fn a_task_may_resize_and_drain_its_own_pool() {
    for (kind, prefix) in KINDS.into_iter().zip(["ts-ows-", "ts-owc-"]) {
        let pool = pool(&prefix[3..6], kind, 2);
        let inner = Arc::clone(&pool);
        let report = on(&*pool, move |_| {
            inner.resize(3).unwrap();
            inner.resize(1).unwrap();
            inner.drain(LONG)
        });
        assert_eq!((report.abandoned, report.stuck.len()), (0, 1));
        assert!(matches!(pool.resize(2), Err(PoolError::Closed(_))));
        until("the draining worker ends", || threads_called(prefix).is_empty());
    }
}

#[test]
fn dropping_a_pool_ends_its_threads_and_abandons_its_queue() {
    for (kind, prefix) in KINDS.into_iter().zip(["ts-dps-", "ts-dpc-"]) {
        let pool = pool(&prefix[3..6], kind, 2);
        let ran = Arc::new(AtomicU64::new(0));
        for _ in 0..50 {
            pool.submit(counts(&ran), LONG).unwrap();
        }
        drop(pool);
        assert!(threads_called(prefix).is_empty());
        assert_eq!(Arc::strong_count(&ran), 1);
    }
}

#[test]
fn the_last_handle_may_be_dropped_by_a_task() {
    for (kind, prefix) in KINDS.into_iter().zip(["ts-lhs-", "ts-lhc-"]) {
        let pool = pool(&prefix[3..6], kind, 2);
        let (hand_over, handed) = channel::bounded::<Arc<dyn Pool>>(1);
        pool.submit(task(move |_| drop(handed.recv_timeout(LONG))), LONG)
            .unwrap();
        hand_over.send(pool).unwrap();
        until("its threads end", || threads_called(prefix).is_empty());
    }
}

#[test]
fn resizing_under_load_loses_no_task_and_reuses_numbers() {
    for (kind, prefix) in KINDS.into_iter().zip(["ts-rss-", "ts-rsc-"]) {
        let pool = pool(&prefix[3..6], kind, 2);
        let ran = Arc::new(AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    pool.submit(counts(&ran), LONG).unwrap();
                    sent += 1;
                }
                sent
            });
            for workers in [5, 1, 3, 8, 2, 1, 6, 4] {
                pool.resize(workers).unwrap();
                assert!(balanced(&pool.status()));
                // Never fewer than wanted; surplus ones leave after the task in their hands.
                assert!(threads_called(prefix).is_superset(&names(prefix, workers)));
                until("the surplus workers leave", || {
                    threads_called(prefix) == names(prefix, workers)
                });
            }
            stop.store(true, Ordering::Relaxed);
            sender.join().unwrap()
        });
        assert_eq!(pool.drain(LONG).stuck, []);
        let status = pool.status();
        assert_eq!(ran.load(Ordering::SeqCst), sent);
        assert_eq!((status.done, status.submitted), (sent, sent));
    }
}

/// A surplus worker may have taken a batch into its own deque: the rest of it must not leave with it.
#[test]
fn a_surplus_worker_gives_back_what_it_had_taken_for_later() {
    for kind in KINDS {
        let pool = pool("back", kind, 1);
        let begin = |(task, begins, let_go): (Task, Receiver<()>, Sender<()>)| {
            pool.submit(task, LONG).unwrap();
            (begins, let_go)
        };
        let (begins, let_stayer_go) = begin(held());
        begins.recv_timeout(LONG).unwrap();
        pool.resize(2).unwrap();
        let (begins, let_surplus_go) = begin(held());
        begins.recv_timeout(LONG).unwrap();
        // Both are busy. The second worker will take this one, and half of what lies behind it.
        let (begins, let_surplus_leave) = begin(held());
        let ran = Arc::new(AtomicU64::new(0));
        for _ in 0..20 {
            pool.submit(counts(&ran), LONG).unwrap();
        }
        let_surplus_go.send(()).unwrap();
        begins.recv_timeout(LONG).unwrap();
        pool.resize(1).unwrap();
        let_surplus_leave.send(()).unwrap();
        until("the surplus worker leaves", || pool.status().workers.len() == 1);
        let_stayer_go.send(()).unwrap();
        until("all have run", || ran.load(Ordering::SeqCst) == 20);
        assert_eq!(pool.drain(LONG).abandoned, 0);
        assert_eq!(pool.status().done, 23);
    }
}

#[test]
fn a_status_never_shows_more_than_can_be() {
    for kind in KINDS {
        let pool = build(PoolSpec {
            queue_capacity: 8,
            policy: QueuePolicy::Reject,
            ..spec("torn", kind, 2)
        })
        .unwrap();
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (0..5000).filter(|_| pool.submit(task(|_| ()), LONG).is_ok()).count()))
                .collect();
            let mut submitted = 0;
            while !senders.iter().all(|sender| sender.is_finished()) {
                let status = pool.status();
                assert!(balanced(&status));
                assert!(status.active <= 2 && status.queue_depth <= 8);
                assert!(status.submitted - status.rejected >= submitted, "totals never go back");
                submitted = status.submitted - status.rejected;
            }
            let taken: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
            pool.drain(LONG);
            let status = pool.status();
            assert_eq!((status.done, status.rejected), (taken as u64, 10_000 - taken as u64));
            assert_eq!(status.submitted, 10_000);
        });
    }
}

#[test]
fn a_worker_shows_the_workload_in_its_hands_and_that_it_sleeps() {
    for kind in KINDS {
        let pool = pool("shows", kind, 1);
        until("it parks", || pool.status().workers[0].parked);
        let (task, begins, let_go) = held();
        let workload = workload_id("pools-test-workload");
        pool.submit(Task { workload, ..task }, LONG).unwrap();
        begins.recv_timeout(LONG).unwrap();
        let worker = pool.status().workers[0].clone();
        assert_eq!(worker.task.as_deref(), Some("pools-test-workload"));
        assert!(!worker.parked);
        let_go.send(()).unwrap();
        until("it parks again", || pool.status().workers[0].parked);
        assert_eq!(pool.status().workers[0].task, None);
        assert_eq!(pool.status().workers[0].done, 1);
    }
}

/// One task at a time, each waited for: every task needs a wake-up. A lost one would hang.
#[test]
fn no_wake_up_is_lost_one_task_at_a_time() {
    for kind in KINDS {
        let pool = pool("wake", kind, 3);
        for n in 0..3000 {
            assert_eq!(on(&*pool, move |_| n), n);
        }
    }
}

/// Two tasks that need each other at the same time: needs the second wake-up too.
#[test]
fn no_wake_up_is_lost_when_tasks_need_each_other() {
    for kind in KINDS {
        let pool = pool("pair", kind, 2);
        for _ in 0..500 {
            let (left, right) = (channel::bounded(1), channel::bounded(1));
            let (done, both_done) = channel::bounded(2);
            for (mine, other) in [(left.0, right.1), (right.0, left.1)] {
                let done = done.clone();
                let body = move |_: &dyn Join| {
                    mine.send(()).unwrap();
                    done.send(other.recv_timeout(LONG).is_ok()).unwrap();
                };
                pool.submit(task(body), LONG).unwrap();
            }
            assert!(both_done.recv_timeout(LONG).unwrap() && both_done.recv_timeout(LONG).unwrap());
        }
    }
}

#[test]
fn while_someone_searches_nobody_is_woken() {
    let (idle, bed) = (idle::Idle::new(), idle::Bed::mine());
    assert!(!idle.work_arrived(), "nobody is there");
    idle.lie_down(&bed, false);
    assert!(idle.search(4));
    assert!(idle.work_arrived(), "the searcher will find it");
    idle.found(|| false);
    assert!(
        idle.search(2),
        "the sleeper does not count as a searcher, so it was not called"
    );
    assert!(!idle.search(2), "half of the workers search already");
    idle.found(|| true);
    // Called by the last searcher: returns at once.
    bed.sleep();
    idle.get_up(&bed);
    assert!(!idle.search(2), "who was called is a searcher");
    idle.found(|| true);
    assert!(!idle.work_arrived());
}

fn sum(join: &dyn Join, values: &[u64]) -> u64 {
    if values.len() <= 4 {
        return values.iter().sum();
    }
    let (left, right) = values.split_at(values.len() / 2);
    let (left, right) = join.join(|| sum(join, left), || sum(join, right));
    left + right
}

#[test]
fn forks_give_the_sequential_answer_on_any_number_of_workers() {
    for kind in KINDS {
        for workers in [1, 2, 4] {
            let pool = pool("sums", kind, workers);
            // Several at once, so that workers steal from and help each other.
            let (send, receive) = channel::unbounded();
            for _ in 0..8 {
                let send = send.clone();
                let body = move |join: &dyn Join| {
                    assert_eq!(join.width(), workers);
                    let values: Vec<u64> = (0..20_000).collect();
                    send.send(sum(join, &values)).unwrap();
                };
                pool.submit(task(body), LONG).unwrap();
            }
            for _ in 0..8 {
                assert_eq!(receive.recv_timeout(LONG).unwrap(), 19_999 * 20_000 / 2);
            }
            let status = pool.status();
            assert_eq!(status.submitted, 8, "forked halves are not tasks");
        }
    }
}

/// The first half ends only when the second one has begun: they do run at the same time.
#[test]
fn an_idle_worker_takes_the_second_half() {
    for kind in KINDS {
        let pool = pool("halves", kind, 2);
        until("both workers sleep", || {
            pool.status().workers.iter().all(|worker| worker.parked)
        });
        for _ in 0..200 {
            // The shared channel offers a fork only to a worker that waits for one at that moment.
            if kind == PoolKind::SharedChannel {
                until("a worker waits", || {
                    pool.status().workers.iter().all(|worker| worker.parked)
                });
            }
            let met = on(&*pool, |join| {
                let (begun, begins) = channel::bounded(1);
                let (a, ()) = join.join(|| begins.recv_timeout(LONG).is_ok(), || begun.send(()).unwrap());
                a
            });
            assert!(met);
        }
    }
}

#[test]
fn a_panic_in_either_half_reaches_the_forker_after_both_have_ended() {
    for kind in KINDS {
        for workers in [1, 3] {
            let pool = pool("halfp", kind, workers);
            for round in 0..20 {
                let (told, ended) = on(&*pool, move |join| {
                    let ended = AtomicUsize::new(0);
                    let outcome = catch_unwind(AssertUnwindSafe(|| {
                        for_each_piece(join, 0..64, 1, &|piece| {
                            assert!(piece.start != round * 3, "a panic that this test makes");
                            ended.fetch_add(1, Ordering::SeqCst);
                        });
                    }));
                    let payload = outcome.unwrap_err();
                    let told = payload.downcast_ref::<&str>().copied().unwrap_or_default();
                    (told, ended.into_inner())
                });
                assert_eq!(told, "a panic that this test makes");
                assert!(ended < 64);
            }
            assert_eq!(pool.status().panicked, 0);
        }
    }
}

#[test]
fn a_panic_in_both_halves_tells_the_first() {
    for kind in KINDS {
        let pool = pool("bothp", kind, 2);
        for _ in 0..20 {
            let told = on(&*pool, |join| {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    join.join(
                        || panic!("the first panic that this test makes"),
                        || panic!("the second panic that this test makes"),
                    )
                }));
                let payload = outcome.map(|((), ())| ()).unwrap_err();
                payload.downcast_ref::<&str>().copied()
            });
            assert_eq!(told, Some("the first panic that this test makes"));
        }
    }
}

#[test]
fn a_join_on_a_strange_thread_runs_in_order() {
    for kind in KINDS {
        let (here, there) = (pool("here", kind, 2), pool("there", kind, 2));
        let answer = on(&*here, move |join| {
            let other = on(&*there, |join| sum(join, &[1; 1000]));
            let strange = std::thread::scope(|scope| scope.spawn(|| sum(join, &[1; 1000])).join().unwrap());
            (other, strange)
        });
        assert_eq!(answer, (1000, 1000));
    }
}

#[test]
fn forks_go_on_while_the_pool_is_resized_and_drained() {
    for kind in KINDS {
        let pool = pool("shift", kind, 4);
        let (send, receive) = channel::unbounded();
        for _ in 0..20 {
            let send = send.clone();
            let body = move |join: &dyn Join| {
                let values: Vec<u64> = (0..5_000).collect();
                send.send(sum(join, &values)).unwrap();
            };
            pool.submit(task(body), LONG).unwrap();
        }
        for workers in [1, 3, 2, 6] {
            pool.resize(workers).unwrap();
        }
        assert_eq!(pool.drain(LONG).stuck, []);
        assert_eq!(receive.try_iter().collect::<Vec<_>>(), [4_999 * 5_000 / 2; 20]);
    }
}

/// A chain of forks as deep as the stack allows anyone: every second half waits for a fork of its own.
#[test]
fn helping_does_not_overflow_a_small_stack() {
    fn chain(join: &dyn Join, depth: usize, shared: &AtomicUsize) {
        shared.fetch_add(1, Ordering::Relaxed);
        if depth > 0 {
            join.join(|| chain(join, depth - 1, shared), || chain(join, depth - 1, shared));
        }
    }
    for kind in KINDS {
        let pool = build(PoolSpec {
            stack_bytes: 128 * 1024,
            ..spec("deep", kind, 3)
        })
        .unwrap();
        let (send, receive) = channel::unbounded();
        for _ in 0..6 {
            let send = send.clone();
            let body = move |join: &dyn Join| {
                let count = AtomicUsize::new(0);
                chain(join, 12, &count);
                send.send(count.into_inner()).unwrap();
            };
            pool.submit(task(body), LONG).unwrap();
        }
        for _ in 0..6 {
            assert_eq!(receive.recv_timeout(LONG).unwrap(), (1 << 13) - 1);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit { panics: bool },
    Resize(usize),
    Status,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|panics| Step::Submit { panics }),
        1 => (1usize..5).prop_map(Step::Resize),
        1 => Just(Step::Status),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_of_a_pool_adds_up(steps in steps(), stealing: bool, reject: bool, capacity in 1usize..6) {
        let pool = build(PoolSpec {
            queue_capacity: capacity,
            policy: if reject { QueuePolicy::Reject } else { QueuePolicy::Block },
            ..spec("history", KINDS[usize::from(stealing)], 1)
        }).unwrap();
        let ends = Arc::new(AtomicU64::new(0));
        let (mut taken, mut refused, mut to_panic) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Submit { panics } => {
                    let ends = Arc::clone(&ends);
                    // `resume_unwind` panics without the hook's message.
                    let body = move |_: &dyn Join| if panics { std::panic::resume_unwind(Box::new(())) };
                    let then = move |done: Done| {
                        assert_eq!(done.panicked, panics);
                        ends.fetch_add(1, Ordering::SeqCst);
                    };
                    let task = Task { workload: 0, id: 0, body: Box::new(body), then: Some(Box::new(then)) };
                    match pool.submit(task, LONG) {
                        Ok(()) => { taken += 1; to_panic += u64::from(panics); }
                        Err(_) => refused += 1,
                    }
                }
                Step::Resize(workers) => pool.resize(workers).unwrap(),
                Step::Status => prop_assert!(balanced(&pool.status())),
            }
        }
        prop_assert_eq!(pool.drain(LONG).stuck, []);
        let status = pool.status();
        prop_assert_eq!(ends.load(Ordering::SeqCst), taken);
        prop_assert_eq!((status.submitted, status.rejected), (taken + refused, refused));
        prop_assert_eq!((status.panicked, status.done), (to_panic, taken - to_panic));
        prop_assert_eq!((status.active, status.queue_depth, status.abandoned), (0, 0, 0));
        prop_assert_eq!(status.service.count, taken);
    }
}
