//! The list of all processes and the machine they run on.
//!
//! Read by whoever asks, when the last list is older than the census interval: while nobody asks,
//! nothing is read. The machine and the names of its users come from `sysinfo`. The processes we read
//! ourselves: one `stat` and one clock for each, and what an exec alone changes (program, user) once,
//! which is a third of what `sysinfo` takes for them. A captured tree is read with our own readers alone: nothing
//! moves in it, so it has no rates.
//!
//! **Hidden** are processes that exist and can't be seen: `hidden` counts them. With `hidepid=1` they are listed
//! but can't be read, which is found here.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use sysinfo::{MemoryRefreshKind, System, Users};

use super::hidden;
use super::sampler::nanos;
use super::waits;
use crate::kernel::file::{self, Buffer};
use crate::kernel::stat::Stat;
use crate::kernel::{ProcRoot, boot_id, clock, loadavg, meminfo, stat, status, task};
use crate::model::{Census, Evidence, Machine, Nanos, Pid, Process, ProcessKey, Role, Ticks, Unknown};

/// A list this many intervals old is too old for a rate: it would be an average over a long pause.
const STALE_INTERVALS: u64 = 5;

/// What is kept of a process from list to list.
struct Known {
    start: Ticks,
    /// `start_code`, `start_stack` and name: an exec changes one of them.
    program: (u64, u64, Arc<str>),
    exe: Evidence<Arc<str>>,
    user: Evidence<Arc<str>>,
    /// The CPU time of its threads together, and when it was read; the share that was told last.
    cpu: Option<(Nanos, Nanos)>,
    cpu_ratio: Evidence<f64>,
}

/// Program and user are read again after so many lists: a process can change its user by itself.
const ASK_AGAIN: u64 = 16;

/// Takes the list and keeps the last one.
pub(super) struct Taker {
    root: ProcRoot,
    system: Option<System>,
    users: Option<Users>,
    latest: Option<Arc<Census>>,
    known: HashMap<Pid, Known>,
    /// How many lists were made.
    lists: u64,
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
            known: HashMap::new(),
            lists: 0,
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
            if reads_cpu {
                system.refresh_cpu_usage();
                self.cpu_read_at = Some(now);
            }
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        }

        self.lists += 1;
        let mut earlier = std::mem::take(&mut self.known);
        let mut buffer = Buffer::default();
        let (mut processes, mut unreadable) = (Vec::new(), 0);
        let pids = self.pids();
        let Ok(Some(root)) = file::open_dir(self.root.path()) else {
            return self.census_of(now, has_rate, previous.as_deref(), reads_cpu, processes, unreadable);
        };
        for pid in pids {
            // Before `stat`: that one proves that the pid was still this process'.
            let cpu = clock::cpu_of(pid).map(|cpu| (cpu, clock::monotonic()));
            let (mut process, program) = match stat::read_at(&root, &format!("{pid}/stat"), &mut buffer) {
                Ok(Some(stat)) => {
                    let process = of_stat(ProcessKey { pid, start: stat.start }, &stat);
                    let program = (stat.start_code, stat.start_stack, Arc::clone(&process.name));
                    (process, program)
                }
                Ok(None) => continue,
                Err(_) => {
                    unreadable += 1;
                    continue;
                }
            };
            let before = earlier.remove(&pid).filter(|known| known.start == process.key.start);
            process.role = role(pid);
            process.cpu_ratio = match (&before, cpu) {
                (Some(known), _) if !reads_cpu => known.cpu_ratio,
                (Some(known), Some((spent, at))) if has_rate => known
                    .cpu
                    .and_then(|(earlier, then)| spent.saturating_sub(earlier).share_of(at.saturating_sub(then)))
                    .ok_or(Unknown::SeenOnce),
                (_, None) => Err(Unknown::Gone),
                _ => Err(Unknown::SeenOnce),
            };
            // Spread over the lists, so that none of them pays for all.
            let is_its_turn = (self.lists + u64::from(pid.0)).is_multiple_of(ASK_AGAIN);
            let (exe, user) = match &before {
                Some(known) if known.program == program && !is_its_turn => (known.exe.clone(), known.user.clone()),
                _ => self.ask(&root, pid, &process, &mut buffer),
            };
            process.exe = exe;
            process.user = user;
            self.known.insert(
                pid,
                Known {
                    start: process.key.start,
                    program,
                    exe: process.exe.clone(),
                    user: process.user.clone(),
                    cpu: match before {
                        Some(known) if !reads_cpu => known.cpu,
                        _ => cpu,
                    },
                    cpu_ratio: process.cpu_ratio,
                },
            );
            processes.push(process);
        }
        self.census_of(now, has_rate, previous.as_deref(), reads_cpu, processes, unreadable)
    }

    fn census_of(
        &self,
        taken_at: Nanos,
        has_rate: bool,
        previous: Option<&Census>,
        reads_cpu: bool,
        processes: Vec<Process>,
        unreadable: u64,
    ) -> Census {
        Census {
            taken_at,
            machine: self.machine(has_rate, previous.filter(|_| !reads_cpu)),
            processes,
            hidden: hidden::number(&self.root, unreadable),
        }
    }

    /// What an exec alone changes: the program, and the user as its real id.
    fn ask(
        &mut self,
        root: &OwnedFd,
        pid: Pid,
        process: &Process,
        buffer: &mut Buffer,
    ) -> (Evidence<Arc<str>>, Evidence<Arc<str>>) {
        let exe = if process.exe == Err(Unknown::KernelThread) {
            Err(Unknown::KernelThread)
        } else {
            exe_of(root, &format!("{pid}/exe"))
        };
        let user = match file::read_at(root, &format!("{pid}/status"), buffer) {
            Ok(Some(text)) => status::parse(text)
                .user
                .map(|user| user_name(&mut self.users, user))
                .ok_or(Unknown::Unreadable),
            Ok(None) => Err(Unknown::Gone),
            Err(_) => Err(Unknown::Denied),
        };
        (exe, user)
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
                process.exe = exe_of(&dir, "exe").map_err(|why| match why {
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

fn exe_of(dir: impl AsFd, name: &str) -> Evidence<Arc<str>> {
    match rustix::fs::readlinkat(dir, name, Vec::with_capacity(64)) {
        Ok(path) => Ok(Arc::from(path.to_string_lossy())),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Err(Unknown::PtraceDenied),
        // A zombie has no program any more.
        Err(_) => Err(Unknown::Gone),
    }
}

/// The name of a user, or the number where the machine has no name for it.
fn user_name(users: &mut Option<Users>, user: u32) -> Arc<str> {
    if users.is_none() {
        *users = Users::new_with_refreshed_list().ok();
    }
    let id = sysinfo::Uid::try_from(user as usize).ok();
    let name = users.as_ref().zip(id).and_then(|(users, id)| users.get_user_by_id(&id));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    /// A child that is ended with its guard.
    struct Program(Child);

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    const INTERVAL: Duration = Duration::from_millis(250);

    fn list(taker: &mut Taker) -> Arc<Census> {
        taker.census(Nanos(0), INTERVAL, &|_| Role::Other)
    }

    fn of(census: &Census, pid: u32) -> Option<&Process> {
        census.processes.iter().find(|process| process.pid().0 == pid)
    }

    /// Lists until it holds of this process.
    fn list_until(taker: &mut Taker, pid: u32, holds: impl Fn(&Process) -> bool) -> Process {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let census = list(taker);
            if let Some(process) = of(&census, pid).filter(|process| holds(process)) {
                return process.clone();
            }
            assert!(Instant::now() < deadline, "{:?}", of(&census, pid));
        }
    }

    #[test]
    fn our_own_process_has_its_program_and_its_user() {
        let mut taker = Taker::new(ProcRoot::live());
        let census = list(&mut taker);
        let own = of(&census, std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(own.exe.as_deref(), Ok(&*exe.to_string_lossy()));
        let id = Command::new("id").args(["-un"]).output().unwrap();
        assert_eq!(own.user.as_deref(), Ok(String::from_utf8_lossy(&id.stdout).trim()));
        assert!(own.rss_bytes.unwrap() > 0 && own.threads.unwrap() > 0);
        assert_eq!(own.cpu_ratio, Err(Unknown::SeenOnce));
        assert!(census.machine.cpus > 0 && census.machine.memory_bytes.is_ok());
    }

    #[test]
    fn a_busy_process_is_busy_in_the_next_list_and_in_one_that_comes_too_soon() {
        let busy = Program(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap());
        let mut taker = Taker::new(ProcRoot::live());
        let pid = busy.0.id();
        let process = list_until(&mut taker, pid, |process| {
            process.cpu_ratio.is_ok_and(|ratio| ratio > 0.05)
        });
        assert!(process.cpu_ratio.unwrap() < 1.5, "{process:?}");
        // Two readings too close together say nothing: what was told before holds.
        let again = of(&list(&mut taker), pid).unwrap().cpu_ratio;
        assert!(again.is_ok(), "{again:?}");
    }

    #[test]
    fn a_process_that_becomes_another_program_is_shown_as_that() {
        let child = Command::new("sh")
            .args(["-c", "read line; exec sleep 60"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut program = Program(child);
        let mut taker = Taker::new(ProcRoot::live());
        let pid = program.0.id();
        let before = list_until(&mut taker, pid, |process| &*process.name == "sh");
        writeln!(program.0.stdin.take().unwrap()).unwrap();
        let after = list_until(&mut taker, pid, |process| &*process.name == "sleep");
        assert_eq!(after.key, before.key);
        let exe = after.exe.unwrap();
        assert!(
            exe.ends_with("sleep") || exe.ends_with("busybox") || exe.ends_with("coreutils"),
            "{exe}"
        );
        assert_ne!(before.exe, Ok(exe));
    }
}
