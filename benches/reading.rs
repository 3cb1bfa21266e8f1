//! What sampling costs, held against what is promised and against `ps`.
//!
//! Two rows of the table are about ourselves: 64 threads of this process, read ten times a second.
//! The others are about a child with 10 000 blocked threads (this program, started again): the first
//! pass reads full rows, a steady one only what has moved. `ps` lists the same threads with the same
//! columns in the same run; then the same with 25 000. Last comes the list of processes with 500 more
//! of them on the machine. All figures are CPU time; nothing is asserted, machines differ.

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
/// As many as fit under the usual limits of mappings and pids.
const VERY_MANY: usize = 25_000;
const OWN: usize = 64;
/// Started beside those that the machine has.
const PROCESSES: usize = 500;
/// Tells the child what it is.
const BLOCKED_THREADS: &str = "THREADSCAPE_BENCH_BLOCKED_THREADS";

fn main() {
    if let Ok(count) = env::var(BLOCKED_THREADS) {
        return be_blocked(count.parse().unwrap_or(MANY));
    }
    own_threads();
    many_threads(start_child(MANY), Some(600.0), Some(100.0));
    match start_small(VERY_MANY) {
        Ok(child) => many_threads(child, Some(4000.0), None),
        Err(why) => row("reading", "25000 threads", &why, "", None),
    }
    many_processes();
}

/// The list of all processes while so many of them sleep.
fn many_processes() {
    let sleepers: Vec<Blocked> = (0..PROCESSES)
        .map(|_| Blocked {
            process: Command::new("sleep").arg("600").spawn().expect("sleep"),
        })
        .collect();
    let (_sampler, inspector) = observe::start(Settings::default(), || None, |_| {}).unwrap();
    let listed = |inspector: &Inspector| {
        let before = clock::thread_cpu();
        let census = inspector.fresh_census();
        (census.processes.len(), clock::thread_cpu().saturating_sub(before))
    };
    let (count, first) = listed(&inspector);
    cpu(&format!("the list of {count} processes, the first"), first, None);
    let mut steady: Vec<Nanos> = (0..10)
        .map(|_| {
            // Further apart than what makes a rate, as a page asks for it.
            thread::sleep(Duration::from_millis(250));
            listed(&inspector).1
        })
        .collect();
    steady.sort_unstable();
    cpu("the same, median of 10", steady[steady.len() / 2], Some(30.0));
    cpu("the same, the worst of the 10", *steady.last().unwrap(), None);
    drop(sleepers);
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

fn many_threads(mut child: Blocked, most_first: Option<f64>, most_steady: Option<f64>) {
    let pid = Pid(child.process.id());
    let (_sampler, inspector) = observe::start(Settings::default(), || None, |_| {}).unwrap();
    let _watch = inspector.watch(pid, Duration::from_millis(500)).unwrap();
    let first = inspector.snapshot(pid).unwrap();
    let unknown = first.threads.iter().filter(|row| row.stack.is_err()).count();
    let first_pass = first.cost.cpu;
    cpu(
        &format!("{} threads, first pass, {unknown} without a stack", first.threads.len()),
        first_pass,
        most_first,
    );
    let mut latest = first;
    let mut steady: Vec<Nanos> = Vec::new();
    for _ in 0..10 {
        latest = inspector.snapshot_after(pid, latest.taken_at).unwrap();
        steady.push(latest.cost.cpu);
    }
    steady.sort_unstable();
    let median = steady[steady.len() / 2];
    cpu("the same, a steady pass, median of 10", median, most_steady);
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
    let process = Command::new(program)
        .env(BLOCKED_THREADS, threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child");
    wait_until_ready(process)
}

/// A thread of Rust's takes two more mappings for signals: so many more of C's fit under the limit of mappings.
const SMALL_THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void *wait_for_ever(void *unused) { for (;;) pause(); return unused; }
int main(int argc, char **argv) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    long made = 1;
    for (pthread_t thread; made < atol(argv[1]); made++)
        if (pthread_create(&thread, &small, wait_for_ever, NULL)) break;
    printf("%ld\n", made);
    fflush(stdout);
    return getchar();
}
"#;

fn start_small(threads: usize) -> Result<Blocked, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (source, program) = (folder.path().join("small.c"), folder.path().join("small"));
    std::fs::write(&source, SMALL_THREADS).map_err(|error| error.to_string())?;
    let built = Command::new("cc")
        .args(["-O1", "-w", "-pthread", "-o"])
        .args([&program, &source])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("no cc to build them with".to_owned());
    }
    let process = Command::new(&program)
        .arg(threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    Ok(wait_until_ready(process))
}

fn wait_until_ready(mut process: Child) -> Blocked {
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
