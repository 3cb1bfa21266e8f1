//! What the ledger costs those who write it and the one who reads it, and what history costs a tick.
//!
//! Allocator and system allocator run in turns in the same process. Time is CPU time of the measuring
//! thread, in many short rounds of which the least disturbed counts: what another process does to the
//! machine is not a cost of ours.

mod table;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::SystemTime;

use table::row;
use threadscape::history;
use threadscape::kernel::{ProcRoot, clock};
use threadscape::ledger::{self, Heap, Reader, tasks};
use threadscape::model::{
    Condition, Evidence, Nanos, Pid, ProcessKey, Role, SelfCost, Snapshot, StateCounts, Thread, ThreadKey, ThreadState,
    Ticks, Tid, Unknown,
};

const ROUNDS: usize = 61;

fn main() {
    // `cargo test --benches` runs this too: then once and short.
    let quick = std::env::args().any(|argument| argument == "--test");
    let pairs: u64 = if quick { 1000 } else { 200_000 };
    // Before the ledger is made: what a program pays that never makes one.
    let (system, on_top) = in_turns(pairs);
    line("alloc + free of 64 bytes, system allocator", system, "ns", None);
    line("  counted, in a process without a ledger: on top", on_top, "ns", None);

    ledger::install(4096).expect("the ledger is made once");
    let (_, on_top) = in_turns(pairs);
    line("  counted: on top", on_top, "ns", Some(3.0));

    let (pool, workload) = (ledger::intern("bench"), ledger::intern("nothing"));
    tasks::joins_pool(pool);
    let task = least(|| {
        each(pairs, |id| {
            tasks::begins(workload, id, Nanos(id));
            tasks::ends(Nanos(3), Nanos(7));
        })
    });
    line("a task's bookkeeping: begins + ends", task, "ns", Some(120.0));
    let clocked = least(|| {
        each(pairs / 4, |id| {
            let started = ledger::now();
            tasks::begins(workload, id, started);
            let ended = ledger::now();
            tasks::ends(Nanos(3), ended.saturating_sub(started));
        })
    });
    line(
        "  with the two clock readings that a worker makes",
        clocked,
        "ns",
        Some(120.0),
    );

    let threads = if quick { 4 } else { 1000 };
    let reader = Reader::find(&ProcRoot::live(), Pid(std::process::id()))
        .expect("our own descriptors can be read")
        .expect("the ledger was made");
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || {
                    tasks::joins_pool(pool);
                    barrier.wait();
                    barrier.wait();
                })
                .expect("a thread starts");
        }
        barrier.wait();
        let rows = reader.read().rows.len();
        let read = least(|| timed(5, || reader.read().rows.len()));
        line(&format!("a reading of {rows} slots in use"), read / 1000.0, "µs", None);
        barrier.wait();
    });

    let rows = if quick { 10 } else { 10_000 };
    let asleep = tick_cost(rows, false);
    line(
        &format!("history: a tick of {rows} sleeping threads"),
        asleep,
        "ms",
        None,
    );
    let busy = tick_cost(rows, true);
    line(
        &format!("history: a tick of {rows} threads that all ran"),
        busy,
        "ms",
        None,
    );
}

fn line(what: &str, cost: f64, unit: &str, most: Option<f64>) {
    let against = most.map_or(String::new(), |most| format!("at most {most} {unit}"));
    let area = if what.starts_with("history") {
        "history"
    } else {
        "ledger"
    };
    row(
        area,
        what,
        &format!("{cost:.2} {unit}"),
        &against,
        most.map(|most| cost <= most),
    );
}

/// Nanoseconds of a pair through the system allocator, and what ours adds.
fn in_turns(pairs: u64) -> (f64, f64) {
    let (mut system, mut ours) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        system = system.min(each(pairs, |_| pair(&System)));
        ours = ours.min(each(pairs, |_| pair(&Heap)));
    }
    (system, ours - system)
}

#[inline(always)]
fn pair(heap: &impl GlobalAlloc) {
    let layout = Layout::new::<[u64; 8]>();
    // SAFETY: the layout is not empty.
    let block = black_box(unsafe { heap.alloc(layout) });
    // SAFETY: allocated right above with this layout; a null would have stopped the bench long ago.
    unsafe { heap.dealloc(block, layout) };
}

fn each(times: u64, mut body: impl FnMut(u64)) -> f64 {
    let begin = clock::thread_cpu();
    for turn in 0..times {
        body(black_box(turn));
    }
    clock::thread_cpu().saturating_sub(begin).0 as f64 / times.max(1) as f64
}

fn timed<T>(times: u64, mut body: impl FnMut() -> T) -> f64 {
    each(times, |_| {
        black_box(body());
    })
}

fn least(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Milliseconds of one push of a snapshot with so many threads, on average: now and then one is
/// dearer, when memory runs short and old detail goes.
fn tick_cost(rows: u32, busy: bool) -> f64 {
    let (writer, _reader) = history::new(history::Settings::default());
    let mut spent = Nanos(0);
    let ticks = 100;
    for at in 1..=ticks {
        let snapshot = Arc::new(snapshot(at, rows, busy));
        let begin = clock::thread_cpu();
        writer.push(&snapshot);
        spent = Nanos(spent.0 + clock::thread_cpu().saturating_sub(begin).0);
    }
    spent.seconds() * 1e3 / ticks as f64
}

fn snapshot(at: u64, rows: u32, busy: bool) -> Snapshot {
    let process = ProcessKey {
        pid: Pid(1),
        start: Ticks(1),
    };
    let ratio = |tid: u32| if busy { f64::from(tid + at as u32) / 1e6 } else { 0.0 };
    let threads: Vec<Thread> = (1..=rows)
        .map(|tid| thread(process, tid, Ok(ratio(tid)), if busy { at * 7 } else { 7 }))
        .collect();
    Snapshot {
        process,
        role: Role::Other,
        name: "bench".into(),
        condition: Condition::UNREMARKABLE,
        sequence: at,
        taken_at: Nanos(at * 1_000_000_000),
        wall_clock: SystemTime::UNIX_EPOCH,
        interval: Ok(Nanos(1_000_000_000)),
        counts: StateCounts::of(&threads),
        threads,
        peak: rows,
        watched_since: Nanos(0),
        started_total: u64::from(rows),
        started_exact: false,
        ended_total: 0,
        truncated: false,
        ledger: Err(Unknown::NoLedger),
        cpu_ratio: Ok(0.5),
        rss_bytes: Ok(1 << 20),
        cost: SelfCost::default(),
    }
}

fn thread(process: ProcessKey, tid: u32, ratio: Evidence<f64>, switches: u64) -> Thread {
    let unknown = Unknown::NotAsked;
    Thread {
        key: ThreadKey {
            process,
            tid: Tid(tid),
            start: Ticks(1),
        },
        name: "row".into(),
        name_bytes: None,
        state: ThreadState::Sleeping,
        state_letter: b'S',
        cpu_ratio: ratio,
        user_time: Err(unknown),
        system_time: Err(unknown),
        on_cpu: Err(unknown),
        run_delay: Err(unknown),
        run_delay_ratio: ratio,
        timeslices: Err(unknown),
        voluntary_switches: Ok(switches),
        involuntary_switches: Ok(switches),
        minor_faults: Err(unknown),
        major_faults: Err(unknown),
        last_cpu: Err(unknown),
        nice: Err(unknown),
        policy: Err(unknown),
        rt_priority: Err(unknown),
        allowed_cpus: Err(unknown),
        wait: Err(unknown),
        stack: Err(unknown),
        heap: Err(unknown),
        task: Err(unknown),
        pool: None,
    }
}
