//! Programs with a known truth, for tests: C that is compiled and run, and ends with the test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::model::{Pid, Tid};

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    out: Mutex<BufReader<ChildStdout>>,
    _folder: tempfile::TempDir,
}

/// Compiles C into a folder and gives the program's path.
pub(crate) fn compile(name: &str, source: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join(format!("{name}.c"));
    let program = folder.path().join(name);
    std::fs::write(&text, source).unwrap();
    let status = Command::new("cc")
        .args(["-O1", "-fno-omit-frame-pointer", "-D_GNU_SOURCE", "-pthread", "-o"])
        .args([&program, &text])
        .status()
        .expect("cc compiles the programs that tests look at");
    assert!(status.success(), "{name}.c was not compiled");
    (folder, program)
}

impl Program {
    pub(crate) fn start(name: &str, source: &str, arguments: &[&str]) -> Program {
        let (folder, program) = compile(name, source);
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = Mutex::new(BufReader::new(child.stdout.take().unwrap()));
        Program {
            child,
            out,
            _folder: folder,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        self.out.lock().unwrap().read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program ended");
        line
    }

    /// Kills it and takes its exit status.
    pub(crate) fn end(&mut self) -> std::process::ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }

    /// Its exit status, once it has ended by itself.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        until("the program to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Polls until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The state letter of a thread.
pub(crate) fn state(tid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next())
        .unwrap_or('?')
}

/// A program of which a second thread counts in a function of its own as fast as it can, or sleeps when there is
/// an argument. Its line: that thread's tid, the addresses of the function, of the next one, of the counter and of
/// the number of signals taken. The main thread waits for the other.
const BUSY: &str = r#"
#include <stdio.h>
#include <stdint.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <signal.h>
#include <pthread.h>
volatile uint64_t counter, signals;
static int sleeps;
static void took(int signal) { signals++; }
__attribute__((noinline)) void spin(volatile uint64_t *mark) {
    for (;;) { (*mark)++; counter++; }
}
__attribute__((noinline)) void after(void) { counter = 0; }
static void *work(void *unused) {
    volatile uint64_t mark[3] = {0, 0x5eed5eed5eed5eedull, 0};
    printf("%ld %p %p %p %p\n", syscall(SYS_gettid), (void *)spin, (void *)after, (void *)&counter, (void *)&signals);
    fflush(stdout);
    if (sleeps) for (;;) { pause(); counter++; }
    spin(mark);
    after();
    return 0;
}
int main(int argc, char **argv) {
    sigset_t held;
    sleeps = argc > 1;
    signal(SIGUSR1, took);
    signal(SIGRTMIN + 3, took);
    pthread_t thread;
    pthread_create(&thread, 0, work, 0);
    sigfillset(&held);
    pthread_sigmask(SIG_BLOCK, &held, 0);
    pthread_join(thread, 0);
}
"#;

/// What a busy program says of itself.
pub(crate) struct Busy {
    pub(crate) program: Program,
    /// The thread that counts.
    pub(crate) tid: Tid,
    /// The addresses of the function in which it does.
    pub(crate) spin: std::ops::Range<u64>,
    counter: u64,
    signals: u64,
}

impl Busy {
    pub(crate) fn start() -> Busy {
        let busy = Busy::with(&[]);
        // It has begun, and is no longer in what it did before.
        busy.runs_on();
        busy
    }

    /// Its thread waits for signals instead.
    pub(crate) fn asleep() -> Busy {
        let busy = Busy::with(&["sleep"]);
        until("the thread to sleep", || busy.state() == 'S');
        busy
    }

    fn with(arguments: &[&str]) -> Busy {
        let program = Program::start("busy", BUSY, arguments);
        let line = program.line();
        let mut words = line.split_ascii_whitespace();
        let tid = Tid(words.next().unwrap().parse().unwrap());
        let words: Vec<u64> = words
            .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap())
            .collect();
        Busy {
            program,
            tid,
            spin: words[0]..words[1],
            counter: words[2],
            signals: words[3],
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.program.pid()
    }

    pub(crate) fn state(&self) -> char {
        state(self.tid.0)
    }

    /// How many signals it has handled.
    pub(crate) fn signals(&self) -> u64 {
        self.word(self.signals)
    }

    fn word(&self, address: u64) -> u64 {
        let mut word = [0; 8];
        crate::kernel::process_vm::read(self.pid(), address, &mut word).unwrap();
        u64::from_ne_bytes(word)
    }

    /// Whether its counter grows.
    pub(crate) fn runs_on(&self) {
        let before = self.word(self.counter);
        until("the counter to grow", || self.word(self.counter) > before);
    }

    /// Sends a signal to the thread.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the process is ours and lives.
        let failed = unsafe { libc::syscall(libc::SYS_tgkill, self.pid().0, self.tid.0, signal) };
        assert_eq!(failed, 0);
    }
}
