//! Real programs whose locks, owners and waiters are known, because they print them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identify::{Found, identify};
use crate::kernel::ProcRoot;
use crate::model::{Dump, Lock, LockKind, LockPlace, LockWait, Owner, Pid, Proof, Tid, Unknown, WaitMode};
use crate::observe::stacks::{Dumper, StackOptions};

const PROGRAMS: &str = include_str!("programs.c");

fn compile(compiler: &str, source: &str, suffix: &str, flags: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (
        folder.path().join(format!("locks.{suffix}")),
        folder.path().join("locks"),
    );
    std::fs::write(&file, source).unwrap();
    let done = Command::new(compiler)
        .args(["-pthread", "-w", "-O1", "-o"])
        .args([&program, &file])
        .args(flags)
        .status()
        .unwrap();
    assert!(done.success(), "{compiler} {flags:?}");
    (folder, program)
}

/// A program of ours, and what it says is true.
struct Target {
    child: Child,
    /// By name: the lock's address, and its owner.
    truth: HashMap<String, (u64, u32)>,
    _folder: tempfile::TempDir,
}

impl Target {
    fn start(flags: &[&str], arguments: &[&str]) -> Target {
        let (folder, program) = compile("cc", PROGRAMS, "c", flags);
        Target::run(folder, Command::new(program).args(arguments))
    }

    fn run(folder: tempfile::TempDir, command: &mut Command) -> Target {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut truth = HashMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            if let [name, address, owner] = words[..] {
                let address = address.strip_prefix("0x").unwrap_or("0");
                let address = u64::from_str_radix(address, 16).unwrap();
                truth.insert(name.to_owned(), (address, owner.parse().unwrap()));
            } else {
                assert_eq!(line, "ready");
                break;
            }
        }
        Target {
            child,
            truth,
            _folder: folder,
        }
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn address(&self, name: &str) -> u64 {
        self.truth[name].0
    }

    /// The owner as the program's own number of a thread.
    fn owner(&self, name: &str) -> u32 {
        self.truth[name].1
    }

    /// All locks, once a thread of each of these names waits.
    fn look(&self, pid: Pid, names: &[&str]) -> Looked {
        look(pid, names)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Looked {
    dump: Dump,
    found: Found,
}

fn look(pid: Pid, names: &[&str]) -> Looked {
    let dumper = Dumper::new(&ProcRoot::live());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let dump = dumper.dump(pid, &StackOptions::default()).unwrap();
        let found = identify(&dumper, &dump, true);
        let looked = Looked { dump, found };
        let missing: Vec<_> = names.iter().filter(|name| looked.wait(name).is_none()).collect();
        if missing.is_empty() {
            return looked;
        }
        assert!(
            Instant::now() < deadline,
            "nobody waits at {missing:?}: {:#?}",
            looked.found
        );
        std::thread::yield_now();
    }
}

impl Looked {
    fn wait(&self, name: &str) -> Option<&LockWait> {
        self.found.waits.iter().find(|wait| {
            let thread = self.dump.thread(wait.tid);
            thread.is_some_and(|thread| &*thread.name == name)
        })
    }

    fn lock(&self, name: &str) -> (&Lock, &LockWait) {
        let wait = self.wait(name).unwrap();
        (&self.found.locks[wait.lock], wait)
    }

    fn tid(&self, name: &str) -> Tid {
        let thread = self.dump.threads.iter().find(|thread| &*thread.name == name);
        thread.unwrap().tid()
    }
}

fn thread(tid: u32, proof: Proof) -> Result<Owner, Unknown> {
    Ok(Owner::Thread { tid: Tid(tid), proof })
}

#[test]
fn every_kind_of_mutex_names_its_owner() {
    let target = Target::start(&[], &["mutexes"]);
    let names = [
        "normal",
        "recursive",
        "error_checking",
        "adaptive",
        "robust",
        "inheriting",
        "shared",
        "robust_check",
        "heap",
        "shared_memory",
        "stack",
        "timed",
        "self",
    ];
    let looked = target.look(target.pid(), &names);
    for name in names {
        let (lock, wait) = looked.lock(name);
        assert_eq!(lock.kind, LockKind::PthreadMutex, "{name}: {lock:?}");
        assert_eq!(lock.address, target.address(name), "{name}");
        let proof = match name {
            "robust" | "inheriting" | "robust_check" => Proof::FutexWord,
            _ => Proof::Recorded,
        };
        assert_eq!(lock.owner, thread(target.owner(name), proof), "{name}");
        assert_eq!(lock.told_by, "stack and memory", "{name}");
        let flags: &[&str] = match name {
            "recursive" => &["recursive"],
            "error_checking" => &["error_checking"],
            "adaptive" => &["adaptive"],
            "robust" => &["robust"],
            "inheriting" => &["priority_inheritance"],
            "shared" | "shared_memory" => &["process_shared"],
            "robust_check" => &["error_checking", "robust", "process_shared"],
            _ => &[],
        };
        assert_eq!(lock.flags, flags, "{name}");
        assert_eq!(lock.state, "held, with waiters", "{name}");
        assert_eq!(
            (wait.mode, wait.timed),
            (WaitMode::Exclusive, name == "timed"),
            "{name}"
        );
        let function = if name == "timed" {
            "pthread_mutex_"
        } else {
            "pthread_mutex_lock"
        };
        assert!(
            wait.function.as_ref().is_some_and(|waits| waits.contains(function)),
            "{wait:?}"
        );
        let holder = looked.tid("holder");
        match (name, &lock.place) {
            ("heap", LockPlace::Heap) | ("shared_memory", LockPlace::SharedMemory { .. }) => {}
            ("stack", LockPlace::Stack { tid }) => assert_eq!(*tid, holder),
            ("heap" | "shared_memory" | "stack", place) => panic!("{name} lies in {place:?}"),
            (_, LockPlace::Global { symbol, offset, .. }) => {
                let variable = match name {
                    "timed" => "normal",
                    "robust_check" => "robust_checking",
                    _ => name,
                };
                assert_eq!((&**symbol, *offset), (variable, 0), "{name}");
            }
            (_, place) => panic!("{name} lies in {place:?}"),
        }
    }
    // Most waiters first: the normal one has two.
    assert_eq!(looked.found.locks[0].address, target.address("normal"));
    assert_eq!(looked.found.locks[0].waiters.len(), 2);
    assert!(looked.found.waits.is_sorted_by_key(|wait| wait.tid));
}

#[test]
fn the_other_locks_of_the_c_library_are_told_from_each_other() {
    let target = Target::start(&[], &["others"]);
    let names = [
        "after_readers",
        "reader",
        "writer",
        "prefer_writer",
        "prefer_reader",
        "cond",
        "cond_timed",
        "used_cond",
        "relock",
        "semaphore",
        "barrier",
        "once",
        "join",
        "stdio",
    ];
    let looked = target.look(target.pid(), &names);
    let check = |name: &str, kind: LockKind, mode: WaitMode, owner: Result<Owner, Unknown>, state: &str| {
        let (lock, wait) = looked.lock(name);
        assert_eq!((lock.kind, wait.mode), (kind, mode), "{name}: {lock:?}");
        if name != "stdio" {
            assert_eq!(lock.address, target.address(name), "{name}");
        }
        assert_eq!(lock.owner, owner, "{name}");
        assert_eq!(lock.state, state, "{name}");
        assert_eq!(lock.told_by, "stack and memory", "{name}");
        assert_eq!(wait.timed, name == "cond_timed", "{name}");
    };
    let recorded = |name: &str| thread(target.owner(name), Proof::Recorded);
    let unnamed = || Err(Unknown::OwnerNotRecorded);
    let nobody = || Err(Unknown::NotHeld);
    use LockKind::{LibcInternal, PthreadBarrier, PthreadCond, PthreadMutex, PthreadOnce, PthreadRwlock, Semaphore};
    use WaitMode::{Exclusive, Shared, Signal};
    check(
        "after_readers",
        PthreadRwlock,
        Exclusive,
        unnamed(),
        "2 readers, a writer waits",
    );
    check("reader", PthreadRwlock, Shared, recorded("reader"), "a writer");
    check("writer", PthreadRwlock, Exclusive, recorded("writer"), "a writer");
    check(
        "prefer_writer",
        PthreadRwlock,
        Exclusive,
        unnamed(),
        "1 reader, a writer waits",
    );
    check(
        "prefer_reader",
        PthreadRwlock,
        Shared,
        unnamed(),
        "1 reader, a writer waits",
    );
    check("cond", PthreadCond, Signal, nobody(), "2 waiting");
    check("cond_timed", PthreadCond, Signal, nobody(), "2 waiting");
    check("used_cond", PthreadCond, Signal, nobody(), "1 waiting");
    check(
        "relock",
        PthreadMutex,
        Exclusive,
        recorded("relock"),
        "held, with waiters",
    );
    check("semaphore", Semaphore, Signal, unnamed(), "count 0, 1 waiting");
    check("barrier", PthreadBarrier, Signal, nobody(), "2 of 3 have come");
    check("once", PthreadOnce, Signal, unnamed(), "running");
    let joined = thread(target.owner("join"), Proof::JoinTarget);
    check(
        "join",
        LockKind::Join,
        WaitMode::End,
        joined,
        "the thread has not ended",
    );
    check(
        "stdio",
        LibcInternal,
        Exclusive,
        recorded("stdio"),
        "held, with waiters",
    );
    assert_eq!(looked.lock("stdio").0.flags, ["stdio"]);
    assert_eq!(looked.lock("after_readers").0.readers, Some(2));
    let place = &looked.lock("join").0.place;
    assert_eq!(
        *place,
        LockPlace::ThreadBlock {
            tid: looked.tid("joined")
        }
    );
}

#[test]
fn a_lock_whose_owner_has_ended_says_so() {
    let target = Target::start(&[], &["abandon"]);
    let looked = target.look(target.pid(), &["abandoned"]);
    let (lock, _) = looked.lock("abandoned");
    let own_tid = target.owner("abandoned");
    assert_eq!(lock.owner, Ok(Owner::Ended { own_tid }));
}

#[test]
fn a_lock_that_came_over_a_fork_has_a_foreign_owner() {
    let target = Target::start(&[], &["inherit"]);
    let looked = target.look(Pid(target.owner("child")), &["inherited"]);
    let (lock, _) = looked.lock("inherited");
    let own_tid = target.owner("inherited");
    assert_eq!(lock.owner, Ok(Owner::Foreign { own_tid }));
    assert_eq!(lock.address, target.address("inherited"));
}

/// The one process that this one has started.
fn only_child(pid: Pid) -> Pid {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        if let Some(child) = text.split_whitespace().next() {
            return Pid(child.parse().unwrap());
        }
        assert!(Instant::now() < deadline, "process {pid} has started none");
    }
}

#[test]
fn in_another_pid_namespace_owners_are_found_by_their_own_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let allowed = Command::new("unshare").args(["-p", "-f", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("not allowed to make a pid namespace: skipped");
        return;
    }
    let (built, program) = compile("cc", PROGRAMS, "c", &[]);
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--kill-child"]).arg(&program);
    let target = Target::run(folder, command.arg("mutexes"));
    let inside = only_child(target.pid());
    let looked = target.look(inside, &["normal", "robust", "self"]);
    let holder = looked.tid("holder");
    assert_ne!(target.owner("normal"), holder.0);
    assert_eq!(looked.lock("normal").0.owner, thread(holder.0, Proof::Recorded));
    assert_eq!(looked.lock("robust").0.owner, thread(holder.0, Proof::FutexWord));
    drop(target);
    // A thread that ended there is told from one that lives, here too.
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--kill-child"]).arg(&program).arg("abandon");
    let target = Target::run(tempfile::tempdir().unwrap(), &mut command);
    let looked = target.look(only_child(target.pid()), &["abandoned"]);
    let own_tid = target.owner("abandoned");
    assert_eq!(looked.lock("abandoned").0.owner, Ok(Owner::Ended { own_tid }));
    drop(built);
}

#[test]
fn a_stripped_program_is_told_by_what_its_libc_exports() {
    let target = Target::start(&["-s"], &["mutexes"]);
    let looked = target.look(target.pid(), &["normal", "inheriting", "timed"]);
    for name in ["normal", "inheriting", "timed"] {
        let (lock, _) = looked.lock(name);
        assert_eq!(
            lock.owner.as_ref().unwrap().thread(),
            Some(Tid(target.owner(name))),
            "{name}"
        );
        assert!(!matches!(lock.place, LockPlace::Global { .. }), "{:?}", lock.place);
    }
}

#[test]
fn a_static_program_without_names_gives_hints_and_no_owners() {
    let target = Target::start(&["-static", "-s"], &["mutexes"]);
    let looked = target.look(target.pid(), &["normal", "inheriting", "robust"]);
    let (lock, wait) = looked.lock("normal");
    assert_eq!((lock.kind, lock.told_by), (LockKind::Unknown, "call"), "{lock:?}");
    assert_eq!(lock.owner, Err(Unknown::NoLockShape));
    assert!(lock.state.ends_with("looks like a pthread mutex"), "{}", lock.state);
    assert_eq!(wait.function, None);
    // What the kernel itself vouches for needs no names.
    let (lock, _) = looked.lock("inheriting");
    assert_eq!(lock.owner, thread(target.owner("inheriting"), Proof::FutexWord));
}

#[test]
fn a_lock_of_a_file_is_held_by_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a lock");
    let target = Target::start(&[], &["files", path.to_str().unwrap()]);
    for (name, flag) in [("posix", "posix"), ("flock", "flock")] {
        let child = Pid(target.owner(name));
        let looked = target.look(child, &["locks"]);
        let (lock, wait) = looked.lock("locks");
        assert_eq!((lock.kind, wait.mode), (LockKind::FileLock, WaitMode::Exclusive));
        assert_eq!(lock.flags, [flag]);
        let own_tid = target.pid().0;
        assert_eq!(lock.owner, Ok(Owner::Foreign { own_tid }), "{lock:?}");
        assert_eq!(lock.state, format!("held by process {own_tid}"));
        let LockPlace::Mapping { name, .. } = &lock.place else {
            panic!("{lock:?}")
        };
        assert_eq!(Path::new(&**name), path);
    }
}

/// A thread of ours with a name.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap()
}

fn us() -> Pid {
    Pid(std::process::id())
}

#[test]
fn the_locks_of_rusts_std_are_named_and_their_owners_are_not() {
    use std::sync::{Condvar, Mutex, Once, RwLock, mpsc};
    let mutex: &'static Mutex<()> = Box::leak(Box::default());
    let rwlock: &'static RwLock<()> = Box::leak(Box::default());
    let written: &'static RwLock<()> = Box::leak(Box::default());
    let pair: &'static (Mutex<()>, Condvar) = Box::leak(Box::default());
    let once: &'static Once = Box::leak(Box::new(Once::new()));
    let held = mutex.lock().unwrap();
    let (first, second) = (rwlock.read().unwrap(), rwlock.read().unwrap());
    let writing = written.write().unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    let (hold_once, once_held) = mpsc::channel::<()>();
    let threads = [
        spawn("std-mutex", || drop(mutex.lock())),
        spawn("std-write", || drop(rwlock.write())),
        spawn("std-read", || drop(written.read())),
        spawn("std-cond", || {
            let guard = pair.0.lock().unwrap();
            drop(pair.1.wait_timeout(guard, Duration::from_secs(1000)));
        }),
        spawn("std-park", std::thread::park),
        spawn("std-channel", move || drop(receiver.recv())),
        spawn("std-in-once", move || once.call_once(|| drop(once_held.recv()))),
    ];
    look(us(), &["std-in-once"]);
    let last = spawn("std-once", || once.call_once(|| ()));
    let names = [
        "std-mutex",
        "std-write",
        "std-read",
        "std-cond",
        "std-park",
        "std-channel",
        "std-once",
    ];
    let looked = look(us(), &names);
    let check = |name: &str, kind: LockKind, mode: WaitMode, owner: Unknown, state: &str| {
        let (lock, wait) = looked.lock(name);
        assert_eq!((lock.kind, wait.mode), (kind, mode), "{name}: {lock:?} {wait:?}");
        assert_eq!((lock.owner.clone(), &*lock.state), (Err(owner), state), "{name}");
        assert_eq!(lock.told_by, "stack and memory", "{name}");
        assert_eq!(wait.timed, name == "std-cond");
    };
    let unnamed = Unknown::OwnerNotRecorded;
    check(
        "std-mutex",
        LockKind::RustMutex,
        WaitMode::Exclusive,
        unnamed,
        "held, with waiters",
    );
    check(
        "std-write",
        LockKind::RustRwlock,
        WaitMode::Exclusive,
        unnamed,
        "2 readers, writers wait",
    );
    check(
        "std-read",
        LockKind::RustRwlock,
        WaitMode::Shared,
        unnamed,
        "a writer, readers wait",
    );
    check(
        "std-cond",
        LockKind::RustCondvar,
        WaitMode::Signal,
        Unknown::NotHeld,
        "notified 0 times",
    );
    check(
        "std-park",
        LockKind::RustPark,
        WaitMode::Signal,
        Unknown::NotHeld,
        "parked",
    );
    check(
        "std-channel",
        LockKind::RustPark,
        WaitMode::Signal,
        Unknown::NotHeld,
        "parked",
    );
    check("std-once", LockKind::RustOnce, WaitMode::Signal, unnamed, "running");
    let start = std::ptr::from_ref(mutex) as u64;
    assert!((start..start + 8).contains(&looked.lock("std-mutex").0.address));
    assert_eq!(looked.lock("std-mutex").0.place, LockPlace::Heap);
    let start = std::ptr::from_ref(rwlock) as u64;
    assert!((start..start + 12).contains(&looked.lock("std-write").0.address));

    drop((held, first, second, writing, sender, hold_once));
    pair.1.notify_all();
    for thread in threads.into_iter().chain([last]) {
        thread.thread().unpark();
        thread.join().unwrap();
    }
}

#[test]
fn a_lock_of_parking_lot_is_found_by_the_keys_of_its_waiters() {
    use parking_lot::{Mutex, RwLock};
    let mutex: &'static Mutex<()> = Box::leak(Box::default());
    let rwlock: &'static RwLock<()> = Box::leak(Box::default());
    let (held, reading) = (mutex.lock(), rwlock.read());
    let threads = [
        spawn("lot-mutex", || drop(mutex.lock())),
        spawn("lot-second", || drop(mutex.lock())),
        spawn("lot-write", || drop(rwlock.write())),
    ];
    let looked = look(us(), &["lot-mutex", "lot-second", "lot-write"]);
    let (lock, wait) = looked.lock("lot-mutex");
    assert_eq!((lock.kind, wait.mode), (LockKind::ParkingLot, WaitMode::Exclusive));
    assert_eq!(lock.owner, Err(Unknown::OwnerNotRecorded));
    assert_eq!(lock.address, std::ptr::from_ref(mutex) as u64, "{lock:?}");
    assert_eq!(lock.waiters.len(), 2);
    let (lock, _) = looked.lock("lot-write");
    assert_eq!(lock.kind, LockKind::ParkingLot);
    drop((held, reading));
    for thread in threads {
        thread.join().unwrap();
    }
}

const CPP: &str = r#"
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <latch>
#include <mutex>
#include <pthread.h>
#include <semaphore>
#include <shared_mutex>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
std::mutex mutex;
std::shared_mutex shared;
std::latch latch(1);
std::atomic<int> atom(7);
std::condition_variable cond;
std::mutex for_cond;
std::counting_semaphore<5> semaphore(0);
static void named(const char *name, const void *address, bool held) {
    std::printf("%s %p %d\n", name, address, held ? (int)syscall(SYS_gettid) : 0);
}
template <class F> void start(const char *name, const void *address, bool held, F run) {
    named(name, address, held);
    std::thread([=] { pthread_setname_np(pthread_self(), name); run(); }).detach();
}
int main() {
    mutex.lock(); shared.lock();
    start("cpp-mutex", &mutex, true, [] { mutex.lock(); });
    start("cpp-shared", &shared, true, [] { shared.lock_shared(); });
    start("cpp-latch", &latch, false, [] { latch.wait(); });
    start("cpp-atomic", &atom, false, [] { atom.wait(7); });
    start("cpp-semaphore", &semaphore, false, [] { semaphore.acquire(); });
    start("cpp-cond", &cond, false, [] { std::unique_lock<std::mutex> lock(for_cond); cond.wait(lock); });
    std::puts("ready"); std::fflush(stdout);
    std::getchar();
    _exit(0);
}
"#;

#[test]
fn the_locks_of_cpp_are_pthreads_or_words() {
    let (folder, program) = compile("c++", CPP, "cpp", &["-std=c++20", "-O0"]);
    let target = Target::run(folder, &mut Command::new(program));
    let names = [
        "cpp-mutex",
        "cpp-shared",
        "cpp-latch",
        "cpp-atomic",
        "cpp-semaphore",
        "cpp-cond",
    ];
    let looked = target.look(target.pid(), &names);
    for (name, kind, owned) in [
        ("cpp-mutex", LockKind::PthreadMutex, true),
        ("cpp-shared", LockKind::PthreadRwlock, true),
        ("cpp-cond", LockKind::PthreadCond, false),
        ("cpp-latch", LockKind::CppAtomicWait, false),
        ("cpp-atomic", LockKind::CppAtomicWait, false),
        ("cpp-semaphore", LockKind::CppAtomicWait, false),
    ] {
        let (lock, _) = looked.lock(name);
        assert_eq!(lock.kind, kind, "{name}: {lock:?}");
        let owner = lock.owner.as_ref().ok().and_then(Owner::thread);
        assert_eq!(owner, owned.then(|| Tid(target.owner(name))), "{name}");
        if kind != LockKind::CppAtomicWait || name == "cpp-atomic" {
            assert_eq!(lock.address, target.address(name), "{name}");
        }
    }
}

#[test]
fn a_process_that_has_ended_is_no_process_with_locks() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid(child.id());
    child.wait().unwrap();
    let dumper = Dumper::new(&ProcRoot::live());
    assert!(super::read(&dumper, pid, &StackOptions::default()).is_err());
}

/// What it costs, for the figures: `cargo nextest run --release --run-ignored all ten_thousand_waiters`.
#[test]
#[ignore = "a measurement, with ten thousand threads"]
fn ten_thousand_waiters() {
    let target = Target::start(&[], &["many", "10000"]);
    let dumper = Dumper::new(&ProcRoot::live());
    for _ in 0..5 {
        let begun = Instant::now();
        let dump = Arc::new(dumper.dump(target.pid(), &StackOptions::default()).unwrap());
        let dumped = begun.elapsed();
        let found = identify(&dumper, &dump, true);
        let waiters = found.locks.first().map_or(0, |lock| lock.waiters.len());
        eprintln!(
            "{waiters} waiters: dump {dumped:?}, locks {:?}",
            begun.elapsed() - dumped
        );
    }
}
