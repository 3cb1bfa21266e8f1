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
use super::findings::{self, Board, FindingChange, SnapshotDetectors, Watcher};
use super::inspect::Inspector;
use super::stacks::Dumper;
use super::threads::{FileBudget, PassError, ProcessReader, resolve};
use crate::kernel::{ProcRoot, clock, comm, limits, task};
use crate::model::{Nanos, Pid, ProcessKey, Role, Snapshot};

/// No process is read more often.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// A shorter lease could end before the one who asked has woken up to take the answer.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
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
    /// Something wrong was found, has changed, or is over.
    Finding(FindingChange),
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
        // Who was not read yet is still waited for, however busy we are.
        self.outcome.is_some()
            && !self.standing
            && self.guards.is_empty()
            && now.saturating_sub(self.asked_at) > nanos(lease)
    }

    /// The shortest of all that were asked for.
    pub(super) fn interval(&self, usual: Duration) -> Duration {
        self.guards.values().copied().fold(usual, Duration::min)
    }
}

/// What the sampler thread and the inspectors share under one lock.
pub(super) struct State {
    pub stop: bool,
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
    /// One for all who look at stacks and locks: what is learnt of modules is kept.
    pub dumper: Dumper,
    pub findings: Board,
    pub watcher: Watcher,
    /// The watcher's thread waits here for its next round or the end.
    pub ended: Condvar,
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
    threads: Vec<JoinHandle<()>>,
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
        self.shared.ended.notify_all();
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread had panicked");
            }
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
    settings.lease = settings.lease.max(SHORTEST_LEASE);
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
        dumper: Dumper::new(&root),
        findings: Board::default(),
        watcher: Watcher::default(),
        ended: Condvar::new(),
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
                detectors: HashMap::new(),
                budget,
                sequence: 0,
                workbench: None,
                names_due: Nanos(0),
            }
            .run();
        }
    })?;
    let mut sampler = Sampler {
        shared: Arc::clone(&shared),
        threads: vec![thread],
    };
    // Nothing moves in a captured tree, so that something stands still says nothing.
    if !shared.settings.procfs.is_captured() {
        let watcher = thread::Builder::new().name("ts-findings".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || findings::watch(&shared)
        })?;
        sampler.threads.push(watcher);
    }
    Ok((sampler, Inspector::new(shared)))
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
    detectors: HashMap<ProcessKey, SnapshotDetectors>,
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
            self.detectors.retain(|key, _| state.watched.contains_key(key));
            self.shared.findings.keep(|key| state.watched.contains_key(key));
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
                    self.detectors.remove(&key);
                    shared.findings.keep(|other| *other != key);
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
        if let Some(Delivery::Snapshot(snapshot)) = &delivery
            && !shared.settings.procfs.is_captured()
        {
            let new = || SnapshotDetectors::new(&shared.settings.procfs);
            self.detectors
                .entry(key)
                .or_insert_with(new)
                .show(snapshot, &shared.findings);
        }
        if let Some(delivery) = delivery {
            (self.deliver)(delivery);
        }
        // Those of the watcher's thread are told here too: everything is delivered by one thread, in order.
        for change in shared.findings.take_changes() {
            (self.deliver)(Delivery::Finding(change));
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

#[cfg(test)]
mod tests {
    use super::super::InspectError;
    use super::super::companions::{Companions, Wanted};
    use super::*;
    use crate::model::{Evidence, LedgerView, StackUse, Tid, Unknown};
    use std::process::{Child, Command};
    use std::sync::mpsc;

    struct Alone;

    impl Companions for Alone {
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
        fn another_program(&mut self) {}
    }

    fn alone(_: &ProcRoot, _: Pid) -> Box<dyn Companions> {
        Box::new(Alone)
    }

    const WAIT: Duration = Duration::from_secs(10);

    fn fast() -> Settings {
        Settings {
            interval: Duration::from_millis(100),
            ..Settings::default()
        }
    }

    fn run(settings: Settings) -> (Sampler, Inspector, mpsc::Receiver<Delivery>) {
        let (send, deliveries) = mpsc::channel();
        let deliver = move |delivery| {
            let _ = send.send(delivery);
        };
        let (sampler, inspector) = start_with(settings, || None, deliver, alone).unwrap();
        (sampler, inspector, deliveries)
    }

    fn next_of(deliveries: &mpsc::Receiver<Delivery>, pid: Pid) -> Arc<Snapshot> {
        let deadline = Instant::now() + WAIT;
        loop {
            match deliveries.recv_deadline_or_panic(deadline) {
                Delivery::Snapshot(snapshot) if snapshot.process.pid == pid => return snapshot,
                _ => {}
            }
        }
    }

    trait ByDeadline<T> {
        fn recv_deadline_or_panic(&self, deadline: Instant) -> T;
    }

    impl<T> ByDeadline<T> for mpsc::Receiver<T> {
        fn recv_deadline_or_panic(&self, deadline: Instant) -> T {
            self.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .expect("a delivery in time")
        }
    }

    /// A child that is ended with its guard.
    struct Program(Child);

    impl Program {
        fn start() -> Program {
            Program(Command::new("sleep").arg("60").spawn().unwrap())
        }
        fn pid(&self) -> Pid {
            Pid(self.0.id())
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn own() -> Pid {
        Pid(std::process::id())
    }

    #[test]
    fn we_are_always_watched_and_each_snapshot_is_newer() {
        let (sampler, inspector, deliveries) = run(fast());
        let first = next_of(&deliveries, own());
        let second = next_of(&deliveries, own());
        assert_eq!(first.role, Role::Daemon);
        assert_eq!(first.interval, Err(Unknown::SeenOnce));
        assert!(second.sequence > first.sequence && second.taken_at > first.taken_at);
        assert_eq!(second.interval, Ok(second.taken_at.saturating_sub(first.taken_at)));
        assert!(second.cost.cpu.0 > 0 && second.cost.wall.0 > 0);
        let cost = inspector.cost();
        assert!(cost.snapshots >= 2 && cost.cpu.0 > 0 && cost.watched == 1, "{cost:?}");
        sampler.stop();
    }

    #[test]
    fn passes_begin_on_the_lines_of_the_grid() {
        let (_sampler, _inspector, deliveries) = run(fast());
        // The first is read at once, wherever the grid is.
        next_of(&deliveries, own());
        let second = next_of(&deliveries, own());
        let line = second.taken_at.0 - second.cost.lateness.0;
        assert_eq!(line % 100_000_000, 0);
    }

    #[test]
    fn the_lease_asked_for_longest_ago_gives_way() {
        let key = |number: u32| ProcessKey {
            pid: Pid(number),
            start: crate::model::Ticks(1),
        };
        let most = MOST_WATCHED as u32;
        let mut state = State {
            stop: false,
            stopped: false,
            watched: (0..most)
                .map(|number| (key(number), Watched::asked(Nanos(u64::from(number)))))
                .collect(),
            cost: SamplerCost::default(),
            next_guard: 0,
        };
        state.watched.get_mut(&key(0)).unwrap().standing = true;
        state.watched.get_mut(&key(1)).unwrap().guards.insert(0, WAIT);
        state.make_room();
        assert_eq!(state.watched.len(), MOST_WATCHED - 1);
        assert!(!state.watched.contains_key(&key(2)));
        // With nothing but guards and standing watches there is nobody to send away.
        for watched in state.watched.values_mut() {
            watched.standing = true;
        }
        state.watched.insert(key(2), Watched::asked(Nanos(0)));
        state.watched.get_mut(&key(2)).unwrap().standing = true;
        state.make_room();
        assert_eq!(state.watched.len(), MOST_WATCHED);
    }

    #[test]
    fn who_was_not_read_yet_is_not_let_go() {
        let mut watched = Watched::asked(Nanos(0));
        let late = nanos(WAIT * 10);
        assert!(!watched.is_over(late, WAIT));
        watched.outcome = Some(Err(Failed::Denied));
        assert!(watched.is_over(late, WAIT));
        assert!(!watched.is_over(Nanos(1), WAIT));
    }

    #[test]
    fn lines_lie_at_whole_multiples_and_after_now() {
        let second = Duration::from_secs(1);
        assert_eq!(line_after(Nanos(0), second), Nanos(1_000_000_000));
        assert_eq!(line_after(Nanos(1_000_000_000), second), Nanos(2_000_000_000));
        assert_eq!(line_after(Nanos(7_999_999_999), second), Nanos(8_000_000_000));
    }

    #[test]
    fn a_stranger_is_read_at_once_and_stays_watched_for_its_lease() {
        let settings = Settings {
            lease: Duration::from_millis(1),
            ..fast()
        };
        let (_sampler, inspector, deliveries) = run(settings);
        let program = Program::start();
        let snapshot = inspector.snapshot(program.pid()).unwrap();
        assert_eq!((snapshot.role, snapshot.process.pid), (Role::Other, program.pid()));
        next_of(&deliveries, program.pid());
        next_of(&deliveries, program.pid());
        let deadline = Instant::now() + WAIT;
        while inspector.cost().watched > 1 {
            assert!(Instant::now() < deadline, "the lease did not end");
            thread::yield_now();
        }
    }

    #[test]
    fn a_guard_keeps_a_process_watched_and_a_shorter_interval_wins() {
        let settings = Settings {
            interval: Duration::from_secs(3600),
            lease: Duration::from_millis(1),
            ..Settings::default()
        };
        let (_sampler, inspector, deliveries) = run(settings);
        let program = Program::start();
        let guard = inspector.watch(program.pid(), Duration::from_millis(1)).unwrap();
        assert_eq!(guard.process().pid, program.pid());
        // With an interval of an hour these come by the guard alone.
        for _ in 0..3 {
            next_of(&deliveries, program.pid());
        }
        drop(guard);
    }

    #[test]
    fn the_next_snapshot_can_be_waited_for() {
        let (_sampler, inspector, _deliveries) = run(fast());
        let first = inspector.snapshot(own()).unwrap();
        let second = inspector.snapshot_after(own(), first.taken_at).unwrap();
        assert!(second.taken_at > first.taken_at && second.interval.is_ok());
    }

    #[test]
    fn the_end_of_a_watched_process_is_delivered_and_told() {
        let (_sampler, inspector, deliveries) = run(fast());
        let program = Program::start();
        let key = inspector.snapshot(program.pid()).unwrap().process;
        drop(program);
        let deadline = Instant::now() + WAIT;
        loop {
            match deliveries.recv_deadline_or_panic(deadline) {
                Delivery::Gone(gone) => break assert_eq!(gone, key),
                Delivery::Snapshot(_) | Delivery::Finding(_) => {}
            }
        }
        let outcome = inspector.snapshot(key.pid);
        assert!(matches!(outcome, Err(InspectError::NoProcess(pid)) if pid == key.pid));
    }

    #[test]
    fn a_number_that_is_no_process_is_told_at_once() {
        let (_sampler, inspector, _deliveries) = run(fast());
        for number in [0, u32::MAX] {
            let outcome = inspector.snapshot(Pid(number));
            assert!(matches!(outcome, Err(InspectError::NoProcess(_))), "{number}");
            assert!(matches!(
                inspector.watch(Pid(number), WAIT),
                Err(InspectError::NoProcess(_))
            ));
        }
        let (say, hear) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            say.send(rustix::thread::gettid().as_raw_nonzero().get() as u32)
                .unwrap();
            let _ = wait.recv();
        });
        let tid = hear.recv().unwrap();
        // It is a thread of ours: `/proc/TID` can be opened, but there is no such process.
        assert!(matches!(inspector.snapshot(Pid(tid)), Err(InspectError::NoProcess(_))));
        let (snapshot, thread) = inspector.thread(own(), Tid(tid)).unwrap();
        assert_eq!((thread.tid(), snapshot.process.pid), (Tid(tid), own()));
        drop(release);
        other.join().unwrap();
        assert!(matches!(
            inspector.thread(own(), Tid(tid)),
            Err(InspectError::NoThread { .. })
        ));
    }

    #[test]
    fn who_asks_after_the_end_is_told_that_it_has_ended() {
        let (sampler, inspector, _deliveries) = run(fast());
        sampler.stop();
        assert!(matches!(inspector.snapshot(own()), Err(InspectError::Stopped)));
        assert!(matches!(inspector.watch(own(), WAIT), Err(InspectError::Stopped)));
    }

    #[test]
    fn a_receiver_that_panics_leaves_nobody_waiting() {
        let deliver = |_| panic!("a receiver's bug, made by a test");
        let (_sampler, inspector) = start_with(fast(), || None, deliver, alone).unwrap();
        let deadline = Instant::now() + WAIT;
        let outcome = loop {
            match inspector.snapshot_after(own(), clock::monotonic()) {
                Ok(_) => assert!(Instant::now() < deadline),
                Err(error) => break error,
            }
        };
        assert!(matches!(outcome, InspectError::Stopped), "{outcome}");
    }

    #[test]
    fn processes_named_in_the_config_are_watched_without_being_asked_for() {
        let program = Program::start();
        let by_name = Command::new("sleep").arg("61").spawn().map(Program).unwrap();
        let settings = Settings {
            watch: vec![program.pid().to_string(), "sleep".to_owned()],
            ..fast()
        };
        let (_sampler, _inspector, deliveries) = run(settings);
        for pid in [program.pid(), by_name.pid()] {
            next_of(&deliveries, pid);
        }
    }

    #[test]
    fn the_workbench_is_found_when_it_starts_and_has_its_role() {
        let program = Program::start();
        let pid = program.pid();
        let (send, deliveries) = mpsc::channel();
        let deliver = move |delivery| {
            let _ = send.send(delivery);
        };
        let born = Arc::new(Mutex::new(None));
        let workbench = {
            let born = Arc::clone(&born);
            move || *born.lock()
        };
        let (_sampler, _inspector) = start_with(fast(), workbench, deliver, alone).unwrap();
        next_of(&deliveries, own());
        *born.lock() = Some(pid);
        assert_eq!(next_of(&deliveries, pid).role, Role::Workbench);
    }

    #[test]
    fn a_captured_tree_can_be_asked_like_a_live_one() {
        let root = ProcRoot::captured(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/threads"));
        let settings = Settings { procfs: root, ..fast() };
        let (_sampler, inspector, _deliveries) = run(settings);
        let snapshot = inspector.snapshot(Pid(4321)).unwrap();
        assert_eq!((&*snapshot.name, snapshot.threads.len()), ("app (main)", 3));
        assert_eq!(inspector.named("app (main)"), [Pid(4321)]);
        let census = inspector.census();
        assert_eq!(census.processes.len(), 2);
        assert_eq!(&*census.machine.hostname, "captured");
        assert_eq!(census.machine.cpus, 2);
        let app = census
            .processes
            .iter()
            .find(|process| process.pid() == Pid(4321))
            .unwrap();
        assert_eq!((app.user.as_deref(), app.threads), (Ok("1000"), Ok(3)));
        assert_eq!(app.exe, Err(Unknown::NotCaptured));
        assert_eq!(app.cpu_ratio, Err(Unknown::SeenOnce));
    }

    #[test]
    fn a_folder_that_is_no_proc_is_refused() {
        let empty = tempfile::tempdir().unwrap();
        for path in [empty.path().to_owned(), empty.path().join("missing")] {
            let settings = Settings {
                procfs: ProcRoot::captured(path),
                ..fast()
            };
            assert!(start_with(settings, || None, |_| {}, alone).is_err());
        }
    }

    #[test]
    fn the_list_of_processes_holds_us_and_the_kernels_own_numbers() {
        let (_sampler, inspector, _deliveries) = run(fast());
        let first = inspector.fresh_census();
        let us = first.processes.iter().find(|process| process.pid() == own()).unwrap();
        let theirs = procfs::process::Process::myself().unwrap().stat().unwrap();
        assert_eq!(us.key.start.0, theirs.starttime);
        assert_eq!(us.key, inspector.resolve(own()).unwrap());
        assert_eq!((us.role, us.parent), (Role::Daemon, Pid(theirs.ppid as u32)));
        assert_eq!(us.cpu_ratio, Err(Unknown::SeenOnce));
        assert!(us.threads.unwrap() >= 2 && us.rss_bytes.unwrap() > 100_000);
        let exe = std::fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(us.exe.as_deref(), Ok(&*exe.to_string_lossy()));
        assert!(first.machine.memory_bytes.is_ok_and(|bytes| bytes > 1 << 20) && first.machine.cpus > 0);

        let deadline = Instant::now() + WAIT;
        loop {
            let census = inspector.fresh_census();
            assert!(census.taken_at >= first.taken_at);
            let us = census.processes.iter().find(|process| process.pid() == own()).unwrap();
            if us.cpu_ratio.is_ok() && census.machine.cpu_ratio.is_ok() {
                break;
            }
            assert!(Instant::now() < deadline, "no rate after two lists");
        }
        // Within the interval it is the same list.
        assert!(Arc::ptr_eq(&inspector.census(), &inspector.census()));
    }
}
