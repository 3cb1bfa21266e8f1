//! One process, on request: the handle through which outsiders look.
//!
//! `snapshot` gives what the sampler made last, or waits for the first one; it also renews the lease
//! by which a process stays watched. The dear looks (`thread`, `memory`, `capabilities`, the census)
//! are made by the caller's own thread, so that the grid isn't held up. Every call first asks which
//! process has the pid *now*: what is known of an earlier one with the same pid is never given.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::capabilities;
use super::glance;
use super::locks;
use super::memory;
use super::sampler::{Failed, SHORTEST_INTERVAL, Shared, Watched, nanos};
use super::stacks::StackOptions;
use super::threads::{FileBudget, PassError, ProcessReader, resolve};
use super::{Capability, SamplerCost};
use crate::kernel::{ProcRoot, cgroup, clock, cmdline};
use crate::model::{
    Census, Dump, Evidence, Finding, GroupUse, LockReport, MemoryMap, Nanos, Pid, ProcessDetails, ProcessKey, Snapshot,
    Thread, ThreadDetails, Tid, Unknown,
};

/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A snapshot may be so much older than its interval before a newer one is waited for: on a busy
/// machine the sampler is late by as much.
const SLACK: Duration = Duration::from_millis(500);

/// Why a process or a thread could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("there is no process {0}; GET /api/v1/processes lists those that can be seen")]
    NoProcess(Pid),
    #[error("process {pid} has no thread {tid}")]
    NoThread { pid: Pid, tid: Tid },
    #[error("process {0} ended while it was being read")]
    Ended(Pid),
    #[error("not allowed to read process {0}; run threadscape as its owner or with CAP_SYS_PTRACE")]
    Denied(Pid),
    #[error("process {0} could not be read within {1:?}")]
    Late(Pid, Duration),
    #[error("the sampler has stopped")]
    Stopped,
    #[error("could not read {path}")]
    Unreadable { path: String, source: std::io::Error },
}

/// What the process' control group has used and may use.
fn group_use(root: &ProcRoot, key: ProcessKey) -> Evidence<GroupUse> {
    // The groups of a captured tree are not ours to look into.
    if root.is_captured() {
        return Err(Unknown::NotCaptured);
    }
    let groups = cgroup::parse(&glance::small(root, &root.process(key.pid).join("cgroup"))?);
    let mounts = glance::small(root, &root.path().join("self/mountinfo"))?;
    let used = cgroup::parse_mounts(&String::from_utf8_lossy(&mounts)).used(&groups);
    if !matches!(resolve(root, key.pid), Ok(Some(now)) if now == key) {
        return Err(Unknown::Gone);
    }
    Ok(GroupUse {
        cpu: used.cpu.ok_or(Unknown::NoGroupFile),
        periods: used.periods.ok_or(Unknown::NoGroupFile),
        throttled_periods: used.throttled_periods.ok_or(Unknown::NoGroupFile),
        throttled: used.throttled.ok_or(Unknown::NoGroupFile),
        memory_bytes: used.memory_bytes.ok_or(Unknown::NoGroupFile),
        memory_limit: used.memory_limit.ok_or(Unknown::NoGroupFile),
    })
}

/// One thread, looked at alone.
#[derive(Clone, Debug)]
pub struct ThreadLook {
    /// Of its process, made lately.
    pub snapshot: Arc<Snapshot>,
    pub thread: Thread,
    pub details: ThreadDetails,
}

/// While it lives its process is sampled at least at the interval it was asked for.
pub struct Watch {
    shared: Arc<Shared>,
    key: ProcessKey,
    guard: u64,
}

impl Watch {
    /// The process it keeps watched: still this one when the pid is another's by now.
    pub fn process(&self) -> ProcessKey {
        self.key
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(watched) = state.watched.get_mut(&self.key) {
            watched.guards.remove(&self.guard);
            // Whoever looks again within the lease finds it still watched.
            watched.asked_at = clock::monotonic();
        }
    }
}

/// A close look at one process. Blocking and bounded; clones share everything.
#[derive(Clone)]
pub struct Inspector(Arc<Shared>);

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

impl Inspector {
    pub(super) fn new(shared: Arc<Shared>) -> Inspector {
        Inspector(shared)
    }

    /// The latest list of all processes; at most one census interval old.
    pub fn census(&self) -> Arc<Census> {
        self.take_census(nanos(self.0.settings.census_interval))
    }

    /// Reads the list now and waits for it.
    pub fn fresh_census(&self) -> Arc<Census> {
        self.take_census(Nanos(0))
    }

    fn take_census(&self, oldest: Nanos) -> Arc<Census> {
        self.0
            .census
            .lock()
            .census(oldest, self.0.settings.census_interval, &|pid| self.0.role(pid))
    }

    /// The key of the process that has this pid now.
    pub fn resolve(&self, pid: Pid) -> Result<ProcessKey, InspectError> {
        match resolve(&self.0.settings.procfs, pid) {
            Ok(Some(key)) => Ok(key),
            Ok(None) | Err(PassError::Ended) => Err(InspectError::NoProcess(pid)),
            Err(error) => Err(self.named_error(pid, error)),
        }
    }

    /// The processes that have exactly this name, in no order.
    pub fn named(&self, name: &str) -> Vec<Pid> {
        super::sampler::named(&self.0.settings.procfs, |found| found == name)
    }

    /// The latest snapshot. Renews the lease (10 s); a process not yet watched is read at once.
    pub fn snapshot(&self, pid: Pid) -> Result<Arc<Snapshot>, InspectError> {
        let key = self.resolve(pid)?;
        self.wait_for(
            key,
            |_| PATIENCE,
            |snapshot, interval| {
                // A pass over many threads takes its time: what it gives is fresh when it ends.
                let ended = Nanos(snapshot.taken_at.0 + snapshot.cost.wall.0);
                clock::monotonic().saturating_sub(ended) <= nanos(interval + SLACK)
            },
        )
    }

    /// The next snapshot that is taken after this moment on `CLOCK_MONOTONIC`; renews the lease. Waits
    /// for an interval and 5 s at most.
    pub fn snapshot_after(&self, pid: Pid, moment: Nanos) -> Result<Arc<Snapshot>, InspectError> {
        let key = self.resolve(pid)?;
        self.wait_for(
            key,
            |interval| interval + PATIENCE,
            |snapshot, _| snapshot.taken_at > moment,
        )
    }

    fn wait_for(
        &self,
        key: ProcessKey,
        patience: impl Fn(Duration) -> Duration,
        is_wanted: impl Fn(&Snapshot, Duration) -> bool,
    ) -> Result<Arc<Snapshot>, InspectError> {
        let shared = &*self.0;
        let now = clock::monotonic();
        let mut state = shared.state.lock();
        if state.stopped {
            return Err(InspectError::Stopped);
        }
        if !state.watched.contains_key(&key) {
            state.make_room();
            state.watched.insert(key, Watched::asked(now));
            shared.work.notify_all();
        }
        let asked = Instant::now();
        loop {
            if state.stopped {
                return Err(InspectError::Stopped);
            }
            // It was there a moment ago: the sampler takes a process out when it has ended.
            let Some(watched) = state.watched.get_mut(&key) else {
                return Err(InspectError::Ended(key.pid));
            };
            watched.asked_at = clock::monotonic();
            let interval = watched.interval(shared.settings.interval);
            let patience = patience(interval);
            match &watched.outcome {
                Some(Ok(snapshot)) if is_wanted(snapshot, interval) => return Ok(Arc::clone(snapshot)),
                Some(Err(Failed::Denied)) => return Err(InspectError::Denied(key.pid)),
                Some(Err(Failed::Unreadable(error))) => {
                    return Err(self.unreadable(key.pid, std::io::Error::new(error.kind(), error.to_string())));
                }
                Some(Ok(_)) | None => {}
            }
            if shared.published.wait_until(&mut state, asked + patience).timed_out() {
                return Err(InspectError::Late(key.pid, patience));
            }
        }
    }

    /// Keeps `pid` watched at `interval` (100 ms at least) for as long as the guard lives.
    pub fn watch(&self, pid: Pid, interval: Duration) -> Result<Watch, InspectError> {
        let key = self.resolve(pid)?;
        let interval = interval.max(SHORTEST_INTERVAL);
        let now = clock::monotonic();
        let mut state = self.0.state.lock();
        if state.stopped {
            return Err(InspectError::Stopped);
        }
        let guard = state.next_guard;
        state.next_guard += 1;
        if !state.watched.contains_key(&key) {
            state.make_room();
        }
        let watched = state.watched.entry(key).or_insert_with(|| Watched::asked(now));
        watched.guards.insert(guard, interval);
        let line = super::sampler::line_after(now, watched.interval(self.0.settings.interval));
        watched.due = watched.due.min(line);
        drop(state);
        self.0.work.notify_all();
        Ok(Watch {
            shared: Arc::clone(&self.0),
            key,
            guard,
        })
    }

    /// One thread with everything, dear fields too, read now; rates are those of the snapshot given back.
    pub fn thread(&self, pid: Pid, tid: Tid) -> Result<(Arc<Snapshot>, Thread), InspectError> {
        let look = self.closely(pid, tid)?;
        Ok((look.snapshot, look.thread))
    }

    /// The same, with what no row has.
    pub fn closely(&self, pid: Pid, tid: Tid) -> Result<ThreadLook, InspectError> {
        let snapshot = self.snapshot(pid)?;
        let no_thread = InspectError::NoThread { pid, tid };
        let root = &self.0.settings.procfs;
        let read = || {
            let companions = (self.0.companions)(root, pid);
            ProcessReader::open(root, snapshot.process, FileBudget::new(0), companions)?.one(tid)
        };
        let (mut thread, details) = match read() {
            Ok(Some(read)) => read,
            Ok(None) => return Err(no_thread),
            Err(error) => return Err(self.named_error(pid, error)),
        };
        let place = snapshot.threads.binary_search_by_key(&tid, Thread::tid);
        if let Some(row) = place.ok().map(|place| &snapshot.threads[place])
            && row.key == thread.key
        {
            thread.cpu_ratio = row.cpu_ratio;
            thread.run_delay_ratio = row.run_delay_ratio;
            thread.heap = row.heap;
            thread.task.clone_from(&row.task);
            thread.pool.clone_from(&row.pool);
            if row.state == crate::model::ThreadState::Parked && thread.state == crate::model::ThreadState::Sleeping {
                thread.state = row.state;
            }
        }
        // How much of the stack is in memory is in `smaps` only. The memory view also finds stacks
        // that the row lacks: that of a thread that runs, and one in a mapping of several.
        if let Ok(map) = memory::read(root, pid)
            && map.process == snapshot.process
            && let Some(measured) = map.stacks.iter().find(|stack| stack.tid == tid)
            && let Ok(whole) = measured.stack
        {
            thread.stack = Ok(match thread.stack {
                // Its depth is that of the moment when the row was read.
                Ok(seen) => whole.at(seen.used_bytes.map(|used| seen.end - used)),
                Err(why) if why == Unknown::Running => whole.at(Err(why)),
                Err(_) => whole,
            });
        }
        Ok(ThreadLook {
            snapshot,
            thread,
            details,
        })
    }

    /// What the list leaves out for being asked for seldom.
    pub fn process_details(&self, key: ProcessKey) -> ProcessDetails {
        let root = &self.0.settings.procfs;
        // A captured tree tells of another boot.
        let started_at = if root.is_captured() {
            Err(Unknown::NotCaptured)
        } else {
            let since_boot = (key.start.seconds() * 1e9) as u64;
            let ago = Duration::from_nanos(clock::boottime().0.saturating_sub(since_boot));
            SystemTime::now().checked_sub(ago).ok_or(Unknown::Unreadable)
        };
        let read = cmdline::read(&root.process(key.pid)).map_err(|error| crate::kernel::maps::refusal(root, &error));
        let (command_line, command_line_cut) = match read {
            // The pid may be another's by now.
            _ if !matches!(resolve(root, key.pid), Ok(Some(now)) if now == key) => (Err(Unknown::Gone), false),
            // Neither a kernel thread nor a zombie has one.
            Ok(line) if line.words.is_empty() => (Err(Unknown::NoObject), false),
            Ok(line) => (
                Ok(line
                    .words
                    .iter()
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .collect()),
                line.cut,
            ),
            Err(why) => (Err(why), false),
        };
        ProcessDetails {
            started_at,
            command_line,
            command_line_cut,
            group: group_use(root, key),
        }
    }

    /// All mappings, classified, read now.
    pub fn memory(&self, pid: Pid) -> Result<MemoryMap, InspectError> {
        let key = self.resolve(pid)?;
        let map = memory::read(&self.0.settings.procfs, pid)?;
        // The pid went to another process on the way: what was read is of neither for sure.
        if map.process != key {
            return Err(InspectError::Ended(pid));
        }
        Ok(map)
    }

    /// Where every thread stands, read now.
    pub fn stacks(&self, pid: Pid, options: &StackOptions) -> Result<Dump, InspectError> {
        let key = self.resolve(pid)?;
        let dump = self.0.dumper.dump(pid, options)?;
        if dump.process != key {
            return Err(InspectError::Ended(pid));
        }
        Ok(dump)
    }

    /// What its threads wait for and because of whom, with the stacks of the same moment. Takes two
    /// readings when there is a cycle.
    pub fn locks(&self, pid: Pid, options: &StackOptions) -> Result<LockReport, InspectError> {
        let key = self.resolve(pid)?;
        let report = locks::read(&self.0.dumper, pid, options)?;
        if report.dump.process != key {
            return Err(InspectError::Ended(pid));
        }
        Ok(report)
    }

    /// What detectors found in one process so far; it is watched from now on. Takes a look at its locks
    /// unless the last one is fresh.
    pub fn findings(&self, pid: Pid) -> Result<Vec<Finding>, InspectError> {
        let snapshot = self.snapshot(pid)?;
        self.0.watcher.look_now(&self.0, &snapshot);
        Ok(self.0.findings.of(snapshot.process))
    }

    /// What detectors found in all processes that are watched.
    pub fn all_findings(&self) -> Vec<Finding> {
        self.0.findings.all()
    }

    /// Each evidence source, tried on `pid` or on ourselves.
    pub fn capabilities(&self, pid: Option<Pid>) -> Vec<Capability> {
        capabilities::probe(&self.0.settings.procfs, pid)
    }

    /// What sampling has cost so far.
    pub fn cost(&self) -> SamplerCost {
        self.0.state.lock().cost
    }

    fn named_error(&self, pid: Pid, error: PassError) -> InspectError {
        match error {
            PassError::Ended => InspectError::Ended(pid),
            PassError::Denied => InspectError::Denied(pid),
            PassError::Unreadable(source) => self.unreadable(pid, source),
        }
    }

    fn unreadable(&self, pid: Pid, source: std::io::Error) -> InspectError {
        InspectError::Unreadable {
            path: self.0.settings.procfs.process(pid).display().to_string(),
            source,
        }
    }
}
