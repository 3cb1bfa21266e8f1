//! What a look from outside costs, and that nobody is stopped for it: stacks and locks of 10 000 threads, of 64,
//! the list of 500 processes, and the daemon's memory meanwhile.
//!
//! The targets are the C programs of `tests/observed/programs`, compiled here. One of them keeps the largest gap
//! between the ticks of its own heart and counts the calls that a stop broke off. `eu-stack -p` looks at the same target
//! in the same run: it needs all threads stopped, and is the yardstick. A daemon, the real binary, answers over HTTP.

mod table;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use table::{ms, row};
use threadscape::kernel::clock;
use threadscape::model::{Dump, Pid};
use threadscape::observe::{self, Inspector, Settings, StackOptions};

const MANY: usize = 10_000;
const FEW: usize = 64;
const PROCESSES: usize = 500;
/// eu-stack is ended after this long: it is slower than that, then.
const LONGEST: Duration = Duration::from_secs(180);
/// Windows in which the heart's largest gap is kept: as many without us as with us.
const WINDOWS: usize = 5;

fn main() {
    let (_sampler, inspector) = observe::start(Settings::default(), || None, |_| {}).unwrap();
    let ours = many_threads(&inspector);
    few_threads(&inspector);
    many_locks(&inspector);
    many_processes(&inspector);
    if let Some(ours) = ours {
        yardstick(ours);
    }
    daemon_memory();
}

/// Without a limit there is nothing to meet.
fn held(what: &str, measured: Duration, most: Duration) {
    row(
        "stacks",
        what,
        &ms(measured),
        &format!("at most {} ms", most.as_millis()),
        Some(measured <= most),
    );
}

fn patient() -> StackOptions {
    StackOptions {
        patience: Duration::from_secs(30),
        ..StackOptions::default()
    }
}

/// Stacks of many threads: the first dump, and the median of later ones. Whose heart beats on.
fn many_threads(inspector: &Inspector) -> Option<Duration> {
    let mut program = Program::start("heartbeat.c", &[&MANY.to_string()])?;
    let pid = program.settled(MANY + 2);
    let began = Instant::now();
    let dump = inspector.stacks(pid, &patient()).expect("a dump");
    let first = began.elapsed();
    let (complete, named) = (complete(&dump), named(&dump));
    held(
        &format!(
            "{} threads, first dump, {complete} complete, {named} named",
            dump.threads.len()
        ),
        first,
        Duration::from_secs(1),
    );
    // As long without us as with us: the machine itself makes gaps.
    let mut before = Vec::new();
    for _ in 0..WINDOWS {
        program.gap();
        thread::sleep(first.max(Duration::from_millis(300)));
        before.push(program.gap().0);
    }
    let (mut took, mut during, mut paused) = (Vec::new(), Vec::new(), 0);
    for _ in 0..WINDOWS {
        program.gap();
        let began = Instant::now();
        let dump = inspector.stacks(pid, &patient()).expect("a dump");
        took.push(began.elapsed());
        paused += dump.paused;
        during.push(program.gap().0);
    }
    took.sort_unstable();
    held(
        "the same, a later dump, median",
        took[took.len() / 2],
        Duration::from_secs(1),
    );
    let broken = program.gap().1;
    let (before, during) = (median(&mut before), median(&mut during));
    row(
        "stacks",
        &format!("the target's largest gap while it is dumped; {paused} stopped, {broken} calls broken off"),
        &ms(during),
        &format!("{} when nobody looks", ms(before)),
        // A tick of the scheduler more: the dump takes a CPU from it, not its time.
        Some(broken == 0 && paused == 0 && during <= before + Duration::from_millis(5)),
    );
    Some(took[took.len() / 2])
}

fn median(spans: &mut [Duration]) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

fn complete(dump: &Dump) -> usize {
    let whole = |stack: &threadscape::model::Stack| stack.end == threadscape::model::StackEnd::Complete;
    dump.threads
        .iter()
        .filter(|thread| thread.stack.as_ref().is_ok_and(|stack| whole(stack)))
        .count()
}

/// Threads whose stack shows the function five calls down.
fn named(dump: &Dump) -> usize {
    let five = |frame: &threadscape::model::Frame| frame.place.function().is_some_and(|name| &**name == "level_five");
    dump.threads
        .iter()
        .filter(|thread| thread.stack.as_ref().is_ok_and(|stack| stack.frames.iter().any(five)))
        .count()
}

fn few_threads(inspector: &Inspector) {
    let Some(mut program) = Program::start("deep.c", &[&(FEW - 2).to_string()]) else {
        return;
    };
    let pid = program.settled(FEW);
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let dump = inspector.stacks(pid, &patient()).expect("a dump");
        took.push(began.elapsed());
        assert_eq!(dump.threads.len(), FEW);
    }
    // The first one reads the files.
    row("stacks", &format!("{FEW} threads, first dump"), &ms(took[0]), "", None);
    held(
        &format!("{FEW} threads, warm dump, median of 49"),
        median(&mut took[1..]),
        Duration::from_millis(10),
    );
}

fn many_locks(inspector: &Inspector) {
    let Some(mut program) = Program::start("deep.c", &[&MANY.to_string(), "locks"]) else {
        return;
    };
    let pid = program.settled(MANY + 2);
    let mut took = Vec::new();
    let mut waits = 0;
    for _ in 0..WINDOWS {
        let began = Instant::now();
        waits = inspector.locks(pid, &patient()).expect("locks").waits.len();
        took.push(began.elapsed());
    }
    held(
        &format!("locks of {waits} threads that wait, stacks and all, median of {WINDOWS}"),
        median(&mut took),
        Duration::from_millis(300),
    );
}

fn many_processes(inspector: &Inspector) {
    let others = inspector.fresh_census().processes.len();
    let sleepers: Vec<Ended> = (others..PROCESSES)
        .filter_map(|_| {
            let child = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn();
            child.ok().map(Ended)
        })
        .collect();
    let mut took = Vec::new();
    let mut listed = 0;
    for _ in 0..10 {
        let before = clock::process_cpu();
        listed = inspector.fresh_census().processes.len();
        took.push(Duration::from_nanos(clock::process_cpu().saturating_sub(before).0));
    }
    drop(sleepers);
    held(
        &format!("the list of {listed} processes, CPU time, median of 10"),
        median(&mut took),
        Duration::from_millis(30),
    );
}

/// The same threads by another tool. Last but one: the target is stopped for all this time.
fn yardstick(ours: Duration) {
    let Some(mut program) = Program::start("heartbeat.c", &[&MANY.to_string()]) else {
        return;
    };
    let pid = program.settled(MANY + 2);
    program.gap();
    let spawned = Command::new("eu-stack")
        .args(["-p", &pid.0.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = spawned else {
        return row("stacks", "eu-stack -p is not installed", "", "", None);
    };
    let mut child = Ended(child);
    let began = Instant::now();
    while child.0.try_wait().is_ok_and(|ended| ended.is_none()) && began.elapsed() < LONGEST {
        thread::sleep(Duration::from_millis(20));
    }
    let theirs = began.elapsed();
    drop(child);
    let (gap, broken) = program.gap();
    row(
        "stacks",
        &format!("eu-stack -p, the same {MANY} threads; its target stood for {}", ms(gap)),
        &ms(theirs),
        &format!(
            "{:.0}x ours, to be 10x; {broken} calls broken",
            theirs.as_secs_f64() / ours.as_secs_f64()
        ),
        Some(theirs >= ours * 10),
    );
}

/// The most that a daemon ever had in memory while it was asked for all of this.
fn daemon_memory() {
    let Some(mut program) = Program::start("deep.c", &[&MANY.to_string(), "locks"]) else {
        return;
    };
    let pid = program.settled(MANY + 2);
    let state = tempfile::tempdir().expect("a folder");
    let started = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(state.path())
        .env_remove("THREADSCAPE_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut daemon = Ended(started.expect("the daemon"));
    let mut out = BufReader::new(daemon.0.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("http://") {
        line.clear();
        if out.read_line(&mut line).unwrap_or(0) == 0 {
            return row("stacks", "the daemon did not start", "", "", Some(false));
        }
    }
    let link = line.split_once("http://").map_or("", |(_, link)| link.trim());
    let (address, token) = link.split_once("/?token=").unwrap_or((link, ""));
    let mut worst = Duration::ZERO;
    let mut bytes = 0;
    for _ in 0..3 {
        for what in ["stacks", "locks", "dump", "findings", "threads?limit=1000"] {
            let began = Instant::now();
            bytes += get(address, token, &format!("/api/v1/processes/{}/{what}", pid.0));
            worst = worst.max(began.elapsed());
        }
    }
    let peak = status_kib(daemon.0.id(), "VmHWM:");
    row(
        "stacks",
        &format!(
            "daemon's memory at its peak; {} MiB answered, slowest in {}",
            bytes >> 20,
            ms(worst)
        ),
        &format!("{:.0} MiB", peak as f64 / 1024.0),
        "at most 200 MiB",
        Some(peak <= 200 * 1024),
    );
}

fn get(address: &str, token: &str, path: &str) -> usize {
    let ask = || -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        assert!(
            all.starts_with(b"HTTP/1.1 200"),
            "{path}: {}",
            String::from_utf8_lossy(&all[..all.len().min(300)])
        );
        Ok(all.len())
    };
    ask().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Ended and waited for when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of known truth, as the tests use them.
struct Program {
    child: Ended,
    out: BufReader<ChildStdout>,
}

impl Program {
    /// `None` with a line that says so where there is no compiler.
    fn start(source: &str, arguments: &[&str]) -> Option<Program> {
        let Some(program) = built(source) else {
            row(
                "stacks",
                &format!("{source} cannot be built here: no C compiler"),
                "",
                "",
                None,
            );
            return None;
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut program = Program {
            child: Ended(child),
            out,
        };
        while program.line() != "ready" {}
        Some(program)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.out.read_line(&mut line).expect("a line");
        assert!(read > 0, "the program ended early");
        line.trim_end().to_owned()
    }

    /// Waits until all its threads are there and have been quiet for a moment.
    fn settled(&mut self, threads: usize) -> Pid {
        let pid = self.child.0.id();
        let began = Instant::now();
        loop {
            let there = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            if there >= threads {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{there} of {threads} threads"
            );
            thread::sleep(Duration::from_millis(20));
        }
        // Those that came last are on their way into the kernel.
        thread::sleep(Duration::from_millis(500));
        Pid(pid)
    }

    /// The largest gap since it was last asked for, and the calls that were broken off so far.
    fn gap(&mut self) -> (Duration, u64) {
        let input = self.child.0.stdin.as_mut().expect("a pipe");
        input.write_all(b"\n").expect("it listens");
        let number = |line: String, name: &str| -> u64 {
            let told = line.strip_prefix(name).and_then(|number| number.trim().parse().ok());
            told.unwrap_or_else(|| panic!("{line} is not {name}"))
        };
        let gap = number(self.line(), "gap");
        let broken = number(self.line(), "broken");
        (Duration::from_nanos(gap), broken)
    }
}

fn built(source: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/programs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{source}.bin"));
    let built = Command::new("cc")
        .args(["-O2", "-g", "-pthread", "-w", "-fomit-frame-pointer"])
        .arg(folder.join(source))
        .arg("-o")
        .arg(&program)
        .status();
    built.is_ok_and(|status| status.success()).then_some(program)
}
