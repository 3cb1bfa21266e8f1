//! Dumps of real programs whose call chains we made, and the same through another debugger's eyes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::kernel::ProcRoot;
use crate::model::{DumpThread, Frame, Stack, StackEnd, StackSource, ThreadState, Trust, Unknown};

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
    /// It waits for its end.
    _stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
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
            _stdin: stdin,
            stdout,
            folder,
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
    assert_threads_equal_to_gdb(dump.process.pid, &dump.threads.iter().collect::<Vec<_>>(), what);
}

fn assert_threads_equal_to_gdb(pid: Pid, threads: &[&DumpThread], what: &str) {
    let Some(truth) = by_gdb(pid) else {
        eprintln!("gdb is not here or may not attach: not compared");
        return;
    };
    let mut equal = 0;
    for thread in threads {
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
    let of = threads.len();
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

/// Ours, on threads of this very process.
#[test]
fn rust_threads_in_every_std_wait_have_the_stack_that_gdb_sees() {
    use std::sync::{Barrier, Condvar, Mutex, RwLock, mpsc};
    let (mutex, condvar, rwlock) = (Mutex::new(()), Condvar::new(), RwLock::new(()));
    let (barrier, other) = (Barrier::new(2), Mutex::new(false));
    let (sender, receiver) = mpsc::channel::<()>();
    let (mutex_held, read) = (mutex.lock().unwrap(), rwlock.read().unwrap());
    let (tell, told) = mpsc::channel();
    let me = || rustix::thread::gettid().as_raw_nonzero().get() as u32;
    std::thread::scope(|scope| {
        // What each thread says before it waits, and the wait.
        macro_rules! waiter {
            ($name:literal, $wait:expr) => {{
                let tell = tell.clone();
                let started = std::thread::Builder::new().name($name.to_owned());
                started
                    .spawn_scoped(scope, move || {
                        tell.send(me()).unwrap();
                        $wait
                    })
                    .unwrap()
            }};
        }
        let (mutex, condvar, rwlock, barrier, other) = (&mutex, &condvar, &rwlock, &barrier, &other);
        waiter!("mutex", drop(mutex.lock()));
        waiter!("rwlock", drop(rwlock.write()));
        waiter!("barrier", {
            barrier.wait();
        });
        waiter!("recv", {
            let _ = receiver.recv();
        });
        waiter!("condvar", {
            let guard = other.lock().unwrap();
            drop(condvar.wait_while(guard, |done| !*done));
        });
        let parked = waiter!("park", std::thread::park());
        let asleep = waiter!("sleep", std::thread::park_timeout(Duration::from_secs(1000)));
        let tids: Vec<u32> = (0..7).map(|_| told.recv().unwrap()).collect();

        let dumper = Dumper::new(&ProcRoot::live());
        let dump = eventually(|| {
            let dump = dumper.dump(Pid(std::process::id()), &unsymbolised()).unwrap();
            let rests = |tid: &u32| {
                let thread = dump.thread(Tid(*tid)).unwrap();
                let is_waiting = matches!(&thread.call, Ok(call) if call.number == Some(libc::SYS_futex as u64));
                is_waiting && thread.stack.as_ref().is_ok_and(|stack| !stack.moved)
            };
            tids.iter().all(rests).then_some(dump)
        });
        let ours: Vec<&DumpThread> = tids.iter().map(|tid| dump.thread(Tid(*tid)).unwrap()).collect();
        let equal = std::panic::catch_unwind(|| assert_threads_equal_to_gdb(dump.process.pid, &ours, "std"));

        drop((mutex_held, read, sender));
        *other.lock().unwrap() = true;
        condvar.notify_all();
        barrier.wait();
        parked.thread().unpark();
        asleep.thread().unpark();
        equal.unwrap();
    });
}

#[test]
fn a_frame_pointer_is_told_from_what_earlier_calls_have_left_on_the_stack() {
    // Pairs that are as good as real ones: each leads to the thread's start. Only whom the call before
    // the return address calls gives them away.
    const DECOYS: &str = r#"
#include <alloca.h>
#include <stdio.h>
#include <unistd.h>
#define KEEP __attribute__((noinline, noclone))
static volatile int sink;
static void *decoy;
KEEP void callee(void) { decoy = __builtin_return_address(0); sink++; }
KEEP void caller(void) { volatile char room[64]; room[3] = 1; callee(); sink += room[3]; }
KEEP void planted(int count) {
    volatile unsigned long *room = alloca(count * 16 + 64);
    for (int at = 0; at < count; at++) {
        room[2 * at] = (unsigned long)__builtin_frame_address(0);
        room[2 * at + 1] = (unsigned long)decoy;
    }
    char byte;
    puts("ready"); fflush(stdout);
    sink += read(0, &byte, 1) + room[5];
}
KEEP void above(int count) { planted(count); sink++; }
int main(void) { caller(); above(20); return 0; }
"#;
    for flags in [&["-O1", "-fno-omit-frame-pointer"][..], &["-O2"]] {
        let target = Target::start(DECOYS, flags, &[]);
        let dump = target.at_rest(&unsymbolised());
        let stack = dump.threads[0].stack.as_ref().unwrap();
        assert!(
            stack.frames.iter().any(|frame| frame.trust == Trust::Recovered),
            "{flags:?}: {stack:?}"
        );
        assert_equal_to_gdb(&dump, &flags.join(" "));
    }
}

#[test]
fn a_signal_handler_stands_above_what_it_interrupted() {
    const HANDLER: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static volatile int sink;
__attribute__((noinline)) void wait_here(void) { char byte; sink += read(0, &byte, 1); }
static void handler(int number) { puts("ready"); fflush(stdout); wait_here(); sink++; }
__attribute__((noinline)) void interrupted(void) { sink++; raise(SIGUSR1); sink++; }
int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = argc > 1 ? SA_ONSTACK : 0};
    stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&other, 0);
    sigaction(SIGUSR1, &action, 0);
    interrupted();
    return 0;
}
"#;
    for arguments in [&[][..], &["on a stack of its own"]] {
        let target = Target::start(HANDLER, &["-O2"], arguments);
        let dump = target.at_rest(&unsymbolised());
        assert_equal_to_gdb(&dump, &format!("{arguments:?}"));
    }
}

#[test]
fn code_without_unwind_information_is_left_by_its_frame_pointers() {
    let flags = [
        "-O1",
        "-fno-omit-frame-pointer",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
    ];
    let target = Target::start(WAITERS, &flags, &["10"]);
    let dump = target.at_rest(&unsymbolised());
    assert_equal_to_gdb(&dump, "frame pointers only");
}

const DEEP: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static volatile int sink;
__attribute__((noinline, noclone)) void deep(int depth) {
    volatile char room[200]; room[depth % 200] = 1;
    if (depth > 0) deep(depth - 1); else { char byte; puts("ready"); fflush(stdout); sink += read(0, &byte, 1); }
    sink += room[depth % 200];
}
int main(int argc, char **argv) { deep(atoi(argv[1])); return 0; }
"#;

#[test]
fn a_deep_recursion_is_walked_as_far_as_was_asked_for() {
    let target = Target::start(DEEP, &["-O1"], &["5000"]);
    let dump = target.at_rest(&StackOptions {
        max_depth: 10_000,
        ..unsymbolised()
    });
    let stack = dump.threads[0].stack.as_ref().unwrap();
    // read, 5001 times itself, main, three of libc and the program's own start.
    assert_eq!(stack.end, StackEnd::Complete);
    assert!((5005..5008).contains(&stack.frames.len()), "{}", stack.frames.len());
    let dump = target.at_rest(&unsymbolised());
    let stack = dump.threads[0].stack.as_ref().unwrap();
    assert_eq!((stack.end, stack.frames.len()), (StackEnd::MaxDepth, 256));
}

#[test]
fn many_threads_are_few_stacks() {
    let target = Target::start(WAITERS, &["-O2"], &["500"]);
    // On a busy machine some sleep on their way for a while. Ten waits by two ways, and the main thread: so many
    // chains of the program's own. Within libc one lock may be waited for at more than one call.
    let own = |stack: &Stack| -> Vec<u64> {
        let folder = target.folder.path().to_string_lossy();
        let ours = |frame: &&Frame| {
            frame
                .place
                .module
                .as_ref()
                .is_some_and(|name| name.starts_with(&*folder))
        };
        stack
            .frames
            .iter()
            .filter(ours)
            .map(|frame| frame.place.address)
            .collect()
    };
    let (dump, folded) = eventually(|| {
        let dump = target.at_rest(&unsymbolised());
        let folded = dump.folded();
        let chains: std::collections::HashSet<_> = folded.iter().map(|(stack, _)| own(stack)).collect();
        (chains.len() == 21).then_some((dump, folded))
    });
    assert_eq!(dump.threads.len(), 501);
    assert!(dump.threads.is_sorted_by_key(DumpThread::tid));
    assert_eq!(folded.iter().map(|(_, threads)| threads.len()).sum::<usize>(), 501);
    for (stack, _) in &folded {
        assert_eq!(stack.end, StackEnd::Complete, "{stack:?}");
        assert_eq!(stack.frames[0].trust, Trust::Context);
        assert_eq!(stack.source, StackSource::Syscall);
    }
    let one = dump.threads[77].tid();
    let only = target.at_rest(&StackOptions {
        only: Some(one),
        ..unsymbolised()
    });
    assert_eq!(only.threads.len(), 1);
    assert_eq!(addresses(&only.threads[0]), addresses(&dump.threads[77]));
    let dumper = Dumper::new(&ProcRoot::live());
    let nobody = StackOptions {
        only: Some(Tid(1)),
        ..unsymbolised()
    };
    assert!(matches!(
        dumper.dump(target.pid(), &nobody),
        Err(InspectError::NoThread { .. })
    ));
    assert!(matches!(
        dumper.dump(Pid(one.0), &unsymbolised()),
        Err(InspectError::NoProcess(_))
    ));
}

#[test]
fn a_dump_without_time_says_that_it_is_not_whole() {
    let target = Target::start(WAITERS, &["-O2"], &["300"]);
    let dumper = Dumper::new(&ProcRoot::live());
    let hasty = StackOptions {
        patience: Duration::ZERO,
        ..unsymbolised()
    };
    let dump = dumper.dump(target.pid(), &hasty).unwrap();
    assert!(dump.truncated && dump.threads.len() < 301);
}

#[test]
fn a_target_that_is_killed_while_it_is_read_gives_a_clean_answer() {
    let dumper = Dumper::new(&ProcRoot::live());
    let (folder, program) = Target::compile(WAITERS, &["-O2"]);
    for delay in [0, 200, 500, 1000, 2000, 4000] {
        let mut child = Command::new(&program)
            .arg("300")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let pid = Pid(child.id());
        let killer = std::thread::spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(delay) {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        });
        match dumper.dump(pid, &unsymbolised()) {
            Ok(dump) => {
                assert_eq!(dump.process.pid, pid);
                for stack in dump.threads.iter().filter_map(|thread| thread.stack.as_ref().ok()) {
                    assert!(stack.moved || stack.end == StackEnd::Complete, "{stack:?}");
                }
            }
            Err(error) => assert!(
                matches!(error, InspectError::Ended(_) | InspectError::NoProcess(_)),
                "{error:?}"
            ),
        }
        killer.join().unwrap();
    }
    drop(folder);
}

#[test]
fn a_program_that_starts_another_while_it_is_read_is_never_mixed_up() {
    const AGAIN: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static volatile int sink;
__attribute__((noinline)) void nap(int length) { struct timespec time = {0, length}; nanosleep(&time, 0); sink++; }
int main(int argc, char **argv) {
    int left = atoi(argv[1]);
    char next[16]; snprintf(next, sizeof next, "%d", left - 1);
    if (left == 400) { puts("ready"); fflush(stdout); }
    nap(left > 0 ? 100000 : 2000000000);
    if (left > 0) execl("/proc/self/exe", argv[0], next, (char *)0);
    char byte; sink += read(0, &byte, 1);
    return 0;
}
"#;
    let target = Target::start(AGAIN, &["-O2"], &["400"]);
    let dumper = Dumper::new(&ProcRoot::live());
    // A sample may be of the loader at work, before it has mapped what it calls.
    let blocked_only = StackOptions {
        sample_running: false,
        ..unsymbolised()
    };
    let at_rest = eventually(|| {
        let dump = dumper.dump(target.pid(), &blocked_only).unwrap();
        let thread = &dump.threads[0];
        if let Ok(stack) = &thread.stack
            && !stack.moved
        {
            let places = stack.frames.iter();
            assert!(places.clone().all(|frame| frame.place.module.is_some()), "{stack:?}");
            assert_eq!(stack.end, StackEnd::Complete, "{stack:?}");
        }
        let is_reading = matches!(&thread.call, Ok(call) if call.number == Some(libc::SYS_read as u64));
        // The last change may have been too quick for us: then the next dump is of a program that stays.
        (is_reading && thread.stack.is_ok()).then_some(dump)
    });
    assert_eq!(at_rest.threads[0].stack.as_ref().unwrap().end, StackEnd::Complete);
}

#[test]
fn a_corrupt_stack_is_walked_as_far_as_it_makes_sense() {
    const SMASHED: &str = r#"
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static volatile int sink;
__attribute__((noinline)) void smash(int with) {
    unsigned long *frame = __builtin_frame_address(0);
    puts("ready"); fflush(stdout);
    for (int at = 0; at < 40; at++) frame[at] = with == 2 ? (unsigned long)frame : with ? 0x4141414141414141 : (unsigned long)smash;
    char byte; sink += read(0, &byte, 1);
    _exit(0);
}
__attribute__((noinline)) void above(int with) { volatile char room[1000]; room[7] = 1; smash(with); sink += room[7]; }
int main(int argc, char **argv) { above(argc - 1); return 0; }
"#;
    for arguments in [&[][..], &["a"], &["a", "b"]] {
        for flags in [
            &["-O1", "-fno-omit-frame-pointer"][..],
            &["-O1", "-fomit-frame-pointer"],
            &["-O1", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"],
        ] {
            let target = Target::start(SMASHED, flags, arguments);
            let dump = target.at_rest(&unsymbolised());
            let stack = dump.threads[0].stack.as_ref().unwrap();
            // What lies above the damage may be found again, and is marked then.
            let is_marked = stack.frames.iter().any(|frame| frame.trust == Trust::Recovered);
            assert!(stack.end != StackEnd::Complete || is_marked, "{flags:?} {stack:?}");
            assert!(stack.frames.len() < 64, "{flags:?} {stack:?}");
        }
    }
}

#[test]
fn a_main_thread_that_has_ended_has_no_stack_and_the_others_have() {
    const HEADLESS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *work(void *unused) { char byte; return (void *)read(0, &byte, 1); }
int main(void) {
    pthread_t thread;
    for (int at = 0; at < 3; at++) pthread_create(&thread, 0, work, 0);
    puts("ready"); fflush(stdout);
    pthread_exit(0);
}
"#;
    let target = Target::start(HEADLESS, &["-O2"], &[]);
    let dumper = Dumper::new(&ProcRoot::live());
    let dump = eventually(|| {
        let dump = dumper.dump(target.pid(), &unsymbolised()).unwrap();
        (dump.threads[0].state == ThreadState::Zombie).then_some(dump)
    });
    assert_eq!(dump.threads[0].stack, Err(Unknown::Zombie));
    assert_eq!(dump.threads.len(), 4);
    for thread in &dump.threads[1..] {
        assert_eq!(thread.stack.as_ref().unwrap().end, StackEnd::Complete);
    }
}

#[test]
fn a_stopped_process_is_read_as_it_stands_and_stays_stopped() {
    let target = Target::start(WAITERS, &["-O2"], &["20"]);
    let running = target.at_rest(&unsymbolised());
    let pid = rustix::process::Pid::from_raw(target.pid().0 as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let dumper = Dumper::new(&ProcRoot::live());
    let dump = eventually(|| {
        let dump = dumper.dump(target.pid(), &unsymbolised()).unwrap();
        let are_stopped = dump.threads.iter().all(|thread| thread.state == ThreadState::Stopped);
        are_stopped.then_some(dump)
    });
    for (thread, before) in dump.threads.iter().zip(&running.threads) {
        let stack = thread.stack.as_ref().unwrap();
        assert_eq!(stack.end, StackEnd::Complete);
        // A stop interrupts the call, and its restart begins one instruction earlier.
        assert_eq!(addresses(thread)[1..], addresses(before)[1..]);
    }
}

#[test]
fn a_kernel_thread_and_a_process_that_is_not_there_say_so() {
    let dumper = Dumper::new(&ProcRoot::live());
    for pid in [0, 0x7fff_fff0, u32::MAX] {
        assert!(matches!(
            dumper.dump(Pid(pid), &unsymbolised()),
            Err(InspectError::NoProcess(_))
        ));
    }
    // kthreadd, where the pid namespace has it.
    if let Ok(dump) = dumper.dump(Pid(2), &unsymbolised())
        && &*dump.name == "kthreadd"
    {
        assert_eq!(dump.threads[0].stack, Err(Unknown::KernelThread));
    }
}

#[test]
fn a_thread_that_runs_is_sampled_and_is_stopped_only_when_that_was_asked_for() {
    const BUSY: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static volatile unsigned long sink;
__attribute__((noinline, noclone)) void spin(void) { for (;;) sink++; }
__attribute__((noinline, noclone)) void above(void) { spin(); sink++; }
static void *work(void *unused) { above(); return 0; }
int main(void) {
    pthread_t thread; pthread_create(&thread, 0, work, 0);
    puts("ready"); fflush(stdout);
    char byte; return read(0, &byte, 1);
}
"#;
    let target = Target::start(BUSY, &["-O1"], &[]);
    let dumper = Dumper::new(&ProcRoot::live());
    let check = |dump: &Dump, source: StackSource| {
        let busy = &dump.threads[1];
        match &busy.stack {
            Ok(stack) => {
                assert_eq!((stack.source, stack.end), (source, StackEnd::Complete), "{stack:?}");
                // spin, above, work, and two of libc.
                assert_eq!(stack.frames.len(), 5, "{stack:?}");
                assert!(
                    stack.frames.iter().all(|frame| frame.trust <= Trust::Unwound),
                    "{stack:?}"
                );
                true
            }
            Err(why) => {
                assert!(matches!(why, Unknown::Running | Unknown::SamplingDenied), "{why:?}");
                *why == Unknown::SamplingDenied
            }
        }
    };
    eventually(|| {
        let dump = dumper.dump(target.pid(), &unsymbolised()).unwrap();
        assert_eq!(dump.paused, 0);
        check(&dump, StackSource::Sample).then_some(())
    });
    let neither = StackOptions {
        sample_running: false,
        ..unsymbolised()
    };
    let dump = dumper.dump(target.pid(), &neither).unwrap();
    assert_eq!(dump.threads[1].stack, Err(Unknown::Running));
    let pausing = StackOptions { pause: true, ..neither };
    eventually(|| {
        let dump = dumper.dump(target.pid(), &pausing).unwrap();
        let caught = dump.threads[1].stack.is_ok();
        assert_eq!(
            dump.paused,
            u32::from(caught),
            "the main thread is blocked and need not be stopped"
        );
        (caught && check(&dump, StackSource::Pause)).then_some(())
    });
}
