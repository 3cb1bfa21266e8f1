//! Rows of small C programs that wait for what the test wants, with the truth known: what each call is
//! about, and what the kernel's odd processes are shown as.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use super::tests::{Alone, pass, pass_until, reader, reader_with};
use super::*;
use crate::model::{JavaState, Suspension};

/// Each mode of this program blocks its main thread (or what the mode says) in one call. It says `ready`,
/// and beside it what the test can't know: numbers of files, of children, of ports.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char byte[64];
static int is(const char *mode, const char *name) { return strcmp(mode, name) == 0; }
static void ready(long a, long b) { printf("ready %ld %ld\n", a, b); fflush(stdout); }
static void *wait_for_ever(void *unused) { (void)unused; for (;;) pause(); return NULL; }
static void *close_when_told(void *fd) { getchar(); close(*(int *)fd); return wait_for_ever(NULL); }
static pid_t child(void) {
    pid_t pid = fork();
    if (pid == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); for (;;) pause(); }
    return pid;
}
static int tcp(struct sockaddr_in *at) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof *at;
    memset(at, 0, sizeof *at);
    at->sin_family = AF_INET;
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(fd, (struct sockaddr *)at, length);
    listen(fd, 8);
    getsockname(fd, (struct sockaddr *)at, &length);
    return fd;
}
static void *leave_main(void *unused) {
    (void)unused;
    static int pipes[2];
    if (pipe(pipes)) exit(3);
    ready(pipes[0], 0);
    read(pipes[0], byte, 1);
    return NULL;
}

int main(int argc, char **argv) {
    const char *mode = argv[1], *path = argc > 2 ? argv[2] : "";
    int pipes[2], more[2];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (pipe(pipes) || pipe(more)) return 3;
    struct timespec minute = {60, 0}, quarter = {60, 250000000}, until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 600;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    struct sockaddr_in at;
    if (is(mode, "pipe")) { ready(pipes[0], 0); read(pipes[0], byte, 1); }
    else if (is(mode, "write")) {
        static char big[1 << 20];
        ready(pipes[1], 0);
        write(pipes[1], big, sizeof big);
    }
    else if (is(mode, "accept")) { int fd = tcp(&at); ready(fd, ntohs(at.sin_port)); accept(fd, NULL, NULL); }
    else if (is(mode, "accepted") || is(mode, "connected")) {
        int door = tcp(&at), fd = socket(AF_INET, SOCK_STREAM, 0);
        connect(fd, (struct sockaddr *)&at, sizeof at);
        int taken = accept(door, NULL, NULL);
        if (is(mode, "accepted")) fd = taken;
        ready(fd, ntohs(at.sin_port));
        recv(fd, byte, 1, 0);
    }
    else if (is(mode, "unix")) {
        struct sockaddr_un door = {AF_UNIX, ""};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strncpy(door.sun_path, path, sizeof door.sun_path - 1);
        bind(fd, (struct sockaddr *)&door, sizeof door);
        listen(fd, 1);
        ready(fd, 0);
        accept(fd, NULL, NULL);
    }
    else if (is(mode, "poll")) {
        struct pollfd fds[3] = {{pipes[0], POLLIN, 0}, {-1, POLLIN, 0}, {more[0], POLLIN, 0}};
        ready(pipes[0], more[0]);
        poll(fds, 3, -1);
    }
    else if (is(mode, "poll-one")) {
        struct pollfd fds[1] = {{pipes[0], POLLIN, 0}};
        ready(pipes[0], 0);
        poll(fds, 1, 600000);
    }
    else if (is(mode, "select")) {
        fd_set fds;
        FD_ZERO(&fds);
        FD_SET(pipes[0], &fds);
        FD_SET(more[0], &fds);
        ready(pipes[0], more[0]);
        select(more[0] + 1, &fds, NULL, NULL, NULL);
    }
    else if (is(mode, "epoll")) {
        int fd = epoll_create1(0);
        struct epoll_event event = {EPOLLIN, {0}};
        epoll_ctl(fd, EPOLL_CTL_ADD, pipes[0], &event);
        epoll_ctl(fd, EPOLL_CTL_ADD, more[0], &event);
        ready(fd, pipes[0]);
        epoll_wait(fd, &event, 1, 600000);
    }
    else if (is(mode, "eventfd")) { int fd = eventfd(0, 0); ready(fd, 0); read(fd, byte, 8); }
    else if (is(mode, "timerfd")) {
        int fd = timerfd_create(CLOCK_MONOTONIC, 0);
        struct itimerspec timer = {{5, 0}, {600, 0}};
        timerfd_settime(fd, 0, &timer, NULL);
        ready(fd, 0);
        read(fd, byte, 8);
    }
    else if (is(mode, "signalfd")) {
        sigprocmask(SIG_BLOCK, &set, NULL);
        int fd = signalfd(-1, &set, 0);
        ready(fd, 0);
        static char space[256];
        read(fd, space, sizeof space);
    }
    else if (is(mode, "inotify")) {
        int fd = inotify_init();
        inotify_add_watch(fd, path, IN_CREATE);
        ready(fd, 0);
        static char space[4096];
        read(fd, space, sizeof space);
    }
    else if (is(mode, "sleep")) { ready(0, 0); for (;;) syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &minute, NULL); }
    else if (is(mode, "nanosleep")) { ready(0, 0); for (;;) syscall(SYS_nanosleep, &quarter, NULL); }
    else if (is(mode, "sleep-until")) {
        ready(until.tv_sec, until.tv_nsec);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    else if (is(mode, "any-child")) { ready(child(), 0); wait(NULL); }
    else if (is(mode, "this-child")) { pid_t pid = child(); ready(pid, 0); waitpid(pid, NULL, 0); }
    else if (is(mode, "pidfd")) {
        pid_t pid = child();
        int fd = syscall(SYS_pidfd_open, pid, 0);
        siginfo_t info;
        ready(pid, fd);
        waitid(3, fd, &info, WEXITED);
    }
    else if (is(mode, "signals")) {
        sigprocmask(SIG_BLOCK, &set, NULL);
        ready(0, 0);
        sigtimedwait(&set, NULL, &(struct timespec){600, 0});
    }
    else if (is(mode, "pause")) { ready(0, 0); wait_for_ever(NULL); }
    else if (is(mode, "flock") || is(mode, "fcntl")) {
        int fd = open(path, O_RDWR | O_CREAT, 0600), other = open(path, O_RDWR);
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (is(mode, "flock")) { flock(fd, LOCK_EX); ready(other, 0); flock(other, LOCK_EX); }
        else { fcntl(fd, 37, &whole); ready(other, 0); fcntl(other, 38, &whole); }
    }
    else if (is(mode, "futex")) {
        static int word = 7;
        ready((long)&word, 0);
        syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 7, NULL);
    }
    else if (is(mode, "timed-futex")) {
        static int word = 7;
        ready((long)&word, until.tv_sec);
        syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 7, &until, NULL, -1);
    }
    else if (is(mode, "message")) {
        int id = msgget(IPC_PRIVATE, 0600);
        char space[64];
        struct msqid_ds unused;
        if (fork() == 0) {
            // Takes the queue away when its parent, which is killed, has gone.
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            int signal;
            sigprocmask(SIG_BLOCK, &set, NULL);
            sigwait(&set, &signal);
            msgctl(id, IPC_RMID, &unused);
            _exit(0);
        }
        ready(id, 0);
        msgrcv(id, space, 8, 0, 0);
    }
    else if (is(mode, "fifo-open")) { ready(0, 0); open(path, O_RDONLY); }
    else if (is(mode, "fifo-read")) { int fd = open(path, O_RDWR); ready(fd, 0); read(fd, byte, 1); }
    else if (is(mode, "closed")) {
        // The main thread reads, another closes the file when it is told to: the reader goes on with it.
        pthread_t thread;
        pthread_create(&thread, NULL, close_when_told, &pipes[0]);
        ready(pipes[0], 0);
        read(pipes[0], byte, 1);
    }
    else if (is(mode, "join")) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_ever, NULL);
        ready(0, 0);
        pthread_join(thread, NULL);
    }
    else if (is(mode, "vfork")) {
        ready(0, 0);
        pid_t pid = vfork();
        if (pid == 0) { syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); for (;;) syscall(SYS_clock_nanosleep, 1, 0, &minute, NULL); }
    }
    else if (is(mode, "leave-main")) {
        pthread_t thread;
        pthread_create(&thread, NULL, leave_main, NULL);
        pthread_exit(NULL);
    }
    else if (is(mode, "traced")) {
        pid_t pid = child();
        ptrace(PTRACE_ATTACH, pid, NULL, NULL);
        waitpid(pid, NULL, 0);
        ready(pid, 0);
        wait_for_ever(NULL);
    }
    else if (is(mode, "spin")) { ready(0, 0); for (;;) sched_yield(); }
    else if (is(mode, "threads")) {
        // argv[2] threads that block, with small stacks.
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 16384);
        long made = 0;
        for (long want = atol(path); made < want; made++) {
            pthread_t thread;
            if (pthread_create(&thread, &small, wait_for_ever, NULL)) break;
        }
        ready(made, 0);
        wait_for_ever(NULL);
    }
    else return 2;
    return 0;
}
"#;

fn binary() -> &'static PathBuf {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("waits.c");
        std::fs::write(&source, SOURCE).unwrap();
        let path = folder.path().join("waits");
        let built = Command::new("cc")
            .args(["-O1", "-g", "-pthread", "-w", "-o"])
            .args([&path, &source])
            .output()
            .expect("cc; install gcc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (folder, path)
    });
    path
}

/// One run of the program. Killed with its guard; its children die with it.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    said: (i64, i64),
}

impl Program {
    fn start(mode: &str, more: &str) -> Program {
        let mut child = Command::new(binary())
            .args([mode, more])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse().unwrap();
        assert_eq!(words.first(), Some(&"ready"), "{mode}: {line:?}");
        Program {
            input: child.stdin.take(),
            child,
            said: (number(1), number(2)),
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its children too: they are of the group that it was started in.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

fn main_row(snapshot: &Snapshot) -> &Thread {
    let main = Tid(snapshot.process.pid.0);
    snapshot.threads.iter().find(|row| row.tid() == main).unwrap()
}

fn is_in(row: &Thread, calls: &[&str]) -> bool {
    row.wait.as_ref().is_ok_and(|wait| {
        wait.syscall.is_some_and(|call| calls.contains(&call)) && wait.object != Err(Unknown::NotAsked)
    })
}

/// The main thread's row in a list and its view alone, once it is blocked in one of these calls.
fn blocked_in(program: &Program, calls: &[&str]) -> (Thread, Thread, ThreadDetails) {
    let mut reader = reader(program.pid());
    let snapshot = pass_until(&mut reader, |snapshot| is_in(main_row(snapshot), calls));
    let (whole, details) = alone(program.pid(), program.pid());
    (main_row(&snapshot).clone(), whole, details)
}

fn alone(pid: u32, tid: u32) -> (Thread, ThreadDetails) {
    let mut once = reader_with(&ProcRoot::live(), pid, 0, Box::new(Alone));
    once.one(Tid(tid)).unwrap().expect("the thread is there")
}

fn object(row: &Thread) -> (&'static str, Option<u32>, String) {
    let wait = row.wait.as_ref().unwrap_or_else(|why| panic!("{why:?}: {row:?}"));
    let object = wait.object.as_ref().unwrap_or_else(|why| panic!("{why:?}: {row:?}"));
    (object.kind, object.fd, object.name.to_string())
}

#[track_caller]
fn check(
    mode: &str,
    more: &str,
    calls: &[&str],
    expected: impl Fn(&Program) -> [(&'static str, Option<u32>, String); 2],
    timed: Option<bool>,
) {
    let program = Program::start(mode, more);
    let (row, whole, _) = blocked_in(&program, calls);
    let [in_row, alone] = expected(&program);
    assert_eq!(object(&row), in_row, "{mode} in the row");
    assert_eq!(object(&whole), alone, "{mode} alone");
    assert_eq!(row.wait.as_ref().unwrap().timed, timed, "{mode}");
    assert_eq!(whole.wait.as_ref().unwrap().timed, timed, "{mode}");
    let state = if timed == Some(true) {
        JavaState::TimedWaiting
    } else {
        JavaState::Waiting
    };
    assert_eq!((row.java_state(), row.suspended()), (Ok(state), None), "{mode}");
}

fn both(kind: &'static str, fd: Option<u32>, name: &str) -> [(&'static str, Option<u32>, String); 2] {
    [(kind, fd, name.to_owned()), (kind, fd, name.to_owned())]
}

fn link(program: &Program, fd: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", program.pid())).unwrap();
    link.to_str().unwrap().to_owned()
}

#[test]
fn a_read_names_its_pipe_and_a_write_too() {
    for (mode, call) in [("pipe", "read"), ("write", "write")] {
        check(
            mode,
            "",
            &[call],
            |program| {
                let fd = program.said.0 as u32;
                both("pipe", Some(fd), &link(program, fd))
            },
            None,
        );
    }
}

#[test]
fn a_socket_is_named_by_its_ends_and_who_connected() {
    check(
        "accept",
        "",
        &["accept"],
        |program| {
            both(
                "socket",
                Some(program.said.0 as u32),
                &format!("tcp 127.0.0.1:{} listening", program.said.1),
            )
        },
        None,
    );
    for (mode, arrow) in [("accepted", "<-"), ("connected", "->")] {
        let program = Program::start(mode, "");
        let (row, whole, _) = blocked_in(&program, &["recvfrom"]);
        let port = program.said.1;
        for row in [row, whole] {
            let (kind, fd, name) = object(&row);
            assert_eq!((kind, fd), ("socket", Some(program.said.0 as u32)));
            let fits = match arrow {
                "<-" => name.starts_with(&format!("tcp 127.0.0.1:{port} <- 127.0.0.1:")),
                _ => name.ends_with(&format!(" -> 127.0.0.1:{port}")),
            };
            assert!(fits, "{mode}: {name}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("door").to_str().unwrap().to_owned();
    check(
        "unix",
        &path,
        &["accept"],
        |program| {
            both(
                "socket",
                Some(program.said.0 as u32),
                &format!("unix stream {path} listening"),
            )
        },
        None,
    );
}

#[test]
fn a_poll_counts_its_files_and_alone_names_them() {
    check(
        "poll",
        "",
        &["poll", "ppoll"],
        |program| {
            let (a, b) = (program.said.0 as u32, program.said.1 as u32);
            let named = format!("3 fds: {a} {}, {b} {}", link(program, a), link(program, b));
            [("files", None, "3 fds".to_owned()), ("files", None, named)]
        },
        Some(false),
    );
    check(
        "poll-one",
        "",
        &["poll", "ppoll"],
        |program| {
            let fd = program.said.0 as u32;
            both("pipe", Some(fd), &link(program, fd))
        },
        Some(true),
    );
    check(
        "select",
        "",
        &["select", "pselect6"],
        |program| {
            let (a, b) = (program.said.0 as u32, program.said.1 as u32);
            let named = format!("2 fds: {a} {}, {b} {}", link(program, a), link(program, b));
            [("files", None, format!("fds below {}", b + 1)), ("files", None, named)]
        },
        Some(false),
    );
    let program = Program::start("epoll", "");
    let (row, whole, details) = blocked_in(&program, &["epoll_wait", "epoll_pwait"]);
    assert_eq!(object(&row), ("epoll", Some(program.said.0 as u32), "2 fds".to_owned()));
    let (_, _, name) = object(&whole);
    let pipe = program.said.1 as u32;
    assert!(
        name.starts_with("2 fds: ") && name.contains(&format!("{pipe} {}", link(&program, pipe))),
        "{name}"
    );
    let limit = details.time_limit.unwrap();
    assert_eq!((&*limit.words, limit.absolute), ("for 600 s", false));
}

#[test]
fn the_kernels_own_files_say_what_they_are() {
    check(
        "eventfd",
        "",
        &["read"],
        |program| {
            let fd = Some(program.said.0 as u32);
            [
                ("eventfd", fd, "eventfd".to_owned()),
                ("eventfd", fd, "eventfd, count 0".to_owned()),
            ]
        },
        None,
    );
    check(
        "signalfd",
        "",
        &["read"],
        |program| {
            let fd = Some(program.said.0 as u32);
            [
                ("signalfd", fd, "signalfd".to_owned()),
                ("signalfd", fd, "SIGUSR1, SIGTERM".to_owned()),
            ]
        },
        None,
    );
    let folder = tempfile::tempdir().unwrap();
    check(
        "inotify",
        folder.path().to_str().unwrap(),
        &["read"],
        |program| {
            let fd = Some(program.said.0 as u32);
            [
                ("inotify", fd, "inotify".to_owned()),
                ("inotify", fd, "inotify, 1 watch".to_owned()),
            ]
        },
        None,
    );
    let program = Program::start("timerfd", "");
    let (row, whole, _) = blocked_in(&program, &["read"]);
    assert_eq!(
        object(&row),
        ("timerfd", Some(program.said.0 as u32), "timerfd".to_owned())
    );
    let (_, _, name) = object(&whole);
    assert!(
        name.starts_with("timerfd, in ") && name.ends_with(", then every 5 s"),
        "{name}"
    );
}

#[test]
fn a_sleep_says_how_long_or_until_when() {
    check(
        "sleep",
        "",
        &["clock_nanosleep"],
        |_| both("timer", None, "for 60 s"),
        Some(true),
    );
    check(
        "nanosleep",
        "",
        &["nanosleep"],
        |_| both("timer", None, "for 60.25 s"),
        Some(true),
    );
    let program = Program::start("sleep-until", "");
    let (row, _, details) = blocked_in(&program, &["clock_nanosleep"]);
    let moment = program.said.0 as f64 + program.said.1 as f64 / 1e9;
    let (kind, _, name) = object(&row);
    let told = name
        .strip_prefix("until ")
        .and_then(|rest| rest.strip_suffix(" s after boot"));
    let told: f64 = told.unwrap_or_else(|| panic!("{name}")).parse().unwrap();
    assert!(
        kind == "timer" && (told - moment).abs() < 0.001,
        "{name} is not {moment}"
    );
    let limit = details.time_limit.unwrap();
    assert!(
        limit.absolute && limit.seconds > 0.0 && limit.seconds < 600.0,
        "{limit:?}"
    );
    assert_eq!(limit.clock, "monotonic");
}

#[test]
fn a_wait_names_its_child() {
    check(
        "any-child",
        "",
        &["wait4"],
        |_| both("process", None, "any child"),
        Some(false),
    );
    check(
        "this-child",
        "",
        &["wait4"],
        |program| both("process", None, &format!("child {} (waits)", program.said.0)),
        Some(false),
    );
    check(
        "pidfd",
        "",
        &["waitid"],
        |program| {
            let fd = Some(program.said.1 as u32);
            both("process", fd, &format!("process {} (waits)", program.said.0))
        },
        Some(false),
    );
}

#[test]
fn signals_are_waited_for_by_name() {
    let program = Program::start("signals", "");
    let (row, whole, details) = blocked_in(&program, &["rt_sigtimedwait"]);
    assert_eq!(object(&row), ("signal", None, "one of a set of signals".to_owned()));
    assert_eq!(object(&whole), ("signal", None, "SIGUSR1, SIGTERM".to_owned()));
    // The kernel lets through what is waited for while it is waited for: nothing is blocked now.
    let signals = details.signals.unwrap();
    assert!(signals.pending.is_empty() && signals.blocked.is_empty(), "{signals:?}");
    assert_eq!(details.time_limit.unwrap().words, "for 600 s");
    check(
        "pause",
        "",
        &["pause", "rt_sigsuspend", "ppoll"],
        |_| both("signal", None, "any signal"),
        Some(false),
    );
}

#[test]
fn a_file_lock_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, call) in [("flock", "flock"), ("fcntl", "fcntl")] {
        let path = folder.path().join(mode).to_str().unwrap().to_owned();
        check(
            mode,
            &path,
            &[call],
            |program| both("file", Some(program.said.0 as u32), &format!("lock on {path}")),
            Some(false),
        );
    }
}

#[test]
fn a_futex_has_its_word_and_its_time_out() {
    check(
        "futex",
        "",
        &["futex"],
        |_| both("futex_word", None, "expects 7"),
        Some(false),
    );
    let program = Program::start("timed-futex", "");
    let (row, whole, details) = blocked_in(&program, &["futex"]);
    assert_eq!(row.wait.as_ref().unwrap().address, Some(program.said.0 as u64));
    assert_eq!(row.wait.as_ref().unwrap().timed, Some(true));
    assert_eq!(object(&whole), ("futex_word", None, "expects 7".to_owned()));
    let limit = details.time_limit.unwrap();
    assert!(limit.absolute && limit.seconds > 0.0, "{limit:?}");
    assert!(
        limit.words.starts_with(&format!("until {}", program.said.1)),
        "{limit:?}"
    );
}

#[test]
fn a_queue_has_a_number_and_a_named_pipe_a_path() {
    check(
        "message",
        "",
        &["msgrcv"],
        |program| both("message_queue", None, &format!("System V queue {}", program.said.0)),
        Some(false),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    check(
        "fifo-open",
        &path,
        &["openat", "open"],
        |_| both("file", None, &path),
        None,
    );
    check(
        "fifo-read",
        &path,
        &["read"],
        |program| both("pipe", Some(program.said.0 as u32), &path),
        None,
    );
}

#[test]
fn a_join_names_the_thread_that_is_to_end() {
    let program = Program::start("join", "");
    let mut reader = reader_with(
        &ProcRoot::live(),
        program.pid(),
        100,
        super::super::companions::live(&ProcRoot::live(), Pid(program.pid())),
    );
    let is_named = |row: &Thread| {
        let object = row.wait.as_ref().ok().and_then(|wait| wait.object.as_ref().ok());
        object.is_some_and(|object| object.kind == "thread")
    };
    let snapshot = pass_until(&mut reader, |snapshot| snapshot.threads.iter().any(is_named));
    let other = snapshot
        .threads
        .iter()
        .find(|row| row.tid().0 != program.pid())
        .unwrap();
    assert_eq!(
        object(main_row(&snapshot)),
        ("thread", None, format!("thread {} to end", other.tid()))
    );
    let mut once = reader_with(
        &ProcRoot::live(),
        program.pid(),
        0,
        super::super::companions::live(&ProcRoot::live(), Pid(program.pid())),
    );
    let (whole, _) = once.one(Tid(program.pid())).unwrap().unwrap();
    assert_eq!(object(&whole).2, format!("thread {} to end", other.tid()));
}

#[test]
fn a_file_that_was_found_keeps_its_name_while_its_reader_stands_still() {
    let mut program = Program::start("closed", "");
    let (fd, main) = (program.said.0 as u32, Tid(program.pid()));
    let name = link(&program, fd);
    let mut reader = reader(program.pid());
    pass_until(&mut reader, |snapshot| is_in(main_row(snapshot), &["read"]));
    writeln!(program.input.as_mut().unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_link(format!("/proc/{main}/fd/{fd}")).is_ok() {
        assert!(Instant::now() < deadline);
    }
    let place = reader.threads.iter().position(|kept| kept.row.tid() == main).unwrap();
    let kept = reader.threads.remove(place);
    let again = reader.files.read(&reader.task, main, Some(kept), Keep::All, false);
    assert_eq!(object(&again.unwrap().unwrap().row), ("pipe", Some(fd), name));
    // Who comes now finds nothing under that number.
    let (whole, _) = alone(program.pid(), program.pid());
    assert_eq!(object(&whole), ("other", Some(fd), "closed meanwhile".to_owned()));
}

#[test]
fn what_a_pass_has_no_room_for_is_looked_up_in_the_next_one() {
    let program = Program::start("pipe", "");
    let mut reader = reader(program.pid());
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut kept = loop {
        reader.files.looks_left = 0;
        let kept = reader
            .files
            .read(&reader.task, Tid(program.pid()), None, Keep::All, false);
        let kept = kept.unwrap().unwrap();
        if kept.call.is_some_and(|(name, _)| name == "read") {
            break kept;
        }
        assert!(Instant::now() < deadline);
    };
    assert_eq!(kept.row.wait.as_ref().unwrap().object, Err(Unknown::NotAsked));
    assert!(kept.object_due);
    reader.files.looks_left = 1;
    let look = reader.files.look(&reader.task, &mut kept, Keep::All, false);
    assert!(matches!(look, Look::AsItWas));
    assert_eq!((object(&kept.row).0, kept.object_due), ("pipe", false));
}

#[test]
fn a_process_whose_main_thread_has_gone_is_read_through_the_others() {
    let program = Program::start("leave-main", "");
    let mut reader = reader(program.pid());
    let snapshot = pass_until(&mut reader, |snapshot| {
        snapshot.condition.main_thread_gone && snapshot.threads.iter().any(|row| is_in(row, &["read"]))
    });
    assert_eq!(snapshot.condition.marks(), ["main_thread_gone"]);
    assert_eq!(main_row(&snapshot).java_state(), Ok(JavaState::Terminated));
    let other = snapshot
        .threads
        .iter()
        .find(|row| row.tid().0 != program.pid())
        .unwrap();
    assert_eq!(object(other).0, "pipe");
    let (whole, details) = alone(program.pid(), other.tid().0);
    assert_eq!(object(&whole).1, Some(program.said.0 as u32));
    assert!(details.cgroup.is_ok() && details.signals.is_ok(), "{details:?}");
    assert!(snapshot.condition.cgroup.is_ok() && snapshot.condition.tracer == Ok(None));
}

#[test]
fn a_zombie_is_a_zombie_and_no_process_that_lost_its_main_thread() {
    let mut child = Command::new("true").spawn().unwrap();
    let mut reader = reader(child.id());
    let snapshot = pass_until(&mut reader, |snapshot| snapshot.condition.zombie);
    assert_eq!(snapshot.condition.marks(), ["zombie"]);
    assert_eq!(snapshot.threads[0].java_state(), Ok(JavaState::Terminated));
    child.wait().unwrap();
}

#[test]
fn a_vfork_parent_names_the_child_it_waits_for() {
    let program = Program::start("vfork", "");
    let mut reader = reader(program.pid());
    let snapshot = pass_until(&mut reader, |snapshot| snapshot.condition.vfork_parent);
    let row = main_row(&snapshot);
    assert_eq!(
        (row.state, row.wait.as_ref().unwrap().kind),
        (ThreadState::DiskSleep, crate::model::WaitKind::Child)
    );
    let (kind, _, name) = object(row);
    assert_eq!(kind, "process");
    // Without CONFIG_PROC_CHILDREN nothing tells which one it is.
    let listed = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", program.pid()));
    match listed {
        Ok(children) => assert_eq!(name, format!("vfork child {} (waits)", children.trim())),
        Err(_) => assert_eq!(name, "vfork child"),
    }
}

#[test]
fn a_stopped_process_says_so_and_shows_the_signals_it_holds_back() {
    let program = Program::start("signalfd", "");
    let mut reader = reader(program.pid());
    pass_until(&mut reader, |snapshot| main_row(snapshot).wait.is_ok());
    program.send(rustix::process::Signal::STOP);
    let snapshot = pass_until(&mut reader, |snapshot| snapshot.condition.stopped);
    let row = main_row(&snapshot);
    assert_eq!(snapshot.condition.marks(), ["stopped"]);
    assert_eq!(
        (row.suspended(), row.java_state()),
        (Some(Suspension::Stopped), Ok(JavaState::Runnable))
    );
    program.send(rustix::process::Signal::USR1);
    program.send(rustix::process::Signal::HUP);
    let (whole, details) = alone(program.pid(), program.pid());
    assert_eq!(whole.wait, Err(Unknown::NotWaiting));
    let signals = details.signals.unwrap();
    assert_eq!(signals.pending_shared.names(), ["SIGHUP", "SIGUSR1"]);
    assert_eq!(signals.blocked.names(), ["SIGUSR1", "SIGTERM"]);
}

#[test]
fn a_traced_process_names_its_tracer() {
    let program = Program::start("traced", "");
    let traced = program.said.0 as u32;
    let mut reader = reader(traced);
    let snapshot = pass_until(&mut reader, |snapshot| {
        snapshot.condition.tracer == Ok(Some(Pid(program.pid())))
    });
    let row = main_row(&snapshot);
    assert_eq!(
        (row.state, row.suspended()),
        (ThreadState::Traced, Some(Suspension::Traced))
    );
    assert_eq!(snapshot.condition.marks(), ["traced"]);
    let (_, details) = alone(traced, traced);
    assert_eq!(details.tracer, Ok(Some(Pid(program.pid()))));
}

/// A control group of its own whose processes can be frozen; gone with its guard.
struct Group {
    folder: PathBuf,
    file: &'static str,
    frozen: &'static str,
    thawed: &'static str,
}

impl Group {
    /// The hierarchies that this machine has and lets us write to.
    fn make() -> Vec<Group> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut groups = Vec::new();
        for line in text.lines() {
            let Some((mount, system)) = line.split_once(" - ") else {
                continue;
            };
            let (file, frozen, thawed) = if system.starts_with("cgroup2 ") {
                ("cgroup.freeze", "1", "0")
            } else if system.starts_with("cgroup ") && system.contains("freezer") {
                ("freezer.state", "FROZEN", "THAWED")
            } else {
                continue;
            };
            let Some(at) = mount.split(' ').nth(4) else { continue };
            let folder = PathBuf::from(at).join(format!("threadscape-test-{}", std::process::id()));
            if std::fs::create_dir(&folder).is_ok() {
                groups.push(Group {
                    folder,
                    file,
                    frozen,
                    thawed,
                });
            }
        }
        groups
    }

    fn set(&self, word: &str) -> bool {
        std::fs::write(self.folder.join(self.file), word).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.set(self.thawed);
        // The kernel takes a moment to take those that have ended out of it.
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.folder).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// In version 1 what is frozen can't even be killed: thawed before the program's guard waits for its end.
struct Thaw<'a>(&'a Group);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.thawed);
    }
}

#[test]
fn a_frozen_process_is_frozen_and_thaws() {
    let groups = Group::make();
    if groups.is_empty() {
        println!("skipped: no control group can be made here (not root, or no freezer is mounted)");
    }
    for group in groups {
        let program = Program::start("pipe", "");
        if std::fs::write(group.folder.join("cgroup.procs"), program.pid().to_string()).is_err()
            || !group.set(group.frozen)
        {
            println!("skipped: {} can't be frozen", group.folder.display());
            continue;
        }
        let _thawed = Thaw(&group);
        let mut reader = reader(program.pid());
        let snapshot = pass_until(&mut reader, |snapshot| {
            snapshot.condition.frozen == Ok(true) && main_row(snapshot).suspended() == Some(Suspension::Frozen)
        });
        assert!(
            snapshot.condition.marks().contains(&"frozen"),
            "{:?}",
            snapshot.condition
        );
        let cgroup = snapshot.condition.cgroup.clone().unwrap();
        assert!(cgroup.contains("threadscape-test"), "{cgroup}");
        let (_, details) = alone(program.pid(), program.pid());
        assert_eq!(details.frozen, Ok(true));
        assert!(group.set(group.thawed));
        pass_until(&mut reader, |snapshot| {
            snapshot.condition.frozen == Ok(false) && main_row(snapshot).suspended().is_none()
        });
    }
}

#[test]
fn the_kernels_own_thread_is_one() {
    if !std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        println!("skipped: pid 2 is no kernel thread here (a container)");
        return;
    }
    let mut reader = reader(2);
    let snapshot = pass(&mut reader);
    assert_eq!(snapshot.condition.marks(), ["kernel_thread"]);
    let row = &snapshot.threads[0];
    assert_eq!(row.java_state(), Ok(JavaState::Waiting));
    assert_eq!(row.wait.as_ref().unwrap().object, Err(Unknown::NoObject));
    let (_, details) = alone(2, 2);
    assert_eq!(details.time_limit, Err(Unknown::NoObject));
}

#[test]
fn a_running_thread_is_runnable_in_both_words() {
    let program = Program::start("spin", "");
    let mut reader = reader(program.pid());
    let snapshot = pass_until(&mut reader, |snapshot| {
        main_row(snapshot).state == ThreadState::Runnable
    });
    assert_eq!(main_row(&snapshot).java_state(), Ok(JavaState::Runnable));
}

#[test]
fn rows_over_the_budget_are_read_in_turns() {
    let program = Program::start("threads", "600");
    let mut reader = reader(program.pid());
    // A pass that may take no time at all begins where the one before it stopped.
    let (mut passes, mut seen) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while seen < 601 {
        assert!(Instant::now() < deadline, "{seen} rows after {passes} passes");
        reader.limit = Duration::from_millis(2);
        let snapshot = reader.pass(Role::Other, clock::monotonic(), 1).unwrap();
        assert!(snapshot.threads.len() >= seen, "rows that are known stay");
        assert_eq!(snapshot.truncated, reader.resume != Tid(0));
        seen = snapshot.threads.len();
        passes += 1;
    }
    // All that it takes is a whole pass for the rows that were read first, too.
    reader.limit = Duration::from_micros(500);
    let began = reader.threads.iter().map(|kept| kept.reading.at).collect::<Vec<_>>();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let _ = reader.pass(Role::Other, clock::monotonic(), 1).unwrap();
        let now = reader.threads.iter().map(|kept| kept.reading.at);
        if now.zip(&began).all(|(now, began)| now > *began) {
            break;
        }
        assert!(Instant::now() < deadline, "some rows never had their turn");
    }
}
