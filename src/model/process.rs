//! A process as the list of the whole machine shows it, and the machine itself.

use std::sync::Arc;

use super::{Evidence, Nanos, Pid, ProcessKey};

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
