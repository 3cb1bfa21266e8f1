//! The loop: a plain thread on a fixed grid.
//!
//! Lines of the grid are the whole multiples of an interval on `CLOCK_MONOTONIC`, so a slow pass
//! stretches no later one, lines that went by unused are left out, and the snapshots of processes
//! with one interval lie side by side. How late a pass began is kept in its cost. The thread sleeps
//! until the next line or until somebody asks ([`Inspector`] puts a watch into [`State`] and waits);
//! a process that is asked for the first time is read at once.
//!
//! Watched are: ourselves, the workbench and what the config names (for good), what an [`Inspector`]
//! was asked for lately (a lease), and what a [`super::Watch`] guards. Their number is bounded: the
//! lease asked for longest ago gives way.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::census::Taker;
use super::companions::{self, Make};
use super::inspect::Inspector;
use super::threads::{FileBudget, PassError, ProcessReader, resolve};
use crate::kernel::{ProcRoot, clock, comm, limits, task};
use crate::model::{Nanos, Pid, ProcessKey, Role, Snapshot};

/// No process is read more often.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Most processes under watch at one time.
const MOST_WATCHED: usize = 256;
/// The kernel keeps some 4 KiB for each file of `/proc` that is held open and was read.
const MOST_KEPT_FILES: u64 = 32_768;

/// What the config file may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub procfs: ProcRoot,
    /// Between two snapshots of a watched process.
    pub interval: Duration,
    /// Between two lists of all processes, while somebody looks.
    pub census_interval: Duration,
    /// A watch ends when nobody renewed it for this long.
    pub lease: Duration,
    /// Processes that are watched for good, by pid or exact name.
    pub watch: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            procfs: ProcRoot::live(),
            interval: Duration::from_secs(1),
            census_interval: Duration::from_secs(2),
            lease: Duration::from_secs(10),
            watch: Vec::new(),
        }
    }
}

/// What the sampler hands on.
#[derive(Clone, Debug)]
pub enum Delivery {
    Snapshot(Arc<Snapshot>),
    /// A watched process has ended.
    Gone(ProcessKey),
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerCost {
    pub snapshots: u64,
    pub cpu: Nanos,
    /// Of the latest pass, and the worst so far.
    pub lateness: Nanos,
    pub worst_lateness: Nanos,
    pub watched: usize,
}

/// Why the latest pass over a process gave no snapshot. That it has ended is told by its absence.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    Denied,
    Unreadable(Arc<io::Error>),
}

/// One process under watch.
pub(super) struct Watched {
    /// When it was last asked for, on `CLOCK_MONOTONIC`.
    pub asked_at: Nanos,
    /// The intervals of the guards that live.
    pub guards: HashMap<u64, Duration>,
    /// Watched for good: ourselves, the workbench, those that the config names.
    standing: bool,
    /// The grid line at which it is read next.
    pub due: Nanos,
    pub outcome: Option<Result<Arc<Snapshot>, Failed>>,
}

impl Watched {
    pub(super) fn asked(now: Nanos) -> Watched {
        Watched {
            asked_at: now,
            guards: HashMap::new(),
            standing: false,
            due: now,
            outcome: None,
        }
    }

    fn is_over(&self, now: Nanos, lease: Duration) -> bool {
        !self.standing && self.guards.is_empty() && now.saturating_sub(self.asked_at) > nanos(lease)
    }

    /// The shortest of all that were asked for.
    pub(super) fn interval(&self, usual: Duration) -> Duration {
        self.guards.values().copied().fold(usual, Duration::min)
    }
}

/// What the sampler thread and the inspectors share under one lock.
pub(super) struct State {
    stop: bool,
    /// The thread has ended, on request or by a panic.
    pub stopped: bool,
    pub watched: HashMap<ProcessKey, Watched>,
    pub cost: SamplerCost,
    pub next_guard: u64,
}

impl State {
    /// Makes room for one more: the lease asked for longest ago gives way.
    pub(super) fn make_room(&mut self) {
        while self.watched.len() >= MOST_WATCHED {
            let oldest = self
                .watched
                .iter()
                .filter(|(_, watched)| !watched.standing && watched.guards.is_empty())
                .min_by_key(|(_, watched)| watched.asked_at)
                .map(|(key, _)| *key);
            match oldest {
                Some(key) => self.watched.remove(&key),
                // All are guarded: guards are bounded by whoever holds them.
                None => return,
            };
        }
    }
}

pub(super) struct Shared {
    pub settings: Settings,
    pub own: Option<Pid>,
    workbench: Box<dyn Fn() -> Option<Pid> + Send + Sync>,
    pub companions: Make,
    pub state: Mutex<State>,
    /// The sampler waits here for its next line or a request.
    pub work: Condvar,
    /// Those who asked wait here.
    pub published: Condvar,
    pub census: Mutex<Taker>,
}

impl Shared {
    pub(super) fn role(&self, pid: Pid) -> Role {
        if self.own == Some(pid) {
            Role::Daemon
        } else if self.workbench() == Some(pid) {
            Role::Workbench
        } else {
            Role::Other
        }
    }

    /// A captured tree tells of another machine or moment: our child isn't in it.
    pub(super) fn workbench(&self) -> Option<Pid> {
        if self.settings.procfs.is_captured() {
            return None;
        }
        (self.workbench)()
    }
}

/// The running loop. Dropping it without `stop` stops it as well.
pub struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

impl Sampler {
    /// Ends the loop and waits for it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sampler thread had panicked");
        }
    }
}

/// Starts the loop. `workbench` gives the workbench's pid while it lives; ourselves and it are always watched.
/// `deliver` runs on the sampler thread and must not block.
pub fn start(
    settings: Settings,
    workbench: impl Fn() -> Option<Pid> + Send + Sync + 'static,
    deliver: impl Fn(Delivery) + Send + 'static,
) -> io::Result<(Sampler, Inspector)> {
    start_with(settings, workbench, deliver, companions::live)
}

pub(super) fn start_with(
    mut settings: Settings,
    workbench: impl Fn() -> Option<Pid> + Send + Sync + 'static,
    deliver: impl Fn(Delivery) + Send + 'static,
    companions: Make,
) -> io::Result<(Sampler, Inspector)> {
    settings.interval = settings.interval.max(SHORTEST_INTERVAL);
    settings.census_interval = settings.census_interval.max(SHORTEST_INTERVAL);
    let root = settings.procfs.clone();
    // Not only that the folder is there: it must look like a /proc, or every answer would be "no process".
    let mut processes = Vec::new();
    let dir = crate::kernel::file::open_dir(root.path())?.ok_or(io::ErrorKind::NotFound)?;
    task::list(&dir, &mut processes)?;
    if processes.is_empty() {
        let message = format!("{} holds no process; name a copy of /proc", root.path().display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    // Our pid as this /proc knows it, which another pid namespace's wouldn't.
    let own = if root.is_captured() {
        None
    } else {
        let link = std::fs::read_link(root.path().join("self"))?;
        link.to_str().and_then(|pid| pid.parse().ok()).map(Pid)
    };
    let shared = Arc::new(Shared {
        census: Mutex::new(Taker::new(root)),
        settings,
        own,
        workbench: Box::new(workbench),
        companions,
        state: Mutex::new(State {
            stop: false,
            stopped: false,
            watched: HashMap::new(),
            cost: SamplerCost::default(),
            next_guard: 0,
        }),
        work: Condvar::new(),
        published: Condvar::new(),
    });
    let budget = FileBudget::new((limits::raise_open_files() / 2).min(MOST_KEPT_FILES));
    let thread = thread::Builder::new().name("ts-sampler".to_owned()).spawn({
        let shared = Arc::clone(&shared);
        move || {
            let _ended = EndNotice(&shared);
            Loop {
                shared: &shared,
                deliver: Box::new(deliver),
                readers: HashMap::new(),
                budget,
                sequence: 0,
                workbench: None,
                names_due: Nanos(0),
            }
            .run();
        }
    })?;
    let inspector = Inspector::new(Arc::clone(&shared));
    Ok((
        Sampler {
            shared,
            thread: Some(thread),
        },
        inspector,
    ))
}

/// Tells those who wait that nobody will answer, however the thread ends.
struct EndNotice<'a>(&'a Shared);

impl Drop for EndNotice<'_> {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.published.notify_all();
    }
}

struct Loop<'a> {
    shared: &'a Shared,
    deliver: Box<dyn Fn(Delivery) + 'a>,
    readers: HashMap<ProcessKey, ProcessReader>,
    budget: Arc<FileBudget>,
    sequence: u64,
    /// The workbench that was last put under watch.
    workbench: Option<ProcessKey>,
    /// When the names in the config are looked for next.
    names_due: Nanos,
}

impl Loop<'_> {
    fn run(mut self) {
        if let Some(own) = self.shared.own {
            self.stand(&[own]);
        }
        loop {
            self.renew_standing();
            let Some(due) = self.wait() else { return };
            for (key, line) in due {
                if self.shared.state.lock().stop {
                    return;
                }
                self.pass(key, line);
            }
        }
    }

    /// Sleeps until a process is due. Gives those that are, first those that somebody waits for.
    /// `None`: we are to stop.
    fn wait(&mut self) -> Option<Vec<(ProcessKey, Nanos)>> {
        let settings = &self.shared.settings;
        let mut state = self.shared.state.lock();
        loop {
            if state.stop {
                return None;
            }
            let now = clock::monotonic();
            state.watched.retain(|_, watched| !watched.is_over(now, settings.lease));
            state.cost.watched = state.watched.len();
            self.readers.retain(|key, _| state.watched.contains_key(key));
            let mut due: Vec<_> = state
                .watched
                .iter()
                .filter(|(_, watched)| watched.due <= now)
                .map(|(key, watched)| (watched.outcome.is_some(), *key, watched.due))
                .collect();
            if !due.is_empty() {
                due.sort_unstable();
                return Some(due.into_iter().map(|(_, key, line)| (key, line)).collect());
            }
            // At least once an interval, to see whether there is another workbench.
            let next = state.watched.values().map(|watched| watched.due).min();
            let line = line_after(now, settings.interval);
            let next = next.map_or(line, |next| next.min(line));
            let deadline = Instant::now() + Duration::from_nanos(next.saturating_sub(now).0);
            if self.shared.work.wait_until(&mut state, deadline).timed_out() && next == line {
                return Some(Vec::new());
            }
        }
    }

    fn pass(&mut self, key: ProcessKey, line: Nanos) {
        let shared = self.shared;
        let role = shared.role(key.pid);
        let outcome = self.read(key, role, line);
        let now = clock::monotonic();

        let delivery = {
            let mut state = shared.state.lock();
            let delivery = match outcome {
                Ok(snapshot) => {
                    state.cost.snapshots += 1;
                    state.cost.lateness = snapshot.cost.lateness;
                    state.cost.worst_lateness = state.cost.worst_lateness.max(snapshot.cost.lateness);
                    let snapshot = Arc::new(snapshot);
                    publish(&mut state, key, Ok(Arc::clone(&snapshot)), now, &shared.settings);
                    Some(Delivery::Snapshot(snapshot))
                }
                Err(PassError::Ended) => {
                    state.watched.remove(&key);
                    self.readers.remove(&key);
                    Some(Delivery::Gone(key))
                }
                Err(PassError::Denied) => {
                    publish(&mut state, key, Err(Failed::Denied), now, &shared.settings);
                    None
                }
                Err(PassError::Unreadable(error)) => {
                    tracing::warn!(pid = %key.pid, %error, "a process could not be read");
                    let failed = Failed::Unreadable(Arc::new(error));
                    publish(&mut state, key, Err(failed), now, &shared.settings);
                    None
                }
            };
            state.cost.cpu = clock::thread_cpu();
            delivery
        };
        shared.published.notify_all();
        if let Some(delivery) = delivery {
            (self.deliver)(delivery);
        }
    }

    fn read(&mut self, key: ProcessKey, role: Role, line: Nanos) -> Result<Snapshot, PassError> {
        let root = &self.shared.settings.procfs;
        if !self.readers.contains_key(&key) {
            let companions = (self.shared.companions)(root, key.pid);
            let reader = ProcessReader::open(root, key, Arc::clone(&self.budget), companions)?;
            self.readers.insert(key, reader);
        }
        let Some(reader) = self.readers.get_mut(&key) else {
            return Err(PassError::Ended);
        };
        let snapshot = reader.pass(role, line, self.sequence + 1)?;
        self.sequence += 1;
        Ok(snapshot)
    }

    /// Puts a new workbench and newly started processes that the config names under watch.
    fn renew_standing(&mut self) {
        let workbench = self.shared.workbench();
        if self.workbench.map(|key| key.pid) != workbench {
            self.workbench = workbench.and_then(|pid| self.stand(&[pid]).pop());
        }
        let now = clock::monotonic();
        let settings = &self.shared.settings;
        if settings.watch.is_empty() || now < self.names_due {
            return;
        }
        self.names_due = line_after(now, settings.census_interval);
        let mut pids: Vec<Pid> = settings
            .watch
            .iter()
            .filter_map(|word| word.parse().ok())
            .map(Pid)
            .collect();
        if settings.watch.iter().any(|word| word.parse::<u32>().is_err()) {
            pids.extend(named(&settings.procfs, |name| {
                settings.watch.iter().any(|word| word == name)
            }));
        }
        self.stand(&pids);
    }

    /// Watches these for good, those that there are.
    fn stand(&mut self, pids: &[Pid]) -> Vec<ProcessKey> {
        let root = &self.shared.settings.procfs;
        let keys: Vec<ProcessKey> = pids.iter().filter_map(|pid| resolve(root, *pid).ok()?).collect();
        let now = clock::monotonic();
        let mut state = self.shared.state.lock();
        for key in &keys {
            if !state.watched.contains_key(key) {
                state.make_room();
            }
            let watched = state.watched.entry(*key).or_insert_with(|| Watched::asked(now));
            watched.standing = true;
        }
        keys
    }
}

fn publish(
    state: &mut State,
    key: ProcessKey,
    outcome: Result<Arc<Snapshot>, Failed>,
    now: Nanos,
    settings: &Settings,
) {
    // It may have been let go while it was read.
    if let Some(watched) = state.watched.get_mut(&key) {
        watched.due = line_after(now, watched.interval(settings.interval));
        watched.outcome = Some(outcome);
    }
}

/// The first line of the grid after `now`.
pub(super) fn line_after(now: Nanos, interval: Duration) -> Nanos {
    let interval = nanos(interval).0.max(1);
    Nanos((now.0 / interval + 1) * interval)
}

pub(super) fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// The processes whose name, read as text, is one that is looked for.
pub(super) fn named(root: &ProcRoot, is_meant: impl Fn(&str) -> bool) -> Vec<Pid> {
    let mut pids = Vec::new();
    let Ok(Some(dir)) = crate::kernel::file::open_dir(root.path()) else {
        return Vec::new();
    };
    if task::list(&dir, &mut pids).is_err() {
        return Vec::new();
    }
    let mut buffer = crate::kernel::file::Buffer::default();
    pids.retain(
        |pid| match crate::kernel::file::read_at(&dir, &format!("{pid}/comm"), &mut buffer) {
            Ok(Some(text)) => is_meant(&String::from_utf8_lossy(comm::parse(text))),
            // A captured tree may hold `stat` alone.
            _ => match crate::kernel::stat::read_at(&dir, &format!("{pid}/stat"), &mut buffer) {
                Ok(Some(stat)) => is_meant(&String::from_utf8_lossy(stat.name)),
                _ => false,
            },
        },
    );
    pids.into_iter().map(Pid).collect()
}
