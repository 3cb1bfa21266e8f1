//! The daemon's end of the link: starts the workbench when it is needed, and knows every run.
//!
//! Each workbench process has one thread here, `ts-bench`, which starts it, reads what it says, and
//! waits for its end. That it is the same thread matters: the workbench asks the kernel to be killed
//! when *the thread that forked it* dies, so that thread must live as long as the workbench.
//! Calls take the state's lock for moments, write to the link with a time limit, and wait for the
//! answer on a condition variable, 5 s in all at most.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::messages::{self, LinkError, MOST_TO_CHILD, MOST_TO_PARENT, ToChild, ToParent, VERSION, WireRefusal};
use super::store::{Store, is_id};
use crate::model::{Nanos, Pid, PoolStatus, RunId, RunPhase, RunStatus};
use crate::scenario::{self, Plan, RunError, Runs, ScenarioFile, StartRun, ValidationProblem};

/// The bound of every call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// A workbench says something every second; one that is silent for this long is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a workbench may take to end after its link is closed.
const GOODBYE: Duration = Duration::from_secs(2);
/// The daemon's own secret (`http` reads it).
const TOKEN_VARIABLE: &str = "THREADSCAPE_TOKEN";
const MOST_PROBLEMS: usize = 16;
const MOST_SCENARIOS: usize = 500;
const MOST_FACTOR: f64 = 1000.0;

/// Where things are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that is started as `workbench`: our own.
    pub exe: PathBuf,
    /// The folder of scenario files; need not exist.
    pub scenarios: PathBuf,
    /// Finished runs go into its `runs/`; `None`: memory only.
    pub state: Option<PathBuf>,
}

impl Settings {
    pub fn new(scenarios: &Path, state: Option<&Path>) -> Settings {
        Settings {
            // Not the path we were started by: that file may have been replaced since.
            exe: PathBuf::from("/proc/self/exe"),
            scenarios: scenarios.to_owned(),
            state: state.map(Path::to_owned),
        }
    }
}

/// News for whoever shows runs and pools.
#[derive(Clone, Debug)]
pub enum Change {
    Run(RunStatus),
    /// All pools as they are now; of which workbench.
    Pools(Vec<PoolStatus>, Option<Pid>),
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("could not use the folder of finished runs in {path}: {source}; choose another state folder")]
    State { path: PathBuf, source: std::io::Error },
}

/// The daemon's handle on the workbench. Dropping it ends the workbench without a drain.
pub struct Bench {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    on_change: Box<dyn Fn(Change) + Send + Sync>,
    state: Mutex<State>,
    /// Anything in `state` has changed that a call may wait for.
    changed: Condvar,
    store: Mutex<Store>,
    requests: AtomicU64,
}

#[derive(Default)]
struct State {
    child: ChildState,
    /// The run under way as last heard of.
    current: Option<RunStatus>,
    /// The workbench has said that it plays it; until then nobody has been told of it.
    confirmed: bool,
    pools: Vec<PoolStatus>,
    /// `None`: asked, not answered yet.
    answers: HashMap<u64, Option<Result<RunStatus, WireRefusal>>>,
    problems: VecDeque<String>,
    /// No more runs: we are going down.
    closing: bool,
}

#[derive(Default)]
enum ChildState {
    #[default]
    None,
    /// Being started.
    Starting,
    Ready(Live),
}

#[derive(Clone)]
struct Live {
    pid: Pid,
    /// The writing half; its own lock, so that a full socket does not hold the state up.
    link: Arc<Mutex<UnixStream>>,
}

impl Live {
    fn hang_up(&self) {
        // A writer that holds the lock is bounded by the socket's time-out.
        let _ = self.link.lock().shutdown(Shutdown::Both);
    }

    /// For a workbench that does not do as it is told; its thread sees the end of the link.
    fn kill(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid.0 as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        self.hang_up();
    }
}

impl Bench {
    /// Reads the finished runs. The workbench itself is started with the first run.
    pub fn new(settings: Settings, on_change: impl Fn(Change) + Send + Sync + 'static) -> Result<Bench, BenchError> {
        let (store, problems) = Store::open(settings.state.as_deref()).map_err(|source| BenchError::State {
            path: settings.state.clone().unwrap_or_default(),
            source,
        })?;
        Ok(Bench {
            inner: Arc::new(Inner {
                settings,
                on_change: Box::new(on_change),
                state: Mutex::new(State {
                    problems: problems.into(),
                    ..State::default()
                }),
                changed: Condvar::new(),
                store: Mutex::new(store),
                requests: AtomicU64::new(1),
            }),
        })
    }

    /// Starts a run, its schedule played `time_scale` times as fast.
    pub fn start_scaled(&self, what: StartRun, seed: Option<u64>, time_scale: f64) -> Result<RunStatus, RunError> {
        let deadline = Instant::now() + CALL_LIMIT;
        let inner = &self.inner;
        let text = match what {
            StartRun::Inline(text) => text,
            StartRun::Named(name) => inner.scenario_text(&name)?,
        };
        if !(time_scale.is_finite() && (0.001..=1000.0).contains(&time_scale)) {
            return Err(bad_value("time_scale", "must be from 0.001 to 1000"));
        }
        let mut plan = Plan::parse(&text).map_err(RunError::Invalid)?.scaled(time_scale);
        if let Some(seed) = seed {
            plan.seed = seed;
        }
        let id = new_id();
        {
            let mut state = inner.state.lock();
            if state.closing {
                return Err(RunError::Workbench("the daemon is shutting down".into()));
            }
            if let Some(current) = &state.current {
                return Err(RunError::Busy(current.id.0.to_string()));
            }
            // Taken before the workbench is asked, so that two starts at once do not both ask.
            state.current = Some(plan.preparing(RunId(id.as_str().into())));
            state.confirmed = false;
        }
        let answer = inner.workbench(deadline).and_then(|live| {
            let start = |request| ToChild::Start {
                request,
                run: id.clone(),
                text,
                seed,
                time_scale,
            };
            inner.ask(&live, deadline, start)
        });
        let mut state = inner.state.lock();
        match answer {
            Ok(status) => {
                // The end of a very short run may have been told already.
                if let Some(current) = state.current.as_mut().filter(|current| *current.id.0 == *id) {
                    *current = status.clone();
                    drop(state);
                    (inner.on_change)(Change::Run(status.clone()));
                }
                Ok(status)
            }
            Err(error) => {
                if state.current.as_ref().is_some_and(|current| *current.id.0 == *id) {
                    state.current = None;
                }
                inner.changed.notify_all();
                Err(error)
            }
        }
    }

    /// Ends the run under way, draining within `deadline`, then the workbench; both are gone when
    /// this returns, and no run can be started any more. The finished run is kept.
    pub fn shutdown(&self, deadline: Duration) {
        let inner = &self.inner;
        let until = Instant::now() + deadline;
        let (live, current) = {
            let mut state = inner.state.lock();
            state.closing = true;
            let live = match &state.child {
                ChildState::Ready(live) => Some(live.clone()),
                _ => None,
            };
            (live, state.current.clone())
        };
        if let (Some(live), Some(run)) = (&live, current) {
            // What comes after the drain (report, goodbye) needs its time, too.
            let limit = deadline.mul_f64(0.7);
            let request = inner.requests.fetch_add(1, Ordering::Relaxed);
            let stop = ToChild::Stop {
                request,
                run: run.id.0.to_string(),
                limit_ms: Some(limit.as_millis() as u64),
            };
            if messages::write(&mut *live.link.lock(), &stop, MOST_TO_CHILD).is_ok() {
                inner.wait(until, |state| state.current.is_none().then_some(()));
            }
        }
        inner.end_child();
    }

    /// Waits until run `id` is over or `limit` has passed; gives how it stands then.
    pub fn wait(&self, id: &str, limit: Duration) -> Result<RunStatus, RunError> {
        let over = |state: &mut State| {
            let under_way = state.current.as_ref().is_some_and(|current| *current.id.0 == *id);
            (!under_way).then_some(())
        };
        self.inner.wait(Instant::now() + limit, over);
        self.get(id)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.inner.state.lock().closing = true;
        self.inner.end_child();
    }
}

impl Runs for Bench {
    fn start(&self, what: StartRun, seed: Option<u64>) -> Result<RunStatus, RunError> {
        self.start_scaled(what, seed, 1.0)
    }

    fn list(&self) -> Vec<RunStatus> {
        let current = self.inner.state.lock().current.clone();
        let mut runs = self.inner.store.lock().list();
        // It may have ended, and been kept, between the two looks.
        if let Some(current) = current.filter(|current| runs.iter().all(|run| run.id != current.id)) {
            runs.insert(0, current);
        }
        runs
    }

    fn get(&self, id: &str) -> Result<RunStatus, RunError> {
        if let Some(current) = self.inner.state.lock().current.as_ref().filter(|run| *run.id.0 == *id) {
            return Ok(current.clone());
        }
        let kept = self.inner.store.lock().get(id);
        kept.ok_or_else(|| unknown_run(id))
    }

    fn set_rate(&self, id: &str, factor: f64) -> Result<RunStatus, RunError> {
        if !(factor.is_finite() && (0.0..=MOST_FACTOR).contains(&factor)) {
            return Err(bad_value("rate_factor", "must be from 0 (pause) to 1000"));
        }
        self.inner
            .change(id, |request, run| ToChild::SetRate { request, run, factor })
    }

    fn stop(&self, id: &str) -> Result<RunStatus, RunError> {
        self.inner.change(id, |request, run| ToChild::Stop {
            request,
            run,
            limit_ms: None,
        })
    }

    fn report(&self, id: &str) -> Result<Arc<str>, RunError> {
        if let Some(report) = self.inner.store.lock().report(id) {
            return report
                .map_err(|error| RunError::Workbench(format!("the report of run {id} cannot be read: {error}")));
        }
        if self
            .inner
            .state
            .lock()
            .current
            .as_ref()
            .is_some_and(|run| *run.id.0 == *id)
        {
            return Err(RunError::Busy(id.to_owned()));
        }
        Err(unknown_run(id))
    }

    fn pools(&self) -> Vec<PoolStatus> {
        self.inner.state.lock().pools.clone()
    }

    fn scenarios(&self) -> Vec<ScenarioFile> {
        let files = self
            .inner
            .scenario_files()
            .into_iter()
            .map(|name| match self.inner.scenario_text(&name) {
                Ok(text) => scenario_file(name, text),
                Err(error) => ScenarioFile {
                    name,
                    description: String::new(),
                    seconds: None,
                    text: String::new(),
                    problems: vec![whole_file(error.to_string())],
                },
            });
        files.collect()
    }

    fn validate(&self, text: &str) -> Vec<ValidationProblem> {
        Plan::parse(text).err().unwrap_or_default()
    }

    fn problems(&self) -> Vec<String> {
        self.inner.state.lock().problems.iter().cloned().collect()
    }

    fn workbench_pid(&self) -> Option<Pid> {
        match &self.inner.state.lock().child {
            ChildState::Ready(live) => Some(live.pid),
            _ => None,
        }
    }
}

fn unknown_run(id: &str) -> RunError {
    // What cannot be an id is not repeated at full length.
    let shown = if is_id(id) {
        id.to_owned()
    } else {
        format!("{:?}", id.chars().take(40).collect::<String>())
    };
    RunError::UnknownRun(shown)
}

fn bad_value(field: &str, message: &str) -> RunError {
    RunError::Invalid(vec![ValidationProblem {
        line: 1,
        column: 1,
        field: field.to_owned(),
        message: format!("{field} {message}"),
        suggestion: None,
    }])
}

fn whole_file(message: String) -> ValidationProblem {
    ValidationProblem {
        line: 1,
        column: 1,
        field: String::new(),
        message,
        suggestion: None,
    }
}

fn scenario_file(name: String, text: String) -> ScenarioFile {
    match Plan::parse(&text) {
        Ok(plan) => ScenarioFile {
            name,
            description: plan.description,
            seconds: plan.duration.map(Nanos::seconds),
            text,
            problems: Vec::new(),
        },
        Err(problems) => ScenarioFile {
            name,
            description: String::new(),
            seconds: None,
            text,
            problems,
        },
    }
}

/// Sorts by start: UTC to the millisecond, then four random digits.
fn new_id() -> String {
    let mut random = [0; 2];
    // Without randomness the time alone still tells runs apart: one runs at a time.
    let _ = getrandom::fill(&mut random);
    let time = scenario::rfc3339(SystemTime::now()).replace(['-', ':', '.'], "");
    format!("{time}-{:04x}", u16::from_le_bytes(random))
}

/// `signal 9`, `exit code 3`.
fn ending(status: Option<ExitStatus>) -> String {
    match status {
        None => "in an unknown way".into(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("by signal {signal}"),
            (None, Some(code)) => format!("with exit code {code}"),
            (None, None) => "in an unknown way".into(),
        },
    }
}

impl Inner {
    /// Waits until `done` gives something, at most until `deadline`.
    fn wait<T>(&self, deadline: Instant, mut done: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(found) = done(&mut state) {
                return Some(found);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return done(&mut state);
            }
        }
    }

    /// The live workbench, started if there is none.
    fn workbench(self: &Arc<Self>, deadline: Instant) -> Result<Live, RunError> {
        {
            let mut state = self.state.lock();
            if let ChildState::None = state.child {
                state.child = ChildState::Starting;
                let inner = Arc::clone(self);
                let thread = std::thread::Builder::new()
                    .name("ts-bench".into())
                    .spawn(move || inner.host());
                if let Err(error) = thread {
                    state.child = ChildState::None;
                    return Err(RunError::Workbench(format!("could not start a thread for it: {error}")));
                }
            }
        }
        let found = self.wait(deadline, |state| match &state.child {
            ChildState::Ready(live) => Some(Some(live.clone())),
            ChildState::None => Some(None),
            ChildState::Starting => None,
        });
        match found {
            Some(Some(live)) => Ok(live),
            Some(None) => {
                let reason = self.state.lock().problems.back().cloned().unwrap_or_default();
                Err(RunError::Workbench(reason))
            }
            None => Err(RunError::Workbench("it did not start within 5 s; try again".into())),
        }
    }

    /// Sends a request and waits for its answer.
    fn ask(&self, live: &Live, deadline: Instant, make: impl FnOnce(u64) -> ToChild) -> Result<RunStatus, RunError> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        self.state.lock().answers.insert(request, None);
        let written = messages::write(&mut *live.link.lock(), &make(request), MOST_TO_CHILD);
        if let Err(error) = written {
            self.state.lock().answers.remove(&request);
            if !matches!(error, LinkError::Oversize { .. }) {
                // Half a frame may be on its way: nothing after it could be understood.
                live.kill();
            }
            return Err(RunError::Workbench(error.to_string()));
        }
        let answer = self.wait(deadline, |state| match state.answers.get_mut(&request) {
            Some(None) => None,
            Some(answer) => answer.take().map(Some),
            // Taken away: the workbench has ended.
            None => Some(None),
        });
        self.state.lock().answers.remove(&request);
        match answer {
            Some(Some(Ok(status))) => Ok(status),
            Some(Some(Err(refusal))) => Err(match refusal {
                WireRefusal::Invalid(problems) => RunError::Invalid(problems.into_iter().map(Into::into).collect()),
                WireRefusal::Busy(run) => RunError::Busy(run),
                WireRefusal::UnknownRun(run) => RunError::Over(run),
                WireRefusal::Failed(message) => RunError::Workbench(message),
            }),
            Some(None) => Err(RunError::Workbench("it ended before it could answer; try again".into())),
            None => {
                // Whether it did what was asked is not known, and must be: it is ended.
                live.kill();
                Err(RunError::Workbench("it did not answer within 5 s and was ended".into()))
            }
        }
    }

    fn change(&self, id: &str, make: impl FnOnce(u64, String) -> ToChild) -> Result<RunStatus, RunError> {
        let deadline = Instant::now() + CALL_LIMIT;
        let live = {
            let state = self.state.lock();
            match (&state.current, &state.child) {
                (Some(run), ChildState::Ready(live)) if *run.id.0 == *id => live.clone(),
                (Some(run), _) if *run.id.0 == *id => {
                    return Err(RunError::Workbench("it is still being started; try again".into()));
                }
                _ => {
                    drop(state);
                    let known = self.store.lock().get(id).is_some();
                    return Err(if known {
                        RunError::Over(id.to_owned())
                    } else {
                        unknown_run(id)
                    });
                }
            }
        };
        let status = self.ask(&live, deadline, |request| make(request, id.to_owned()))?;
        let mut state = self.state.lock();
        if let Some(current) = state.current.as_mut().filter(|run| *run.id.0 == *id) {
            *current = status.clone();
            drop(state);
            (self.on_change)(Change::Run(status.clone()));
        }
        Ok(status)
    }

    /// Closes the link and waits for the workbench's end; kills it when it does not come.
    fn end_child(&self) {
        let live = |state: &mut State| match &state.child {
            ChildState::None => Some(None),
            ChildState::Ready(live) => Some(Some(live.clone())),
            ChildState::Starting => None,
        };
        let Some(Some(live)) = self.wait(Instant::now() + CALL_LIMIT, live) else {
            return;
        };
        live.hang_up();
        // Its thread kills it when it does not go by itself.
        let gone = |state: &mut State| matches!(state.child, ChildState::None).then_some(());
        self.wait(Instant::now() + GOODBYE + CALL_LIMIT, gone);
    }

    /// The life of one workbench process, on the thread that forks it.
    fn host(&self) {
        let started = self.spawn();
        let (mut child, mut link) = match started {
            Ok(started) => started,
            Err(message) => {
                self.child_is_gone(&message);
                return;
            }
        };
        let ended_by = self.listen(&mut link);
        // Whatever it was: this workbench is not spoken with any more.
        let _ = link.shutdown(Shutdown::Both);
        let patience = match ended_by {
            LinkError::Closed => GOODBYE,
            _ => Duration::ZERO,
        };
        let status = wait_or_kill(&mut child, patience);
        let mut message = format!("the workbench ended {}", ending(status));
        if !matches!(ended_by, LinkError::Closed) {
            message = format!("the workbench was ended: {ended_by}");
        }
        self.child_is_gone(&message);
    }

    fn spawn(&self) -> Result<(Child, UnixStream), String> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("could not make a socket pair: {error}"))?;
        let limits = ours
            .set_read_timeout(Some(CALL_LIMIT))
            .and_then(|()| ours.set_write_timeout(Some(Duration::from_secs(2))));
        limits.map_err(|error| format!("could not set the link's time limits: {error}"))?;
        let mut child = Command::new(&self.settings.exe)
            // What it is called in lists of processes, instead of `/proc/self/exe`.
            .arg0("threadscape")
            // It has no door, so it has no business with the key to ours.
            .env_remove(TOKEN_VARIABLE)
            .args(["workbench", "--parent", &std::process::id().to_string()])
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("could not start {}: {error}", self.settings.exe.display()))?;
        let mut link = ours;
        let greeted = greet(&mut link).and_then(|()| {
            link.set_read_timeout(Some(SILENCE)).map_err(LinkError::from)?;
            link.try_clone().map_err(LinkError::from)
        });
        match greeted {
            Ok(writer) => {
                let live = Live {
                    pid: Pid(child.id()),
                    link: Arc::new(Mutex::new(writer)),
                };
                self.state.lock().child = ChildState::Ready(live);
                self.changed.notify_all();
                Ok((child, link))
            }
            Err(error) => {
                let status = wait_or_kill(&mut child, Duration::from_millis(200));
                Err(format!(
                    "the workbench did not start ({error}); it ended {}",
                    ending(status)
                ))
            }
        }
    }

    /// Takes what the workbench says until the link is of no more use.
    fn listen(&self, link: &mut UnixStream) -> LinkError {
        loop {
            let message = match messages::read(link, MOST_TO_PARENT) {
                Ok(message) => message,
                Err(error) => return error,
            };
            match message {
                ToParent::Hello { .. } => return LinkError::Garbage("a second greeting".into()),
                ToParent::Progress { run, pools } => {
                    let run = match run.map(|run| run.into_status()) {
                        Some(None) => return LinkError::Garbage("a run in an unknown phase".into()),
                        run => run.flatten(),
                    };
                    self.progress(run, pools.into_iter().map(PoolStatus::from).collect());
                }
                ToParent::Taken { request, run, refusal } => {
                    let answer = match (run.map(|run| run.into_status()), refusal) {
                        (Some(Some(run)), None) => Ok(run),
                        (None, Some(refusal)) => Err(refusal),
                        _ => return LinkError::Garbage("an answer that is none".into()),
                    };
                    let mut state = self.state.lock();
                    if let (Ok(run), Some(current)) = (&answer, &state.current)
                        && run.id == current.id
                    {
                        state.confirmed = true;
                    }
                    if let Some(place) = state.answers.get_mut(&request) {
                        *place = Some(answer);
                    }
                    self.changed.notify_all();
                }
                ToParent::Ended { run, report } => match run.into_status() {
                    Some(run) => self.run_is_over(run, report.into()),
                    None => return LinkError::Garbage("a run in an unknown phase".into()),
                },
            }
        }
    }

    fn progress(&self, run: Option<RunStatus>, pools: Vec<PoolStatus>) {
        let mut news = Vec::new();
        {
            let mut state = self.state.lock();
            if let (Some(current), Some(run)) = (&mut state.current, run)
                && current.id == run.id
            {
                *current = run.clone();
                news.push(Change::Run(run));
            }
            // Not while idle: nothing has changed but the time.
            if !(pools.is_empty() && state.pools.is_empty()) {
                state.pools.clone_from(&pools);
                let pid = match &state.child {
                    ChildState::Ready(live) => Some(live.pid),
                    _ => None,
                };
                news.push(Change::Pools(pools, pid));
            }
        }
        for change in news {
            (self.on_change)(change);
        }
    }

    /// Keeps it first, then lets go of it: at no time is the run unknown.
    fn run_is_over(&self, run: RunStatus, report: Arc<str>) {
        let problem = self.store.lock().keep(run.clone(), report);
        {
            let mut state = self.state.lock();
            if state.current.as_ref().is_some_and(|current| current.id == run.id) {
                state.current = None;
            }
            state.pools.clear();
            if let Some(problem) = problem {
                state.tell(problem);
            }
            self.changed.notify_all();
        }
        (self.on_change)(Change::Run(run));
        (self.on_change)(Change::Pools(Vec::new(), None));
    }

    fn child_is_gone(&self, message: &str) {
        let lost = {
            let mut state = self.state.lock();
            if !state.closing {
                state.tell(format!("{message}; the next run starts a new one"));
            }
            if state.confirmed {
                state.current.clone()
            } else {
                state.current.take().and(None)
            }
        };
        if let Some(mut run) = lost {
            run.phase = RunPhase::Failed;
            run.ended_at = Some(SystemTime::now());
            run.verdict = None;
            run.messages.push(message.into());
            let report = scenario::failure_report(&run);
            self.run_is_over(run, report.into());
        }
        let mut state = self.state.lock();
        state.child = ChildState::None;
        state.pools.clear();
        // Whoever waits for an answer learns that none will come.
        state.answers.retain(|_, answer| answer.is_some());
        self.changed.notify_all();
    }

    /// The names of the folder's scenario files, sorted, without `.toml`.
    fn scenario_files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.settings.scenarios)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
            .filter(|name| !name.is_empty() && !name.starts_with('.'))
            .collect();
        names.sort();
        names.truncate(MOST_SCENARIOS);
        names
    }

    /// Only what the folder lists can be named, so a name is never a path.
    fn scenario_text(&self, name: &str) -> Result<String, RunError> {
        let names = self.scenario_files();
        if !names.iter().any(|known| known == name) {
            return Err(RunError::UnknownScenario {
                nearest: scenario::nearest(name, names.iter().map(String::as_str)),
                name: name.chars().take(100).collect(),
            });
        }
        let path = self.settings.scenarios.join(format!("{name}.toml"));
        read_scenario(&path).map_err(|message| RunError::Invalid(vec![whole_file(message)]))
    }
}

/// The text of a scenario file, bounded.
pub fn read_scenario(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let read = fs::metadata(path).and_then(|meta| {
        // A pipe could keep us waiting for ever, a device give bytes for ever.
        if !meta.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        fs::File::open(path)?
            .take(scenario::MAX_TEXT as u64 + 1)
            .read_to_end(&mut text)
    });
    match read {
        Err(error) => Err(format!("could not read {}: {error}", path.display())),
        Ok(length) if length > scenario::MAX_TEXT => Err(format!(
            "{} is longer than a scenario may be ({})",
            path.display(),
            scenario::show_size(scenario::MAX_TEXT as u64)
        )),
        Ok(_) => String::from_utf8(text).map_err(|_| format!("{} is not UTF-8 text", path.display())),
    }
}

impl State {
    fn tell(&mut self, problem: String) {
        if self.problems.len() == MOST_PROBLEMS {
            self.problems.pop_front();
        }
        self.problems.push_back(problem);
    }
}

fn greet(link: &mut UnixStream) -> Result<(), LinkError> {
    messages::write(link, &ToChild::Hello { version: VERSION }, MOST_TO_CHILD)?;
    match messages::read(link, MOST_TO_PARENT)? {
        ToParent::Hello { version: VERSION, .. } => Ok(()),
        ToParent::Hello { version, .. } => Err(LinkError::Garbage(format!("it speaks version {version} of the link"))),
        _ => Err(LinkError::Garbage("something before its greeting".into())),
    }
}

fn wait_or_kill(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                return child.wait().ok();
            }
        }
    }
}
