//! Programs that we did not write: PostgreSQL, Redis, nginx, a JVM, CPython, Node.js and Go's runtime. Each
//! thread's stack is held against gdb's, frame by frame.
//!
//! A program that is not installed is skipped with a line that says so; on CI it must be there (`make need-observed`).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{LONG, until};
use crate::judges::{self, Frame, Verdict, compare, gdb};
use crate::seen::{ask, functions, list, locks, stacks};
use crate::truth::{Program, quiet, tids};

/// Whether a program is there. On CI it is a failure when it is not.
fn has(program: &str) -> bool {
    let there = Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|status| status.success());
    missing(program, there && judges::is_installed("gdb"))
}

fn missing(program: &str, there: bool) -> bool {
    assert!(
        there || std::env::var_os("CI").is_none(),
        "{program} or gdb is missing: `make need-observed`"
    );
    if !there {
        println!("skipped: {program} or gdb is not installed; `make need-observed` as root installs both");
    }
    there
}

/// A server with the processes that it started; it is asked to end, and then made to.
struct Server {
    child: Child,
    end: Signal,
    folder: TempDir,
}

impl Server {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Itself and its children.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.pid()];
        family.extend(children(self.pid()));
        family
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, self.end);
        }
        let deadline = std::time::Instant::now() + LONG;
        while std::time::Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for tid in tids(pid) {
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
        children.extend(listed.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    children
}

/// A folder that its owner, whoever runs the server, may write.
fn folder_of(user: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    if let Some(user) = user {
        let status = Command::new("chown").arg(user).arg(folder.path()).status().unwrap();
        assert!(status.success());
    }
    folder
}

/// What each thread has done so far: equal in two readings, it has not moved in between.
fn marks(pid: u32) -> BTreeMap<u32, String> {
    tids(pid)
        .into_iter()
        .filter_map(|tid| {
            let task = format!("/proc/{pid}/task/{tid}");
            let call = fs::read_to_string(format!("{task}/syscall")).ok()?;
            let status = fs::read_to_string(format!("{task}/status")).ok()?;
            let switches = status.split_once("voluntary_ctxt_switches")?.1.to_owned();
            (!call.starts_with("running")).then(|| (tid, call + &switches))
        })
        .collect()
}

/// Ours against gdb's, of all threads that stood still from before we looked until gdb came.
fn judged(pid: u32) -> (Value, Verdict) {
    let foreign = unbacked_code(pid);
    let in_no_file = |frame: &Frame| foreign.iter().any(|code| code.contains(&frame.address));
    for attempt in 0.. {
        let before = marks(pid);
        let ours = stacks(pid);
        let after = marks(pid);
        let mut theirs = gdb(pid);
        theirs.retain(|tid, _| before.contains_key(tid) && before.get(tid) == after.get(tid));
        let verdict = compare(&ours, &theirs, in_no_file);
        // A thread may still have moved in the moment until gdb held it; a mistake of ours would be there again.
        if attempt == 2 || (verdict.wrong.is_empty() && verdict.equal == verdict.threads) {
            return (ours, verdict);
        }
    }
    unreachable!()
}

/// Where code lies that no file backs. gdb has no unwind information there and guesses.
fn unbacked_code(pid: u32) -> Vec<std::ops::Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines()
        .filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[1].contains('x') && words.len() < 6
        })
        .map(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            judges::number(start)..judges::number(end)
        })
        .collect()
}

fn hold(what: &str, pids: &[u32]) {
    let mut all = Verdict::default();
    for pid in pids {
        quiet(*pid);
        all.add(judged(*pid).1);
    }
    all.hold(what);
}

/// The newest PostgreSQL on the machine; Debian does not put it on the path.
fn postgres() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

/// PostgreSQL refuses to run as root.
fn as_user(user: Option<&str>, program: &Path) -> Command {
    match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "--pdeathsig",
                "QUIT",
                "--",
            ]);
            command.arg(program);
            command
        }
    }
}

struct Session {
    child: Child,
    input: ChildStdin,
    log: PathBuf,
}

impl Session {
    fn open(bin: &Path, user: Option<&str>, folder: &Path, name: &str) -> Session {
        let log = folder.join(name);
        let mut child = as_user(user, &bin.join("psql"))
            .args(["-X", "-A", "-t", "-q", "-d", "postgres", "-h"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&log).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        Session { child, input, log }
    }

    fn say(&mut self, sql: &str) {
        self.input.write_all(format!("{sql}\n").as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// The number that it prints last.
    fn number(&mut self, sql: &str) -> u32 {
        self.say(sql);
        until(sql, || {
            let text = fs::read_to_string(&self.log).unwrap();
            text.ends_with('\n')
                .then(|| text.lines().last()?.parse().ok())
                .flatten()
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn postgresql_with_a_session_that_waits_for_a_row() {
    let bin = postgres();
    if !missing("postgresql", bin.is_some() && judges::is_installed("gdb")) {
        return;
    }
    let bin = bin.unwrap();
    let user = rustix::process::geteuid().is_root().then_some("postgres");
    let folder = folder_of(user);
    let made = as_user(user, &bin.join("initdb"))
        .args(["-A", "trust", "-N", "--no-instructions", "-D"])
        .arg(folder.path().join("db"))
        .current_dir("/")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let child = as_user(user, &bin.join("postgres"))
        .arg("-D")
        .arg(folder.path().join("db"))
        .arg("-k")
        .arg(folder.path())
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "autovacuum=off"])
        .current_dir("/")
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        end: Signal::QUIT,
        folder,
    };
    let at = server.folder.path();
    until("the server listens", || {
        let log = fs::read_to_string(at.join("log")).ok()?;
        log.contains("ready to accept connections").then_some(())
    });
    let mut holder = Session::open(&bin, user, at, "holder");
    holder.say("create table accounts (id int primary key, amount int); insert into accounts values (1, 5);");
    holder.say("begin; update accounts set amount = 6 where id = 1;");
    let holder_pid = holder.number("select pg_backend_pid();");
    let mut waiter = Session::open(&bin, user, at, "waiter");
    let waiter_pid = waiter.number("select pg_backend_pid();");
    waiter.say("update accounts set amount = 7 where id = 1;");
    until("the second session waits", || {
        let waits = holder.number(&format!(
            "select count(*) from pg_stat_activity where pid = {waiter_pid} and wait_event_type = 'Lock';"
        ));
        (waits == 1).then_some(())
    });
    let family = server.family();
    assert!(
        family.contains(&holder_pid) && family.contains(&waiter_pid),
        "{family:?}"
    );
    hold("PostgreSQL", &family);
    let (answer, _) = judged(waiter_pid);
    let names = functions(&answer, waiter_pid);
    for function in ["LockAcquireExtended", "heap_update", "ExecutorRun", "PostgresMain"] {
        // Debian strips static functions' names; these are exported.
        assert!(
            names.iter().any(|name| name.contains(function)),
            "{function}: {names:?}"
        );
    }
    // A row lock is no lock of threads: nothing may be made up.
    let (answer, code) = ask("locks", waiter_pid, &[]);
    assert_eq!((code, &answer["deadlocks"]), (0, &serde_json::json!([])));
}

#[test]
fn redis_with_its_background_threads() {
    if !has("redis-server") {
        return;
    }
    let folder = folder_of(None);
    let socket = folder.path().join("socket");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--hz", "1", "--dir"])
        .arg(folder.path())
        .arg("--unixsocket")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        end: Signal::TERM,
        folder,
    };
    until("the server listens", || socket.exists().then_some(()));
    quiet(server.pid());
    let (answer, verdict) = judged(server.pid());
    verdict.hold("Redis");
    assert!(
        answer["total"].as_u64() >= Some(4),
        "the main thread and bio's: {answer:#}"
    );
    let lazy = list(&locks(server.pid())["locks"])
        .iter()
        .filter(|lock| lock["kind"] == "pthread_cond")
        .count();
    assert!(lazy >= 1, "its background threads wait at condition variables");
}

#[test]
fn nginx_with_its_workers() {
    if !has("nginx") {
        return;
    }
    let folder = folder_of(None);
    let at = folder.path().display().to_string();
    let config = folder.path().join("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off; worker_processes 2; pid {at}/pid; error_log stderr;\n\
             events {{ worker_connections 16; }}\n\
             http {{ access_log off; server {{ listen unix:{at}/socket; }}\n\
             client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;\n\
             uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi; }}\n"
        ),
    )
    .unwrap();
    let child = Command::new("nginx")
        .args(["-p", &at, "-c"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        end: Signal::TERM,
        folder,
    };
    until("two workers are there", || (server.family().len() == 3).then_some(()));
    hold("nginx", &server.family());
}

#[test]
fn a_jvm_whose_threads_wait_for_monitors() {
    if !has("java") {
        return;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/programs/Monitors.java");
    let program = Program::run(
        Command::new("java")
            .args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(source),
    );
    let named = |name: &str| -> Option<u32> {
        tids(program.pid()).into_iter().find(|tid| {
            fs::read_to_string(format!("/proc/{}/task/{tid}/comm", program.pid()))
                .is_ok_and(|comm| comm.trim_end() == name)
        })
    };
    let names = ["monitor-a", "monitor-b", "object-wait", "asleep", "reentrant"];
    let waiting: Vec<u32> = names.iter().map(|name| until(name, || named(name))).collect();
    until("they all wait", || {
        let marks = marks(program.pid());
        waiting.iter().all(|tid| marks.contains_key(tid)).then_some(())
    });
    let (answer, verdict) = judged(program.pid());
    verdict.hold("a JVM");
    for tid in &waiting {
        let names = functions(&answer, *tid);
        assert!(
            names
                .iter()
                .any(|name| name.contains("pthread_cond") || name.contains("futex")),
            "{names:?}"
        );
    }
    // Its monitors are its own: a deadlock of Java is told by jstack, not guessed by us.
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!((code, &answer["deadlocks"]), (0, &serde_json::json!([])));
}

#[test]
fn python_with_threads_that_wait() {
    if !has("/usr/bin/python3") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/programs/threads.py");
    let program = Program::run(Command::new("/usr/bin/python3").arg(script));
    let names = ["lock-a", "lock-b", "asleep", "queue", "event", "main"];
    program.blocked(&names);
    let (answer, verdict) = judged(program.pid());
    verdict.hold("CPython");
    assert_eq!(answer["total"], 6);
    // A lock of Python is a semaphore: waited for, and held by nobody who could be named.
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!((code, &answer["deadlocks"]), (0, &serde_json::json!([])));
    let kinds: Vec<&str> = list(&answer["locks"])
        .iter()
        .map(|lock| lock["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"semaphore"), "{kinds:?}");
}

#[test]
fn node_at_rest() {
    if !has("node") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/programs/idle.js");
    let program = Program::run(Command::new("node").arg(script));
    quiet(program.pid());
    let (answer, verdict) = judged(program.pid());
    verdict.hold("Node.js");
    assert!(answer["total"].as_u64() > Some(5));
    let names = functions(&answer, program.pid());
    assert!(names.iter().any(|name| name.contains("uv_run")), "{names:?}");
}

/// Go is looked at where it is at hand, and not installed for it.
#[test]
fn go_at_rest() {
    let there = Command::new("go").arg("version").output().is_ok() && judges::is_installed("gdb");
    if !there {
        println!("skipped: go or gdb is not installed");
        return;
    }
    let folder = folder_of(None);
    let program = folder.path().join("idle");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/programs/idle.go");
    let made = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(source)
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
        .env("GO111MODULE", "off")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let program = Program::run(&mut Command::new(&program));
    // The runtime's own watcher never rests for long; the others do.
    until("a thread reads", || {
        let marks = marks(program.pid());
        (marks.len() >= 3).then_some(())
    });
    let (answer, verdict) = judged(program.pid());
    verdict.hold("Go");
    let read = list(&answer["stacks"])
        .iter()
        .flat_map(|stack| list(&stack["frames"]))
        .any(|frame| frame["function"] == "main.blockedInRead");
    assert!(read, "{answer:#}");
    // Goroutines that wait are parked: no thread waits for their mutex, and nothing is made up.
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!((code, &answer["deadlocks"]), (0, &serde_json::json!([])));
}
