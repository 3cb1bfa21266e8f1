//! What a reader of a process gives, held against threads that do what the test wants.

use super::*;
use crate::model::{HeapTally, StackUse, TaskNow, Ticks, WaitKind};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// A process that says nothing of itself and whose stacks aren't looked for.
pub(super) struct Alone;

impl Companions for Alone {
    fn ledger(&mut self, _: Nanos) -> Evidence<Arc<LedgerView>> {
        Err(Unknown::NoLedger)
    }
    fn prepare_stacks(&mut self, _: &[Wanted], _: Nanos) {}
    fn stack(&mut self, wanted: Wanted) -> Evidence<StackUse> {
        // The pointer itself, so that a test sees that it was told.
        Ok(StackUse {
            start: 0,
            end: wanted.stack_pointer,
            reserved_bytes: 0,
            resident_bytes: Err(Unknown::NotAsked),
            used_bytes: Ok(1),
            guard_bytes: None,
        })
    }
    fn main_stack(&mut self) -> Option<StackUse> {
        None
    }
    fn another_program(&mut self) {}
}

pub(super) fn reader(pid: u32) -> ProcessReader {
    reader_with(&ProcRoot::live(), pid, 1000, Box::new(Alone))
}

pub(super) fn reader_with(root: &ProcRoot, pid: u32, files: u64, companions: Box<dyn Companions>) -> ProcessReader {
    let key = resolve(root, Pid(pid)).unwrap().expect("the process is there");
    ProcessReader::open(root, key, FileBudget::new(files), companions).unwrap()
}

pub(super) fn pass(reader: &mut ProcessReader) -> Snapshot {
    reader.pass(Role::Other, clock::monotonic(), 1).unwrap()
}

fn row(snapshot: &Snapshot, tid: Tid) -> &Thread {
    let place = snapshot.threads.binary_search_by_key(&tid, Thread::tid);
    &snapshot.threads[place.expect("the thread has a row")]
}

/// Passes until it holds; a thread needs a moment to get where the test wants it.
pub(super) fn pass_until(reader: &mut ProcessReader, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshot = pass(reader);
        if holds(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < deadline, "it never came to hold: {snapshot:#?}");
        std::thread::yield_now();
    }
}

fn gettid() -> Tid {
    Tid(rustix::thread::gettid().as_raw_nonzero().get() as u32)
}

/// A thread of this process that blocks on a channel until it is dropped.
struct Blocked {
    tid: Tid,
    release: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Blocked {
    fn start(name: &str) -> Blocked {
        let (release, wait) = mpsc::channel::<()>();
        let (say, hear) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                say.send(gettid()).unwrap();
                let _ = wait.recv();
            })
            .unwrap();
        Blocked {
            tid: hear.recv().unwrap(),
            release: Some(release),
            thread: Some(thread),
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Spinning {
    stop: Arc<AtomicBool>,
    tid: Tid,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Spinning {
    fn start() -> Spinning {
        let stop = Arc::new(AtomicBool::new(false));
        let (say, hear) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                say.send(gettid()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        });
        Spinning {
            stop,
            tid: hear.recv().unwrap(),
            thread: Some(thread),
        }
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A child that is ended with its guard.
struct Program(Child);

impl Program {
    fn start(command: &str, argument: &str) -> Program {
        Program(Command::new(command).arg(argument).spawn().unwrap())
    }
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_thread_blocked_on_a_channel_waits_for_a_futex_word_of_this_process() {
    let blocked = Blocked::start("ts-waits-here");
    let mut reader = reader(std::process::id());
    let asleep = |snapshot: &Snapshot| row(snapshot, blocked.tid).wait.is_ok();
    let snapshot = pass_until(&mut reader, asleep);
    let row = row(&snapshot, blocked.tid);
    assert_eq!(&*row.name, "ts-waits-here");
    assert_eq!((row.state, row.state_letter), (ThreadState::Sleeping, b'S'));
    let wait = row.wait.as_ref().unwrap();
    assert_eq!((wait.kind, wait.syscall), (WaitKind::Futex, Some("futex")));
    assert!(wait.address.unwrap() > 4096);
    assert!(row.stack.unwrap().end > 4096);
    assert_eq!((row.heap, &row.pool), (Err(Unknown::NoLedger), &None));
}

#[test]
fn who_spins_has_the_cpu_and_who_waits_has_not() {
    let (spinning, blocked) = (Spinning::start(), Blocked::start("idle"));
    let mut reader = reader(std::process::id());
    let first = pass(&mut reader);
    assert_eq!(row(&first, spinning.tid).cpu_ratio, Err(Unknown::SeenOnce));
    assert_eq!(first.cpu_ratio, Err(Unknown::SeenOnce));
    let ran = |snapshot: &Snapshot| row(snapshot, spinning.tid).cpu_ratio.is_ok_and(|ratio| ratio > 0.0);
    let snapshot = pass_until(&mut reader, ran);
    let (busy, idle) = (row(&snapshot, spinning.tid), row(&snapshot, blocked.tid));
    assert!(busy.cpu_ratio.unwrap() > idle.cpu_ratio.unwrap());
    assert_eq!(busy.state, ThreadState::Runnable);
    assert_eq!(busy.wait, Err(Unknown::NotWaiting));
    assert!(snapshot.interval.unwrap().0 > 0);
    assert!(snapshot.cpu_ratio.is_ok() && snapshot.rss_bytes.unwrap() > 100_000);
}

#[test]
fn every_number_agrees_with_another_reader_of_proc() {
    let blocked = Blocked::start("agree");
    let mut reader = reader(std::process::id());
    let snapshot = pass_until(&mut reader, |snapshot| row(snapshot, blocked.tid).wait.is_ok());
    let row = row(&snapshot, blocked.tid);
    let theirs = procfs::process::Process::myself()
        .unwrap()
        .task_from_tid(blocked.tid.0 as i32)
        .unwrap();
    let stat = theirs.stat().unwrap();
    let status = theirs.status().unwrap();
    let clock = theirs.schedstat().unwrap();
    assert_eq!(row.key.start.0, stat.starttime);
    assert_eq!(row.user_time.unwrap().0, stat.utime);
    assert_eq!(row.system_time.unwrap().0, stat.stime);
    assert_eq!(row.minor_faults.unwrap(), stat.minflt);
    assert_eq!(row.major_faults.unwrap(), stat.majflt);
    assert_eq!(i64::from(row.nice.unwrap()), stat.nice);
    assert_eq!(Some(row.last_cpu.unwrap()), stat.processor.map(|cpu| cpu as u32));
    assert_eq!(Some(row.rt_priority.unwrap()), stat.rt_priority);
    assert_eq!(row.policy, Ok("normal"));
    assert_eq!(row.voluntary_switches.ok(), status.voluntary_ctxt_switches);
    assert_eq!(row.involuntary_switches.ok(), status.nonvoluntary_ctxt_switches);
    assert_eq!(row.on_cpu.unwrap().0, clock.sum_exec_runtime);
    assert_eq!(row.run_delay.unwrap().0, clock.run_delay);
    assert_eq!(row.timeslices.unwrap(), clock.pcount);
    assert!(row.allowed_cpus.as_ref().unwrap().starts_with('0'));
}

#[test]
fn a_hostile_name_is_shown_as_text_and_kept_as_bytes() {
    let blocked = {
        let (release, wait) = mpsc::channel::<()>();
        let (say, hear) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            rustix::thread::set_name(c") R \xff\x1b[2J(").unwrap();
            say.send(gettid()).unwrap();
            let _ = wait.recv();
        });
        Blocked {
            tid: hear.recv().unwrap(),
            release: Some(release),
            thread: Some(thread),
        }
    };
    let mut reader = reader(std::process::id());
    let snapshot = pass(&mut reader);
    let row = row(&snapshot, blocked.tid);
    assert_eq!(row.name_bytes.as_deref(), Some(&b") R \xff\x1b[2J("[..]));
    assert!(row.name.contains('\u{fffd}'));
}

#[test]
fn threads_that_end_leave_the_rows_and_stay_in_the_count() {
    // A process of its own, since other tests start threads in ours.
    let mut reader = reader(std::process::id());
    let first = pass(&mut reader);
    let blocked: Vec<Blocked> = (0..3).map(|_| Blocked::start("short")).collect();
    let tids: Vec<Tid> = blocked.iter().map(|blocked| blocked.tid).collect();
    let second = pass(&mut reader);
    drop(blocked);
    let gone = |snapshot: &Snapshot| {
        let here = |tid| snapshot.threads.binary_search_by_key(tid, Thread::tid).is_ok();
        !tids.iter().any(here)
    };
    let third = pass_until(&mut reader, gone);
    assert!(second.started_total >= first.started_total + 3);
    assert!(third.ended_total >= 3 && third.peak >= second.threads.len() as u32);
    for snapshot in [&first, &second, &third] {
        assert_eq!(
            snapshot.started_total,
            snapshot.ended_total + snapshot.threads.len() as u64
        );
        assert!(!snapshot.started_exact);
        assert!(snapshot.threads.is_sorted_by_key(Thread::tid));
    }
}

#[test]
fn a_large_process_and_one_without_file_budget_are_read_alike() {
    let many: Vec<Blocked> = (0..SMALL + 10).map(|_| Blocked::start("many")).collect();
    let mut kept = reader(std::process::id());
    let mut poor = reader_with(&ProcRoot::live(), std::process::id(), 0, Box::new(Alone));
    for reader in [&mut kept, &mut poor] {
        let settled = |snapshot: &Snapshot| many.iter().all(|one| row(snapshot, one.tid).wait.is_ok());
        pass_until(reader, settled);
        let snapshot = pass(reader);
        for one in &many {
            let row = row(&snapshot, one.tid);
            assert_eq!((&*row.name, row.state), ("many", ThreadState::Sleeping));
            assert_eq!(row.cpu_ratio, Ok(0.0));
        }
    }
}

#[test]
fn what_a_pass_has_no_time_for_is_read_in_the_next_one() {
    let blocked = Blocked::start("later");
    let mut reader = reader(std::process::id());
    reader.limit = Duration::ZERO;
    let cut = pass(&mut reader);
    assert!(cut.truncated && cut.threads.is_empty(), "{cut:?}");
    reader.limit = PASS_LIMIT;
    let whole = pass(&mut reader);
    assert!(!whole.truncated);
    let began = row(&whole, blocked.tid).key;
    // Cut short again, the rows that are known stay.
    reader.limit = Duration::ZERO;
    let cut = pass(&mut reader);
    assert!(cut.truncated);
    assert_eq!(row(&cut, blocked.tid).key, began);
}

#[test]
fn files_go_back_to_the_budget() {
    let budget = FileBudget::new(100);
    let key = resolve(&ProcRoot::live(), Pid(std::process::id())).unwrap().unwrap();
    let open = ProcessReader::open(&ProcRoot::live(), key, Arc::clone(&budget), Box::new(Alone));
    let mut reader = open.unwrap();
    pass(&mut reader);
    assert!(budget.left.load(Ordering::Relaxed) < 100);
    drop(reader);
    assert_eq!(budget.left.load(Ordering::Relaxed), 100);
}

#[test]
fn a_process_that_has_ended_is_news() {
    let mut program = Program::start("sleep", "60");
    let mut reader = reader(program.0.id());
    assert_eq!(pass(&mut reader).threads.len(), 1);
    program.end();
    let outcome = reader.pass(Role::Other, Nanos(0), 2);
    assert!(matches!(outcome, Err(PassError::Ended)), "{outcome:?}");
}

#[test]
fn a_zombie_has_a_row_without_memory_or_waits() {
    let mut program = Program::start("true", "");
    let pid = program.0.id();
    let mut reader = reader(pid);
    let snapshot = pass_until(&mut reader, |snapshot| snapshot.threads[0].state == ThreadState::Zombie);
    let row = &snapshot.threads[0];
    assert_eq!(row.wait, Err(Unknown::Zombie));
    assert_eq!(row.stack, Err(Unknown::Zombie));
    assert_eq!(snapshot.rss_bytes, Err(Unknown::Zombie));
    assert!(row.user_time.is_ok());
    program.end();
    assert!(matches!(reader.pass(Role::Other, Nanos(0), 2), Err(PassError::Ended)));
}

#[test]
fn a_stopped_process_is_stopped_and_waits_for_nothing() {
    let program = Program::start("sleep", "60");
    let pid = rustix::process::Pid::from_child(&program.0);
    let mut reader = reader(program.0.id());
    pass_until(&mut reader, |snapshot| snapshot.threads[0].wait.is_ok());
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let snapshot = pass_until(&mut reader, |snapshot| {
        snapshot.threads[0].state == ThreadState::Stopped
    });
    assert_eq!(snapshot.threads[0].wait, Err(Unknown::NotWaiting));
    assert_eq!(&*snapshot.name, "sleep");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    pass_until(&mut reader, |snapshot| {
        snapshot.threads[0].state == ThreadState::Sleeping
    });
}

#[test]
fn a_change_from_outside_is_seen_though_the_thread_does_not_run() {
    let blocked = Blocked::start("before");
    let mut reader = reader(std::process::id());
    pass_until(&mut reader, |snapshot| row(snapshot, blocked.tid).wait.is_ok());
    std::fs::write(format!("/proc/self/task/{}/comm", blocked.tid), "after").unwrap();
    pass_until(&mut reader, |snapshot| &*row(snapshot, blocked.tid).name == "after");
}

#[test]
fn a_kernel_thread_has_rows_and_no_user_memory() {
    let Ok(Some(_)) = resolve(&ProcRoot::live(), Pid(2)) else {
        return; // in a container there is none
    };
    let mut reader = reader(2);
    let snapshot = pass(&mut reader);
    let row = &snapshot.threads[0];
    if row.stack != Err(Unknown::KernelThread) {
        return; // a container's pid 2 is an ordinary process
    }
    assert_eq!(snapshot.rss_bytes, Err(Unknown::KernelThread));
    assert_eq!(row.wait.as_ref().map(|wait| wait.syscall), Ok(None));
}

#[test]
fn a_number_that_is_no_process_resolves_to_none() {
    let blocked = Blocked::start("not-a-process");
    for number in [0, u32::MAX, i32::MAX as u32, blocked.tid.0] {
        assert_eq!(resolve(&ProcRoot::live(), Pid(number)).unwrap(), None, "{number}");
    }
}

#[test]
fn a_key_of_an_earlier_process_opens_nothing() {
    let key = ProcessKey {
        pid: Pid(std::process::id()),
        start: Ticks(1),
    };
    let opened = ProcessReader::open(&ProcRoot::live(), key, FileBudget::new(0), Box::new(Alone));
    assert!(matches!(opened, Err(PassError::Ended)));
}

/// A ledger with a parked worker, known by its thread's id.
struct Said(Tid);

impl Companions for Said {
    fn ledger(&mut self, _: Nanos) -> Evidence<Arc<LedgerView>> {
        let task = TaskNow {
            pool: Arc::from("main"),
            workload: None,
            id: None,
            age: None,
            done: 7,
            queue_wait: Nanos(1),
            service: Nanos(2),
            parked: true,
        };
        let heap = HeapTally {
            allocated_bytes: 64,
            ..HeapTally::default()
        };
        Ok(Arc::new(LedgerView {
            rows: vec![LedgerRow {
                tid: self.0,
                heap,
                task: Some(task),
            }],
            started_total: 40,
            ..LedgerView::default()
        }))
    }
    fn prepare_stacks(&mut self, _: &[Wanted], _: Nanos) {}
    fn stack(&mut self, _: Wanted) -> Evidence<StackUse> {
        Err(Unknown::NotAsked)
    }
    fn main_stack(&mut self) -> Option<StackUse> {
        None
    }
    fn another_program(&mut self) {}
}

#[test]
fn what_the_ledger_says_is_joined_by_tid() {
    let (worker, stranger) = (Blocked::start("worker"), Blocked::start("stranger"));
    let said = Box::new(Said(worker.tid));
    let mut reader = reader_with(&ProcRoot::live(), std::process::id(), 100, said);
    let asleep = |snapshot: &Snapshot| row(snapshot, worker.tid).wait.is_ok();
    let snapshot = pass_until(&mut reader, asleep);
    let worker = row(&snapshot, worker.tid);
    assert_eq!(worker.state, ThreadState::Parked);
    assert_eq!(worker.heap.unwrap().allocated_bytes, 64);
    assert_eq!(worker.task.as_ref().unwrap().done, 7);
    assert_eq!(worker.pool.as_deref(), Some("main"));
    let stranger = row(&snapshot, stranger.tid);
    assert_eq!((stranger.heap, stranger.pool.as_deref()), (Err(Unknown::NoSlot), None));
    assert!(snapshot.started_exact);
}

/// Counts how often the process has become another program.
struct Counting(Arc<AtomicU64>);

impl Companions for Counting {
    fn ledger(&mut self, _: Nanos) -> Evidence<Arc<LedgerView>> {
        Err(Unknown::NoLedger)
    }
    fn prepare_stacks(&mut self, _: &[Wanted], _: Nanos) {}
    fn stack(&mut self, _: Wanted) -> Evidence<StackUse> {
        Err(Unknown::NotAsked)
    }
    fn main_stack(&mut self) -> Option<StackUse> {
        None
    }
    fn another_program(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_process_that_becomes_another_program_keeps_its_key_and_loses_its_mappings() {
    let child = Command::new("sh")
        .args(["-c", "read line; exec sleep 60"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut program = Program(child);
    let times = Arc::new(AtomicU64::new(0));
    let pid = program.0.id();
    let mut reader = reader_with(&ProcRoot::live(), pid, 100, Box::new(Counting(Arc::clone(&times))));
    let before = pass_until(&mut reader, |snapshot| {
        &*snapshot.name == "sh" && snapshot.threads[0].wait.is_ok()
    });
    let seen = times.load(Ordering::Relaxed);
    drop(program.0.stdin.take());
    let after = pass_until(&mut reader, |snapshot| &*snapshot.name == "sleep");
    assert_eq!(after.threads[0].key, before.threads[0].key);
    assert_eq!(after.started_total, 1);
    // More than once when a pass fell into the exec itself and saw a half of it.
    assert!(times.load(Ordering::Relaxed) > seen);
}

#[test]
fn a_thread_that_ends_between_listing_and_reading_is_no_error() {
    let mut reader = reader(std::process::id());
    let gone = {
        let blocked = Blocked::start("gone");
        blocked.tid
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    // The kernel takes a moment to take it away after the join.
    loop {
        let ReaderParts { task, files } = parts(&mut reader);
        match files.read(task, gone, None, Keep::All, false).unwrap() {
            None => break,
            Some(_) => assert!(Instant::now() < deadline),
        }
    }
}

struct ReaderParts<'a> {
    task: &'a OwnedFd,
    files: &'a mut ThreadFiles,
}

fn parts(reader: &mut ProcessReader) -> ReaderParts<'_> {
    ReaderParts {
        task: &reader.task,
        files: &mut reader.files,
    }
}

#[test]
fn threads_that_come_and_go_all_the_time_never_break_a_pass() {
    let stop = Arc::new(AtomicBool::new(false));
    let maker = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                let short: Vec<_> = (0..8).map(|_| std::thread::spawn(|| ())).collect();
                for thread in short {
                    let _ = thread.join();
                }
            }
        }
    });
    let mut reader = reader(std::process::id());
    for _ in 0..200 {
        let snapshot = pass(&mut reader);
        assert_eq!(
            snapshot.started_total,
            snapshot.ended_total + snapshot.threads.len() as u64
        );
        let mut tids: Vec<Tid> = snapshot.threads.iter().map(Thread::tid).collect();
        tids.dedup();
        assert_eq!(tids.len(), snapshot.threads.len());
    }
    stop.store(true, Ordering::Relaxed);
    maker.join().unwrap();
}

#[test]
fn a_captured_wait_is_told_as_far_as_the_tree_goes() {
    let root = ProcRoot::captured(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/waits"));
    let mut reader = reader_with(&root, 77, 100, Box::new(Alone));
    let snapshot = pass(&mut reader);
    let condition = &snapshot.condition;
    assert_eq!((condition.namespace_pid, condition.tracer), (Ok(Pid(1)), Ok(None)));
    assert_eq!(condition.cgroup.as_deref(), Ok("/system.slice/server.service"));
    assert_eq!(condition.frozen, Err(Unknown::NotCaptured));
    if cfg!(not(target_arch = "x86_64")) {
        return; // the call's number is that of another table
    }
    let object = |row: &Thread| row.wait.as_ref().unwrap().object.clone().unwrap();
    assert_eq!(&*object(&snapshot.threads[0]).name, "socket:[24585]");
    let mut once = reader_with(&root, 77, 0, Box::new(Alone));
    let (row, details) = once.one(Tid(77)).unwrap().unwrap();
    let named = object(&row);
    assert_eq!(
        (named.kind, named.fd, &*named.name),
        ("socket", Some(5), "tcp 127.0.0.1:5432 <- 127.0.0.1:40112")
    );
    assert_eq!(details.namespace_tids, Ok(vec![77, 1]));
    let signals = details.signals.unwrap();
    assert_eq!(signals.pending_shared.names(), ["SIGTERM"]);
    assert_eq!(
        (signals.blocked, signals.ignored.names()),
        (signals.pending_shared, vec!["SIGPIPE".to_owned()])
    );
}

fn captured() -> ProcRoot {
    ProcRoot::captured(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/threads"))
}

#[test]
fn a_captured_tree_is_read_like_a_kernel_and_nothing_moves_in_it() {
    let mut reader = reader_with(&captured(), 4321, 100, Box::new(Alone));
    pass(&mut reader);
    let snapshot = pass(&mut reader);
    assert_eq!(&*snapshot.name, "app (main)");
    assert_eq!(snapshot.threads.len(), 3);
    assert_eq!(snapshot.cpu_ratio, Err(Unknown::SeenOnce));

    let main = &snapshot.threads[0];
    assert_eq!(main.state, ThreadState::Sleeping);
    assert_eq!(main.cpu_ratio, Err(Unknown::SeenOnce));
    assert_eq!(main.on_cpu, Ok(Nanos(185_070_874)));
    assert_eq!(main.allowed_cpus.as_deref(), Ok("0-1"));

    let worker = &snapshot.threads[1];
    assert_eq!((&*worker.name, worker.state), ("io) pool (2", ThreadState::Runnable));
    assert_eq!(
        (worker.policy, worker.rt_priority, worker.nice),
        (Ok("fifo"), Ok(99), Ok(-19))
    );

    // Of this one only `stat` was captured.
    let bare = &snapshot.threads[2];
    assert_eq!(bare.state, ThreadState::DiskSleep);
    for missing in [
        bare.voluntary_switches.map(|_| ()),
        bare.on_cpu.map(|_| ()),
        bare.wait.clone().map(|_| ()),
    ] {
        assert_eq!(missing, Err(Unknown::NotCaptured));
    }
}
