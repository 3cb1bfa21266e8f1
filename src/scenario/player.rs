//! Plan to pools: plays a scenario.
//!
//! [`Player::start`] makes one thread, `ts-run`, that conducts: it makes the inputs, builds the
//! pools, starts a dispatcher for each load (`ts-load-NAME`) and the checker (`ts-verify`), gathers
//! counts every quarter second, and at the end drains, judges and writes the report.
//!
//! **Time.** A task has an intended start, drawn before the run from the plan alone. A dispatcher
//! sleeps until it on the absolute clock and hands the task over. All latencies count from the
//! intended start, so a pool that blocks its submitters cannot make its own latency look good
//! (coordinated omission). Four are kept apart: *lag* (intended start to entry into the queue),
//! *queue*, *service*, and *response*, which is their sum for each task. A dispatcher's *own*
//! lateness, without the time that a full pool made it wait, is kept too: when its p99 passes
//! `max_lateness`, the machine had no time for the generator and the run is invalid.
//!
//! **Endings.** Every task that arrived ends in exactly one way: `done`; `shed` (the queue was full
//! under `reject`); `late` (its patience was over before it began); `cancelled` (the run was
//! stopped, or the drain's deadline passed); `panicked`. What has not ended is `outstanding`.
//! A [`Flight`] counts its ending once; one that is dropped without an ending was cancelled.
//!
//! **Checking answers.** A share of the tasks, picked by a hash of the task's number, has its
//! answer sent to the checker: a thread of low priority behind a bounded queue, so that the oracle's
//! time is never in a measured time and never holds a worker up. When the queue is full the answer
//! goes unchecked, and that is counted.
//!
//! **Closed loads.** One dispatcher plays all users of a load: an ending comes back through a
//! channel, the user thinks, its next task is due. A user has at most one task under way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::{Condvar, Mutex};

use super::measure::{Counts, Fate, Recorder, Summary, Tally, Times};
use super::plan::{Executor, Load, Plan};
use super::report::{self, LoadPoint, Point, PoolPoint};
use super::schedule::{Arrivals, Curve, Dice, mix, nanos, stream_seed};
use super::verdict::{Judgement, judge};
use crate::model::{LoadProgress, Nanos, PoolStatus, QueuePolicy, RunId, RunPhase, RunStatus};
use crate::pools::{self, Done, DrainReport, Pool, Refused, Task};
use crate::workloads::{Answer, Join, Prepared, Sequential};

/// How often counts are gathered.
const TICK: Duration = Duration::from_millis(250);
/// How long a dispatcher may be deaf to stop and rate changes.
const SLICE: Nanos = Nanos(50_000_000);
/// The longest single wait in a full queue; then stop is looked at again.
const SUBMIT_SLICE: Duration = Duration::from_millis(500);
/// Answers that wait for the checker.
const CHECK_QUEUE: usize = 256;
/// How long the checker may go on after the drain.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// Points of the time series that a run keeps; an endless one keeps the newest.
const MAX_POINTS: usize = 3600;
/// How often endings and arrivals are read again when a task arrived between the two readings.
const GATHER_TRIES: usize = 4;
/// Points times loads and pools, so that a report stays within a few MiB.
const MAX_CELLS: usize = 20_000;

/// Tells what the kernel says of the worker threads of these pools, for the report.
pub type ThreadEvidence = Box<dyn FnMut(&[PoolStatus]) -> serde_json::Value + Send>;

/// A finished run.
#[derive(Clone)]
pub struct Outcome {
    pub status: RunStatus,
    /// The report document, JSON.
    pub report: Arc<str>,
}

/// A scenario being played.
pub struct Player {
    shared: Arc<Shared>,
    conductor: Option<JoinHandle<()>>,
}

struct Shared {
    control: Control,
    status: Mutex<RunStatus>,
    pools: Mutex<Vec<Arc<dyn Pool>>>,
    outcome: Mutex<Option<Outcome>>,
    ended: Condvar,
}

/// What the outside changes while it plays.
#[derive(Default)]
struct Control {
    /// The bits of an f64.
    factor: AtomicU64,
    /// When stop was asked for, on the monotonic clock; 0: not yet.
    stopped_at: AtomicU64,
    /// The longest drain that whoever stopped the run grants, in ns; 0: the plan's.
    drain_limit: AtomicU64,
    /// The drain's deadline has passed: nothing is submitted any more.
    abandon: AtomicBool,
}

// All relaxed: each is a lone flag that the dispatchers look at again within a slice; no other
// memory is published through them.
impl Control {
    fn factor(&self) -> f64 {
        f64::from_bits(self.factor.load(Ordering::Relaxed))
    }

    fn stopped_at(&self) -> Option<Nanos> {
        match self.stopped_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Nanos(at)),
        }
    }

    fn drain_limit(&self, plan: &Plan) -> Nanos {
        match self.drain_limit.load(Ordering::Relaxed) {
            0 => plan.drain_timeout,
            limit => plan.drain_timeout.min(Nanos(limit)),
        }
    }

    fn abandoned(&self) -> bool {
        self.abandon.load(Ordering::Relaxed)
    }
}

impl Player {
    /// Starts to play. `on_end` is called once, on the conductor's thread, with the finished run.
    pub fn start(
        id: RunId,
        plan: Plan,
        time_scale: f64,
        evidence: ThreadEvidence,
        on_end: impl FnOnce(&Outcome) + Send + 'static,
    ) -> std::io::Result<Player> {
        let status = RunStatus {
            loads: plan.loads.iter().map(progress_at_start).collect(),
            ..plan.preparing(id)
        };
        let shared = Arc::new(Shared {
            control: Control {
                factor: AtomicU64::new(1.0f64.to_bits()),
                ..Control::default()
            },
            status: Mutex::new(status),
            pools: Mutex::new(Vec::new()),
            outcome: Mutex::new(None),
            ended: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let conductor = std::thread::Builder::new().name("ts-run".into()).spawn(move || {
            let conduct = AssertUnwindSafe(|| conduct(&theirs, plan, time_scale, evidence));
            let outcome = match catch_unwind(conduct) {
                Ok(outcome) => outcome,
                Err(panic) => theirs.fail(format!("the player itself panicked: {}", panic_text(&*panic))),
            };
            on_end(&outcome);
            *theirs.outcome.lock() = Some(outcome);
            theirs.ended.notify_all();
        })?;
        Ok(Player {
            shared,
            conductor: Some(conductor),
        })
    }

    pub fn status(&self) -> RunStatus {
        self.shared.status.lock().clone()
    }

    pub fn pools(&self) -> Vec<PoolStatus> {
        let pools = self.shared.pools.lock().clone();
        pools.iter().map(|pool| pool.status()).collect()
    }

    /// Multiplies every load's rate (or users) from now on; 0 pauses arrivals.
    pub fn set_rate(&self, factor: f64) {
        self.shared.control.factor.store(factor.to_bits(), Ordering::Relaxed);
        self.shared.status.lock().rate_factor = factor;
    }

    /// Ends arrivals and drains, for at most `limit` when that is shorter than the plan's time for
    /// it. A second call may only shorten the limit.
    pub fn stop(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            let limit = (limit.as_nanos() as u64).max(1);
            self.shared.control.drain_limit.store(limit, Ordering::Relaxed);
        }
        let now = pools::now().0.max(1);
        let _ = self
            .shared
            .control
            .stopped_at
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The finished run, when it ends within `limit`.
    pub fn wait(&self, limit: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + limit;
        let mut outcome = self.shared.outcome.lock();
        while outcome.is_none() {
            if self.shared.ended.wait_until(&mut outcome, deadline).timed_out() {
                break;
            }
        }
        outcome.clone()
    }
}

impl Drop for Player {
    /// Stops the run; its threads end by themselves within the drain's deadline.
    fn drop(&mut self) {
        self.stop(None);
        if let Some(conductor) = self.conductor.take().filter(|conductor| conductor.is_finished()) {
            let _ = conductor.join();
        }
    }
}

impl Shared {
    fn fail(&self, message: String) -> Outcome {
        let mut status = self.status.lock();
        status.phase = RunPhase::Failed;
        status.ended_at = Some(SystemTime::now());
        status.messages.push(message.into());
        let status = status.clone();
        Outcome {
            report: report::of_failure(&status).into(),
            status,
        }
    }
}

fn progress_at_start(load: &Load) -> LoadProgress {
    LoadProgress {
        name: load.name.clone(),
        workload: load.workloads().into(),
        pool: load.pool.clone(),
        executor: load.executor.name(),
        arrived: 0,
        done: 0,
        shed: 0,
        late: 0,
        cancelled: 0,
        panicked: 0,
        outstanding: 0,
        verified: 0,
        wrong: 0,
        target: 0.0,
        throughput: 0.0,
        lag: Tally::default().spread(),
        queue: Tally::default().spread(),
        service: Tally::default().spread(),
        response: Tally::default().spread(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a message".to_owned())
}

/// One workload of a load, with its inputs made.
struct Part {
    /// As the catalogue calls it.
    name: &'static str,
    prepared: Box<dyn Prepared>,
    /// For the ledger.
    workload: u32,
    fork: bool,
    /// Upper end of its share of the hash's range.
    until: f64,
}

/// What the dispatcher, the workers, the checker and the conductor share of one load.
struct Stream {
    name: Arc<str>,
    parts: Vec<Part>,
    /// Picks a task's part, and whether its answer is checked.
    salt: u64,
    verify: f64,
    checker: Sender<Check>,
    recorder: Recorder,
    arrived: AtomicU64,
    verified: AtomicU64,
    wrong: AtomicU64,
    unchecked: AtomicU64,
    /// Answers on their way to the checker or in its hands.
    checking: AtomicU64,
    first_wrong: Mutex<Option<String>>,
    /// The dispatcher's own lateness.
    lateness: Mutex<Tally>,
    /// The bits of an f64: arrivals a second, or users, now.
    target: AtomicU64,
    /// Closed loads: where a user learns that its task has ended.
    endings: Option<Sender<(u32, Nanos)>>,
    /// The dispatcher has returned.
    finished: AtomicBool,
}

struct Check {
    stream: Arc<Stream>,
    part: usize,
    task: u64,
    answer: Answer,
}

impl Stream {
    /// Which part a task is, decided by its number alone.
    fn part_of(&self, task: u64) -> usize {
        let roll = (mix(self.salt ^ task) >> 11) as f64 / (1u64 << 53) as f64;
        self.parts
            .iter()
            .position(|part| roll < part.until)
            .unwrap_or(self.parts.len() - 1)
    }

    /// What the workloads measured of themselves. One that panics over it has no figures; its tasks
    /// are judged all the same.
    fn facts(&self) -> Vec<report::PartFacts> {
        self.parts
            .iter()
            .map(|part| {
                let facts = catch_unwind(AssertUnwindSafe(|| part.prepared.facts()));
                report::PartFacts {
                    workload: part.name,
                    facts: facts.unwrap_or_default(),
                }
            })
            .collect()
    }

    fn is_checked(&self, task: u64) -> bool {
        let roll = (mix(!self.salt ^ task.rotate_left(32)) >> 11) as f64 / (1u64 << 53) as f64;
        roll < self.verify
    }

    /// `arrived` was read after the endings were taken, so it is never behind them. Its acquire pairs
    /// with the release in `Stream::arrives` through the queue's own synchronisation.
    fn counts(&self, recorded: &Counts, arrived: u64) -> Counts {
        Counts {
            arrived,
            verified: self.verified.load(Ordering::Relaxed),
            wrong: self.wrong.load(Ordering::Relaxed),
            unchecked: self.unchecked.load(Ordering::Relaxed),
            ..*recorded
        }
    }
}

const UNDER_WAY: u8 = 0;
const BEGAN_LATE: u8 = 1;
const COUNTED: u8 = 2;

/// A task on its way. Its ending is counted once, whoever comes to know it.
struct Flight {
    stream: Arc<Stream>,
    intended: Nanos,
    user: u32,
    state: AtomicU8,
}

impl Flight {
    fn end(&self, fate: Fate, times: Option<Times>) {
        // AcqRel: whoever swaps first counts; the others see that it is counted.
        if self.state.swap(COUNTED, Ordering::AcqRel) == COUNTED {
            return;
        }
        self.stream.recorder.record(fate, times);
        if let Some(endings) = &self.stream.endings {
            let at = times.map_or_else(pools::now, |times| times.ended);
            // Never full: there is room for every user, and a user has one task under way.
            let _ = endings.try_send((self.user, at));
        }
    }

    fn ran(&self, done: Done) {
        let times = Times {
            intended: self.intended,
            enqueued: done.enqueued,
            started: done.started,
            ended: done.ended,
            heap_peak: done.heap_peak,
        };
        if done.panicked {
            self.end(Fate::Panicked, None);
        } else if self.state.load(Ordering::Relaxed) == BEGAN_LATE {
            self.end(Fate::Late, None);
        } else {
            self.end(Fate::Done, Some(times));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if *self.state.get_mut() != COUNTED {
            self.end(Fate::Cancelled, None);
        }
    }
}

/// Hands the tasks of one load to its pool.
struct Dispatcher {
    load: Load,
    stream: Arc<Stream>,
    pool: Arc<dyn Pool>,
    policy: QueuePolicy,
    shared: Arc<Shared>,
    /// On the monotonic clock.
    begins: Nanos,
    ends: Option<Nanos>,
    next_task: u64,
    /// When a generator that is never late itself would be free again.
    free_at: Nanos,
}

impl Dispatcher {
    fn run(mut self, endings: Option<&Receiver<(u32, Nanos)>>, seed: u64) {
        // The kernel may wake a sleeper 50 us late by default; a generator wants to be on time.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
        match (self.load.executor.clone(), endings) {
            (Executor::Open { spacing, rate }, _) => {
                let seed = stream_seed(seed, &["arrivals", &self.load.name]);
                self.play_open(Arrivals::new(rate.clone(), spacing, seed), &rate);
            }
            (
                Executor::Closed {
                    users,
                    think,
                    exponential,
                },
                Some(endings),
            ) => {
                let seed = stream_seed(seed, &["think", &self.load.name]);
                self.play_closed(&users, think, exponential.then(|| Dice::new(seed)), endings);
            }
            (Executor::Closed { .. }, None) => {}
        }
        self.stream.target.store(0, Ordering::Relaxed);
        self.stream.finished.store(true, Ordering::Release);
    }

    /// When arrivals end: the plan's time, or stop if that came first.
    fn end(&self) -> Option<Nanos> {
        match (self.ends, self.shared.control.stopped_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn play_open(&mut self, mut arrivals: Arrivals, curve: &Curve) {
        loop {
            let now = pools::now();
            let since = now.saturating_sub(self.begins).seconds();
            let factor = self.shared.control.factor();
            arrivals.set_factor(since, factor);
            self.set_target(if now < self.begins {
                0.0
            } else {
                curve.value(since) * factor
            });
            let due = arrivals.next();
            let at = due.map(|due| Nanos(self.begins.0.saturating_add(nanos(due).0)));
            let end = self.end();
            match (at, due) {
                // What was due before the end has arrived, even when a full pool kept us from it.
                (Some(at), Some(due)) if end.is_none_or(|end| at < end) => {
                    if at > now {
                        sleep_until(at.min(Nanos(now.0 + SLICE.0)));
                        continue;
                    }
                    arrivals.take(due);
                    self.submit(at, 0);
                }
                _ => {
                    if end.is_some_and(|end| now >= end) {
                        return;
                    }
                    let wake = Nanos(now.0 + SLICE.0);
                    sleep_until(end.map_or(wake, |end| end.min(wake)));
                }
            }
        }
    }

    fn play_closed(&mut self, curve: &Curve, think: Nanos, mut dice: Option<Dice>, endings: &Receiver<(u32, Nanos)>) {
        let users = curve.peak().ceil() as usize;
        // A user is idle (not in the load now), waits in `due`, or has a task under way.
        let mut idle = vec![true; users];
        let mut due: BinaryHeap<Reverse<(Nanos, u32)>> = BinaryHeap::new();
        loop {
            let now = pools::now();
            if self.end().is_some_and(|end| now >= end) {
                return;
            }
            let since = now.saturating_sub(self.begins).seconds();
            let wanted = (curve.value(since) * self.shared.control.factor()).round() as usize;
            let wanted = if now < self.begins { 0 } else { wanted.min(users) };
            self.set_target(wanted as f64);
            for (user, idle) in idle.iter_mut().enumerate().take(wanted).filter(|(_, idle)| **idle) {
                *idle = false;
                due.push(Reverse((now.max(self.begins), user as u32)));
            }
            if let Some(Reverse((at, user))) = due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
                due.pop();
                if (user as usize) < wanted {
                    self.submit(at, user);
                } else {
                    idle[user as usize] = true;
                }
            } else {
                let next = due.peek().map_or(u64::MAX, |Reverse((at, _))| at.0);
                let wait = next.min(now.0 + SLICE.0).saturating_sub(now.0);
                match endings.recv_timeout(Duration::from_nanos(wait)) {
                    Ok(ending) => self.think(ending, think, dice.as_mut(), &mut due),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            while let Ok(ending) = endings.try_recv() {
                self.think(ending, think, dice.as_mut(), &mut due);
            }
        }
    }

    fn think(
        &self,
        (user, ended): (u32, Nanos),
        think: Nanos,
        dice: Option<&mut Dice>,
        due: &mut BinaryHeap<Reverse<(Nanos, u32)>>,
    ) {
        let pause = match dice {
            Some(dice) => Nanos((think.0 as f64 * dice.exponential()) as u64),
            None => think,
        };
        // A user that is turned away at once and never thinks would be a busy loop.
        let least = if self.policy == QueuePolicy::Reject {
            1_000_000
        } else {
            0
        };
        due.push(Reverse((Nanos(ended.0 + pause.0.max(least)), user)));
    }

    fn set_target(&self, value: f64) {
        self.stream.target.store(value.to_bits(), Ordering::Relaxed);
    }

    fn submit(&mut self, intended: Nanos, user: u32) {
        let task = self.next_task;
        self.next_task += 1;
        // Release: see `Stream::counts`.
        self.stream.arrived.fetch_add(1, Ordering::Release);
        let flight = Arc::new(Flight {
            stream: Arc::clone(&self.stream),
            intended,
            user,
            state: AtomicU8::new(UNDER_WAY),
        });
        let give_up = self.load.patience.map(|patience| Nanos(intended.0 + patience.0));
        let begun = pools::now();
        let on_time = intended.max(self.free_at);
        self.stream.lateness.lock().add(begun.saturating_sub(on_time));
        self.free_at = on_time;
        let mut task = make_task(&flight, task, give_up);
        loop {
            if self.shared.control.abandoned() {
                return flight.end(Fate::Cancelled, None);
            }
            let wait = match (self.policy, give_up) {
                (QueuePolicy::Reject, _) => Duration::ZERO,
                (QueuePolicy::Block, None) => SUBMIT_SLICE,
                (QueuePolicy::Block, Some(give_up)) => {
                    Duration::from_nanos(give_up.saturating_sub(pools::now()).0).min(SUBMIT_SLICE)
                }
            };
            match self.pool.submit(task, wait) {
                Ok(()) => break,
                Err(Refused::Closed(_)) => return flight.end(Fate::Cancelled, None),
                Err(Refused::Full(_)) if self.policy == QueuePolicy::Reject => return flight.end(Fate::Shed, None),
                Err(Refused::Full(back)) => task = back,
            }
            if give_up.is_some_and(|give_up| pools::now() >= give_up) {
                flight.end(Fate::Late, None);
                break;
            }
        }
        if self.policy == QueuePolicy::Block {
            let after = pools::now();
            // A submit that took this long was held by a full queue: not the generator's fault.
            if after.0 - begun.0 > 200_000 {
                self.free_at = after;
            }
        }
    }
}

fn make_task(flight: &Arc<Flight>, number: u64, give_up: Option<Nanos>) -> Task {
    let part = flight.stream.part_of(number);
    let checked = flight.stream.is_checked(number);
    let (ours, theirs) = (Arc::clone(flight), Arc::clone(flight));
    Task {
        workload: flight.stream.parts[part].workload,
        id: number,
        body: Box::new(move |join: &dyn Join| {
            if give_up.is_some_and(|give_up| pools::now() > give_up) {
                // Relaxed: `then` runs on this same thread.
                ours.state.store(BEGAN_LATE, Ordering::Relaxed);
                return;
            }
            let work = &ours.stream.parts[part];
            let join: &dyn Join = if work.fork { join } else { &Sequential };
            let answer = std::hint::black_box(work.prepared.run(number, join));
            if checked {
                let check = Check {
                    stream: Arc::clone(&ours.stream),
                    part,
                    task: number,
                    answer,
                };
                ours.stream.checking.fetch_add(1, Ordering::Relaxed);
                if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = ours.stream.checker.try_send(check)
                {
                    ours.stream.unchecked.fetch_add(1, Ordering::Relaxed);
                    ours.stream.checking.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }),
        then: Some(Box::new(move |done| theirs.ran(done))),
    }
}

fn sleep_until(at: Nanos) {
    let at = rustix::time::Timespec {
        tv_sec: (at.0 / 1_000_000_000) as i64,
        tv_nsec: (at.0 % 1_000_000_000) as _,
    };
    // A signal ends the sleep early; every caller looks at the clock again.
    let _ = rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &at);
}

/// Holds answers against the oracle until the last sender is gone or `quit` is set.
fn check_answers(checks: &Receiver<Check>, quit: &AtomicBool) {
    // Below everyone: checking must not take time from what is measured. Affects this thread only.
    let _ = rustix::process::setpriority_process(None, 10);
    while let Ok(check) = checks.recv() {
        let stream = &check.stream;
        if quit.load(Ordering::Relaxed) {
            stream.unchecked.fetch_add(1, Ordering::Relaxed);
            stream.checking.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let prepared = &stream.parts[check.part].prepared;
        let verified = catch_unwind(AssertUnwindSafe(|| prepared.verify(check.task, &check.answer)));
        let wrong = match verified {
            Ok(Ok(())) => None,
            Ok(Err(mismatch)) => Some(mismatch.to_string()),
            Err(panic) => Some(format!(
                "task {}: the oracle panicked: {}",
                check.task,
                panic_text(&*panic)
            )),
        };
        stream.verified.fetch_add(1, Ordering::Relaxed);
        if let Some(message) = wrong {
            stream.wrong.fetch_add(1, Ordering::Relaxed);
            stream.first_wrong.lock().get_or_insert(message);
        }
        // Release: whoever sees no checks under way (acquire) sees what they found.
        stream.checking.fetch_sub(1, Ordering::Release);
    }
}

/// What the conductor keeps of one load between ticks.
struct Book {
    total: Summary,
    /// Since the last point of the series.
    recent: Summary,
    /// Arrivals at the time the endings were last gathered.
    arrived: u64,
    arrived_before: u64,
    throughput: f64,
}

/// The gathering end of all loads.
struct Collector {
    streams: Vec<Arc<Stream>>,
    books: Vec<Book>,
    spare: Summary,
    tick: Summary,
    last_tick: Nanos,
    last_point: Nanos,
    interval: Nanos,
    most_points: usize,
    points: VecDeque<Point>,
    dropped_points: u64,
}

impl Collector {
    fn new(streams: Vec<Arc<Stream>>, pools: usize, planned: Option<Nanos>, now: Nanos) -> Collector {
        let most_points = MAX_POINTS.min(MAX_CELLS / (streams.len() + pools).max(1)).max(60);
        let seconds = planned.map_or(1.0, |planned| (planned.seconds() / most_points as f64).max(1.0));
        // A run sped up to a fraction of a second has a series too.
        let interval = match planned {
            Some(planned) if planned.seconds() < 5.0 => Nanos((planned.0 / 10).max(100_000_000)),
            _ => Nanos::from_seconds(seconds),
        };
        Collector {
            books: streams
                .iter()
                .map(|_| Book {
                    total: Summary::default(),
                    recent: Summary::default(),
                    arrived: 0,
                    arrived_before: 0,
                    throughput: 0.0,
                })
                .collect(),
            streams,
            spare: Summary::default(),
            tick: Summary::default(),
            last_tick: now,
            last_point: now,
            interval,
            most_points,
            points: VecDeque::new(),
            dropped_points: 0,
        }
    }

    fn gather(&mut self, now: Nanos) {
        let seconds = now.saturating_sub(self.last_tick).seconds();
        for (stream, book) in self.streams.iter().zip(&mut self.books) {
            // Arrivals belong to the endings they were read with: what came in between would seem to be
            // under way beside what it followed. A few tries, for at high rates some always do.
            for _ in 0..GATHER_TRIES {
                let before = stream.arrived.load(Ordering::Acquire);
                stream.recorder.take(&mut self.tick, &mut self.spare);
                book.arrived = stream.arrived.load(Ordering::Acquire);
                if book.arrived == before {
                    break;
                }
            }
            if seconds > 0.0 {
                book.throughput = self.tick.counts.done as f64 / seconds;
            }
            book.recent.merge(&self.tick);
            self.tick.clear();
        }
        self.last_tick = now;
    }

    /// Adds a point to the series when its time has come, and moves `recent` into the totals.
    fn settle(&mut self, begun: Nanos, now: Nanos, pools: &[PoolStatus], force: bool) {
        let width = now.saturating_sub(self.last_point);
        let due = width >= self.interval || force;
        if !due {
            return;
        }
        let mut loads = Vec::with_capacity(self.books.len());
        for (stream, book) in self.streams.iter().zip(&mut self.books) {
            book.total.merge(&book.recent);
            let counts = stream.counts(&book.total.counts, book.arrived);
            loads.push(LoadPoint {
                target: f64::from_bits(stream.target.load(Ordering::Relaxed)),
                arrived: counts.arrived - book.arrived_before,
                done: book.recent.counts.done,
                shed: book.recent.counts.shed,
                late: book.recent.counts.late,
                panicked: book.recent.counts.panicked,
                outstanding: counts.outstanding(),
                response: book.recent.response.spread(),
                service: book.recent.service.spread(),
            });
            book.arrived_before = counts.arrived;
            book.recent.clear();
        }
        if self.points.len() == self.most_points {
            self.points.pop_front();
            self.dropped_points += 1;
        }
        self.points.push_back(Point {
            at: now.saturating_sub(begun),
            width,
            loads,
            pools: pools
                .iter()
                .map(|pool| PoolPoint {
                    active: pool.active,
                    queue_depth: pool.queue_depth,
                })
                .collect(),
        });
        self.last_point = now;
    }

    fn progress(&self, into: &mut [LoadProgress]) {
        for ((stream, book), progress) in self.streams.iter().zip(&self.books).zip(into) {
            let mut all = book.total.clone();
            all.merge(&book.recent);
            let counts = stream.counts(&all.counts, book.arrived);
            progress.arrived = counts.arrived;
            progress.done = counts.done;
            progress.shed = counts.shed;
            progress.late = counts.late;
            progress.cancelled = counts.cancelled;
            progress.panicked = counts.panicked;
            progress.outstanding = counts.outstanding();
            progress.verified = counts.verified;
            progress.wrong = counts.wrong;
            progress.target = f64::from_bits(stream.target.load(Ordering::Relaxed));
            progress.throughput = book.throughput;
            progress.lag = all.lag.spread();
            progress.queue = all.queue.spread();
            progress.service = all.service.spread();
            progress.response = all.response.spread();
        }
    }

    fn outstanding(&self) -> u64 {
        let counts = self.streams.iter().zip(&self.books).map(|(stream, book)| {
            let mut recorded = book.total.counts;
            recorded.add(&book.recent.counts);
            // All that has arrived by now: the last of a load must not be missed when it is drained.
            let arrived = stream.arrived.load(Ordering::Acquire);
            stream.counts(&recorded, arrived).outstanding()
        });
        counts.sum()
    }
}

/// Everything from the first input to the report.
fn conduct(shared: &Arc<Shared>, plan: Plan, time_scale: f64, mut evidence: ThreadEvidence) -> Outcome {
    let (checker, checks) = bounded(CHECK_QUEUE);
    let prepare_from = pools::now();
    let mut streams = Vec::new();
    let mut endings = Vec::new();
    for load in &plan.loads {
        let workers = plan
            .pools
            .iter()
            .find(|pool| pool.name == load.pool)
            .map_or(1, |pool| pool.workers);
        let (sender, receiver) = match &load.executor {
            Executor::Open { .. } => (None, None),
            Executor::Closed { users, .. } => {
                let (sender, receiver) = bounded(users.peak().ceil() as usize + 1);
                (Some(sender), Some(receiver))
            }
        };
        endings.push(receiver);
        match prepare(load, &plan, shared, workers, sender, checker.clone()) {
            Ok(stream) => streams.push(Arc::new(stream)),
            Err(Some(message)) => return shared.fail(message),
            Err(None) => {
                let mut status = shared.status.lock();
                status.phase = RunPhase::Stopped;
                status.ended_at = Some(SystemTime::now());
                status.messages.push("stopped while its inputs were being made".into());
                let status = status.clone();
                return Outcome {
                    report: report::of_failure(&status).into(),
                    status,
                };
            }
        }
    }
    drop(checker);
    let mut pools_built = Vec::new();
    for spec in &plan.pools {
        match pools::build(spec.clone()) {
            Ok(pool) => pools_built.push(pool),
            Err(error) => {
                let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
                for pool in &pools_built {
                    pool.drain(Duration::from_secs(1));
                }
                return shared.fail(format!("{error}{cause}"));
            }
        }
    }
    shared.pools.lock().clone_from(&pools_built);

    let quit_checking = Arc::new(AtomicBool::new(false));
    let quit = Arc::clone(&quit_checking);
    let checker = std::thread::Builder::new()
        .name("ts-verify".into())
        .spawn(move || check_answers(&checks, &quit));
    let begun = pools::now();
    let mut dispatchers = Vec::new();
    let mut start_failure = checker.as_ref().err().map(ToString::to_string);
    for ((load, stream), endings) in plan.loads.iter().zip(&streams).zip(endings) {
        let index = plan.pools.iter().position(|pool| pool.name == load.pool).unwrap_or(0);
        let dispatcher = Dispatcher {
            load: load.clone(),
            stream: Arc::clone(stream),
            pool: Arc::clone(&pools_built[index]),
            policy: plan.pools[index].policy,
            shared: Arc::clone(shared),
            begins: Nanos(begun.0 + load.start.0),
            ends: load
                .span(plan.duration)
                .map(|span| Nanos(begun.0 + load.start.0 + span.0)),
            next_task: 0,
            free_at: Nanos(0),
        };
        let seed = plan.seed;
        let name: String = format!("ts-load-{}", load.name).chars().take(15).collect();
        let spawned = std::thread::Builder::new()
            .name(name)
            .spawn(move || dispatcher.run(endings.as_ref(), seed));
        match spawned {
            Ok(thread) => dispatchers.push(thread),
            Err(error) => {
                stream.finished.store(true, Ordering::Release);
                start_failure.get_or_insert(error.to_string());
            }
        }
    }
    if let Some(error) = &start_failure {
        // What has started is wound up as if stop had been asked for.
        let message = format!("could not start a thread of the load generator: {error}");
        shared.status.lock().messages.push(message.into());
        shared.control.stopped_at.store(begun.0, Ordering::Relaxed);
    }
    {
        let mut status = shared.status.lock();
        status.phase = RunPhase::Running;
    }

    // While it plays.
    let mut collector = Collector::new(streams.clone(), plan.pools.len(), plan.duration, begun);
    let mut draining_since: Option<Nanos> = None;
    let planned_end = plan.duration.map(|duration| Nanos(begun.0 + duration.0));
    loop {
        let now = pools::now();
        let end = match (planned_end, shared.control.stopped_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if draining_since.is_none() && end.is_some_and(|end| now >= end) {
            draining_since = Some(now);
            shared.status.lock().phase = RunPhase::Draining;
        }
        let drain_until = draining_since.map(|since| Nanos(since.0 + shared.control.drain_limit(&plan).0));
        collector.gather(now);
        let pools_now: Vec<PoolStatus> = pools_built.iter().map(|pool| pool.status()).collect();
        collector.settle(begun, now, &pools_now, false);
        {
            let mut status = shared.status.lock();
            status.elapsed = now.saturating_sub(begun);
            collector.progress(&mut status.loads);
        }
        let generated = streams.iter().all(|stream| stream.finished.load(Ordering::Acquire));
        match drain_until {
            Some(_) if generated && collector.outstanding() == 0 => break,
            Some(until) if now >= until => break,
            Some(_) => std::thread::sleep(Duration::from_millis(10)),
            None => {
                let tick = (TICK.as_nanos() as u64).min(collector.interval.0);
                let wake = Nanos(now.0 + tick);
                // In steps, so that stop is noticed soon.
                let wake = end.map_or(wake, |end| end.min(wake));
                while pools::now() < wake && shared.control.stopped_at().is_none() {
                    sleep_until(wake.min(Nanos(pools::now().0 + SLICE.0)));
                }
            }
        }
    }

    // The workers still live, so the kernel can be asked about them; then they are let go.
    let load_ended = pools::now();
    let last_pools: Vec<PoolStatus> = pools_built.iter().map(|pool| pool.status()).collect();
    let threads = evidence(&last_pools);
    shared.control.abandon.store(true, Ordering::Relaxed);
    let deadline = draining_since.map_or(load_ended, |since| Nanos(since.0 + shared.control.drain_limit(&plan).0));
    let drained: Vec<DrainReport> = pools_built
        .iter()
        .map(|pool| {
            // A floor, so that idle workers can say goodbye even at the deadline.
            let left = deadline.saturating_sub(pools::now()).0.max(250_000_000);
            pool.drain(Duration::from_nanos(left))
        })
        .collect();
    let join_until = Instant::now() + 2 * SUBMIT_SLICE;
    while dispatchers.iter().any(|thread| !thread.is_finished()) && Instant::now() < join_until {
        std::thread::sleep(Duration::from_millis(5));
    }
    dispatchers
        .into_iter()
        .filter(|thread| thread.is_finished())
        .for_each(|thread| drop(thread.join()));
    shared.pools.lock().clear();
    finish_checks(checker.ok(), &streams, &quit_checking);

    let now = pools::now();
    collector.gather(now);
    collector.settle(begun, now, &last_pools, true);
    let left = collector.outstanding() + drained.iter().map(|report| report.abandoned).sum::<u64>();

    let (loads, total, lateness) = summaries(&plan, &collector, begun, load_ended);
    let (verdict, mut messages, judged) = judge(&Judgement {
        thresholds: &plan.thresholds,
        loads: &loads,
        total: &total,
        lateness: &lateness,
        max_lateness: plan.max_lateness,
        left,
    });
    for stream in &streams {
        if let Some(message) = stream.first_wrong.lock().as_ref() {
            messages.push(format!("first wrong answer of load {}: {message}", stream.name));
        }
    }
    let stopped = shared.control.stopped_at().is_some();
    let status = {
        let mut status = shared.status.lock();
        status.phase = match (&start_failure, stopped) {
            (Some(_), _) => RunPhase::Failed,
            (None, true) => RunPhase::Stopped,
            (None, false) => RunPhase::Finished,
        };
        status.ended_at = Some(SystemTime::now());
        status.elapsed = load_ended.saturating_sub(begun);
        collector.progress(&mut status.loads);
        for (progress, (_, summary)) in status.loads.iter_mut().zip(&loads) {
            // Of a finished run the mean says more than the last quarter second.
            progress.throughput = if summary.seconds > 0.0 {
                summary.counts.done as f64 / summary.seconds
            } else {
                0.0
            };
        }
        // A run with an end that was stopped before it was never asked the whole question.
        let judged = start_failure.is_none() && (!stopped || plan.duration.is_none());
        status.verdict = judged.then(|| verdict.name().into());
        if judged {
            status.messages.extend(messages.into_iter().map(Arc::from));
        } else if start_failure.is_none() {
            status
                .messages
                .push("stopped before its end, so it has no verdict".into());
        }
        status.clone()
    };
    let facts: Vec<_> = streams.iter().map(|stream| stream.facts()).collect();
    let document = report::document(&report::Material {
        status: &status,
        plan: &plan,
        time_scale,
        prepared_in: begun.saturating_sub(prepare_from),
        loads: &loads,
        facts: &facts,
        lateness: &lateness,
        judged: &judged,
        pools: &last_pools,
        drained: &drained,
        left,
        points: collector.points.make_contiguous(),
        dropped_points: collector.dropped_points,
        threads,
    });
    Outcome {
        status,
        report: document.into(),
    }
}

/// Makes the inputs of one load. `Err(None)`: stop was asked for meanwhile.
fn prepare(
    load: &Load,
    plan: &Plan,
    shared: &Shared,
    workers: usize,
    endings: Option<Sender<(u32, Nanos)>>,
    checker: Sender<Check>,
) -> Result<Stream, Option<String>> {
    let whole: f64 = load.mix.iter().map(|part| part.weight).sum();
    let mut until = 0.0;
    let mut parts = Vec::new();
    for (index, part) in load.mix.iter().enumerate() {
        if shared.control.stopped_at().is_some() {
            return Err(None);
        }
        let name = part.workload.about().name;
        let seed = stream_seed(plan.seed, &["input", &load.name, name, &index.to_string()]);
        let made = catch_unwind(AssertUnwindSafe(|| part.workload.prepare(&part.params, seed)));
        let prepared = match made {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(bad)) => return Err(Some(format!("load {}, workload {name}: {bad}", load.name))),
            Err(panic) => {
                return Err(Some(format!(
                    "load {}, workload {name}: making the inputs panicked: {}",
                    load.name,
                    panic_text(&*panic)
                )));
            }
        };
        until += part.weight / whole;
        parts.push(Part {
            name,
            prepared,
            workload: pools::workload_id(name),
            fork: part.fork,
            until,
        });
    }
    Ok(Stream {
        name: load.name.clone(),
        parts,
        salt: stream_seed(plan.seed, &["mix", &load.name]),
        verify: plan.verify,
        checker,
        recorder: Recorder::new(workers + 1),
        arrived: AtomicU64::new(0),
        verified: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
        unchecked: AtomicU64::new(0),
        checking: AtomicU64::new(0),
        first_wrong: Mutex::new(None),
        lateness: Mutex::default(),
        target: AtomicU64::new(0),
        endings,
        finished: AtomicBool::new(false),
    })
}

/// Gives the checker its time for what still waits, then tells it to leave the rest.
fn finish_checks(checker: Option<JoinHandle<()>>, streams: &[Arc<Stream>], quit: &AtomicBool) {
    let Some(checker) = checker else { return };
    // It ends by itself once the streams, which hold the senders, are gone.
    let until = Instant::now() + CHECK_LIMIT;
    let busy = || streams.iter().any(|stream| stream.checking.load(Ordering::Acquire) > 0);
    while busy() && !checker.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    quit.store(true, Ordering::Relaxed);
}

type Named<T> = Vec<(Arc<str>, T)>;

fn summaries(
    plan: &Plan,
    collector: &Collector,
    begun: Nanos,
    ended: Nanos,
) -> (Named<Summary>, Summary, Named<Nanos>) {
    let ran = ended.saturating_sub(begun);
    let mut total = Summary::default();
    let mut loads = Vec::new();
    let mut lateness = Vec::new();
    for ((stream, book), load) in collector.streams.iter().zip(&collector.books).zip(&plan.loads) {
        let mut summary = book.total.clone();
        summary.counts = stream.counts(&summary.counts, book.arrived);
        // The time it was on: the plan's, or less when the run was stopped.
        let on = load
            .span(plan.duration)
            .unwrap_or(ran)
            .min(ran.saturating_sub(load.start));
        summary.seconds = on.seconds();
        total.merge(&summary);
        loads.push((stream.name.clone(), summary));
        lateness.push((stream.name.clone(), stream.lateness.lock().quantile(0.99)));
    }
    total.seconds = plan.duration.unwrap_or(ran).min(ran).seconds();
    (loads, total, lateness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn play(text: &str) -> Player {
        let plan = Plan::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        Player::start(
            RunId("test".into()),
            plan,
            1.0,
            Box::new(|_| Value::Array(Vec::new())),
            |_| (),
        )
        .unwrap()
    }

    fn finish(player: &Player) -> (RunStatus, Value) {
        let outcome = player.wait(Duration::from_secs(60)).expect("the run ends");
        (outcome.status, serde_json::from_str(&outcome.report).unwrap())
    }

    fn scenario(duration: &str, pool: &str, load: &str) -> String {
        format!(
            "version = 1\n[run]\nname = \"t\"\nduration = \"{duration}\"\nmax_lateness = \"60s\"\nverify = \"100%\"\n\
             [pools.main]\nkind = \"stealing\"\nworkers = 2\n{pool}\n[[load]]\nname = \"a\"\npool = \"main\"\n{load}\n"
        )
    }

    const SMALL: &str = "mix = [{ workload = \"maximum_gap\", params = { elements = 200 } }]";
    /// Some ten milliseconds a task, also where the machine is quick.
    const SLOW: &str = "mix = [{ workload = \"maximum_gap\", params = { elements = 3000000, inputs = 1 } }]";

    fn keeps_identity(load: &LoadProgress) {
        assert_eq!(
            load.arrived,
            load.done + load.shed + load.late + load.cancelled + load.panicked + load.outstanding,
            "{load:?}"
        );
    }

    #[test]
    fn an_open_run_plays_exactly_what_its_seed_says() {
        let text = scenario("500ms", "", &format!("executor = \"open\"\nrate = \"400/s\"\n{SMALL}"));
        let runs = [finish(&play(&text)), finish(&play(&text))];
        for (status, report) in &runs {
            let load = &status.loads[0];
            keeps_identity(load);
            assert_eq!((status.phase, load.outstanding), (RunPhase::Finished, 0));
            assert_eq!(load.done, load.arrived);
            assert_eq!(
                load.verified + report["loads"][0]["counts"]["unchecked"].as_u64().unwrap(),
                load.done
            );
            assert_eq!(load.wrong, 0);
            assert_eq!(status.verdict.as_deref(), Some("pass"), "{:?}", status.messages);
        }
        assert_eq!(runs[0].0.loads[0].arrived, runs[1].0.loads[0].arrived);
    }

    #[test]
    fn a_full_queue_sheds_under_reject_and_nothing_is_lost() {
        let load = format!("executor = \"open\"\narrivals = \"even\"\nrate = \"2000/s\"\n{SLOW}");
        let (status, _) = finish(&play(&scenario("500ms", "queue = 2\npolicy = \"reject\"", &load)));
        let load = &status.loads[0];
        keeps_identity(load);
        assert_eq!(load.arrived, 1000);
        assert!(load.shed > 100 && load.done > 0, "{load:?}");
    }

    #[test]
    fn a_pool_that_blocks_its_submitter_hides_no_latency() {
        // Far more than two workers can do: were latency counted from the submit, it would be that of
        // a queue of two; from the intended start it grows to about the whole run.
        let load = format!("executor = \"open\"\narrivals = \"even\"\nrate = \"2000/s\"\n{SLOW}");
        let text = scenario("400ms", "queue = 2", &load).replace("[pools", "drain_timeout = \"200ms\"\n[pools");
        let (status, report) = finish(&play(&text));
        let load = &status.loads[0];
        keeps_identity(load);
        // What the drain's deadline cut off has arrived all the same.
        assert_eq!(load.arrived, 800);
        assert!(load.cancelled > 0, "{load:?}");
        assert!(load.response.max > Nanos(100_000_000), "{load:?}");
        assert!(load.lag.max > load.queue.max, "{load:?}");
        assert_eq!(report["loads"][0]["counts"]["arrived"], 800);
        let late = report["loads"][0]["generator_lateness_p99_seconds"].as_f64().unwrap();
        assert!(
            late < load.lag.p99.seconds(),
            "waiting for the pool is not the generator's lateness: {late}"
        );
    }

    #[test]
    fn without_patience_left_a_task_is_late_and_not_run() {
        let load = format!("executor = \"open\"\narrivals = \"even\"\nrate = \"1000/s\"\npatience = \"20ms\"\n{SLOW}");
        let (status, _) = finish(&play(&scenario("400ms", "", &load)));
        let load = &status.loads[0];
        keeps_identity(load);
        assert!(load.late > 0 && load.done > 0, "{load:?}");
        // What was run had begun in time.
        assert!(load.queue.max < Nanos(40_000_000), "{load:?}");
    }

    #[test]
    fn closed_users_have_one_task_each_under_way() {
        let load = format!("executor = \"closed\"\nusers = 3\nthink_time = \"1ms\"\n{SMALL}");
        let player = play(&scenario("400ms", "", &load));
        let deadline = Instant::now() + Duration::from_secs(60);
        while player.wait(Duration::from_millis(20)).is_none() && Instant::now() < deadline {
            assert!(player.status().loads[0].outstanding <= 3);
        }
        let (status, _) = finish(&player);
        keeps_identity(&status.loads[0]);
        assert!(status.loads[0].done > 3, "{:?}", status.loads[0]);
    }

    #[test]
    fn pause_stops_arrivals_and_stop_ends_an_endless_run() {
        let load = format!("executor = \"open\"\nrate = \"500/s\"\n{SMALL}");
        let player = play(&scenario("endless", "", &load));
        let deadline = Instant::now() + Duration::from_secs(30);
        while player.status().loads[0].done == 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        player.set_rate(0.0);
        // Paused once nothing is under way and two looks, a gathering apart, are the same.
        let mut before = u64::MAX;
        while Instant::now() < deadline {
            let now = player.status();
            assert_eq!(now.rate_factor, 0.0);
            if now.loads[0].arrived == before && now.loads[0].target == 0.0 {
                break;
            }
            before = now.loads[0].arrived;
            let _ = player.wait(2 * TICK);
        }
        assert!(Instant::now() < deadline, "it goes on after the pause");
        player.stop(None);
        let (status, _) = finish(&player);
        keeps_identity(&status.loads[0]);
        assert_eq!((status.phase, status.loads[0].outstanding), (RunPhase::Stopped, 0));
        // The natural end of an endless run is a stop, so it is judged.
        assert_eq!(status.verdict.as_deref(), Some("pass"));
    }

    #[test]
    fn a_run_stopped_before_its_end_has_no_verdict() {
        let player = play(&scenario(
            "1h",
            "",
            &format!("executor = \"open\"\nrate = \"50/s\"\n{SMALL}"),
        ));
        player.stop(Some(Duration::from_secs(1)));
        let (status, report) = finish(&player);
        assert_eq!((status.phase, status.verdict), (RunPhase::Stopped, None));
        assert_eq!(report["verdict"], Value::Null);
    }

    #[test]
    fn a_missed_threshold_is_in_the_report() {
        let text = scenario("200ms", "", &format!("executor = \"open\"\nrate = \"200/s\"\n{SMALL}"))
            + "[[threshold]]\nrequire = \"throughput > 100000/s\"\n";
        let (status, report) = finish(&play(&text));
        assert_eq!(status.verdict.as_deref(), Some("fail"));
        assert_eq!(report["thresholds"][0]["kept"], false);
        assert!(
            status.messages[0].starts_with("missed: throughput > 100000/s"),
            "{:?}",
            status.messages
        );
    }
}
