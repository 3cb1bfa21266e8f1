//! What sampling costs, held against what is promised and against `ps`.
//!
//! Two rows of the table are about ourselves: 64 threads of this process, read ten times a second.
//! The others are about a child with 10 000 blocked threads (this program, started again): the first
//! pass reads full rows, a steady one only what has moved. `ps` lists the same threads with the same
//! columns in the same run. All figures are CPU time; nothing is asserted, machines differ.

mod table;

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use table::row;
use threadscape::kernel::clock;
use threadscape::model::{Nanos, Pid, Snapshot};
use threadscape::observe::{self, Inspector, Settings};

const MANY: usize = 10_000;
const OWN: usize = 64;
/// Tells the child what it is.
const BLOCKED_THREADS: &str = "THREADSCAPE_BENCH_BLOCKED_THREADS";

fn main() {
    if let Ok(count) = env::var(BLOCKED_THREADS) {
        return be_blocked(count.parse().unwrap_or(MANY));
    }
    own_threads();
    many_threads();
}

fn cpu(what: &str, measured: Nanos, most_ms: Option<f64>) {
    let against = most_ms.map_or(String::new(), |most| format!("at most {most} ms"));
    let met = most_ms.map(|most| measured.seconds() * 1e3 <= most);
    row("reading", what, &milliseconds(measured), &against, met);
}

/// `OWN` threads of this process: most wait, some are woken now and then, as in a server.
fn own_threads() {
    let (release, threads) = start_threads(OWN - 4, false);
    let (release_woken, woken) = start_threads(4, true);
    let (_sampler, inspector) = observe::start(Settings::default(), || None, |_| {}).unwrap();
    let own = Pid(std::process::id());
    let watch = inspector.watch(own, Duration::from_millis(100)).unwrap();
    let first = inspector.snapshot(own).unwrap();
    settle(&inspector, own, &first, 5);
    let (cpu, at) = (inspector.cost().cpu, Instant::now());
    thread::sleep(Duration::from_secs(3));
    let spent = inspector.cost().cpu.saturating_sub(cpu).seconds() / at.elapsed().as_secs_f64();
    row(
        "reading",
        "own 64 threads at 10 Hz, 4 of them woken 100 times a second",
        &format!("{:.2} %", spent * 100.0),
        "at most 1 % of a core",
        Some(spent <= 0.01),
    );
    drop(watch);
    drop((release, release_woken));
    for thread in threads.into_iter().chain(woken) {
        let _ = thread.join();
    }
}

fn many_threads() {
    let mut child = start_child(MANY);
    let pid = Pid(child.process.id());
    let (_sampler, inspector) = observe::start(Settings::default(), || None, |_| {}).unwrap();
    let _watch = inspector.watch(pid, Duration::from_millis(500)).unwrap();
    let first = inspector.snapshot(pid).unwrap();
    let unknown = first.threads.iter().filter(|row| row.stack.is_err()).count();
    let first_pass = first.cost.cpu;
    cpu(
        &format!("{} threads, first pass, {unknown} without a stack", first.threads.len()),
        first_pass,
        Some(600.0),
    );
    let mut latest = first;
    let mut steady: Vec<Nanos> = Vec::new();
    for _ in 0..10 {
        latest = inspector.snapshot_after(pid, latest.taken_at).unwrap();
        steady.push(latest.cost.cpu);
    }
    steady.sort_unstable();
    let median = steady[steady.len() / 2];
    cpu("the same, a steady pass, median of 10", median, Some(100.0));
    cpu("the same, the worst of the 10", *steady.last().unwrap(), None);

    let before = children_cpu();
    let listed = Command::new("ps")
        .args(["-L", "-o", "pid,tid,stat,time,wchan,comm", "-p", &pid.to_string()])
        .output();
    match listed {
        Ok(listed) => {
            let rows = String::from_utf8_lossy(&listed.stdout)
                .lines()
                .count()
                .saturating_sub(1);
            let what = format!("ps -L -o pid,tid,stat,time,wchan,comm, {rows} rows");
            let theirs = children_cpu().saturating_sub(before);
            let met = first_pass < theirs && median < theirs;
            row(
                "reading",
                &what,
                &milliseconds(theirs),
                "more than both of ours",
                Some(met),
            );
        }
        Err(error) => row("reading", "ps -L", &error.kind().to_string(), "", None),
    }
    child.end();
}

fn milliseconds(time: Nanos) -> String {
    format!("{:.1} ms", time.seconds() * 1e3)
}

/// Waits for this many further snapshots.
fn settle(inspector: &Inspector, pid: Pid, first: &Arc<Snapshot>, passes: usize) {
    let mut latest = Arc::clone(first);
    for _ in 0..passes {
        latest = inspector.snapshot_after(pid, latest.taken_at).unwrap();
    }
}

/// Of the children that have ended and were waited for. Resolution 10 ms.
fn children_cpu() -> Nanos {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat());
    let ticks = stat.map_or(0, |stat| (stat.cutime + stat.cstime).max(0) as u64);
    Nanos(ticks * 10_000_000)
}

/// Threads that block until the sender is dropped, or that wake a hundred times a second until then.
fn start_threads(count: usize, wake: bool) -> (mpsc::Sender<()>, Vec<thread::JoinHandle<()>>) {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let start = |index: usize| {
        let wait = Arc::clone(&wait);
        thread::Builder::new()
            .name(format!("bench-{index}"))
            .stack_size(64 * 1024)
            .spawn(move || {
                if wake {
                    // Whoever holds the lock polls the channel; the others sleep a little and try again.
                    while !matches!(
                        wait.try_lock().map(|wait| wait.try_recv()),
                        Ok(Err(mpsc::TryRecvError::Disconnected))
                    ) {
                        thread::sleep(Duration::from_millis(10));
                    }
                } else if let Ok(wait) = wait.lock() {
                    let _ = wait.recv();
                }
            })
            .expect("a thread")
    };
    (release, (0..count).map(start).collect())
}

struct Blocked {
    process: Child,
}

impl Blocked {
    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.end();
    }
}

fn start_child(threads: usize) -> Blocked {
    let program = env::current_exe().expect("our own program");
    let mut process = Command::new(program)
        .env(BLOCKED_THREADS, threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child");
    let mut ready = String::new();
    BufReader::new(process.stdout.take().expect("a pipe"))
        .read_line(&mut ready)
        .expect("the child says when it is ready");
    // Its last threads are on their way into the kernel.
    let asked = clock::monotonic();
    while clock::cpu_of(Pid(process.id())).is_some() && clock::monotonic().saturating_sub(asked).seconds() < 0.5 {
        thread::sleep(Duration::from_millis(50));
    }
    Blocked { process }
}

/// The child: starts its threads, says so, and lives until its parent is gone.
fn be_blocked(count: usize) {
    let (release, threads) = start_threads(count.saturating_sub(1), false);
    println!("{}", threads.len());
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(release);
    std::process::exit(0);
}
