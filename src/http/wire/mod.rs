//! The shapes of the API as outsiders see them: `dashboard/src/wire.ts` in Rust.
//!
//! The model may change its mind, this file may not. Serialising happens here and nowhere else;
//! a value that is unknown becomes `null`, and [`Gaps`] keeps the reason: a code in its row, the
//! most frequent one of all rows in the answer's `unknown`. Floats that are not finite never
//! leave. Rows borrow from the snapshot: ten thousand of them are not copied to show a hundred.
//! The command line prints the same shapes with `--json`, made by the same functions.

mod findings;
mod locks;
mod stacks;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use utoipa::ToSchema;

use crate::model;
use crate::model::{Evidence, Nanos, RegionKind, ThreadState};
use crate::observe;
use crate::scenario;
use crate::workloads;

pub use findings::{FindingEvent, Findings};
pub use locks::Locks;
pub use stacks::{Dump, Stacks};

/// Field path to the short code of its reason, for one row.
pub type Codes = BTreeMap<&'static str, &'static str>;
/// Field path to the reason, for a whole answer.
pub type Unknowns = BTreeMap<&'static str, Unknown>;

/// Why a field is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Unknown {
    /// denied, gone, unsupported or not_applicable.
    reason: &'static str,
    /// A short stable name of the exact cause.
    code: &'static str,
    /// One sentence for a person.
    why: &'static str,
    /// What it would take to know.
    need: Option<&'static str>,
    /// What to do about it.
    fix: Option<&'static str>,
    /// Rows of this answer it is missing in.
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u32>,
}

impl Unknown {
    pub fn of(unknown: model::Unknown) -> Unknown {
        let need = unknown.need();
        Unknown {
            reason: match unknown.reason() {
                model::Reason::Denied => "denied",
                model::Reason::Gone => "gone",
                model::Reason::Unsupported => "unsupported",
                model::Reason::NotApplicable => "not_applicable",
            },
            code: unknown.code(),
            why: unknown.why(),
            need: need.map(|need| need.need),
            fix: need.map(|need| need.fix),
            threads: None,
        }
    }
}

/// Collects why fields are null while an answer is made.
#[derive(Debug, Default)]
pub struct Gaps {
    rows: BTreeMap<&'static str, Vec<(model::Unknown, u32)>>,
    once: Unknowns,
}

impl Gaps {
    /// A field that the answer has once.
    pub fn one<'a, T>(&mut self, path: &'static str, evidence: &'a Evidence<T>) -> Option<&'a T> {
        match evidence {
            Ok(value) => Some(value),
            Err(unknown) => {
                self.note(path, *unknown);
                None
            }
        }
    }

    pub fn note(&mut self, path: &'static str, unknown: model::Unknown) {
        self.once.insert(path, Unknown::of(unknown));
    }

    /// A share or a rate that the answer has once.
    pub fn ratio(&mut self, path: &'static str, evidence: Evidence<f64>) -> Option<f64> {
        self.one(path, &evidence.and_then(finite)).copied()
    }

    fn count(&mut self, path: &'static str, unknown: model::Unknown) {
        let reasons = self.rows.entry(path).or_default();
        match reasons.iter_mut().find(|(known, _)| *known == unknown) {
            Some((_, count)) => *count += 1,
            None => reasons.push((unknown, 1)),
        }
    }

    /// The most frequent reason of each field; `threads` is how many rows lack it for any reason.
    pub fn finish(self) -> Unknowns {
        let mut all = self.once;
        for (path, reasons) in self.rows {
            let total = reasons.iter().map(|(_, count)| count).sum();
            if let Some((unknown, _)) = reasons.into_iter().max_by_key(|(_, count)| *count) {
                let mut told = Unknown::of(unknown);
                told.threads = Some(total);
                all.insert(path, told);
            }
        }
        all
    }
}

/// The gaps of one row, counted in the answer's too.
struct RowGaps<'g> {
    codes: Codes,
    all: &'g mut Gaps,
}

impl RowGaps<'_> {
    fn take<T: Clone>(&mut self, path: &'static str, evidence: &Evidence<T>) -> Option<T> {
        self.borrow(path, evidence).cloned()
    }

    fn borrow<'a, T>(&mut self, path: &'static str, evidence: &'a Evidence<T>) -> Option<&'a T> {
        match evidence {
            Ok(value) => Some(value),
            Err(unknown) => {
                self.codes.insert(path, unknown.code());
                self.all.count(path, *unknown);
                None
            }
        }
    }

    fn ratio(&mut self, path: &'static str, evidence: Evidence<f64>) -> Option<f64> {
        self.take(path, &evidence.and_then(finite))
    }
}

/// JSON has no infinity: a value that is not finite was not understood.
fn finite(value: f64) -> Evidence<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(model::Unknown::Unreadable)
    }
}

/// For numbers that are ours and always known: no time has passed where they are not finite.
fn number(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

pub fn rfc3339(moment: SystemTime) -> String {
    // humantime panics before 1970 and after the year 9999: a broken clock must not end a request.
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = since.min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

fn hex(address: u64) -> String {
    format!("0x{address:x}")
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HealthProblem {
    pub code: String,
    pub message: String,
    pub fix: Option<String>,
}

/// What the daemon itself costs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Cost {
    pub cpu_ratio: Option<f64>,
    pub rss_bytes: Option<u64>,
    pub sampler_lateness_seconds: f64,
    pub sampler_cpu_seconds_total: f64,
    pub snapshots_total: u64,
    pub watched: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// ok or degraded.
    pub status: &'static str,
    pub version: &'static str,
    pub boot_id: String,
    pub started_at: String,
    pub uptime_seconds: f64,
    pub problems: Vec<HealthProblem>,
    pub cost: Cost,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Source {
    name: &'static str,
    works: bool,
    /// What it gives.
    scope: &'static str,
    reason: Option<&'static str>,
    need: Option<&'static str>,
    fix: Option<&'static str>,
}

impl Source {
    fn of(
        source: &'static str,
        gives: &'static str,
        unknown: Option<model::Unknown>,
        need: Option<model::Need>,
    ) -> Source {
        Source {
            name: source,
            works: unknown.is_none(),
            scope: gives,
            reason: unknown.map(|unknown| unknown.why()),
            need: need.map(|need| need.need),
            fix: need.map(|need| need.fix),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Capabilities {
    sources: Vec<Source>,
    /// Of each kind of lock: whether it can be proved who holds one.
    locks: Vec<LockFamily>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LockFamily {
    /// As in a lock's `kind`.
    kind: &'static str,
    owner_provable: bool,
    why: &'static str,
}

impl Capabilities {
    pub fn of(tried: &[observe::Capability]) -> Capabilities {
        Capabilities {
            sources: tried
                .iter()
                .map(|tried| Source::of(tried.source, tried.gives, tried.unknown, tried.need))
                .collect(),
            locks: model::LockKind::ALL
                .into_iter()
                .map(|kind| {
                    let (owner_provable, why) = kind.owner_proof();
                    LockFamily {
                        kind: kind.name(),
                        owner_provable,
                        why,
                    }
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Process<'a> {
    pid: u32,
    /// Seconds since boot.
    start_time: f64,
    ppid: u32,
    name: &'a str,
    exe: Option<&'a str>,
    user: Option<&'a str>,
    /// daemon, workbench or other.
    role: &'static str,
    state: &'static str,
    threads: Option<u32>,
    /// CPUs' worth; above 1 when several threads run.
    cpu_ratio: Option<f64>,
    rss_bytes: Option<u64>,
    /// What was found in it, if it is watched; most severe first.
    findings: Vec<FindingMark>,
    #[schema(value_type = BTreeMap<String, Unknown>)]
    unknown: Unknowns,
}

/// A finding beside a process' name.
#[derive(Debug, Serialize, ToSchema)]
pub struct FindingMark {
    kind: &'static str,
    severity: &'static str,
}

impl<'a> Process<'a> {
    pub fn of(process: &'a model::Process, findings: &[model::Finding]) -> Process<'a> {
        let mut marks: Vec<&model::Finding> = findings
            .iter()
            .filter(|finding| finding.process == process.key)
            .collect();
        marks.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.kind));

        let mut gaps = Gaps::default();
        Process {
            pid: process.key.pid.0,
            start_time: process.key.start.seconds(),
            ppid: process.parent.0,
            name: &process.name,
            exe: gaps.one("exe", &process.exe).map(|exe| &**exe),
            user: gaps.one("user", &process.user).map(|user| &**user),
            role: process.role.name(),
            state: process.state,
            threads: gaps.one("threads", &process.threads).copied(),
            cpu_ratio: gaps.ratio("cpu_ratio", process.cpu_ratio),
            rss_bytes: gaps.one("rss_bytes", &process.rss_bytes).copied(),
            findings: marks
                .into_iter()
                .map(|finding| FindingMark {
                    kind: finding.kind.name(),
                    severity: finding.severity.name(),
                })
                .collect(),
            unknown: gaps.finish(),
        }
    }
}

/// One process alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProcessDetail<'a> {
    #[serde(flatten)]
    process: Process<'a>,
    /// By the wall clock as it is set now.
    started_at: Option<String>,
    /// The words it was started with, unless it wrote others there.
    command_line: Option<&'a [String]>,
    /// It is longer than the 4 KiB that are shown.
    command_line_cut: bool,
    /// What all processes of its control group have used together, and may use.
    control_group: Option<GroupUse>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct GroupUse {
    cpu_seconds: Option<f64>,
    /// Enforcement periods so far.
    periods: Option<u64>,
    /// Those in which the group had used up its share of CPU.
    throttled_periods: Option<u64>,
    throttled_seconds: Option<f64>,
    memory_bytes: Option<u64>,
    memory_limit: Option<MemoryLimit>,
}

impl GroupUse {
    fn of(used: &model::GroupUse, gaps: &mut Gaps) -> GroupUse {
        let mut one = |path, count: &Evidence<u64>| gaps.one(path, count).copied();
        GroupUse {
            periods: one("control_group.periods", &used.periods),
            throttled_periods: one("control_group.throttled_periods", &used.throttled_periods),
            memory_bytes: one("control_group.memory_bytes", &used.memory_bytes),
            cpu_seconds: gaps
                .one("control_group.cpu_seconds", &used.cpu)
                .map(|span| span.seconds()),
            throttled_seconds: gaps
                .one("control_group.throttled_seconds", &used.throttled)
                .map(|span| span.seconds()),
            memory_limit: gaps
                .one("control_group.memory_limit", &used.memory_limit)
                .copied()
                .map(MemoryLimit::of),
        }
    }
}

impl<'a> ProcessDetail<'a> {
    pub fn of(
        process: &'a model::Process,
        details: &'a model::ProcessDetails,
        findings: &[model::Finding],
    ) -> ProcessDetail<'a> {
        let mut gaps = Gaps::default();
        let started_at = gaps.one("started_at", &details.started_at).map(|at| rfc3339(*at));
        let command_line = gaps.one("command_line", &details.command_line).map(|words| &**words);
        let control_group = gaps
            .one("control_group", &details.group)
            .map(|used| GroupUse::of(used, &mut gaps));
        let mut process = Process::of(process, findings);
        process.unknown.extend(gaps.finish());
        ProcessDetail {
            process,
            started_at,
            command_line,
            command_line_cut: details.command_line_cut,
            control_group,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Machine<'a> {
    hostname: &'a str,
    kernel: &'a str,
    boot_id: &'a str,
    cpus: u32,
    memory_bytes: Option<u64>,
    available_bytes: Option<u64>,
    /// Of all CPUs, 0 to 1.
    cpu_ratio: Option<f64>,
    load_average: Option<[f64; 3]>,
}

impl<'a> Machine<'a> {
    pub fn of(machine: &'a model::Machine) -> Machine<'a> {
        Machine {
            hostname: &machine.hostname,
            kernel: &machine.kernel,
            boot_id: &machine.boot_id,
            cpus: machine.cpus,
            memory_bytes: machine.memory_bytes.ok(),
            available_bytes: machine.available_bytes.ok(),
            cpu_ratio: machine.cpu_ratio.and_then(finite).ok(),
            load_average: machine
                .load_average
                .ok()
                .filter(|load| load.iter().all(|l| l.is_finite())),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Processes<'a> {
    pub taken_at: String,
    pub machine: Machine<'a>,
    /// After the filter, before the page.
    pub total: usize,
    /// Processes that exist but cannot be seen.
    pub hidden: Option<u64>,
    pub processes: Vec<Process<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WaitObject<'a> {
    /// file, files (several), pipe, socket, terminal, epoll, eventfd, timerfd, signalfd, inotify,
    /// device, process, thread, timer, signal, futex_word, message_queue, semaphore or other.
    kind: &'static str,
    fd: Option<u32>,
    /// In words: a path, `pipe:[123]`, `tcp 127.0.0.1:5432 <- 127.0.0.1:40112`, `12 fds`, `any child`,
    /// `for 60 s`, `thread 71 to end`. The view of one thread says more than a row.
    name: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Wait<'a> {
    /// futex, poll, read, write, sleep, child, signal, socket, io or other.
    kind: &'static str,
    syscall: Option<&'static str>,
    address: Option<String>,
    kernel_function: Option<&'a str>,
    /// What the call is about: a file, a socket, a process. Rows are given it in turns where a process
    /// has many threads; until then the reason is not_asked.
    object: Option<WaitObject<'a>>,
    /// A time-out was given with the call. Null where the call does not say: a socket may have one set.
    timed: Option<bool>,
    lock: Option<&'a str>,
    owner_tid: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Stack {
    start: String,
    end: String,
    reserved_bytes: u64,
    /// A high-water mark, not a depth.
    resident_bytes: Option<u64>,
    /// From the stack pointer to the end; known while the thread is blocked.
    used_bytes: Option<u64>,
    guard_bytes: Option<u64>,
}

impl Stack {
    fn of(stack: &model::StackUse, gaps: &mut RowGaps<'_>) -> Stack {
        Stack {
            start: hex(stack.start),
            end: hex(stack.end),
            reserved_bytes: stack.reserved_bytes,
            resident_bytes: gaps.take("stack.resident_bytes", &stack.resident_bytes),
            used_bytes: gaps.take("stack.used_bytes", &stack.used_bytes),
            guard_bytes: stack.guard_bytes,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Heap {
    allocated_bytes: u64,
    freed_bytes: u64,
    allocations: u64,
    frees: u64,
}

impl Heap {
    fn of(heap: &model::HeapTally) -> Heap {
        Heap {
            allocated_bytes: heap.allocated_bytes,
            freed_bytes: heap.freed_bytes,
            allocations: heap.allocations,
            frees: heap.frees,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Task<'a> {
    pool: &'a str,
    workload: Option<&'a str>,
    id: Option<u64>,
    age_seconds: Option<f64>,
    done: u64,
    queue_seconds_total: f64,
    service_seconds_total: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Thread<'a> {
    tid: u32,
    name: &'a str,
    /// Hex; only where the name is not plain UTF-8.
    name_bytes: Option<String>,
    /// Seconds since boot.
    start_time: f64,
    state: &'static str,
    /// The kernel's own letter.
    state_letter: String,
    /// RUNNABLE, WAITING, TIMED_WAITING or TERMINATED, as java.lang.Thread.State has them. BLOCKED takes
    /// a stack to know: a lock that another thread holds is WAITING here and told in the locks answer.
    java_state: Option<&'static str>,
    /// stopped (by a signal), traced or frozen (by the control group); null when none of them.
    suspended: Option<&'static str>,
    /// The system call it is blocked in; null when it is in none or waits for a page.
    in_kernel: Option<&'static str>,
    pool: Option<&'a str>,
    /// Share of one CPU over the interval.
    cpu_ratio: Option<f64>,
    user_seconds: Option<f64>,
    system_seconds: Option<f64>,
    on_cpu_seconds: Option<f64>,
    /// Runnable, but waiting for a CPU.
    run_delay_seconds: Option<f64>,
    run_delay_ratio: Option<f64>,
    timeslices: Option<u64>,
    voluntary_switches: Option<u64>,
    involuntary_switches: Option<u64>,
    minor_faults: Option<u64>,
    major_faults: Option<u64>,
    last_cpu: Option<u32>,
    nice: Option<i32>,
    policy: Option<&'static str>,
    rt_priority: Option<u32>,
    allowed_cpus: Option<&'a str>,
    wait: Option<Wait<'a>>,
    stack: Option<Stack>,
    heap: Option<Heap>,
    task: Option<Task<'a>>,
    #[schema(value_type = BTreeMap<String, String>)]
    unknown: Codes,
    /// The newest values of cpu_ratio, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Option<f64>>>)]
    pub sparkline: Option<Vec<Option<f32>>>,
}

impl<'a> Thread<'a> {
    pub fn of(thread: &'a model::Thread, all: &mut Gaps) -> Thread<'a> {
        let codes = Codes::new();
        let mut gaps = RowGaps { codes, all };
        let seconds = |nanos: Nanos| nanos.seconds();
        Thread {
            tid: thread.key.tid.0,
            name: &thread.name,
            name_bytes: thread.name_bytes.as_deref().map(hex_bytes),
            start_time: thread.key.start.seconds(),
            state: thread.state.name(),
            state_letter: char::from(thread.state_letter).to_string(),
            java_state: gaps
                .take("java_state", &thread.java_state())
                .map(model::JavaState::name),
            suspended: thread.suspended().map(model::Suspension::name),
            in_kernel: thread.wait.as_ref().ok().and_then(|wait| wait.syscall),
            pool: thread.pool.as_deref(),
            cpu_ratio: gaps.ratio("cpu_ratio", thread.cpu_ratio),
            user_seconds: gaps.take("user_seconds", &thread.user_time).map(|t| t.seconds()),
            system_seconds: gaps.take("system_seconds", &thread.system_time).map(|t| t.seconds()),
            on_cpu_seconds: gaps.take("on_cpu_seconds", &thread.on_cpu).map(seconds),
            run_delay_seconds: gaps.take("run_delay_seconds", &thread.run_delay).map(seconds),
            run_delay_ratio: gaps.ratio("run_delay_ratio", thread.run_delay_ratio),
            timeslices: gaps.take("timeslices", &thread.timeslices),
            voluntary_switches: gaps.take("voluntary_switches", &thread.voluntary_switches),
            involuntary_switches: gaps.take("involuntary_switches", &thread.involuntary_switches),
            minor_faults: gaps.take("minor_faults", &thread.minor_faults),
            major_faults: gaps.take("major_faults", &thread.major_faults),
            last_cpu: gaps.take("last_cpu", &thread.last_cpu),
            nice: gaps.take("nice", &thread.nice),
            policy: gaps.take("policy", &thread.policy),
            rt_priority: gaps.take("rt_priority", &thread.rt_priority),
            allowed_cpus: gaps.borrow("allowed_cpus", &thread.allowed_cpus).map(|cpus| &**cpus),
            wait: gaps.borrow("wait", &thread.wait).map(|wait| Wait {
                kind: wait.kind.name(),
                syscall: wait.syscall,
                address: wait.address.map(hex),
                kernel_function: gaps
                    .borrow("wait.kernel_function", &wait.kernel_function)
                    .map(|function| &**function),
                object: gaps.borrow("wait.object", &wait.object).map(|object| WaitObject {
                    kind: object.kind,
                    fd: object.fd,
                    name: &object.name,
                }),
                timed: wait.timed,
                lock: wait.lock.as_deref(),
                owner_tid: wait.owner.map(|owner| owner.0),
            }),
            stack: gaps
                .borrow("stack", &thread.stack)
                .map(|stack| Stack::of(stack, &mut gaps)),
            heap: gaps.borrow("heap", &thread.heap).map(Heap::of),
            task: gaps.borrow("task", &thread.task).map(|task| Task {
                pool: &task.pool,
                workload: task.workload.as_deref(),
                id: task.id,
                age_seconds: task.age.map(seconds),
                done: task.done,
                queue_seconds_total: task.queue_wait.seconds(),
                service_seconds_total: task.service.seconds(),
            }),
            unknown: gaps.codes,
            sparkline: None,
        }
    }
}

/// The time-out of a thread's call, or the end of its sleep.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimeLimit {
    /// `for 60 s`, `until 12.5 s after boot`, `until 2026-11-30T07:13:04.000Z`.
    words: String,
    /// monotonic, realtime, boottime or other.
    clock: &'static str,
    /// The span that was asked for; of a moment what is left, negative when it is over.
    seconds: Option<f64>,
    /// A moment, or else a span that began with the call.
    absolute: bool,
}

/// Signals by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Signals {
    /// Sent to this thread and not yet taken.
    pending: Vec<String>,
    /// Sent to its process: any of its threads may take them.
    pending_shared: Vec<String>,
    blocked: Vec<String>,
    ignored: Vec<String>,
    caught: Vec<String>,
}

/// What only the view of one thread has.
#[derive(Debug, Serialize, ToSchema)]
pub struct Details<'a> {
    signals: Option<Signals>,
    /// Who traces it; null for nobody, or when it is in unknown.
    tracer_pid: Option<u32>,
    /// Its ids from our pid namespace inwards: the last is what it calls itself.
    namespace_tids: Option<&'a [u32]>,
    /// The path of its control group.
    cgroup: Option<&'a str>,
    /// Whether that group is frozen.
    frozen: Option<bool>,
    time_limit: Option<TimeLimit>,
}

impl<'a> Details<'a> {
    pub fn of(details: &'a model::ThreadDetails, gaps: &mut Gaps) -> Details<'a> {
        let names = |set: model::SignalSet| set.names();
        Details {
            signals: gaps.one("details.signals", &details.signals).map(|signals| Signals {
                pending: names(signals.pending),
                pending_shared: names(signals.pending_shared),
                blocked: names(signals.blocked),
                ignored: names(signals.ignored),
                caught: names(signals.caught),
            }),
            tracer_pid: gaps
                .one("details.tracer_pid", &details.tracer)
                .and_then(|tracer| tracer.map(|pid| pid.0)),
            namespace_tids: gaps
                .one("details.namespace_tids", &details.namespace_tids)
                .map(|tids| &**tids),
            cgroup: gaps.one("details.cgroup", &details.cgroup).map(|path| &**path),
            frozen: gaps.one("details.frozen", &details.frozen).copied(),
            time_limit: gaps
                .one("details.time_limit", &details.time_limit)
                .map(|limit| TimeLimit {
                    words: limit.words.clone(),
                    clock: limit.clock,
                    seconds: finite(limit.seconds).ok(),
                    absolute: limit.absolute,
                }),
        }
    }
}

/// What is out of the ordinary about a process as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct Condition<'a> {
    /// Any of kernel_thread, zombie, main_thread_gone, vfork_parent, stopped, frozen and traced.
    marks: Vec<&'static str>,
    /// Who traces its main thread; null for nobody, or when it is in unknown.
    tracer_pid: Option<u32>,
    /// Whether its control group is frozen.
    frozen: Option<bool>,
    /// The path of its control group.
    cgroup: Option<&'a str>,
    /// Its pid in its own, innermost pid namespace.
    namespace_pid: Option<u32>,
}

impl<'a> Condition<'a> {
    fn of(condition: &'a model::Condition, gaps: &mut Gaps) -> Condition<'a> {
        Condition {
            marks: condition.marks(),
            tracer_pid: gaps
                .one("condition.tracer_pid", &condition.tracer)
                .and_then(|tracer| tracer.map(|pid| pid.0)),
            frozen: gaps.one("condition.frozen", &condition.frozen).copied(),
            cgroup: gaps.one("condition.cgroup", &condition.cgroup).map(|path| &**path),
            namespace_pid: gaps
                .one("condition.namespace_pid", &condition.namespace_pid)
                .map(|pid| pid.0),
        }
    }
}

fn hex_bytes(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ProcessRef {
    pub pid: u32,
    /// Seconds since boot.
    pub start_time: f64,
    pub name: String,
    pub role: &'static str,
}

impl ProcessRef {
    pub fn of(snapshot: &model::Snapshot) -> ProcessRef {
        ProcessRef {
            pid: snapshot.process.pid.0,
            start_time: snapshot.process.start.seconds(),
            name: snapshot.name.to_string(),
            role: snapshot.role.name(),
        }
    }
}

/// How many threads are in each state.
pub fn counts(of: &model::StateCounts) -> BTreeMap<&'static str, u32> {
    ThreadState::ALL
        .into_iter()
        .map(|state| (state.name(), of.get(state)))
        .collect()
}

/// What the ledger says of the whole process' heap.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeapSum {
    /// Allocated less freed, all threads ever. May be negative for memory made before the ledger.
    pub net_bytes: i64,
    /// Threads that have ended and whose totals are in the sum.
    pub ended_threads: u64,
}

impl HeapSum {
    pub fn of(ledger: &model::LedgerView) -> HeapSum {
        let sum = ledger
            .rows
            .iter()
            .fold(ledger.ended_heap, |sum, row| sum.plus(&row.heap));
        HeapSum {
            net_bytes: sum.net_bytes(),
            ended_threads: ledger.ended_threads,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Threads<'a> {
    pub process: ProcessRef,
    pub condition: Condition<'a>,
    pub taken_at: String,
    pub sequence: u64,
    pub interval_seconds: Option<f64>,
    /// After the filters.
    pub total: usize,
    /// Before them.
    pub all: usize,
    /// Of the whole process, by state.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub counts: BTreeMap<&'static str, u32>,
    /// Threads of each pool, of the whole process.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub pools: BTreeMap<&'a str, u32>,
    /// Most threads at one time since the watch began.
    pub peak: u32,
    pub started_total: u64,
    /// Whether started_total is a count or a lower bound.
    pub started_exact: bool,
    pub ended_total: u64,
    pub watched_since: String,
    pub truncated: bool,
    pub cpu_ratio: Option<f64>,
    pub rss_bytes: Option<u64>,
    pub heap: Option<HeapSum>,
    /// Null stands for a thread that was asked for by its id and is not there.
    #[schema(value_type = Vec<Option<Thread>>)]
    pub threads: Vec<Option<Thread<'a>>>,
    /// Row fields by their path; `process.` stands before fields of the whole process.
    #[schema(value_type = BTreeMap<String, Unknown>)]
    pub unknown: Unknowns,
}

impl<'a> Threads<'a> {
    /// `total` is how many threads fit, `page` those of them that are to be shown.
    pub fn of(snapshot: &'a model::Snapshot, total: usize, page: &[&'a model::Thread]) -> Threads<'a> {
        let mut pools: BTreeMap<&str, u32> = BTreeMap::new();
        for pool in snapshot.threads.iter().filter_map(|thread| thread.pool.as_deref()) {
            *pools.entry(pool).or_default() += 1;
        }
        let mut gaps = Gaps::default();
        let threads = page.iter().map(|thread| Some(Thread::of(thread, &mut gaps))).collect();
        let since = snapshot.taken_at.saturating_sub(snapshot.watched_since);
        let watched_since = snapshot
            .wall_clock
            .checked_sub(Duration::from_nanos(since.0))
            .unwrap_or(snapshot.wall_clock);
        Threads {
            process: ProcessRef::of(snapshot),
            condition: Condition::of(&snapshot.condition, &mut gaps),
            taken_at: rfc3339(snapshot.wall_clock),
            sequence: snapshot.sequence,
            interval_seconds: gaps
                .one("interval_seconds", &snapshot.interval)
                .map(|interval| interval.seconds()),
            total,
            all: snapshot.threads.len(),
            counts: counts(&snapshot.counts),
            pools,
            peak: snapshot.peak,
            started_total: snapshot.started_total,
            started_exact: snapshot.started_exact,
            ended_total: snapshot.ended_total,
            watched_since: rfc3339(watched_since),
            truncated: snapshot.truncated,
            cpu_ratio: gaps.ratio("process.cpu_ratio", snapshot.cpu_ratio),
            rss_bytes: gaps.one("process.rss_bytes", &snapshot.rss_bytes).copied(),
            heap: gaps
                .one("process.heap", &snapshot.ledger)
                .map(|ledger| HeapSum::of(ledger)),
            threads,
            unknown: gaps.finish(),
        }
    }
}

/// Columns; null is a gap.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ThreadHistory {
    /// Seconds before taken_at, negative, oldest first.
    pub times: Vec<f64>,
    pub cpu_ratio: Vec<Option<f64>>,
    pub run_delay_ratio: Vec<Option<f64>>,
    /// Per second.
    pub voluntary_switches: Vec<Option<f64>>,
    /// Per second.
    pub involuntary_switches: Vec<Option<f64>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ThreadDetail<'a> {
    pub process: ProcessRef,
    pub taken_at: String,
    pub thread: Thread<'a>,
    pub details: Details<'a>,
    #[schema(value_type = BTreeMap<String, Unknown>)]
    pub unknown: Unknowns,
    pub history: ThreadHistory,
}

/// Bytes, as smaps counts them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Sizes {
    virtual_bytes: u64,
    resident_bytes: Option<u64>,
    proportional_bytes: Option<u64>,
    private_bytes: Option<u64>,
}

impl Sizes {
    /// `resident` false: only the virtual size is known.
    pub fn of(sizes: model::Sizes, resident: bool) -> Sizes {
        Sizes {
            virtual_bytes: sizes.virtual_bytes,
            resident_bytes: resident.then_some(sizes.resident_bytes),
            proportional_bytes: resident.then_some(sizes.proportional_bytes),
            private_bytes: resident.then_some(sizes.private_bytes),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SharedMemory {
    pub heap: Sizes,
    pub code: Sizes,
    pub globals: Sizes,
    pub mapped_files: Sizes,
    pub shared_memory: Sizes,
    pub other: Sizes,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PerThread {
    pub stacks: Sizes,
    pub guards: Sizes,
}

/// A limit of `setrlimit`.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryLimit {
    /// Null when there is none.
    bytes: Option<u64>,
    unlimited: bool,
}

impl MemoryLimit {
    fn of(limit: model::MemoryLimit) -> MemoryLimit {
        match limit {
            model::MemoryLimit::Bytes(bytes) => MemoryLimit {
                bytes: Some(bytes),
                unlimited: false,
            },
            model::MemoryLimit::Unlimited => MemoryLimit {
                bytes: None,
                unlimited: true,
            },
        }
    }
}

/// How much the process has had at most, and may have.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemoryBounds {
    peak_resident_bytes: Option<u64>,
    /// brk and private writable mappings.
    data_limit: Option<MemoryLimit>,
    address_space_limit: Option<MemoryLimit>,
}

impl MemoryBounds {
    fn of(bounds: &model::MemoryBounds, gaps: &mut Gaps) -> MemoryBounds {
        let mut limit =
            |path, limit: &Evidence<model::MemoryLimit>| gaps.one(path, limit).copied().map(MemoryLimit::of);
        MemoryBounds {
            data_limit: limit("bounds.data_limit", &bounds.data_limit),
            address_space_limit: limit("bounds.address_space_limit", &bounds.address_space_limit),
            peak_resident_bytes: gaps
                .one("bounds.peak_resident_bytes", &bounds.peak_resident_bytes)
                .copied(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KernelTotals {
    pub rollup: Option<Sizes>,
    pub statm_virtual_bytes: u64,
    pub statm_resident_bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ThreadMemory<'a> {
    tid: u32,
    name: &'a str,
    pool: Option<&'a str>,
    state: Option<&'static str>,
    /// exact, stack_pointer or guess.
    found_by: Option<&'static str>,
    stack: Option<Stack>,
    heap: Option<Heap>,
    #[schema(value_type = BTreeMap<String, String>)]
    unknown: Codes,
}

impl<'a> ThreadMemory<'a> {
    /// `row` is the thread in the latest snapshot.
    fn of(of: &'a model::ThreadStack, row: Evidence<&'a model::Thread>, all: &mut Gaps) -> ThreadMemory<'a> {
        let codes = Codes::new();
        let mut gaps = RowGaps { codes, all };
        ThreadMemory {
            tid: of.tid.0,
            name: &of.name,
            pool: row.ok().and_then(|row| row.pool.as_deref()),
            state: gaps.take("state", &row.map(|row| row.state.name())),
            found_by: of.found_by,
            stack: gaps.borrow("stack", &of.stack).map(|stack| Stack::of(stack, &mut gaps)),
            heap: gaps.borrow("heap", &row.and_then(|row| row.heap)).map(Heap::of),
            unknown: gaps.codes,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Region<'a> {
    start: String,
    end: String,
    kind: &'static str,
    permissions: String,
    name: &'a str,
    owner_tid: Option<u32>,
    found_by: Option<&'static str>,
    sizes: Sizes,
}

impl<'a> Region<'a> {
    fn of(region: &'a model::Region, resident: bool) -> Region<'a> {
        Region {
            start: hex(region.start),
            end: hex(region.end),
            kind: region.kind.name(),
            permissions: region.permissions.iter().map(|byte| char::from(*byte)).collect(),
            name: &region.name,
            owner_tid: region.owner.map(|tid| tid.0),
            found_by: region.found_by,
            sizes: Sizes::of(region.sizes, resident),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Memory<'a> {
    pub process: ProcessRef,
    pub taken_at: String,
    pub shared: SharedMemory,
    pub per_thread: PerThread,
    pub total: Sizes,
    pub kernel: KernelTotals,
    bounds: MemoryBounds,
    pub threads: Vec<ThreadMemory<'a>>,
    /// Empty unless asked for with `regions=true`.
    pub regions: Vec<Region<'a>>,
    #[schema(value_type = BTreeMap<String, Unknown>)]
    pub unknown: Unknowns,
}

impl<'a> Memory<'a> {
    /// `rows` are the threads of the latest snapshot in tid order; who is not among them has ended
    /// since, or has just begun.
    pub fn of(
        map: &'a model::MemoryMap,
        process: ProcessRef,
        taken_at: SystemTime,
        rows: Evidence<&'a [model::Thread]>,
        regions: bool,
    ) -> Memory<'a> {
        let mut gaps = Gaps::default();
        let resident = map.resident_known.is_ok();
        if let Err(unknown) = map.resident_known {
            for path in [
                "sizes.resident_bytes",
                "sizes.proportional_bytes",
                "sizes.private_bytes",
            ] {
                gaps.note(path, unknown);
            }
        }
        let sum = |kinds: &[RegionKind]| Sizes::of(map.sum(kinds), resident);
        let row_of = |tid| {
            let rows = rows?;
            let place = rows.binary_search_by_key(&tid, model::Thread::tid);
            place.map(|place| &rows[place]).map_err(|_| model::Unknown::Gone)
        };
        Memory {
            process,
            taken_at: rfc3339(taken_at),
            shared: SharedMemory {
                heap: sum(&[RegionKind::Heap]),
                code: sum(&[RegionKind::Code]),
                globals: sum(&[RegionKind::Globals]),
                mapped_files: sum(&[RegionKind::MappedFile]),
                shared_memory: sum(&[RegionKind::SharedMemory]),
                other: sum(&[RegionKind::Kernel, RegionKind::Other]),
            },
            per_thread: PerThread {
                stacks: sum(&[RegionKind::Stack]),
                guards: sum(&[RegionKind::Guard]),
            },
            total: Sizes::of(map.total(), resident),
            kernel: KernelTotals {
                rollup: gaps
                    .one("kernel.rollup", &map.totals.rollup)
                    .map(|rollup| Sizes::of(*rollup, true)),
                statm_virtual_bytes: map.totals.statm_virtual_bytes,
                statm_resident_bytes: map.totals.statm_resident_bytes,
            },
            bounds: MemoryBounds::of(&map.bounds, &mut gaps),
            threads: map
                .stacks
                .iter()
                .map(|stack| ThreadMemory::of(stack, row_of(stack.tid), &mut gaps))
                .collect(),
            regions: map
                .regions
                .iter()
                .filter(|_| regions)
                .map(|region| Region::of(region, resident))
                .collect(),
            unknown: gaps.finish(),
        }
    }
}

/// A distribution of times, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Spread {
    count: u64,
    mean_seconds: f64,
    p50_seconds: f64,
    p90_seconds: f64,
    p99_seconds: f64,
    max_seconds: f64,
}

impl Spread {
    fn of(spread: &model::Spread) -> Spread {
        Spread {
            count: spread.count,
            mean_seconds: spread.mean.seconds(),
            p50_seconds: spread.p50.seconds(),
            p90_seconds: spread.p90.seconds(),
            p99_seconds: spread.p99.seconds(),
            max_seconds: spread.max.seconds(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Worker {
    tid: u32,
    name: String,
    done: u64,
    stolen: u64,
    parked: bool,
    /// The workload of the task in its hands.
    task: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Pool {
    name: String,
    /// stealing or shared-channel.
    kind: &'static str,
    size: u32,
    active: u32,
    queue_depth: u64,
    queue_capacity: u64,
    /// block or reject.
    policy: &'static str,
    submitted: u64,
    done: u64,
    panicked: u64,
    rejected: u64,
    abandoned: u64,
    queue_wait: Spread,
    service: Spread,
    workers: Vec<Worker>,
}

impl Pool {
    pub fn of(pool: &model::PoolStatus) -> Pool {
        Pool {
            name: pool.name.to_string(),
            kind: pool.kind,
            size: pool.size,
            active: pool.active,
            queue_depth: pool.queue_depth,
            queue_capacity: pool.queue_capacity,
            policy: match pool.policy {
                model::QueuePolicy::Block => "block",
                model::QueuePolicy::Reject => "reject",
            },
            submitted: pool.submitted,
            done: pool.done,
            panicked: pool.panicked,
            rejected: pool.rejected,
            abandoned: pool.abandoned,
            queue_wait: Spread::of(&pool.queue_wait),
            service: Spread::of(&pool.service),
            workers: pool
                .workers
                .iter()
                .map(|worker| Worker {
                    tid: worker.tid.0,
                    name: worker.name.to_string(),
                    done: worker.done,
                    stolen: worker.stolen,
                    parked: worker.parked,
                    task: worker.task.as_deref().map(str::to_owned),
                })
                .collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Pools {
    pub pools: Vec<Pool>,
    pub workbench_pid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LoadProgress {
    name: String,
    workload: String,
    pool: String,
    /// open or closed.
    executor: &'static str,
    arrived: u64,
    done: u64,
    shed: u64,
    late: u64,
    cancelled: u64,
    panicked: u64,
    outstanding: u64,
    verified: u64,
    wrong: u64,
    /// Arrivals a second (open) or users (closed), now.
    target: f64,
    /// Finished tasks a second.
    throughput: f64,
    lag: Spread,
    queue: Spread,
    service: Spread,
    response: Spread,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Run {
    id: String,
    scenario: String,
    /// preparing, running, draining, finished, stopped or failed.
    phase: &'static str,
    started_at: String,
    ended_at: Option<String>,
    elapsed_seconds: f64,
    /// Null: endless.
    planned_seconds: Option<f64>,
    seed: u64,
    rate_factor: f64,
    loads: Vec<LoadProgress>,
    /// pass, fail, invalid, or null.
    verdict: Option<String>,
    messages: Vec<String>,
}

impl Run {
    pub fn of(run: &model::RunStatus) -> Run {
        Run {
            id: run.id.0.to_string(),
            scenario: run.scenario.to_string(),
            phase: run.phase.name(),
            started_at: rfc3339(run.started_at),
            ended_at: run.ended_at.map(rfc3339),
            elapsed_seconds: run.elapsed.seconds(),
            planned_seconds: run.planned.map(|planned| planned.seconds()),
            seed: run.seed,
            rate_factor: number(run.rate_factor),
            loads: run
                .loads
                .iter()
                .map(|load| LoadProgress {
                    name: load.name.to_string(),
                    workload: load.workload.to_string(),
                    pool: load.pool.to_string(),
                    executor: load.executor,
                    arrived: load.arrived,
                    done: load.done,
                    shed: load.shed,
                    late: load.late,
                    cancelled: load.cancelled,
                    panicked: load.panicked,
                    outstanding: load.outstanding,
                    verified: load.verified,
                    wrong: load.wrong,
                    target: number(load.target),
                    throughput: number(load.throughput),
                    lag: Spread::of(&load.lag),
                    queue: Spread::of(&load.queue),
                    service: Spread::of(&load.service),
                    response: Spread::of(&load.response),
                })
                .collect(),
            verdict: run.verdict.as_deref().map(str::to_owned),
            messages: run.messages.iter().map(|message| message.to_string()).collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Runs {
    /// Newest first.
    pub runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ValidationProblem {
    line: usize,
    column: usize,
    field: String,
    message: String,
    suggestion: Option<String>,
}

impl ValidationProblem {
    pub fn of(problem: &scenario::ValidationProblem) -> ValidationProblem {
        ValidationProblem {
            line: problem.line,
            column: problem.column,
            field: problem.field.clone(),
            message: problem.message.clone(),
            suggestion: problem.suggestion.clone(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Scenario {
    name: String,
    description: String,
    /// Null: endless.
    seconds: Option<f64>,
    toml: String,
    problems: Vec<ValidationProblem>,
}

impl Scenario {
    pub fn of(file: scenario::ScenarioFile) -> Scenario {
        Scenario {
            name: file.name,
            description: file.description,
            seconds: file.seconds.filter(|seconds| seconds.is_finite()),
            toml: file.text,
            problems: file.problems.iter().map(ValidationProblem::of).collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Scenarios {
    pub scenarios: Vec<Scenario>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Validation {
    pub valid: bool,
    pub problems: Vec<ValidationProblem>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Parameter {
    name: &'static str,
    meaning: &'static str,
    unit: &'static str,
    /// integer, number, choice or flag.
    kind: &'static str,
    min: Option<f64>,
    max: Option<f64>,
    choices: Option<Vec<&'static str>>,
    default: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Workload {
    name: &'static str,
    title: &'static str,
    summary: &'static str,
    shared: &'static str,
    per_thread: &'static str,
    checked: &'static str,
    notes: &'static str,
    parameters: Vec<Parameter>,
    /// A JSON case that the workload accepts.
    #[schema(value_type = Object)]
    input_example: serde_json::Value,
    #[schema(value_type = Object)]
    output_example: serde_json::Value,
}

impl Workload {
    pub fn of(about: &workloads::About) -> Workload {
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
        Workload {
            name: about.name,
            title: about.title,
            summary: about.summary,
            shared: about.shared,
            per_thread: about.per_thread,
            checked: about.checked,
            notes: about.notes,
            parameters: about
                .parameters
                .iter()
                .map(|parameter| {
                    let (kind, min, max, choices) = match parameter.domain {
                        workloads::Domain::Integer { min, max } => {
                            ("integer", Some(min as f64), Some(max as f64), None)
                        }
                        workloads::Domain::Number { min, max } => ("number", Some(min), Some(max), None),
                        workloads::Domain::Choice(choices) => ("choice", None, None, Some(choices.to_vec())),
                        workloads::Domain::Flag => ("flag", None, None, None),
                    };
                    Parameter {
                        name: parameter.name,
                        meaning: parameter.meaning,
                        unit: parameter.unit,
                        kind,
                        min,
                        max,
                        choices,
                        default: parameter.default,
                    }
                })
                .collect(),
            input_example: json(about.input_example),
            output_example: json(about.output_example),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Workloads {
    pub workloads: Vec<Workload>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    pub process: ProcessRef,
    pub thread: Option<u32>,
    /// Seconds before taken_at, negative, oldest first.
    pub times: Vec<f64>,
    pub taken_at: String,
    pub step_seconds: f64,
    /// One column a series; null is a gap.
    #[schema(value_type = BTreeMap<String, Vec<Option<f64>>>)]
    pub series: BTreeMap<&'static str, Vec<Option<f64>>>,
    #[schema(value_type = BTreeMap<String, Unknown>)]
    pub unknown: Unknowns,
}

/// Makes a column fit for JSON.
pub fn column(values: Vec<Option<f64>>) -> Vec<Option<f64>> {
    values
        .into_iter()
        .map(|value| value.filter(|v| v.is_finite()))
        .collect()
}

/// An error, RFC 9457.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The parameter or body field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<ValidationProblem>>,
}

/// The data of the first event of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hello {
    pub version: &'static str,
    pub boot_id: String,
    pub started_at: String,
}

/// The data of a `snapshot` event: totals, no rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct SnapshotEvent {
    process: ProcessRef,
    sequence: u64,
    taken_at: String,
    interval_seconds: Option<f64>,
    threads: usize,
    #[schema(value_type = BTreeMap<String, u32>)]
    counts: BTreeMap<&'static str, u32>,
    cpu_ratio: Option<f64>,
    rss_bytes: Option<u64>,
    peak: u32,
    started_total: u64,
}

impl SnapshotEvent {
    pub fn of(snapshot: &model::Snapshot) -> SnapshotEvent {
        SnapshotEvent {
            process: ProcessRef::of(snapshot),
            sequence: snapshot.sequence,
            taken_at: rfc3339(snapshot.wall_clock),
            interval_seconds: snapshot.interval.ok().map(|interval| interval.seconds()),
            threads: snapshot.threads.len(),
            counts: counts(&snapshot.counts),
            cpu_ratio: snapshot.cpu_ratio.and_then(finite).ok(),
            rss_bytes: snapshot.rss_bytes.ok(),
            peak: snapshot.peak,
            started_total: snapshot.started_total,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct GoneEvent {
    pub process: ProcessRef,
}

/// Events that were not kept long enough to be resumed.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissedEvent {
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_epoch_or_after_its_end_still_prints() {
        assert_eq!(
            rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00.000Z"
        );
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(rfc3339(far), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_float_that_is_not_finite_is_unknown() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.ratio("cpu_ratio", Ok(f64::NAN)), None);
        assert_eq!(gaps.finish()["cpu_ratio"].code, "unreadable");
        assert_eq!(
            column(vec![Some(f64::INFINITY), Some(1.0), None]),
            [None, Some(1.0), None]
        );
    }

    #[test]
    fn the_most_frequent_reason_speaks_for_the_rows() {
        let mut gaps = Gaps::default();
        gaps.count("wait", model::Unknown::Running);
        gaps.count("wait", model::Unknown::NotWaiting);
        gaps.count("wait", model::Unknown::NotWaiting);
        let told = gaps.finish();
        assert_eq!(told["wait"].code, "not_waiting");
        assert_eq!(told["wait"].threads, Some(3));
    }
}
