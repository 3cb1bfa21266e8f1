//! The list of all processes and the machine they run on.
//!
//! Read through `sysinfo`, by whoever asks, when the last list is older than the census interval:
//! while nobody asks, nothing is read. What `sysinfo` doesn't tell (the exact start time, threads,
//! kernel threads) we read from `stat`. A captured tree is read with our own readers alone: nothing
//! moves in it, so it has no rates.
//!
//! **Hidden** are processes that exist and can't be seen: `hidden` counts them. With `hidepid=1` they are listed
//! but can't be read, which is found here.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind, Users};

use super::hidden;
use super::sampler::nanos;
use super::waits;
use crate::kernel::file::{self, Buffer};
use crate::kernel::stat::Stat;
use crate::kernel::{ProcRoot, boot_id, clock, loadavg, meminfo, stat, status, task};
use crate::model::{Census, Evidence, Machine, Nanos, Pid, Process, ProcessKey, Role, Unknown};

/// A list this many intervals old is too old for a rate: it would be an average over a long pause.
const STALE_INTERVALS: u64 = 5;

/// Takes the list and keeps the last one.
pub(super) struct Taker {
    root: ProcRoot,
    system: Option<System>,
    users: Option<Users>,
    latest: Option<Arc<Census>>,
    /// When CPU times were last read.
    cpu_read_at: Option<Nanos>,
    boot_id: Arc<str>,
    hostname: Arc<str>,
    kernel: Arc<str>,
}

impl Taker {
    pub(super) fn new(root: ProcRoot) -> Taker {
        let word = |read: io::Result<String>| Arc::from(read.unwrap_or_else(|_| "unknown".to_owned()));
        Taker {
            boot_id: word(boot_id::read(&root)),
            hostname: word(boot_id::hostname(&root)),
            kernel: word(boot_id::kernel_release(&root)),
            root,
            system: None,
            users: None,
            latest: None,
            cpu_read_at: None,
        }
    }

    /// The latest list if it is not older than `oldest`, else a new one.
    pub(super) fn census(&mut self, oldest: Nanos, interval: Duration, role: &dyn Fn(Pid) -> Role) -> Arc<Census> {
        let now = clock::monotonic();
        if let Some(latest) = &self.latest
            && oldest.0 > 0
            && now.saturating_sub(latest.taken_at) <= oldest
        {
            return Arc::clone(latest);
        }
        let census = if self.root.is_captured() {
            self.captured(now)
        } else {
            self.live(now, interval, role)
        };
        let census = Arc::new(census);
        self.latest = Some(Arc::clone(&census));
        census
    }

    fn live(&mut self, now: Nanos, interval: Duration, role: &dyn Fn(Pid) -> Role) -> Census {
        let previous = self.latest.take();
        if self.system.is_none() {
            self.system = System::new().ok();
        }
        // Two readings closer than sysinfo's least interval give no rate: the earlier one stays.
        let since_cpu = self.cpu_read_at.map(|at| now.saturating_sub(at));
        let reads_cpu = since_cpu.is_none_or(|since| since >= nanos(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL));
        let has_rate = reads_cpu && since_cpu.is_some_and(|since| since.0 <= nanos(interval).0 * STALE_INTERVALS);
        if let Some(system) = &mut self.system {
            let mut kind = ProcessRefreshKind::nothing()
                .without_tasks()
                .with_memory()
                .with_user(UpdateKind::OnlyIfNotSet)
                .with_exe(UpdateKind::OnlyIfNotSet);
            if reads_cpu {
                kind = kind.with_cpu();
                system.refresh_cpu_usage();
                self.cpu_read_at = Some(now);
            }
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        }
        let earlier: HashMap<ProcessKey, Evidence<f64>> = previous
            .iter()
            .flat_map(|census| &census.processes)
            .map(|process| (process.key, process.cpu_ratio))
            .collect();

        let mut buffer = Buffer::default();
        let (mut processes, mut unreadable) = (Vec::new(), 0);
        for pid in self.pids() {
            let dir = match file::open_dir(&self.root.process(pid)) {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                Err(_) => {
                    unreadable += 1;
                    continue;
                }
            };
            let stat = match stat::read_at(&dir, "stat", &mut buffer) {
                Ok(Some(stat)) => stat,
                Ok(None) => continue,
                Err(_) => {
                    unreadable += 1;
                    continue;
                }
            };
            let key = ProcessKey { pid, start: stat.start };
            let theirs = self
                .system
                .as_ref()
                .and_then(|system| system.process(sysinfo::Pid::from_u32(pid.0)));
            let cpu_ratio = match (earlier.get(&key), theirs) {
                (Some(_), Some(process)) if has_rate => Ok(f64::from(process.cpu_usage()) / 100.0),
                (Some(kept), _) if !reads_cpu => *kept,
                (_, Some(_)) => Err(Unknown::SeenOnce),
                (_, None) => Err(Unknown::Gone),
            };
            let mut process = of_stat(key, &stat);
            process.role = role(pid);
            process.cpu_ratio = cpu_ratio;
            if process.rss_bytes.is_ok()
                && let Some(theirs) = theirs
            {
                process.rss_bytes = Ok(theirs.memory());
            }
            process.exe = match theirs.and_then(|process| process.exe()) {
                _ if stat.is_kernel_thread() => Err(Unknown::KernelThread),
                Some(path) => Ok(Arc::from(path.to_string_lossy())),
                None => exe_of(&dir),
            };
            process.user = match theirs.and_then(|process| process.user_id()) {
                Some(user) => Ok(user_name(&mut self.users, user)),
                None => Err(Unknown::Gone),
            };
            processes.push(process);
        }
        let machine = self.machine(has_rate, previous.as_deref().filter(|_| !reads_cpu));
        Census {
            taken_at: now,
            machine,
            processes,
            hidden: hidden::number(&self.root, unreadable),
        }
    }

    fn captured(&self, now: Nanos) -> Census {
        let mut buffer = Buffer::default();
        let mut processes = Vec::new();
        for pid in self.pids() {
            let Ok(Some(dir)) = file::open_dir(&self.root.process(pid)) else {
                continue;
            };
            let mut process = match stat::read_at(&dir, "stat", &mut buffer) {
                Ok(Some(stat)) => of_stat(ProcessKey { pid, start: stat.start }, &stat),
                _ => continue,
            };
            if process.exe != Err(Unknown::KernelThread) {
                process.exe = exe_of(&dir).map_err(|why| match why {
                    Unknown::Gone => Unknown::NotCaptured,
                    why => why,
                });
            }
            // The names of its users aren't in /proc: the number stands for the name.
            process.user = match file::read_at(&dir, "status", &mut buffer) {
                Ok(Some(text)) => status::parse(text)
                    .user
                    .map(|user| Arc::from(user.to_string()))
                    .ok_or(Unknown::Unreadable),
                _ => Err(Unknown::NotCaptured),
            };
            processes.push(process);
        }
        let (memory, unread) = match meminfo::read(&self.root) {
            Ok(memory) => (memory, Unknown::Unreadable),
            Err(_) => (meminfo::MemInfo::default(), Unknown::NotCaptured),
        };
        let cpus = std::fs::read_to_string(self.root.path().join("stat")).unwrap_or_default();
        Census {
            taken_at: now,
            machine: Machine {
                boot_id: Arc::clone(&self.boot_id),
                hostname: Arc::clone(&self.hostname),
                kernel: Arc::clone(&self.kernel),
                cpus: count_cpus(&cpus),
                memory_bytes: memory.total_bytes.ok_or(unread),
                available_bytes: memory.available_bytes.ok_or(unread),
                cpu_ratio: Err(Unknown::SeenOnce),
                load_average: match loadavg::read(&self.root) {
                    Ok(Some(load)) => Ok(load),
                    Ok(None) => Err(Unknown::Unreadable),
                    Err(_) => Err(Unknown::NotCaptured),
                },
            },
            processes,
            hidden: Err(Unknown::NotCaptured),
        }
    }

    /// In pid order.
    fn pids(&self) -> Vec<Pid> {
        let mut numbers = Vec::new();
        if let Ok(Some(dir)) = file::open_dir(self.root.path()) {
            let _ = task::list(&dir, &mut numbers);
        }
        numbers.sort_unstable();
        numbers.into_iter().map(Pid).collect()
    }

    /// `kept` is the previous census when CPU times weren't read anew.
    fn machine(&self, has_rate: bool, kept: Option<&Census>) -> Machine {
        let system = self.system.as_ref();
        // sysinfo gives 0 where it could not read.
        let known = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0).ok_or(Unknown::Unreadable);
        let cpu_ratio = match (system, kept) {
            (_, Some(kept)) => kept.machine.cpu_ratio,
            (Some(system), None) if has_rate => Ok((f64::from(system.global_cpu_usage()) / 100.0).clamp(0.0, 1.0)),
            _ => Err(Unknown::SeenOnce),
        };
        Machine {
            boot_id: Arc::clone(&self.boot_id),
            hostname: Arc::clone(&self.hostname),
            kernel: Arc::clone(&self.kernel),
            cpus: system.map_or(0, |system| system.cpus().len() as u32),
            memory_bytes: known(system.map(System::total_memory)),
            available_bytes: known(system.map(System::available_memory)),
            cpu_ratio,
            load_average: match loadavg::read(&self.root) {
                Ok(Some(load)) => Ok(load),
                _ => Err(Unknown::Unreadable),
            },
        }
    }
}

/// What `stat` alone tells.
fn of_stat(key: ProcessKey, stat: &Stat<'_>) -> Process {
    let zombie = stat.state == b'Z';
    Process {
        key,
        parent: Pid(stat.parent),
        name: Arc::from(String::from_utf8_lossy(stat.name)),
        exe: Err(if stat.is_kernel_thread() {
            Unknown::KernelThread
        } else {
            Unknown::NotAsked
        }),
        user: Err(Unknown::NotAsked),
        role: Role::Other,
        state: waits::state_of(stat.state).name(),
        // A zombie that was reaped in part says 0.
        threads: if stat.threads > 0 {
            Ok(stat.threads)
        } else {
            Err(Unknown::Zombie)
        },
        cpu_ratio: Err(Unknown::SeenOnce),
        rss_bytes: if stat.is_kernel_thread() {
            Err(Unknown::KernelThread)
        } else if zombie {
            Err(Unknown::Zombie)
        } else {
            Ok(stat.resident_pages * rustix::param::page_size() as u64)
        },
    }
}

fn exe_of(dir: impl std::os::fd::AsFd) -> Evidence<Arc<str>> {
    match rustix::fs::readlinkat(dir, "exe", Vec::new()) {
        Ok(path) => Ok(Arc::from(path.to_string_lossy())),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Err(Unknown::PtraceDenied),
        // A zombie has no program any more.
        Err(_) => Err(Unknown::Gone),
    }
}

/// The name of a user, or the number where the machine has no name for it.
fn user_name(users: &mut Option<Users>, user: &sysinfo::Uid) -> Arc<str> {
    if users.is_none() {
        *users = Users::new_with_refreshed_list().ok();
    }
    let name = users.as_ref().and_then(|users| users.get_user_by_id(user));
    match name {
        Some(user) => Arc::from(user.name()),
        None => Arc::from(user.to_string()),
    }
}

/// `/proc/stat` has a line `cpu` for all and one `cpuN` for each.
fn count_cpus(text: &str) -> u32 {
    text.lines()
        .filter(|line| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .count() as u32
}
