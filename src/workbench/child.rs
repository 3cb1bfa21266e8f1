//! The workbench process: hosts one run at a time and does what the daemon's end asks.
//!
//! Its standard input is its end of the socket pair. The main thread reads requests; `ts-link` says
//! how the run stands. It ends when the link does: closed, silent is fine, but never wrong. It asks the
//! kernel to be killed when the thread that started it dies, so no crash of the daemon leaves it
//! behind. Stop signals are ignored: Ctrl-C and service managers send them to the whole group, and
//! it is the daemon who drains us.

use std::ffi::CStr;
use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Resource, Rlimit, Signal, getppid, setrlimit};
use serde_json::{Value, json};

use super::messages::{
    self, LinkError, MOST_TO_CHILD, MOST_TO_PARENT, ToChild, ToParent, VERSION, WireRefusal, WireRun,
};
use crate::kernel::file::{self, Buffer};
use crate::kernel::{schedstat, stat, status, stop_signals};
use crate::ledger;
use crate::model::{PoolStatus, RunId, RunStatus};
use crate::scenario::{Outcome, Plan, Player, failure_report};

/// Of the main thread, and so of the process.
const NAME: &CStr = c"ts-workbench";
/// Room for every thread a plan may ask for, and our own.
const LEDGER_SLOTS: usize = 2304;
const WHILE_RUNNING: Duration = Duration::from_millis(250);
const WHILE_IDLE: Duration = Duration::from_secs(1);
/// A parent that does not read for this long is not there any more.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Why the workbench process could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("the workbench is started by `threadscape serve` and `threadscape run`; it is not a command of its own")]
    NotOurs,
    #[error("the process that started this workbench has ended")]
    Orphan,
    #[error(
        "the workbench speaks version {VERSION} of its link, the process that started it version {0}; they must be the same program"
    )]
    Version(u32),
    #[error("the link to the daemon broke: {0}")]
    Link(#[from] LinkError),
}

struct Bench {
    link: Mutex<UnixStream>,
    run: Mutex<Option<Current>>,
    changed: Condvar,
}

struct Current {
    player: Arc<Player>,
    /// Ended, and the parent has been told.
    told: bool,
}

/// Runs until the link ends. `parent` is the pid of whoever started us.
pub fn run(parent: u32) -> Result<(), ChildError> {
    // We are started through `/proc/self/exe`, so the kernel named us `exe`. Threads made later
    // have names of their own.
    let _ = rustix::thread::set_name(NAME);
    stop_signals::ignore();
    let stdin = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|_| ChildError::NotOurs)?;
    if rustix::net::sockopt::socket_type(&stdin).is_err() {
        return Err(ChildError::NotOurs);
    }
    // Asked for before the check: a parent that dies in between is seen by one or the other.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() as u32 != parent) {
        return Err(ChildError::Orphan);
    }
    limit_ourselves();
    let mut reader = UnixStream::from(stdin);
    let writer = reader.try_clone().map_err(LinkError::from)?;
    writer.set_write_timeout(Some(WRITE_LIMIT)).map_err(LinkError::from)?;
    if let Err(error) = ledger::install(LEDGER_SLOTS) {
        eprintln!("threadscape workbench: no ledger, so tasks and heap will be unknown: {error}");
    }

    let bench = Arc::new(Bench {
        link: Mutex::new(writer),
        run: Mutex::new(None),
        changed: Condvar::new(),
    });
    match messages::read(&mut reader, MOST_TO_CHILD)? {
        ToChild::Hello { version: VERSION } => {}
        ToChild::Hello { version } => return Err(ChildError::Version(version)),
        _ => return Err(LinkError::Garbage("a request before the greeting".into()).into()),
    }
    bench.say(&ToParent::Hello {
        version: VERSION,
        pid: std::process::id(),
    })?;
    let teller = Arc::clone(&bench);
    std::thread::Builder::new()
        .name("ts-link".into())
        .spawn(move || teller.tell())
        .map_err(LinkError::from)?;
    loop {
        match messages::read(&mut reader, MOST_TO_CHILD) {
            Ok(request) => bench.take(request)?,
            Err(LinkError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A core of ours would hold gigabytes of inputs, and if memory gets short we are the one to go.
fn limit_ourselves() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = fs::write("/proc/self/oom_score_adj", "500");
}

/// A plan is refused when its estimate passes its limit; this is the second line, for when the
/// estimate was wrong: an allocation far beyond it fails and ends this process, not the machine.
fn limit_memory(plan: &Plan) {
    let stacks: u64 = plan
        .pools
        .iter()
        .map(|pool| pool.workers as u64 * (pool.stack_bytes as u64 + (1 << 20)))
        .sum();
    let soft = 2 * plan.memory_limit + stacks + (2 << 30);
    let current = rustix::process::getrlimit(Resource::Data);
    let soft = current.maximum.map_or(soft, |hard| soft.min(hard));
    let _ = setrlimit(
        Resource::Data,
        Rlimit {
            current: Some(soft),
            maximum: current.maximum,
        },
    );
}

impl Bench {
    fn say(&self, message: &ToParent) -> Result<(), LinkError> {
        let mut link = self.link.lock();
        messages::write(&mut *link, message, MOST_TO_PARENT)
    }

    /// Tells how things stand until the link ends.
    fn tell(&self) {
        loop {
            let mut current = self.run.lock();
            let (mut run, mut pools, mut pace) = (None, Vec::new(), WHILE_IDLE);
            if let Some(current) = current.as_ref().filter(|current| !current.told) {
                run = Some(current.player.status());
                pools = current.player.pools();
                pace = WHILE_RUNNING;
            }
            let message = ToParent::Progress {
                // The ending is told by `Ended`, with the report.
                run: run
                    .filter(|run| !run.phase.is_over())
                    .map(|run| Box::new(WireRun::from(&run))),
                pools: pools.iter().map(Into::into).collect(),
            };
            if self.say(&message).is_err() {
                // The reader sees the end of the link too and ends the process.
                let _ = self.link.lock().shutdown(Shutdown::Both);
                return;
            }
            self.changed.wait_for(&mut current, pace);
        }
    }

    fn take(self: &Arc<Self>, request: ToChild) -> Result<(), LinkError> {
        let (number, answer) = match request {
            ToChild::Hello { .. } => return Err(LinkError::Garbage("a second greeting".into())),
            ToChild::Start {
                request,
                run,
                text,
                seed,
                time_scale,
            } => (request, self.start(run, &text, seed, time_scale)),
            ToChild::SetRate { request, run, factor } => (request, self.with(&run, |player| player.set_rate(factor))),
            ToChild::Stop { request, run, limit_ms } => (
                request,
                self.with(&run, |player| player.stop(limit_ms.map(Duration::from_millis))),
            ),
        };
        let (run, refusal) = match answer {
            Ok(run) => (Some(Box::new(WireRun::from(&run))), None),
            Err(refusal) => (None, Some(refusal)),
        };
        self.say(&ToParent::Taken {
            request: number,
            run,
            refusal,
        })?;
        self.changed.notify_all();
        Ok(())
    }

    fn with(&self, run: &str, change: impl FnOnce(&Player)) -> Result<RunStatus, WireRefusal> {
        let current = self.run.lock();
        let player = current
            .as_ref()
            .filter(|current| !current.told)
            .map(|current| &current.player)
            .filter(|player| *player.status().id.0 == *run)
            .ok_or_else(|| WireRefusal::UnknownRun(run.to_owned()))?;
        change(player);
        Ok(player.status())
    }

    fn start(
        self: &Arc<Self>,
        id: String,
        text: &str,
        seed: Option<u64>,
        time_scale: f64,
    ) -> Result<RunStatus, WireRefusal> {
        let mut current = self.run.lock();
        if let Some(current) = current.as_ref().filter(|current| !current.told) {
            return Err(WireRefusal::Busy(current.player.status().id.0.to_string()));
        }
        let mut plan = Plan::parse(text)
            .map_err(|problems| WireRefusal::Invalid(problems.into_iter().map(Into::into).collect()))?
            .scaled(time_scale);
        if let Some(seed) = seed {
            plan.seed = seed;
        }
        limit_memory(&plan);
        let teller = Arc::clone(self);
        let player = Player::start(
            RunId(id.into()),
            plan,
            time_scale,
            Box::new(thread_evidence),
            move |outcome| teller.ended(outcome),
        )
        .map_err(|error| WireRefusal::Failed(format!("could not start the run's thread: {error}")))?;
        let status = player.status();
        *current = Some(Current {
            player: Arc::new(player),
            told: false,
        });
        Ok(status)
    }

    /// On the conductor's thread: hands the result over before the run is forgotten.
    fn ended(&self, outcome: &Outcome) {
        let run = Box::new(WireRun::from(&outcome.status));
        let mut message = ToParent::Ended {
            run: run.clone(),
            report: outcome.report.to_string(),
        };
        let mut current = self.run.lock();
        let mut told = self.say(&message);
        if let Err(LinkError::Oversize { length, .. }) = told {
            let mut status = outcome.status.clone();
            status
                .messages
                .push(format!("the report was too long ({length} bytes) and is cut to its summary").into());
            message = ToParent::Ended {
                run,
                report: failure_report(&status),
            };
            told = self.say(&message);
        }
        if told.is_err() {
            let _ = self.link.lock().shutdown(Shutdown::Both);
        }
        if let Some(current) = current.as_mut() {
            current.told = true;
        }
        drop(current);
        self.changed.notify_all();
    }
}

/// What the kernel says of every worker of these pools; `null` where it does not.
fn thread_evidence(pools: &[PoolStatus]) -> Value {
    // Thousands of threads must not hold the end of a run up.
    let deadline = Instant::now() + Duration::from_secs(2);
    // The folder of our own threads cannot go away while we run, but may be hidden from us.
    let tasks = file::open_dir(Path::new("/proc/self/task")).ok().flatten();
    let mut buffer = Buffer::default();
    let mut rows = Vec::new();
    for pool in pools {
        for worker in &pool.workers {
            let folder = tasks
                .as_ref()
                .filter(|_| Instant::now() < deadline)
                .and_then(|tasks| file::open_path_at(tasks, &worker.tid.to_string()).ok().flatten());
            let clock = folder.as_ref().and_then(|folder| {
                let line = file::read_at(folder, "schedstat", &mut buffer).ok().flatten()?;
                schedstat::parse(line)
            });
            let switches = folder.as_ref().and_then(|folder| {
                let text = file::read_at(folder, "status", &mut buffer).ok().flatten()?;
                let status = status::parse(text);
                Some((status.voluntary_switches, status.involuntary_switches))
            });
            let faults = folder.as_ref().and_then(|folder| {
                let stat = stat::read_at(folder, "stat", &mut buffer).ok().flatten()?;
                Some((stat.minor_faults, stat.major_faults))
            });
            rows.push(json!({
                "tid": worker.tid.0,
                "name": &*worker.name,
                "pool": &*pool.name,
                "tasks_done": worker.done,
                "tasks_stolen": worker.stolen,
                "on_cpu_seconds": clock.map(|clock| clock.on_cpu.seconds()),
                "run_delay_seconds": clock.map(|clock| clock.runnable.seconds()),
                "timeslices": clock.map(|clock| clock.slices),
                "voluntary_switches": switches.and_then(|(voluntary, _)| voluntary),
                "involuntary_switches": switches.and_then(|(_, involuntary)| involuntary),
                "minor_faults": faults.map(|(minor, _)| minor),
                "major_faults": faults.map(|(_, major)| major),
                "source": "schedstat, status, stat of /proc/self/task/TID at the end of the load",
            }));
        }
    }
    Value::Array(rows)
}

/// The hidden command's main: tells why it ends, and gives the process' exit code.
pub fn main(parent: u32) -> u8 {
    match run(parent) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "threadscape workbench: {error}");
            match error {
                ChildError::NotOurs => 2,
                _ => 3,
            }
        }
    }
}
