//! A small machine that tests of this room look at: two processes, known in full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::looks::{Guard, Looks, Past};
use super::site::{Site, monotonic_now};
use super::{Live, Settings, Token};
use crate::history::{Columns, HistoryError, Query};
use crate::model::*;
use crate::observe::{Capability, InspectError, SamplerCost, StackOptions, ThreadLook};
use crate::scenario::{Remote, RunError, Runs, ScenarioFile, StartRun, ValidationProblem};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const OTHER: Pid = Pid(4712);
pub const FOREIGN: Pid = Pid(13);
pub const PORT: u16 = 7717;

fn key(pid: Pid) -> ProcessKey {
    ProcessKey { pid, start: Ticks(100) }
}

pub fn thread(process: ProcessKey, tid: u32) -> Thread {
    let known = u64::from(tid % 97);
    Thread {
        key: ThreadKey {
            process,
            tid: Tid(tid),
            start: Ticks(100 + u64::from(tid)),
        },
        name: format!("worker-{tid}").into(),
        name_bytes: None,
        state: ThreadState::ALL[tid as usize % 3],
        state_letter: b'S',
        cpu_ratio: Ok(f64::from(tid % 13) / 13.0),
        user_time: Ok(Ticks(known)),
        system_time: Ok(Ticks(known / 2)),
        on_cpu: Ok(Nanos(known * 1_000_000)),
        run_delay: Ok(Nanos(known * 1000)),
        run_delay_ratio: Ok(0.25),
        timeslices: Ok(known),
        voluntary_switches: Ok(known),
        involuntary_switches: Ok(known),
        minor_faults: Ok(known),
        major_faults: Ok(0),
        last_cpu: Ok(tid % 2),
        nice: Ok(-1),
        policy: Ok("normal"),
        rt_priority: Ok(0),
        allowed_cpus: Ok("0-1".into()),
        wait: Ok(Wait {
            kind: WaitKind::Futex,
            syscall: Some("futex"),
            address: Some(0xdead_beef),
            kernel_function: Err(Unknown::Denied),
            object: Err(Unknown::NotAsked),
            timed: Some(false),
            lock: None,
            owner: None,
        }),
        stack: Ok(StackUse {
            start: 0x7000_0000,
            end: 0x7020_0000,
            reserved_bytes: 0x20_0000,
            resident_bytes: Err(Unknown::NotAsked),
            used_bytes: Ok(known * 16),
            guard_bytes: Some(4096),
        }),
        heap: Err(Unknown::NoLedger),
        task: Err(Unknown::NoLedger),
        pool: tid.is_multiple_of(2).then(|| "even".into()),
    }
}

/// Of `OTHER`, with so many threads.
pub fn snapshot(threads: usize) -> Arc<Snapshot> {
    let process = key(OTHER);
    let threads: Vec<Thread> = (0..threads as u32).map(|n| thread(process, OTHER.0 + n)).collect();
    Arc::new(Snapshot {
        process,
        role: Role::Other,
        name: "workhorse".into(),
        condition: Condition::UNREMARKABLE,
        sequence: 7,
        taken_at: monotonic_now(),
        wall_clock: SystemTime::now(),
        interval: Ok(Nanos(1_000_000_000)),
        counts: StateCounts::of(&threads),
        peak: threads.len() as u32,
        watched_since: Nanos(0),
        started_total: threads.len() as u64 + 2,
        started_exact: false,
        ended_total: 2,
        truncated: false,
        ledger: Err(Unknown::NoLedger),
        cpu_ratio: Ok(1.5),
        rss_bytes: Ok(123_456),
        cost: SelfCost::default(),
        threads,
    })
}

/// Of `OTHER`, with threads that stand at these addresses.
pub fn dump(threads: &[&[u64]]) -> Dump {
    let process = key(OTHER);
    let thread = |(n, addresses): (usize, &&[u64])| {
        let row = thread(process, OTHER.0 + n as u32);
        let frame = |(depth, address): (usize, &u64)| Frame {
            place: Arc::new(Place {
                address: *address,
                module: Some("/usr/bin/x".into()),
                module_address: *address & 0xfff,
                functions: Ok(vec![Function {
                    name: format!("function_{address:x}").into(),
                    file: None,
                    line: None,
                    inlined: false,
                }]),
                function_offset: Some(4),
            }),
            trust: if depth == 0 { Trust::Context } else { Trust::Unwound },
        };
        DumpThread {
            key: row.key,
            name: row.name,
            state: row.state,
            state_letter: row.state_letter,
            own_tid: row.key.tid,
            turns: Ok(7),
            call: Err(Unknown::NotAsked),
            wait: row.wait,
            stack: if addresses.is_empty() {
                Err(Unknown::Running)
            } else {
                Ok(Arc::new(Stack {
                    frames: addresses.iter().enumerate().map(frame).collect(),
                    end: StackEnd::Complete,
                    source: StackSource::Syscall,
                    moved: false,
                }))
            },
        }
    };
    Dump {
        process,
        name: "workhorse".into(),
        taken_at: monotonic_now(),
        wall_clock: SystemTime::now(),
        took: Nanos(1_000_000),
        threads: threads.iter().enumerate().map(thread).collect(),
        truncated: false,
        paused: 0,
    }
}

/// Of `OTHER`: its first two threads wait for each other, the third for nobody that is known.
pub fn deadlock() -> LockReport {
    let tid = |n: u32| Tid(OTHER.0 + n);
    let lock = |address, place, owner, waiter| Lock {
        address,
        kind: LockKind::PthreadMutex,
        flags: vec!["recursive"],
        place,
        owner,
        readers: None,
        told_by: "stack and memory",
        state: "held, with waiters".into(),
        waiters: vec![waiter],
    };
    let held_by = |tid| {
        Ok(Owner::Thread {
            tid,
            proof: Proof::Recorded,
        })
    };
    let global = LockPlace::Global {
        module: "/usr/bin/x".into(),
        symbol: "left".into(),
        offset: 0x28,
    };
    let step = |tid, holds, wants| CycleStep { tid, holds, wants };
    LockReport {
        dump: Arc::new(dump(&[&[0x10, 0x20], &[0x10, 0x30], &[0x10, 0x40]])),
        locks: vec![
            lock(0x1000, global, held_by(tid(1)), tid(0)),
            lock(0x2000, LockPlace::Stack { tid: tid(0) }, held_by(tid(0)), tid(1)),
            lock(0x3000, LockPlace::Heap, Err(Unknown::OwnerNotRecorded), tid(2)),
        ],
        waits: (0..3)
            .map(|n| LockWait {
                tid: tid(n),
                lock: n as usize,
                mode: WaitMode::Exclusive,
                timed: false,
                function: Some("pthread_mutex_lock".into()),
            })
            .collect(),
        deadlocks: vec![Deadlock {
            steps: vec![step(tid(0), 1, 0), step(tid(1), 0, 1)],
            confirmed: true,
        }],
        chains: vec![Chain {
            links: vec![ChainLink {
                waiter: tid(2),
                lock: 2,
                owner: None,
                proof: None,
            }],
            root: None,
            root_doing: RootDoing::OwnerUnknown,
            behind_root: 1,
        }],
        confirmed_after: Some(Nanos(60_000_000)),
    }
}

/// In `OTHER`.
pub fn finding() -> Finding {
    Finding {
        kind: FindingKind::Deadlock,
        severity: Severity::Critical,
        process: key(OTHER),
        process_name: "workhorse".into(),
        since: Nanos(1_000_000_000),
        since_wall_clock: SystemTime::UNIX_EPOCH,
        last_seen: Nanos(4_000_000_000),
        culprits: vec![Tid(OTHER.0), Tid(OTHER.0 + 1)],
        culprit_count: 2,
        summary: "two threads wait for each other".into(),
        evidence: vec![FindingFact {
            name: "threads",
            value: 2.0,
            unit: "threads",
        }],
        stack: None,
        rule: "threads that wait for each other in a circle",
    }
}

pub fn census() -> Arc<Census> {
    let process = |pid: Pid, name: &str, role| Process {
        key: key(pid),
        parent: Pid(1),
        name: name.into(),
        exe: Ok("/usr/bin/x".into()),
        user: Ok("root".into()),
        role,
        state: "sleeping",
        threads: Ok(3),
        cpu_ratio: Ok(0.5),
        rss_bytes: Ok(1000),
    };
    Arc::new(Census {
        taken_at: monotonic_now(),
        machine: Machine {
            boot_id: "boot".into(),
            hostname: "host".into(),
            kernel: "6.1".into(),
            cpus: 2,
            memory_bytes: Ok(1 << 32),
            available_bytes: Ok(1 << 31),
            cpu_ratio: Ok(0.5),
            load_average: Ok([1.0, 0.5, 0.25]),
        },
        processes: vec![
            process(Pid(std::process::id()), "threadscape", Role::Daemon),
            process(OTHER, "workhorse", Role::Other),
        ],
        hidden: Err(Unknown::Denied),
    })
}

pub fn memory() -> MemoryMap {
    let kinds = [
        RegionKind::Heap,
        RegionKind::Code,
        RegionKind::Globals,
        RegionKind::MappedFile,
        RegionKind::SharedMemory,
        RegionKind::Kernel,
        RegionKind::Stack,
        RegionKind::Guard,
        RegionKind::Other,
    ];
    let regions: Vec<Region> = kinds
        .into_iter()
        .enumerate()
        .map(|(n, kind)| Region {
            start: n as u64 * 0x1000,
            end: (n as u64 + 1) * 0x1000,
            kind,
            permissions: *b"rw-p",
            name: "".into(),
            owner: (kind == RegionKind::Stack).then_some(Tid(OTHER.0)),
            found_by: (kind == RegionKind::Stack).then_some("stack_pointer"),
            sizes: Sizes {
                virtual_bytes: 4096,
                resident_bytes: 1 << n,
                proportional_bytes: 1,
                private_bytes: 1,
            },
        })
        .collect();
    MemoryMap {
        process: key(OTHER),
        taken_at: monotonic_now(),
        regions,
        stacks: vec![ThreadStack {
            tid: Tid(OTHER.0),
            name: "worker".into(),
            stack: Err(Unknown::NoStackFound),
            found_by: None,
        }],
        totals: MemoryTotals {
            rollup: Err(Unknown::PtraceDenied),
            statm_virtual_bytes: 9 * 4096,
            statm_resident_bytes: 511,
        },
        bounds: MemoryBounds {
            peak_resident_bytes: Ok(1 << 20),
            data_limit: Ok(MemoryLimit::Unlimited),
            address_space_limit: Err(Unknown::PtraceDenied),
        },
        resident_known: Ok(()),
    }
}

pub fn spread() -> Spread {
    Spread {
        count: 3,
        mean: Nanos(1000),
        p50: Nanos(900),
        p90: Nanos(2000),
        p99: Nanos(3000),
        max: Nanos(4000),
    }
}

pub fn pool() -> PoolStatus {
    PoolStatus {
        name: "even".into(),
        kind: "stealing",
        size: 2,
        active: 1,
        queue_depth: 5,
        queue_capacity: 10,
        policy: QueuePolicy::Block,
        submitted: 9,
        done: 3,
        panicked: 0,
        rejected: 0,
        abandoned: 0,
        queue_wait: spread(),
        service: spread(),
        workers: vec![WorkerStatus {
            tid: Tid(5),
            name: "ts-even-0".into(),
            done: 3,
            stolen: 1,
            parked: false,
            task: Some("maximum_gap".into()),
        }],
    }
}

pub fn run(id: &str) -> RunStatus {
    RunStatus {
        id: RunId(id.into()),
        scenario: "quick".into(),
        phase: RunPhase::Running,
        started_at: SystemTime::now(),
        ended_at: None,
        elapsed: Nanos(1_500_000_000),
        planned: Some(Nanos(10_000_000_000)),
        seed: 42,
        rate_factor: 1.0,
        loads: vec![LoadProgress {
            name: "gaps".into(),
            workload: "maximum_gap".into(),
            pool: "even".into(),
            executor: "open",
            arrived: 10,
            done: 9,
            shed: 0,
            late: 0,
            cancelled: 0,
            panicked: 0,
            outstanding: 1,
            verified: 9,
            wrong: 0,
            target: 5.0,
            throughput: f64::NAN,
            lag: spread(),
            queue: spread(),
            service: spread(),
            response: spread(),
        }],
        verdict: None,
        messages: vec!["fine".into()],
    }
}

/// Knows `OTHER` in full; `FOREIGN` is denied; a look at pid 99 takes long.
#[derive(Default)]
pub struct Small {
    pub snapshot: Mutex<Option<Arc<Snapshot>>>,
    pub watching: Arc<AtomicUsize>,
    /// How often a snapshot was asked for.
    pub asked: AtomicUsize,
}

struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Looks for Small {
    fn census(&self) -> Arc<Census> {
        census()
    }

    fn fresh_census(&self) -> Arc<Census> {
        census()
    }

    fn resolve(&self, pid: Pid) -> Result<ProcessKey, InspectError> {
        match pid {
            FOREIGN => Err(InspectError::Denied(pid)),
            _ if pid == OTHER || pid.0 == std::process::id() => Ok(key(pid)),
            _ => Err(InspectError::NoProcess(pid)),
        }
    }

    fn snapshot(&self, pid: Pid) -> Result<Arc<Snapshot>, InspectError> {
        if pid == Pid(99) {
            std::thread::sleep(Duration::from_millis(500));
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.resolve(pid)?;
        Ok(self.snapshot.lock().get_or_insert_with(|| snapshot(3)).clone())
    }

    fn watch(&self, pid: Pid, _: Duration) -> Result<Guard, InspectError> {
        self.resolve(pid)?;
        self.watching.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Watching(self.watching.clone())))
    }

    fn closely(&self, pid: Pid, tid: Tid) -> Result<ThreadLook, InspectError> {
        let snapshot = self.snapshot(pid)?;
        let found = snapshot.threads.iter().find(|thread| thread.key.tid == tid).cloned();
        let details = ThreadDetails {
            signals: Ok(ThreadSignals {
                blocked: SignalSet(1 << 14),
                ..ThreadSignals::default()
            }),
            tracer: Ok(None),
            namespace_tids: Ok(vec![tid.0, 7]),
            cgroup: Ok("/user.slice".into()),
            frozen: Err(Unknown::Denied),
            time_limit: Err(Unknown::NoObject),
        };
        found
            .map(|thread| ThreadLook {
                snapshot,
                thread,
                details,
            })
            .ok_or(InspectError::NoThread { pid, tid })
    }

    fn process_details(&self, _: ProcessKey) -> ProcessDetails {
        ProcessDetails {
            started_at: Ok(SystemTime::UNIX_EPOCH),
            command_line: Ok(vec!["/usr/bin/x".into(), "<b>".into()]),
            command_line_cut: false,
            group: Ok(GroupUse {
                cpu: Ok(Nanos(1_500_000_000)),
                periods: Ok(10),
                throttled_periods: Ok(4),
                throttled: Ok(Nanos(20_000_000)),
                memory_bytes: Err(Unknown::NoGroupFile),
                memory_limit: Ok(MemoryLimit::Unlimited),
            }),
        }
    }

    fn memory(&self, pid: Pid) -> Result<MemoryMap, InspectError> {
        self.resolve(pid)?;
        Ok(memory())
    }

    fn stacks(&self, pid: Pid, _: &StackOptions) -> Result<Dump, InspectError> {
        self.resolve(pid)?;
        Ok(dump(&[&[0x10, 0x20], &[]]))
    }

    fn locks(&self, pid: Pid, _: &StackOptions) -> Result<LockReport, InspectError> {
        self.resolve(pid)?;
        Ok(deadlock())
    }

    fn findings(&self, pid: Pid) -> Result<Vec<Finding>, InspectError> {
        let process = self.resolve(pid)?;
        Ok(self
            .all_findings()
            .into_iter()
            .filter(|found| found.process == process)
            .collect())
    }

    fn all_findings(&self) -> Vec<Finding> {
        vec![finding()]
    }

    fn capabilities(&self, _: Option<Pid>) -> Vec<Capability> {
        vec![Capability {
            source: "smaps",
            gives: "resident memory",
            unknown: Some(Unknown::PtraceDenied),
            need: Unknown::PtraceDenied.need(),
        }]
    }

    fn cost(&self) -> SamplerCost {
        SamplerCost {
            snapshots: 7,
            cpu: Nanos(1_000_000),
            ..SamplerCost::default()
        }
    }
}

impl Past for Small {
    fn query(&self, query: &Query) -> Result<Columns, HistoryError> {
        if query.thread == Some(Tid(OTHER.0 + 1)) {
            return Err(HistoryError::Nothing);
        }
        Ok(Columns {
            times: vec![query.from, query.to],
            step: query.step,
            series: query
                .series
                .iter()
                .map(|series| (*series, vec![None, Some(0.5)]))
                .collect(),
            unknown: Vec::new(),
        })
    }

    fn sparklines(&self, _: ProcessKey, threads: &[Tid], points: usize) -> Vec<Vec<Evidence<f32>>> {
        threads
            .iter()
            .map(|_| {
                (0..points)
                    .map(|n| if n == 0 { Err(Unknown::SeenOnce) } else { Ok(0.5) })
                    .collect()
            })
            .collect()
    }

    fn memory_bytes(&self) -> usize {
        1000
    }
}

impl Runs for Small {
    fn start(&self, what: StartRun, _: Option<u64>) -> Result<RunStatus, RunError> {
        match what {
            StartRun::Named(name) if name == "quick" => Ok(run("r2")),
            StartRun::Named(name) => Err(RunError::UnknownScenario {
                name,
                nearest: Some("quick".into()),
            }),
            StartRun::Inline(text) => match self.validate(&text) {
                problems if problems.is_empty() => Ok(run("r2")),
                problems => Err(RunError::Invalid(problems)),
            },
        }
    }

    fn list(&self) -> Vec<RunStatus> {
        vec![run("r1")]
    }

    fn get(&self, id: &str) -> Result<RunStatus, RunError> {
        (id == "r1")
            .then(|| run("r1"))
            .ok_or_else(|| RunError::UnknownRun(id.into()))
    }

    fn set_rate(&self, id: &str, factor: f64) -> Result<RunStatus, RunError> {
        let mut run = self.get(id)?;
        run.rate_factor = factor;
        Ok(run)
    }

    fn stop(&self, id: &str) -> Result<RunStatus, RunError> {
        self.get(id)
    }

    fn report(&self, id: &str) -> Result<Arc<str>, RunError> {
        self.get(id)?;
        Ok(r#"{"version":1,"scenario":"quick","verdict":"pass","loads":[{"name":"gaps","done":9}]}"#.into())
    }

    fn pools(&self) -> Vec<PoolStatus> {
        vec![pool()]
    }

    fn scenarios(&self) -> Vec<ScenarioFile> {
        vec![ScenarioFile {
            name: "quick".into(),
            description: "ten seconds".into(),
            seconds: Some(10.0),
            text: "[run]".into(),
            problems: self.validate("bad"),
        }]
    }

    fn validate(&self, text: &str) -> Vec<ValidationProblem> {
        if text != "bad" {
            return Vec::new();
        }
        vec![ValidationProblem {
            line: 1,
            column: 2,
            field: "run".into(),
            message: "no".into(),
            suggestion: None,
        }]
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn workbench_pid(&self) -> Option<Pid> {
        None
    }
}

/// A site on this machine, and the way to stop it.
pub fn site(settings: Settings) -> (Arc<Site>, Arc<Small>, watch::Sender<bool>) {
    let machine = Arc::new(Small::default());
    let (stop, stopping) = watch::channel(false);
    let site = Site::new(
        (machine.clone(), machine.clone(), Remote(machine.clone())),
        Live::new(),
        Token::of_test(TOKEN),
        settings,
        PORT,
        stopping,
    );
    (Arc::new(site), machine, stop)
}
