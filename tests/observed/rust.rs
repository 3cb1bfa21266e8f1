//! A Rust program: std's locks, channels and parked threads, and parking_lot's. std is built with frame pointers,
//! which nobody tells from outside: its stacks are the ones that need a frame pointer found again.
//!
//! The program is this test program, told by a variable to be something else.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::thread;

use crate::judges::{compare, gdb};
use crate::seen::{ask, functions, list, stacks, wait_of};
use crate::truth::Program;

const ROLE: &str = "THREADSCAPE_TEST_RUST_LOCKS";

fn start() -> Program {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "rust::program", "--nocapture", "--test-threads=1"])
        .env(ROLE, "1");
    Program::run(&mut command)
}

/// Not alone on its line when the test runner prints too: each line is written whole.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{line}\n").as_bytes());
    let _ = out.flush();
}

fn named(name: &'static str, body: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            tell(&format!("thread {name} {}", rustix::thread::gettid().as_raw_nonzero()));
            body();
        })
        .unwrap();
}

static MUTEX: Mutex<u32> = Mutex::new(0);
static RWLOCK: RwLock<u32> = RwLock::new(0);
static CONDVAR: Condvar = Condvar::new();
static CONDITION: Mutex<u32> = Mutex::new(0);
static ONCE: OnceLock<u32> = OnceLock::new();
static LOT: parking_lot::Mutex<u32> = parking_lot::Mutex::new(0);

/// The program itself; as a test of its own it does nothing.
#[test]
fn program() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    tell(&format!("lock mutex {:x}", &raw const MUTEX as usize));
    tell(&format!("lock rwlock {:x}", &raw const RWLOCK as usize));
    let held = Arc::new(Barrier::new(3));
    let both = Arc::clone(&held);
    named("holder", move || {
        let _mutex = MUTEX.lock();
        let _rwlock = RWLOCK.write();
        let _lot = LOT.lock();
        both.wait();
        loop {
            thread::sleep(std::time::Duration::from_secs(3600));
        }
    });
    let both = Arc::clone(&held);
    named("once_runs", move || {
        ONCE.get_or_init(|| {
            both.wait();
            loop {
                thread::sleep(std::time::Duration::from_secs(3600));
            }
        });
    });
    held.wait();
    named("mutex", || drop(MUTEX.lock()));
    named("rwlock", || drop(RWLOCK.read()));
    named("parking_lot", || drop(LOT.lock()));
    named("once", || {
        ONCE.get_or_init(|| 0);
    });
    named("condvar", || {
        let mut guard = CONDITION.lock().unwrap();
        loop {
            guard = CONDVAR.wait(guard).unwrap();
        }
    });
    named("park", || {
        loop {
            thread::park();
        }
    });
    let (sender, receiver) = mpsc::channel::<u32>();
    named("channel", move || {
        let _ = receiver.recv();
    });
    tell("ready");
    let _ = std::io::stdin().read(&mut [0]);
    drop(sender);
    std::process::exit(0);
}

const WAITERS: [&str; 7] = ["mutex", "rwlock", "parking_lot", "once", "condvar", "park", "channel"];

#[test]
fn locks_of_std_are_named_and_nobody_is_proved_to_hold_them() {
    let program = start();
    program.blocked(&WAITERS);
    let (answer, code) = ask("locks", program.pid(), &[]);
    assert_eq!(code, 0, "{answer:#}");
    let check = |thread: &str, kinds: &[&str]| {
        let (lock, wait) = wait_of(&answer, program.tid(thread));
        assert!(
            kinds.contains(&lock["kind"].as_str().unwrap()),
            "{thread}: {lock:#} {wait:#}"
        );
        assert_ne!(lock["owner"]["proved"], true, "{thread}: {lock:#}");
    };
    check("mutex", &["rust_mutex"]);
    check("rwlock", &["rust_rwlock"]);
    check("parking_lot", &["parking_lot"]);
    check("once", &["rust_once"]);
    check("condvar", &["rust_condvar"]);
    check("park", &["rust_park"]);
    check("channel", &["rust_park"]);
    assert_eq!(answer["deadlocks"], serde_json::json!([]));
}

#[test]
fn stacks_of_rust_are_those_of_gdb() {
    let program = start();
    program.blocked(&WAITERS);
    let answer = stacks(program.pid());
    compare(&answer, &gdb(program.pid()), |_| false).hold("a Rust program, gdb");
    let names = functions(&answer, program.tid("mutex"));
    assert!(names.iter().any(|name| name.contains("rust::program")), "{names:?}");
    assert!(
        list(&answer["stacks"])
            .iter()
            .flat_map(|stack| list(&stack["frames"]))
            .any(|frame| frame["trust"] == "recovered"),
        "std's frames need a frame pointer that was found again; marked is none"
    );
}
