//! The ledger of real threads, read from inside and from outside.
//!
//! A process has one ledger, so every test runs its body in a process of its own: this same binary,
//! started again for that one test.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use threadscape::kernel::ProcRoot;
use threadscape::ledger::{self, Heap, Reader, ReaderError, tasks};
use threadscape::model::{HeapTally, LedgerRow, LedgerView, Nanos, Pid, Tid};

#[global_allocator]
static HEAP: Heap = Heap;

const ALONE: &str = "THREADSCAPE_TEST_ALONE";

/// Runs `body` in a fresh process of this binary.
fn alone(test: &str, body: fn()) {
    if std::env::var(ALONE).is_ok_and(|name| name == test) {
        return body();
    }
    let output = command(test).output().unwrap();
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(
        ran && output.status.success(),
        "{test} failed in its own process:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(ALONE, test);
    command
}

fn my_tid() -> Tid {
    Tid(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned())
}

fn my_reader() -> Reader {
    Reader::find(&ProcRoot::live(), Pid(std::process::id()))
        .unwrap()
        .expect("this process has a ledger")
}

fn row(view: &LedgerView, tid: Tid) -> &LedgerRow {
    view.rows.iter().find(|row| row.tid == tid).expect("a row for the tid")
}

fn whole(view: &LedgerView) -> HeapTally {
    view.rows
        .iter()
        .fold(view.ended_heap.plus(&view.overflow_heap), |sum, row| {
            sum.plus(&row.heap)
        })
}

fn allocate(blocks: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut kept = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        kept.push(black_box(Vec::with_capacity(bytes)));
    }
    kept
}

#[test]
fn each_thread_counts_exactly_what_it_does_to_the_heap() {
    alone("each_thread_counts_exactly_what_it_does_to_the_heap", || {
        ledger::install(64).unwrap();
        let reader = my_reader();
        // Barriers do not allocate, so between two of them a worker does only what we count.
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            let worker = |blocks: usize| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let tid = my_tid();
                    let mut kept = Vec::with_capacity(blocks);
                    barrier.wait();
                    barrier.wait();
                    for _ in 0..blocks {
                        kept.push(black_box(Vec::<u8>::with_capacity(1000)));
                    }
                    barrier.wait();
                    barrier.wait();
                    kept.truncate(blocks / 2);
                    barrier.wait();
                    barrier.wait();
                    tid
                })
            };
            let workers = [worker(100), worker(250)];
            barrier.wait();
            let before = reader.read();
            barrier.wait();
            barrier.wait();
            let full = reader.read();
            barrier.wait();
            barrier.wait();
            let half = reader.read();
            barrier.wait();
            for (worker, blocks) in workers.into_iter().zip([100, 250]) {
                let tid = worker.join().unwrap();
                let (before, full, half) = (row(&before, tid).heap, row(&full, tid).heap, row(&half, tid).heap);
                assert_eq!(full.allocations - before.allocations, blocks);
                assert_eq!(full.allocated_bytes - before.allocated_bytes, blocks * 1000);
                assert_eq!(full.frees, before.frees);
                assert_eq!(half.frees - full.frees, blocks / 2);
                assert_eq!(half.freed_bytes - full.freed_bytes, blocks / 2 * 1000);
                assert_eq!(half.allocations, full.allocations);
            }
        });
    });
}

#[test]
fn a_resized_block_is_one_freed_and_one_allocated() {
    alone("a_resized_block_is_one_freed_and_one_allocated", || {
        ledger::install(16).unwrap();
        let reader = my_reader();
        let mut block: Vec<u8> = Vec::with_capacity(100);
        // The reading itself allocates here: a worker that does nothing else is measured instead.
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                barrier.wait();
                barrier.wait();
                block.reserve_exact(300);
                black_box(&mut block);
                barrier.wait();
                barrier.wait();
                my_tid()
            });
            barrier.wait();
            let before = reader.read();
            barrier.wait();
            barrier.wait();
            let after = reader.read();
            barrier.wait();
            let tid = worker.join().unwrap();
            let (before, after) = (row(&before, tid).heap, row(&after, tid).heap);
            assert_eq!(after.allocated_bytes - before.allocated_bytes, 300);
            assert_eq!(after.freed_bytes - before.freed_bytes, 100);
            assert_eq!(after.allocations - before.allocations, 1);
            assert_eq!(after.frees - before.frees, 1);
        });
    });
}

#[test]
fn what_ended_threads_did_is_neither_lost_nor_counted_twice() {
    alone("what_ended_threads_did_is_neither_lost_nor_counted_twice", || {
        ledger::install(16).unwrap();
        let pool = ledger::intern("churn");
        let reader = my_reader();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Whatever moment a reading meets: sums only grow, rows hold together.
                let mut last = LedgerView::default();
                while !over.load(Ordering::Acquire) {
                    let view = reader.read();
                    let tasks = |view: &LedgerView| {
                        view.ended_tasks
                            + view
                                .rows
                                .iter()
                                .map(|row| row.task.as_ref().map_or(0, |task| task.done))
                                .sum::<u64>()
                    };
                    assert!(view.ended_tasks >= last.ended_tasks && view.ended_threads >= last.ended_threads);
                    assert!(view.started_total >= last.started_total);
                    if view.unreadable_slots == 0 {
                        assert_eq!(view.started_total, view.ended_threads + view.rows.len() as u64);
                        assert!(tasks(&view) >= tasks(&last));
                        assert!(whole(&view).allocated_bytes >= whole(&last).allocated_bytes);
                        assert!(whole(&view).frees >= whole(&last).frees);
                        last = view.clone();
                    }
                    for task in view.rows.iter().filter_map(|row| row.task.as_ref()) {
                        assert_eq!(task.queue_wait.0, task.done * 3, "torn");
                        assert_eq!(task.service.0, task.done * 7, "torn");
                    }
                }
            });
            for _ in 0..100 {
                let workers: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(move || {
                            tasks::joins_pool(pool);
                            for id in 0..50 {
                                tasks::begins(0, id, ledger::now());
                                drop(allocate(3, 1000));
                                tasks::ends(Nanos(3), Nanos(7));
                            }
                        })
                    })
                    .collect();
                for worker in workers {
                    worker.join().unwrap();
                }
            }
            over.store(true, Ordering::Release);
        });
        let view = reader.read();
        assert_eq!(view.ended_tasks, 100 * 4 * 50);
        assert_eq!(view.overflow, 0);
        assert_eq!(view.unreadable_slots, 0);
        assert!(view.ended_threads >= 400);
        assert!(view.ended_heap.allocated_bytes >= 100 * 4 * 50 * 3000);
        // Their blocks were freed by themselves.
        assert!(view.ended_heap.frees >= 100 * 4 * 50 * 3);
    });
}

#[test]
fn a_few_slots_serve_many_short_threads() {
    alone("a_few_slots_serve_many_short_threads", || {
        ledger::install(4).unwrap();
        for _ in 0..300 {
            thread::spawn(|| drop(allocate(2, 64))).join().unwrap();
        }
        let view = my_reader().read();
        assert_eq!(view.overflow, 0);
        assert!(view.started_total >= 300, "{view:?}");
        assert!(view.rows.len() <= 4);
    });
}

#[test]
fn threads_without_a_slot_are_counted_together() {
    alone("threads_without_a_slot_are_counted_together", || {
        ledger::install(3).unwrap();
        let reader = my_reader();
        let barrier = Barrier::new(9);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        tasks::begins(0, 1, ledger::now());
                        drop(allocate(1, 5000));
                        tasks::ends(Nanos(1), Nanos(1));
                    }
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            let view = reader.read();
            assert!(view.rows.len() <= 3);
            assert!(view.overflow >= 5 && view.overflow <= 9, "{view:?}");
            let by_rows: u64 = view
                .rows
                .iter()
                .filter_map(|row| row.task.as_ref())
                .map(|task| task.done)
                .sum();
            assert_eq!(by_rows + view.overflow_tasks, 80);
            assert!(view.overflow_heap.allocated_bytes >= 5 * 10 * 5000);
            assert!(view.overflow_heap.frees >= 5 * 10);
            barrier.wait();
        });
    });
}

#[test]
fn a_worker_says_what_it_is_at() {
    alone("a_worker_says_what_it_is_at", || {
        ledger::install(16).unwrap();
        let (pool, workload) = (ledger::intern("lab"), ledger::intern("maximum_gap"));
        assert_eq!(ledger::intern("lab"), pool);
        let reader = my_reader();
        let mine = || row(&reader.read(), my_tid()).task.clone();
        assert_eq!(mine(), None);
        tasks::joins_pool(pool);
        let idle = mine().unwrap();
        assert_eq!(
            (&*idle.pool, idle.workload, idle.id, idle.age),
            ("lab", None, None, None)
        );
        tasks::parks(true);
        assert!(mine().unwrap().parked);
        tasks::parks(false);
        tasks::begins(workload, 71, ledger::now());
        let busy = mine().unwrap();
        assert_eq!((busy.workload.as_deref(), busy.id), (Some("maximum_gap"), Some(71)));
        assert!(busy.age.is_some() && !busy.parked);
        tasks::begins(workload, 72, Nanos(u64::MAX));
        assert_eq!(mine().unwrap().age, None, "a start in the future has no age");
        tasks::ends(Nanos(5), Nanos(6));
        let done = mine().unwrap();
        assert_eq!((done.done, done.queue_wait, done.service), (1, Nanos(5), Nanos(6)));
        assert_eq!((done.workload, done.id, done.age), (None, None, None));
    });
}

#[test]
fn a_full_name_table_gives_no_more_names() {
    alone("a_full_name_table_gives_no_more_names", || {
        assert_eq!(ledger::intern("too early"), 0);
        ledger::install(4).unwrap();
        ledger::install(9).unwrap();
        for number in 1..=1024 {
            assert_eq!(ledger::intern(&format!("name {number}")), number);
        }
        assert_eq!(ledger::intern("one too many"), 0);
        assert_eq!(ledger::intern("name 77"), 77);
        tasks::joins_pool(1024);
        assert_eq!(
            &*row(&my_reader().read(), my_tid()).task.as_ref().unwrap().pool,
            "name 1024"
        );
    });
}

#[test]
fn without_a_ledger_everything_is_a_no_op() {
    alone("without_a_ledger_everything_is_a_no_op", || {
        tasks::joins_pool(1);
        tasks::begins(1, 1, Nanos(1));
        tasks::ends(Nanos(1), Nanos(1));
        tasks::parks(true);
        assert!(
            Reader::find(&ProcRoot::live(), Pid(std::process::id()))
                .unwrap()
                .is_none()
        );
        assert!(ledger::install(0).is_err());
        assert!(ledger::install(1 << 20).is_err());
    });
}

#[test]
fn thread_locals_that_die_last_are_still_counted() {
    struct Late(Vec<u8>);
    impl Drop for Late {
        fn drop(&mut self) {
            drop(allocate(1, 12_345));
            black_box(&self.0);
        }
    }
    thread_local! {
        static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
    }
    alone("thread_locals_that_die_last_are_still_counted", || {
        ledger::install(8).unwrap();
        let reader = my_reader();
        let before = reader.read();
        thread::spawn(|| LATE.with(|late| *late.borrow_mut() = Some(Late(vec![1; 54_321]))))
            .join()
            .unwrap();
        let after = reader.read();
        // They ran before the slot was given back.
        let ended = after.ended_heap.allocated_bytes - before.ended_heap.allocated_bytes;
        assert!(ended >= 12_345 + 54_321, "{ended}");
        assert!(after.ended_heap.freed_bytes - before.ended_heap.freed_bytes >= 12_345 + 54_321);
    });
}

#[test]
fn a_forked_child_leaves_its_parents_ledger_alone() {
    /// In the child: 0 when all is well.
    fn child() -> i32 {
        drop(allocate(1000, 100));
        let me = Pid(std::process::id());
        match Reader::find(&ProcRoot::live(), me) {
            Ok(None) => {}
            _ => return 1,
        }
        if ledger::install(4).is_err() {
            return 2;
        }
        drop(allocate(10, 10));
        match Reader::find(&ProcRoot::live(), me) {
            Ok(Some(reader)) if row(&reader.read(), my_tid()).heap.allocations >= 10 => 0,
            _ => 3,
        }
    }

    alone("a_forked_child_leaves_its_parents_ledger_alone", || {
        ledger::install(8).unwrap();
        let reader = my_reader();
        let before = row(&reader.read(), my_tid()).heap;
        // SAFETY: the child has this one thread, and ends without running anything of the harness.
        let child_pid = unsafe { libc::fork() };
        assert!(child_pid >= 0);
        if child_pid == 0 {
            let verdict = child();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(verdict) };
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(child_pid, &raw mut status, 0) };
        assert_eq!(waited, child_pid);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 0, "see `child` for what this number means");
        let after = row(&reader.read(), my_tid()).heap;
        assert!(after.allocations - before.allocations < 500, "{before:?} {after:?}");
    });
}

/// The other side of `another_process_is_read_from_outside`.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn outsider() {
    if std::env::var(ALONE).is_err() {
        return;
    }
    ledger::install(32).unwrap();
    let pool = ledger::intern("outside");
    let workload = ledger::intern("merge");
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            tasks::joins_pool(pool);
            for id in 0..1000 {
                tasks::begins(workload, id, ledger::now());
                tasks::ends(Nanos(2), Nanos(3));
            }
            tasks::begins(workload, 4242, ledger::now());
            println!("worker {}", my_tid());
            barrier.wait();
        });
        // Ends when the other side closes the pipe, or kills us.
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        barrier.wait();
    });
}

#[test]
fn another_process_is_read_from_outside() {
    let mut child = command("outsider")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid(child.id());
    let worker = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split("worker ").nth(1)?.trim().parse().ok().map(Tid))
        .expect("the child says its worker's tid");
    let reader = Reader::find(&ProcRoot::live(), pid).unwrap().expect("it has a ledger");
    let view = reader.read();
    let task = row(&view, worker).task.clone().unwrap();
    assert_eq!((&*task.pool, task.workload.as_deref()), ("outside", Some("merge")));
    assert_eq!((task.id, task.done), (Some(4242), 1000));
    assert_eq!((task.queue_wait, task.service), (Nanos(2000), Nanos(3000)));
    assert!(task.age.is_some());

    // Nobody else can write to it: not through our mapping, not through its descriptor.
    let forged = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .find(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("threadscape")))
        .map(|entry| std::fs::OpenOptions::new().write(true).open(entry.path()))
        .unwrap();
    if let Ok(mut file) = forged {
        assert!(file.write_all(b"forged").is_err());
    }

    child.kill().unwrap();
    child.wait().unwrap();
    // The memory outlives its writer for as long as we hold it; the process cannot be found again.
    assert_eq!(row(&reader.read(), worker).task.as_ref().unwrap().done, 1000);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match Reader::find(&ProcRoot::live(), pid) {
            Err(ReaderError::Ended(ended)) => break assert_eq!(ended, pid),
            _ if Instant::now() > deadline => panic!("still there"),
            _ => thread::yield_now(),
        }
    }
}

#[test]
fn a_captured_tree_has_no_ledger() {
    let found = Reader::find(&ProcRoot::captured("/proc"), Pid(std::process::id()));
    assert!(found.unwrap().is_none());
}

#[test]
fn the_peak_of_the_heap_is_told_between_two_marks_that_nest() {
    alone("the_peak_of_the_heap_is_told_between_two_marks_that_nest", || {
        ledger::install(16).unwrap();
        let peaks = thread::spawn(|| {
            let kept = black_box(Vec::<u8>::with_capacity(500));
            let outer = ledger::tasks::marks_heap();
            let first = black_box(Vec::<u8>::with_capacity(3000));
            drop(first);
            let inner = ledger::tasks::marks_heap();
            let second = black_box(Vec::<u8>::with_capacity(1000));
            drop(second);
            let inner = ledger::tasks::heap_peak(inner);
            drop(kept);
            let outer = ledger::tasks::heap_peak(outer);
            let idle = ledger::tasks::marks_heap();
            (outer, inner, ledger::tasks::heap_peak(idle))
        })
        .join()
        .unwrap();
        assert_eq!(peaks, (Some(3000), Some(1000), Some(0)));
    });
}
