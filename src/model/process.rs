//! A process as the list of the whole machine shows it, and the machine itself.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Evidence, MemoryLimit, Nanos, Pid, ProcessKey, Unknown};

/// Why we watch a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Daemon,
    Workbench,
    Other,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Daemon => "daemon",
            Role::Workbench => "workbench",
            Role::Other => "other",
        }
    }
}

/// What is out of the ordinary about a process as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// It has no program and no memory of its own.
    pub kernel_thread: bool,
    /// It has ended, with all its threads, and waits to be reaped.
    pub zombie: bool,
    /// The main thread has ended; others live on. The process' own memory files are empty then.
    pub main_thread_gone: bool,
    /// A thread of it stands still until a child that shares its memory calls exec or ends.
    pub vfork_parent: bool,
    /// All its living threads were stopped by a signal.
    pub stopped: bool,
    /// By the control group's freezer.
    pub frozen: Evidence<bool>,
    /// Who traces its main thread, or the first that lives.
    pub tracer: Evidence<Option<Pid>>,
    /// The path of its control group: hostile bytes, as the process list's.
    pub cgroup: Evidence<Arc<str>>,
    /// Its pid in its own, innermost pid namespace.
    pub namespace_pid: Evidence<Pid>,
}

impl Condition {
    /// Of which nothing out of the ordinary is known.
    pub const UNREMARKABLE: Condition = Condition {
        kernel_thread: false,
        zombie: false,
        main_thread_gone: false,
        vfork_parent: false,
        stopped: false,
        frozen: Err(Unknown::NotAsked),
        tracer: Err(Unknown::NotAsked),
        cgroup: Err(Unknown::NotAsked),
        namespace_pid: Err(Unknown::NotAsked),
    };

    /// The names of what holds, for the API and the command line.
    pub fn marks(&self) -> Vec<&'static str> {
        [
            (self.kernel_thread, "kernel_thread"),
            (self.zombie, "zombie"),
            (self.main_thread_gone, "main_thread_gone"),
            (self.vfork_parent, "vfork_parent"),
            (self.stopped, "stopped"),
            (self.frozen == Ok(true), "frozen"),
            (matches!(self.tracer, Ok(Some(_))), "traced"),
        ]
        .into_iter()
        .filter_map(|(holds, name)| holds.then_some(name))
        .collect()
    }
}

/// One line of the process list.
#[derive(Clone, Debug)]
pub struct Process {
    pub key: ProcessKey,
    pub parent: Pid,
    pub name: Arc<str>,
    pub exe: Evidence<Arc<str>>,
    pub user: Evidence<Arc<str>>,
    pub role: Role,
    /// The main thread's state, by its API name.
    pub state: &'static str,
    pub threads: Evidence<u32>,
    /// CPUs' worth over the census interval; above 1.0 when several threads run.
    pub cpu_ratio: Evidence<f64>,
    pub rss_bytes: Evidence<u64>,
}

impl Process {
    pub fn pid(&self) -> Pid {
        self.key.pid
    }
}

/// What is read of one process when it is looked at alone, beside its line.
#[derive(Clone, Debug)]
pub struct ProcessDetails {
    /// By the wall clock as it is set now.
    pub started_at: Evidence<SystemTime>,
    /// The words it was started with, unless it wrote others there: hostile bytes as text, 4 KiB at most.
    pub command_line: Evidence<Vec<String>>,
    pub command_line_cut: bool,
    pub group: Evidence<GroupUse>,
}

/// What all processes of a control group have used together, and may use. What its files do not say is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupUse {
    pub cpu: Evidence<Nanos>,
    /// Enforcement periods so far, and those in which the group had used up its share.
    pub periods: Evidence<u64>,
    pub throttled_periods: Evidence<u64>,
    pub throttled: Evidence<Nanos>,
    pub memory_bytes: Evidence<u64>,
    pub memory_limit: Evidence<MemoryLimit>,
}

/// The machine, as far as every screen needs it.
#[derive(Clone, Debug)]
pub struct Machine {
    pub boot_id: Arc<str>,
    pub hostname: Arc<str>,
    pub kernel: Arc<str>,
    pub cpus: u32,
    pub memory_bytes: Evidence<u64>,
    pub available_bytes: Evidence<u64>,
    /// Busy share of all CPUs over the census interval, 0.0 to 1.0.
    pub cpu_ratio: Evidence<f64>,
    /// 1, 5 and 15 minutes.
    pub load_average: Evidence<[f64; 3]>,
}

/// The list of all processes at one moment.
#[derive(Clone, Debug)]
pub struct Census {
    pub taken_at: Nanos,
    pub machine: Machine,
    pub processes: Vec<Process>,
    /// Processes that exist but cannot be seen (hidepid). `Err` when that cannot be told.
    pub hidden: Evidence<u64>,
}
