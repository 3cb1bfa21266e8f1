//! What the pools promise to cost, and what their peers cost in the same run.
//!
//! One line a promise: measured, limit or peer, verdict. Metrics are on as in the workbench: ledger
//! installed, allocator counted. Each figure is the best of some rounds, since whatever else
//! runs on the machine can only add to it.

mod table;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use threadscape::ledger::{self, Heap};
use threadscape::model::{Nanos, QueuePolicy};
use threadscape::pools::{self, Pool, PoolKind, PoolSpec, Task, workload_id};
use threadscape::workloads::Join;

#[global_allocator]
static HEAP: Heap = Heap;

const LONG: Duration = Duration::from_secs(60);
const KINDS: [(&str, PoolKind); 2] = [
    ("stealing", PoolKind::Stealing),
    ("shared-channel", PoolKind::SharedChannel),
];

fn pool(kind: PoolKind, workers: usize, queue_capacity: usize) -> Arc<dyn Pool> {
    pools::build(PoolSpec {
        name: "bench".into(),
        kind,
        workers,
        queue_capacity,
        policy: QueuePolicy::Block,
        stack_bytes: 1 << 20,
    })
    .expect("a pool for the bench")
}

fn best<T: PartialOrd>(rounds: usize, mut measure: impl FnMut() -> T) -> T {
    let mut best = measure();
    for _ in 1..rounds {
        let next = measure();
        if next < best {
            best = next;
        }
    }
    best
}

fn row(what: &str, measured: &str, against: &str, met: Option<bool>) {
    table::row("pools", what, measured, against, met);
}

fn main() {
    let _ = ledger::install(256);
    for (name, kind) in KINDS {
        for capacity in [1024, 1 << 16] {
            let cost = best(20, || submit_to_done(kind, capacity, 250_000));
            row(
                &format!("submit to done, {name}, 2 workers, queue {capacity}"),
                &format!("{cost:.0} ns"),
                if kind == PoolKind::Stealing {
                    "at most 150 ns"
                } else {
                    ""
                },
                (kind == PoolKind::Stealing).then_some(cost <= 150.0),
            );
        }
    }
    for (name, kind) in KINDS {
        let (ours, rayons) = fork_join(kind, 30);
        row(
            &format!("fork-join, fib(30) to the last leaf, {name}, 2 workers"),
            &format!("{ours:.1} ms"),
            &format!("rayon {rayons:.1} ms, at most 2x"),
            (kind == PoolKind::Stealing).then_some(ours <= 2.0 * rayons),
        );
    }
    for (name, kind) in KINDS {
        let (median, p99) = wake_up(kind);
        row(
            &format!("wake-up of a parked worker, submit to start, {name}, p50"),
            &format!("{:.1} us", median.0 as f64 / 1e3),
            &format!("p99 {:.1} us", p99.0 as f64 / 1e3),
            None,
        );
    }
    for (name, kind) in KINDS {
        let cost = parked(kind);
        row(
            &format!("CPU of 64 parked workers over a second, {name}"),
            &format!("{:.3} ms", cost.0 as f64 / 1e6),
            "at most 0.1 ms",
            Some(cost.0 <= 100_000),
        );
    }
}

/// Time from the first submit to the last `then`, for each task.
fn submit_to_done(kind: PoolKind, capacity: usize, tasks: u64) -> f64 {
    let pool = pool(kind, 2, capacity);
    let workload = workload_id("bench");
    let begun = Instant::now();
    for id in 0..tasks {
        // A capture, so that the body is a block of its own on the heap.
        let body = move |_: &dyn Join| {
            black_box(id);
        };
        let task = Task {
            workload,
            id,
            body: Box::new(body),
            then: None,
        };
        pool.submit(task, LONG).expect("room within a minute");
    }
    let report = pool.drain(LONG);
    let took = begun.elapsed();
    assert_eq!((report.abandoned, report.stuck.len()), (0, 0));
    assert_eq!(pool.status().done, tasks);
    took.as_nanos() as f64 / tasks as f64
}

fn fib(n: u32, join: &dyn Join) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = join.join(|| fib(n - 1, join), || fib(n - 2, join));
    a + b
}

fn fib_rayon(n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = rayon::join(|| fib_rayon(n - 1), || fib_rayon(n - 2));
    a + b
}

/// The same tree by us and by rayon, in turns: milliseconds.
fn fork_join(kind: PoolKind, n: u32) -> (f64, f64) {
    let pool = pool(kind, 2, 16);
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("rayon's pool");
    let (mut ours, mut rayons) = (f64::MAX, f64::MAX);
    for _ in 0..15 {
        let took = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&took);
        let (done, wait) = crossbeam::channel::bounded(1);
        let body = move |join: &dyn Join| {
            let begun = Instant::now();
            black_box(fib(black_box(n), join));
            tell.store(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
            let _ = done.send(());
        };
        let task = Task {
            workload: 0,
            id: 0,
            body: Box::new(body),
            then: None,
        };
        pool.submit(task, LONG).expect("an empty queue");
        wait.recv_timeout(LONG).expect("fib ends");
        ours = ours.min(took.load(Ordering::Relaxed) as f64 / 1e6);
        let begun = Instant::now();
        rayon.install(|| black_box(fib_rayon(black_box(n))));
        rayons = rayons.min(begun.elapsed().as_nanos() as f64 / 1e6);
    }
    (ours, rayons)
}

/// One task at a time into a sleeping pool: from its submit to its start, median and p99.
fn wake_up(kind: PoolKind) -> (Nanos, Nanos) {
    let pool = pool(kind, 2, 16);
    let mut waits: Vec<Nanos> = (0..500)
        .map(|id| {
            while !pool.status().workers.iter().all(|worker| worker.parked) {
                std::thread::yield_now();
            }
            // Parked says that it is about to sleep: let it.
            std::thread::sleep(Duration::from_micros(200));
            let (tell, told) = crossbeam::channel::bounded(1);
            let task = Task {
                workload: 0,
                id,
                body: Box::new(|_| ()),
                then: Some(Box::new(move |done| {
                    let _ = tell.send(done);
                })),
            };
            pool.submit(task, LONG).expect("an empty queue");
            let done = told.recv_timeout(LONG).expect("the task ends");
            done.started.saturating_sub(done.enqueued)
        })
        .collect();
    waits.sort_unstable();
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

/// CPU that this process takes in a second in which its pool has nothing to do.
fn parked(kind: PoolKind) -> Nanos {
    let pool = pool(kind, 64, 16);
    while !pool.status().workers.iter().all(|worker| worker.parked) {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(100));
    best(3, || {
        let before = threadscape::kernel::clock::process_cpu();
        std::thread::sleep(Duration::from_secs(1));
        threadscape::kernel::clock::process_cpu().saturating_sub(before)
    })
}
