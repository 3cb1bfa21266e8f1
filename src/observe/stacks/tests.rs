//! Dumps of real programs whose call chains we made, and the same through another debugger's eyes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::model::{DumpThread, StackEnd, StackSource, ThreadState, Trust, Unknown};

/// Threads that wait in every way we know, below call chains of known length; some frames have room of
/// variable size. Prints its threads' ids by name.
const WAITERS: &str = r#"
#define _GNU_SOURCE
#include <alloca.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#define KEEP __attribute__((noinline, noclone))
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t semaphore;
static int pipes[2], epoll;
static volatile int sink;
static int word;
KEEP void wait_sleep(void) { struct timespec long_time = {1000, 0}; nanosleep(&long_time, 0); sink++; }
KEEP void wait_mutex(void) { pthread_mutex_lock(&mutex); sink++; }
KEEP void wait_cond(void) {
    pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mine); pthread_cond_wait(&cond, &mine); sink++;
}
KEEP void wait_rwlock(void) { pthread_rwlock_wrlock(&rwlock); sink++; }
KEEP void wait_sem(void) { sem_wait(&semaphore); sink++; }
KEEP void wait_read(void) { char byte; sink += read(pipes[0], &byte, 1); }
KEEP void wait_poll(void) { struct pollfd fd = {pipes[0], POLLIN, 0}; sink += poll(&fd, 1, -1); }
KEEP void wait_epoll(void) { struct epoll_event event; sink += epoll_wait(epoll, &event, 1, -1); }
KEEP void wait_futex(void) { sink += syscall(SYS_futex, &word, 0x80, 0, 0, 0, 0); }
KEEP void wait_pause(void) { pause(); sink++; }
static void (*const waits[])(void) = {
    wait_sleep, wait_mutex, wait_cond, wait_rwlock, wait_sem, wait_read, wait_poll, wait_epoll, wait_futex, wait_pause};
static const char *const names[] = {
    "sleep", "mutex", "cond", "rwlock", "sem", "read", "poll", "epoll", "futex", "pause"};
#define COUNT (sizeof waits / sizeof *waits)
KEEP void variable(int depth, int which);
KEEP void plain(int depth, int which) {
    volatile char room[100]; room[depth] = 1;
    if (depth > 0) variable(depth - 1, which); else waits[which]();
    sink += room[depth];
}
KEEP void variable(int depth, int which) {
    volatile char *room = alloca(50 + 13 * (depth + 1) + which); room[depth] = 1;
    if (depth > 0) plain(depth - 1, which); else waits[which]();
    sink += room[depth];
}
static void *work(void *which) {
    long number = (long)which;
    pthread_setname_np(pthread_self(), names[number % COUNT]);
    if (number < (long)COUNT) plain(3, number % COUNT); else variable(4, number % COUNT);
    return 0;
}
int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 2 * (int)COUNT;
    pthread_mutex_lock(&mutex); pthread_rwlock_rdlock(&rwlock); sem_init(&semaphore, 0, 0);
    if (pipe(pipes)) return 1;
    epoll = epoll_create1(0);
    pthread_attr_t small; pthread_attr_init(&small); pthread_attr_setstacksize(&small, 64 << 10);
    for (long number = 0; number < threads; number++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, work, (void *)number)) return 2;
    }
    puts("ready"); fflush(stdout);
    char byte; sink += read(0, &byte, 1);
    return 0;
}
"#;

/// A program of ours that runs, and ends with us.
struct Target {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Target {
    fn compile(source: &str, flags: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (file, program) = (folder.path().join("target.c"), folder.path().join("target"));
        std::fs::write(&file, source).unwrap();
        let done = Command::new("cc")
            .args(["-pthread", "-w", "-o"])
            .args([&program, &file])
            .args(flags)
            .status()
            .unwrap();
        assert!(done.success(), "cc {flags:?}");
        (folder, program)
    }

    fn start(source: &str, flags: &[&str], arguments: &[&str]) -> Target {
        let (folder, program) = Target::compile(source, flags);
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut target = Target {
            child,
            stdin,
            stdout,
            _folder: folder,
        };
        assert_eq!(target.line(), "ready");
        target
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// A dump of a moment when all threads are blocked.
    fn at_rest(&self, options: &StackOptions) -> Dump {
        let dumper = Dumper::new(&ProcRoot::live());
        eventually(|| {
            let dump = dumper.dump(self.pid(), options).unwrap();
            let rests = |thread: &DumpThread| thread.stack.as_ref().is_ok_and(|stack| !stack.moved);
            dump.threads.iter().all(rests).then_some(dump)
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come to that in 30 s");
        std::thread::yield_now();
    }
}

fn addresses(thread: &DumpThread) -> Vec<u64> {
    let stack = thread.stack.as_ref().unwrap();
    stack.frames.iter().map(|frame| frame.place.address).collect()
}

fn unsymbolised() -> StackOptions {
    StackOptions {
        symbols: false,
        ..StackOptions::default()
    }
}

/// Program counters of every frame that is on the stack, by thread, as gdb unwinds them in the stopped program: not
/// those that it infers (inlined, and left by a jump).
fn by_gdb(pid: Pid) -> Option<HashMap<u32, Vec<u64>>> {
    const SCRIPT: &str = "
import gdb
for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame, line = gdb.newest_frame(), 'thread %d' % thread.ptid[1]
    while frame is not None:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            line += ' %d' % frame.pc()
        try:
            frame = frame.older()
        except gdb.error:
            frame = None
    print(line)
";
    let mut script = tempfile::Builder::new().suffix(".py").tempfile().unwrap();
    script.write_all(SCRIPT.as_bytes()).unwrap();
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-ex",
            "set backtrace past-main on",
            "-p",
            &pid.to_string(),
            "-x",
        ])
        .arg(script.path())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let threads = text.lines().filter_map(|line| line.strip_prefix("thread "));
    let threads: HashMap<u32, Vec<u64>> = threads
        .filter_map(|line| {
            let mut words = line.split(' ');
            let tid = words.next()?.parse().ok()?;
            Some((tid, words.filter_map(|word| word.parse().ok()).collect()))
        })
        .collect();
    (!threads.is_empty()).then_some(threads)
}

/// All frames as gdb has them, in at least 95 of 100 stacks; in the rest no frame of ours is wrong and unmarked.
fn assert_equal_to_gdb(dump: &Dump, what: &str) {
    let Some(truth) = by_gdb(dump.process.pid) else {
        eprintln!("gdb is not here or may not attach: not compared");
        return;
    };
    let mut equal = 0;
    for thread in &dump.threads {
        let stack = thread.stack.as_ref().unwrap();
        let theirs = &truth[&thread.tid().0];
        let ours = addresses(thread);
        if ours == *theirs && stack.end == StackEnd::Complete {
            equal += 1;
            continue;
        }
        eprintln!(
            "{what}: {} {} {:?}\n ours   {:x?} {:?}\n theirs {theirs:x?}",
            thread.tid(),
            thread.name,
            stack.end,
            ours,
            stack.frames.iter().map(|frame| frame.trust).collect::<Vec<_>>(),
        );
        for (frame, theirs) in stack.frames.iter().zip(theirs) {
            let marked = matches!(frame.trust, Trust::Recovered | Trust::Guessed);
            assert!(
                marked || frame.place.address == *theirs,
                "{what}: a wrong frame unmarked"
            );
        }
    }
    let of = dump.threads.len();
    assert!(
        equal * 100 >= of * 95,
        "{what}: only {equal} of {of} stacks are equal to gdb's"
    );
}

#[test]
fn every_kind_of_wait_has_the_stack_that_gdb_sees() {
    for flags in [
        &["-O2"][..],
        &["-O2", "-fomit-frame-pointer"],
        &["-O2", "-fno-omit-frame-pointer"],
        &["-O0"],
        &["-O2", "-static"],
        &["-O2", "-no-pie"],
    ] {
        let target = Target::start(WAITERS, flags, &[]);
        let dump = target.at_rest(&unsymbolised());
        assert_eq!(dump.threads.len(), 21);
        assert!(!dump.truncated && dump.paused == 0);
        assert_equal_to_gdb(&dump, &flags.join(" "));
    }
}
