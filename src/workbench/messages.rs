//! What the daemon and the workbench say to each other, and how it is framed.
//!
//! A frame is four bytes of length (little-endian) and that many bytes of JSON: one of [`ToChild`] or
//! [`ToParent`]. The lengths have limits, each direction its own: a frame above it, bytes that are not
//! the JSON of a known message, or an unknown field end the link, for a peer that says one wrong
//! thing cannot be trusted with the next. The model is not serialised; the shapes here mirror it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{
    LoadProgress, Nanos, PoolStatus, QueuePolicy, RunId, RunPhase, RunStatus, Spread, Tid, WorkerStatus,
};
use crate::scenario::{self, ValidationProblem};

/// Of the messages below. Both ends are the same binary, so any difference is a mix-up.
pub const VERSION: u32 = 1;
/// The largest thing said to the child is a scenario text, escaped.
pub const MOST_TO_CHILD: usize = 8 * scenario::MAX_TEXT;
/// The largest thing said to the parent is a report.
pub const MOST_TO_PARENT: usize = 32 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToChild {
    Hello {
        version: u32,
    },
    Start {
        request: u64,
        run: String,
        text: String,
        seed: Option<u64>,
        time_scale: f64,
    },
    SetRate {
        request: u64,
        run: String,
        factor: f64,
    },
    /// `limit_ms`: the longest drain that is granted; absent: the plan's.
    Stop {
        request: u64,
        run: String,
        limit_ms: Option<u64>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToParent {
    Hello {
        version: u32,
        pid: u32,
    },
    /// Every quarter second while a run is under way, every second otherwise: also the heartbeat.
    Progress {
        run: Option<Box<WireRun>>,
        pools: Vec<WirePool>,
    },
    /// The answer to the request of that number.
    Taken {
        request: u64,
        run: Option<Box<WireRun>>,
        refusal: Option<WireRefusal>,
    },
    /// A run has ended. Said once, before any `Progress` that no longer tells of it.
    Ended {
        run: Box<WireRun>,
        report: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WireRefusal {
    Invalid(Vec<WireProblem>),
    Busy(String),
    UnknownRun(String),
    Failed(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireProblem {
    line: usize,
    column: usize,
    field: String,
    message: String,
    suggestion: Option<String>,
}

impl From<ValidationProblem> for WireProblem {
    fn from(problem: ValidationProblem) -> WireProblem {
        WireProblem {
            line: problem.line,
            column: problem.column,
            field: problem.field,
            message: problem.message,
            suggestion: problem.suggestion,
        }
    }
}

impl From<WireProblem> for ValidationProblem {
    fn from(problem: WireProblem) -> ValidationProblem {
        ValidationProblem {
            line: problem.line,
            column: problem.column,
            field: problem.field,
            message: problem.message,
            suggestion: problem.suggestion,
        }
    }
}

/// Count, mean, p50, p90, p99, max; times in ns.
type WireSpread = [u64; 6];

fn from_spread(spread: &Spread) -> WireSpread {
    [
        spread.count,
        spread.mean.0,
        spread.p50.0,
        spread.p90.0,
        spread.p99.0,
        spread.max.0,
    ]
}

fn to_spread([count, mean, p50, p90, p99, max]: WireSpread) -> Spread {
    Spread {
        count,
        mean: Nanos(mean),
        p50: Nanos(p50),
        p90: Nanos(p90),
        p99: Nanos(p99),
        max: Nanos(max),
    }
}

/// A run, also as it is kept beside its report in the state folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireRun {
    pub id: String,
    scenario: String,
    phase: String,
    started_unix_ns: u64,
    ended_unix_ns: Option<u64>,
    elapsed_ns: u64,
    planned_ns: Option<u64>,
    seed: u64,
    rate_factor: f64,
    loads: Vec<WireLoad>,
    verdict: Option<String>,
    messages: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLoad {
    name: String,
    workload: String,
    pool: String,
    closed: bool,
    arrived: u64,
    done: u64,
    shed: u64,
    late: u64,
    cancelled: u64,
    panicked: u64,
    outstanding: u64,
    verified: u64,
    wrong: u64,
    target: f64,
    throughput: f64,
    lag: WireSpread,
    queue: WireSpread,
    service: WireSpread,
    response: WireSpread,
}

fn unix_ns(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

const PHASES: [RunPhase; 6] = [
    RunPhase::Preparing,
    RunPhase::Running,
    RunPhase::Draining,
    RunPhase::Finished,
    RunPhase::Stopped,
    RunPhase::Failed,
];

impl From<&RunStatus> for WireRun {
    fn from(run: &RunStatus) -> WireRun {
        WireRun {
            id: run.id.0.to_string(),
            scenario: run.scenario.to_string(),
            phase: run.phase.name().to_owned(),
            started_unix_ns: unix_ns(run.started_at),
            ended_unix_ns: run.ended_at.map(unix_ns),
            elapsed_ns: run.elapsed.0,
            planned_ns: run.planned.map(|planned| planned.0),
            seed: run.seed,
            rate_factor: run.rate_factor,
            loads: run.loads.iter().map(WireLoad::from).collect(),
            verdict: run.verdict.as_deref().map(str::to_owned),
            messages: run.messages.iter().map(|message| message.to_string()).collect(),
        }
    }
}

impl WireRun {
    /// `None` when a phase or time in it is none.
    pub fn into_status(self) -> Option<RunStatus> {
        let time = |unix_ns: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(unix_ns));
        Some(RunStatus {
            id: RunId(self.id.into()),
            scenario: self.scenario.into(),
            phase: PHASES.into_iter().find(|phase| phase.name() == self.phase)?,
            started_at: time(self.started_unix_ns)?,
            ended_at: match self.ended_unix_ns {
                Some(ended) => Some(time(ended)?),
                None => None,
            },
            elapsed: Nanos(self.elapsed_ns),
            planned: self.planned_ns.map(Nanos),
            seed: self.seed,
            rate_factor: self.rate_factor,
            loads: self.loads.into_iter().map(LoadProgress::from).collect(),
            verdict: self.verdict.map(Arc::from),
            messages: self.messages.into_iter().map(Arc::from).collect(),
        })
    }
}

impl From<&LoadProgress> for WireLoad {
    fn from(load: &LoadProgress) -> WireLoad {
        WireLoad {
            name: load.name.to_string(),
            workload: load.workload.to_string(),
            pool: load.pool.to_string(),
            closed: load.executor == "closed",
            arrived: load.arrived,
            done: load.done,
            shed: load.shed,
            late: load.late,
            cancelled: load.cancelled,
            panicked: load.panicked,
            outstanding: load.outstanding,
            verified: load.verified,
            wrong: load.wrong,
            target: load.target,
            throughput: load.throughput,
            lag: from_spread(&load.lag),
            queue: from_spread(&load.queue),
            service: from_spread(&load.service),
            response: from_spread(&load.response),
        }
    }
}

impl From<WireLoad> for LoadProgress {
    fn from(load: WireLoad) -> LoadProgress {
        LoadProgress {
            name: load.name.into(),
            workload: load.workload.into(),
            pool: load.pool.into(),
            executor: if load.closed { "closed" } else { "open" },
            arrived: load.arrived,
            done: load.done,
            shed: load.shed,
            late: load.late,
            cancelled: load.cancelled,
            panicked: load.panicked,
            outstanding: load.outstanding,
            verified: load.verified,
            wrong: load.wrong,
            target: load.target,
            throughput: load.throughput,
            lag: to_spread(load.lag),
            queue: to_spread(load.queue),
            service: to_spread(load.service),
            response: to_spread(load.response),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WirePool {
    name: String,
    stealing: bool,
    size: u32,
    active: u32,
    queue_depth: u64,
    queue_capacity: u64,
    block: bool,
    submitted: u64,
    done: u64,
    panicked: u64,
    rejected: u64,
    abandoned: u64,
    queue_wait: WireSpread,
    service: WireSpread,
    workers: Vec<WireWorker>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireWorker {
    tid: u32,
    name: String,
    done: u64,
    stolen: u64,
    parked: bool,
    task: Option<String>,
}

impl From<&PoolStatus> for WirePool {
    fn from(pool: &PoolStatus) -> WirePool {
        WirePool {
            name: pool.name.to_string(),
            stealing: pool.kind == "stealing",
            size: pool.size,
            active: pool.active,
            queue_depth: pool.queue_depth,
            queue_capacity: pool.queue_capacity,
            block: pool.policy == QueuePolicy::Block,
            submitted: pool.submitted,
            done: pool.done,
            panicked: pool.panicked,
            rejected: pool.rejected,
            abandoned: pool.abandoned,
            queue_wait: from_spread(&pool.queue_wait),
            service: from_spread(&pool.service),
            workers: pool
                .workers
                .iter()
                .map(|worker| WireWorker {
                    tid: worker.tid.0,
                    name: worker.name.to_string(),
                    done: worker.done,
                    stolen: worker.stolen,
                    parked: worker.parked,
                    task: worker.task.as_deref().map(str::to_owned),
                })
                .collect(),
        }
    }
}

impl From<WirePool> for PoolStatus {
    fn from(pool: WirePool) -> PoolStatus {
        PoolStatus {
            name: pool.name.into(),
            kind: if pool.stealing { "stealing" } else { "shared-channel" },
            size: pool.size,
            active: pool.active,
            queue_depth: pool.queue_depth,
            queue_capacity: pool.queue_capacity,
            policy: if pool.block {
                QueuePolicy::Block
            } else {
                QueuePolicy::Reject
            },
            submitted: pool.submitted,
            done: pool.done,
            panicked: pool.panicked,
            rejected: pool.rejected,
            abandoned: pool.abandoned,
            queue_wait: to_spread(pool.queue_wait),
            service: to_spread(pool.service),
            workers: pool
                .workers
                .into_iter()
                .map(|worker| WorkerStatus {
                    tid: Tid(worker.tid),
                    name: worker.name.into(),
                    done: worker.done,
                    stolen: worker.stolen,
                    parked: worker.parked,
                    task: worker.task.map(Arc::from),
                })
                .collect(),
        }
    }
}

/// Why the link is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the other end closed the link")]
    Closed,
    #[error("the other end said nothing for too long")]
    Silent,
    #[error("a frame of {length} bytes; at most {most} are allowed")]
    Oversize { length: usize, most: usize },
    #[error("a frame that is no known message: {0}")]
    Garbage(String),
    #[error("the link failed: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                LinkError::Closed
            }
            // What a socket's own time-out gives.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LinkError::Silent,
            _ => LinkError::Failed(error),
        }
    }
}

pub fn write<M: Serialize>(into: &mut impl Write, message: &M, most: usize) -> Result<(), LinkError> {
    let body = serde_json::to_vec(message).map_err(|error| LinkError::Garbage(error.to_string()))?;
    if body.len() > most {
        return Err(LinkError::Oversize {
            length: body.len(),
            most,
        });
    }
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(into.write_all(&frame)?)
}

pub fn read<M: DeserializeOwned>(from: &mut impl Read, most: usize) -> Result<M, LinkError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > most {
        return Err(LinkError::Oversize { length, most });
    }
    // Grows with what really comes, so that a lying length costs nothing.
    let mut body = Vec::with_capacity(length.min(64 << 10));
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(LinkError::Closed);
    }
    serde_json::from_slice(&body).map_err(|error| LinkError::Garbage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(body);
        frame
    }

    fn refusal(bytes: &[u8]) -> LinkError {
        read::<ToChild>(&mut &bytes[..], 1000).unwrap_err()
    }

    #[test]
    fn a_message_comes_back_as_it_was_said() {
        let mut bytes = Vec::new();
        let said = ToChild::SetRate {
            request: 7,
            run: "x".into(),
            factor: 0.5,
        };
        write(&mut bytes, &said, 1000).unwrap();
        let heard: ToChild = read(&mut &bytes[..], 1000).unwrap();
        assert!(matches!(
            heard,
            ToChild::SetRate {
                request: 7,
                factor: 0.5,
                ..
            }
        ));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(matches!(refusal(&[]), LinkError::Closed));
        assert!(matches!(refusal(&frame(b"{}")), LinkError::Garbage(_)));
        assert!(matches!(refusal(&frame(b"{\"dance\":{}}")), LinkError::Garbage(_)));
        assert!(matches!(
            refusal(&frame(b"{\"hello\":{\"version\":1,\"more\":2}}")),
            LinkError::Garbage(_)
        ));
        assert!(matches!(refusal(&[0xff; 8]), LinkError::Oversize { .. }));
        assert!(matches!(refusal(&frame(b"{\"hello\"")[..6]), LinkError::Closed));
    }

    #[test]
    fn a_message_too_long_is_not_sent() {
        let said = ToChild::Start {
            request: 1,
            run: String::new(),
            text: "x".repeat(2000),
            seed: None,
            time_scale: 1.0,
        };
        let mut bytes = Vec::new();
        assert!(matches!(
            write(&mut bytes, &said, 1000),
            Err(LinkError::Oversize { .. })
        ));
        assert!(bytes.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<ToChild>(&mut &bytes[..], 1000);
            let _ = read::<ToParent>(&mut &bytes[..], 1000);
        }
    }
}
